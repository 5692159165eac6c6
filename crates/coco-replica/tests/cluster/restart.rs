//! Nodes that come back, and nodes that lag.

use coco_consensus::Limits;
use coco_replica::{Input, Settings, StepError};
use coco_types::{TxStatus, View};

use crate::network::{Cluster, EAGER, Plan, index};

#[test]
fn a_restart_brings_back_tree_store_and_views() {
    let settings = Settings { chunk_bytes: 2000, ..EAGER };
    let mut cluster = Cluster::led(Plan { nodes: 1, settings, ..Plan::default() });
    for _ in 0..3 {
        for _ in 0..5 {
            cluster.execute(0);
            cluster.run(1);
        }
        let before = cluster.picture(0);
        assert_eq!(before.last, cluster.committed(0));
        cluster.crash(0);
        cluster.start(0);
        assert_eq!(cluster.picture(0), before);
        cluster.run(1);
    }
    assert_eq!(
        cluster.replica(0).state().read().view_history().len(),
        5,
        "genesis, the first start and three more"
    );
    cluster.assert_equal();
}

#[test]
fn a_network_comes_back_with_everything_committed() {
    let mut cluster = Cluster::led(Plan { batch: 4, ..Plan::default() });
    cluster.pay_often(0, 20);
    cluster.settle();
    let id = cluster.committed(0);
    let unsynced = {
        cluster.nodes.iter_mut().for_each(|node| node.disk_held = true);
        cluster.execute(0)
    };
    cluster.settle();
    for node in 0..3 {
        cluster.crash(node);
        cluster.nodes[node].disk_held = false;
        cluster.start(node);
        assert_eq!(cluster.status(node, unsynced), TxStatus::Unknown, "what no disk had is gone");
    }
    cluster.elect_another(usize::MAX);
    cluster.run(2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, id), TxStatus::Committed);
        assert_eq!(cluster.status(node, unsynced), TxStatus::Invalid);
        assert_eq!(cluster.picture(node).done.len(), 20);
    }
    cluster.assert_equal();
}

#[test]
fn a_node_that_lags_is_served_from_disk() {
    let limits = Limits { window_bytes: 0, message_bytes: 1500, ..Limits::default() };
    let mut cluster = Cluster::led(Plan { limits, ..Plan::default() });
    cluster.isolate(2);
    for _ in 0..30 {
        cluster.execute(0);
        cluster.settle();
    }
    assert!(cluster.last(2) < cluster.committed(0));
    cluster.heal();
    cluster.run(10);
    assert!(cluster.nodes[0].fetches_answered > 1);
    assert_eq!(cluster.last(2), cluster.last(0));
    cluster.assert_equal();
}

#[test]
fn opening_entries_are_the_same_when_they_come_from_disk() {
    let limits = Limits { window_bytes: 0, ..Limits::default() };
    let mut cluster = Cluster::led(Plan { limits, recent: 0, ..Plan::default() });
    cluster.isolate(2);
    for to in [1, 0, 1] {
        let from = cluster.primary().expect("somebody leads");
        let to = cluster.nodes[to].id;
        cluster.step(from, Input::TransferTo(to));
        cluster.settle();
    }
    cluster.crash(1);
    cluster.start(1);
    cluster.run(30);
    cluster.heal();
    cluster.run(40);
    assert!(cluster.picture(2).last.view > View(5));
    cluster.assert_equal();
}

#[test]
fn entries_of_a_view_may_reach_the_disk_without_its_hard_state() {
    for steps in 0..4 {
        let mut cluster = Cluster::new(Plan { nodes: 1, ..Plan::default() });
        cluster.tick();
        assert_eq!(
            cluster.nodes[0].writes[0].entries.len(),
            1,
            "the opening entry comes with the hard state"
        );
        cluster.crash_after(0, steps);
        cluster.start(0);
        cluster.run(1);
        let id = cluster.execute(0);
        cluster.settle();
        assert_eq!(cluster.status(0, id), TxStatus::Committed);
        assert_eq!(id.view, if steps == 0 { View(3) } else { View(4) });
    }
}

#[test]
fn a_disk_that_was_set_back_stops_its_node() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.execute(0);
    cluster.run(2);
    let said = cluster.committed(0).seqno;
    cluster.crash(2);
    cluster.nodes[2].disk.entries.truncate(index(said) - 1);
    cluster.nodes[2].disk.hard_state.vote = None;
    cluster.start(2);
    cluster.run(5);
    match &cluster.nodes[2].broken {
        Some(StepError::AcknowledgedLost { said: found, last }) => {
            assert_eq!((*found, *last), (said, said.previous()));
        }
        other => panic!("{other:?}"),
    }
    let text = cluster.nodes[2].broken.as_ref().expect("just seen").to_string();
    assert!(
        text.contains(&format!("acknowledged entries up to {said}, but its ledger ends at")),
        "{text}"
    );
    let id = cluster.execute(0);
    cluster.settle();
    assert_eq!(cluster.status(0, id), TxStatus::Committed, "the others go on");
}

//! Back-pressure: execution never runs ahead without bound.

use coco_consensus::Limits;
use coco_replica::{Input, Settings};

use crate::network::{Cluster, EAGER, Plan};

/// Twenty transfers while the backups' disks hang; how far execution gets.
fn executed_ahead(plan: Plan) -> usize {
    let mut cluster = Cluster::led(plan);
    cluster.nodes[1].disk_held = true;
    cluster.nodes[2].disk_held = true;
    cluster.pay_often(0, 20);
    cluster.run(4);
    let ahead = cluster.picture(0).done.len();
    assert!(!cluster.replica(0).has_work(), "there is no room");
    assert_eq!(cluster.nodes[0].waiting.len(), 20 - ahead, "who waits is not refused");
    let last = cluster.last(0);
    cluster.run(4);
    assert_eq!(cluster.last(0), last, "nothing grows while it waits");

    cluster.nodes[1].disk_held = false;
    cluster.run(40);
    assert_eq!(cluster.picture(0).done.len(), 20, "it goes on by itself");
    assert_eq!(cluster.nodes[0].waiting.len(), 0);
    cluster.nodes[2].disk_held = false;
    cluster.run(2);
    cluster.assert_equal();
    ahead
}

#[test]
fn execution_pauses_while_too_many_entries_are_uncommitted() {
    let settings = Settings { uncommitted_entries_max: 4, ..EAGER };
    let ahead = executed_ahead(Plan { settings, ..Plan::default() });
    assert!((1..=4).contains(&ahead), "{ahead}");
}

#[test]
fn execution_pauses_while_too_many_bytes_are_uncommitted() {
    let settings = Settings { uncommitted_bytes_max: 2000, ..EAGER };
    let ahead = executed_ahead(Plan { settings, ..Plan::default() });
    assert!((1..=8).contains(&ahead), "{ahead}");
}

#[test]
fn execution_pauses_while_consensus_is_full() {
    let limits = Limits { uncommitted_bytes: 2000, ..Limits::default() };
    let ahead = executed_ahead(Plan { limits, ..Plan::default() });
    assert!((1..=8).contains(&ahead), "{ahead}");
}

#[test]
fn a_roll_back_gives_the_room_back() {
    let settings = Settings { uncommitted_bytes_max: 3000, ..EAGER };
    let mut cluster = Cluster::led(Plan { settings, ..Plan::default() });
    let mut ahead = Vec::new();
    for _ in 0..4 {
        cluster.isolate(0);
        cluster.pay_often(0, 10);
        let mut executed = 0;
        while cluster.work(0) {
            executed += 1;
        }
        ahead.push(executed);
        let new = cluster.elect_another(0);
        cluster.heal();
        cluster.run(5);
        let to = cluster.nodes[0].id;
        cluster.step(new, Input::TransferTo(to));
        cluster.settle();
    }
    assert_eq!(cluster.nodes[0].rolled_back.len(), 4);
    assert!(ahead[0] > 2 && ahead.iter().all(|executed| *executed == ahead[0]), "{ahead:?}");
}

#[test]
fn while_replication_is_busy_a_batch_is_begun_when_it_is_worth_it() {
    let settings = Settings { batches_ahead: 2, batch_worth: 4, ..Settings::DEFAULT };
    let mut cluster = Cluster::led(Plan { settings, ..Plan::default() });
    cluster.nodes[1].disk_held = true;
    cluster.nodes[2].disk_held = true;
    cluster.nodes[0].work_held = true;
    for ahead in 1..=2 {
        cluster.pay(0);
        assert!(cluster.work(0), "batch {ahead} need not wait for any other");
    }
    for waiting in 1..=3 {
        cluster.pay(0);
        assert!(!cluster.work(0), "{waiting} are not worth a batch");
    }
    cluster.pay(0);
    assert!(cluster.work(0), "four are");
    assert!(!cluster.work(0), "three are left");
    cluster.settle();
    // The first signature covers the first batch, the second one the others.
    for _ in 0..2 {
        assert!(!cluster.work(0));
        cluster.sync_all(1);
        cluster.settle();
    }
    assert!(cluster.work(0), "there is room again");
}

//! Losing a view: what was executed ahead is taken back, exactly.

use coco_replica::{Input, Reply, Settings};
use coco_types::{Role, Seqno, TxStatus};

use crate::{
    bank::Transfer,
    commit::outside,
    genesis::START_S,
    network::{Cluster, EAGER, Plan},
    watch::check_chunks,
};

/// A primary that was cut off and went on executing, and the one that replaced it.
fn split(plan: Plan) -> (Cluster, usize) {
    let mut cluster = Cluster::led(plan);
    cluster.execute(0);
    cluster.run(2);
    cluster.isolate(0);
    for _ in 0..5 {
        cluster.execute(0);
    }
    let new = cluster.elect_another(0);
    (cluster, new)
}

#[test]
fn what_was_executed_ahead_is_rolled_back_with_the_view() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.execute(0);
    cluster.run(2);
    let (kept, before) = (cluster.last(0), cluster.picture(0));
    cluster.isolate(0);
    let lost: Vec<_> = (0..5).map(|_| cluster.execute(0)).collect();
    let new = cluster.elect_another(0);
    for id in &lost {
        assert_eq!(cluster.status(0, *id), TxStatus::Pending, "{id} at the old primary");
        assert_ne!(cluster.status(new, *id), TxStatus::Pending, "{id} at the new one");
    }
    assert_eq!(cluster.picture(0).done.len(), 6);

    cluster.heal();
    cluster.run(5);
    assert_eq!(
        cluster.nodes[0].rolled_back,
        [kept.seqno],
        "to what it shares with the new primary"
    );
    for id in &lost {
        for node in 0..3 {
            assert_eq!(cluster.status(node, *id), TxStatus::Invalid, "{id} at n{node}");
        }
    }
    assert_eq!(
        cluster.picture(0).done,
        before.done,
        "store and index know nothing of what was rolled back"
    );
    assert_eq!(cluster.picture(0), cluster.picture(new));
    cluster.assert_equal();
}

#[test]
fn a_rolled_back_transfer_can_be_made_again() {
    let (mut cluster, new) = split(Plan::default());
    let lost = Transfer { id: 3, from: 3, to: 4, amount: 1 };
    let ticket = cluster.submit(0, lost);
    assert!(matches!(cluster.reply(0, ticket), Some(Reply::NotPrimary(_) | Reply::Earlier(_))));
    cluster.heal();
    cluster.run(5);
    let ticket = cluster.submit(new, lost);
    cluster.settle();
    let id = cluster.executed(new, ticket);
    cluster.run(2);
    assert_eq!(cluster.status(0, id), TxStatus::Committed);
    assert_eq!(cluster.picture(0).done.len(), 2);
    cluster.assert_equal();
}

#[test]
fn entries_that_reached_a_quorum_survive_their_primary() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.links.clear();
    let id = cluster.execute(0);
    cluster.deliver(0, 1);
    cluster.deliver(0, 1);
    cluster.sync_all(1);
    assert_eq!(cluster.status(1, id), TxStatus::Pending);
    cluster.crash(0);
    let new = cluster.elect_another(0);
    assert_eq!(new, 1, "only the node that has the entry can win");
    cluster.run(2);
    assert_eq!(cluster.status(2, id), TxStatus::Committed);
}

#[test]
fn waiting_callers_are_told_when_the_view_is_lost() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.nodes[0].work_held = true;
    let tickets: Vec<_> = (0..3).map(|_| cluster.pay(0)).collect();
    cluster.isolate(0);
    assert_eq!(cluster.reply(0, tickets[0]), None);
    for _ in 0..20 {
        cluster.run(1);
    }
    assert_ne!(cluster.replica(0).state().read().role(), Role::Primary, "it hears no quorum");
    for ticket in tickets {
        assert_eq!(cluster.reply(0, ticket), Some(&Reply::NotPrimary(None)));
    }
}

#[test]
fn a_backup_names_the_primary() {
    let mut cluster = Cluster::led(Plan::default());
    let ticket = cluster.pay(1);
    assert_eq!(cluster.reply(1, ticket), Some(&Reply::NotPrimary(Some(cluster.nodes[0].id))));
}

#[test]
fn a_hand_over_loses_nothing() {
    let mut cluster = Cluster::led(Plan::default());
    let done = cluster.execute(0);
    let waiting = cluster.pay(0);
    let to = cluster.nodes[2].id;
    cluster.nodes[0].work_held = true;
    cluster.step(0, Input::TransferTo(to));
    cluster.settle();
    assert_eq!(cluster.primary(), Some(2));
    assert!(matches!(cluster.reply(0, waiting), Some(Reply::NotPrimary(_))));
    let next = cluster.execute(2);
    cluster.run(2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, done), TxStatus::Committed);
        assert_eq!(cluster.status(node, next), TxStatus::Committed);
        assert_eq!(cluster.nodes[node].rolled_back, []);
    }
    cluster.assert_equal();
}

#[test]
fn block_time_never_runs_backwards() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.clock_ms += 5_000;
    cluster.nodes[1].behind_ms = 4_000;
    let first = cluster.execute(0);
    cluster.settle();
    let to = cluster.nodes[1].id;
    cluster.step(0, Input::TransferTo(to));
    cluster.settle();
    let time = |cluster: &Cluster, id| outside(cluster, 1, id).expect("a batch").time_ms;
    let second = cluster.execute(1);
    assert_eq!(time(&cluster, second), time(&cluster, first), "this clock is behind");
    cluster.clock_ms += 4_001;
    let third = cluster.execute(1);
    assert_eq!(time(&cluster, third), time(&cluster, first) + 1, "now it is ahead");

    cluster.run(2);
    cluster.crash(1);
    cluster.start(1);
    cluster.nodes[1].behind_ms = 60_000;
    let new = cluster.elect_another(usize::MAX);
    let to = cluster.nodes[1].id;
    cluster.step(new, Input::TransferTo(to));
    cluster.settle();
    let fourth = cluster.execute(1);
    assert!(
        time(&cluster, fourth) >= time(&cluster, third),
        "a restart reads the time from the ledger"
    );
}

/// Where nobody transacts, signatures are all that names a time.
#[test]
fn the_committed_time_is_the_latest_that_a_block_or_a_signature_names() {
    let mut cluster = Cluster::led(Plan::default());
    let times = |cluster: &Cluster| {
        [0, 1].map(|node| cluster.replica(node).state().read().committed_time_s() - START_S)
    };
    cluster.clock_ms += 5_000;
    cluster.execute(0);
    cluster.run(2);
    assert_eq!(times(&cluster), [5, 5]);
    // A view begins with an entry without a block.
    cluster.clock_ms += 7_000;
    let to = cluster.nodes[1].id;
    cluster.step(0, Input::TransferTo(to));
    cluster.settle();
    cluster.run(2);
    let signed = times(&cluster);
    assert!(signed[0] == signed[1] && signed[0] >= 12, "{signed:?}");
    // A clock that is behind changes nothing, and neither does what is not committed.
    cluster.nodes[1].behind_ms = 60_000;
    cluster.execute(1);
    cluster.run(2);
    assert_eq!(times(&cluster), signed);
    cluster.nodes[1].behind_ms = 0;
    cluster.isolate(1);
    cluster.clock_ms += 60_000;
    cluster.execute(1);
    assert_eq!(times(&cluster), signed);
}

/// The old primary rolls back and leads again: its chunks end where they would if it had not executed ahead.
fn check_chunks_after_roll_back(chunk_bytes: u64) {
    let settings = Settings { chunk_bytes, ..EAGER };
    let (mut cluster, new) = split(Plan { settings, ..Plan::default() });
    check_chunks(&cluster.nodes[0].ledger, 2, &settings);
    cluster.heal();
    cluster.run(5);
    let to = cluster.nodes[0].id;
    cluster.step(new, Input::TransferTo(to));
    cluster.settle();
    for _ in 0..10 {
        cluster.execute(0);
        cluster.settle();
    }
    cluster.run(2);
    cluster.assert_equal();
    check_chunks(&cluster.nodes[0].ledger, 2, &settings);

    cluster.crash(0);
    cluster.start(0);
    let new = cluster.elect_another(usize::MAX);
    for _ in 0..10 {
        cluster.execute(new);
        cluster.settle();
    }
    cluster.run(5);
    cluster.assert_equal();
    assert!(check_chunks(&cluster.nodes[0].ledger, 2, &settings) > 0, "some chunk has ended");
    assert_ne!(cluster.nodes[0].disk.committed, Seqno::ZERO, "and is marked as committed");
}

#[test]
fn chunks_end_at_the_same_entries_everywhere_also_after_a_roll_back() {
    (500..10_000).step_by(500).for_each(check_chunks_after_roll_back);
}

//! Back-pressure: execution never runs ahead without bound.

use coco_consensus::{Limits, Timing};
use coco_replica::{Input, Reply, Settings};

use crate::{
    bank::{PRINTER, TOO_LONG, Transfer},
    network::{Cluster, EAGER, Plan},
};

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

/// The others commit without it, and once nothing but memory held what waited for the primary's disk.
#[test]
fn execution_pauses_while_the_primarys_own_disk_hangs_and_another_takes_over() {
    let settings = Settings { uncommitted_bytes_max: 6000, ..EAGER };
    let mut cluster = Cluster::led(Plan { settings, ..Plan::default() });
    cluster.nodes[0].disk_held = true;
    cluster.pay_often(0, 40);
    cluster.run(4);
    assert!(!cluster.replica(0).has_work(), "there is no room");
    let (last, waiting) = (cluster.last(0), cluster.nodes[0].waiting.len());
    assert!((1..40).contains(&waiting), "{waiting}");
    assert_eq!(cluster.committed(0), last, "all that was executed is committed");
    cluster.run(290);
    assert_eq!((cluster.primary(), cluster.last(0)), (Some(0), last), "its disk may be busy");
    cluster.run(30);
    let new = cluster.primary().expect("somebody took over");
    assert_ne!(new, 0);
    assert!(cluster.nodes[0].waiting.is_empty(), "who waits is told to go there");
    cluster.pay_often(new, 20);
    cluster.run(4);
    assert_eq!(cluster.picture(new).done.len(), 60 - waiting, "it goes on");

    cluster.nodes[0].disk_held = false;
    cluster.run(40);
    cluster.assert_equal();
}

/// Whoever took over from it would be no better off.
#[test]
fn a_primary_whose_disk_hangs_as_those_of_all_others_does_not_hand_over() {
    let settings = Settings { uncommitted_bytes_max: 6000, ..EAGER };
    // Longer than all of this takes: backups whose disks hang answer nothing.
    let timing = Timing { heartbeat_ticks: 2, election_ticks_min: 1000, election_ticks_max: 1900 };
    let mut cluster = Cluster::led(Plan { settings, timing, ..Plan::default() });
    cluster.nodes.iter_mut().for_each(|node| node.disk_held = true);
    cluster.pay_often(0, 40);
    cluster.run(400);
    assert!(!cluster.replica(0).has_work(), "there is no room");
    cluster.nodes.iter_mut().for_each(|node| node.disk_held = false);
    cluster.run(40);
    assert_eq!(cluster.primary(), Some(0));
    assert_eq!(cluster.picture(0).done.len(), 40);
    cluster.assert_equal();
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

#[test]
fn what_no_entry_holds_is_refused_and_what_waited_with_it_is_executed() {
    let mut cluster = Cluster::led(Plan { batch: 8, ..Plan::default() });
    cluster.nodes[0].work_held = true;
    let before: Vec<_> = (0..3).map(|_| cluster.pay(0)).collect();
    let id = cluster.transfers;
    let long = cluster.submit(0, Transfer { id, from: 0, to: PRINTER, amount: 0 });
    let after: Vec<_> = (0..3).map(|_| cluster.pay(0)).collect();
    cluster.nodes[0].work_held = false;
    cluster.settle();
    assert!(cluster.nodes[0].broken.is_none(), "it goes on: {:?}", cluster.nodes[0].broken);
    match cluster.reply(0, long) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.code, TOO_LONG),
        other => panic!("n0 answers {other:?}"),
    }
    let entries: Vec<_> =
        before.into_iter().chain(after).map(|ticket| cluster.executed(0, ticket)).collect();
    assert!(entries.is_sorted(), "nobody lost a turn: {entries:?}");
    cluster.run(4);
    cluster.assert_equal();
}

//! When a transaction is committed, and when signatures are made.

use coco_adapter::Outside;
use coco_kv::MapName;
use coco_ledger::EntryView;
use coco_replica::{OUTSIDE_MAP, Reply, Settings, decode_outside};
use coco_types::{Seqno, TxId, TxStatus};

use crate::{
    bank::{self, Transfer},
    genesis::{FirstEntries, START_S, secret},
    network::{Cluster, EAGER, Plan, TICK_MS, index},
};

fn is_signature(cluster: &Cluster, node: usize, seqno: Seqno) -> bool {
    EntryView::parse(&cluster.nodes[node].ledger[index(seqno) - 1])
        .expect("an entry")
        .is_signature()
}

fn ends_signed(cluster: &Cluster, node: usize) -> bool {
    is_signature(cluster, node, cluster.last(node).seqno)
}

/// What the entry recorded of the outside.
pub(crate) fn outside(cluster: &Cluster, node: usize, id: TxId) -> Option<Outside> {
    let entry =
        EntryView::parse(&cluster.nodes[node].ledger[index(id.seqno) - 1]).expect("an entry");
    let open = entry.open(&secret()).expect("it is sealed under our secret");
    let writes = open.writes().expect("it holds writes");
    let bytes = writes.get(&MapName::from_static(OUTSIDE_MAP), &[0; 8])?;
    Some(decode_outside(bytes).expect("the form is right"))
}

#[test]
fn a_lone_node_commits_what_its_disk_has() {
    for first in [FirstEntries::Two, FirstEntries::Four] {
        let mut cluster = Cluster::new(Plan { nodes: 1, first, ..Plan::default() });
        cluster.run(1);
        let id = cluster.execute(0);
        assert_eq!(cluster.status(0, id), TxStatus::Pending);
        cluster.settle();
        assert_eq!(cluster.status(0, id), TxStatus::Committed);
        cluster.assert_equal();
    }
}

#[test]
fn a_lone_node_proposes_nothing_in_a_view_that_its_disk_does_not_have() {
    let mut cluster = Cluster::new(Plan { nodes: 1, ..Plan::default() });
    cluster.tick();
    cluster.pay(0);
    assert!(!cluster.work(0), "after a crash it would be primary of the same view again");
    assert!(!ends_signed(&cluster, 0));
    cluster.settle();
    assert!(cluster.nodes[0].waiting.is_empty());
    cluster.assert_equal();
}

#[test]
fn nothing_is_committed_before_a_quorum_has_it_on_disk() {
    let mut cluster = Cluster::led(Plan::default());
    let before = cluster.committed(0);
    cluster.nodes[1].disk_held = true;
    cluster.nodes[2].disk_held = true;
    let id = cluster.execute(0);
    assert_eq!(cluster.status(1, id), TxStatus::Unknown);
    cluster.settle();
    for node in 0..3 {
        assert_eq!(cluster.last(node), cluster.last(0), "the entries have arrived everywhere");
        assert_eq!(cluster.status(node, id), TxStatus::Pending);
        assert_eq!(cluster.committed(node), before);
    }
    cluster.sync_all(1);
    cluster.settle();
    assert_eq!(cluster.status(0, id), TxStatus::Committed);
    cluster.run(2);
    assert_eq!(
        cluster.status(2, id),
        TxStatus::Committed,
        "although it is not on this node's own disk"
    );
    cluster.nodes[2].disk_held = false;
    cluster.settle();
    cluster.nodes[1].disk_held = false;
    cluster.run(2);
    cluster.assert_equal();
}

#[test]
fn a_quorum_commits_without_the_disk_of_the_primary() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.nodes[0].disk_held = true;
    let id = cluster.execute(0);
    cluster.settle();
    assert_eq!(cluster.status(0, id), TxStatus::Committed);
    assert!(cluster.nodes[0].disk.entries.len() < index(id.seqno));
    cluster.nodes[0].disk_held = false;
    cluster.run(2);
    cluster.assert_equal();
}

#[test]
fn nothing_is_committed_before_a_signature_covers_it() {
    let mut cluster = Cluster::led(Plan::default());
    let before = cluster.committed(0);
    cluster.pay(0);
    cluster.pay(0);
    assert!(cluster.work(0));
    cluster.nodes[0].work_held = true;
    cluster.settle();
    let unsigned = cluster.last(0);
    assert!(!ends_signed(&cluster, 0), "a transfer still waits, so that the signature can");
    for node in 0..3 {
        assert_eq!(
            cluster.nodes[node].disk.entries.len(),
            index(unsigned.seqno),
            "it is on all disks"
        );
        assert_eq!(cluster.committed(node), before);
        assert_eq!(cluster.status(node, unsigned), TxStatus::Pending);
    }
    cluster.run(3);
    for node in 0..3 {
        assert_eq!(cluster.status(node, unsigned), TxStatus::Committed);
    }
}

#[test]
fn a_signature_follows_when_the_queue_is_empty() {
    let mut cluster = Cluster::led(Plan { batch: 2, ..Plan::default() });
    cluster.pay_often(0, 3);
    assert!(cluster.work(0));
    assert!(!ends_signed(&cluster, 0), "one still waits");
    assert!(cluster.work(0));
    assert!(ends_signed(&cluster, 0), "in the same step as the last batch");
    let last = cluster.last(0);
    cluster.run(50);
    assert_eq!(cluster.last(0), last, "what is signed is not signed again");
    cluster.assert_equal();
}

#[test]
fn a_busy_primary_signs_when_the_interval_has_passed() {
    let interval = 5 * TICK_MS;
    let settings = Settings { signature_interval_ms: interval, ..EAGER };
    let mut cluster = Cluster::led(Plan { settings, ..Plan::default() });
    cluster.pay_often(0, 20);
    for signatures in 1..=3 {
        assert!(cluster.work(0));
        for _ in 1..5 {
            cluster.tick();
            assert!(cluster.work(0));
            assert!(!ends_signed(&cluster, 0), "before signature {signatures} is due");
        }
        cluster.tick();
        assert!(ends_signed(&cluster, 0), "signature {signatures} is due");
    }
}

#[test]
fn a_signature_waits_for_the_one_before_but_no_longer_than_the_interval() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.nodes[1].disk_held = true;
    cluster.nodes[2].disk_held = true;
    cluster.execute(0);
    assert!(ends_signed(&cluster, 0));
    cluster.execute(0);
    cluster.settle();
    assert!(!ends_signed(&cluster, 0), "the first signature has not committed");
    cluster.sync_all(1);
    cluster.settle();
    assert!(ends_signed(&cluster, 0), "it has");

    cluster.sync_all(1);
    cluster.settle();
    cluster.execute(0);
    cluster.execute(0);
    cluster.tick();
    assert!(!ends_signed(&cluster, 0));
    cluster.tick();
    assert!(ends_signed(&cluster, 0), "20 ms have passed");
}

#[test]
fn entries_are_the_same_bytes_on_every_node() {
    let mut cluster =
        Cluster::led(Plan { nodes: 5, batch: 3, first: FirstEntries::Four, ..Plan::default() });
    cluster.pay_often(0, 20);
    cluster.run(3);
    cluster.assert_equal();
    assert_eq!(cluster.picture(4).done.len(), 20);
}

#[test]
fn what_was_done_before_is_answered_with_where_it_stands() {
    let mut cluster = Cluster::led(Plan { batch: 3, ..Plan::default() });
    let transfer = Transfer { id: 0, from: 0, to: 1, amount: 60 };
    let once = cluster.submit(0, transfer);
    let again = cluster.submit(0, transfer);
    let broke = cluster.submit(0, Transfer { id: 1, ..transfer });
    assert!(
        matches!(cluster.reply(0, again), Some(Reply::Refused(refusal)) if refusal.code == bank::WAITS_ALREADY)
    );
    cluster.work(0);
    let id = cluster.executed(0, once);
    assert!(
        matches!(cluster.reply(0, broke), Some(Reply::Refused(refusal)) if refusal.code == bank::SHORT_OF_MONEY)
    );
    let later = cluster.submit(0, transfer);
    assert_eq!(cluster.reply(0, later), Some(&Reply::Earlier(id)));
}

#[test]
fn a_batch_that_does_nothing_leaves_no_entry() {
    let mut cluster = Cluster::led(Plan::default());
    let last = cluster.last(0);
    let ticket = cluster.submit(0, Transfer { id: 0, from: 0, to: 1, amount: 1000 });
    assert!(cluster.work(0));
    assert!(matches!(cluster.reply(0, ticket), Some(Reply::Refused(_))));
    cluster.run(10);
    assert_eq!(cluster.last(0), last);
}

#[test]
fn what_waits_too_long_is_answered() {
    let mut cluster = Cluster::led(Plan::default());
    cluster.nodes[0].work_held = true;
    let ticket = cluster.pay(0);
    cluster.clock_ms += bank::PATIENCE_MS;
    cluster.tick();
    assert!(
        matches!(cluster.reply(0, ticket), Some(Reply::Refused(refusal)) if refusal.code == bank::TOO_LATE)
    );
}

#[test]
fn values_from_outside_are_recorded_in_the_entry_that_used_them() {
    let mut cluster = Cluster::led(Plan::default());
    let first = cluster.execute(0);
    cluster.clock_ms += 12_345;
    let second = cluster.execute(0);
    cluster.settle();
    let of = |node, id| outside(&cluster, node, id).expect("a batch records them");
    assert_eq!(of(2, first).time_ms, START_S * 1000);
    assert_eq!(of(2, second).time_ms, START_S * 1000 + 12_345);
    assert_ne!(of(2, first).entropy, of(2, second).entropy);
    assert_eq!(
        outside(&cluster, 2, cluster.last(2)),
        None,
        "a signature reads nothing from outside"
    );
}

#[test]
fn so_many_versions_below_the_committed_one_stay_readable_and_no_more() {
    let settings = Settings { retained_entries: 3, ..EAGER };
    let mut cluster = Cluster::led(Plan { settings, ..Plan::default() });
    for _ in 0..5 {
        cluster.execute(0);
        cluster.settle();
    }
    cluster.run(2);
    for node in 0..3 {
        let (reader, committed) = (cluster.replica(node).reader(), cluster.committed(node).seqno.0);
        assert!(reader.snapshot(Seqno(committed - 3)).is_ok());
        assert!(reader.snapshot(Seqno(committed - 4)).is_err());
    }
}

//! Snapshots: every node makes the same, the ledger says which, and a node starts from one as from the whole ledger.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use coco_consensus::Configuration;
use coco_kv::{Domain, WriteSet};
use coco_ledger::{
    ConfigurationRow, EntryFlags, EntryView, GenesisNode, SnapshotEvidence, SnapshotFile,
    SnapshotName, Verifier, chunk_files,
};
use coco_replica::{Input, JoinRequest, LoadError, Loader, Settings, ShownEvidence, SnapshotTask};
use coco_types::{Digest, NodeId, Seqno, TxId, View};

use crate::{
    bank,
    genesis::{Keys, secret},
    network::{Cluster, Disk, EAGER, Plan, index},
    picture::{INDEX_KEY, Picture},
};

const ENTRIES: u64 = 12;

/// A node's thread for snapshots.
#[derive(Default)]
pub(crate) struct Making {
    pub(crate) tasks: VecDeque<SnapshotTask>,
    /// The thread does not run.
    pub(crate) held: bool,
    /// The entry of a snapshot that waits for its evidence.
    made: Option<(SnapshotEvidence, Vec<u8>)>,
}

impl Cluster {
    /// Does the oldest task of a node's thread for snapshots; false when there is none.
    pub(crate) fn snapshot(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        // A file is complete only where the ledger that vouches for it is on the same disk.
        let is_early = |task: &mut SnapshotTask| matches!(task, SnapshotTask::Finish(finish) if this.disk.entries.len() < index(finish.signature));
        let Some(task) = this.snapshots.tasks.pop_front_if(|task| !is_early(task)) else {
            return false;
        };
        let state = this.replica.as_ref().expect("it is up").state();
        let secrets = state.read().secrets().clone();
        match task {
            SnapshotTask::Make(make) => {
                let seqno = make.tx_id().seqno;
                let entry = this.ledger[index(seqno) - 1].clone();
                let sealed = make.seal(&secrets, &entry).expect("it can be made");
                let digest = sealed.digest;
                let bytes = [sealed.head, sealed.sealed].concat();
                this.snapshots.made = Some((SnapshotEvidence { seqno, digest }, bytes));
                self.step(node, Input::SnapshotMade(seqno, Some(digest)));
            }
            SnapshotTask::Finish(finish) => {
                let (evidence, signature) = (finish.evidence.seqno, finish.signature);
                let name = SnapshotName { seqno: finish.snapshot.seqno, evidence };
                let [evidence, signature] =
                    [evidence, signature].map(|seqno| this.ledger[index(seqno) - 1].clone());
                let receipt = finish
                    .receipt(&secrets, &state, &evidence, &signature)
                    .expect("they make a receipt");
                let made = this.snapshots.made.take_if(|(made, _)| *made == finish.snapshot);
                if let Some((_, entry)) = made {
                    this.disk.snapshots.insert(name, [entry, receipt].concat());
                }
            }
        }
        true
    }

    fn snapshots(&self, node: usize) -> &BTreeMap<SnapshotName, Vec<u8>> {
        &self.nodes[node].disk.snapshots
    }

    /// Takes the power from a node at rest, and starts it again.
    fn restart(&mut self, node: usize) {
        self.crash(node);
        self.start(node);
    }

    fn image(&self, node: usize) -> [Vec<u8>; 2] {
        image(&self.replica(node).reader())
    }
}

/// All that a store holds, as bytes.
fn image(reader: &coco_kv::Reader) -> [Vec<u8>; 2] {
    let head = reader.head();
    [Domain::Public, Domain::Private].map(|domain| head.encode(domain, &WriteSet::new()))
}

fn from_genesis(entries: &[Bytes]) -> Loader {
    let mut loader = Loader::new(secret(), bank::schema(), INDEX_KEY, 0);
    for entry in entries {
        loader.push(entry.clone(), false).expect("entries of a ledger can be loaded");
    }
    loader
}

/// The ledger as of the newest snapshot on a disk; none without one.
pub(crate) fn loader(keys: &Keys, node: usize, disk: &Disk, retained: u64) -> Option<Loader> {
    let Keys::Real { service, .. } = keys else { return None };
    let (name, file) = disk.snapshots.last_key_value()?;
    let snapshot = SnapshotFile::split(file).expect("it has a proof");
    let snapshot = snapshot.verify(*name, &service.pem()).expect("the service stands by it");
    let loader = Loader::from_snapshot(keys.keyring(node), bank::schema(), retained, snapshot);
    Some(loader.expect("it is of this ledger"))
}

fn plan() -> Plan {
    Plan { settings: Settings { snapshot_entries: ENTRIES, ..EAGER }, ..Plan::default() }
}

fn led(plan: Plan) -> Cluster {
    let nodes = plan.nodes;
    let mut cluster = Cluster::with_keys(plan, Keys::real(nodes));
    cluster.step(0, Input::Campaign);
    cluster.settle();
    assert_eq!(cluster.primary(), Some(0));
    cluster
}

fn pay(cluster: &mut Cluster, node: usize, times: usize) {
    for _ in 0..times {
        cluster.execute(node);
        cluster.settle();
    }
}

#[test]
fn every_node_makes_the_same_and_the_ledger_vouches_for_it() {
    let mut cluster = led(plan());
    pay(&mut cluster, 0, 30);
    cluster.run(3);
    cluster.assert_equal();
    let names: Vec<_> = cluster.snapshots(0).keys().copied().collect();
    let entries = cluster.nodes[0].disk.entries.clone();
    assert_eq!(names.len() as u64, entries.len() as u64 / ENTRIES, "{names:?}");
    let Keys::Real { service, .. } = &cluster.keys else { unreachable!("they are real") };
    let mut verifier = Verifier::new(service.clone()).with_secret(secret());
    for (name, bytes) in chunk_files(&entries) {
        verifier.chunk(&name.to_string(), &bytes).expect("the auditor accepts the chunk");
    }
    for node in 0..3 {
        assert!(cluster.snapshots(node) == cluster.snapshots(0), "n{node}");
    }
    for (name, file) in cluster.snapshots(0) {
        let flags = EntryView::parse(&entries[index(name.seqno) - 1]).expect("an entry").flags();
        assert!(flags.contains(EntryFlags::CHUNK_AFTER), "a chunk ends at {}", name.seqno);
        let snapshot = SnapshotFile::split(file).expect("it has a proof");
        let snapshot = snapshot.verify(*name, &service.pem()).expect("it holds");
        verifier.check_snapshot(&name.to_string(), &snapshot).expect("the ledger vouches for it");
    }
}

#[test]
fn a_quiet_network_makes_no_more_snapshots() {
    let mut cluster = led(plan());
    pay(&mut cluster, 0, 12);
    cluster.run(200);
    let (last, snapshots) = (cluster.last(0), cluster.snapshots(0).len());
    assert!(snapshots > 0);
    cluster.run(200);
    assert_eq!((cluster.last(0), cluster.snapshots(0).len()), (last, snapshots));
}

#[test]
fn a_snapshot_and_the_tail_are_the_whole_ledger() {
    let mut cluster = led(Plan { batch: 3, ..plan() });
    let mut primary = 0;
    for round in 0..4 {
        pay(&mut cluster, primary, 9);
        cluster.isolate(primary);
        // Never committed, so in no snapshot; the index and the clock forget them.
        cluster.execute(primary);
        cluster.execute(primary);
        primary = cluster.elect_another(primary);
        cluster.heal();
        cluster.run(3);
        pay(&mut cluster, primary, 4);
        for node in 0..3 {
            cluster.restart(node);
            assert!(!cluster.snapshots(node).is_empty(), "round {round}");
            assert_eq!(cluster.picture(node), cluster.twin(node), "round {round}, n{node}");
            let whole = from_genesis(&cluster.nodes[node].disk.entries);
            assert!(cluster.image(node) == image(&whole.reader()), "round {round}, n{node}");
            cluster.run(1);
        }
        primary = cluster.elect_another(usize::MAX);
        pay(&mut cluster, primary, 1);
        cluster.run(3);
        cluster.assert_equal();
        for node in 1..3 {
            // A snapshot made by a node that began from one is the one that the others made.
            let both = |(name, file): (&SnapshotName, &Vec<u8>)| {
                cluster.snapshots(0).get(name).is_none_or(|other| other == file)
            };
            assert!(cluster.snapshots(node).iter().all(both), "round {round}, n{node}");
        }
    }
    assert!(cluster.snapshots(0).len() > 4, "{}", cluster.snapshots(0).len());
}

#[test]
fn a_slow_snapshot_is_of_its_version_and_holds_nobody_up() {
    let settings = Settings { retained_entries: 0, ..plan().settings };
    let mut cluster = led(Plan { settings, ..plan() });
    cluster.nodes[1].snapshots.held = true;
    pay(&mut cluster, 0, 6);
    let due = cluster.nodes[1].snapshots.tasks.len();
    assert_eq!(due, 2, "one to make, one to finish");
    pay(&mut cluster, 0, 30);
    assert_eq!(cluster.committed(1), cluster.last(1));
    let made = cluster.snapshots(0).len();
    assert!(made > 1);
    // One at a time: what fell due meanwhile is left out.
    cluster.nodes[1].snapshots.held = false;
    cluster.run(1);
    assert_eq!(cluster.snapshots(1).len(), 1);
    let (name, file) = cluster.snapshots(1).first_key_value().expect("there is one");
    assert!(cluster.snapshots(0).get(name) == Some(file));
    pay(&mut cluster, 0, 10);
    assert!(cluster.snapshots(1).len() > 1, "and the next one is made");
    cluster.assert_equal();
}

#[test]
fn the_next_primary_gives_the_evidence_that_is_owed() {
    let mut cluster = led(plan());
    cluster.nodes[0].snapshots.held = true;
    pay(&mut cluster, 0, 6);
    assert!(cluster.snapshots(1).is_empty(), "only the primary could give evidence");
    cluster.isolate(0);
    let primary = cluster.elect_another(0);
    cluster.run(3);
    assert_eq!(cluster.snapshots(primary).len(), 1);
    cluster.heal();
    cluster.nodes[0].snapshots.held = false;
    cluster.run(50);
    cluster.assert_equal();
    let equal = cluster.snapshots(0) == cluster.snapshots(primary);
    assert!(equal, "the slow one was made in time");
}

#[test]
fn evidence_that_is_rolled_back_is_given_again() {
    let mut cluster = led(plan());
    cluster.nodes[0].snapshots.held = true;
    pay(&mut cluster, 0, 6);
    cluster.isolate(0);
    cluster.nodes[0].snapshots.held = false;
    cluster.settle();
    let ahead = cluster.last(0);
    assert!(ahead > cluster.committed(0), "evidence that never commits");
    let primary = cluster.elect_another(0);
    cluster.heal();
    cluster.run(50);
    pay(&mut cluster, primary, 1);
    cluster.run(3);
    cluster.assert_equal();
    for node in 0..3 {
        assert_eq!(cluster.snapshots(node).len(), 1, "n{node}");
        assert!(cluster.snapshots(node) == cluster.snapshots(primary));
    }
}

#[test]
fn a_ledger_must_show_the_evidence() {
    let mut cluster = led(plan());
    pay(&mut cluster, 0, 6);
    cluster.run(3);
    let disk = cluster.nodes[0].disk.clone();
    let (name, _) = disk.snapshots.first_key_value().expect("there is one");
    let load = |entries: &[Bytes]| {
        let mut loader = loader(&cluster.keys, 0, &disk, 0).expect("there is a snapshot");
        for entry in &entries[index(name.seqno)..] {
            loader.push(entry.clone(), false)?;
        }
        Ok::<_, LoadError>(loader.awaited())
    };
    assert_eq!(load(&disk.entries).expect("it loads"), None);
    let short = load(&disk.entries[..index(name.evidence) - 1]).expect("it loads");
    assert_eq!(short.map(|id| id.seqno), Some(name.evidence));

    // Another ledger of the same service that parts with ours after the snapshot: a fork.
    let id = EntryView::parse(&disk.entries[index(name.evidence) - 1]).expect("an entry").tx_id();
    let mut fork = disk.entries[..index(name.seqno)].to_vec();
    for seqno in name.seqno.0 + 1..=name.evidence.0 {
        let id = TxId { view: id.view, seqno: Seqno(seqno) };
        let empty = WriteSet::new();
        let entry = coco_ledger::seal(&secret(), id, EntryFlags::NONE, &Digest::ZERO, &empty);
        fork.push(entry.expect("it is small").bytes);
    }
    assert!(matches!(load(&fork), Err(LoadError::Evidence { .. })));
    let whole = Picture::of_entries(secret().into(), &fork, 0);
    assert_eq!(whole.last.seqno, name.evidence, "by itself it is a ledger");
}

/// Entries into a loader, as of a disk on which no chunk is known to be committed.
fn push(loader: &mut Loader, entries: &[Bytes]) {
    for entry in entries {
        loader.push(entry.clone(), false).expect("entries of a ledger can be loaded");
    }
}

/// An entry that names the voters and learners.
fn naming(last: TxId, configuration: &Configuration) -> Bytes {
    let id = TxId { view: last.view, seqno: last.seqno.next() };
    let Configuration { voters, outgoing, learners } = configuration.clone();
    let mut writes = WriteSet::new();
    ConfigurationRow { voters, outgoing, learners }.put(&mut writes);
    let entry = coco_ledger::seal(&secret(), id, EntryFlags::NONE, &Digest::ZERO, &writes);
    entry.expect("it is small").bytes
}

#[test]
fn whoever_starts_from_a_snapshot_knows_who_takes_part() {
    let mut cluster = led(plan());
    let voters: Vec<NodeId> = cluster.nodes.iter().map(|node| node.id).collect();
    let of_first_entry = Configuration::of(voters.clone());
    pay(&mut cluster, 0, 8);
    cluster.run(3);
    let loaded = |cluster: &Cluster, node: usize| {
        let disk = &cluster.nodes[node].disk;
        let mut loader = loader(&cluster.keys, 0, disk, 0).expect("there is a snapshot");
        let at = loader.last().seqno;
        // As of the snapshot, and of all.
        let early = loader.configuration();
        push(&mut loader, &disk.entries[index(at)..]);
        (at, early, loader)
    };
    let (_, early, before) = loaded(&cluster, 0);
    assert_eq!(early, Some((of_first_entry.clone(), None)), "of an entry below the snapshot");
    assert_eq!(
        before.configuration(),
        from_genesis(&cluster.nodes[0].disk.entries).configuration()
    );

    // One more takes part, as a learner; then there is a snapshot of that.
    cluster.isolate(2);
    cluster.run(50);
    let newcomer = NodeId([9; 32]);
    let node = GenesisNode {
        node_id: newcomer,
        certificate_pem: "no certificate".into(),
        request_pem: None,
        quote_format: "Insecure_Virtual".into(),
        code_digest: Digest::ZERO,
        rpc_address: "there:1".into(),
        peer_address: "there:2".into(),
        encryption_key_pem: "KEY".into(),
    };
    let request = JoinRequest {
        shown: ShownEvidence::insecure_of(&node),
        node,
        seat: voters[2],
        resumed: None,
    };
    let primary = cluster.primary().expect("there is one");
    cluster.step(primary, Input::Join(Box::new(request)));
    cluster.run(3);
    let joined = Configuration { learners: vec![newcomer], ..of_first_entry };
    assert_eq!(*cluster.replica(primary).configuration(), joined, "it was admitted");
    let admitted = cluster.last(primary).seqno;
    pay(&mut cluster, primary, 16);
    cluster.run(3);
    let (at, early, mut loader) = loaded(&cluster, primary);
    assert!(at > admitted, "the snapshot at {at} is of after the admission");
    assert_eq!(early, Some((joined.clone(), None)));
    assert_eq!(loader.configuration(), early, "of the ledger beside it, too");

    // The newest is not in effect as long as nobody knows that it is committed.
    let gone = Configuration::of(voters);
    let next = naming(loader.last(), &gone);
    push(&mut loader, &[next]);
    let seqno = loader.last().seqno;
    assert_eq!(loader.configuration(), Some((joined.clone(), Some((seqno, gone)))));

    // What may not follow the configuration of the snapshot is refused.
    let (_, _, mut loader) = loaded(&cluster, primary);
    let others = Configuration::of([5, 6, 7].map(|n| NodeId([n; 32])).to_vec());
    let next = naming(loader.last(), &others);
    let refused = loader.push(next, false);
    assert!(matches!(refused, Err(LoadError::ConfigurationOrder { .. })), "{refused:?}");

    // A node goes on in that configuration.
    cluster.restart(primary);
    assert_eq!(*cluster.replica(primary).configuration(), joined);
    assert!(cluster.replica(primary).state().read().view() > View::GENESIS);
    let primary = cluster.elect_another(usize::MAX);
    pay(&mut cluster, primary, 1);
    assert_eq!(cluster.committed(primary), cluster.last(primary));
}

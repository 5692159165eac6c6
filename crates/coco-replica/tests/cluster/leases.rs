//! Leases: a node that does not show in time what it runs is let go, and comes back with new evidence.

use std::sync::OnceLock;

use bytes::Bytes;
use coco_governance::{
    Audit, AuditedEntry, Engine,
    tables::{self, NODES_ENDORSED_CERTIFICATES, NODES_LEASES},
};
use coco_kv::{Domain, MapName, StateImage, Store, WriteSet};
use coco_ledger::{EntryView, GenesisNode, MerkleTree, NODES_MAP, NodeStatus, SignatureRecord};
use coco_replica::{
    GovernReply, Input, IntroductionReply, JoinReply, JoinRequest, LEASE_GRACE_MS, LEASE_LOOK_MS,
    Leads, SECRET_LOOK_MS, ShownEvidence,
};
use coco_types::{Digest, NodeId, Seqno};
use serde_json::{Value, json};

use crate::{
    genesis::{Keys, START_S, encryption_key},
    governing::{CODE, Story, introduction, is_not_believed, newcomer},
    network::{EAGER, TICK_MS},
};

const LEASE_S: u64 = 3600;
const FIRST_ENTRIES: u64 = 4;
/// Within so many ticks a primary hands over.
const TICKS_MAX: usize = 100;

impl Story {
    /// The service of so many nodes is open, admits what they run, and gives leases.
    fn leased(nodes: usize) -> Self {
        let mut story = Self::opened(Keys::real(nodes), EAGER);
        let code = json!({ "measurement": Digest::ZERO.to_string() });
        story.accepted("add_virtual_measurement", &code);
        story.accepted("set_service_configuration", &json!({ "node_lease_s": LEASE_S }));
        story.wait(LEASE_LOOK_MS);
        story
    }

    /// Time passes, tick by tick.
    fn wait(&mut self, ms: u64) {
        self.cluster.run(usize::try_from(ms / TICK_MS + 1).expect("few ticks"));
    }

    /// Long enough for leases that are over to be ended, and for what follows.
    fn wait_grace(&mut self) {
        self.wait(LEASE_GRACE_MS + 4 * LEASE_LOOK_MS);
    }

    fn seats(&self) -> Vec<NodeId> {
        self.cluster.keys.ids()
    }

    /// What a node of the first entry says of itself.
    fn record(&self, node: usize, code: Digest) -> GenesisNode {
        GenesisNode {
            node_id: self.seats()[node],
            encryption_key_pem: encryption_key(node).public().pem(),
            ..newcomer(0, code).node
        }
    }

    /// An operator asks a node to remove the row of another one.
    fn remove_row(&mut self, by: usize, node: NodeId) -> GovernReply {
        self.operate(by, |ticket| Input::RemoveNode(ticket, node))
    }

    /// A node that has its seat says what it runs; what the primary answers.
    fn show(&mut self, node: usize, code: Digest) -> JoinReply {
        let primary = self.cluster.primary().expect("there is one");
        let record = self.record(node, code);
        let shown = ShownEvidence::insecure_of(&record);
        let request = JoinRequest { seat: record.node_id, node: record, shown, resumed: None };
        self.cluster.step(primary, Input::Join(Box::new(request)));
        let reply = self.cluster.nodes[primary].joins.pop().expect("it was answered").1;
        self.cluster.settle();
        reply
    }

    /// The first so many nodes say what they run.
    fn show_all(&mut self, nodes: usize, code: Digest) {
        for node in 0..nodes {
            assert_eq!(self.show(node, code), JoinReply::Admitted);
        }
    }

    /// The row of a node's lease, as another node has it.
    fn lease(&self, by: usize, node: usize) -> Value {
        let key = self.seats()[node].to_string();
        self.cluster.row(by, NODES_LEASES, key.as_bytes()).expect("it has a lease")
    }

    fn node_row(&self, by: usize, node: NodeId) -> Value {
        self.cluster.row(by, NODES_MAP, node.to_string().as_bytes()).expect("it has a row")
    }

    /// The entry that wrote a row about a node.
    fn written(&self, by: usize, map: &'static str, node: NodeId) -> Seqno {
        let head = self.cluster.replica(by).reader().head();
        let map = head.map(&MapName::from_static(map)).expect("it is there");
        head.written(map, node.to_string().as_bytes()).expect("there is a row")
    }

    fn voters(&self, by: usize) -> Vec<NodeId> {
        self.cluster.replica(by).configuration().voters.clone()
    }

    fn periods(&self, by: usize) -> usize {
        self.cluster.replica(by).state().read().secrets().periods().len()
    }

    /// What an auditor makes of a node's ledger, as far as its members and nodes go.
    fn audit(&self, node: usize) -> Result<(), String> {
        static ENGINE: OnceLock<Engine> = OnceLock::new();

        fn parse(entry: &Bytes) -> EntryView<'_> {
            EntryView::parse(entry).expect("an entry")
        }
        let views: Vec<_> = self.cluster.nodes[node].ledger.iter().map(parse).collect();
        let (mut store, mut tree) = (Store::new(tables::maps(), [0; 2]), MerkleTree::new());
        views.iter().for_each(|view| tree.append(view.leaf()));
        let (first, rest) = views.split_at(usize::try_from(FIRST_ENTRIES).expect("few"));
        for view in first {
            let writes = view.public_writes().expect("writes");
            store.apply_view(view.tx_id().seqno, &writes).expect("in order");
        }
        let image = store.reader().head().encode(Domain::Public, &WriteSet::new());
        let image = StateImage::parse(&image, Domain::Public, store.version()).expect("an image");
        let engine = ENGINE.get_or_init(Engine::new);
        let mut audit = Audit::from_state(engine, store.version(), &image).expect("it begins");
        let time = |view: &EntryView<'_>| {
            Some(SignatureRecord::read(view).expect("a signature")?.issued_at_s)
        };
        for (at, view) in rest.iter().enumerate() {
            let signed_at_s = rest[at..].iter().find_map(time).unwrap_or_default();
            let writes = view.public_writes().expect("writes");
            let root = &|upto: Seqno| tree.root_at(upto.0 + 1);
            let entry = AuditedEntry { tx_id: view.tx_id(), writes: &writes, signed_at_s, root };
            audit.entry(&entry).map_err(|error| format!("{error}: {}", error.fault))?;
        }
        Ok(())
    }
}

/// It is cut off from everybody, so nobody hears from it. The others read on under a secret that it does not have.
#[test]
fn a_node_that_does_not_show_what_it_runs_is_let_go_and_comes_back_with_evidence() {
    let mut story = Story::leased(4);
    assert_eq!(story.lease(1, 3)["ended_at"], Value::Null);
    story.cluster.isolate(3);
    story.cluster.clock_ms += LEASE_S * 500;
    story.show_all(3, Digest::ZERO);
    story.cluster.clock_ms += LEASE_S * 600;
    story.show_all(3, Digest::ZERO);
    story.wait(LEASE_LOOK_MS + LEASE_GRACE_MS / 2);
    assert_eq!(story.voters(0).len(), 4, "it has some time to be heard of");
    story.wait_grace();
    let seats = story.seats();
    assert_eq!(story.voters(0), seats[..3]);
    assert!(story.lease(1, 3)["ended_at"].as_u64() > Some(START_S + LEASE_S));
    assert_eq!(story.node_row(1, seats[3])["status"], "Pending");
    for node in 0..3 {
        assert_eq!(story.periods(node), 2, "node {node} has the new secret");
    }
    let row = story.cluster.row(0, coco_replica::NODE_SECRETS_MAP, &[0; 8]).expect("a row");
    let named = row["secrets"].as_object().expect("by node").clone();
    assert!(!named.contains_key(&seats[3].to_string()) && named.len() == 3, "{named:?}");
    story.wait_grace();
    assert_eq!(story.periods(0), 2, "once is enough");

    assert_eq!(story.show(3, Digest::ZERO), JoinReply::Quarantined);
    let other = introduction(story.record(3, CODE));
    assert!(is_not_believed(&story.introduce(&other)));
    let again = introduction(story.record(3, Digest::ZERO));
    let reply = story.introduce(&again);
    let IntroductionReply::Known { status: NodeStatus::Trusted, .. } = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(story.lease(1, 3)["ended_at"], Value::Null);
    assert_eq!(story.node_row(1, seats[3])["rpc_interfaces"], {
        json!({ "primary_rpc_interface": { "bind_address": "there:1", "published_address": "there:1" } })
    });
    assert_eq!(story.show(3, Digest::ZERO), JoinReply::Admitted);
    story.cluster.run(5);
    assert_eq!(story.cluster.replica(0).configuration().learners, seats[3..]);
    assert_eq!(story.audit(0), Ok(()));
}

/// The clock of the primary jumps a year ahead, and back. Whoever runs shows itself while the primary waits.
#[test]
fn a_clock_that_jumps_lets_nobody_go() {
    let mut story = Story::leased(3);
    story.cluster.clock_ms += 365 * 24 * 3600 * 1000;
    story.wait(LEASE_LOOK_MS + LEASE_GRACE_MS / 2);
    story.show_all(3, Digest::ZERO);
    story.wait_grace();
    assert_eq!(story.voters(0).len(), 3);
    // The clock was wrong, and the leases are not of the future now.
    let ahead = story.lease(1, 1)["renewed_at"].as_u64().expect("a time");
    story.cluster.nodes[0].behind_ms = 364 * 24 * 3600 * 1000;
    story.wait(2 * LEASE_LOOK_MS);
    let after = story.lease(1, 1)["renewed_at"].as_u64().expect("a time");
    assert!(after < ahead, "{after} and {ahead}");
}

/// Members revoke the code of the primary alone. It cannot renew its lease, hands over and leaves; and where all run such code,
/// nobody does.
#[test]
fn a_primary_whose_lease_is_over_hands_over_and_lets_nobody_go() {
    let mut story = Story::leased(3);
    let seats = story.seats();
    story.cluster.clock_ms += LEASE_S * 1100;
    story.wait(LEASE_LOOK_MS);
    for node in 1..3 {
        assert_eq!(story.show(node, Digest::ZERO), JoinReply::Admitted);
    }
    assert_eq!(story.show(0, CODE), JoinReply::Admitted, "it has its seat, and its lease is over");
    story.wait_grace();
    assert_ne!(story.cluster.primary(), Some(0));
    story.wait_grace();
    let primary = story.cluster.primary().expect("there is one");
    assert_eq!(story.voters(primary), seats[1..]);
    assert_eq!(story.node_row(primary, seats[0])["status"], "Pending");

    story.cluster.clock_ms += LEASE_S * 1100;
    story.wait_grace();
    story.wait_grace();
    let primary = story.cluster.primary().expect("there is one");
    assert_eq!(story.voters(primary), seats[1..], "nobody is left who could let anybody go");
    assert_eq!(story.audit(primary), Ok(()));
}

/// It may have kept what it knew.
#[test]
fn the_ledger_has_another_secret_once_a_removed_node_has_left() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let gone = story.seats()[2];
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    story.wait(SECRET_LOOK_MS);
    assert_eq!([0, 1].map(|node| story.periods(node)), [2, 2]);
    story.wait(2 * SECRET_LOOK_MS);
    assert_eq!(story.periods(0), 2, "once is enough");
    assert_eq!(story.show(2, Digest::ZERO), JoinReply::Retired);
    assert_eq!(story.audit(0), Ok(()));
}

/// It has its place until its successor lets it go, and shows what it runs meanwhile. Whoever members do not trust has no lease.
#[test]
fn a_removed_primary_that_still_has_its_place_gets_no_longer_lease() {
    let mut story = Story::leased(3);
    let gone = story.seats()[0];
    story.cluster.clock_ms += LEASE_S * 500;
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    let is_over = |story: &Story| story.cluster.primary().is_some_and(|primary| primary != 0);
    let mut ticks = 0..TICKS_MAX;
    while !is_over(&story) {
        ticks.next().expect("it hands over");
        story.cluster.run(1);
    }
    let primary = story.cluster.primary().expect("there is one");
    assert!(story.voters(primary).contains(&gone), "it has its place");
    let before = story.lease(primary, 0);
    story.show(0, Digest::ZERO);
    assert_eq!(story.lease(primary, 0)["renewed_at"], before["renewed_at"]);
    story.wait_grace();
    assert_eq!(story.audit(primary), Ok(()));
}

/// Operators need nobody's vote for it, and there is nothing in it that members have not decided.
#[test]
fn what_the_ledger_says_of_a_node_is_removed_once_it_has_left() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let [stays, gone] = [1, 2].map(|node| story.seats()[node]);
    let code = |reply| match reply {
        GovernReply::Refused(error) => error.code.as_str(),
        other => panic!("{other:?}"),
    };
    assert_eq!(story.remove_row(1, gone), GovernReply::NotPrimary(Some(story.seats()[0])));
    assert_eq!(code(story.remove_row(0, gone)), "NodeNotRetiredCommitted", "it takes part");
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    assert_eq!(code(story.remove_row(0, gone)), "NodeNotRetiredCommitted", "it is leaving");
    story.wait(SECRET_LOOK_MS);
    assert_eq!(story.node_row(0, gone)["retired_committed"], true);
    let GovernReply::Done { .. } = story.remove_row(0, gone) else { panic!() };
    for by in [0, 1] {
        for map in [NODES_MAP, NODES_ENDORSED_CERTIFICATES] {
            assert_eq!(story.cluster.row(by, map, gone.to_string().as_bytes()), None);
        }
        assert_eq!(story.node_row(by, stays)["status"], "Trusted");
    }
    assert_eq!(code(story.remove_row(0, gone)), "ResourceNotFound", "once is enough");
    // That its seat was taken away stays known.
    assert_eq!(story.show(2, Digest::ZERO), JoinReply::Retired);
    let again = introduction(story.record(2, Digest::ZERO));
    let IntroductionReply::Known { status: NodeStatus::Retired, .. } = story.introduce(&again)
    else {
        panic!()
    };
    story.wait(2 * SECRET_LOOK_MS);
    assert_eq!(story.periods(0), 2);
    assert_eq!(story.audit(0), Ok(()));
}

/// Its clock was an hour ahead when the node left, and is put right.
#[test]
fn a_clock_that_was_ahead_costs_the_ledger_one_secret() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let gone = story.seats()[2];
    story.cluster.clock_ms += 3_600_000;
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    story.wait(SECRET_LOOK_MS);
    assert_eq!(story.periods(0), 2);
    story.cluster.nodes.iter_mut().for_each(|node| node.behind_ms = 3_600_000);
    story.wait(3 * SECRET_LOOK_MS);
    assert_eq!(story.periods(0), 2, "once is enough");
}

/// Members do not want it back. What it shows then is no reason to take it.
#[test]
fn a_node_that_members_remove_while_it_is_quarantined_stays_out() {
    let mut story = Story::leased(4);
    let gone = story.seats()[3];
    story.cluster.isolate(3);
    story.cluster.clock_ms += LEASE_S * 500;
    story.show_all(3, Digest::ZERO);
    story.cluster.clock_ms += LEASE_S * 600;
    story.show_all(3, Digest::ZERO);
    story.wait_grace();
    assert_eq!(story.node_row(0, gone)["status"], "Pending");
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    let again = introduction(story.record(3, Digest::ZERO));
    let reply = story.introduce(&again);
    let IntroductionReply::Known { status: NodeStatus::Retired, .. } = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(story.show(3, Digest::ZERO), JoinReply::Retired, "its process learns that, too");
    assert_eq!(story.audit(0), Ok(()));
}

/// Their leases end one after the other, since they were renewed at different times.
#[test]
fn nodes_that_all_run_revoked_code_stay_what_they_are() {
    let mut story = Story::leased(3);
    let seats = story.seats();
    for node in [1, 2, 0] {
        story.cluster.clock_ms += LEASE_S * 260;
        assert_eq!(story.show(node, Digest::ZERO), JoinReply::Admitted);
    }
    for _ in 0..6 {
        story.cluster.clock_ms += LEASE_S * 200;
        story.show_all(3, CODE);
        story.wait_grace();
        let primary = story.cluster.primary().expect("there is one");
        assert_eq!(story.voters(primary), seats);
    }
    let primary = story.cluster.primary().expect("there is one");
    assert_eq!(story.audit(primary), Ok(()));
}

/// It was away while the other was let in again, and nobody else sends it entries.
#[test]
fn a_quarantined_node_is_listened_to_again_once_another_says_that_it_leads() {
    let mut story = Story::leased(4);
    let seats = story.seats();
    story.cluster.isolate(3);
    for share in [500, 600] {
        story.cluster.clock_ms += LEASE_S * share;
        story.show_all(3, Digest::ZERO);
    }
    story.wait_grace();
    assert_eq!(story.node_row(2, seats[3])["status"], "Pending");
    let quarantined = story.written(2, NODES_MAP, seats[3]);
    story.cluster.heal();
    story.cluster.isolate(2);
    let again = introduction(story.record(3, Digest::ZERO));
    let reply = story.introduce(&again);
    assert!(matches!(reply, IntroductionReply::Known { status: NodeStatus::Trusted, .. }));
    assert_eq!(story.show(3, Digest::ZERO), JoinReply::Admitted);
    story.cluster.run(5);
    assert!(story.voters(0).contains(&seats[3]));
    story.cluster.step(0, Input::TransferTo(seats[3]));
    story.cluster.settle();
    assert_eq!(story.cluster.primary(), Some(3));

    let committed = |story: &Story, node| story.cluster.committed(node).seqno;
    let (far, behind) = (committed(&story, 0), committed(&story, 2));
    let tell = |story: &mut Story, by: usize, committed| {
        let leads = Leads { node: seats[3], committed };
        story.cluster.step(2, Input::Told(seats[by], leads));
        story.cluster.settle();
        story.cluster.replica(2).listens_to(seats[3]).expect("a row")
    };
    story.cluster.heal();
    story.cluster.run(TICKS_MAX);
    assert_eq!(committed(&story, 2), behind, "it has heard nothing");
    assert!(!tell(&mut story, 3, far), "its own word counts for nothing");
    assert!(!tell(&mut story, 0, quarantined.previous()), "who is behind may follow it still");
    assert!(tell(&mut story, 0, quarantined));
    story.cluster.run(TICKS_MAX);
    assert_eq!(story.node_row(2, seats[3])["status"], "Trusted");
    assert_eq!(story.cluster.committed(2), story.cluster.committed(3));
    assert_eq!(story.audit(2), Ok(()));
}

//! Members' requests: carried out beside the replica, committed by it, and followed up where they are about nodes.

use std::{
    collections::VecDeque,
    sync::{Mutex, OnceLock, PoisonError},
};

use coco_adapter::Ticket;
use coco_attest::AppraiseEvidenceError;
use coco_consensus::Configuration;
use coco_crypto::{
    Certificate, Curve, SHARING_SEED_BYTES, SigningKey, Validity, service_certificate, sha256,
};
use coco_governance::{
    DEFAULT_CONSTITUTION, Engine, ErrorCode, FirstGovernance, FirstMember, Governance, MemberId,
    Message, PROPOSAL_AGE_DEFAULT_S, ProposalId, ProposalView, Reply, Route, sign_request, tables,
};
use coco_kv::MapName;
use coco_ledger::{ENDORSED_CERTIFICATES_MAP, GenesisNode, NodeStatus, SERVICE_MAP, ServiceStatus};
use coco_replica::{
    GOVERN_WAITING_BY_MEMBER_MAX, GOVERN_WAITING_MAX, GovernReply, GovernRequest, GovernTask,
    Input, Introduction, IntroductionReply, JoinReply, JoinRequest, PENDING_NODES_MAX, Settings,
    ShownEvidence, Unasked,
};
use coco_types::{Digest, NodeId, TxId, TxStatus};
use serde_json::{Value, json};

use crate::{
    genesis::{FirstEntries, Keys, START_S},
    network::{Cluster, EAGER, Plan},
};

/// A node's thread for members' requests.
#[derive(Default)]
pub(crate) struct Governor {
    pub(crate) tasks: VecDeque<GovernTask>,
    /// The thread does not run.
    pub(crate) held: bool,
    pub(crate) replies: Vec<(Ticket, GovernReply)>,
    pub(crate) refused: Vec<Unasked>,
}

fn governance() -> &'static Mutex<Governance> {
    static GOVERNANCE: OnceLock<Mutex<Governance>> = OnceLock::new();
    GOVERNANCE.get_or_init(|| Mutex::new(Governance::new(&Engine::new())))
}

impl Cluster {
    /// Does the oldest task of a node's thread for requests; false when there is none.
    pub(crate) fn carry_out_request(&mut self, node: usize) -> bool {
        let Some(task) = self.nodes[node].governing.tasks.pop_front() else { return false };
        let last = self.last(node);
        let governed = {
            let mut governance = governance().lock().unwrap_or_else(PoisonError::into_inner);
            let seed: [u8; SHARING_SEED_BYTES] = sha256(format!("{task:?} {last}").as_bytes()).0;
            task.run(&mut governance, &seed)
        };
        self.step(node, Input::Governed(Box::new(governed)));
        true
    }

    pub(crate) fn row(&self, node: usize, map: &'static str, key: &[u8]) -> Option<Value> {
        let head = self.replica(node).reader().head();
        let row = head.get(head.map(&MapName::from_static(map))?, key)?;
        Some(serde_json::from_slice(&row).expect("it is JSON"))
    }
}

const BALLOT: &str = "export function vote () { return true; }";

/// What became of a proposal.
#[track_caller]
pub(crate) fn view(reply: &GovernReply) -> &ProposalView {
    match reply {
        GovernReply::Done { reply: Reply::Proposal(view), .. } => view,
        other => panic!("{other:?}"),
    }
}

/// The one member of a network, and the network.
pub(crate) struct Story {
    pub(crate) key: SigningKey,
    pub(crate) id: MemberId,
    pub(crate) cluster: Cluster,
    tickets: u64,
    /// When the last request says that it was made.
    created_at: u64,
}

impl Story {
    /// Its member is active.
    pub(crate) fn new(keys: Keys, settings: Settings) -> Self {
        Self::of(keys, settings, ServiceStatus::Opening)
    }

    /// Its member is active, and its service is this from the start.
    pub(crate) fn of(keys: Keys, settings: Settings, status: ServiceStatus) -> Self {
        let key = SigningKey::generate(Curve::P384);
        let validity = Validity { not_before: START_S - 3600, not_after: START_S + 3600 };
        let certificate = service_certificate(&key, validity).expect("it can be made");
        let member = FirstMember {
            certificate_pem: certificate.pem(),
            encryption_key_pem: None,
            data: None,
        };
        let members = FirstGovernance {
            constitution: DEFAULT_CONSTITUTION.to_owned(),
            members: vec![member],
            recovery_threshold: None,
            restart_from_disk: false,
            voting_policy: None,
        };
        let nodes = keys.ids().len();
        let first = FirstEntries::Four;
        let members = Some(members);
        let plan = Plan { nodes, first, settings, members, status, ..Plan::default() };
        let mut cluster = Cluster::with_keys(plan, keys);
        cluster.step(0, Input::Campaign);
        cluster.settle();
        let id = MemberId(certificate.digest());
        let mut story = Self { key, id, cluster, tickets: 0, created_at: 0 };
        story.become_active();
        story
    }

    fn become_active(&mut self) {
        let id = self.id;
        let (_, digest) = self.done(Route::UpdateStateDigest(id), Message::StateDigest, b"");
        let Reply::StateDigest { state_digest, .. } = digest else { panic!("{digest:?}") };
        let content = json!({ "stateDigest": state_digest }).to_string();
        self.done(Route::Acknowledge(id), Message::Ack, content.as_bytes());
    }

    pub(crate) fn fast() -> Self {
        Self::new(Keys::fast(3), EAGER)
    }

    fn now(&self) -> u64 {
        START_S + self.cluster.clock_ms / 1000
    }

    /// Hands a request to a node.
    pub(crate) fn send(
        &mut self,
        node: usize,
        route: Route,
        message: Message,
        content: &[u8],
    ) -> Ticket {
        // The member does one thing a second.
        self.created_at = self.now().max(self.created_at + 1);
        let envelope = sign_request(&self.key, self.id, message, self.created_at, content);
        let request = GovernRequest { route, envelope: envelope.into() };
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.cluster.step(node, Input::Govern(ticket, request));
        ticket
    }

    pub(crate) fn reply(&self, node: usize, ticket: Ticket) -> Option<&GovernReply> {
        let replies = &self.cluster.nodes[node].governing.replies;
        replies.iter().find(|(other, _)| *other == ticket).map(|(_, reply)| reply)
    }

    /// Hands a request to the first node, and lets everything happen.
    fn ask(&mut self, route: Route, message: Message, content: &[u8]) -> GovernReply {
        let ticket = self.send(0, route, message, content);
        self.cluster.settle();
        self.reply(0, ticket).expect("it was answered").clone()
    }

    pub(crate) fn done(&mut self, route: Route, message: Message, content: &[u8]) -> (TxId, Reply) {
        match self.ask(route, message, content) {
            GovernReply::Done { id, reply } => {
                assert_eq!(self.cluster.status(0, id), TxStatus::Committed);
                (id, reply)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn propose(&mut self, action: &str, args: &Value) -> GovernReply {
        let content = json!({ "actions": [{ "name": action, "args": args }] }).to_string();
        self.ask(Route::CreateProposal, Message::Proposal, content.as_bytes())
    }

    /// Proposes; the one member's proposal is accepted once it has voted for it.
    pub(crate) fn pass(&mut self, action: &str, args: &Value) -> GovernReply {
        let reply = self.propose(action, args);
        let GovernReply::Done { reply: Reply::Proposal(view), .. } = &reply else { return reply };
        if view.proposal_state != tables::ProposalState::Open {
            return reply;
        }
        self.vote(view.proposal_id.parse().expect("it has an id"))
    }

    /// Votes for a proposal.
    fn vote(&mut self, id: ProposalId) -> GovernReply {
        self.vote_by(id, BALLOT)
    }

    /// Votes by this script.
    pub(crate) fn vote_by(&mut self, id: ProposalId, ballot: &str) -> GovernReply {
        let route = Route::SubmitBallot { proposal: id, member: self.id };
        let content = json!({ "ballot": ballot }).to_string();
        self.ask(route, Message::Ballot(id), content.as_bytes())
    }

    /// Somebody who is no member asks a node for something.
    pub(crate) fn operate(
        &mut self,
        node: usize,
        what: impl FnOnce(Ticket) -> Input,
    ) -> GovernReply {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.cluster.step(node, what(ticket));
        self.cluster.settle();
        self.reply(node, ticket).expect("an answer").clone()
    }

    pub(crate) fn accepted(&mut self, action: &str, args: &Value) {
        match self.pass(action, args) {
            GovernReply::Done { reply: Reply::Proposal(view), .. } => {
                assert_eq!(view.proposal_state, tables::ProposalState::Accepted);
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn refused(&mut self, action: &str, args: &Value) -> (ErrorCode, String) {
        match self.pass(action, args) {
            GovernReply::Refused(error) => (error.code, error.message),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_request_is_committed_and_every_node_has_what_it_wrote() {
    let mut story = Story::fast();
    let name = story.id.to_string();
    story
        .accepted("set_member_data", &json!({ "member_id": name, "member_data": { "name": "a" } }));
    story.cluster.run(5);
    story.cluster.assert_equal();
    for node in 0..3 {
        let row = story.cluster.row(node, tables::MEMBERS_INFO, name.as_bytes()).expect("a member");
        assert_eq!(row, json!({ "status": "Active", "member_data": { "name": "a" } }));
    }
}

#[test]
fn a_refused_request_leaves_no_entry() {
    let mut story = Story::fast();
    let before = story.cluster.last(0);
    let (code, _) = story.refused("no_such_action", &json!({}));
    assert_eq!(code, ErrorCode::ProposalFailedToValidate);
    let reply = story.ask(Route::Acknowledge(story.id), Message::StateDigest, b"");
    assert!(matches!(reply, GovernReply::Refused(_)), "{reply:?}");
    assert_eq!(story.cluster.last(0), before);
}

#[test]
fn the_replica_goes_on_while_a_request_is_carried_out() {
    let mut story = Story::fast();
    story.cluster.nodes[0].governing.held = true;
    let ticket = story.send(0, Route::UpdateStateDigest(story.id), Message::StateDigest, b"");
    let paid = story.cluster.execute(0);
    story.cluster.run(5);
    assert_eq!(story.cluster.status(0, paid), TxStatus::Committed);
    assert_eq!(story.reply(0, ticket), None);
    story.cluster.nodes[0].governing.held = false;
    story.cluster.run(5);
    let Some(GovernReply::Done { id, .. }) = story.reply(0, ticket) else { panic!("no answer") };
    assert!(id.seqno > paid.seqno, "it is committed after what came meanwhile");
    assert_eq!(story.cluster.status(0, *id), TxStatus::Committed);
}

#[test]
fn requests_are_carried_out_in_their_order_and_too_many_are_refused() {
    let mut story = Story::fast();
    story.cluster.nodes[0].governing.held = true;
    let route = Route::UpdateStateDigest(story.id);
    // One is with the thread, the others wait.
    let tickets: Vec<Ticket> = (0..GOVERN_WAITING_BY_MEMBER_MAX + 2)
        .map(|_| story.send(0, route, Message::StateDigest, b""))
        .collect();
    let (last, taken) = tickets.split_last().expect("there are some");
    assert_eq!(story.reply(0, *last), Some(&GovernReply::Busy));
    assert!(taken.iter().all(|ticket| story.reply(0, *ticket).is_none()));
    // Others have places of their own, as long as there are any.
    let own = story.id;
    let others = GOVERN_WAITING_MAX - GOVERN_WAITING_BY_MEMBER_MAX;
    let waiting: Vec<Ticket> = (0..=others)
        .map(|n| {
            story.id = MemberId(Digest([u8::try_from(n / 8).expect("few"); 32]));
            story.send(0, route, Message::StateDigest, b"")
        })
        .collect();
    story.id = own;
    let (one_more, others) = waiting.split_last().expect("there are some");
    assert_eq!(story.reply(0, *one_more), Some(&GovernReply::Busy));
    assert!(others.iter().all(|ticket| story.reply(0, *ticket).is_none()));
    story.cluster.nodes[0].governing.held = false;
    story.cluster.run(5);
    let seqnos: Vec<_> = taken
        .iter()
        .map(|ticket| match story.reply(0, *ticket) {
            Some(GovernReply::Done { id, .. }) => id.seqno,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(seqnos.is_sorted_by(|one, next| one < next), "{seqnos:?}");
}

#[test]
fn a_request_of_a_primary_that_is_none_any_more_is_given_back() {
    let mut story = Story::fast();
    story.cluster.nodes[0].governing.held = true;
    let route = Route::UpdateStateDigest(story.id);
    let tickets = [(); 2].map(|()| story.send(0, route, Message::StateDigest, b""));
    story.cluster.isolate(0);
    let new = story.cluster.elect_another(0);
    story.cluster.heal();
    story.cluster.run(50);
    let expected = GovernReply::NotPrimary(Some(story.cluster.nodes[new].id));
    for ticket in tickets {
        let reply = story.reply(0, ticket).expect("it was answered");
        assert!(matches!(reply, GovernReply::NotPrimary(_)), "{reply:?}, {expected:?}");
    }
    // What the thread brings then is nobody's any more.
    let before = story.cluster.last(new);
    story.cluster.nodes[0].governing.held = false;
    story.cluster.settle();
    assert_eq!(story.cluster.last(new), before);
    let ticket = story.send(0, route, Message::StateDigest, b"");
    assert_eq!(story.reply(0, ticket), Some(&expected));
}

/// A service with members waits for them, and opens as the one that they mean.
#[test]
fn members_open_the_service_that_they_mean() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let service = |story: &Story| story.cluster.row(0, SERVICE_MAP, &[0; 8]).expect("a service");
    assert_eq!(service(&story)["status"], "Opening");
    let ours = service(&story)["cert"].as_str().expect("PEM").to_owned();
    let other = other_certificate().pem();
    let (_, message) =
        story.refused("transition_service_to_open", &json!({ "next_service_identity": other }));
    assert!(message.contains("next_service_identity"), "{message}");
    let both = json!({ "next_service_identity": ours, "previous_service_identity": other });
    let (_, message) = story.refused("transition_service_to_open", &both);
    assert!(message.contains("previous_service_identity"), "{message}");
    assert_eq!(service(&story)["status"], "Opening");
    story.accepted("transition_service_to_open", &json!({ "next_service_identity": ours }));
    assert_eq!(service(&story)["status"], "Open");
    assert_eq!(service(&story)["cert"].as_str(), Some(&*ours));
}

/// Nobody could recover it when it opened.
#[test]
fn an_open_service_gets_its_first_recovery_member() {
    let mut story = Story::of(Keys::real(3), EAGER, ServiceStatus::Open);
    let (_, message) = story.refused("set_recovery_threshold", &json!({ "recovery_threshold": 2 }));
    assert!(message.contains("only 0 members hold shares"), "{message}");
    story.accepted("set_recovery_threshold", &json!({ "recovery_threshold": 1 }));
    let key = SigningKey::generate(Curve::P384);
    let validity = Validity { not_before: START_S, not_after: START_S + 10 };
    let certificate = service_certificate(&key, validity).expect("it can be made");
    let admitted = json!({ "cert": certificate.pem(), "encryption_pub_key": ENCRYPTION_KEY });
    story.accepted("set_member", &admitted);
    (story.key, story.id) = (key, MemberId(certificate.digest()));
    story.become_active();
    let member = story.cluster.row(0, tables::MEMBERS_INFO, &story.id.key()).expect("a member");
    assert_eq!(member["status"], "Active");
    let shares = story.cluster.row(0, tables::RECOVERY_SHARES, &[0; 8]).expect("shares");
    assert!(shares["encrypted_shares"][story.id.to_string()].is_string(), "{shares}");
}

/// A key of OpenSSL's. Nobody decrypts here.
const ENCRYPTION_KEY: &str = include_str!("../../../coco-crypto/tests/vectors/rsa2048.public.pem");

fn other_certificate() -> Certificate {
    let validity = Validity { not_before: START_S, not_after: START_S + 10 };
    service_certificate(&SigningKey::generate(Curve::P384), validity).expect("it can be made")
}

#[test]
fn a_snapshot_that_members_ask_for_is_made_by_every_node() {
    let mut story = Story::new(Keys::real(3), Settings { snapshot_entries: 0, ..EAGER });
    story.accepted("trigger_snapshot", &json!({}));
    story.cluster.run(10);
    let names: Vec<Vec<_>> = story
        .cluster
        .nodes
        .iter()
        .map(|node| node.disk.snapshots.keys().copied().collect())
        .collect();
    assert_eq!(names[0].len(), 1, "{names:?}");
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[test]
fn a_snapshot_that_an_operator_asks_for_is_made_by_every_node() {
    let mut story = Story::new(Keys::real(3), Settings { snapshot_entries: 0, ..EAGER });
    story.cluster.settle();
    let primary = story.cluster.nodes[0].id;
    assert_eq!(story.operate(1, Input::AskSnapshot), GovernReply::NotPrimary(Some(primary)));
    let GovernReply::Done { id, reply: Reply::Done } = story.operate(0, Input::AskSnapshot) else {
        panic!()
    };
    story.cluster.run(10);
    for node in &story.cluster.nodes {
        let names: Vec<_> = node.disk.snapshots.keys().collect();
        assert!(matches!(names[..], [name] if name.seqno > id.seqno), "{names:?}");
    }
}

#[test]
fn a_chunk_that_members_ask_for_ends_with_the_next_signature() {
    let mut story = Story::fast();
    let ends = |story: &Story| {
        let ends = |entry: &&bytes::Bytes| {
            let entry = coco_ledger::EntryView::parse(entry).expect("an entry");
            entry.flags().contains(coco_ledger::EntryFlags::CHUNK_AFTER)
        };
        story.cluster.nodes[0].ledger.iter().filter(ends).count()
    };
    assert_eq!(ends(&story), 0);
    story.accepted("trigger_ledger_chunk", &json!({}));
    assert_eq!(ends(&story), 1);
    story.cluster.execute(0);
    story.cluster.settle();
    assert_eq!(ends(&story), 1);
}

/// A backup, or the primary, which hands its place over before it leaves.
#[test]
fn a_node_that_members_remove_leaves() {
    for gone in [2, 0] {
        let mut story = Story::new(Keys::real(3), EAGER);
        let ids = story.cluster.keys.ids();
        story.accepted("remove_node", &json!({ "node_id": ids[gone].to_string() }));
        for _ in 0..100 {
            story.cluster.run(1);
        }
        let stay: Vec<_> = ids.iter().copied().filter(|id| *id != ids[gone]).collect();
        let primary = story.cluster.primary().expect("there is one");
        assert_ne!(primary, gone);
        let found = story.cluster.replica(primary).configuration();
        assert_eq!(*found, Configuration::of(stay));
        let row = story.cluster.row(1, coco_ledger::NODES_MAP, ids[gone].to_string().as_bytes());
        let row = row.expect("the ledger keeps it");
        assert_eq!(row["status"], "Retired");
        assert_eq!(row["retired_committed"], true);
    }
}

/// The ledger says that the configuration without the other is in effect, so it is not asked any more.
#[test]
fn one_of_two_goes_on_alone_from_its_disk_after_the_other_was_removed() {
    let mut story = Story::new(Keys::real(2), EAGER);
    let ids = story.cluster.keys.ids();
    story.accepted("remove_node", &json!({ "node_id": ids[1].to_string() }));
    story.cluster.run(10);
    story.cluster.crash(1);
    story.cluster.crash(0);
    story.cluster.start(0);
    story.cluster.run(50);
    assert_eq!(story.cluster.primary(), Some(0));
    assert_eq!(*story.cluster.replica(0).configuration(), Configuration::of(vec![ids[0]]));
    let id = story.cluster.execute(0);
    story.cluster.settle();
    assert_eq!(story.cluster.status(0, id), TxStatus::Committed);
}

pub(crate) fn introduction(node: GenesisNode) -> Introduction {
    let shown = ShownEvidence::insecure_of(&node);
    Introduction { node, shown, public_key_pem: "key".into() }
}

pub(crate) fn newcomer(n: u8, code: Digest) -> Introduction {
    let node = GenesisNode {
        node_id: NodeId([n; 32]),
        certificate_pem: "endorsed".into(),
        request_pem: None,
        quote_format: "Insecure_Virtual".into(),
        code_digest: code,
        rpc_address: "there:1".into(),
        peer_address: "there:2".into(),
        encryption_key_pem: "KEY".into(),
    };
    introduction(node)
}

impl Story {
    pub(crate) fn introduce(&mut self, introduction: &Introduction) -> IntroductionReply {
        self.cluster.step(0, Input::Introduce(Box::new(introduction.clone())));
        self.cluster.settle();
        let (node, reply) = self.cluster.nodes[0].introduced.pop().expect("it was answered");
        assert_eq!(node, introduction.node.node_id);
        reply
    }

    /// The node asks for its place; what it is told.
    fn join(&mut self, introduction: &Introduction) -> JoinReply {
        self.join_in(introduction.node.node_id, introduction)
    }

    /// The node asks for a seat.
    fn join_in(&mut self, seat: NodeId, introduction: &Introduction) -> JoinReply {
        let reply = self.ask_for(seat, introduction);
        self.cluster.run(3);
        reply
    }

    /// The node asks for a seat, and nothing else happens.
    pub(crate) fn ask_for(&mut self, seat: NodeId, introduction: &Introduction) -> JoinReply {
        let Introduction { node, shown, .. } = introduction.clone();
        let request = JoinRequest { seat, node, shown, resumed: None };
        self.cluster.step(0, Input::Join(Box::new(request)));
        self.cluster.nodes[0].joins.pop().expect("it was answered").1
    }
}

/// Whether members have not admitted what the node showed.
pub(crate) fn is_not_believed(reply: &IntroductionReply) -> bool {
    matches!(reply, IntroductionReply::NotBelieved(reason)
        if matches!(**reason, AppraiseEvidenceError::Appraise(_)))
}

pub(crate) const CODE: Digest = Digest([0xc0; 32]);

/// The code is admitted, and a stranger with it is pending until members trust it.
#[test]
fn a_stranger_is_pending_until_members_trust_it() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let ours = story.cluster.row(0, SERVICE_MAP, &[0; 8]).expect("a service")["cert"].clone();
    story.accepted("transition_service_to_open", &json!({ "next_service_identity": ours }));
    let node = newcomer(9, CODE);
    let id = node.node.node_id;
    assert!(is_not_believed(&story.introduce(&node)));
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let status = |reply| match reply {
        IntroductionReply::Known { status, .. } => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(story.introduce(&node)), NodeStatus::Pending);
    assert_eq!(story.join(&node), JoinReply::NoSuchSeat, "nobody trusts it yet");
    story.accepted("transition_node_to_trusted", &json!({ "node_id": id.to_string() }));
    assert_eq!(status(story.introduce(&node)), NodeStatus::Trusted);
    // Meanwhile its code is revoked, and admitted again.
    let code = json!({ "measurement": CODE.to_string() });
    story.accepted("add_virtual_measurement", &json!({ "measurement": "cd".repeat(32) }));
    story.accepted("remove_virtual_measurement", &code);
    assert_eq!(story.join(&node), JoinReply::OtherCode);
    // Within a second it would be the same proposal.
    story.cluster.run(100);
    story.accepted("add_virtual_measurement", &code);
    assert_eq!(story.join(&node), JoinReply::Admitted);
    let found = story.cluster.replica(0).configuration();
    assert_eq!(found.learners, [id], "it listens until it has everything");
    let head = story.cluster.replica(1).reader().head();
    let map = head.map(&MapName::from_static(ENDORSED_CERTIFICATES_MAP)).expect("a table");
    let certificate = head.get(map, id.to_string().as_bytes()).expect("it is endorsed");
    assert_eq!(&*certificate, b"endorsed");
    // It never comes up, and members remove it again.
    story.accepted("remove_node", &json!({ "node_id": id.to_string() }));
    story.cluster.run(20);
    assert!(story.cluster.replica(0).configuration().learners.is_empty());
    assert_eq!(status(story.introduce(&node)), NodeStatus::Retired);
    assert_eq!(story.join(&node), JoinReply::Retired);
}

/// Its process starts again before it asks for its place, and again while it listens: each time it is another node. When members
/// remove the one that they trusted, the seat is none any more.
#[test]
fn a_trusted_node_that_starts_again_before_it_votes_keeps_its_seat_until_members_take_it() {
    let mut story = Story::new(Keys::real(3), EAGER);
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let [first, second, third] = [9, 10, 11].map(|n| newcomer(n, CODE));
    let seat = first.node.node_id;
    let _pending = story.introduce(&first);
    assert_eq!(story.join_in(seat, &second), JoinReply::NoSuchSeat, "nobody trusts it yet");
    story.accepted("transition_node_to_trusted", &json!({ "node_id": seat.to_string() }));
    assert_eq!(story.join_in(seat, &second), JoinReply::Admitted);
    let learners = |story: &Story| story.cluster.replica(0).configuration().learners.clone();
    assert_eq!(learners(&story), [second.node.node_id]);
    let status = |story: &Story, node: &Introduction| {
        let key = node.node.node_id.to_string();
        let row = story.cluster.row(1, coco_ledger::NODES_MAP, key.as_bytes());
        row.map(|row| row["status"].as_str().expect("a status").to_owned())
    };
    assert_eq!(status(&story, &first).as_deref(), Some("Trusted"), "it passes that on later");
    assert_eq!(status(&story, &second).as_deref(), Some("Pending"));
    // Until it was silent for long enough, it may still be there.
    story.cluster.run(100);
    assert_eq!(story.join_in(seat, &third), JoinReply::Admitted);
    assert_eq!(learners(&story), [third.node.node_id]);
    assert_eq!(status(&story, &second).as_deref(), Some("Retired"));
    story.accepted("remove_node", &json!({ "node_id": seat.to_string() }));
    story.cluster.run(20);
    assert!(learners(&story).is_empty(), "its seat is none any more");
    assert_eq!(status(&story, &third).as_deref(), Some("Retired"));
    assert_eq!(story.join_in(seat, &newcomer(12, CODE)), JoinReply::NoSuchSeat);
}

/// Its process was another node for a while, then its disk was lost: it begins once more, under its first name.
#[test]
fn a_trusted_node_that_begins_once_more_is_trusted_still() {
    let mut story = Story::new(Keys::real(3), EAGER);
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let [first, second] = [9, 10].map(|n| newcomer(n, CODE));
    let seat = first.node.node_id;
    let _pending = story.introduce(&first);
    story.accepted("transition_node_to_trusted", &json!({ "node_id": seat.to_string() }));
    assert_eq!(story.join_in(seat, &second), JoinReply::Admitted);
    story.cluster.run(100);
    assert_eq!(story.join_in(seat, &first), JoinReply::Admitted);
    assert_eq!(story.cluster.replica(0).configuration().learners, [seat]);
    let row = |story: &Story, node: &Introduction| {
        let key = node.node.node_id.to_string();
        story.cluster.row(1, coco_ledger::NODES_MAP, key.as_bytes()).expect("a row")
    };
    assert_eq!(row(&story, &first)["status"], "Trusted");
    assert_eq!(row(&story, &second)["status"], "Retired");
}

#[test]
fn where_no_code_is_admitted_a_newcomer_brings_that_of_its_row() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let code = json!({ "measurement": CODE.to_string() });
    story.accepted("add_virtual_measurement", &code);
    let first = newcomer(9, CODE);
    let seat = first.node.node_id;
    let _pending = story.introduce(&first);
    story.accepted("transition_node_to_trusted", &json!({ "node_id": seat.to_string() }));
    story.accepted("remove_virtual_measurement", &code);
    let [other, same] = [(10, Digest([7; 32])), (11, CODE)].map(|(n, code)| newcomer(n, code));
    assert_eq!(story.join_in(seat, &other), JoinReply::OtherCode);
    assert_eq!(story.join_in(seat, &same), JoinReply::Admitted);
}

/// One of three is away. Were another removed now, its vote would be needed for ever.
#[test]
fn a_node_is_not_removed_while_too_few_of_the_others_answer() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let ids = story.cluster.keys.ids();
    story.cluster.isolate(2);
    story.cluster.run(100);
    story.accepted("remove_node", &json!({ "node_id": ids[1].to_string() }));
    story.cluster.run(100);
    assert_eq!(story.cluster.replica(0).configuration().voters.len(), 3);
    story.cluster.heal();
    story.cluster.run(100);
    let primary = story.cluster.primary().expect("there is one");
    let found = story.cluster.replica(primary).configuration();
    assert_eq!(*found, Configuration::of(vec![ids[0], ids[2]]));
}

#[test]
fn strangers_are_not_many_at_a_time_and_pending_from_the_first_day_on() {
    let mut story = Story::new(Keys::real(3), EAGER);
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let known = |reply| match reply {
        IntroductionReply::Known { status, .. } => Some(status),
        _ => None,
    };
    assert_eq!(known(story.introduce(&newcomer(9, CODE))), Some(NodeStatus::Pending));
    let ours = story.cluster.row(0, SERVICE_MAP, &[0; 8]).expect("a service")["cert"].clone();
    story.accepted("transition_service_to_open", &json!({ "next_service_identity": ours }));
    for n in 1..PENDING_NODES_MAX {
        let n = 100 + u8::try_from(n).expect("few");
        assert_eq!(known(story.introduce(&newcomer(n, CODE))), Some(NodeStatus::Pending));
    }
    assert_eq!(story.introduce(&newcomer(10, CODE)), IntroductionReply::TooMany);
    assert_eq!(known(story.introduce(&newcomer(101, CODE))), Some(NodeStatus::Pending));
}

/// Members may take any constitution. It cannot write what no node could read.
#[test]
fn a_constitution_that_writes_rubbish_about_nodes_is_not_followed() {
    let mut story = Story::fast();
    let constitution = r#"
        export function validate() { return { valid: true, description: "" }; }
        export function resolve() { return "Accepted"; }
        export function apply(text) {
            const { key, row } = JSON.parse(text).actions[0].args;
            ccf.kv["public:ccf.gov.nodes.info"].set(ccf.strToBuf(key), ccf.strToBuf(row));
        }"#;
    story.accepted("set_constitution", &json!({ "constitution": constitution }));
    let before = story.cluster.last(0);
    for (key, row) in [("ab".repeat(32), "{}"), ("ab".repeat(32), "\u{0}"), ("n0".to_owned(), "{}")]
    {
        let (_, message) = story.refused("any", &json!({ "key": key, "row": row }));
        assert!(message.contains("of no node"), "{message}");
    }
    story.cluster.run(5);
    assert_eq!(story.cluster.last(0), before);
}

#[test]
fn a_proposal_ends_on_every_node_and_no_clock_that_is_set_back_revives_it() {
    let mut story = Story::fast();
    let made = story.propose("trigger_snapshot", &json!({}));
    let id = view(&made).proposal_id.parse().expect("an id");
    story.cluster.clock_ms += PROPOSAL_AGE_DEFAULT_S * 1000;
    story.cluster.execute(0);
    story.cluster.settle();
    let late = story.vote(id);
    assert_eq!(view(&late).proposal_state, tables::ProposalState::Dropped);
    assert_eq!(view(&late).ballot_count, 0);
    story.cluster.run(5);
    story.cluster.assert_equal();
    for node in 0..3 {
        let row = story.cluster.row(node, tables::PROPOSALS_INFO, &id.key()).expect("a row");
        assert_eq!(row["state"], "Dropped");
    }
    // The host sets the clock of the primary back to the first day.
    story.cluster.nodes[0].behind_ms = PROPOSAL_AGE_DEFAULT_S * 1000;
    let GovernReply::Refused(refused) = story.vote(id) else { panic!("it is over") };
    assert_eq!(refused.code, ErrorCode::ProposalNotOpen);
    // Time does not fall behind what the ledger has seen, and so no deadline moves into the past.
    let made = story.propose("trigger_ledger_chunk", &json!({}));
    assert!(view(&made).admitted_at >= Some(START_S + PROPOSAL_AGE_DEFAULT_S), "{made:?}");
}

/// A primary that is cut off takes a proposal, and members see its number. The network goes on without it.
#[test]
fn a_ballot_for_a_proposal_that_was_rolled_back_counts_for_no_other() {
    let mut story = Story::fast();
    story.cluster.isolate(0);
    let content = json!({ "actions": [{ "name": "trigger_snapshot" }] }).to_string();
    let ticket = story.send(0, Route::CreateProposal, Message::Proposal, content.as_bytes());
    story.cluster.settle();
    let lost = view(story.reply(0, ticket).expect("it was answered")).proposal_id.clone();
    let lost: ProposalId = lost.parse().expect("an id");
    let ballot = {
        let (key, id, content) = (&story.key, story.id, json!({ "ballot": BALLOT }).to_string());
        sign_request(key, id, Message::Ballot(lost), story.now(), content.as_bytes())
    };
    let new = story.cluster.elect_another(0);
    story.cluster.heal();
    story.cluster.run(100);
    let ticket = story.send(new, Route::CreateProposal, Message::Proposal, content.as_bytes());
    story.cluster.settle();
    let other = view(story.reply(new, ticket).expect("it was answered")).proposal_id.clone();
    let other: ProposalId = other.parse().expect("an id");
    assert_ne!(other, lost, "the same document, signed again");
    for (proposal, expected) in
        [(lost, ErrorCode::ProposalNotFound), (other, ErrorCode::InvalidResourceName)]
    {
        let route = Route::SubmitBallot { proposal, member: story.id };
        let request = GovernRequest { route, envelope: ballot.clone().into() };
        let ticket = Ticket(story.tickets);
        story.tickets += 1;
        story.cluster.step(new, Input::Govern(ticket, request));
        story.cluster.settle();
        match story.reply(new, ticket) {
            Some(GovernReply::Refused(refused)) => assert_eq!(refused.code, expected),
            other => panic!("{other:?}"),
        }
    }
    let row = story.cluster.row(new, tables::PROPOSALS_INFO, &other.key()).expect("a row");
    assert_eq!((&row["state"], &row["ballots"]), (&json!("Open"), &json!({})));
}

#[test]
fn a_member_trusts_as_many_nodes_alone_as_the_policy_says() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let ours = story.cluster.row(0, SERVICE_MAP, &[0; 8]).expect("a service")["cert"].clone();
    story.accepted("transition_service_to_open", &json!({ "next_service_identity": ours }));
    story.accepted("add_virtual_measurement", &json!({ "measurement": CODE.to_string() }));
    let rule = json!({ "rule": "automatic", "per_member": 1 });
    let actions = json!({ "transition_node_to_trusted": rule });
    let policy = json!({ "default": { "rule": "majority" }, "actions": actions });
    story.accepted("set_voting_policy", &policy);
    for (number, state, joined) in [
        (9, tables::ProposalState::Accepted, JoinReply::Admitted),
        (10, tables::ProposalState::Open, JoinReply::NoSuchSeat),
    ] {
        let node = newcomer(number, CODE);
        story.introduce(&node);
        let args = json!({ "node_id": node.node.node_id.to_string() });
        let made = story.propose("transition_node_to_trusted", &args);
        assert_eq!(view(&made).proposal_state, state, "{number}");
        assert_eq!(story.join(&node), joined, "{number}");
    }
}

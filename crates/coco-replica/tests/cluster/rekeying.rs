//! New ledger secrets: every node has them, and nobody needs more than its own key to read on.

use coco_governance::Route;
use coco_ledger::{EntryView, LedgerSecrets, SERVICE_MAP, ServiceStatus};
use coco_replica::{GovernReply, PAST_SECRETS_MAP, Settings, Unasked};
use coco_types::Seqno;
use serde_json::json;

use crate::{genesis::Keys, governing::Story, network::EAGER};

fn begins(secrets: &LedgerSecrets) -> Vec<Seqno> {
    secrets.periods().iter().map(|period| period.from).collect()
}

impl Story {
    /// Its service is open.
    pub(crate) fn opened(keys: Keys, settings: Settings) -> Self {
        let mut story = Self::new(keys, settings);
        let ours = story.cluster.row(0, SERVICE_MAP, &[0; 8]).expect("a service")["cert"].clone();
        story.accepted("transition_service_to_open", &json!({ "next_service_identity": ours }));
        story
    }

    fn secrets(&self, node: usize) -> LedgerSecrets {
        self.cluster.replica(node).state().read().secrets().clone()
    }

    /// Gives the ledger another secret; the first entry under it.
    fn rekey(&mut self) -> Seqno {
        // Within a second it would be the same proposal.
        self.cluster.run(100);
        self.accepted("trigger_ledger_rekey", &json!({}));
        self.secrets(0).newest().from
    }

    /// Pays on every node that leads, and lets it be committed.
    fn pay(&mut self, node: usize) {
        let id = self.cluster.execute(node);
        self.cluster.run(20);
        assert!(self.cluster.committed(node).seqno >= id.seqno);
    }
}

#[test]
fn every_node_reads_on_under_the_new_secret_and_nobody_under_the_old() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    story.pay(0);
    let from = story.rekey();
    story.pay(0);
    let first = story.secrets(0);
    for node in 0..3 {
        let secrets = story.secrets(node);
        assert_eq!(begins(&secrets), [Seqno(1), from]);
        assert_eq!(secrets.encode(), first.encode(), "node {node}");
    }
    story.cluster.assert_equal();
    let entries = &story.cluster.nodes[0].ledger;
    for (entry, seqno) in entries.iter().zip(1..) {
        let entry = EntryView::parse(entry).expect("an entry");
        let [old, new] = [0, 1].map(|n| &first.periods()[n].secret);
        assert_eq!(entry.open(old).is_ok(), Seqno(seqno) < from, "{seqno}");
        assert_eq!(entry.open(new).is_ok(), Seqno(seqno) >= from, "{seqno}");
    }
}

/// Its disk has the entries, and its key opens what they say.
#[test]
fn a_node_that_starts_again_has_all_secrets() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let froms: Vec<Seqno> = (0..3).map(|_| story.rekey()).collect();
    story.pay(0);
    story.cluster.crash(2);
    let later = story.rekey();
    story.cluster.start(2);
    story.cluster.run(50);
    let expected: Vec<Seqno> = [Seqno(1)].into_iter().chain(froms).chain([later]).collect();
    assert_eq!(begins(&story.secrets(2)), expected);
    story.cluster.assert_equal();
}

/// Of several new secrets only the newest is encrypted to it; those before are opened one by one.
#[test]
fn a_node_that_begins_with_a_snapshot_has_all_secrets() {
    let settings = Settings { snapshot_entries: 0, retained_entries: 0, ..EAGER };
    let mut story = Story::opened(Keys::real(3), settings);
    let froms = [story.rekey(), story.rekey()];
    story.accepted("trigger_snapshot", &json!({}));
    story.cluster.run(20);
    assert_eq!(story.cluster.nodes[1].disk.snapshots.len(), 1);
    let expected = story.secrets(1).encode();
    story.cluster.crash(1);
    story.cluster.start(1);
    assert!(story.cluster.replica(1).state().read().last().seqno > froms[1]);
    assert_eq!(begins(&story.secrets(1)), [Seqno(1), froms[0], froms[1]]);
    assert_eq!(story.secrets(1).encode().expose(), expected.expose());
    story.cluster.run(50);
    story.pay(0);
    story.cluster.assert_equal();
}

/// Members say how old a secret may become. Whoever is primary then gives the ledger another one, once.
#[test]
fn a_secret_that_is_too_old_is_replaced_without_a_vote() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let (_, message) =
        story.refused("set_service_configuration", &json!({ "ledger_secret_age_max_s": 60 }));
    assert!(message.contains("ledger_secret_age_max_s"), "{message}");
    story.accepted("set_service_configuration", &json!({ "ledger_secret_age_max_s": 3600 }));
    story.cluster.run(20);
    assert_eq!(story.secrets(0).periods().len(), 1);
    story.cluster.clock_ms += 3_600_000;
    story.cluster.run(20);
    assert_eq!(story.secrets(0).periods().len(), 2);
    story.cluster.clock_ms += 1_800_000;
    story.cluster.run(20);
    assert_eq!(story.secrets(0).periods().len(), 2, "it is new");
    let old = story.cluster.primary().expect("there is one");
    story.cluster.isolate(old);
    let new = story.cluster.elect_another(old);
    story.cluster.heal();
    story.cluster.clock_ms += 1_900_000;
    story.cluster.run(50);
    for node in 0..3 {
        assert_eq!(story.secrets(node).periods().len(), 3, "node {node}");
    }
    story.pay(new);
    story.cluster.assert_equal();
}

/// It leaves and the secret changes before either is committed: as long as it takes part it reads on.
#[test]
fn a_node_that_is_about_to_leave_reads_on_until_it_has_left() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    let gone = story.cluster.keys.ids()[2];
    story.cluster.isolate(0);
    story.accepted("remove_node", &json!({ "node_id": gone.to_string() }));
    story.cluster.run(2);
    let newest = story.cluster.replica(0).newest_configuration().expect("it is under way");
    assert_eq!(newest.voters.len(), 2);
    story.accepted("trigger_ledger_rekey", &json!({}));
    story.cluster.heal();
    story.cluster.run(50);
    assert_eq!(story.cluster.replica(0).configuration().voters.len(), 2);
    assert_eq!(story.secrets(1).periods().len(), 2);
    // It left with the configuration, and the next secret is not for it.
    story.rekey();
    assert_eq!(story.secrets(1).periods().len(), 3);
    assert!(story.secrets(2).periods().len() <= 2);
}

#[test]
fn a_secret_that_was_not_committed_is_nobodys() {
    let mut story = Story::opened(Keys::real(3), EAGER);
    story.cluster.isolate(0);
    let before = story.secrets(0);
    let (name, action) =
        (story.id, json!({ "actions": [{ "name": "trigger_ledger_rekey", "args": {} }] }));
    // It is proposed and voted on where nobody hears it.
    let content = action.to_string();
    let ticket = story.send(
        0,
        Route::CreateProposal,
        coco_governance::Message::Proposal,
        content.as_bytes(),
    );
    story.cluster.settle();
    let Some(GovernReply::Done { reply: coco_governance::Reply::Proposal(view), .. }) =
        story.reply(0, ticket).cloned()
    else {
        panic!("it was not proposed");
    };
    let proposal = view.proposal_id.parse().expect("an id");
    let ballot =
        json!({ "ballot": "export function vote (rawProposal, proposerId) { return true; }" });
    story.send(
        0,
        Route::SubmitBallot { proposal, member: name },
        coco_governance::Message::Ballot(proposal),
        ballot.to_string().as_bytes(),
    );
    story.cluster.settle();
    assert_eq!(story.secrets(0).periods().len(), 2);
    let new = story.cluster.elect_another(0);
    story.cluster.heal();
    story.cluster.run(50);
    assert_eq!(story.secrets(0).encode().expose(), before.encode().expose());
    story.pay(new);
    story.cluster.run(20);
    story.cluster.assert_equal();
    let head = story.cluster.replica(0).reader().head();
    let map = head.map(&coco_kv::MapName::from_static(PAST_SECRETS_MAP)).expect("a table");
    assert!(head.range(map, &[], None, 1).is_empty());
}

/// As in CCF. What opens it says that the newest secret is its first.
#[test]
fn a_ledger_gets_another_secret_only_once_its_service_is_open() {
    let mut story = Story::new(Keys::real(3), EAGER);
    let (_, message) = story.refused("trigger_ledger_rekey", &json!({}));
    assert!(message.contains("the service is not open"), "{message}");
    assert_eq!(begins(&story.secrets(0)), [Seqno(1)]);
}

/// Members hear of it when they look at the log, and the next request of theirs is followed by another attempt.
#[test]
fn an_end_of_a_recovery_that_is_refused_is_said_and_tried_again() {
    let mut story = Story::of(Keys::real(3), EAGER, ServiceStatus::WaitingForRecoveryShares);
    let refusals = |story: &Story| story.cluster.nodes[0].governing.refused.clone();
    let said = refusals(&story);
    assert!(
        !said.is_empty() && said.iter().all(|what| *what == Unasked::EndOfRecovery),
        "{said:?}"
    );
    story.cluster.run(50);
    assert_eq!(refusals(&story), said, "nothing has changed that it reads");
    story.accepted("trigger_ledger_chunk", &json!({}));
    assert!(refusals(&story).len() > said.len());
    // Until it has ended nothing comes between the lost service's last secret and this one's first.
    let (_, message) = story.refused("trigger_ledger_rekey", &json!({}));
    assert!(message.contains("the service is not open"), "{message}");
    assert_eq!(story.secrets(0).periods().len(), 1);
}

/// It would seal what it cannot open.
#[test]
fn a_node_without_a_key_refuses_to_begin_a_period() {
    let mut story = Story::of(Keys::fast(3), EAGER, ServiceStatus::Open);
    let (_, message) = story.refused("trigger_ledger_rekey", &json!({}));
    assert!(message.contains("none of those that would have the new ledger secret"), "{message}");
    story.pay(0);
}

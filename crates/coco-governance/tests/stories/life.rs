//! A proposal is made, voted on, and comes to one of its ends.

use coco_governance::{
    Effect, ErrorCode, Message, OPEN_PROPOSALS_MAX, PROPOSAL_AGE_DEFAULT_S, Reply, tables,
};
use serde_json::json;

use crate::consortium::{CONSTITUTION, Consortium, NO, YES, code, id, state};

#[test]
fn a_majority_of_three_decides() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    assert_eq!((state(&made), made.ballot_count), ("Open".to_owned(), 0));
    let one = c.vote(0, &made, YES).unwrap();
    assert_eq!((state(&one), one.ballot_count), ("Open".to_owned(), 1));
    assert_eq!(one.ballot_submitters, [c.members[0].id().to_string()]);
    assert_eq!((one.final_votes.as_ref(), c.note()), (None, None));
    let two = c.vote(1, &made, YES).unwrap();
    assert_eq!(state(&two), "Accepted");
    assert_eq!(two.final_votes.as_ref().unwrap().len(), 2);
    assert_eq!(c.note().as_deref(), Some("hello"));
    assert_eq!(code(c.vote(2, &made, YES)), ErrorCode::ProposalNotOpen);
    // The table has what CCF's has, and the proposal as it was signed.
    let row = c.json(tables::PROPOSALS_INFO, made.proposal_id.as_bytes()).unwrap();
    assert_eq!(row["proposer_id"], json!(made.proposer_id));
    assert_eq!(row["state"], json!("Accepted"));
    assert_eq!(row["final_votes"], json!(two.final_votes));
    let kept = c.row(tables::PROPOSALS, made.proposal_id.as_bytes()).unwrap();
    assert_eq!(kept, br#"{"actions":[{"args":{"text":"hello"},"name":"set_note"}]}"#);
}

#[test]
fn the_answer_has_ccfs_fields() {
    let mut c = Consortium::new(1);
    let now = c.now;
    let made = c.propose(0, "set_note", &json!({ "text": "x" })).unwrap();
    let member = c.members[0].id().to_string();
    // Beside CCF's fields the two times, which are ours.
    let open = json!({
        "proposalId": made.proposal_id, "proposerId": member, "proposalState": "Open",
        "ballotCount": 0, "ballotSubmitters": [],
        "admittedAt": now, "expiresAt": now + PROPOSAL_AGE_DEFAULT_S,
    });
    assert_eq!(serde_json::to_value(&made).unwrap(), open);
    let voted = c.vote(0, &made, YES).unwrap();
    let votes = std::collections::BTreeMap::from([(member.clone(), true)]);
    let accepted = json!({
        "proposalId": made.proposal_id, "proposerId": member, "proposalState": "Accepted",
        "ballotCount": 1, "ballotSubmitters": [member], "finalVotes": votes,
        "admittedAt": now, "expiresAt": now + PROPOSAL_AGE_DEFAULT_S,
    });
    assert_eq!(serde_json::to_value(&voted).unwrap(), accepted);
}

#[test]
fn votes_against_reject() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    assert_eq!(state(&c.vote(1, &made, NO).unwrap()), "Open");
    let end = c.vote(2, &made, NO).unwrap();
    assert_eq!((state(&end), c.note()), ("Rejected".to_owned(), None));
}

#[test]
fn the_same_ballot_again_changes_nothing_and_another_is_refused() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    let first = c.vote(1, &made, YES).unwrap();
    assert_eq!(c.vote(1, &made, YES).unwrap(), first);
    assert!(c.written.is_empty());
    assert_eq!(code(c.vote(1, &made, NO)), ErrorCode::VoteAlreadyExists);
}

#[test]
fn its_proposer_withdraws_it_and_nobody_else() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    assert_eq!(code(c.withdraw(1, &made)), ErrorCode::AuthorizationFailed);
    let Reply::Proposal(view) = c.withdraw(0, &made).unwrap() else { panic!() };
    assert_eq!(state(&view), "Withdrawn");
    assert_eq!(code(c.vote(1, &made, YES)), ErrorCode::ProposalNotOpen);
    assert_eq!(c.withdraw(0, &made).unwrap(), Reply::Proposal(view));
    assert!(c.written.is_empty(), "again changes nothing");
    // Once another is decided, this one is not known any more, and withdrawing it says nothing.
    c.pass("set_note", &json!({ "text": "x" })).unwrap();
    assert_eq!(c.kept_state(&made), None);
    assert_eq!(c.withdraw(0, &made), Ok(Reply::Done));
    assert_eq!(code(c.vote(1, &made, YES)), ErrorCode::ProposalNotFound);
}

#[test]
fn a_decided_proposal_is_not_withdrawn() {
    let mut c = Consortium::new(1);
    let made = c.pass("set_note", &json!({ "text": "x" })).unwrap();
    assert_eq!(code(c.withdraw(0, &made)), ErrorCode::ProposalNotOpen);
}

#[test]
fn a_decision_removes_earlier_ones_and_leaves_open_ones() {
    let mut c = Consortium::new(3);
    let first = c.pass("set_note", &json!({ "text": "1" })).unwrap();
    let open = c.propose(1, "set_note", &json!({ "text": "2" })).unwrap();
    assert_eq!(c.kept_state(&first).as_deref(), Some("Accepted"));
    let third = c.pass("set_note", &json!({ "text": "3" })).unwrap();
    let kept = [&first, &open, &third].map(|view| c.kept_state(view));
    assert_eq!(kept.map(|state| state.unwrap_or_default()), ["", "Open", "Accepted"]);
    assert_eq!(c.row(tables::PROPOSALS, first.proposal_id.as_bytes()), None);
}

#[test]
fn a_proposal_that_fails_leaves_nothing() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "write_and_throw", &json!({})).unwrap();
    c.vote(0, &made, YES).unwrap();
    let before = c.store.reader().version();
    let error = c.vote(1, &made, YES).unwrap_err();
    assert_eq!(error.code, ErrorCode::InternalError);
    assert!(error.message.contains("failed to apply(): Error: as always"), "{error}");
    assert_eq!((c.store.reader().version(), c.note()), (before, None));
    // Not even the ballot: the member may vote otherwise.
    let row = c.json(tables::PROPOSALS_INFO, made.proposal_id.as_bytes()).unwrap();
    assert_eq!(row["ballots"].as_object().unwrap().len(), 1);
    assert_eq!(state(&c.vote(1, &made, NO).unwrap()), "Open");
}

#[test]
fn what_the_constitution_does_not_know_is_refused() {
    let mut c = Consortium::new(1);
    let error = c.propose(0, "no_such", &json!({})).unwrap_err();
    assert_eq!(error.code, ErrorCode::ProposalFailedToValidate);
    assert!(error.message.contains("no_such: no such action"), "{error}");
    let error = c.propose(0, "set_member", &json!({ "cert": "nonsense" })).unwrap_err();
    assert!(error.message.contains("cert is no certificate"), "{error}");
}

#[test]
fn every_accepted_request_is_kept_as_it_was_signed() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut c = Consortium::new(2);
    let content = br#"{"actions":[]}"#;
    let envelope = c.members[0].sign(Message::Proposal, c.now, content);
    c.send(coco_governance::Route::CreateProposal, &envelope).unwrap();
    let kept = c.json(tables::COSE_HISTORY, &c.members[0].id().key()).unwrap();
    assert_eq!(STANDARD.decode(kept.as_str().unwrap()).unwrap(), envelope);
    assert_eq!(c.row(tables::COSE_HISTORY, &c.members[1].id().key()), None);
}

#[test]
fn the_id_binds_state_and_request() {
    let mut c = Consortium::new(1);
    let content = br#"{"actions":[]}"#;
    let envelope = c.members[0].sign(Message::Proposal, c.now, content);
    let signed = coco_governance::Request::read(&envelope).unwrap();
    let digest = signed.verify(&c.members[0].certificate).unwrap().digest();
    let expected = [c.situation().root.0, digest.0].concat();
    let Reply::Proposal(view) = c.send(coco_governance::Route::CreateProposal, &envelope).unwrap()
    else {
        panic!()
    };
    assert_eq!(id(&view).0, coco_crypto::sha256(&expected));
}

#[test]
fn a_member_has_a_limited_number_of_open_proposals() {
    let mut c = Consortium::new(3);
    let mut last = None;
    for i in 0..OPEN_PROPOSALS_MAX {
        last = Some(c.propose(0, "set_note", &json!({ "text": i })).unwrap());
    }
    let more = json!({ "text": "more" });
    assert_eq!(code(c.propose(0, "set_note", &more)), ErrorCode::TooManyOpenProposals);
    assert!(c.propose(1, "set_note", &more).is_ok(), "others are not affected");
    c.withdraw(0, &last.unwrap()).unwrap();
    assert!(c.propose(0, "set_note", &more).is_ok());
}

#[test]
fn effects_are_collected_and_not_done() {
    let mut c = Consortium::new(1);
    for (what, args, expected) in [
        ("triggerLedgerRekey", json!([]), Effect::RekeyLedger),
        ("triggerRecoverySharesRefresh", json!([]), Effect::RefreshRecoveryShares),
        ("triggerLedgerChunk", json!([]), Effect::ChunkLedger),
        ("triggerSnapshot", json!([]), Effect::Snapshot),
        (
            "transitionServiceToOpen",
            json!([null, "next"]),
            Effect::OpenService { previous: None, next: b"next".to_vec() },
        ),
        (
            "transitionServiceToOpen",
            json!(["previous", "next"]),
            Effect::OpenService { previous: Some(b"previous".to_vec()), next: b"next".to_vec() },
        ),
    ] {
        c.pass("trigger", &json!({ "what": what, "args": args })).unwrap();
        assert_eq!(c.effects, [expected]);
    }
}

#[test]
fn without_a_constitution_nothing_is_decided() {
    let mut c = Consortium::under("", 1);
    let error = c.propose(0, "set_note", &json!({})).unwrap_err();
    assert_eq!(error.code, ErrorCode::InternalError);
    assert!(error.message.contains("exports no function validate"), "{error}");
}

#[test]
fn the_same_requests_make_the_same_writes() {
    let (mut one, mut other) = (Consortium::new(3), Consortium::new(0));
    // The other has the same members, and another life behind it: nothing loaded yet, another key for its store.
    other.store = {
        let mut store = coco_kv::Store::new(tables::maps(), [3, 4]);
        let image = one.store.reader().head();
        let mut set = coco_kv::WriteSet::new();
        for name in tables::TABLES {
            let name = coco_kv::MapName::from_static(name);
            let map = image.map(&name).unwrap();
            for (key, value) in image.range(map, &[], None, usize::MAX) {
                set.insert(&name, &key, value);
            }
        }
        store.apply(coco_types::Seqno(1), &set).unwrap();
        store
    };
    let hostile = "export function vote () { throw new Error(`${Math.PI}`); }";
    let made = |c: &Consortium| {
        let text = format!("{CONSTITUTION}\n// changed");
        let content = json!({ "actions": [
            { "name": "set_note", "args": { "text": "x" } },
            { "name": "set_constitution", "args": { "constitution": text } },
        ]});
        c.members[0].sign(Message::Proposal, c.now, content.to_string().as_bytes())
    };
    let proposal = made(&one);
    let Reply::Proposal(view) =
        both(&mut one, &mut other, coco_governance::Route::CreateProposal, &proposal)
    else {
        panic!()
    };
    for (by, ballot) in [(0, hostile), (1, YES), (2, YES)] {
        let content = json!({ "ballot": ballot }).to_string();
        let envelope =
            one.members[by].sign(Message::Ballot(id(&view)), one.now, content.as_bytes());
        let member = one.members[by].id();
        let route = coco_governance::Route::SubmitBallot { proposal: id(&view), member };
        both(&mut one, &mut other, route, &envelope);
    }
    assert_eq!(one.kept_state(&view).as_deref(), Some("Accepted"));
}

fn both(
    one: &mut Consortium,
    other: &mut Consortium,
    route: coco_governance::Route,
    envelope: &[u8],
) -> Reply {
    let reply = one.send(route, envelope).unwrap();
    assert_eq!(other.send(route, envelope).as_ref(), Ok(&reply));
    assert_eq!(other.written, one.written);
    assert!(!one.written.is_empty());
    reply
}

#[test]
fn a_proposal_shows_what_it_would_change() {
    let mut c = Consortium::new(3);
    let document = |actions: serde_json::Value| json!({ "actions": actions }).to_string();
    let mut simulate = |content: &str| {
        let situation = c.situation();
        c.governance.simulate(c.store.reader().begin(), content.as_bytes(), &situation)
    };
    let shown = simulate(&document(json!([
        { "name": "set_note", "args": { "text": "hello" } },
        { "name": "trigger", "args": { "what": "triggerSnapshot" } },
    ])))
    .unwrap();
    assert_eq!(shown.effects, [Effect::Snapshot]);
    let writes: Vec<_> = shown.writes.iter().collect();
    let [(map, key, Some(value))] = &writes[..] else { panic!("{writes:?}") };
    assert_eq!(
        (map.as_str(), *key, &***value),
        ("public:ccf.gov.roles", &b"note"[..], &b"hello"[..])
    );
    let strict = format!("{CONSTITUTION}\n");
    let changed =
        document(json!([{ "name": "set_constitution", "args": { "constitution": strict } }]));
    assert_eq!(simulate(&changed).unwrap().writes.len(), 1);
    for (content, expected) in [
        (document(json!([{ "name": "no_such" }])), ErrorCode::ProposalFailedToValidate),
        (document(json!([{ "name": "write_and_throw" }])), ErrorCode::InternalError),
        (
            document(json!([{ "name": "set_constitution", "args": { "constitution": "x" } }])),
            ErrorCode::InternalError,
        ),
        ("[]".to_owned(), ErrorCode::InvalidInput),
    ] {
        assert_eq!(simulate(&content).unwrap_err().code, expected, "{content}");
    }
    // Nothing was written, and what was tried is not in force.
    assert_eq!(c.store.reader().version().0, 1);
    c.pass("set_note", &json!({ "text": "x" })).unwrap();
}

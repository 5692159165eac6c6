//! Ballots that do not vote: each fails by itself, and the count goes on without it.

use coco_crypto::sha256;
use coco_governance::{
    AHEAD_MAX_S, BALLOT_BYTES_MAX, DEFAULT_CONSTITUTION, Effect, ErrorCode, Message, ProposalView,
    Route, tables,
};
use serde_json::{Value, json};

use crate::consortium::{CONSTITUTION, Consortium, YES, code, state};

fn vote(body: &str) -> String {
    format!("export function vote (rawProposal, proposerId) {{ {body} }}")
}

#[test]
fn a_ballot_reads_the_proposal_and_the_tables() {
    let mut c = Consortium::new(1);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    let body = "return JSON.parse(rawProposal).actions[0].args.text === 'hello' \
        && ccf.kv['public:ccf.gov.members.info'].has(ccf.strToBuf(proposerId)) \
        && ccf.kv['public:ccf.gov.members.info'].size === 1;";
    assert_eq!(state(&c.vote(0, &made, &vote(body)).unwrap()), "Accepted");
}

#[test]
fn only_true_is_a_vote_for_it() {
    for value in ["1", "'true'", "{}", "undefined", "null", "new Boolean(true)"] {
        let mut c = Consortium::new(1);
        let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
        let end = c.vote(0, &made, &vote(&format!("return {value};"))).unwrap();
        assert_eq!(state(&end), "Rejected", "{value}");
    }
}

#[test]
fn hostile_ballots_fail_alone() {
    let deep = "const f = () => f() + 1; return f() > 0;";
    let hostile = [
        vote("throw new Error('no');"),
        vote("for (;;);"),
        vote("const all = []; for (;;) all.push(new ArrayBuffer(1 << 20));"),
        vote(deep),
        vote("return /^(a+)+$/.test('a'.repeat(64) + 'b');"),
        vote("ccf.kv['public:ccf.gov.members.info'].clear(); return true;"),
        vote(
            "ccf.kv['public:ccf.gov.roles'].set(new ArrayBuffer(8), new ArrayBuffer(8)); return true;",
        ),
        vote("ccf.node.triggerLedgerRekey(); return true;"),
        vote(
            "Object.prototype.valid = true; Array.prototype.filter = () => [1, 2, 3]; return true;",
        ),
        vote("ccf.strToBuf = () => 1; return true;"),
        vote("return ccf.kv['evm.accounts'].has(new ArrayBuffer(8));"),
        vote("return new Promise(() => {});"),
        "not JavaScript".to_owned(),
        "export const vote = 1;".to_owned(),
        "import { apply } from 'constitution'; export function vote () { return true; }".to_owned(),
        String::new(),
    ];
    for ballot in &hostile {
        let mut c = Consortium::new(3);
        let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
        let shown = &ballot[..ballot.len().min(150)];
        let after = c.vote(0, &made, ballot).unwrap();
        assert_eq!((state(&after), after.ballot_count), ("Open".to_owned(), 1), "{shown}");
        assert_eq!(state(&c.vote(1, &made, YES).unwrap()), "Open", "{shown}");
        let end = c.vote(2, &made, YES).unwrap();
        assert_eq!((state(&end), c.note().as_deref()), ("Accepted".to_owned(), Some("hello")));
        let failures = end.vote_failures.unwrap();
        assert_eq!(failures.len(), 1, "{shown}");
        let failure = &failures[&c.members[0].id().to_string()];
        assert!(!failure.reason.is_empty() && failure.reason.len() <= 1024, "{failure:?}");
        assert_eq!(end.final_votes.unwrap().len(), 2, "{shown}");
        let kept = c.json(tables::PROPOSALS_INFO, made.proposal_id.as_bytes()).unwrap();
        assert_eq!(kept["vote_failures"], json!(failures));
    }
}

/// To load one takes many times the fuel of a ballot.
#[test]
fn a_ballot_has_no_constitution_checked() {
    let mut c = Consortium::new(1);
    let constitution = json!(CONSTITUTION);
    let body = format!(
        "try {{ ccf.gov.validateConstitution({constitution}); }} \
         catch (error) {{ return error.message.includes('none in a ballot'); }} return false;"
    );
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    assert_eq!(state(&c.vote(0, &made, &vote(&body)).unwrap()), "Accepted");
}

/// As `coco proposal vote --approve` makes it.
fn approving(document: &str) -> String {
    let found = sha256(document.as_bytes());
    vote(&format!(
        "const digest = new Uint8Array(ccf.crypto.digest(\"SHA-256\", ccf.strToBuf(rawProposal)));\n\
         const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, \"0\")).join(\"\");\n\
         if (found !== \"{found}\") throw new Error(`this is the document ${{found}}`);\n\
         return true;"
    ))
}

/// The proposal of a text of this length, and its document.
fn long(c: &mut Consortium, of: &str, bytes: usize) -> (ProposalView, String) {
    let data = json!({ "text": of.repeat(bytes / of.len()) });
    let args = json!({ "user_id": c.members[0].id().to_string(), "user_data": data });
    let made = c.propose(0, "set_user_data", &args).unwrap();
    let document = c.row(tables::PROPOSALS, made.proposal_id.as_bytes()).unwrap();
    (made, String::from_utf8(document).unwrap())
}

#[test]
fn the_largest_proposals_can_be_approved_by_their_digest() {
    // The engine holds and writes them in different ways.
    for of in ["a", "\u{e9}", "\u{5b57}", "\u{1f600}"] {
        let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
        let (made, document) = long(&mut c, of, 900_000);
        let end = c.vote(0, &made, &approving(&document)).unwrap();
        assert_eq!((state(&end), end.vote_failures), ("Accepted".to_owned(), None), "{of}");
    }
}

/// Each gives another reason.
#[test]
fn long_proposals_can_be_approved_by_many_members() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 1);
    let (made, document) = long(&mut c, "a", 120_000);
    let id = made.proposal_id.as_bytes();
    let mut row = c.json(tables::PROPOSALS_INFO, id).unwrap();
    let mut ballots = serde_json::Map::new();
    let mut rows: Vec<(String, Value)> = Vec::new();
    for other in 1..200 {
        let member = format!("{other:064x}");
        let ballot = format!("// reason: {other}\n{}", approving(&document));
        ballots.insert(member.clone(), json!(ballot));
        rows.push((member, json!({ "status": "Active" })));
    }
    row["ballots"] = json!(ballots);
    c.set(&[(tables::PROPOSALS_INFO, id, row)]);
    for (member, row) in rows {
        c.set(&[(tables::MEMBERS_INFO, member.as_bytes(), row)]);
    }
    let end = c.vote(0, &made, &approving(&document)).unwrap();
    assert_eq!((state(&end), end.vote_failures), ("Accepted".to_owned(), None));
    assert_eq!(end.final_votes.unwrap().len(), 200);
}

#[test]
fn members_with_one_ballot_all_have_its_outcome() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    let throws = vote("throw new Error('no');");
    c.vote(0, &made, &throws).unwrap();
    c.vote(1, &made, &throws).unwrap();
    let end = c.vote(2, &made, &vote("return false;")).unwrap();
    assert_eq!(state(&end), "Open", "two of three have said nothing");
}

#[test]
fn ballots_do_not_see_one_another() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    let leave = vote("globalThis.seen = true; return true;");
    c.vote(0, &made, &leave).unwrap();
    let end = c.vote(1, &made, &vote("return globalThis.seen === undefined;")).unwrap();
    // The global object is frozen, so that the first may have failed; what counts is that the second saw nothing.
    assert_ne!(end.ballot_count, 0);
    let end = c.vote(2, &made, &vote("return globalThis.seen === undefined;")).unwrap();
    assert_eq!(state(&end), "Accepted");
}

#[test]
fn a_vote_counts_for_members_at_the_time_of_the_count() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    c.vote(2, &made, YES).unwrap();
    let gone = c.members[2].id().to_string();
    c.pass("remove_member", &json!({ "member_id": gone })).unwrap();
    // Two are left, and one of them votes: the ballot of the third is there, and counts no more.
    let after = c.vote(0, &made, YES).unwrap();
    assert_eq!((state(&after), after.ballot_count), ("Open".to_owned(), 2));
    let end = c.vote(1, &made, YES).unwrap();
    assert_eq!(state(&end), "Accepted");
    assert!(!end.final_votes.unwrap().contains_key(&gone));
    assert_eq!(code(c.propose(2, "set_note", &json!({}))), ErrorCode::InvalidAuthenticationInfo);
}

/// Two of four are too few, and of two enough.
#[test]
fn a_ballot_that_comes_again_is_counted_among_those_who_are_left() {
    let mut c = Consortium::under(DEFAULT_CONSTITUTION, 4);
    let made = c.propose(0, "trigger_snapshot", &json!({})).unwrap();
    for by in 0..2 {
        assert_eq!(state(&c.vote(by, &made, YES).unwrap()), "Open");
    }
    let again = c.vote(0, &made, YES).unwrap();
    assert_eq!((state(&again), c.written.is_empty()), ("Open".to_owned(), true));
    let recorded = c.now;
    for gone in [3, 2] {
        let gone = c.members[gone].id().to_string();
        assert_eq!(
            state(&c.pass("remove_member", &json!({ "member_id": gone })).unwrap()),
            "Accepted"
        );
        c.members.pop();
    }
    assert_eq!(c.kept_state(&made).as_deref(), Some("Open"));
    // What was signed long ago may have been sent by anybody.
    c.now += AHEAD_MAX_S + 1;
    let (id, content) = (crate::consortium::id(&made), json!({ "ballot": YES }).to_string());
    let old = c.members[0].sign(Message::Ballot(id), recorded, content.as_bytes());
    let route = Route::SubmitBallot { proposal: id, member: c.members[0].id() };
    c.send(route, &old).unwrap();
    assert!(c.written.is_empty(), "{:?}", c.written);
    let end = c.vote(0, &made, YES).unwrap();
    assert_eq!((state(&end), &c.effects[..]), ("Accepted".to_owned(), &[Effect::Snapshot][..]));
    assert_eq!(end.final_votes.unwrap().len(), 2);
}

#[test]
fn a_ballot_has_a_largest_size() {
    let mut c = Consortium::new(3);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    for (by, bytes, ok) in [
        (0, BALLOT_BYTES_MAX - 1, true),
        (1, BALLOT_BYTES_MAX + 1, false),
        (1, BALLOT_BYTES_MAX, true),
    ] {
        let ballot = format!("{YES}{}", " ".repeat(bytes - YES.len()));
        let sent = c.vote(by, &made, &ballot);
        assert_eq!(sent.is_ok(), ok, "{bytes}");
        assert!(ok || code(sent) == ErrorCode::InvalidInput);
    }
}

#[test]
fn a_ballot_without_a_text_is_refused() {
    let mut c = Consortium::new(1);
    let made = c.propose(0, "set_note", &json!({ "text": "hello" })).unwrap();
    let id = crate::consortium::id(&made);
    for content in [&b""[..], b"{}", br#"{"ballot":1}"#, br#"{"ballot":"a","ballot":"b"}"#] {
        let envelope = c.members[0].sign(Message::Ballot(id), c.now, content);
        let route = Route::SubmitBallot { proposal: id, member: c.members[0].id() };
        assert_eq!(code(c.send(route, &envelope)), ErrorCode::InvalidInput);
    }
}

//! The first act against the rules of its time is named, with who is to blame.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{
    AltName, Certificate, Curve, EndorseNode, SigningKey, Validity, endorse_node,
    service_certificate,
};
use coco_governance::{
    Audit, AuditError, AuditReport, DEFAULT_CONSTITUTION, PROPOSAL_AGE_DEFAULT_S, ProposalId,
    Request, Route, tables,
};
use coco_kv::{Domain, MapName, StateImage, WriteSet};
use coco_types::Seqno;
use serde_json::{Value, json};

use super::books::{
    Books, CONFIGURATION, NEXT_CONSTITUTION, NODE_SECRETS, PAST_SECRETS, SECRET_SINCE,
    SNAPSHOT_ASKED, configuration, hex, node, put, root,
};
use crate::consortium::{Member, NO, ServiceKey, YES, engine};

/// The audit stops at the last entry, and says why. It begins with the state before: the store has what is honest.
pub(super) fn check_last(books: &Books, expected: &str) {
    let at = Seqno(books.last().0 - 1);
    let head = books.c.store.reader().head();
    assert_eq!(head.version(), at, "the last entry is the forged one");
    let image = head.encode(Domain::Public, &WriteSet::new());
    let image = StateImage::parse(&image, Domain::Public, at).unwrap();
    let audit = Audit::from_state(engine(), at, &image).unwrap();
    check(books, books.go_on(audit, at), expected);
}

/// The same from the first entry on.
pub(super) fn check_all(books: &Books, expected: &str) {
    check(books, books.audit(), expected);
}

fn check(books: &Books, found: Result<AuditReport, AuditError>, expected: &str) {
    let error = found.expect_err(expected);
    let cause = std::error::Error::source(&error.fault).map(|cause| format!(": {cause}"));
    let text = format!("{error}: {}{}", error.fault, cause.unwrap_or_default());
    assert_eq!(error.seqno, books.last(), "{text}");
    assert!(text.contains(expected), "{text}");
}

/// An entry in which a proposal is what somebody wants it to be.
fn claim(b: &Books, id: ProposalId, envelope: &[u8], change: impl FnOnce(&mut Value)) -> WriteSet {
    let mut row = b.c.json(tables::PROPOSALS_INFO, &id.key()).unwrap();
    change(&mut row);
    let mut set = WriteSet::new();
    put(&mut set, tables::PROPOSALS_INFO, &id.key(), &row);
    record(&mut set, envelope);
    set
}

fn record(set: &mut WriteSet, envelope: &[u8]) {
    let signer = Request::read(envelope).unwrap().signer();
    let recorded = json!(STANDARD.encode(envelope)).to_string();
    put(set, tables::COSE_HISTORY, &signer.key(), &json!(recorded));
}

fn accepted(b: &Books, row: &mut Value, voters: &[usize]) {
    for by in voters {
        let id = b.c.members[*by].id().to_string();
        row["ballots"][&id] = json!(YES);
        row["final_votes"][&id] = json!(true);
    }
    row["state"] = json!("Accepted");
}

#[test]
fn a_ballot_that_was_altered_is_named() {
    let mut b = Books::new(3);
    let (id, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let voter = b.c.members[1].id().to_string();
    let entry = claim(&b, id, &b.ballot(1, id, NO), |row| row["ballots"][&voter] = json!(YES));
    b.entries.push(entry);
    check_all(&b, &format!("the ballot of the member {voter} is not the one that was signed"));
    check_all(&b, &format!("member {voter}, proposal {id}"));
}

#[test]
fn a_ballot_that_nobody_signed_and_one_that_is_left_out_are_named() {
    let mut b = Books::new(3);
    let (id, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let ids: Vec<String> = b.c.members.iter().map(|member| member.id().to_string()).collect();
    let both = claim(&b, id, &b.ballot(1, id, NO), |row| {
        row["ballots"][&ids[1]] = json!(NO);
        row["ballots"][&ids[2]] = json!(NO);
    });
    let none = claim(&b, id, &b.ballot(1, id, NO), |_| {});
    for (entry, expected) in [
        (both, format!("the member {} signed no ballot on it", ids[2])),
        (none, format!("the ballot of the member {} is missing", ids[1])),
    ] {
        b.entries.push(entry);
        check_last(&b, &expected);
        b.entries.pop();
    }
}

#[test]
fn a_proposal_that_is_accepted_below_the_policy_is_named() {
    let mut b = Books::new(3);
    let user = b.c.members[2].certificate.pem();
    let (id, _) = b.propose(0, "set_user", &json!({ "cert": user })).unwrap();
    let mut entry = claim(&b, id, &b.ballot(0, id, YES), |row| accepted(&b, row, &[0]));
    put(&mut entry, tables::USERS_CERTS, &b.c.members[2].id().key(), &json!(user));
    b.entries.push(entry);
    check_last(&b, "it says Accepted, and by the rules of its time it is Open");
}

#[test]
fn a_constitution_that_not_all_wanted_is_named() {
    let mut b = Books::new(3);
    let next = format!("{NEXT_CONSTITUTION}{DEFAULT_CONSTITUTION}");
    let (id, _) = b.propose(0, "set_constitution", &json!({ "constitution": next })).unwrap();
    b.vote(0, id, YES).unwrap();
    let mut entry = claim(&b, id, &b.ballot(1, id, YES), |row| accepted(&b, row, &[0, 1]));
    let text = json!(json!(next).to_string());
    put(&mut entry, tables::CONSTITUTION, tables::singleton_key(), &text);
    b.entries.push(entry);
    check_last(&b, "it says Accepted, and by the rules of its time it is Open");
    // The same as if the service had thought of it.
    b.entries.pop();
    let mut entry = WriteSet::new();
    put(&mut entry, tables::CONSTITUTION, tables::singleton_key(), &text);
    b.entries.push(entry);
    check_last(&b, "nobody signed a request for what is written to the row");
}

#[test]
fn an_act_of_a_member_that_is_not_active_is_named() {
    let mut b = Books::new(3);
    let new = b.admit(None);
    let (id, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let voter = b.c.members[new].id().to_string();
    let entry = claim(&b, id, &b.ballot(new, id, YES), |row| row["ballots"][&voter] = json!(YES));
    b.entries.push(entry);
    check_last(&b, "InvalidAuthenticationInfo: the member");
    check_last(&b, "is not active");
}

#[test]
fn a_ballot_that_counts_for_another_proposal_is_named() {
    let mut b = Books::new(3);
    let (one, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let (other, _) = b.propose(0, "trigger_snapshot", &json!({})).unwrap();
    let voter = b.c.members[1].id().to_string();
    let entry = claim(&b, other, &b.ballot(1, one, YES), |row| row["ballots"][&voter] = json!(YES));
    b.entries.push(entry);
    // Both rows are wrong: this one, and that of the proposal whose ballot it is.
    check_last(&b, "of public:ccf.gov.proposals_info is not what the request makes of it");
}

#[test]
fn a_request_that_its_signer_did_not_sign_is_named() {
    let mut b = Books::new(3);
    let (id, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let voter = b.c.members[1].id().to_string();
    let mut envelope = b.ballot(1, id, YES);
    *envelope.last_mut().unwrap() ^= 1;
    b.entries.push(claim(&b, id, &envelope, |row| row["ballots"][&voter] = json!(YES)));
    check_last(&b, "the signature does not verify");
    b.entries.pop();
    let mut entry = WriteSet::new();
    put(&mut entry, tables::COSE_HISTORY, voter.as_bytes(), &json!("\"?\""));
    b.entries.push(entry);
    check_last(&b, "not base64 in JSON");
}

#[test]
fn a_proposal_that_comes_again_is_named() {
    let mut b = Books::new(3);
    let envelope = b.proposing(0, "trigger_ledger_chunk", &json!({}));
    let (first, _) = b.proposal(Route::CreateProposal, &envelope).unwrap();
    let request = Request::read(&envelope).unwrap();
    let again = ProposalId::new(&root(b.last()), &request.digest());
    let row = b.c.json(tables::PROPOSALS_INFO, &first.key()).unwrap();
    let mut entry = WriteSet::new();
    record(&mut entry, &envelope);
    put(&mut entry, tables::PROPOSALS_INFO, &again.key(), &row);
    let content = String::from_utf8(request.content().to_vec()).unwrap();
    put(&mut entry, tables::PROPOSALS, &again.key(), &json!(content));
    b.entries.push(entry);
    check_last(&b, "ProposalReplay");
    check_last(&b, &format!("proposal {again}"));
}

#[test]
fn a_proposal_from_the_future_is_named() {
    let mut b = Books::new(2);
    b.c.now += 100_000;
    b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    check_all(&b, "by the signatures before and after");
}

#[test]
fn a_proposal_that_is_dropped_early_or_kept_too_long_is_named() {
    let mut b = Books::new(3);
    let (id, _) = b.propose(0, "trigger_ledger_chunk", &json!({})).unwrap();
    let dropped = |row: &mut Value| {
        row["state"] = json!("Dropped");
        row["failure"] = json!({ "reason": "it expired" });
    };
    b.entries.push(claim(&b, id, &b.ballot(1, id, YES), dropped));
    check_all(&b, "by the signatures before and after");
    b.entries.pop();
    // One second of the next entry is after the deadline, and its ballot counts all the same.
    b.wait(PROPOSAL_AGE_DEFAULT_S + 1000);
    let mut none = WriteSet::new();
    put(&mut none, "public:ccf.internal.snapshot_evidence", b"", &json!({}));
    b.write(none);
    let voter = b.c.members[1].id().to_string();
    let late = claim(&b, id, &b.ballot(1, id, YES), |row| row["ballots"][&voter] = json!(YES));
    b.entries.push(late);
    check_all(&b, "it says Open, and by the rules of its time it is Dropped");
}

#[test]
fn what_the_service_may_not_do_by_itself_is_named() {
    let mut b = Books::new(3);
    let stranger = Member::new(Curve::P256);
    let member = b.c.members[2].id().key();
    let one = tables::singleton_key();
    let removed = |table, key: &[u8]| {
        let mut set = WriteSet::new();
        set.remove(&MapName::from_static(table), key);
        set
    };
    let written = |table, key: &[u8], row: &Value| {
        let mut set = WriteSet::new();
        put(&mut set, table, key, row);
        set
    };
    let info = json!({ "status": "Active" });
    let (new, old) = (hex(2), hex(1));
    let key = json!({ "public_key": "PEM" });
    let asked = "nobody signed a request";
    for (entry, expected) in [
        (written(tables::MEMBERS_INFO, &stranger.id().key(), &info), asked),
        (removed(tables::MEMBERS_INFO, &member), asked),
        (written(tables::SERVICE_CONFIG, one, &json!({ "recovery_threshold": 1 })), asked),
        (written(tables::VOTING_POLICY, one, &json!({ "default": { "rule": "one" } })), asked),
        (written(tables::SERVICE_INFO, one, &json!({ "cert": "PEM", "status": "Open" })), asked),
        (written(tables::VIRTUAL_MEASUREMENTS, hex(8).as_bytes(), &json!("AllowedToJoin")), asked),
        (written(tables::RECOVERY_SHARES, one, &json!({})), asked),
        (written(tables::ENCRYPTED_SUBMITTED_SHARES, &member, &json!("AA==")), asked),
        (written("public:ccf.gov.anything", one, &json!({})), asked),
        (written(tables::ORGANISATIONS, b"acme", &json!({ "cert": "PEM" })), asked),
        (written("public:coco.gov.anything", one, &json!({})), asked),
        (written(SNAPSHOT_ASKED, one, &json!({})), asked),
        (written(tables::NODES_INFO, new.as_bytes(), &node("Trusted", 9, &key)), "never pending"),
        (written(tables::NODES_INFO, new.as_bytes(), &node("Pending", 8, &key)), "not admitted"),
        (
            written(
                tables::NODES_INFO,
                new.as_bytes(),
                &node("Pending", 9, &json!({ "seat": hex(7) })),
            ),
            "nobody has the seat",
        ),
        (
            written(tables::NODES_INFO, old.as_bytes(), &node("Retired", 9, &json!({}))),
            "nobody voted to remove it",
        ),
        (
            written(tables::NODES_INFO, old.as_bytes(), &node("Trusted", 8, &json!({}))),
            "becomes that without a vote",
        ),
        (removed(tables::NODES_INFO, old.as_bytes()), "not retired"),
        (removed(tables::NODES_INFO, new.as_bytes()), "there is no such node"),
        (removed(tables::NODES_ENDORSED_CERTIFICATES, old.as_bytes()), "no node of the service"),
        (written(CONFIGURATION, one, &configuration(&[1, 2], &[])), "do not trust it to vote"),
        (written(CONFIGURATION, one, &configuration(&[1], &[2])), "nor has it a seat"),
        (
            written(tables::NODES_ENDORSED_CERTIFICATES, new.as_bytes(), &json!("PEM")),
            "no node of the service",
        ),
    ] {
        b.entries.push(entry);
        check_last(&b, expected);
        b.entries.pop();
    }
    // A node that waits is trusted by a vote only.
    b.write(written(tables::NODES_INFO, new.as_bytes(), &node("Pending", 9, &key)));
    b.entries.push(written(tables::NODES_INFO, new.as_bytes(), &node("Trusted", 9, &key)));
    check_last(&b, "nobody voted for it");
}

#[test]
fn a_node_that_leaves_before_those_that_replace_it_vote_is_named() {
    let mut b = Books::new(3);
    let (own, old, [two, three]) = (tables::singleton_key(), hex(1), [2, 3].map(hex));
    b.introduce(&two);
    b.introduce(&three);
    let learner = json!({ "node_id": three, "learner": true });
    assert_eq!(b.pass("transition_node_to_trusted", &learner).unwrap(), "Accepted");
    let args = json!({ "remove": [old], "add": [two] });
    assert_eq!(b.pass("replace_nodes", &args).unwrap(), "Accepted");
    let before = b.c.json(tables::NODES_INFO, old.as_bytes()).unwrap();
    let leaves = |said: &Value, next: &Value| {
        let mut row = before.clone();
        row["status"] = json!("Retired");
        row.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let mut set = WriteSet::new();
        put(&mut set, tables::NODES_INFO, old.as_bytes(), &row);
        put(&mut set, CONFIGURATION, own, next);
        set
    };
    let nothing = json!({});
    let [mut listens, mut forged] = [(); 2].map(|()| WriteSet::new());
    put(&mut listens, CONFIGURATION, own, &configuration(&[1, 3], &[]));
    let said = json!({ "public_key": "PEM", "successors": [old] });
    put(&mut forged, tables::NODES_INFO, hex(4).as_bytes(), &node("Pending", 9, &said));
    for (entry, expected) in [
        (leaves(&nothing, &configuration(&[1], &[2])), "nobody voted to remove it"),
        (leaves(&json!({ "node_data": 1 }), &configuration(&[2], &[])), "more of its row changes"),
        (listens, "members want it to listen only"),
        (forged, "what only members say"),
        (leaves(&nothing, &configuration(&[2], &[])), ""),
    ] {
        b.entries.push(entry);
        if expected.is_empty() {
            b.audit().unwrap();
        } else {
            check_last(&b, expected);
        }
        b.entries.pop();
    }
}

/// A primary that could begin and end leases as it likes would let in strangers without a vote, and others go.
#[test]
fn leases_that_the_service_may_neither_give_nor_end_are_named() {
    let mut b = Books::new(3);
    let [own, stranger] = [1, 2].map(hex);
    b.introduce(&stranger);
    let lease = |seat: &String, row: &Value| {
        let mut set = WriteSet::new();
        put(&mut set, tables::NODES_LEASES, seat.as_bytes(), row);
        set
    };
    let now = b.c.now;
    b.entries.push(lease(&own, &json!({ "renewed_at": now })));
    check_all(&b, "nobody signed a request");
    b.entries.pop();
    let ask = json!({ "node_lease_s": 3600 });
    assert_eq!(b.pass("set_service_configuration", &ask).unwrap(), "Accepted");

    let now = b.c.now;
    let ended = json!({ "renewed_at": now - 3600, "ended_at": now, "secret_from": 1 });
    for entry in [
        lease(&stranger, &json!({ "renewed_at": now })),
        lease(&stranger, &ended),
        lease(&own, &ended),
        lease(&own, &json!({ "renewed_at": now + 100_000 })),
        lease(&own, &json!({})),
        lease(&own, &json!(0)),
    ] {
        b.entries.push(entry);
        check_all(&b, "nobody signed a request");
        b.entries.pop();
    }
    b.write(lease(&own, &json!({ "renewed_at": now })));
    b.audit().unwrap();
    b.wait(3700);
    // Its lease is over, and it votes on; and the newest secret is not the one that is named.
    let mut leaves =
        lease(&own, &json!({ "renewed_at": now, "ended_at": b.c.now, "secret_from": 999 }));
    put(&mut leaves, CONFIGURATION, tables::singleton_key(), &configuration(&[], &[]));
    for entry in [
        lease(&own, &json!({ "renewed_at": now, "ended_at": b.c.now, "secret_from": 1 })),
        lease(&own, &json!({ "renewed_at": now - 1, "ended_at": b.c.now, "secret_from": 1 })),
        leaves,
    ] {
        b.entries.push(entry);
        check_all(&b, "nobody signed a request");
        b.entries.pop();
    }
    let pending = node("Pending", 9, &json!({}));
    let mut set = WriteSet::new();
    put(&mut set, tables::NODES_INFO, own.as_bytes(), &pending);
    b.entries.push(set);
    check_all(&b, "becomes that without a vote");
}

type Change<'a> = &'a dyn Fn(&mut Value, &mut Value);

#[test]
fn shares_that_are_dealt_otherwise_than_members_decided_are_named() {
    let mut b = Books::new(3);
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    b.audit().unwrap();
    let honest = b.entries.pop().unwrap();
    let map = MapName::from_static(tables::RECOVERY_SHARES);
    let past = MapName::from_static(tables::PAST_LEDGER_SECRET);
    let one = tables::singleton_key();
    let row = |map| serde_json::from_slice::<Value>(honest.get(map, one).unwrap()).unwrap();
    let (shares, before) = (row(&map), row(&past));
    let forged = |change: Change<'_>| {
        let (mut shares, mut before, mut set) = (shares.clone(), before.clone(), honest.clone());
        change(&mut shares, &mut before);
        put(&mut set, tables::RECOVERY_SHARES, one, &shares);
        put(&mut set, tables::PAST_LEDGER_SECRET, one, &before);
        set
    };
    let (stranger, holder) = (b.c.members[2].id().to_string(), b.c.members[0].id().to_string());
    let cases: [(Change<'_>, &str); 6] = [
        (&|_, _| {}, ""),
        (&|shares, _| shares["threshold"] = json!(1), "1 shares give the key"),
        (
            &|shares, _| shares["encrypted_shares"][&stranger] = json!("AA=="),
            "shares were dealt for others",
        ),
        (
            &|shares, _| drop(shares["share_digests"].as_object_mut().unwrap().remove(&holder)),
            "digests are written down for others",
        ),
        (&|shares, _| shares["wrapped_latest_ledger_secret"] = json!("AA=="), "not its form"),
        (&|_, past| past["previous_ledger_secret"]["version"] = json!(5), "do not follow"),
    ];
    for (change, expected) in cases {
        b.entries.push(forged(change));
        if expected.is_empty() {
            b.audit().unwrap();
        } else {
            check_all(&b, expected);
        }
        b.entries.pop();
    }
    let mut set = WriteSet::new();
    for (name, key, value) in honest.iter().filter(|(name, ..)| **name != map) {
        match value {
            Some(value) => set.insert(name, key, value.clone()),
            None => set.remove(name, key),
        }
    }
    b.entries.push(set);
    check_all(&b, "no shares were dealt");
}

#[test]
fn a_ledger_secret_for_others_than_the_nodes_is_named() {
    let mut b = Books::new(2);
    assert_eq!(b.pass("trigger_ledger_rekey", &json!({})).unwrap(), "Accepted");
    let honest = b.entries.pop().unwrap();
    let one = tables::singleton_key();
    for (table, key, row, expected) in [
        (NODE_SECRETS, one.to_vec(), json!({ "secrets": { hex(1): "", } }), "to others than"),
        (
            NODE_SECRETS,
            one.to_vec(),
            json!({ "secrets": { hex(1): "AA==", hex(2): "AA==" } }),
            "to others than",
        ),
        (
            NODE_SECRETS,
            one.to_vec(),
            json!({ "from": 1, "secrets": { hex(1): "AA==" } }),
            "from the next entry on",
        ),
        (PAST_SECRETS, 1_u64.to_be_bytes().to_vec(), json!("x"), "is not kept"),
        (PAST_SECRETS, 2_u64.to_be_bytes().to_vec(), json!("x"), "is not kept"),
    ] {
        let mut set = honest.clone();
        put(&mut set, table, &key, &row);
        b.entries.push(set);
        check_all(&b, expected);
        b.entries.pop();
    }
}

#[test]
fn a_service_that_begins_with_acts_or_active_members_is_named() {
    let mut b = Books::founded(2);
    b.audit().unwrap();
    let honest = b.entries.pop().unwrap();
    let member = b.c.members[0].id().key();
    let key = tables::singleton_key();
    let of = |table, key: &[u8], row: &Value| {
        let mut set = honest.clone();
        put(&mut set, table, key, row);
        set
    };
    for (entry, expected) in [
        (of(tables::MEMBERS_INFO, &member, &json!({ "status": "Active" })), "is active and has"),
        (
            of(tables::MEMBERS_CERTS, &member, &json!(b.c.members[1].certificate.pem())),
            "not its own",
        ),
        (of(tables::CONSTITUTION, key, &json!("\"no\"")), "first constitution cannot be used"),
        (of(tables::SERVICE_INFO, key, &json!({ "cert": "", "status": "Open" })), "opened before"),
        (of(tables::PROPOSALS, &member, &json!({})), "only acts give"),
    ] {
        b.entries.push(entry);
        check_all(&b, expected);
        b.entries.pop();
    }
    // Members who come when the founding is over come without a vote.
    b.entries.extend([WriteSet::new(), honest]);
    check_all(&b, "nobody signed a request");
}

/// Members say how old a ledger secret may become; before that, and otherwise, nobody replaces one without a vote.
#[test]
fn a_ledger_secret_that_is_replaced_without_a_vote_is_named_unless_it_is_too_old() {
    let mut b = Books::new(2);
    b.entries.push(b.replacement());
    check_all(&b, "members did not ask for that");
    b.entries.pop();
    let age = json!({ "ledger_secret_age_max_s": 7200 });
    assert_eq!(b.pass("set_service_configuration", &age).unwrap(), "Accepted");
    b.entries.push(b.replacement());
    check_all(&b, "members did not ask for that");
    b.entries.pop();

    b.wait(7200);
    let honest = b.replacement();
    b.entries.push(honest.clone());
    b.audit().unwrap();
    let one = tables::singleton_key();
    for (table, key, row, expected) in [
        (SECRET_SINCE, one, json!(1), "is not used since it says"),
        (NODE_SECRETS, one, json!({ "secrets": { hex(7): "AA==" } }), "to others than"),
        (tables::RECOVERY_SHARES, one, json!({}), "shares"),
        (tables::USERS_INFO, b"somebody".as_slice(), json!({}), "nobody signed a request"),
    ] {
        let mut set = honest.clone();
        put(&mut set, table, key, &row);
        b.entries.pop();
        b.entries.push(set);
        check_all(&b, expected);
    }
}

#[test]
fn a_certificate_of_the_service_that_is_not_the_one_voted_for_is_named() {
    let mut b = Books::new(2);
    b.c.certificates = ServiceKey::of(&b.c.members[0]);
    let from = json!({ "valid_from": "20310101000000Z", "validity_period_days": 90 });
    assert_eq!(b.pass("set_service_certificate_validity", &from).unwrap(), "Accepted");
    b.audit().unwrap();
    let one = tables::singleton_key();
    let honest = b.entries.pop().unwrap();
    let row = b.c.json(tables::SERVICE_INFO, one).unwrap();
    let validity = Certificate::from_pem(row["cert"].as_str().unwrap()).unwrap().validity();
    let longer = Validity { not_after: validity.not_after + 1, ..validity };
    let made = |key: &SigningKey, validity| service_certificate(key, validity).unwrap().pem();
    let ours = &b.c.members[0].key;
    for cert in [
        made(ours, longer),
        made(&b.c.members[1].key, validity),
        b.c.members[0].certificate.pem(),
        "PEM".to_owned(),
    ] {
        let mut forged = honest.clone();
        let mut row = row.clone();
        row["cert"] = json!(cert);
        put(&mut forged, tables::SERVICE_INFO, one, &row);
        b.entries.push(forged);
        check_all(&b, "certificate");
        b.entries.pop();
    }
}

#[test]
fn a_certificate_of_a_node_that_is_not_the_one_voted_for_is_named() {
    let mut b = Books::new(2);
    let (service, node) = (&b.c.members[0], hex(2));
    b.c.certificates = ServiceKey::of(service);
    let key = service.key.clone();
    let node_key = SigningKey::generate(Curve::P384);
    let of_service = service_certificate(&key, Validity { not_before: 0, not_after: 9 }).unwrap();
    let made = |names: &[AltName], validity| {
        let endorsement = EndorseNode { key: node_key.public(), names, validity };
        endorse_node(&key, &of_service, &endorsement).unwrap().pem()
    };
    let names = [AltName::Dns("node.example".to_owned())];
    b.introduce(&node);
    b.pass("transition_node_to_trusted", &json!({ "node_id": node })).unwrap();
    let mut set = WriteSet::new();
    let present = made(&names, Validity { not_before: 0, not_after: 9 });
    put(&mut set, tables::NODES_ENDORSED_CERTIFICATES, node.as_bytes(), &json!(present));
    put(&mut set, CONFIGURATION, tables::singleton_key(), &configuration(&[1], &[2]));
    b.write(set);
    let args =
        json!({ "node_id": node, "valid_from": "20310101000000Z", "validity_period_days": 9 });
    assert_eq!(b.pass("set_node_certificate_validity", &args).unwrap(), "Accepted");
    b.audit().unwrap();
    let honest = b.entries.pop().unwrap();
    let row = b.c.row(tables::NODES_ENDORSED_CERTIFICATES, node.as_bytes()).unwrap();
    let validity = Certificate::from_pem(str::from_utf8(&row).unwrap()).unwrap().validity();
    let longer = Validity { not_after: validity.not_after + 1, ..validity };
    for (what, cert) in [
        ("another period", made(&names, longer)),
        ("other names", made(&[], validity)),
        ("the service's own", service_certificate(&key, validity).unwrap().pem()),
        ("none", "PEM".to_owned()),
    ] {
        let mut forged = honest.clone();
        put(&mut forged, tables::NODES_ENDORSED_CERTIFICATES, node.as_bytes(), &json!(cert));
        b.entries.push(forged);
        assert!(b.audit().is_err(), "{what}");
        b.entries.pop();
    }
}

//! The life of members and proposals, told by commands.

use std::sync::atomic::Ordering;

use crate::desk::Desk;

#[test]
fn a_member_is_proposed_voted_in_and_becomes_active() {
    let (service, [acme, bank]) = Desk::founders();
    let corp = Desk::with_key("p521");
    corp.join(&service);
    let cert = corp.key_file("cert");
    // Before that the service does not take its signature.
    let early = ["member", "activate", "--yes"];
    corp.run(&early).failed(3, "COCO-2006");

    let id = acme.propose(&["add-member", &cert, "--name", "corp"]);
    let listed = bank.run(&["proposal", "ls"]).ok();
    assert!(listed.contains(&id[..8]) && listed.contains("Open"), "{listed}");
    let shown = bank.run(&["proposal", "show", &id[..8]]).ok();
    assert!(shown.contains(&format!("+ member         {} named \"corp\"", corp.id())), "{shown}");
    assert_eq!(acme.vote(&id, "--approve"), "Open");
    let shown = bank.run(&["proposal", "show", &id[..6]]).ok();
    assert!(shown.contains("m0 voted") && shown.contains("m1 -"), "{shown}");
    assert_eq!(bank.vote(&id, "--approve"), "Accepted");
    let shown = bank.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("Accepted") && shown.contains("m1 approves"), "{shown}");

    let member = corp.run(&["member", "show", "corp", "--output", "json"]).json();
    assert_eq!(member["member"]["status"], "Accepted");
    let waiting = corp.run(&["status"]).ok();
    assert!(waiting.contains("waiting    coco member activate"), "{waiting}");
    let active = corp.run(&["member", "activate", "--yes"]).ok();
    assert!(active.contains(&corp.id()) && active.contains("committed 2."), "{active}");
    let members = acme.run(&["member", "ls"]).ok();
    let line = members.lines().find(|line| line.contains("corp")).unwrap().to_owned();
    assert!(line.starts_with(&corp.id()[..8]) && line.contains("Active"), "{members}");
    // Of three members two suffice, and the new one is one of them.
    let id = acme.propose(&["set-member-data", "corp", "--data", r#"{"name":"corporation"}"#]);
    assert_eq!(acme.vote(&id, "--approve"), "Open");
    assert_eq!(corp.vote(&id, "--approve"), "Accepted");
    acme.run(&["member", "show", "corporation"]).ok();
}

#[test]
fn a_vote_is_signed_when_the_proposals_number_is_typed() {
    let (_service, [acme]) = Desk::founders();
    let id = acme.propose(&["set-threshold", "1"]);
    let vote = ["proposal", "vote", &id, "--approve"];
    for typed in ["", "y\n", "yes\n", "00000000\n", &format!("{}\n", &id[..7])] {
        let said = acme.type_in(&vote, typed).failed(5, "COCO-1023");
        assert!(said.contains(&format!("Type {} to sign: ", &id[..8])), "{said}");
    }
    let open = acme.run(&["proposal", "show", &id, "--output", "json"]).json();
    assert_eq!(open["proposal"]["ballotCount"], 0);
    let ended = acme.type_in(&vote, &format!("{}\n", &id[..8]));
    assert!(ended.err.contains("~ recovery       1 shares are needed"), "{}", ended.err);
    assert!(ended.err.contains("digest sha256:"), "{}", ended.err);
    assert!(ended.ok().contains("Accepted"));
}

#[test]
fn a_proposal_is_withdrawn_by_whoever_made_it_alone() {
    let (_service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["snapshot"]);
    bank.run(&["proposal", "withdraw", &id, "--yes"]).failed(3, "COCO-2007");
    let gone = acme.run(&["proposal", "withdraw", &id, "--yes"]).ok();
    assert!(gone.contains("Withdrawn"), "{gone}");
    let vote = ["proposal", "vote", &id, "--approve", "--yes"];
    bank.run(&vote).failed(5, "COCO-2003");
    // It leaves the tables when the next one is decided.
    let next = acme.propose(&["chunk"]);
    acme.vote(&next, "--approve");
    assert_eq!(bank.vote(&next, "--approve"), "Accepted");
    bank.run(&["proposal", "show", &id]).failed(4, "COCO-2002");
    acme.run(&["proposal", "withdraw", &id, "--yes"]).failed(4, "COCO-2002");
}

#[test]
fn a_proposal_is_watched_until_it_is_decided() {
    let (_service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["rekey"]);
    bank.run(&["proposal", "watch", &id, "--wait", "0"]).failed(6, "COCO-3002");
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| bank.run(&["proposal", "watch", &id, "--wait", "30"]));
        acme.vote(&id, "--approve");
        assert_eq!(bank.vote(&id, "--reject"), "Rejected");
        let seen = watching.join().unwrap().ok();
        assert!(seen.contains("Rejected"), "{seen}");
    });
}

#[test]
fn a_proposal_is_shown_with_its_deadline_and_dropped_after_it() {
    let (service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["set-policy", "--default", "majority", "--expire-days", "2"]);
    let shown = acme.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("proposals expire after 2 days"), "{shown}");
    // A second later it is a day less, as long as days are counted.
    let deadline = ["  expires   in 30 days (2", "  expires   in 29 days (2"];
    assert!(deadline.iter().any(|words| shown.contains(words)), "{shown}");
    acme.vote(&id, "--approve");
    assert_eq!(bank.vote(&id, "--approve"), "Accepted");
    let id = acme.propose(&["snapshot"]);
    let listed = acme.run(&["proposal", "ls"]).ok();
    assert!(["in 2 days", "in 47 hours"].iter().any(|words| listed.contains(words)), "{listed}");
    service.faults.ahead_s.store(3 * 86_400, Ordering::Relaxed);
    bank.run(&["proposal", "vote", &id, "--approve", "--yes"]).failed(5, "COCO-2003");
    let shown = acme.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("Dropped") && shown.contains("  reason    it expired"), "{shown}");
    assert!(!shown.contains("expires  "), "{shown}");
}

#[test]
fn what_a_member_may_decide_alone_is_proposed() {
    let (_service, [acme]) = Desk::founders();
    let rule = "transition_node_to_trusted=automatic:2";
    let id = acme.propose(&["set-policy", "--default", "majority", "--rule", rule]);
    let shown = acme.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("each member alone, up to 2; beyond, the default"), "{shown}");
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    let rule = ["--default", "majority", "--rule", "set_constitution=automatic:2"];
    let create = ["proposal", "create", "--yes", "set-policy"];
    acme.run(&[&create[..], &rule].concat()).failed(5, "COCO-2009");
}

#[test]
fn a_ballot_is_given_once() {
    let (_service, [acme, _bank, _corp]) = Desk::founders();
    let id = acme.propose(&["snapshot"]);
    assert_eq!(acme.vote(&id, "--reject"), "Open");
    // The same once more is no harm; another is refused.
    assert_eq!(acme.vote(&id, "--reject"), "Open");
    acme.run(&["proposal", "vote", &id, "--approve", "--yes"]).failed(5, "COCO-2008");
}

#[test]
fn a_reason_and_a_script_of_ones_own_are_ballots() {
    let (_service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["snapshot"]);
    let reason = ["proposal", "vote", &id, "--approve", "--reason", "tested\nwell", "--yes"];
    acme.run(&reason).ok();
    let script =
        "export function vote (rawProposal, proposerId) { return rawProposal.length > 0; }";
    let file = bank.write("ballot.js", script);
    let voted = bank.run(&["proposal", "vote", &id, "--ballot", &file, "--yes"]).ok();
    assert!(voted.contains("Accepted"), "{voted}");
}

#[test]
fn documents_are_checked_before_they_are_proposed() {
    let (_service, [acme]) = Desk::founders();
    let good = r#"{"actions":[{"name":"set_recovery_threshold","args":{"recovery_threshold":2}}]}"#;
    for (text, exit, code) in [
        (r#"{"actions":[{"name":"no_such_action"}]}"#, 5, "COCO-2009"),
        (r#"{"actions":[{"name":"set_recovery_threshold","args":{}}]}"#, 5, "COCO-2009"),
        // Nobody holds a share, and so no two can be asked for.
        (good, 5, "COCO-2010"),
        (r#"{"actions":[]}"#, 2, "COCO-2014"),
        ("hello", 2, "COCO-2014"),
    ] {
        let file = acme.write("proposal.json", text);
        acme.run(&["proposal", "validate", &file]).failed(exit, code);
    }
    let file = acme.write("proposal.json", r#"{"actions":[{"name":"trigger_ledger_rekey"}]}"#);
    acme.run(&["proposal", "validate", &file]).ok();
    let simulated = acme.run(&["proposal", "simulate", &file]).ok();
    assert!(simulated.contains("! RekeyLedger"), "{simulated}");
    let id = acme.propose(&["raw", &file]);
    let again = acme.run(&["proposal", "simulate", &id]).ok();
    assert_eq!(simulated, again);
    let cert = Desk::with_key("p256");
    let kind = ["proposal", "create", "add-member", &cert.key_file("cert"), "--dry-run"];
    let document = acme.run(&kind).ok();
    let file = acme.write("member.json", &document);
    let simulated = acme.run(&["proposal", "simulate", &file]).ok();
    assert!(simulated.contains("public:ccf.gov.members.certs"), "{simulated}");
}

#[test]
fn policies_and_constitutions_are_proposed() {
    let (_service, [acme]) = Desk::founders();
    let policy = ["set-policy", "--default", "at-least:1", "--rule", "set_constitution=unanimous"];
    let id = acme.propose(&policy);
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    let constitution = acme.write("c.js", coco_governance::DEFAULT_CONSTITUTION);
    let id = acme.propose(&["set-constitution", &constitution]);
    let shown = acme.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("(this service)") && shown.contains("~ constitution"), "{shown}");
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
}

/// What is signed for one service is worth nothing at another that the same members govern, unless they want that.
#[test]
fn a_proposal_names_its_service() {
    let (service, [acme]) = Desk::founders();
    let other = crate::service::Service::start(&[acme.certificate()]);
    let (url, id) = (other.url(), other.identity());
    let (key, cert) = (acme.key_file("privk"), acme.key_file("cert"));
    let files = ["--key", &key, "--cert", &cert];
    let add = ["context", "add", "other", "--url", &url, "--service-id", &id];
    acme.run(&[&add[..], &files].concat()).ok();
    let first = |words: &[&str]| {
        let made = acme.run(&[&["proposal", "create", "--dry-run"], words].concat()).ok();
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        made["actions"][0].clone()
    };
    let pem = service.certificate.pem();
    for words in [
        &["rekey"][..],
        &["set-threshold", "1"],
        &["remove-member", "m0"],
        &["rekey", "--only-here"],
    ] {
        let named = first(words);
        assert_eq!(named["name"], "assert_service_identity", "{words:?}");
        assert_eq!(named["args"]["service_identity"], pem, "{words:?}");
    }
    let user = ["set-user", &cert];
    assert_eq!(first(&["rekey", "--anywhere"])["name"], "trigger_ledger_rekey");
    assert_eq!(first(&user)["name"], "set_user");
    assert_eq!(first(&[&user[..], &["--only-here"]].concat())["name"], "assert_service_identity");

    let file = acme.path("p.cose");
    acme.run(&["proposal", "create", "snapshot", "--yes", "--offline", &file]).ok();
    acme.run(&["proposal", "submit", &file, "--context", "other"]).failed(5, "COCO-2009");
    acme.run(&["proposal", "submit", &file]).ok();
    acme.run(&["proposal", "create", "chunk", "--anywhere", "--yes", "--offline", &file]).ok();
    for context in ["net", "other"] {
        acme.run(&["proposal", "submit", &file, "--context", context]).ok();
    }
    // Rules that do not know the action are not given it.
    let rules =
        coco_governance::DEFAULT_CONSTITUTION.replace("assert_service_identity", "assert_nothing");
    let rules = acme.write("rules.js", &rules);
    let id = acme.propose(&["set-constitution", &rules]);
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    assert_eq!(first(&["rekey"])["name"], "trigger_ledger_rekey");
}

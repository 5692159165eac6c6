//! Requests that are signed where no network is, printed, lost, and sent twice.

use std::{fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_client::Envelope;

use crate::desk::Desk;

#[test]
fn a_vote_is_prepared_signed_elsewhere_and_sent() {
    let (service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["snapshot"]);
    acme.vote(&id, "--approve");
    // This one has the certificate, and the key is somewhere else.
    let office = Desk::empty();
    let (url, service_id, cert) = (service.url(), service.identity(), bank.key_file("cert"));
    let add = ["context", "add", "net", "--url", &url, "--service-id", &service_id];
    office.run(&[&add[..], &["--cert", &cert]].concat()).ok();
    let file = office.path("vote.cose");
    let prepared = office.run(&["proposal", "vote", &id, "--approve", "--offline", &file]);
    assert!(prepared.err.contains("not signed"), "{}", prepared.err);
    prepared.ok();
    office.run(&["proposal", "submit", &file]).failed(1, "COCO-1024");

    let (key, cert) = (bank.key_file("privk"), bank.key_file("cert"));
    let vault = Desk::empty();
    let sign = ["keys", "sign", &file, "--key", &key, "--cert", &cert];
    vault.type_in(&sign, "no\n").failed(5, "COCO-1023");
    let signed = vault.type_in(&sign, &format!("{}\n", &id[..8]));
    assert!(signed.err.contains("return true;"), "{}", signed.err);
    signed.ok();
    let signed = office.path("vote.signed.cose");
    vault.run(&["keys", "sign", &signed, "--key", &key, "--cert", &cert]).failed(1, "COCO-1024");
    // Another member's key does not sign it.
    let (key, cert) = (acme.key_file("privk"), acme.key_file("cert"));
    vault
        .run(&["keys", "sign", &file, "--key", &key, "--cert", &cert, "--yes"])
        .failed(1, "COCO-1024");
    let sent = office.run(&["proposal", "submit", &signed]).ok();
    assert!(sent.contains("Accepted"), "{sent}");
}

#[test]
fn a_proposal_that_is_sent_twice_is_made_once() {
    let (_service, [acme, _bank]) = Desk::founders();
    let file = acme.path("p.cose");
    acme.run(&["proposal", "create", "snapshot", "--yes", "--offline", &file]).ok();
    let first = acme.run(&["proposal", "submit", &file, "--output", "json"]).json();
    let second = acme.run(&["proposal", "submit", &file, "--output", "json"]).json();
    assert_eq!(first["proposal"]["proposalId"], second["proposal"]["proposalId"]);
    assert_eq!((&first["is_repeated"], &second["is_repeated"]), (&false.into(), &true.into()));
    let all = acme.run(&["proposal", "ls", "--output", "json"]).json();
    assert_eq!(all["proposals"].as_array().unwrap().len(), 1);
}

#[test]
fn a_request_whose_answer_got_lost_is_kept_and_sent_again() {
    let (service, [acme, _bank]) = Desk::founders();
    service.faults.loses_answers.store(true, Ordering::Relaxed);
    let said = acme.run(&["proposal", "create", "snapshot", "--yes"]).failed(8, "COCO-3004");
    service.faults.loses_answers.store(false, Ordering::Relaxed);
    let next = said.lines().find_map(|line| line.trim().strip_prefix("next   coco ")).unwrap();
    let again: Vec<&str> = next.split(' ').collect();
    let sent = acme.run(&again).ok();
    assert!(sent.contains("it was submitted before"), "{sent}");
}

#[test]
fn a_request_is_printed_as_a_call_that_others_can_send() {
    let (service, [acme]) = Desk::founders();
    let printed = acme.run(&["proposal", "create", "snapshot", "--yes", "--print-request"]).ok();
    let all = acme.run(&["proposal", "ls", "--output", "json"]).json();
    assert_eq!(all["proposals"].as_array().unwrap().len(), 0, "nothing was sent");
    let path = "/gov/members/proposals:create?api-version=2024-07-01'";
    assert!(printed.contains(&format!("'{}{path}", service.url())), "{printed}");
    assert!(printed.contains(&service.certificate.pem()), "{printed}");
    let (_, after) = printed.split_once("base64 -d > request.cose <<'END'\n").unwrap();
    let base64: String = after.split_once("\nEND\n").unwrap().0.split('\n').collect();
    let envelope = Envelope::read(STANDARD.decode(base64).unwrap()).unwrap();
    assert_eq!(envelope.verify(&acme.certificate()), Ok(()));
    let file = acme.path("request.cose");
    fs::write(&file, envelope.bytes()).unwrap();
    acme.run(&["proposal", "submit", &file]).ok();
}

#[test]
fn an_acknowledgement_is_signed_elsewhere_too() {
    let (service, [acme]) = Desk::founders();
    let corp = Desk::with_key("p384");
    let id = acme.propose(&["add-member", &corp.key_file("cert"), "--name", "corp"]);
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    let office = Desk::empty();
    let (url, service_id, cert) = (service.url(), service.identity(), corp.key_file("cert"));
    let add = ["context", "add", "net", "--url", &url, "--service-id", &service_id];
    office.run(&[&add[..], &["--cert", &cert]].concat()).ok();
    let file = office.path("ack.cose");
    office.run(&["member", "activate", "--offline", &file]).ok();
    let key = corp.key_file("privk");
    corp.run(&["keys", "sign", &file, "--key", &key, "--cert", &cert, "--yes"]).ok();
    let sent = office.run(&["proposal", "submit", &office.path("ack.signed.cose")]).ok();
    assert!(sent.starts_with("committed 2."), "{sent}");
    let member = office.run(&["member", "show", "corp"]).ok();
    assert!(member.contains("Active"), "{member}");
}

#[test]
fn what_is_signed_is_its_owners_alone_and_not_kept_for_good() {
    let (service, [acme, _bank]) = Desk::founders();
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = acme.path("p.cose");
    acme.run(&["proposal", "create", "snapshot", "--yes", "--offline", &file]).ok();
    assert_eq!(mode(&file), 0o600);
    // Prepared without the key, and signed elsewhere.
    let office = Desk::empty();
    let (url, id, cert) = (service.url(), service.identity(), acme.key_file("cert"));
    let add = ["context", "add", "net", "--url", &url, "--service-id", &id];
    office.run(&[&add[..], &["--cert", &cert]].concat()).ok();
    let draft = office.path("d.cose");
    office.run(&["proposal", "create", "snapshot", "--yes", "--offline", &draft]).ok();
    assert_eq!(mode(&draft), 0o600);
    let key = acme.key_file("privk");
    acme.run(&["keys", "sign", &draft, "--key", &key, "--cert", &cert, "--yes"]).ok();
    assert_eq!(mode(&office.path("d.signed.cose")), 0o600);
    // One whose answer got lost is kept until it is known to be done.
    service.faults.loses_answers.store(true, Ordering::Relaxed);
    let sent = acme.path("state/coco/sent");
    let said = acme.run(&["proposal", "create", "chunk", "--yes"]).failed(8, "COCO-3004");
    service.faults.loses_answers.store(false, Ordering::Relaxed);
    let next = said.lines().find_map(|line| line.trim().strip_prefix("next   coco ")).unwrap();
    let kept: Vec<String> = fs::read_dir(&sent)
        .unwrap()
        .map(|file| file.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(kept.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o600]);
    acme.run(&next.split(' ').collect::<Vec<_>>()).ok();
    assert_eq!(fs::read_dir(&sent).unwrap().count(), 0);
}

#[test]
fn a_recovery_share_is_neither_printed_nor_sent_in_the_open() {
    let (service, [acme]) = Desk::founders();
    let said = acme.run(&["shares", "submit", "--print-request"]).failed(1, "COCO-1000");
    assert!(said.contains("is not printed"), "{said}");
    let cert = acme.write("service.pem", &service.certificate.pem());
    let plain = ["--context", "net", "--url", "http://127.0.0.1:1", "--service-cert", &cert];
    acme.run(&[&["shares", "submit"][..], &plain].concat()).failed(2, "COCO-1017");
    // One plain node among others is one too many.
    let both = format!("{},http://127.0.0.1:1", service.url());
    let some = ["--context", "net", "--url", &both, "--service-cert", &cert];
    acme.run(&[&["shares", "submit"][..], &some].concat()).failed(2, "COCO-1017");
}

//! What is believed, and what is not.

use std::{fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

use crate::{desk::Desk, service::Service};

#[test]
fn a_service_is_known_by_its_identity() {
    let service = Service::start(&[]);
    let desk = Desk::empty();
    let (url, id) = (service.url(), service.identity());
    let add = ["context", "add", "net", "--url", &url];
    // Nobody is believed at first sight; but what was seen is said.
    let said = desk.run(&add).failed(2, "COCO-1013");
    assert!(said.contains(&id), "{said}");
    let other = format!("sha256:{}", "ab".repeat(32));
    let said = desk.run(&[&add[..], &["--service-id", &other]].concat()).failed(7, "COCO-1015");
    assert!(said.contains(&id) && said.contains(&other), "{said}");
    let listed = desk.run(&["context", "ls"]).ok();
    assert!(!listed.contains("net"), "{listed}");
    desk.run(&[&add[..], &["--service-id", &id]].concat()).ok();
    desk.run(&["status"]).ok();
    // Without the prefix, and by the certificate itself.
    let bare = id.strip_prefix("sha256:").unwrap();
    desk.run(&[&add[..], &["--service-id", bare]].concat()).ok();
    let cert = desk.write("service.pem", &service.certificate.pem());
    desk.run(&["status", "--url", &url, "--service-cert", &cert]).ok();
    desk.run(&["status", "--url", &url]).failed(2, "COCO-1013");
}

#[test]
fn another_service_at_the_same_address_gets_nothing() {
    let (_service, [acme]) = Desk::founders();
    let other = Service::start(&[acme.certificate()]);
    let url = other.url();
    let create = ["proposal", "create", "snapshot", "--yes", "--url", &url, "--context", "net"];
    acme.run(&create).failed(7, "COCO-3003");
    let cert = acme.write("other.pem", &other.certificate.pem());
    let ls = ["proposal", "ls", "--url", &url, "--service-cert", &cert, "--output", "json"];
    assert_eq!(acme.run(&ls).json()["proposals"].as_array().unwrap().len(), 0);
}

#[test]
fn a_node_that_shows_another_document_gets_no_vote_for_it() {
    let (service, [acme, bank]) = Desk::founders();
    let id = acme.propose(&["remove-member", "m1"]);
    acme.vote(&id, "--approve");
    service.faults.lies.store(true, Ordering::Relaxed);
    let shown = bank.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains("a snapshot"), "{shown}");
    // Its ballot is bound to what was shown, and does not count for what is there.
    assert_eq!(bank.vote(&id, "--approve"), "Open");
    service.faults.lies.store(false, Ordering::Relaxed);
    let members = acme.run(&["member", "ls", "--output", "json"]).json();
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    let (_service, [acme]) = Desk::founders();
    let key = acme.key_file("privk");
    for (mode, ok) in [(0o640, false), (0o604, false), (0o600, true), (0o400, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let made = acme.run(&["proposal", "create", "snapshot", "--yes"]);
        if ok {
            made.ok();
        } else {
            made.failed(3, "COCO-1022");
        }
    }
}

#[test]
fn a_stranger_is_told_so() {
    let (service, [_acme]) = Desk::founders();
    let stranger = Desk::with_key("p384");
    stranger.join(&service);
    stranger.run(&["proposal", "create", "snapshot", "--yes"]).failed(3, "COCO-2006");
    let status = stranger.run(&["status"]).ok();
    assert!(status.contains("NOT a member"), "{status}");
    // Who only looks needs no key.
    let guest = Desk::empty();
    let (url, id) = (service.url(), service.identity());
    guest.run(&["context", "add", "net", "--url", &url, "--service-id", &id]).ok();
    guest.run(&["member", "ls"]).ok();
    guest.run(&["proposal", "create", "snapshot", "--yes"]).failed(2, "COCO-1020");
}

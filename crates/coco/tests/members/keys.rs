//! Files of keys.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::desk::Desk;

#[test]
fn keys_are_made_private_and_once() {
    let desk = Desk::empty();
    let dir = desk.path("keys");
    let new = ["keys", "new", "acme", "--dir", &dir, "--encryption"];
    let made = desk.run(&new).ok();
    for (name, mode) in [
        ("acme_privk.pem", 0o600),
        ("acme_cert.pem", 0o644),
        ("acme_enc_privk.pem", 0o600),
        ("acme_enc_pubk.pem", 0o644),
    ] {
        let file = desk.folder().join("keys").join(name);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let before = fs::read(desk.path("keys/acme_privk.pem")).unwrap();
    desk.run(&new).failed(5, "COCO-1003");
    // Half of the files are no reason to make the other half.
    fs::remove_file(desk.path("keys/acme_cert.pem")).unwrap();
    desk.run(&new).failed(5, "COCO-1003");
    assert_eq!(fs::read(desk.path("keys/acme_privk.pem")).unwrap(), before);
    assert!(!fs::exists(desk.path("keys/acme_cert.pem")).unwrap());
    assert!(made.contains("acme_enc_pubk.pem"), "{made}");
    for name in ["", "a/b", "../a", "a b", &"a".repeat(65)] {
        desk.run(&["keys", "new", name, "--dir", &dir]).failed(1, "COCO-1002");
    }
}

#[test]
fn keys_are_listed_shown_and_handed_on_without_a_secret() {
    let desk = Desk::empty();
    desk.run(&["keys", "ls"]).ok();
    desk.run(&["keys", "new", "me", "--curve", "p256", "--encryption"]).ok();
    desk.run(&["keys", "new", "other"]).ok();
    let listed = desk.run(&["keys", "ls", "--output", "json"]).json();
    let names: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["me", "other"]);
    assert_eq!(listed["keys"][0]["member_id"], desk.id());
    assert_eq!(listed["keys"][0]["has_encryption_key"], true);
    let shown = desk.run(&["keys", "show", "me"]).ok();
    assert!(shown.contains(&desk.id()) && shown.contains("P256"), "{shown}");
    let public = desk.run(&["keys", "export-public", "me"]).ok();
    assert!(
        public.contains("BEGIN CERTIFICATE") && public.contains("BEGIN PUBLIC KEY"),
        "{public}"
    );
    assert!(!public.contains("PRIVATE"), "{public}");
    // A file with the secret beside the certificate gives away the certificate alone.
    let secret = fs::read_to_string(desk.key_file("privk")).unwrap();
    let both =
        desk.write("both.pem", &(secret + &fs::read_to_string(desk.key_file("cert")).unwrap()));
    let public = desk.run(&["keys", "export-public", &both]).ok();
    assert!(public.contains("BEGIN CERTIFICATE") && !public.contains("PRIVATE"), "{public}");
    desk.run(&["keys", "show", "nobody"]).failed(1, "COCO-1001");
}

#[test]
fn a_key_of_ed25519_is_in_a_file() {
    let desk = Desk::with_key("ed25519");
    let shown = desk.run(&["keys", "show", "me"]).ok();
    assert!(shown.contains(&desk.id()) && shown.contains("Ed25519"), "{shown}");
    let public = desk.run(&["keys", "export-public", "me"]).ok();
    assert_eq!(public.trim(), fs::read_to_string(desk.key_file("cert")).unwrap().trim());
    let in_a_device = ["keys", "new", "other", "--curve", "ed25519", "--pkcs11", "pkcs11:token=t"];
    let said = desk.run(&in_a_device).failed(1, "COCO-1025");
    assert!(said.contains("Ed25519 are in files"), "{said}");
    // Another's certificate is refused, of whatever kind.
    for kind in ["ed25519", "p384"] {
        desk.run(&["keys", "new", kind, "--curve", kind]).ok();
        let cert = desk.path(&format!("config/coco/keys/{kind}_cert.pem"));
        let key = desk.key_file("privk");
        let service = crate::service::Service::start(&[]);
        let (url, id) = (service.url(), service.identity());
        let add = ["context", "add", kind, "--url", &url, "--service-id", &id];
        desk.run(&[&add[..], &["--key", &key, "--cert", &cert]].concat()).failed(1, "COCO-1021");
    }
}

#[test]
fn a_key_and_another_keys_certificate_are_refused() {
    let desk = Desk::with_key("p384");
    desk.run(&["keys", "new", "other"]).ok();
    let (key, cert) = (desk.key_file("privk"), desk.path("config/coco/keys/other_cert.pem"));
    let service = crate::service::Service::start(&[]);
    let (url, id) = (service.url(), service.identity());
    let add = ["context", "add", "net", "--url", &url, "--service-id", &id];
    let files = ["--key", &key, "--cert", &cert];
    desk.run(&[&add[..], &files].concat()).failed(1, "COCO-1021");
}

#[test]
fn a_member_with_a_share_is_proposed() {
    let (_service, [acme]) = Desk::founders();
    let corp = Desk::empty();
    corp.run(&["keys", "new", "me", "--encryption"]).ok();
    let (cert, key) = (corp.key_file("cert"), corp.key_file("enc_pubk"));
    let id = acme.propose(&["add-member", &cert, "--name", "corp", "--encryption-key", &key]);
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    let member = acme.run(&["member", "show", "corp", "--output", "json"]).json();
    assert_eq!(member["member"]["publicEncryptionKey"], fs::read_to_string(key).unwrap());
    // A private key in its place is no public one.
    let (cert, key) = (corp.key_file("cert"), corp.key_file("enc_privk"));
    let create = ["proposal", "create", "--yes", "add-member", &cert, "--encryption-key", &key];
    acme.run(&create).failed(1, "COCO-1021");
}

#[test]
fn a_member_does_not_become_active_with_the_encryption_key_of_another() {
    let (service, [acme]) = Desk::founders();
    let [corp, other] = [(); 2].map(|()| {
        let desk = Desk::empty();
        desk.run(&["keys", "new", "me", "--encryption"]).ok();
        desk
    });
    corp.join(&service);
    let (cert, key) = (corp.key_file("cert"), other.key_file("enc_pubk"));
    let id = acme.propose(&["add-member", &cert, "--name", "corp", "--encryption-key", &key]);
    let given = other.run(&["keys", "show", "me", "--output", "json"]).json();
    let given = given["encryption_key"].as_str().unwrap().to_owned();
    let shown = acme.run(&["proposal", "show", &id]).ok();
    assert!(shown.contains(&format!("shares to the key {given}")), "{shown}");
    assert_eq!(acme.vote(&id, "--approve"), "Accepted");
    let refused = corp.run(&["member", "activate", "--yes"]).failed(1, "COCO-1021");
    assert!(refused.contains(&given), "{refused}");
    let member = acme.run(&["member", "show", "corp", "--output", "json"]).json();
    assert_eq!(member["member"]["status"], "Accepted");
}

#[test]
fn a_recovery_makes_nothing_beside_a_certificate_that_is_there() {
    let desk = Desk::with_key("p384");
    let (dir, lost) = (desk.path("again"), desk.key_file("cert"));
    fs::create_dir(&dir).unwrap();
    desk.write("again/service_cert.pem", "another");
    let place = ["--dir", &dir, "--client", "127.0.0.1:1", "--peer", "127.0.0.1:2"];
    let recover = ["network", "recover", "kept", "--service-cert", &lost];
    desk.run(&[&recover[..], &place].concat()).failed(5, "COCO-1003");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
}

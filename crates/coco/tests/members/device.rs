//! Members whose keys are in devices: `SoftHSM` stands for one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use coco_crypto::Certificate;

use crate::{desk::Desk, service::Service};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "471147";

/// A desk with a device of one token, `bank`, and a file that names its PIN. None where there is no `SoftHSM`.
fn desk_with_device() -> Option<Desk> {
    if !Path::new(MODULE).is_file() {
        println!("skipped: no SoftHSM (softhsm2)");
        return None;
    }
    let desk = Desk::empty();
    fs::create_dir(desk.path("tokens")).unwrap();
    desk.write("softhsm2.conf", &format!("directories.tokendir = {}\n", desk.path("tokens")));
    let made = softhsm(
        &desk,
        &["--init-token", "--free", "--label", "bank", "--so-pin", "00000000", "--pin", PIN],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pin = desk.write("pin", &format!("{PIN}\n"));
    fs::set_permissions(pin, fs::Permissions::from_mode(0o600)).unwrap();
    Some(desk)
}

fn softhsm(desk: &Desk, arguments: &[&str]) -> Output {
    let mut command = Command::new("softhsm2-util");
    command.env("SOFTHSM2_CONF", desk.path("softhsm2.conf")).args(arguments).output().unwrap()
}

/// The URI of a key, with the PIN in a file of the desk.
fn uri(desk: &Desk, token: &str, object: &str, pin: &str) -> String {
    format!(
        "pkcs11:token={token};object={object}?module-path={MODULE}&pin-source=file:{}",
        desk.path(pin)
    )
}

#[test]
fn a_member_signs_with_a_key_that_never_leaves_its_device() {
    let Some(desk) = desk_with_device() else { return };
    for curve in ["p256", "p384", "p521"] {
        let key = uri(&desk, "bank", curve, "pin");
        let new = ["keys", "new", curve, "--curve", curve, "--pkcs11", &key];
        let made = desk.run(&new);
        assert!(made.err.contains("made in the device"), "{}", made.err);
        made.ok();
        assert!(!fs::exists(desk.path(&format!("config/coco/keys/{curve}_privk.pem"))).unwrap());
        let cert = desk.path(&format!("config/coco/keys/{curve}_cert.pem"));
        let certificate = Certificate::from_pem(&fs::read_to_string(&cert).unwrap()).unwrap();
        let service = Service::start(&[(&certificate).into()]);
        let (url, id) = (service.url(), service.identity());
        let add = ["context", "add", curve, "--url", &url, "--service-id", &id];
        desk.run(&[&add[..], &["--key", &key, "--cert", &cert]].concat()).ok();
        let created =
            ["proposal", "create", "snapshot", "--yes", "--output", "json", "--context", curve];
        let created = desk.run(&created).json();
        let proposal = created["proposal"]["proposalId"].as_str().unwrap();
        let vote = [
            "proposal",
            "vote",
            proposal,
            "--approve",
            "--yes",
            "--output",
            "json",
            "--context",
            curve,
        ];
        assert_eq!(desk.run(&vote).json()["proposal"]["proposalState"], "Accepted");
        // A device is entered once for a command that signs twice.
        desk.run(&["member", "activate", "--yes", "--context", curve]).ok();
        // What is signed away from the network goes the same way.
        let draft = desk.path("draft.cose");
        let offline =
            ["proposal", "create", "chunk", "--yes", "--offline", &draft, "--context", curve];
        desk.run(&offline).ok();
        desk.run(&["proposal", "submit", &draft, "--context", curve]).ok();
    }
    let listed = desk.run(&["keys", "pkcs11", "--module", MODULE]).ok();
    for curve in ["P256", "P384", "P521"] {
        assert!(
            listed.lines().any(|line| line.contains("bank") && line.ends_with(curve)),
            "{listed}"
        );
    }

    // A key that is there gets another certificate, and the private half is not to be had.
    let key = uri(&desk, "bank", "p384", "pin");
    let again = desk.run(&["keys", "new", "again", "--pkcs11", &key]);
    assert!(!again.err.contains("made in the device"), "{}", again.err);
    again.ok();
    let key_of = |name: &str| {
        let pem =
            fs::read_to_string(desk.path(&format!("config/coco/keys/{name}_cert.pem"))).unwrap();
        Certificate::from_pem(&pem).unwrap().key().digest()
    };
    assert_eq!(key_of("again"), key_of("p384"));
    desk.run(&["keys", "new", "again", "--pkcs11", &key]).failed(5, "COCO-1003");
}

#[test]
fn what_is_wrong_with_a_device_is_said_and_no_pin_is_shown() {
    let Some(desk) = desk_with_device() else { return };
    let key = uri(&desk, "bank", "acme", "pin");
    desk.run(&["keys", "new", "acme", "--pkcs11", &key]).ok();
    desk.run(&["keys", "new", "other"]).ok();
    let cert = desk.path("config/coco/keys/acme_cert.pem");
    let certificate = Certificate::from_pem(&fs::read_to_string(&cert).unwrap()).unwrap();
    let service = Service::start(&[(&certificate).into()]);
    fs::write(desk.path("service.pem"), service.certificate.pem()).unwrap();
    let propose = |key: &str, cert: &str| {
        let (url, service) = (service.url(), desk.path("service.pem"));
        let how =
            ["--url", &url, "--service-cert", &service, "--key", key, "--cert", cert, "--yes"];
        let ended = desk.run(&[&["proposal", "create", "snapshot"][..], &how].concat());
        assert!(!ended.err.contains(PIN) && !ended.err.contains("815815"), "{}", ended.err);
        ended
    };
    let wrong = desk.write("wrong", "815815\n");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let open = desk.write("open", PIN);
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    for (key, named) in [
        (uri(&desk, "bank", "acme", "wrong"), "let its user in"),
        (uri(&desk, "bank", "acme", "open"), "others on this machine can read"),
        (uri(&desk, "bank", "acme", "none"), "there is no PIN"),
        (uri(&desk, "acme", "acme", "pin"), "0 tokens"),
        (uri(&desk, "bank", "corp", "pin"), "0 keys"),
        (format!("pkcs11:token=bank;object=acme?pin-value={PIN}"), "pin-source"),
        ("pkcs11:token=bank;object=acme".to_owned(), "COCO_PKCS11_MODULE"),
        ("pkcs11:token=bank?module-path=/none.so".to_owned(), "/none.so"),
    ] {
        let said = propose(&key, &cert).failed(1, "COCO-1025");
        assert!(said.contains(named), "{key}: {said}");
    }
    // Another key than that of the certificate signs nothing that is sent.
    desk.run(&["keys", "new", "bank", "--pkcs11", &uri(&desk, "bank", "bank", "pin")]).ok();
    let other = propose(&uri(&desk, "bank", "bank", "pin"), &cert).failed(1, "COCO-1025");
    assert!(other.contains("does not verify"), "{other}");
    // What is kept for later means the same from any folder.
    let (url, id) = (service.url(), service.identity());
    for (module, pin) in [("./m.so", "/run/pin"), (MODULE, "pin")] {
        let key = format!("pkcs11:object=acme?module-path={module}&pin-source={pin}");
        let add = ["context", "add", "net", "--url", &url, "--service-id", &id];
        let add = [&add[..], &["--key", &key, "--cert", &cert]].concat();
        desk.run(&add).failed(1, "COCO-1025");
    }
    let other_curve = ["keys", "new", "more", "--curve", "p256", "--pkcs11", &key];
    desk.run(&other_curve).failed(1, "COCO-1025");
    propose(&key, &cert).ok();
}

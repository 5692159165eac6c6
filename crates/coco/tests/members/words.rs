//! Exit codes, errors and JSON.

use serde_json::Value;

use crate::desk::Desk;

#[test]
fn exit_codes_say_what_kind_of_error_it_is() {
    let (_service, [acme]) = Desk::founders();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("https://{}", listener.local_addr().unwrap())
    };
    let unknown = "ab".repeat(32);
    for (arguments, exit, code) in [
        (&["member", "ls", "--context", "net", "--url", &nobody][..], 6, "COCO-3001"),
        (&["member", "ls", "--url", "n1:8000"], 2, "COCO-1014"),
        (&["member", "ls", "--url", "http://10.0.0.1:8000"], 2, "COCO-1014"),
        (&["member", "ls", "--context", "other"], 4, "COCO-1011"),
        (&["member", "show", &unknown], 4, "COCO-2001"),
        (&["member", "show", "nobody"], 4, "COCO-2001"),
        (&["member", "show", "abc"], 2, "COCO-2013"),
        (&["proposal", "show", &unknown], 4, "COCO-2002"),
        (&["proposal", "show", "abab"], 4, "COCO-2002"),
        (&["proposal", "create", "raw", "no.json", "--yes"], 1, "COCO-1001"),
        (&["proposal", "create", "remove-member", "nobody", "--yes"], 4, "COCO-2001"),
        (&["explain", "COCO-9999"], 4, "COCO-1030"),
        (&["context", "use", "other"], 4, "COCO-1011"),
    ] {
        acme.run(arguments).failed(exit, code);
    }
    assert_eq!(acme.run(&["member"]).exit, 2);
    for usage in [&["proposal", "vote", "abcd"][..], &["no-such-command"], &["status", "--colour"]]
    {
        acme.run(usage).failed(2, "COCO-1006");
        let ended = acme.run(&[usage, &["--output", "json"]].concat());
        let error: Value = serde_json::from_str(&ended.err).unwrap();
        assert_eq!((ended.exit, &error["error"]["code"]), (2, &"COCO-1006".into()), "{usage:?}");
    }
    Desk::empty().run(&["member", "ls"]).failed(2, "COCO-1010");
}

/// Nobody is told to see the message where it is known which file is wrong.
#[test]
fn files_that_cannot_be_used_have_codes_of_their_own() {
    let desk = Desk::with_key("p384");
    let cert = desk.key_file("cert");
    let bad = desk.write("bad", "no = [such");
    std::fs::create_dir_all(desk.path("empty")).unwrap();
    std::fs::create_dir_all(desk.path("net/n0")).unwrap();
    desk.write("net/service_cert.pem", "");
    let config = "data_dir = \"nothing\"\n[client]\nlisten = \"127.0.0.1:0\"\n[peer]\nlisten = \"127.0.0.1:0\"\n\
                  [[nodes]]\nid = \"00\"\npeer = \"a:1\"\nclient = \"a:2\"\n";
    let homeless = desk.write("node.toml", config);
    for (arguments, exit, code) in [
        (&["ledger", "verify", "no", "--service-cert", &cert][..], 1, "COCO-1001"),
        (&["ledger", "verify", "empty", "--service-cert", &cert], 1, "COCO-1001"),
        (&["ledger", "verify", "empty", "--service-cert", "no"], 1, "COCO-1001"),
        (&["ledger", "verify", "empty", "--service-cert", &bad], 1, "COCO-1021"),
        (&["ledger", "show", "no"], 1, "COCO-1001"),
        (&["ledger", "share", "no", "--key", "no", "--out", "o"], 1, "COCO-1001"),
        (&["receipt", "verify", "no", "--service-cert", &cert], 1, "COCO-1001"),
        (&["receipt", "verify", &bad, "--service-cert", "no"], 1, "COCO-1001"),
        (&["receipt", "verify", &bad, "--service-cert", &bad], 1, "COCO-1021"),
        (&["receipt", "verify", &bad, "--service-cert", &cert], 7, "COCO-7001"),
        (&["receipt", "get", "2.3", "--url", "ftp://n1"], 2, "COCO-1014"),
        (&["receipt", "get", "2.3", "--url", "https://n1"], 2, "COCO-1013"),
        (&["receipt", "get", "2.3", "--url", "http://127.0.0.1:1"], 6, "COCO-3001"),
        (&["node", "start", "--config", "no"], 1, "COCO-1001"),
        (&["node", "start", "--config", &bad], 2, "COCO-1004"),
        (&["node", "start", "--config", &homeless], 1, "COCO-1001"),
        (&["dev", "--dir", "new", "--genesis", "no"], 1, "COCO-1001"),
        (&["dev", "--dir", "new", "--genesis", &bad], 1, "COCO-1001"),
        (&["dev", "--dir", "net"], 1, "COCO-1001"),
        (&["dev", "--nodes", "0"], 2, "COCO-1006"),
    ] {
        let ended = desk.run(arguments);
        assert!(ended.err.contains(code), "{arguments:?}: {}", ended.err);
        ended.failed(exit, code);
    }
    desk.write("net/n0/node.toml", "no = [such");
    desk.run(&["dev", "--dir", "net"]).failed(2, "COCO-1004");
}

#[test]
fn errors_are_json_where_results_are() {
    let (_service, [acme]) = Desk::founders();
    let ended = acme.run(&["proposal", "show", &"ab".repeat(32), "--output", "json"]);
    assert_eq!(ended.out, "");
    let said: Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!(said["schema"], "coco.error/1");
    assert_eq!((&said["error"]["code"], &said["error"]["exit"]), (&"COCO-2002".into(), &4.into()));
}

#[test]
fn results_name_their_form() {
    let (service, [acme]) = Desk::founders();
    for (arguments, schema) in [
        (&["status"][..], "coco.status/1"),
        (&["member", "ls"], "coco.member.ls/1"),
        (&["proposal", "ls"], "coco.proposal.ls/1"),
        (&["context", "ls"], "coco.context.ls/1"),
        (&["context", "show"], "coco.context.show/1"),
        (&["keys", "ls"], "coco.keys.ls/1"),
        (&["explain", "COCO-2006"], "coco.explain/1"),
    ] {
        let result = acme.run(&[arguments, &["--output", "json"]].concat()).json();
        assert_eq!(result["schema"], schema);
    }
    let status = acme.run(&["status", "--output", "json"]).json();
    assert_eq!(status["service_id"], service.identity());
    assert_eq!(status["governance"]["me"]["status"], "Active");
}

#[test]
fn a_flag_counts_more_than_a_context() {
    let (service, [acme]) = Desk::founders();
    let other = crate::service::Service::start(&[]);
    let (url, id) = (other.url(), other.identity());
    acme.run(&["context", "add", "other", "--url", &url, "--service-id", &id]).ok();
    let status = |arguments: &[&str]| {
        let status = acme.run(&[&["status", "--output", "json"], arguments].concat()).json();
        status["service_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&[]), service.identity(), "the first context stays the current one");
    assert_eq!(status(&["--context", "other"]), other.identity());
    acme.run(&["context", "use", "other"]).ok();
    assert_eq!(status(&[]), other.identity());
    acme.run(&["context", "rm", "other"]).ok();
    acme.run(&["status"]).failed(2, "COCO-1010");
    assert_eq!(status(&["--context", "net"]), service.identity());
}

/// As in `coco ledger show DIR | head`.
#[test]
fn a_command_whose_reader_went_away_ends_without_a_word() {
    let desk = Desk::empty();
    for arguments in [["completions", "bash"], ["explain", "COCO-1000"]] {
        assert_eq!(desk.run_unread(&arguments), (Some(141), String::new()), "{arguments:?}");
    }
}

#[test]
fn manual_pages_and_completions_are_made() {
    let desk = Desk::empty();
    let folder = desk.path("man");
    desk.run(&["man", "--out", &folder]).ok();
    let pages = std::fs::read_dir(&folder).unwrap().count();
    assert!(pages > 40, "{pages} pages");
    assert!(desk.run(&["man"]).ok().starts_with(".ie"));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(desk.run(&["completions", shell]).ok().contains("proposal"), "{shell}");
    }
}

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
    for usage in [&["member"][..], &["proposal", "vote", "abcd"], &["no-such-command"]] {
        assert_eq!(acme.run(usage).exit, 2, "{usage:?}");
    }
    Desk::empty().run(&["member", "ls"]).failed(2, "COCO-1010");
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

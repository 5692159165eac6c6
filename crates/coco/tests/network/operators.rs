//! Operators look at a network: what each node says, how it is set up, what is wrong with it; and settings of nodes and folders.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{cluster::Network, ended::Ended, members::Desk, program::until};

/// Time for the nodes that are left to have a primary.
const TIME: Duration = Duration::from_secs(20);

/// What was found, of this level.
fn found(examined: &Value, level: &str) -> Vec<String> {
    let checks = examined["checks"].as_array().into_iter().flatten();
    let of_level = checks.filter(|check| check["level"] == level);
    of_level.map(|check| format!("{} {}", check["name"], check["found"])).collect()
}

fn said(ended: &Ended) -> anyhow::Result<Value> {
    serde_json::from_str(&ended.out).with_context(|| format!("{}{}", ended.out, ended.err))
}

fn every_node_speaks_for_itself(desk: &Desk) -> anyhow::Result<()> {
    let nodes = desk.run(&["node", "status", "--output", "json", "--context", "acme"])?.json();
    let nodes = nodes["nodes"].as_array().context("nodes")?;
    ensure!(nodes.len() == 3, "{nodes:?}");
    let primary = nodes[0]["consensus"]["primary_id"].as_str().context("a primary")?.to_owned();
    for node in nodes {
        ensure!(
            node["consensus"]["primary_id"] == *primary
                && node["state"]["node_id"] == node["node_id"],
            "{node}"
        );
        let consensus = &node["consensus"];
        let acks = consensus["acks"].as_object().context("acks")?;
        let others = if node["node_id"] == *primary { 2 } else { 0 };
        ensure!(acks.len() == others && !acks.contains_key(&primary), "{node}");
        ensure!(acks.values().all(|ack| ack["seqno"].as_u64() > Some(0)), "{node}");
        let configured = &consensus["configs"][0];
        ensure!(configured["idx"].as_u64() > Some(0) && configured["rid"] == configured["idx"]);
        ensure!(node["certificate_until"].is_string() && node["commit"].is_string(), "{node}");
    }
    let one = desk.run(&["node", "status", &primary[..8], "--context", "acme"])?.ok();
    ensure!(one.lines().count() == 2 && one.contains("primary"), "{one}");
    desk.run(&["node", "status", &"0".repeat(64), "--context", "acme"])?.failed(4, "COCO-2016");
    Ok(())
}

/// A member's key opens its own share, and another's does not.
fn shares_are_tried(network: &Network, desk: &Desk) -> anyhow::Result<()> {
    let checked = desk.run(&["shares", "check", "--context", "acme", "--output", "json"])?.json();
    ensure!(checked["member_id"].is_string(), "{checked}");
    let bank = network.scratch().join("members/bank.enc.key.pem");
    let bank = bank.to_str().context("UTF-8")?;
    let wrong = ["shares", "check", "--context", "acme", "--encryption-key", bank];
    desk.run(&wrong)?.failed(1, "COCO-1021");
    Ok(())
}

#[test]
fn what_is_wrong_with_a_network_is_said_with_what_to_do() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let config = network.place(0).join("node.toml");
    let config = config.to_str().context("UTF-8")?.to_owned();
    let examine = ["doctor", "--config", &config, "--output", "json", "--context", "acme"];
    until("all is well", TIME, || {
        let examined = said(&desk.run(&examine)?)?;
        // How full the disk is on which the test runs is none of its business, and no network has another platform.
        let is_of_network = |warned: &String| {
            !warned.starts_with(r#""room""#) && !warned.starts_with(r#""platform""#)
        };
        let has_warned = found(&examined, "warn").iter().any(is_of_network);
        Ok(found(&examined, "FAIL").is_empty() && !has_warned)
    })?;
    let examined = desk.run(&examine)?.json();
    let names: Vec<&str> = examined["checks"]
        .as_array()
        .context("checks")?
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    for name in [
        "config",
        "keys",
        "room",
        "fsync",
        "service",
        "platform",
        "consensus",
        "quorum",
        "commit",
        "time",
        "disk",
        "certificate",
        "code",
        "recovery",
        "you",
    ] {
        ensure!(names.contains(&name), "{name} is not among {names:?}");
    }

    every_node_speaks_for_itself(&desk)?;
    shares_are_tried(&network, &desk)?;

    network.kill(&[1])?;
    network.await_primary(TIME)?;
    let examined = desk.run(&examine)?;
    ensure!(examined.exit == 1 && examined.err.contains("COCO-1050"), "{}", examined.err);
    let examined = said(&examined)?;
    let (failed, warned) = (found(&examined, "FAIL"), found(&examined, "warn"));
    ensure!(failed.iter().any(|one| one.contains("no node can be reached")), "{examined}");
    ensure!(
        warned.iter().any(|one| one.contains("2 of 3 voters answer: no other may fail")),
        "{examined}"
    );
    network.kill(&[2])?;
    let examined = said(&desk.run(&examine)?)?;
    let failed = found(&examined, "FAIL");
    ensure!(
        failed.iter().any(|one| one.contains("1 of 3 voters answer: nothing can be")),
        "{examined}"
    );
    network.kill(&[0])?;
    let examined = said(&desk.run(&examine)?)?;
    ensure!(!found(&examined, "FAIL").is_empty(), "nobody is there: {examined}");
    desk.run(&["doctor", "--config", &config, "--offline"])?.ok();
    network.finish()
}

#[test]
fn a_network_is_shown_as_members_set_it_up_and_changed_by_its_own_commands() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let show = ["network", "show", "--context", "acme", "--output", "json"];
    let shown = desk.run(&show)?.json();
    assert_eq!(
        (&shown["service"]["status"], &shown["active_members"], &shown["share_holders"]),
        (&json!("Open"), &json!(3), &json!(3))
    );
    let codes = shown["join_policy"]["virtual"]["measurements"].as_array().context("codes")?;
    ensure!(codes.len() == 1, "{shown}");
    let text = desk.run(&["network", "show", "--context", "acme"])?.ok();
    ensure!(text.contains("constitution sha256:") && text.contains("Trusted"), "{text}");
    let status = desk.run(&["status", "--context", "acme"])?.ok();
    for text in [&text, &status] {
        let line = text.lines().find(|line| line.starts_with("platform "));
        ensure!(line.is_some_and(|line| line.contains("virtual. It protects nothing")), "{text}");
    }

    // The same proposals as those of `coco proposal create`.
    let actions = |words: &[&str]| -> anyhow::Result<Value> {
        let made =
            desk.run(&[words, &["--context", "acme", "--yes", "--output", "json"]].concat())?;
        let made = made.json();
        let id = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
        let show = ["proposal", "show", &id, "--context", "acme", "--output", "json"];
        Ok(desk.run(&show)?.json()["actions"].clone())
    };
    let node = network.config(1)?.nodes[1].id.clone();
    let retire = actions(&["network", "retire-node", &node[..8]])?;
    assert_eq!(retire[1], json!({ "name": "remove_node", "args": { "node_id": node } }));
    assert_eq!(actions(&["network", "rekey"])?[1]["name"], "trigger_ledger_rekey");
    assert_eq!(actions(&["shares", "reshare"])?[1]["name"], "trigger_recovery_shares_refresh");
    let open = actions(&["network", "open"])?;
    assert_eq!(open[0]["name"], "assert_service_identity");
    assert_eq!(open[1]["name"], "transition_service_to_open");
    let anywhere = actions(&["network", "rekey", "--anywhere"])?;
    assert_eq!(anywhere, json!([{ "name": "trigger_ledger_rekey", "args": {} }]));

    // What a folder says counts before the current context, and after what is typed.
    let me = |words: &[&str]| -> anyhow::Result<Value> {
        let status = desk.run(&[&["status", "--output", "json"], words].concat())?.json();
        Ok(status["network"].clone())
    };
    assert_eq!(me(&[])?, "acme", "the context that was added first");
    fs::write(network.scratch().join("coco.toml"), "context = \"bank\"\ntimeout = 20\n")?;
    assert_eq!(me(&[])?, "bank");
    assert_eq!(me(&["--context", "corp"])?, "corp");
    fs::write(network.scratch().join("coco.toml"), "url = [\"https://127.0.0.1:1\"]\n")?;
    let refused = desk.run(&["status"])?.failed(2, "COCO-1016");
    ensure!(refused.contains("`url`") && refused.contains("`context`"), "{refused}");
    network.finish()
}

#[test]
fn the_settings_of_a_node_are_shown_with_their_origin() -> anyhow::Result<()> {
    let network = Network::provision(1, |_| {})?;
    let desk = Desk::in_folder(network.scratch());
    let path = network.place(0).join("node.toml");
    let config = path.to_str().context("UTF-8")?;
    let checked = desk.run(&["node", "config", "check", "--config", config])?.ok();
    ensure!(checked.starts_with("ok  "), "{checked}");
    let shown = desk.run(&["node", "config", "show", "--origin", "--config", config])?.ok();
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().last().map(str::to_owned)
    };
    assert_eq!(line("client.listen").as_deref(), Some("file"), "{shown}");
    let text = fs::read_to_string(&path)?;
    let known = text.find("queue_max").is_some();
    let expected = if known { "file" } else { "default" };
    assert_eq!(line("limits.queue_max").as_deref(), Some(expected), "{shown}");
    fs::write(&path, text.replacen("[client]\n", "[client]\nlisten_on = 1\n", 1))?;
    let refused =
        desk.run(&["node", "config", "check", "--config", config])?.failed(2, "COCO-1004");
    ensure!(refused.contains("listen_on") && refused.contains("`listen`"), "{refused}");
    network.finish()
}

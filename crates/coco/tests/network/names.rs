//! Nodes are reached by names, and listen where their machines have addresses.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{
    members::Desk,
    newcomers::{Running, free_address},
    program::{Folder, Turn, until},
};

/// Time for a node to serve, to be trusted, and to vote.
const TIME: Duration = Duration::from_secs(30);

/// A name of this machine with a port that is free.
fn free_name() -> anyhow::Result<String> {
    Ok(format!("localhost:{}", free_address()?.port()))
}

#[test]
fn a_network_of_names_is_founded_and_joined() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let desk = Desk::in_folder(folder.path());
    let path = |name: &str| -> anyhow::Result<String> {
        Ok(folder.path().join(name).to_str().context("UTF-8")?.to_owned())
    };
    desk.run(&["keys", "new", "acme", "--encryption"])?.ok();
    let keys = path("config/coco/keys")?;
    let member = format!("acme={keys}/acme_cert.pem,{keys}/acme_enc_pubk.pem");
    let (client, peer) = (free_name()?, free_name()?);
    let place = ["network", "create", "--dir", "n0", "--client", &client, "--peer", &peer];
    desk.run(&[&place[..], &["--chain-id", "7", "--member", &member]].concat())?.ok();
    let n0 = path("n0/node.toml")?;
    let _n0 = Running::start(&["node", "start", "--config", &n0], &folder.path().join("n0.log"))?;

    let url = format!("https://{client}");
    let (cert, key) = (format!("{keys}/acme_cert.pem"), format!("{keys}/acme_privk.pem"));
    let service = path("n0/service_cert.pem")?;
    let add = ["context", "add", "net", "--url", &url, "--service-cert", &service];
    desk.run(&[&add[..], &["--key", &key, "--cert", &cert]].concat())?.ok();
    until("it serves by its name", TIME, || {
        Ok(desk.run(&["member", "activate", "--yes"])?.exit == 0)
    })?;

    // The second is reached by a name, and listens at one address alone.
    let made = desk.run(&["node", "init", "--dir", "n1", "--output", "json"])?.json();
    let node = made["node_id"].as_str().context("an id")?.to_owned();
    let status = desk.run(&["status", "--output", "json"])?.json();
    let id = status["service_id"].as_str().context("an identity")?.to_owned();
    let (client, peer) = (free_name()?, free_name()?);
    let listen = client.replace("localhost", "127.0.0.1");
    let dir = path("n1")?;
    let place = ["--dir", &dir, "--client", &client, "--peer", &peer, "--listen-client", &listen];
    let join = [&["network", "join", &url, "--service-id", &id][..], &place, &["--wait", "30"]];
    let joining = Running::start(&join.concat(), &folder.path().join("join.log"))?;
    until("it waits", TIME, || {
        let shown = desk.run(&["network", "show", "--output", "json"])?.json();
        let nodes = shown["nodes"].as_array().context("nodes")?;
        Ok(nodes.iter().any(|known| known["nodeId"] == *node && known["status"] == "Pending"))
    })?;
    let trust = ["proposal", "create", "trust-node", &node, "--yes", "--output", "json"];
    let made = desk.run(&trust)?.json();
    let proposal = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    desk.run(&["proposal", "vote", &proposal, "--approve", "--yes"])?.ok();
    let n1 = folder.path().join("n1/node.toml");
    until("it has its place", TIME, || Ok(n1.exists()))?;
    let settings = std::fs::read_to_string(&n1)?;
    ensure!(settings.contains(&listen) && settings.contains(&client), "{settings}");
    let n1 = n1.to_str().context("UTF-8")?;
    let _n1 = Running::start(&["node", "start", "--config", n1], &folder.path().join("n1.log"))?;
    until("both vote, and answer by their names", TIME, || {
        let nodes = desk.run(&["node", "status", "--output", "json"])?.json();
        let nodes = nodes["nodes"].as_array().context("nodes")?;
        let votes = nodes.iter().filter(|node| node["consensus"]["membership_state"] == "Active");
        Ok(votes.count() == 2)
    })?;
    drop(joining);
    let wrong = ["network", "create", "--dir", "n2", "--client", "10.0.0:1", "--peer", &peer];
    let refused = desk.run(&[&wrong[..], &["--chain-id", "7", "--member", &member]].concat())?;
    ensure!(refused.exit == 2 && refused.err.contains("no host with a port"), "{}", refused.err);
    folder.remove()
}

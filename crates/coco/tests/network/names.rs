//! Nodes are reached by names, and listen where their machines have addresses.

use std::{path::Path, time::Duration};

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

/// A node in a folder of this name that members trust, started, and where clients reach it: by a name, while it listens at
/// one address alone.
fn join(
    desk: &Desk,
    folder: &Path,
    name: &str,
    [url, id]: [&str; 2],
) -> anyhow::Result<(Running, String)> {
    let made = desk.run(&["node", "init", "--dir", name, "--output", "json"])?.json();
    let node = made["node_id"].as_str().context("an id")?.to_owned();
    let (client, peer) = (free_name()?, free_name()?);
    let listen = client.replace("localhost", "127.0.0.1");
    let dir = folder.join(name).to_str().context("UTF-8")?.to_owned();
    let place = ["--dir", &dir, "--client", &client, "--peer", &peer, "--listen-client", &listen];
    let join = [&["network", "join", url, "--service-id", id][..], &place, &["--wait", "30"]];
    let _joining = Running::start(&join.concat(), &folder.join(format!("{name}-join.log")))?;
    until("it waits", TIME, || {
        let shown = desk.run(&["network", "show", "--output", "json"])?.json();
        let nodes = shown["nodes"].as_array().context("nodes")?;
        Ok(nodes.iter().any(|known| known["nodeId"] == *node && known["status"] == "Pending"))
    })?;
    let trust = ["proposal", "create", "trust-node", &node, "--yes", "--output", "json"];
    let made = desk.run(&trust)?.json();
    let proposal = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    desk.run(&["proposal", "vote", &proposal, "--approve", "--yes"])?.ok();
    let config = folder.join(name).join("node.toml");
    until("it has its place", TIME, || Ok(config.exists()))?;
    let config = config.to_str().context("UTF-8")?;
    let log = folder.join(format!("{name}.log"));
    Ok((Running::start(&["node", "start", "--config", config], &log)?, client))
}

/// The nodes that vote and answer by their names, as one says that is at this place.
fn voters(desk: &Desk, url: &str) -> anyhow::Result<Vec<String>> {
    let asked = ["node", "status", "--context", "net", "--url", url, "--output", "json"];
    let asked = desk.run(&asked)?;
    if asked.exit != 0 {
        return Ok(Vec::new());
    }
    let asked = asked.json();
    let nodes = asked["nodes"].as_array().context("nodes")?.iter();
    let voters = nodes.filter(|node| node["consensus"]["membership_state"] == "Active");
    voters.map(|node| Ok(node["node_id"].as_str().context("an id")?.to_owned())).collect()
}

/// Waits until so many vote.
fn vote(desk: &Desk, url: &str, count: usize) -> anyhow::Result<Vec<String>> {
    until("they vote, and answer by their names", TIME, || Ok(voters(desk, url)?.len() == count))?;
    voters(desk, url)
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
    let config = path("n0/node.toml")?;
    let log = folder.path().join("n0.log");
    let n0 = Running::start(&["node", "start", "--config", &config], &log)?;

    let url = format!("https://{client}");
    let (cert, key) = (format!("{keys}/acme_cert.pem"), format!("{keys}/acme_privk.pem"));
    let service = path("n0/service_cert.pem")?;
    let add = ["context", "add", "net", "--url", &url, "--service-cert", &service];
    desk.run(&[&add[..], &["--key", &key, "--cert", &cert]].concat())?.ok();
    until("it serves by its name", TIME, || {
        Ok(desk.run(&["member", "activate", "--yes"])?.exit == 0)
    })?;

    let status = desk.run(&["status", "--output", "json"])?.json();
    let id = status["service_id"].as_str().context("an identity")?.to_owned();
    let (n1, at) = join(&desk, folder.path(), "n1", [&url, &id])?;
    let settings = std::fs::read_to_string(folder.path().join("n1/node.toml"))?;
    let listen = at.replace("localhost", "127.0.0.1");
    ensure!(settings.contains(&listen) && settings.contains(&at), "{settings}");
    vote(&desk, &url, 2)?;
    let (n2, _) = join(&desk, folder.path(), "n2", [&url, &id])?;
    let before = vote(&desk, &url, 3)?;

    // The settings of the founder name itself alone. It comes back by what its ledger says.
    drop(n0);
    let log = folder.path().join("n0-again.log");
    let n0 = Running::start(&["node", "start", "--config", &config], &log)?;
    let url = format!("https://{at}");
    until("the founder has its seat again", TIME, || {
        ensure!(n0.is_up()?, "{}", std::fs::read_to_string(&log)?);
        let voters = voters(&desk, &url)?;
        Ok(voters.len() == 3 && !before.iter().all(|node| voters.contains(node)))
    })?;
    drop((n0, n1, n2));
    let wrong = ["network", "create", "--dir", "n3", "--client", "10.0.0:1", "--peer", &peer];
    let refused = desk.run(&[&wrong[..], &["--chain-id", "7", "--member", &member]].concat())?;
    ensure!(refused.exit == 2 && refused.err.contains("no host with a port"), "{}", refused.err);
    folder.remove()
}

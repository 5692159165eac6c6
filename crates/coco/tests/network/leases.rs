//! A node that does not show in time what it runs is quarantined, and comes back with new evidence.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use coco_governance::DEFAULT_CONSTITUTION;
use coco_types::TxId;
use serde_json::json;

use super::{
    cluster::Network,
    ledger::verify,
    members::{Member, NAMES, decide},
    newcomers::{join, plain, send, shows, voters},
    program::until,
};

/// Time for a lease to end, and for each step after it.
const TIME: Duration = Duration::from_secs(60);

#[test]
fn a_node_that_is_silent_for_longer_than_its_lease_comes_back_by_joining_again()
-> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let members = NAMES.map(|name| Member::load(network.scratch(), name));
    let members = members.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let members: Vec<&Member> = members.iter().collect();
    let decided =
        |network: &Network, action, args| decide(&mut plain(network, 0)?, &members, action, &args);
    // Tests are less patient than members. A quarter of a lease has to be longer than nodes wait until they show themselves again.
    let rules = DEFAULT_CONSTITUTION.replace("node_lease_s, 3600,", "node_lease_s, 1,");
    ensure!(rules != DEFAULT_CONSTITUTION, "it says how long a lease is at least");
    decided(&network, "set_constitution", json!({ "constitution": rules }))?;
    decided(&network, "set_service_configuration", json!({ "node_lease_s": 20 }))?;

    network.kill(&[2])?;
    let lost = network.config(2)?.nodes[2].clone();
    let status = |network: &Network| -> anyhow::Result<String> {
        let path = format!("/gov/service/nodes/{}?api-version=2024-07-01", lost.id);
        let answer = plain(network, 1)?.get(&path)?.json()?;
        Ok(answer["status"].as_str().context("a status")?.to_owned())
    };
    until("it is quarantined", TIME, || Ok(status(&network)? == "Pending"))?;
    ensure!(voters(&mut plain(&network, 0)?)?.len() == 2, "the others show what they run");
    let block = send(&network, 0)?;

    // It is as it was, and learns that it has no place.
    network.spawn(2)?;
    until("it ends", TIME, || network.has_ended(2))?;
    network.kill(&[2])?;
    let log = fs::read_to_string(network.place(2).join("node.log"))?;
    ensure!(log.contains("its lease has ended"), "{log}");

    let said = network.scratch().join("again.log");
    let place = [lost.client.parse()?, lost.peer.parse()?];
    let joined = join(&network, network.place(2), place, &said)?.ended(TIME)?;
    ensure!(joined.success(), "{}", fs::read_to_string(&said)?);
    ensure!(status(&network)? == "Trusted", "nobody had to vote");
    network.spawn(2)?;
    let service = network.service_cert_pem()?;
    until("it votes", TIME, || Ok(voters(&mut plain(&network, 0)?)?.len() == 3))?;
    until("it has what was done without it", TIME, || {
        Ok(shows(lost.client.parse()?, &service, block).unwrap_or_default())
    })?;
    network.stop_all()?;
    verify(&network, 1, TxId::new(2, 4))?;
    network.finish()
}

//! A network that is founded under CCF's sample constitution, as it is: its members govern it, go over to ours, and back.
//!
//! `COCO_CCF_CONSTITUTION` names the files of the sample, separated by colons; without it, nothing is tested.

use std::{env, fs, process::Command, time::Duration};

use anyhow::{Context, ensure};
use coco_attest::ReportData;
use coco_client::join::JoinRequest;
use coco_crypto::{Certificate, Curve, sha256};
use coco_governance::DEFAULT_CONSTITUTION;
use coco_types::TxId;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    ledger::verify,
    members::{Member, decide},
    newcomers::{Stranger, join_request},
    opening,
    program::{program, until},
    renewal::{days, shown_by},
};

/// Time for what is committed to be shown.
const TIME: Duration = Duration::from_secs(30);

fn sample() -> anyhow::Result<Option<String>> {
    let Ok(names) = env::var("COCO_CCF_CONSTITUTION") else { return Ok(None) };
    let read = |name: &str| fs::read_to_string(name).with_context(|| name.to_owned());
    let texts: Vec<String> = names.split(':').map(read).collect::<Result<_, _>>()?;
    Ok(Some(texts.join("\n")))
}

/// A time in the form of certificates: such as begin now are not shown yet, since clocks differ.
fn two_hours_ago() -> anyhow::Result<String> {
    let made = Command::new("date").args(["-u", "-d", "2 hours ago", "+%y%m%d%H%M%SZ"]).output()?;
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

/// What the node shows of governance.
fn gov(network: &Network, path: &str) -> anyhow::Result<Value> {
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    let target = format!("/gov/service/{path}?api-version={}", coco_client::API_VERSION);
    connection.get(&target)?.json()
}

/// Has a node admitted that shows the code of this program, and its certificate renewed.
fn certify_nodes(
    network: &Network,
    decided: &dyn Fn(&str, &Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let code = sha256(&fs::read(program())?);
    let newcomer = Stranger::new(Curve::P384)?;
    let signed = newcomer.signs(&[])?;
    let asks = move |data: &ReportData| JoinRequest {
        certificate_signing_request: Some(signed.clone()),
        ..join_request(*data, |said| said.code = code)
    };
    ensure!(newcomer.ask(network, asks.clone())? == "Pending", "nobody has decided yet");
    let (from, id) = (two_hours_ago()?, newcomer.certificate.key().node_id().to_string());
    let args = json!({ "node_id": id, "valid_from": from, "validity_period_days": 7 });
    decided("transition_node_to_trusted", &args)?;
    let certified = || {
        let row = gov(network, &format!("nodes/{id}"))?;
        Ok::<_, anyhow::Error>(Certificate::from_pem(row["certificate"].as_str().context("PEM")?)?)
    };
    until("the newcomer is certified", TIME, || Ok(certified().is_ok()))?;
    ensure!(days(&certified()?) == 7, "for as long as members said");
    ensure!(certified()?.key() == newcomer.certificate.key(), "and for its key");
    ensure!(newcomer.ask(network, asks)? == "Trusted", "it gets the keys");

    let before = shown_by(network, 0)?;
    let node = before.key().node_id().to_string();
    let args = json!({ "node_id": node, "valid_from": from, "validity_period_days": 30 });
    decided("set_node_certificate_validity", &args)?;
    until("the node shows a new one", TIME, || Ok(days(&shown_by(network, 0)?) == 30))?;
    let renewed = shown_by(network, 0)?;
    ensure!(renewed.key() == before.key(), "the key stays");
    ensure!(renewed.node_names()? == before.node_names()?, "and the names");
    let args = json!({ "valid_from": from, "validity_period_days": 9 });
    decided("set_all_nodes_certificate_validity", &args)?;
    until("the node shows another", TIME, || Ok(days(&shown_by(network, 0)?) == 9))?;
    ensure!(days(&certified()?) == 9, "the newcomer's is another, too");
    decided("remove_node", &json!({ "node_id": id }))
}

#[test]
fn a_network_is_governed_under_ccfs_sample() -> anyhow::Result<()> {
    let Some(sample) = sample()? else { return Ok(()) };
    let founders: Vec<Member> =
        ["m0", "m1", "m2"].into_iter().map(Member::new).collect::<Result<_, _>>()?;
    let founders: Vec<&Member> = founders.iter().collect();
    let mut governance = opening::governance(&founders);
    governance.constitution.clone_from(&sample);
    let mut network = opening::start_with(&governance)?;
    let plain = || Connection::plain(network.addresses(0)?.development, PATIENCE);
    for member in &founders {
        member.activate(&mut plain()?)?;
    }
    let service = json!({ "next_service_identity": network.service_cert_pem()? });
    decide(&mut plain()?, &founders, "transition_service_to_open", &service)?;
    until("it is open", TIME, || Ok(gov(&network, "info")?["status"] == "Open"))?;

    // A fourth member counts once it has acknowledged: two of four are not enough, three are.
    let dock = Member::new("dock")?;
    let args = json!({ "cert": dock.key.certificate().pem(), "member_data": { "name": "dock" } });
    decide(&mut plain()?, &founders, "set_member", &args)?;
    dock.activate(&mut plain()?)?;
    let few = decide(&mut plain()?, &founders[..2], "trigger_ledger_rekey", &Value::Null);
    ensure!(few.is_err_and(|error| error.to_string().contains("not decided")), "two of four");
    let all = [&dock, founders[0], founders[1], founders[2]];
    let decided = |action: &str, args: &Value| decide(&mut plain()?, &all[..], action, args);
    decided("trigger_ledger_rekey", &Value::Null)?;
    certify_nodes(&network, &decided)?;

    // Over to our rules, under which CCF's are taken again.
    let rules = |text: &str| json!({ "constitution": text });
    decided("set_constitution", &rules(DEFAULT_CONSTITUTION))?;
    decided("set_voting_policy", &json!({ "default": { "rule": "majority" }, "actions": {} }))?;
    decided("set_constitution", &rules(&sample))?;
    decided("trigger_snapshot", &json!({}))?;
    let user = Member::new("alice")?;
    decided("set_user", &json!({ "cert": user.key.certificate().pem() }))?;
    ensure!(gov(&network, "users")?.to_string().contains(&user.id()), "she is known");
    let kept = plain()?.get("/gov/service/constitution?api-version=2024-07-01")?;
    ensure!(kept.body == sample.as_bytes(), "as it was given");

    network.stop_all()?;
    // An auditor finds that each step was one by the rules of its time.
    verify(&network, 0, TxId::new(2, 4))?;
    network.finish()
}

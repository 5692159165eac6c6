//! Members govern a network of real nodes: by commands and by requests, at any node, while nodes are lost and while
//! somebody's script takes all it is given.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, bail, ensure};
use coco_client::{Envelope, Message};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    dev::Dev,
    http::{Connection, PATIENCE, Response},
    ledger::stop_and_compare,
    members::{Desk, Member, NAMES, decide, proposal, send},
    opening,
    program::{Folder, Turn, until},
    rpc::{Rpc, call_body},
};

/// Time for what is committed to be known at every node, also at one that has just come back.
const KNOWN_TIME: Duration = Duration::from_secs(20);
/// After a proposal is sent, the primary is killed so many milliseconds later.
const KILLED_AFTER_MS: [u64; 6] = [0, 1, 3, 6, 12, 25];
/// How often a client sends a request again that it was told to.
const SENDS_MAX: usize = 20;
/// Proposals whose time is taken.
const TIMED: usize = 20;
/// A ballot that never ends by itself.
const ENDLESS: &str = "export function vote (proposal, proposerId) { while (true) {} }";

fn plain(network: &Network, i: usize) -> anyhow::Result<Connection> {
    Connection::plain(network.addresses(i)?.development, PATIENCE)
}

/// What a node shows of governance.
fn gov(connection: &mut Connection, path: &str) -> anyhow::Result<Response> {
    connection.get(&format!("/gov{path}?api-version={}", coco_client::API_VERSION))
}

/// Waits until every node that runs shows what is looked for.
fn everywhere(
    network: &Network,
    path: &str,
    is_so: impl Fn(&Response) -> bool,
) -> anyhow::Result<()> {
    for i in 0..network.len() {
        until(&format!("n{i} shows it at {path}"), KNOWN_TIME, || {
            Ok(is_so(&gov(&mut plain(network, i)?, path)?))
        })?;
    }
    Ok(())
}

fn is_there(response: &Response) -> bool {
    response.status == 200
}

/// Which proposal a command's answer is about.
fn id_of(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["proposal"]["proposalId"].as_str().context("a proposal's id")?.to_owned())
}

/// A network that runs, its primary, and its two backups.
fn network_of_three() -> anyhow::Result<(Network, usize, [usize; 2])> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let primary = network.await_primary(KNOWN_TIME)?;
    Ok((network, primary, [(primary + 1) % 3, (primary + 2) % 3]))
}

#[test]
fn a_development_network_begins_with_members_who_have_opened_it() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let place = folder.path().join("net");
    let path = place.to_str().context("UTF-8")?;
    let dev = Dev::start(&["--dir", path, "--nodes", "3", "--members", "3", "--port", "0"])?;
    let desk = Desk::in_folder(folder.path());
    // Exactly what it says that one can type.
    let typed = dev.text.lines().find_map(|line| line.split_once("act as one: coco "));
    let (_, typed) = typed.with_context(|| format!("how to act as a member:\n{}", dev.text))?;
    desk.run(&typed.split(' ').collect::<Vec<_>>())?.ok();
    let json = |command: &[&str]| -> anyhow::Result<Value> {
        Ok(desk.run(&[command, &["--output", "json"]].concat())?.json())
    };

    let status = json(&["status"])?;
    assert_eq!(
        (&status["schema"], &status["service_status"]),
        (&json!("coco.status/1"), &json!("Open"))
    );
    let governance = &status["governance"];
    assert_eq!(governance["members"], 3);
    assert_eq!(governance["active_members"], 3);
    assert_eq!(governance["open_proposals"], 0);
    assert_eq!(governance["me"]["status"], "Active");
    assert_eq!(governance["me"]["waiting_proposals"], json!([]));

    let listed = json(&["member", "ls"])?;
    let members = listed["members"].as_array().context("a list")?;
    let mut names: Vec<&str> =
        members.iter().filter_map(|member| member["memberData"]["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, NAMES);
    assert!(members.iter().all(|member| member["status"] == "Active"), "{listed}");

    let listed = json(&["proposal", "ls"])?;
    let [opened] = listed["proposals"].as_array().context("a list")?.as_slice() else {
        bail!("the one that opened the service: {listed}")
    };
    assert_eq!(opened["proposalState"], "Accepted");
    assert_eq!(opened["ballotCount"], 2, "two of three are enough: {opened}");
    let shown = json(&["proposal", "show", opened["proposalId"].as_str().context("an id")?])?;
    assert_eq!(shown["actions"][0]["name"], "transition_service_to_open");
    ensure!(dev.interrupt()?.success(), "coco dev stops in good order");
    folder.remove()
}

#[test]
fn a_development_network_without_members_is_open_and_nobody_governs_it() -> anyhow::Result<()> {
    let _turn = Turn::take()?;
    let folder = Folder::new()?;
    let path = folder.path().to_str().context("UTF-8")?;
    let dev = Dev::start(&["--dir", path, "--nodes", "1", "--members", "0", "--port", "0"])?;
    assert!(!dev.text.contains("Members: "), "{}", dev.text);
    let node = dev.nodes.first().context("a node")?.development;
    let mut connection = Connection::plain(node, PATIENCE)?;
    let members = gov(&mut connection, "/service/members")?.json()?;
    assert_eq!(members["value"], json!([]));
    let network = connection.get("/node/network")?.json()?;
    assert_eq!(network["service_status"], "Open");
    // It serves participants, and takes nobody for a member.
    let account = &dev.accounts()?[0];
    let transfer = account.transfer(0, Address::repeat_byte(7), U256::from(1));
    Rpc::to(node)?.call("eth_sendRawTransactionSync", &json!([transfer.raw]))?;
    let request = Member::new("acme")?
        .sign(Message::Proposal, &proposal("trigger_snapshot", &Value::Null))?;
    let refused = send(&mut connection, &request)?;
    assert_eq!((refused.status, &*refused.error_code()?), (401, "InvalidAuthenticationInfo"));
    ensure!(dev.interrupt()?.success(), "coco dev stops in good order");
    folder.remove()
}

#[test]
fn members_at_two_backups_decide_and_every_node_follows() -> anyhow::Result<()> {
    let (mut network, _, [one, other]) = network_of_three()?;
    let desk = Desk::of(&network)?;
    let [one, other] = [network.addresses(one)?.client, network.addresses(other)?.client];
    let stranger = network.scratch().join("config/coco/keys/stranger_cert.pem");
    let user = stranger.to_str().context("UTF-8")?;

    let kind = ["set-user", user, "--data", r#"{"role":"trader"}"#];
    let create = [&["proposal", "create", "--yes"][..], &kind].concat();
    let made = desk.json("acme", one, &create)?;
    assert_eq!(made["proposal"]["proposalState"], "Open");
    let id = id_of(&made)?;
    everywhere(&network, &format!("/members/proposals/{id}"), is_there)?;
    let simulated = desk.json("bank", other, &["proposal", "simulate", &id])?;
    let writes = simulated["writes"].as_array().context("what it would write")?;
    assert!(
        writes.iter().any(|write| write["table"] == "public:ccf.gov.users.certs"),
        "{simulated}"
    );
    let shown = desk.json("bank", other, &["proposal", "show", &id])?;
    assert_eq!(shown["actions"][0]["name"], "set_user");
    let voted = desk.json("acme", one, &["proposal", "vote", &id, "--approve", "--yes"])?;
    assert_eq!(voted["proposal"]["proposalState"], "Open");
    let voted = desk.json("bank", other, &["proposal", "vote", &id, "--approve", "--yes"])?;
    assert_eq!(voted["proposal"]["proposalState"], "Accepted");
    let certificate = coco_crypto::Certificate::from_pem(&fs::read_to_string(&stranger)?)?;
    let path = format!("/service/users/{}", certificate.digest());
    everywhere(&network, &path, |response| {
        is_there(response) && response.json().is_ok_and(|user| user["userData"]["role"] == "trader")
    })?;

    // All of them have to agree that from here on one is enough, wherever it votes.
    let policy = ["proposal", "create", "--yes", "set-policy", "--default", "at-least:1"];
    let id = id_of(&desk.json("corp", other, &policy)?)?;
    for (name, node, state) in
        [("corp", other, "Open"), ("acme", one, "Open"), ("bank", one, "Accepted")]
    {
        everywhere(&network, &format!("/members/proposals/{id}"), is_there)?;
        let voted = desk.json(name, node, &["proposal", "vote", &id, "--approve", "--yes"])?;
        assert_eq!(voted["proposal"]["proposalState"], state);
    }
    for (i, name) in NAMES.into_iter().enumerate() {
        let node = network.addresses(i)?.client;
        let id = id_of(&desk.json(name, node, &["proposal", "create", "--yes", "snapshot"])?)?;
        let voted = desk.json(name, node, &["proposal", "vote", &id, "--approve", "--yes"])?;
        assert_eq!(voted["proposal"]["proposalState"], "Accepted", "by {name} alone at n{i}");
    }

    // It also has the auditor's command verify what every node wrote.
    stop_and_compare(&mut network)?;
    network.finish()
}

#[test]
fn what_members_may_not_do_has_its_code_at_every_node() -> anyhow::Result<()> {
    let (network, primary, [one, other]) = network_of_three()?;
    let desk = Desk::of(&network)?;
    let node = |i: usize| network.addresses(i).map(|addresses| addresses.client);
    let propose = |name: &str, i: usize, kind: &[&str]| -> anyhow::Result<String> {
        let create = [&["proposal", "create", "--yes"][..], kind].concat();
        let id = id_of(&desk.json(name, node(i)?, &create)?)?;
        everywhere(&network, &format!("/members/proposals/{id}"), is_there)?;
        Ok(id)
    };
    let state = |name: &str, i: usize, command: &[&str]| -> anyhow::Result<Value> {
        Ok(desk.json(name, node(i)?, command)?["proposal"]["proposalState"].clone())
    };
    let failed = |name: &str, i: usize, command: &[&str], exit, code: &str| {
        anyhow::Ok(desk.ask(name, node(i)?, command)?.failed(exit, code))
    };

    // A ballot against, and a second one of the same member.
    let id = propose("acme", one, &["snapshot"])?;
    assert_eq!(state("bank", other, &["proposal", "vote", &id, "--reject", "--yes"])?, "Open");
    for i in 0..network.len() {
        failed("bank", i, &["proposal", "vote", &id, "--approve", "--yes"], 5, "COCO-2008")?;
    }
    assert_eq!(
        state("corp", primary, &["proposal", "vote", &id, "--reject", "--yes"])?,
        "Rejected"
    );
    everywhere(&network, &format!("/members/proposals/{id}"), |response| {
        response.json().is_ok_and(|shown| shown["proposalState"] == "Rejected")
    })?;
    for i in 0..network.len() {
        failed("acme", i, &["proposal", "vote", &id, "--approve", "--yes"], 5, "COCO-2003")?;
    }

    // A withdrawal, by whoever made it alone.
    let id = propose("acme", other, &["chunk"])?;
    failed("bank", one, &["proposal", "withdraw", &id, "--yes"], 3, "COCO-2007")?;
    assert_eq!(state("acme", one, &["proposal", "withdraw", &id, "--yes"])?, "Withdrawn");

    let unknown = "ab".repeat(32);
    for i in 0..network.len() {
        failed("acme", i, &["proposal", "show", &unknown], 4, "COCO-2002")?;
        failed("acme", i, &["proposal", "vote", &unknown, "--approve", "--yes"], 4, "COCO-2002")?;
        failed("acme", i, &["proposal", "withdraw", &unknown, "--yes"], 4, "COCO-2002")?;
    }

    // Somebody with a key who is no member may look and nothing else.
    let id = propose("acme", primary, &["rekey"])?;
    for i in 0..network.len() {
        desk.json("stranger", node(i)?, &["proposal", "show", &id])?;
        failed("stranger", i, &["proposal", "vote", &id, "--approve", "--yes"], 3, "COCO-2006")?;
        failed("stranger", i, &["proposal", "create", "snapshot", "--yes"], 3, "COCO-2006")?;
        failed("stranger", i, &["member", "activate", "--yes"], 3, "COCO-2006")?;
    }
    network.finish()
}

/// Sends a request once more, that a node did not know the fate of, until its answer says what became of it; the
/// proposal's id.
fn settle(network: &Network, i: usize, envelope: &Envelope) -> anyhow::Result<String> {
    for _ in 0..SENDS_MAX {
        let response = send(&mut plain(network, i)?, envelope)?;
        if response.status == 200 {
            let id = response.json()?["proposalId"].as_str().context("an id")?.to_owned();
            return Ok(id);
        }
        let code = response.error_code()?;
        match (response.status, &*code) {
            // The node still does not know.
            (503, "PrimaryNotFound" | "TransactionReplicationFailed") => {}
            (_, "ProposalReplay") => {
                let said = response.json()?["error"]["message"].to_string();
                let mut words = said.split(|c: char| !c.is_ascii_hexdigit());
                let id = words.find(|word| word.len() == 64).context("the id of the first one")?;
                return Ok(id.to_owned());
            }
            (status, _) => bail!("n{i}: status {status}: {}", response.json()?),
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("n{i} did not say what became of it in {SENDS_MAX} answers")
}

#[test]
fn a_proposal_stands_once_when_the_primary_dies_over_it() -> anyhow::Result<()> {
    let (mut network, ..) = network_of_three()?;
    let acme = Member::load(network.scratch(), "acme")?;
    let mut made = BTreeMap::new();
    for (round, delay) in KILLED_AFTER_MS.into_iter().enumerate() {
        let primary = network.await_primary(KNOWN_TIME)?;
        let backup = (primary + 1) % network.len();
        let data = json!({ "name": "acme", "round": round });
        let args = json!({ "member_id": acme.id(), "member_data": data });
        let envelope = acme.sign(Message::Proposal, &proposal("set_member_data", &args))?;
        let started = Instant::now();
        let mut connection = plain(&network, backup)?;
        let (first, settled) = thread::scope(|scope| -> anyhow::Result<_> {
            let sent = scope.spawn(|| send(&mut connection, &envelope));
            thread::sleep(Duration::from_millis(delay));
            network.kill(&[primary])?;
            let first = sent.join().expect("it does not panic")?;
            let status = first.status;
            // What the first answer says is true: a 200 names the proposal, and all else has not promised one.
            let id = match status {
                200 => first.json()?["proposalId"].as_str().context("an id")?.to_owned(),
                503 => settle(&network, backup, &envelope)?,
                _ => bail!("status {status}: {}", first.json()?),
            };
            Ok((status, id))
        })?;
        println!("killed after {delay} ms: {first}, settled in {:?}", started.elapsed());
        assert!(made.insert(settled, round).is_none(), "two rounds have one proposal");
        network.start(primary)?;
        network.await_ready()?;
        network.await_all_seated(KNOWN_TIME)?;
    }
    for i in 0..network.len() {
        until("every node has every proposal once", KNOWN_TIME, || {
            let listed = gov(&mut plain(&network, i)?, "/members/proposals")?.json()?;
            let proposals = listed["value"].as_array().context("a list")?;
            let mut found = BTreeMap::new();
            for open in proposals.iter().filter(|one| one["proposalState"] == "Open") {
                let id = open["proposalId"].as_str().context("an id")?;
                let path = format!("/members/proposals/{id}/actions");
                let actions = gov(&mut plain(&network, i)?, &path)?.json()?;
                let round = &actions["actions"][0]["args"]["member_data"]["round"];
                found.insert(id.to_owned(), usize::try_from(round.as_u64().context("a round")?)?);
            }
            Ok(found == made)
        })?;
    }
    stop_and_compare(&mut network)?;
    network.finish()
}

/// Makes and withdraws proposals at a node; how long each took from its request to the answer that it is committed.
fn time_proposals(
    connection: &mut Connection,
    by: &Member,
    place: &str,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for i in 0..TIMED {
        let args = json!({ "member_id": by.id(), "member_data": { "name": place, "i": i } });
        let envelope = by.sign(Message::Proposal, &proposal("set_member_data", &args))?;
        let started = Instant::now();
        let made = send(connection, &envelope)?;
        times.push(started.elapsed());
        ensure!(made.status == 200, "{}", made.json()?);
        let id = made.json()?["proposalId"].as_str().context("an id")?.parse()?;
        by.ask(connection, Message::Withdrawal(id), &Value::Null)?;
    }
    times.sort_unstable();
    Ok(times)
}

#[test]
fn transfers_go_on_while_ballots_burn_all_their_fuel() -> anyhow::Result<()> {
    let (network, primary, [backup, _]) = network_of_three()?;
    let desk = Desk::of(&network)?;
    let members = NAMES.map(|name| Member::load(network.scratch(), name));
    let members: Vec<Member> = members.into_iter().collect::<anyhow::Result<_>>()?;
    for (at, i) in [("primary", primary), ("backup", backup)] {
        let times = time_proposals(&mut plain(&network, i)?, &members[0], at)?;
        let (median, last) = (times[TIMED / 2], times[TIMED - 1]);
        println!("a proposal at the {at}: median of {TIMED} {median:?}, longest {last:?}");
    }

    let constitution = gov(&mut plain(&network, primary)?, "/service/constitution")?;
    let args = json!({ "constitution": String::from_utf8(constitution.body)? });
    let file = network.scratch().join("proposal.json");
    fs::write(&file, proposal("set_constitution", &args).to_string())?;
    let create = ["proposal", "create", "--yes", "raw", file.to_str().context("UTF-8")?];
    let id = id_of(&desk.json("acme", network.addresses(backup)?.client, &create)?)?;
    let id: coco_client::ProposalId = id.parse()?;

    // All three ballots never end, and each that comes has those before it run as well.
    let mut rpc = plain(&network, backup)?;
    let (windows, transfers) = thread::scope(|scope| -> anyhow::Result<_> {
        let voting = scope.spawn(|| -> anyhow::Result<Vec<(Instant, Instant, Value)>> {
            let mut connection = plain(&network, primary)?;
            let mut windows = Vec::new();
            for member in &members {
                let started = Instant::now();
                let content = json!({ "ballot": ENDLESS });
                let voted = member.ask(&mut connection, Message::Ballot(id), &content)?;
                windows.push((started, Instant::now(), voted));
            }
            Ok(windows)
        });
        let mut transfers = Vec::new();
        while !voting.is_finished() {
            let nonce = u64::try_from(transfers.len())?;
            let to = Address::repeat_byte(5);
            let transfer = network.accounts[0].transfer(nonce, to, U256::from(1));
            let body = call_body(1, "eth_sendRawTransaction", &json!([transfer.raw])).to_string();
            let started = Instant::now();
            let answer = rpc.post_json("/?wait=committed", body.as_bytes())?;
            ensure!(answer.json()?["result"] == json!(transfer.hash), "{}", answer.json()?);
            transfers.push((started, Instant::now()));
        }
        Ok((voting.join().expect("it does not panic")?, transfers))
    })?;
    for (started, ended, voted) in &windows {
        let within = transfers.iter().filter(|(from, to)| from >= started && to <= ended).count();
        println!(
            "a ballot took {:?}: {}; {within} transfers were sent and committed meanwhile",
            *ended - *started,
            voted["proposalState"]
        );
        ensure!(within > 0, "no transfer was committed while a ballot ran");
    }
    let longest = transfers.iter().map(|(from, to)| *to - *from).max().context("transfers")?;
    println!("{} transfers, the longest {longest:?}", transfers.len());
    let (_, _, last) = windows.last().context("three ballots")?;
    assert_ne!(last["proposalState"], "Accepted");
    // The members go on as well.
    let mut connection = plain(&network, backup)?;
    let voters: Vec<&Member> = members.iter().collect();
    decide(&mut connection, &voters, "trigger_snapshot", &Value::Null)?;
    network.finish()
}

#[test]
fn participants_are_told_that_the_service_is_not_open_yet() -> anyhow::Result<()> {
    let network = opening::start(&[&Member::new("acme")?])?;
    let mut connection = plain(&network, 0)?;
    let shown = connection.get("/node/network")?.json()?;
    assert_eq!(shown["service_status"], "Opening");
    assert_eq!(connection.get("/node/ready/gov")?.status, 204);
    assert_eq!(connection.get("/node/ready/app")?.status, 503);
    let refused = connection.get("/app/anything")?;
    assert_eq!((refused.status, &*refused.error_code()?), (404, "FrontendNotOpen"));
    for (method, params) in [
        ("eth_blockNumber", json!([])),
        ("eth_sendRawTransaction", json!(["0x02"])),
        ("eth_getBalance", json!([Address::ZERO, "latest"])),
    ] {
        for path in ["/", "/eth"] {
            let answered =
                connection.post_json(path, call_body(1, method, &params).to_string().as_bytes())?;
            let error = &answered.json()?["error"];
            let message = error["message"].as_str().unwrap_or_default();
            assert!(message.starts_with("FrontendNotOpen: "), "{method} at {path}: {error}");
        }
    }
    network.finish()
}

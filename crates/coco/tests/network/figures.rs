//! Measurements of governance, for `docs/book/benchmarks.md`. They are no tests of time: each says what it found.
//!
//! ```text
//! cargo test -p coco --test network --locked -- --ignored figures --nocapture
//! ```

use std::{
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use coco_client::Message;
use coco_crypto::{Curve, SigningKey, Validity, member_certificate, sha256};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE},
    members::{Member, NAMES, YES, decide},
    program::until,
};

/// Participants to register, unless `COCO_FIGURES_PARTICIPANTS` says otherwise.
const PARTICIPANTS: usize = 200_000;
/// Participants that one proposal registers.
const AT_ONCE: usize = 500;
/// Proposals whose time is taken.
const PROPOSALS: usize = 200;
/// Time for a node to have what others have.
const TIME: Duration = Duration::from_secs(120);

/// The median and the 99th of a hundred, in milliseconds.
fn spread(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at =
        |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    (at(50), at(99))
}

/// What a process has in memory, in bytes.
fn resident(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Certificates of participants, in PEM, as fast as another thread makes them.
fn participants(count: usize) -> mpsc::Receiver<anyhow::Result<String>> {
    let (send, receive) = mpsc::sync_channel(4 * AT_ONCE);
    thread::spawn(move || {
        for number in 0..count {
            let made = SystemTime::now().duration_since(UNIX_EPOCH).map_err(anyhow::Error::from);
            let made = made.and_then(|now| {
                let not_before = now.as_secs() - 3600;
                let validity = Validity { not_before, not_after: not_before + 365 * 24 * 3600 };
                let key = SigningKey::generate(Curve::P256);
                Ok(member_certificate(&key, &format!("participant {number}"), validity)?.pem())
            });
            if send.send(made).is_err() {
                return;
            }
        }
    });
    receive
}

fn registrations(pems: &[String]) -> Value {
    let action = |pem: &String| json!({ "name": "set_user", "args": { "cert": pem } });
    json!({ "actions": pems.iter().map(action).collect::<Vec<_>>() })
}

#[test]
#[ignore = "a measurement"]
fn figures_of_proposals() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let primary = network.await_primary(TIME)?;
    let [acme, bank] = ["acme", "bank"].map(|name| Member::load(network.scratch(), name));
    let (acme, bank) = (acme?, bank?);
    let mut connection = Connection::plain(network.addresses(primary)?.development, PATIENCE)?;
    let (mut made, mut whole) = (Vec::new(), Vec::new());
    for number in 0..PROPOSALS {
        let began = Instant::now();
        let args = json!({ "member_id": acme.id(), "member_data": { "number": number } });
        let id = acme.propose(&mut connection, "set_member_data", &args)?;
        made.push(began.elapsed());
        for member in [&acme, &bank] {
            let ballot = json!({ "ballot": YES });
            let voted = member.ask(&mut connection, Message::Ballot(id), &ballot)?;
            if voted["proposalState"] == "Accepted" {
                whole.push(began.elapsed());
            }
        }
    }
    ensure!(whole.len() == PROPOSALS, "{} of {PROPOSALS} were accepted", whole.len());
    let (median, most) = spread(made);
    println!("a proposal to its committed answer: median {median:.1} ms, p99 {most:.1} ms");
    let (median, most) = spread(whole);
    println!("and with two ballots to applied: median {median:.1} ms, p99 {most:.1} ms");
    network.stop_all()?;
    network.finish()
}

/// Has a member register so many, and says how long that took; the first and the last.
fn register(
    connection: &mut Connection,
    member: &Member,
    count: usize,
) -> anyhow::Result<[String; 2]> {
    let (certificates, mut first, mut last) = (participants(count), None, None);
    let (mut times, began) = (Vec::new(), Instant::now());
    while times.len() * AT_ONCE < count {
        let pems: Vec<String> = certificates.iter().take(AT_ONCE).collect::<anyhow::Result<_>>()?;
        first = first.or_else(|| pems.first().cloned());
        last = pems.last().cloned();
        let proposal = registrations(&pems);
        let sent = Instant::now();
        let made = member.ask(connection, Message::Proposal, &proposal)?;
        let id = made["proposalId"].as_str().context("an id")?.parse()?;
        let voted = member.ask(connection, Message::Ballot(id), &json!({ "ballot": YES }))?;
        ensure!(voted["proposalState"] == "Accepted", "{voted}");
        times.push(sent.elapsed());
    }
    let (busy, whole) = (times.iter().sum::<Duration>().as_secs_f64(), began.elapsed());
    let (median, most) = spread(times);
    println!(
        "{count} participants in proposals of {AT_ONCE}: {:.0} a second of the service's time, {:.0} a second with the making \
         of their certificates; a proposal and its ballot: median {median:.0} ms, p99 {most:.0} ms",
        count as f64 / busy,
        count as f64 / whole.as_secs_f64(),
    );
    Ok([first.context("there is a first")?, last.context("there is a last")?])
}

#[test]
#[ignore = "a measurement"]
fn figures_of_participants() -> anyhow::Result<()> {
    let count = std::env::var("COCO_FIGURES_PARTICIPANTS").map(|count| count.parse());
    let count = count.unwrap_or(Ok(PARTICIPANTS))?;
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let primary = network.await_primary(TIME)?;
    let members: Vec<Member> = NAMES
        .iter()
        .map(|name| Member::load(network.scratch(), name))
        .collect::<anyhow::Result<_>>()?;
    let mut connection = Connection::plain(network.addresses(primary)?.development, PATIENCE)?;
    let policy =
        json!({ "default": { "rule": "majority" }, "actions": { "set_user": { "rule": "one" } } });
    let all: Vec<&Member> = members.iter().collect();
    decide(&mut connection, &all, "set_voting_policy", &policy)?;
    let acme = &members[0];
    let resident = |network: &Network| -> anyhow::Result<Vec<u64>> {
        (0..3).map(|i| resident(network.process(i)?)).collect()
    };
    let before = resident(&network)?;
    let [first, last] = register(&mut connection, acme, count)?;
    let after = resident(&network)?;
    for (i, (before, after)) in before.iter().zip(&after).enumerate() {
        let more = after.saturating_sub(*before) as f64 / count as f64;
        println!("n{i}: {} MiB, {more:.0} bytes more for each participant", after >> 20);
    }
    let user = |i: usize, pem: &str| -> anyhow::Result<bool> {
        let der = coco_crypto::read_bundle(pem)?;
        let id = sha256(der.first().context("a certificate")?);
        let mut connection = Connection::plain(network.addresses(i)?.development, PATIENCE)?;
        let path = format!("/gov/service/users/{id}?api-version={}", coco_client::API_VERSION);
        Ok(connection.get(&path)?.status == 200)
    };
    for i in 0..3 {
        until("it knows them", TIME, || Ok(user(i, &first)? && user(i, &last)?))?;
    }
    network.stop_all()?;
    let starting = Instant::now();
    for i in 0..3 {
        network.spawn(i)?;
    }
    for i in 0..3 {
        network.await_served(i)?;
    }
    network.await_primary(TIME)?;
    println!("all three start with them in {:.1} s", starting.elapsed().as_secs_f64());
    for (i, now) in resident(&network)?.iter().enumerate() {
        println!("n{i}: {} MiB after the start", now >> 20);
    }
    network.stop_all()?;
    network.finish()
}

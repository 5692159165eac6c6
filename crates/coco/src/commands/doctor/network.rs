//! Nodes: whether they answer, agree, keep up, run admitted code, and how long their certificates last.

use std::collections::BTreeSet;

use coco_client::Client;

use super::{Check, SLOW_DISK, until};
use crate::{
    nodes::{Asked, Said, UNSAFE_PLATFORM, is_unsafe},
    output::short,
    session::Session,
};

/// From how many entries on a node is said to lag.
const LAG_ENTRIES: u64 = 1_000;
/// From how many seconds on a clock is said to be wrong. Answers name whole seconds, and take some time.
const CLOCK_APART_S: u64 = 2;
/// From how long on a disk is said to be slow, in seconds: a bound of the classes in which nodes count.
const FSYNC_SLOW_S: f64 = 0.051_2;

/// Looks at what nodes said.
pub(super) fn look(session: &Session, asked: &[Asked], now: u64) -> Vec<Check> {
    let mut checks = vec![service(session, now)];
    checks.extend(platform(session));
    checks.extend(asked.iter().filter_map(silent));
    let said: Vec<(&Asked, &Said)> =
        asked.iter().filter_map(|node| Some((node, node.said.as_ref().ok()?))).collect();
    checks.push(primary(&said));
    // Of nobody's answers nothing follows.
    if !said.is_empty() {
        checks.extend([quorum(&said), lag(&said), clocks(&said), disks(&said)]);
        checks.extend(certificates(&said, now));
    }
    checks.push(code(session));
    checks
}

fn service(session: &Session, now: u64) -> Check {
    const NAME: &str = "service";
    let shown = session.ask(Client::network).and_then(|network| {
        let certificate = session.service_in(&network.service_certificate)?;
        Ok((certificate, network.service_status))
    });
    match shown {
        Err(fault) => Check::fault(NAME, &fault),
        Ok((certificate, status)) => {
            let whose = format!("{status}; its certificate");
            let next = "coco proposal create renew-certificate";
            until(NAME, &whose, certificate.validity(), now, next)
        }
    }
}

/// What the platform protects; nothing is said of one that does.
fn platform(session: &Session) -> Option<Check> {
    const NAME: &str = "platform";
    match is_unsafe(session) {
        Ok(true) => Some(Check::warning(
            NAME,
            UNSAFE_PLATFORM,
            "keep nothing on it that has to stay secret",
        )),
        Ok(false) => None,
        Err(fault) => Some(Check::fault(NAME, &fault)),
    }
}

/// A node that did not answer, or is another.
fn silent(node: &Asked) -> Option<Check> {
    const NAME: &str = "node";
    let named = format!("{} at {}", short(&node.id), node.address);
    match &node.said {
        Ok(said) if said.state.node_id == node.id => None,
        Ok(said) => Some(Check::warning(
            NAME,
            format!("{named} answers as {}", short(&said.state.node_id)),
            "it has started again and its seat is about to be named anew, or two nodes have one address",
        )),
        Err(fault) => Some(Check::failure(
            NAME,
            format!("{named}: {fault}"),
            "look at its log, and whether it runs",
        )),
    }
}

/// Whether all name the same primary.
fn primary(said: &[(&Asked, &Said)]) -> Check {
    const NAME: &str = "consensus";
    let named: BTreeSet<Option<&str>> =
        said.iter().map(|(_, said)| said.consensus.primary_id.as_deref()).collect();
    let named: Vec<&Option<&str>> = named.iter().collect();
    match named[..] {
        [Some(primary)] => {
            let views: BTreeSet<u64> =
                said.iter().map(|(_, said)| said.consensus.current_view).collect();
            let view = views.last().copied().unwrap_or(0);
            Check::ok(NAME, format!("primary {} in view {view}", short(primary)))
        }
        [] => nobody(NAME),
        _ => {
            let mut views = Vec::new();
            for (node, said) in said {
                let primary = said.consensus.primary_id.as_deref().map_or("none", short);
                views.push(format!("{} names {primary}", short(&node.id)));
            }
            let next = "an election takes a second or two: run it again; if it stays, look for what keeps these nodes apart";
            Check::failure(NAME, views.join(", "), next)
        }
    }
}

fn nobody(name: &'static str) -> Check {
    Check::failure(name, "no node answers", "start the nodes: coco node start --config FILE")
}

/// Whether enough nodes take part, and how many more may fail.
fn quorum(said: &[(&Asked, &Said)]) -> Check {
    const NAME: &str = "quorum";
    // Who lags knows of fewer changes.
    let newest = said
        .iter()
        .max_by_key(|(_, said)| {
            (said.consensus.current_view, said.commit.map(|commit| commit.seqno))
        })
        .map(|(_, said)| &said.consensus);
    let Some(newest) = newest else { return nobody(NAME) };
    let spare = newest.configs.iter().map(|configuration| {
        let voters = configuration.nodes.len();
        let there = configuration
            .nodes
            .keys()
            .filter(|id| said.iter().any(|(_, said)| said.state.node_id == **id))
            .count();
        (
            i64::try_from(there).unwrap_or(0) - i64::try_from(voters / 2 + 1).unwrap_or(0),
            there,
            voters,
        )
    });
    let Some((spare, there, voters)) = spare.min() else {
        return Check::failure(NAME, "nobody votes", "coco network recover");
    };
    let found = format!("{there} of {voters} voters answer");
    match spare {
        ..0 => Check::failure(
            NAME,
            format!("{found}: nothing can be committed"),
            "start the others, or repair the network between",
        ),
        0 if voters == 1 => Check::warning(
            NAME,
            "one node alone: its loss stops the service",
            "coco network join, on two more machines",
        ),
        0 => Check::warning(
            NAME,
            format!("{found}: no other may fail"),
            "start the others, or replace them: coco network join, coco network retire-node",
        ),
        _ => Check::ok(NAME, format!("{found}, {spare} more may fail")),
    }
}

fn lag(said: &[(&Asked, &Said)]) -> Check {
    const NAME: &str = "commit";
    let commits = || said.iter().filter_map(|(node, said)| Some((node, said.commit?)));
    let Some((_, newest)) = commits().max_by_key(|(_, commit)| commit.seqno) else {
        return Check::warning(NAME, "no node says what is committed", "coco node status");
    };
    let behind: Vec<String> = commits()
        .map(|(node, commit)| (node, newest.seqno.0 - commit.seqno.0))
        .filter(|(_, entries)| *entries > LAG_ENTRIES)
        .map(|(node, entries)| format!("{} lags by {entries} entries", short(&node.id)))
        .collect();
    if behind.is_empty() {
        return Check::ok(
            NAME,
            format!("{newest} on all nodes that answer, give or take {LAG_ENTRIES} entries"),
        );
    }
    let next = "it is catching up, or its disk or network is slow: coco node status";
    Check::warning(NAME, behind.join(", "), next)
}

fn clocks(said: &[(&Asked, &Said)]) -> Check {
    const NAME: &str = "time";
    let apart: Vec<String> = said
        .iter()
        .filter_map(|(node, said)| Some((node, said.clock_ahead_s?)))
        .filter(|(_, ahead)| ahead.unsigned_abs() > CLOCK_APART_S)
        .map(|(node, ahead)| format!("{} is {ahead:+} s from this machine's", short(&node.id)))
        .collect();
    if apart.is_empty() {
        let found = format!("the clocks of all are within {CLOCK_APART_S} s of this machine's");
        return Check::ok(NAME, found);
    }
    let next =
        "one of the clocks is wrong, this machine's too may be: chronyc tracking, or timedatectl";
    Check::warning(NAME, apart.join(", "), next)
}

fn disks(said: &[(&Asked, &Said)]) -> Check {
    const NAME: &str = "disk";
    let times = said.iter().filter_map(|(node, said)| Some((node, said.fsync_p99_s()?)));
    let slowest = times.max_by(|(_, one), (_, other)| one.total_cmp(other));
    match slowest {
        None => Check::ok(NAME, "no node says how long its writes take"),
        Some((node, seconds)) => {
            let (id, ms) = (short(&node.id), seconds * 1e3);
            let found =
                format!("99 of 100 writes are durable within {ms:.1} ms, on {id}, the slowest");
            match seconds > FSYNC_SLOW_S {
                true => Check::warning(NAME, found, SLOW_DISK),
                false => Check::ok(NAME, found),
            }
        }
    }
}

/// Certificates of nodes that end soon; one line where none does.
fn certificates(said: &[(&Asked, &Said)], now: u64) -> Vec<Check> {
    const NAME: &str = "certificate";
    let ends =
        said.iter().filter_map(|(node, said)| Some((node, said.certificate.as_ref()?.validity())));
    let next = "a node renews it by itself long before: look in its log for \"cannot be renewed\", and at its clock";
    let mut checks: Vec<(u64, Check)> = ends
        .map(|(node, validity)| {
            let whose = format!("that of node {}", short(&node.id));
            (validity.not_after, until(NAME, &whose, validity, now, next))
        })
        .collect();
    checks.sort_by_key(|(not_after, _)| *not_after);
    let bad = checks.iter().filter(|(_, check)| !check.next.is_empty()).count();
    checks.truncate(bad.max(1));
    checks.into_iter().map(|(_, check)| check).collect()
}

/// Whether trusted nodes run code that may be run still.
fn code(session: &Session) -> Check {
    const NAME: &str = "code";
    let (nodes, policy) =
        match (session.ask(Client::service_nodes), session.ask(Client::join_policy)) {
            (Ok(nodes), Ok(policy)) => (nodes.value, policy),
            (Err(fault), _) | (_, Err(fault)) => return Check::fault(NAME, &fault),
        };
    let trusted = || nodes.iter().filter(|node| node.status == "Trusted");
    let others: Vec<String> = trusted()
        .filter_map(|node| Some((node, node.code()?)))
        .filter(|(_, code)| !policy.code().any(|(_, one)| one == *code))
        .map(|(node, code)| {
            format!(
                "node {} runs {}, which no node may join with",
                short(&node.node_id),
                short(code)
            )
        })
        .collect();
    if !others.is_empty() {
        return Check::warning(
            NAME,
            others.join(", "),
            "replace it: coco network join with admitted code, then coco network retire-node",
        );
    }
    let codes: BTreeSet<&str> = trusted().filter_map(|node| node.code()).collect();
    match codes.len() {
        0 => Check::warning(NAME, "no trusted node says what code it runs", "coco network show"),
        1 => Check::ok(NAME, "all trusted nodes run the same, admitted code"),
        versions => Check::warning(
            NAME,
            format!("trusted nodes run {versions} versions"),
            "go on with the upgrade: coco network show",
        ),
    }
}

#[cfg(test)]
mod tests;

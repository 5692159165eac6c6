//! What each node of a network says of itself, all asked at one time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use coco_client::{CallError, Client, reply::ConsensusDetails, reply::NodeState};
use coco_crypto::Certificate;
use coco_types::TxId;
use tokio::task::JoinSet;

use crate::{fault::Fault, session::Session};

/// What is to be known of the platform `virtual`, the only one of this version.
pub(crate) const UNSAFE_PLATFORM: &str =
    "virtual. It protects nothing: no hardware keeps the host away from keys and data.";

/// Whether the platform of a network protects nothing, as the node says that answers.
pub(crate) fn is_unsafe(session: &Session) -> Result<bool, Fault> {
    session.ask(Client::version).map(|version| version.is_unsafe)
}

/// A node that is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// Host and port; empty where the network does not know it.
    pub(crate) address: String,
    /// What it said, or why it did not.
    pub(crate) said: Result<Said, Fault>,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) state: NodeState,
    pub(crate) consensus: ConsensusDetails,
    /// The last transaction that it knows to be committed.
    pub(crate) commit: Option<TxId>,
    /// What it proved itself by.
    pub(crate) certificate: Option<Certificate>,
    /// How many seconds its clock is ahead of this machine's.
    pub(crate) clock_ahead_s: Option<i64>,
    /// From the beginning of the connection to the first answer.
    pub(crate) took: Duration,
    /// What it counts, in the form of Prometheus; empty where it does not show it.
    pub(crate) metrics: String,
}

/// Asks all nodes that take part, in the order in which the network names them.
pub(crate) fn ask_each(session: &Session) -> Result<Vec<Asked>, Fault> {
    let nodes = session.ask(Client::nodes)?.nodes;
    let mut calls = JoinSet::new();
    let mut asked = session.wait(async {
        for (i, node) in nodes.into_iter().enumerate() {
            let interface = node.rpc_interfaces.into_values().next();
            let address = interface.map(|one| one.published_address).unwrap_or_default();
            let client = session.client_at(&address);
            calls.spawn(async move {
                let said = match client {
                    Ok(client) => ask(&client).await.map_err(Fault::from),
                    Err(fault) => Err(fault),
                };
                (i, Asked { id: node.node_id, address, said })
            });
        }
        calls.join_all().await
    });
    asked.sort_by_key(|(i, _)| *i);
    Ok(asked.into_iter().map(|(_, one)| one).collect())
}

async fn ask(client: &Client) -> Result<Said, CallError> {
    let started = Instant::now();
    let first = client.get("/node/state").await?;
    let took = started.elapsed();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
    let clock_ahead_s =
        first.date.zip(here).and_then(|(there, here)| there.checked_signed_diff(here));
    let consensus = client.consensus().await?.details;
    let commit = client.commit().await?.transaction_id.parse().ok();
    let metrics = client.get("/metrics").await.map(|answer| answer.body).unwrap_or_default();
    Ok(Said {
        state: first.json()?,
        consensus,
        commit,
        certificate: first.certificate,
        clock_ahead_s,
        took,
        metrics: String::from_utf8(metrics).unwrap_or_default(),
    })
}

impl Said {
    /// `primary`, `backup`, `candidate`, `learner` or `retired`, and whether it is about to end.
    pub(crate) fn role(&self) -> String {
        let role = match (&*self.consensus.membership_state, &*self.consensus.leadership_state) {
            ("Learner", _) => "learner",
            ("Retired", _) => "retired",
            (_, "Leader") => "primary",
            (_, "Candidate") => "candidate",
            _ => "backup",
        };
        if self.state.stop_notice { format!("{role}, stopping") } else { role.to_owned() }
    }

    /// The time within which 99 of 100 groups of writes became durable, in seconds; at most, since they are counted in classes.
    pub(crate) fn fsync_p99_s(&self) -> Option<f64> {
        let classes = self.metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix("coco_fsync_seconds_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            Some((bound.parse::<f64>().ok()?, count.trim().parse::<u64>().ok()?))
        });
        let classes: Vec<(f64, u64)> = classes.collect();
        let all = classes.last()?.1;
        let enough = |count: u64| all > 0 && count.saturating_mul(100) >= all.saturating_mul(99);
        classes.iter().find(|(_, count)| enough(*count)).map(|(bound, _)| *bound)
    }
}

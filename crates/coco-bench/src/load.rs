//! Sending: connections that each have one request under way, in a closed or an open loop.
//!
//! Transactions of one sender always travel on the same connection, in order, so that a server that executes what it
//! is given at once never sees a nonce gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::map::AddressMap;
use anyhow::Context as _;
use tokio::time::{sleep, sleep_until};

use crate::{
    args::Method,
    client::{Connection, Endpoint},
    plan::Signed,
    rpc::{self, Batched, Submission},
};

/// How load is sent.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Connections are dealt out to these in turn.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) connections: usize,
    /// Transactions in one request.
    pub(crate) batch: usize,
    pub(crate) method: Method,
    pub(crate) pace: Pace,
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// When the last is answered, unless that is more than `window` transactions ahead of the slowest connection.
    Closed { window: usize },
    /// At its appointed time: this many transactions a second over all connections.
    Open { per_second: f64 },
}

/// What senders and the watcher know of each other while they run.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) accepted: AtomicUsize,
    pub(crate) finished: AtomicBool,
}

/// What sending came to.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Transactions put on a wire.
    pub(crate) submitted: usize,
    /// Of those, answered with a hash or a receipt.
    pub(crate) accepted: usize,
    /// Refusals and broken connections by message; transactions, not requests.
    pub(crate) errors: BTreeMap<String, u64>,
    /// For each transaction sent: its place in the load, and since the clock started when it was due and answered.
    pub(crate) times: Vec<(usize, Duration, Duration)>,
    /// Places of the transactions answered with a receipt.
    pub(crate) receipts: BTreeSet<usize>,
}

/// Sends everything; returns when every connection has its last answer.
pub(crate) async fn send(
    shape: Arc<Shape>,
    load: Arc<Vec<Signed>>,
    clock: Instant,
    board: Arc<Board>,
) -> anyhow::Result<Sent> {
    let queues = queues(&load, shape.connections);
    let progress = Arc::new(Progress::new(&queues));
    let mut workers = Vec::with_capacity(queues.len());
    for (number, queue) in queues.into_iter().enumerate() {
        let connection = Connection::open(shape.endpoint(number)).await?;
        workers.push(Worker {
            number,
            shape: Arc::clone(&shape),
            connection: Some(connection),
            load: Arc::clone(&load),
            queue,
            progress: Arc::clone(&progress),
            clock,
            board: Arc::clone(&board),
            sent: Sent::default(),
        });
    }
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(worker.run())).collect();
    let mut all = Sent::default();
    for task in tasks {
        all.merge(task.await.context("a sending task stopped")?);
    }
    board.finished.store(true, Ordering::Release);
    Ok(all)
}

impl Shape {
    fn endpoint(&self, number: usize) -> &Endpoint {
        &self.endpoints[number % self.endpoints.len()]
    }
}

impl Sent {
    fn merge(&mut self, other: Self) {
        self.submitted += other.submitted;
        self.accepted += other.accepted;
        self.times.extend(other.times);
        self.receipts.extend(other.receipts);
        for (message, count) in other.errors {
            *self.errors.entry(message).or_default() += count;
        }
    }

    fn error(&mut self, message: String, count: usize) {
        *self.errors.entry(message).or_default() += count as u64;
    }
}

/// Deals senders out to connections in order of first appearance, each to the connection with the least so far.
fn queues(load: &[Signed], connections: usize) -> Vec<Vec<usize>> {
    let mut counts: AddressMap<usize> = AddressMap::default();
    for signed in load {
        *counts.entry(signed.sender).or_default() += 1;
    }
    let mut totals = vec![0_usize; connections.max(1)];
    let mut homes: AddressMap<usize> = AddressMap::default();
    let mut queues = vec![Vec::new(); totals.len()];
    for (index, signed) in load.iter().enumerate() {
        let home = *homes.entry(signed.sender).or_insert_with(|| {
            let least = totals.iter().enumerate().min_by_key(|(_, total)| **total);
            let (home, _) = least.expect("there is at least one connection");
            totals[home] += counts[&signed.sender];
            home
        });
        queues[home].push(index);
    }
    queues.retain(|queue| !queue.is_empty());
    queues
}

/// Where each connection stands, so that none runs far ahead of the order the load was given in.
#[derive(Debug)]
struct Progress(Vec<AtomicUsize>);

impl Progress {
    fn new(queues: &[Vec<usize>]) -> Self {
        Self(queues.iter().map(|queue| AtomicUsize::new(queue[0])).collect())
    }

    fn publish(&self, number: usize, next: usize) {
        self.0[number].store(next, Ordering::Relaxed);
    }

    fn slowest(&self) -> usize {
        self.0.iter().map(|next| next.load(Ordering::Relaxed)).min().unwrap_or(usize::MAX)
    }
}

struct Worker {
    number: usize,
    shape: Arc<Shape>,
    connection: Option<Connection>,
    load: Arc<Vec<Signed>>,
    queue: Vec<usize>,
    progress: Arc<Progress>,
    clock: Instant,
    board: Arc<Board>,
    sent: Sent,
}

impl Worker {
    async fn run(mut self) -> Sent {
        let queue = std::mem::take(&mut self.queue);
        let mut failures = 0;
        for (round, group) in queue.chunks(self.shape.batch).enumerate() {
            self.progress.publish(self.number, group[0]);
            let due = self.wait_until_due(round, group[0]).await;
            match self.request(group, due).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    self.sent.error(format!("connection: {error:#}"), group.len());
                    self.connection = None;
                    failures += 1;
                    if failures > RECONNECTIONS_MAX {
                        break;
                    }
                    sleep(RECONNECTION_PAUSE).await;
                }
            }
        }
        self.progress.publish(self.number, usize::MAX);
        self.sent
    }

    /// Returns when the next request is due, and since the clock started when that was.
    async fn wait_until_due(&self, round: usize, next: usize) -> Duration {
        match self.shape.pace {
            Pace::Closed { window } => {
                while next > self.progress.slowest().saturating_add(window) {
                    sleep(WINDOW_PAUSE).await;
                }
                self.clock.elapsed()
            }
            Pace::Open { per_second } => {
                let due = open_loop_due(
                    self.shape.batch,
                    per_second,
                    self.progress.0.len(),
                    self.number,
                    round,
                );
                sleep_until((self.clock + due).into()).await;
                due
            }
        }
    }

    async fn request(&mut self, group: &[usize], due: Duration) -> anyhow::Result<()> {
        let batched = if self.shape.batch > 1 { Batched::Yes } else { Batched::No };
        let load = Arc::clone(&self.load);
        let body = rpc::submission_body(
            self.shape.method,
            group.iter().map(|index| &load[*index]),
            batched,
        );
        if self.connection.is_none() {
            // After a failure the next server is tried.
            self.number += 1;
            let endpoint = self.shape.endpoint(self.number).clone();
            self.number -= 1;
            self.connection = Some(Connection::open(&endpoint).await?);
        }
        let connection = self.connection.as_mut().context("just opened")?;
        self.sent.submitted += group.len();
        let reply = connection.post(body).await?;
        let answered = self.clock.elapsed();
        let mut accepted = 0;
        for (index, outcome) in group.iter().zip(rpc::submissions(&reply, group.len())?) {
            match outcome {
                Submission::Accepted => accepted += 1,
                Submission::Receipt(receipt) => {
                    debug_assert_eq!(receipt.transaction_hash, load[*index].hash);
                    self.sent.receipts.insert(*index);
                    accepted += 1;
                }
                Submission::Refused(message) => {
                    self.sent.error(message, 1);
                    continue;
                }
            }
            self.sent.times.push((*index, due, answered));
        }
        self.sent.accepted += accepted;
        self.board.accepted.fetch_add(accepted, Ordering::Relaxed);
        Ok(())
    }
}

/// When request `round` of connection `number` is due: all connections together send evenly.
fn open_loop_due(
    batch: usize,
    per_second: f64,
    connections: usize,
    number: usize,
    round: usize,
) -> Duration {
    let requests_before = round * connections + number;
    let transactions = u32::try_from(requests_before * batch).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(transactions) / per_second)
}

/// A server that cannot be reached this many times in a row is gone.
const RECONNECTIONS_MAX: u32 = 50;
const RECONNECTION_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is too far ahead rests.
const WINDOW_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};

    fn from(senders: &[u8]) -> Vec<Signed> {
        senders
            .iter()
            .map(|sender| Signed {
                raw: "0x".into(),
                hash: B256::ZERO,
                sender: Address::repeat_byte(*sender),
            })
            .collect()
    }

    #[test]
    fn a_sender_stays_on_one_connection_in_order() {
        assert_eq!(queues(&from(&[1, 2, 1, 3, 2, 1]), 2), [vec![0, 2, 5], vec![1, 3, 4]]);
        assert_eq!(queues(&from(&[1, 1]), 8), [vec![0, 1]]);
        assert_eq!(queues(&from(&[4, 5]), 0), [vec![0, 1]]);
    }

    #[test]
    fn open_loop_requests_are_evenly_spaced_over_connections() {
        let due = |number, round| open_loop_due(10, 1000.0, 4, number, round);
        assert_eq!(due(0, 0), Duration::ZERO);
        assert_eq!(due(3, 0), Duration::from_millis(30));
        assert_eq!(due(0, 1), Duration::from_millis(40));
    }
}

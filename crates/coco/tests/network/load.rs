//! Continuous load whose every acknowledgement means: committed.
//!
//! Each worker has an account of its own and sends one request at a time: a transfer by `eth_sendRawTransactionSync`,
//! or a batch with `?wait=committed`. Until it is acknowledged the same bytes are sent again, to the next node. So
//! when the load pauses, everything that was ever sent is acknowledged, and balances and nonces follow exactly.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256};
use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::{
    accounts::{Account, Signed},
    cluster::SharedAddresses,
    rpc::{Refused, Rpc, hash},
};

/// A client that hears nothing for this long turns to the next node.
const PATIENCE: Duration = Duration::from_secs(4);
/// Nothing may stay without acknowledgement for longer.
const ACKNOWLEDGED_TIME: Duration = Duration::from_secs(30);
/// Wait before the next attempt.
const RETRY: Duration = Duration::from_millis(10);
/// Transfers in one batch of a worker that sends batches.
const BATCH: usize = 20;
/// EIP-7966: no receipt in time; the transaction may be sent again.
const CODE_TIMEOUT: i64 = 4;
/// EIP-7966: the node cannot take it now; the transaction may be sent again.
const CODE_UNREADY: i64 = 5;
/// How a node begins to say that it found no primary in time.
const NO_PRIMARY: &str = "no primary";

/// A transfer that a node called committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) to: Address,
    pub(crate) value: u64,
    /// When it was first sent.
    pub(crate) sent: Instant,
    /// When the acknowledgement came.
    pub(crate) acknowledged: Instant,
}

/// One request to one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) node: usize,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Run,
    Pause,
    Stop,
}

#[derive(Debug)]
struct Control {
    wanted: Wanted,
    idle: usize,
}

#[derive(Debug)]
struct Shared {
    addresses: SharedAddresses,
    receivers: Vec<Address>,
    control: Mutex<Control>,
    changed: Condvar,
    acknowledged: Mutex<Vec<Acknowledged>>,
    attempts: Mutex<Vec<Attempt>>,
    problems: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("workers do not panic")
}

/// Running workers.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts one worker an account; every fourth sends batches.
    pub(crate) fn start(
        addresses: SharedAddresses,
        accounts: &[Account],
        receivers: Vec<Address>,
    ) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            receivers,
            control: Mutex::new(Control { wanted: Wanted::Run, idle: 0 }),
            changed: Condvar::new(),
            acknowledged: Mutex::default(),
            attempts: Mutex::default(),
            problems: Mutex::default(),
        });
        let workers = accounts.iter().cloned().enumerate().map(|(i, account)| {
            let shared = Arc::clone(&shared);
            let group = if i % 4 == 3 { BATCH } else { 1 };
            std::thread::spawn(move || {
                let mut worker =
                    Worker { shared: &shared, account, node: i, rpc: None, nonce: 0, group };
                if let Err(problem) = worker.run() {
                    lock(&shared.problems).push(format!("worker {i}: {problem:#}"));
                }
                lock(&shared.control).idle += 1;
                shared.changed.notify_all();
            })
        });
        let workers = workers.collect();
        Self { shared, workers }
    }

    fn want(&self, wanted: Wanted) {
        lock(&self.shared.control).wanted = wanted;
        self.shared.changed.notify_all();
    }

    /// Waits until everything that was sent is acknowledged, and sends nothing more.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.want(Wanted::Pause);
        let control = lock(&self.shared.control);
        let all = self.workers.len();
        let waited =
            self.shared
                .changed
                .wait_timeout_while(control, 2 * ACKNOWLEDGED_TIME, |control| control.idle < all);
        let (control, late) = waited.expect("workers do not panic");
        drop(control);
        ensure!(!late.timed_out(), "the load does not come to rest");
        self.check()
    }

    pub(crate) fn resume(&self) {
        self.want(Wanted::Run);
    }

    /// Fails when a worker met what it never should.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let problems = lock(&self.shared.problems);
        ensure!(problems.is_empty(), "{}", problems.join("\n"));
        Ok(())
    }

    /// Everything acknowledged so far, in the order in which the acknowledgements came.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        lock(&self.shared.acknowledged).clone()
    }

    pub(crate) fn acknowledged_count(&self) -> usize {
        lock(&self.shared.acknowledged).len()
    }

    /// Waits for the first acknowledgement of a transfer that was first sent after `moment`; how long after.
    pub(crate) fn await_sent_after(
        &self,
        moment: Instant,
        time: Duration,
    ) -> anyhow::Result<Duration> {
        loop {
            self.check()?;
            let first = {
                let acknowledged = lock(&self.shared.acknowledged);
                acknowledged
                    .iter()
                    .find(|done| done.sent > moment)
                    .map(|done| done.acknowledged - moment)
            };
            if let Some(after) = first {
                return Ok(after);
            }
            if moment.elapsed() > time {
                bail!("nothing that was sent in the last {time:?} was acknowledged");
            }
            std::thread::sleep(RETRY);
        }
    }

    /// The longest time since `moment` in which nobody was told that anything is committed.
    pub(crate) fn longest_silence(&self, moment: Instant) -> Duration {
        let acknowledged = lock(&self.shared.acknowledged);
        let mut last = moment;
        let mut longest = Duration::ZERO;
        for done in acknowledged.iter().filter(|done| done.acknowledged > moment) {
            longest = longest.max(done.acknowledged - last);
            last = done.acknowledged;
        }
        longest
    }

    /// The longest request since `moment` to a node other than `except`.
    pub(crate) fn slowest_attempt(&self, moment: Instant, except: usize) -> Duration {
        let attempts = lock(&self.shared.attempts);
        let ended =
            attempts.iter().filter(|attempt| attempt.ended > moment && attempt.node != except);
        ended.map(|attempt| attempt.ended - attempt.sent).max().unwrap_or_default()
    }

    /// Ends the workers.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.end();
        self.check()
    }

    fn end(&mut self) {
        self.want(Wanted::Stop);
        for worker in self.workers.drain(..) {
            worker.join().expect("workers do not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    account: Account,
    /// Which node it talks to, modulo their number.
    node: usize,
    rpc: Option<Rpc>,
    nonce: u64,
    /// Transfers in one request.
    group: usize,
}

struct Transfer {
    signed: Signed,
    nonce: u64,
    to: Address,
    value: u64,
}

enum Answer {
    Committed,
    Again,
}

impl Worker<'_> {
    fn run(&mut self) -> anyhow::Result<()> {
        while self.may_go_on() {
            let group: Vec<Transfer> = (0..self.group).map(|_| self.draw()).collect();
            let sent = Instant::now();
            while let Answer::Again = self.attempt(&group)? {
                if lock(&self.shared.control).wanted == Wanted::Stop {
                    return Ok(());
                }
                ensure!(
                    sent.elapsed() < ACKNOWLEDGED_TIME,
                    "no acknowledgement in {ACKNOWLEDGED_TIME:?}"
                );
                self.rpc = None;
                self.node += 1;
                std::thread::sleep(RETRY);
            }
            let acknowledged = Instant::now();
            let from = self.account.address;
            lock(&self.shared.acknowledged).extend(group.iter().map(|transfer| Acknowledged {
                hash: transfer.signed.hash,
                from,
                nonce: transfer.nonce,
                to: transfer.to,
                value: transfer.value,
                sent,
                acknowledged,
            }));
        }
        Ok(())
    }

    fn may_go_on(&self) -> bool {
        let mut control = lock(&self.shared.control);
        if control.wanted == Wanted::Pause {
            control.idle += 1;
            self.shared.changed.notify_all();
            let waited =
                self.shared.changed.wait_while(control, |control| control.wanted == Wanted::Pause);
            control = waited.expect("workers do not panic");
            control.idle -= 1;
        }
        control.wanted == Wanted::Run
    }

    /// The next transfer: amounts and receivers differ, so that a mix-up shows.
    fn draw(&mut self) -> Transfer {
        let nonce = self.nonce;
        self.nonce += 1;
        let value = 1 + nonce * 7 % 1000;
        let receivers = &self.shared.receivers;
        let to = receivers[usize::try_from(nonce).unwrap_or(0) * 5 % receivers.len()];
        Transfer { signed: self.account.transfer(nonce, to, U256::from(value)), nonce, to, value }
    }

    fn attempt(&mut self, group: &[Transfer]) -> anyhow::Result<Answer> {
        let (node, address) = {
            let addresses = self.shared.addresses.read().expect("nobody panics with it");
            let node = self.node % addresses.len();
            (node, addresses[node])
        };
        let Some(address) = address else { return Ok(Answer::Again) };
        let sent = Instant::now();
        let rpc = match &mut self.rpc {
            Some(rpc) => rpc,
            None => match Rpc::with_patience(address, PATIENCE) {
                Ok(rpc) => self.rpc.insert(rpc),
                Err(_) => return Ok(Answer::Again),
            },
        };
        let outcome = match group {
            [one] => rpc
                .try_call("eth_sendRawTransactionSync", &json!([one.signed.raw]))
                .map(|outcome| vec![outcome]),
            many => {
                let params: Vec<Value> =
                    many.iter().map(|transfer| json!([transfer.signed.raw])).collect();
                rpc.try_batch("/?wait=committed", "eth_sendRawTransaction", &params)
            }
        };
        lock(&self.shared.attempts).push(Attempt { node, sent, ended: Instant::now() });
        // A connection that breaks says nothing of what was sent on it.
        let Ok(outcomes) = outcome else { return Ok(Answer::Again) };
        let mut answer = Answer::Committed;
        for (transfer, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Ok(result) => check_result(&result, transfer)?,
                Err(Refused { code: CODE_TIMEOUT | CODE_UNREADY, .. }) => answer = Answer::Again,
                // Without EIP-7966 there is no code of its own for this.
                Err(refused) if refused.message.starts_with(NO_PRIMARY) => answer = Answer::Again,
                Err(refused) => bail!("nonce {}: {refused:?}", transfer.nonce),
            }
        }
        Ok(answer)
    }
}

/// A receipt, or a hash.
fn check_result(result: &Value, transfer: &Transfer) -> anyhow::Result<()> {
    let found = if result.is_object() {
        ensure!(result["status"] == "0x1", "nonce {}: {result}", transfer.nonce);
        hash(&result["transactionHash"])?
    } else {
        hash(result)?
    };
    ensure!(found == transfer.signed.hash, "nonce {}: answered with {found}", transfer.nonce);
    Ok(())
}

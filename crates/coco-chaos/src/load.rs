//! Clients that send transfers and read accounts without a pause, and write down what they did and saw.
//!
//! Each writer has an account of its own and sends one transfer at a time by `eth_sendRawTransactionSync`, whose answer
//! means: committed. Until it has one it sends the same bytes again, to the next node.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, TxKind, U256};
use anyhow::{Context, bail, ensure};
use coco_bench::{
    Signed,
    args::Envelope,
    sign::{Draft, Fees, Keys, sign_one},
};
use coco_types::TxId;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};

use crate::{
    client::{Connection, Refused, Tls, parsed, quantity},
    history::{Account, History, Outcome, Place, Read, Write},
    network::{CHAIN_ID, client_address},
};

/// Accounts, one for each writer.
pub(crate) const WRITERS: usize = 24;
/// Accounts that only receive.
const RECEIVERS: u8 = 8;
const READERS: usize = 2;
/// A client that hears nothing for this long turns to the next node.
const PATIENCE: Duration = Duration::from_secs(2);
/// Wait before the next attempt, and between two reads of one client.
const RETRY: Duration = Duration::from_millis(20);
const READ_PAUSE: Duration = Duration::from_millis(30);
/// How long writers go on for an answer after they were told to end.
const LAST_TIME: Duration = Duration::from_secs(20);
/// EIP-7966: no receipt in time, and not ready; in both cases the transaction may be sent again.
const CODES_AGAIN: [i64; 2] = [4, 5];

/// Senders and the addresses that they pay.
#[derive(Debug)]
pub(crate) struct Accounts {
    keys: Keys,
    receivers: Vec<Address>,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let keys = Keys::generated(0xc4a05, WRITERS);
        let mut receivers: Vec<Address> = (0..keys.len()).map(|i| keys.address(i)).collect();
        receivers.extend((1..=RECEIVERS).map(|name| Address::repeat_byte(0xc0 + name)));
        Self { keys, receivers }
    }

    /// What the genesis gives: a million ether each.
    pub(crate) fn funded(&self) -> Vec<(Address, U256)> {
        let balance = U256::from(10).pow(U256::from(24));
        (0..self.keys.len()).map(|i| (self.keys.address(i), balance)).collect()
    }

    /// Everybody that may have something.
    pub(crate) fn all(&self) -> &[Address] {
        &self.receivers
    }
}

/// An acknowledged write's times, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin_us: u64,
    end_us: u64,
}

#[derive(Debug)]
struct Shared {
    tls: Tls,
    accounts: Accounts,
    nodes: usize,
    starts: Arc<Vec<AtomicU64>>,
    /// When time began.
    origin: Instant,
    is_over: AtomicBool,
    /// Acknowledged writes in the order of their acknowledgements.
    spans: Mutex<Vec<Span>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).expect("a run is shorter than an age")
    }
}

/// Running clients.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Vec<Write>>>,
    readers: Vec<JoinHandle<Vec<Read>>>,
}

impl Load {
    /// Starts the clients on `runtime`, which lives in their namespace.
    pub(crate) fn start(
        runtime: &Runtime,
        tls: Tls,
        accounts: Accounts,
        starts: Arc<Vec<AtomicU64>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            tls,
            accounts,
            nodes: starts.len(),
            starts,
            origin: Instant::now(),
            is_over: AtomicBool::new(false),
            spans: Mutex::default(),
        });
        let writers = (0..WRITERS).map(|key| {
            let shared = Arc::clone(&shared);
            let writer = Writer { shared, key, node: key, connection: None, nonce: 0 };
            runtime.spawn(writer.run())
        });
        let writers = writers.collect();
        let readers = (0..READERS).map(|i| runtime.spawn(read(Arc::clone(&shared), i))).collect();
        Self { shared, writers, readers }
    }

    /// Moments as the history counts them.
    pub(crate) fn now_us(&self) -> u64 {
        self.shared.now_us()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.shared.spans).len()
    }

    /// Acknowledged writes a second, over the last so many.
    pub(crate) fn rate(&self, seconds: u64) -> u64 {
        let from = self.now_us().saturating_sub(seconds * 1_000_000);
        let spans = lock(&self.shared.spans);
        let recent = spans.iter().rev().take_while(|span| span.end_us >= from).count();
        recent as u64 / seconds
    }

    /// How long after `moment` the first write was acknowledged that was sent after it; `None` as long as none is.
    pub(crate) fn resumed_after_us(&self, moment: u64) -> Option<u64> {
        let spans = lock(&self.shared.spans);
        let first = spans.iter().find(|span| span.begin_us > moment);
        first.map(|span| span.end_us - moment)
    }

    /// The longest time since `moment` in which no write was acknowledged.
    pub(crate) fn longest_silence_us(&self, moment: u64) -> u64 {
        let spans = lock(&self.shared.spans);
        let ends = spans.iter().map(|span| span.end_us).filter(|end| *end > moment);
        let (longest, last) = ends.fold((0, moment), |(longest, last), end| {
            (longest.max(end.saturating_sub(last)), end.max(last))
        });
        longest.max(self.now_us() - last)
    }

    /// Ends the clients; what they did and saw.
    pub(crate) fn finish(self, runtime: &Runtime) -> anyhow::Result<History> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut history = History::default();
        runtime.block_on(async {
            for writer in self.writers {
                history.writes.extend(writer.await?);
            }
            for reader in self.readers {
                history.reads.extend(reader.await?);
            }
            Ok::<(), tokio::task::JoinError>(())
        })?;
        Ok(history)
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// Which account it has.
    key: usize,
    /// Which node it talks to, modulo their number.
    node: usize,
    connection: Option<Connection>,
    nonce: u64,
}

enum Told {
    Committed(TxId, Place),
    Refused(String),
}

impl Writer {
    async fn run(mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let (draft, to) = self.draft();
            let fees = Fees { chain_id: CHAIN_ID, gas_price: 0, envelope: Envelope::Eip1559 };
            let signed = sign_one(&self.shared.accounts.keys, &draft, fees);
            let begin_us = self.shared.now_us();
            let outcome = self.send(&signed).await;
            if let Outcome::Acknowledged { end_us, .. } = outcome {
                lock(&self.shared.spans).push(Span { begin_us, end_us });
            }
            let is_last = !matches!(outcome, Outcome::Acknowledged { .. });
            let (from, nonce, value) = (signed.sender, draft.nonce, draft.value);
            writes.push(Write { hash: signed.hash, from, nonce, to, value, begin_us, outcome });
            if is_last {
                // Whatever comes after it would wait for its nonce.
                break;
            }
            self.nonce += 1;
        }
        writes
    }

    /// The next transfer: amounts and receivers differ, so that a mix-up shows.
    fn draft(&self) -> (Draft, Address) {
        let receivers = &self.shared.accounts.receivers;
        let nonce = self.nonce;
        let at = usize::try_from(nonce).unwrap_or(0) * 5 + self.key;
        let to = receivers[at % receivers.len()];
        let draft = Draft {
            key: self.key,
            nonce,
            to: TxKind::Call(to),
            value: U256::from(1 + nonce * 7 % 1000),
            gas: 21_000,
            input: alloy_primitives::Bytes::new(),
        };
        (draft, to)
    }

    /// Sends it until somebody says what became of it.
    async fn send(&mut self, signed: &Signed) -> Outcome {
        let mut give_up: Option<Instant> = None;
        loop {
            match timeout(PATIENCE, self.attempt(signed)).await {
                Ok(Ok(Told::Committed(id, place))) => {
                    return Outcome::Acknowledged { end_us: self.shared.now_us(), id, place };
                }
                Ok(Ok(Told::Refused(reason))) => return Outcome::Refused(reason),
                // A connection that breaks, or is silent, says nothing of what was sent on it.
                Ok(Err(_)) | Err(_) => {}
            }
            if self.shared.is_over.load(Ordering::SeqCst)
                && Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + LAST_TIME)
            {
                return Outcome::Unknown;
            }
            self.connection = None;
            self.node += 1;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// An error means that it should be sent again.
    async fn attempt(&mut self, signed: &Signed) -> anyhow::Result<Told> {
        let address = client_address(self.node % self.shared.nodes);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(Connection::open(&self.shared.tls, address).await?),
        };
        let (result, id) =
            connection.call("eth_sendRawTransactionSync", json!([signed.raw])).await?;
        match result {
            Ok(receipt) => {
                let id = id.context("the answer names no transaction id")?;
                Ok(committed(&receipt, signed.hash, id)
                    .unwrap_or_else(|error| Told::Refused(format!("{error:#}: {receipt}"))))
            }
            Err(Refused { code, message }) if CODES_AGAIN.contains(&code) => bail!(message),
            Err(Refused { message, .. }) if message.starts_with("no primary") => bail!(message),
            Err(Refused { code, message }) => Ok(Told::Refused(format!("{message} ({code})"))),
        }
    }
}

fn committed(receipt: &Value, hash: B256, id: TxId) -> anyhow::Result<Told> {
    ensure!(parsed::<B256>(&receipt["transactionHash"])? == hash, "a receipt of something else");
    ensure!(quantity(&receipt["status"])? == 1, "the transfer failed");
    let block = quantity(&receipt["blockNumber"])?;
    let index = quantity(&receipt["transactionIndex"])?;
    Ok(Told::Committed(id, Place { block, index }))
}

/// Reads one account after the other, on one node after the other.
async fn read(shared: Arc<Shared>, first: usize) -> Vec<Read> {
    let mut reads = Vec::new();
    let mut connections: Vec<Option<Connection>> = (0..shared.nodes).map(|_| None).collect();
    for turn in first.. {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        let node = turn % shared.nodes;
        let all = &shared.accounts.receivers;
        let account = all[turn * 7 % all.len()];
        let looked = timeout(PATIENCE, look(&shared, &mut connections[node], node, account)).await;
        match looked {
            Ok(Ok(Some(read))) => reads.push(read),
            // It was started anew in between.
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => connections[node] = None,
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
    reads
}

async fn look(
    shared: &Shared,
    connection: &mut Option<Connection>,
    node: usize,
    account: Address,
) -> anyhow::Result<Option<Read>> {
    let start = shared.starts[node].load(Ordering::SeqCst);
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(&shared.tls, client_address(node)).await?),
    };
    let begin_us = shared.now_us();
    let answers = connection
        .call_all(vec![
            ("eth_blockNumber", json!([])),
            ("eth_getTransactionCount", json!([account, "latest"])),
            ("eth_getBalance", json!([account, "latest"])),
            ("eth_blockNumber", json!([])),
        ])
        .await?;
    let end_us = shared.now_us();
    if shared.starts[node].load(Ordering::SeqCst) != start {
        return Ok(None);
    }
    let [before, nonce, balance, after] = &answers[..] else { bail!("four answers to four calls") };
    Ok(Some(Read {
        node,
        start,
        begin_us,
        end_us,
        account,
        block_before: quantity(before)?,
        state: Account { nonce: quantity(nonce)?, balance: parsed(balance)? },
        block_after: quantity(after)?,
    }))
}

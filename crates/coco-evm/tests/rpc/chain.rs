//! A chain in memory: store, adapter, RPC, and a ledger that keeps every write set.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use coco_adapter::{
    Adapter, Answer, Check, Checked, Clocks, Entropy, History, HistoryError, Outside, Refusal,
    Ticket, Verdict,
};
use coco_evm::{
    adapter::EvmAdapter,
    block::TxEnvelope,
    executor::Executor,
    genesis::{ChainConfig, Genesis, GenesisAccount},
    pool::PoolLimits,
    rpc::{BlockCache, Call, Parsed, ReadView, Responses, Rpc, RpcConfig, Submit},
    state::{self, EvmMaps},
    transaction::{EvmCheck, Unprotected},
};
use coco_kv::{MapName, Store, WriteSet};
use coco_types::Seqno;
use parking_lot::RwLock;
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};

pub(crate) const CHAIN_ID: u64 = 31_337;
pub(crate) const START_MS: u64 = 1_700_000_000_000;
/// Wei of each of the funded accounts.
pub(crate) const FUNDS: u128 = 1_000_000_000_000_000_000_000;

/// Logs what it is called with, with its caller as the second topic, keeps it in slot 0 and returns it.
pub(crate) const LOGGER: Address = Address::repeat_byte(0xa1);
/// Reverts with `Error("nope")`.
pub(crate) const REVERTER: Address = Address::repeat_byte(0xa2);
/// Runs into `INVALID`.
pub(crate) const INVALID: Address = Address::repeat_byte(0xa3);

const LOGGER_CODE: [u8; 23] = hex!("600035806000556000523360ee60206000a260206000f3");

/// Account number `n`, from 1.
pub(crate) struct Account(SecretKey);

impl Account {
    pub(crate) fn new(n: u8) -> Self {
        Self(SecretKey::from_byte_array([n; 32]).expect("small numbers are keys"))
    }

    pub(crate) fn address(&self) -> Address {
        let key = PublicKey::from_secret_key(&Secp256k1::new(), &self.0);
        Address::from_raw_public_key(&key.serialize_uncompressed()[1..])
    }

    pub(crate) fn sign_hash(&self, hash: B256) -> Signature {
        let signature =
            Secp256k1::new().sign_ecdsa_recoverable(Message::from_digest(hash.0), &self.0);
        let (id, bytes) = signature.serialize_compact();
        Signature::from_bytes_and_parity(&bytes, i32::from(id) == 1)
    }

    pub(crate) fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Bytes
    where
        TxEnvelope: From<alloy_consensus::Signed<T>>,
    {
        let signature = self.sign_hash(transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }

    /// A call to `to` without fees.
    pub(crate) fn call(&self, nonce: u64, to: Address, input: impl Into<Bytes>) -> Bytes {
        self.sign(TxEip1559 { input: input.into(), to: TxKind::Call(to), ..plain(nonce) })
    }

    /// A transfer of one wei.
    pub(crate) fn transfer(&self, nonce: u64) -> Bytes {
        self.sign(plain(nonce))
    }

    /// A transfer of one wei that offers a price.
    pub(crate) fn priced(&self, nonce: u64, fee: u128, tip: u128) -> Bytes {
        self.sign(TxEip1559 { max_fee_per_gas: fee, max_priority_fee_per_gas: tip, ..plain(nonce) })
    }

    pub(crate) fn legacy(&self, nonce: u64, chain_id: Option<u64>) -> Bytes {
        self.sign(TxLegacy {
            chain_id,
            nonce,
            gas_limit: 21_000,
            to: TxKind::Call(Address::repeat_byte(9)),
            value: U256::from(1),
            ..TxLegacy::default()
        })
    }

    pub(crate) fn with_access_list(&self, nonce: u64) -> Bytes {
        let item = AccessListItem { address: LOGGER, storage_keys: vec![B256::with_last_byte(1)] };
        self.sign(TxEip2930 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 50_000,
            to: TxKind::Call(Address::repeat_byte(9)),
            access_list: AccessList(vec![item]),
            ..TxEip2930::default()
        })
    }

    pub(crate) fn delegate(
        &self,
        nonce: u64,
        authority: &Self,
        authority_nonce: u64,
        to: Address,
    ) -> Bytes {
        let authorization =
            Authorization { chain_id: U256::from(CHAIN_ID), address: to, nonce: authority_nonce };
        let signature = authority.sign_hash(authorization.signature_hash());
        self.sign(TxEip7702 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 100_000,
            to: Address::repeat_byte(9),
            authorization_list: vec![authorization.into_signed(signature)],
            ..TxEip7702::default()
        })
    }
}

/// An authorization whose signature is none.
pub(crate) fn broken_authorization() -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::ZERO, address: LOGGER, nonce: 0 };
    SignedAuthorization::new_unchecked(authorization, 7, U256::from(1), U256::from(1))
}

pub(crate) fn plain(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 100_000,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

/// Code that puts `runtime` into a new contract.
pub(crate) fn deploying(runtime: &[u8]) -> Bytes {
    let length = u8::try_from(runtime.len()).expect("test contracts are short");
    [&[0x60, length, 0x60, 12, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3], runtime].concat().into()
}

pub(crate) fn logger_code() -> Bytes {
    Bytes::from_static(&LOGGER_CODE)
}

/// The ABI encoding of `Error(text)`, for texts of up to 32 bytes.
pub(crate) fn error_data(text: &str) -> Vec<u8> {
    let mut word = text.as_bytes().to_vec();
    word.resize(32, 0);
    let number = |n: usize| U256::from(n).to_be_bytes::<32>().to_vec();
    [vec![0x08, 0xc3, 0x79, 0xa0], number(32), number(text.len()), word].concat()
}

#[derive(Default)]
struct Ledger(RwLock<BTreeMap<Seqno, WriteSet>>, AtomicBool);

impl History for Ledger {
    fn read(
        &self,
        seqno: Seqno,
        map: &MapName,
        key: &[u8],
    ) -> Result<Option<bytes::Bytes>, HistoryError> {
        if self.1.load(Ordering::Relaxed) {
            let source = std::io::Error::other("no disk");
            return Err(HistoryError::Unreadable { seqno, source });
        }
        let ledger = self.0.read();
        let found = ledger.get(&seqno).and_then(|writes| {
            writes.get(map, key).map(|value| bytes::Bytes::copy_from_slice(value))
        });
        Ok(found)
    }
}

pub(crate) struct Chain {
    pub(crate) store: Store,
    pub(crate) adapter: EvmAdapter,
    pub(crate) rpc: Rpc,
    pub(crate) executor: Executor,
    pub(crate) now_ms: u64,
    /// By how much the wall clock is ahead of the one that only runs.
    pub(crate) wall_ahead_ms: u64,
    /// How much time passes between two looks of a query at its clock.
    pub(crate) reading_ms: u64,
    pub(crate) committed: Seqno,
    ledger: Ledger,
    check: EvmCheck,
    tickets: u64,
}

pub(crate) fn genesis() -> Genesis {
    let mut genesis = Genesis::new(ChainConfig::new(CHAIN_ID));
    genesis.timestamp = START_MS / 1_000;
    for n in 1..=4 {
        let account = GenesisAccount { balance: U256::from(FUNDS), ..GenesisAccount::default() };
        genesis.alloc.insert(Account::new(n).address(), account);
    }
    let data = error_data("nope");
    let reverter =
        [&[0x60, 100, 0x60, 12, 0x60, 0, 0x39, 0x60, 100, 0x60, 0, 0xfd], data.as_slice()].concat();
    for (address, code) in [
        (LOGGER, logger_code()),
        (REVERTER, reverter.into()),
        (INVALID, Bytes::from_static(&[0xfe])),
    ] {
        genesis
            .alloc
            .insert(address, GenesisAccount { code, nonce: 1, ..GenesisAccount::default() });
    }
    genesis
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(&genesis(), PoolLimits::default())
    }

    pub(crate) fn with(genesis: &Genesis, limits: PoolLimits) -> Self {
        let mut store = Store::new(state::schema(), [1, 2]);
        let maps = EvmMaps::find(|name| store.map(name)).expect("the schema is the adapter's");
        let mut tx = store.begin();
        genesis.write(&mut tx, &maps);
        let changes = tx.finish();
        let writes = store.commit(Seqno(1), changes).expect("nobody else writes");
        let config = Arc::new(genesis.config.clone());
        let executor = Executor::new(Arc::clone(&config), maps);
        let cache = Arc::new(BlockCache::default());
        let ledger = Ledger::default();
        ledger.0.write().insert(Seqno(1), writes);
        Self {
            store,
            adapter: EvmAdapter::new(executor.clone(), limits, Arc::clone(&cache)),
            rpc: Rpc::new(RpcConfig::new(config.chain_id), executor.clone(), cache, [7; 32]),
            executor,
            now_ms: START_MS,
            wall_ahead_ms: 0,
            reading_ms: 0,
            committed: Seqno(1),
            ledger,
            check: EvmCheck::new(config, Unprotected::Refused),
            tickets: 0,
        }
    }

    /// Another RPC over the same chain that has nothing cached, as after a restart.
    pub(crate) fn restart_rpc(&mut self, config: RpcConfig) {
        self.rpc =
            Rpc::new(config, self.executor.clone(), Arc::new(BlockCache::default()), [8; 32]);
    }

    /// Checks and admits.
    pub(crate) fn submit(&mut self, raw: &[u8]) -> Result<(Ticket, Vec<Answer>), Refusal> {
        let checked = self.check.check(raw)?;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        Ok((ticket, self.adapter.admit(&self.store.reader(), self.clocks(), ticket, checked)))
    }

    pub(crate) fn checked(&self, raw: &[u8]) -> Checked {
        self.check.check(raw).expect("it is well formed")
    }

    pub(crate) fn admit(&mut self, ticket: u64, transaction: Checked) -> Vec<Answer> {
        self.adapter.admit(&self.store.reader(), self.clocks(), Ticket(ticket), transaction)
    }

    /// Both clocks run alike, unless a test sets the wall clock ahead.
    const fn clocks(&self) -> Clocks {
        Clocks { time_ms: self.now_ms + self.wall_ahead_ms, running_ms: self.now_ms }
    }

    /// Checks and admits what must wait.
    pub(crate) fn queue(&mut self, raw: &[u8]) -> Ticket {
        let (ticket, answers) = self.submit(raw).expect("it is well formed");
        assert_eq!(answers, [], "it waits");
        ticket
    }

    /// Checks and admits what must be refused at once.
    pub(crate) fn refused(&mut self, raw: &[u8]) -> Refusal {
        match self.submit(raw) {
            Err(refusal) => refusal,
            Ok((ticket, answers)) => match answers.as_slice() {
                [Answer { ticket: to, verdict: Verdict::Refused(refusal) }] if *to == ticket => {
                    refusal.clone()
                }
                other => panic!("not refused: {other:?}"),
            },
        }
    }

    /// Executes one batch, a second later.
    pub(crate) fn execute(&mut self) -> Vec<Answer> {
        self.now_ms += 1_000;
        let outside = Outside { time_ms: self.clocks().time_ms, entropy: Entropy([5; 32]) };
        let mut tx = self.store.begin();
        let execution = self.adapter.execute(&mut tx, &outside);
        let changes = tx.finish();
        if !execution.is_empty {
            let seqno = self.store.version().next();
            let writes = self.store.commit(seqno, changes).expect("nobody else writes");
            self.ledger.0.write().insert(seqno, writes);
        }
        self.adapter.settle(&self.store.reader())
    }

    /// Executes one batch, which is then found to be too long for an entry.
    pub(crate) fn execute_in_vain(&mut self) -> Vec<Answer> {
        let outside = Outside { time_ms: self.clocks().time_ms, entropy: Entropy([5; 32]) };
        let mut tx = self.store.begin();
        let execution = self.adapter.execute(&mut tx, &outside);
        assert!(!execution.is_empty, "something was executed");
        drop(tx);
        self.adapter.take_back(&self.store.reader())
    }

    /// An entry that is not a block, such as a signature.
    pub(crate) fn other_entry(&mut self) {
        let seqno = self.store.version().next();
        let changes = self.store.begin().finish();
        self.store.commit(seqno, changes).expect("nobody else writes");
    }

    pub(crate) fn commit(&mut self) {
        self.committed = self.store.version();
    }

    pub(crate) fn roll_back(&mut self) {
        self.store.rollback(self.committed).expect("it is retained");
        self.ledger.0.write().retain(|seqno, _| *seqno <= self.committed);
        self.adapter.rolled_back(&self.store.reader());
    }

    /// Executes these in one block, and commits it.
    pub(crate) fn mine(&mut self, raws: &[Bytes]) {
        let tickets: Vec<Ticket> = raws.iter().map(|raw| self.queue(raw)).collect();
        let answers = self.execute();
        let executed = tickets
            .into_iter()
            .map(|ticket| Answer { ticket, verdict: Verdict::Executed })
            .collect::<Vec<_>>();
        assert_eq!(answers, executed);
        self.commit();
    }

    /// What the body is answered with; submissions are not.
    pub(crate) fn answer(&self, body: &[u8]) -> Vec<u8> {
        let reader = self.store.reader();
        let committed = reader.snapshot(self.committed).expect("it is retained");
        let head = reader.head();
        let readings = Cell::new(0);
        let clock = || {
            readings.set(readings.get() + 1);
            self.now_ms + readings.get() * self.reading_ms
        };
        let view = ReadView::new(&reader, &committed, &head, &self.ledger, &clock);
        let Parsed { calls, is_batch } = self.rpc.parse(body);
        let mut responses = Responses::new(is_batch);
        for call in calls {
            match call {
                Call::Done(response) => responses.push(&response),
                Call::Notification => {}
                Call::Query(query) => responses.push(&self.rpc.query(&query, &view)),
                Call::Submit(_) => panic!("a submission is for the replica"),
            }
        }
        responses.finish()
    }

    pub(crate) fn response(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.answer(body.to_string().as_bytes());
        let response: Value = serde_json::from_slice(&answer).expect("responses are JSON");
        assert_eq!((&response["jsonrpc"], &response["id"]), (&json!("2.0"), &json!(1)));
        response
    }

    /// The result of a call.
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        let mut response = self.response(method, &params);
        assert!(response.get("error").is_none(), "{method} {params}: {response}");
        response["result"].take()
    }

    /// The code and the message of the error of a call.
    pub(crate) fn error(&self, method: &str, params: Value) -> (i64, String) {
        let response = self.response(method, &params);
        let error = &response["error"];
        let code =
            error["code"].as_i64().unwrap_or_else(|| panic!("{method} {params}: {response}"));
        (code, error["message"].as_str().expect("errors have a message").to_owned())
    }

    /// Nothing can be read of the ledger any more.
    pub(crate) fn lose_disk(&self) {
        self.ledger.1.store(true, Ordering::Relaxed);
    }

    /// What a submission is answered with, once everything that could be committed is.
    pub(crate) fn receipt(&self, submit: &Submit) -> Option<Value> {
        let reader = self.store.reader();
        let committed = reader.snapshot(self.committed).expect("it is retained");
        let head = reader.head();
        let readings = Cell::new(0);
        let clock = || {
            readings.set(readings.get() + 1);
            self.now_ms + readings.get() * self.reading_ms
        };
        let view = ReadView::new(&reader, &committed, &head, &self.ledger, &clock);
        self.rpc
            .receipt(submit, &view)
            .map(|bytes| serde_json::from_slice(&bytes).expect("responses are JSON"))
    }
}

pub(crate) fn hash(raw: &Bytes) -> String {
    keccak256(raw).to_string()
}

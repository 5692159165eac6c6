//! What clients ask for, and the model that judges what became of it.
//!
//! Clients transfer value between accounts of which each sends from its own, or to a contract that adds up what each of them has
//! given it and refuses some of it. Signatures are doubles: the bytes have the
//! form of signed transactions and the sender is given, as the edge gives it after recovering it. Everything from there on
//! is the adapter's own code.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{SignableTransaction, Transaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Signature, TxKind, U256, keccak256};
use bytes::Bytes;
use coco_adapter::{Adapter, Answer, Checked, Clocks, Execution, Outside, Ticket};
use coco_evm::{
    adapter::EvmAdapter,
    block::{Block, PooledTx, TxEnvelope},
    executor::Executor,
    genesis::{ChainConfig, Genesis, GenesisAccount},
    pool::{PoolLimits, PoolStatus},
    rpc::BlockCache,
    state::{self, EvmMaps, names},
};
use coco_kv::{MapName, MapSpec, Reader, Store, Transaction, WriteSet};
use coco_ledger::{EntryView, LedgerSecrets};
use coco_replica::{OUTSIDE_MAP, decode_outside};
use coco_types::Seqno;

use crate::private::Marker;

const CHAIN_ID: u64 = 31_337;
/// Wei of each client's account in the beginning.
const FUNDS: u64 = 1_000_000;
/// Most wei of one transfer: an account cannot run dry within a run.
pub const VALUE_MAX: u64 = 1_000;

/// What a contract does with value: it adds it to what the slot of its caller holds, and undoes everything when the value is
/// divisible by [`REFUSED`].
const TALLY_CODE: [u8; 21] = [
    0x34, 0x60, 0x0f, 0x16, 0x15, 0x60, 0x0f, 0x57, // jump to 15 when CALLVALUE & 15 is zero
    0x33, 0x54, 0x34, 0x01, 0x33, 0x55,
    0x00, // SSTORE(CALLER, SLOAD(CALLER) + CALLVALUE); STOP
    0x5b, 0x60, 0x00, 0x60, 0x00, 0xfd, // REVERT(0, 0)
];
/// The contract refuses what is divisible by this.
const REFUSED: u64 = 16;

/// The one key of the map of outside values.
const OUTSIDE_KEY: [u8; 8] = [0; 8];

/// The account of a client.
///
/// # Panics
/// Never for the few clients of a run.
#[must_use]
pub fn account(client: usize) -> Address {
    let client = u8::try_from(client).expect("few clients");
    Address::repeat_byte(0xa0 | client)
}

/// The contract.
#[must_use]
pub const fn tally() -> Address {
    Address::repeat_byte(0xcc)
}

/// Where the contract keeps what an account gave it.
fn slot(account: Address) -> U256 {
    U256::from_be_bytes(account.into_word().0)
}

/// A transfer as the edge would hand it to the replica. It carries a marker, which is private.
#[must_use]
pub fn transfer(
    client: usize,
    nonce: u64,
    (to, value): (Address, u64),
    marker: Marker,
) -> PooledTx {
    let sender = account(client);
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 60_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        input: marker.to_vec().into(),
        ..TxEip1559::default()
    };
    // Each signature differs, as real ones do.
    let mark = keccak256([sender.as_slice(), &nonce.to_be_bytes()].concat());
    let signature = Signature::new(U256::from_be_bytes(mark.0), U256::from(1), false);
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    let raw: alloy_primitives::Bytes = envelope.encoded_2718().into();
    PooledTx { hash: keccak256(&raw), sender, raw, envelope, authorities: Vec::new() }
}

/// The state that a chain of `clients` begins with.
///
/// # Panics
/// Never: a store that was just made takes the first version.
#[must_use]
pub fn opening(clients: usize) -> WriteSet {
    let mut genesis = Genesis::new(ChainConfig::new(CHAIN_ID));
    for client in 0..clients {
        let funded = GenesisAccount { balance: U256::from(FUNDS), ..GenesisAccount::default() };
        genesis.alloc.insert(account(client), funded);
    }
    let code = alloy_primitives::Bytes::from_static(&TALLY_CODE);
    genesis.alloc.insert(tally(), GenesisAccount { code, ..GenesisAccount::default() });
    let mut store = Store::new(state::schema(), [0, 0]);
    let maps = EvmMaps::find(|name| store.map(name)).expect("the schema is the adapter's");
    let mut tx = store.begin();
    genesis.write(&mut tx, &maps);
    let changes = tx.finish();
    store.commit(Seqno(1), changes).expect("nobody else writes")
}

/// An adapter over a replica's store. Of a service under recovery, that `is_whole` when its secrets are back, it is one over a chain that
/// nobody can read yet.
///
/// # Panics
/// When the store holds no chain: every ledger here begins with one.
#[must_use]
pub fn adapter(reader: &Reader, limits: PoolLimits, is_whole: bool) -> Box<dyn Adapter> {
    let maps = EvmMaps::find(|name| reader.map(name)).expect("the schema is the adapter's");
    let config = match state::config(&mut reader.head(), &maps) {
        Some(config) => config,
        None if !is_whole => ChainConfig::new(CHAIN_ID),
        None => panic!("the ledger begins with a chain"),
    };
    let executor = Executor::new(Arc::new(config), maps);
    let adapter = EvmAdapter::new(executor, limits, Arc::new(BlockCache::default()));
    Box::new(Watched { adapter, limits })
}

/// An adapter whose pool is held against its limits after every step.
struct Watched {
    adapter: EvmAdapter,
    limits: PoolLimits,
}

impl Watched {
    fn look(&self) {
        let PoolStatus { executable, gapped, bytes } = self.adapter.pool_status();
        let (waiting, most) = (executable + gapped, self.limits.transactions);
        assert!(waiting <= most, "{waiting} transactions wait in a pool, {most} at most");
        assert!(bytes <= self.limits.bytes, "transactions of {bytes} bytes wait in a pool");
    }
}

impl Adapter for Watched {
    fn schema(&self) -> Vec<MapSpec> {
        self.adapter.schema()
    }

    fn admit(
        &mut self,
        head: &Reader,
        clocks: Clocks,
        ticket: Ticket,
        transaction: Checked,
    ) -> Vec<Answer> {
        let answers = self.adapter.admit(head, clocks, ticket, transaction);
        self.look();
        answers
    }

    fn ready(&self) -> usize {
        self.adapter.ready()
    }

    fn execute(&mut self, tx: &mut Transaction<'_>, outside: &Outside) -> Execution {
        let execution = self.adapter.execute(tx, outside);
        self.look();
        execution
    }

    fn settle(&mut self, head: &Reader) -> Vec<Answer> {
        let answers = self.adapter.settle(head);
        self.look();
        answers
    }

    fn take_back(&mut self, head: &Reader) -> Vec<Answer> {
        let answers = self.adapter.take_back(head);
        self.look();
        answers
    }

    fn expire(&mut self, running_ms: u64) -> Vec<Answer> {
        self.adapter.expire(running_ms)
    }

    fn rolled_back(&mut self, head: &Reader) {
        self.adapter.rolled_back(head);
        self.look();
    }

    fn abandon(&mut self) -> Vec<Ticket> {
        self.adapter.abandon()
    }
}

/// What a node shows of an account at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Position of the state.
    pub seqno: Seqno,
    /// Whose.
    pub account: Address,
    /// Wei.
    pub balance: U256,
    /// Transactions sent.
    pub nonce: u64,
    /// Wei that it has given to the contract, as that says.
    pub given: U256,
}

/// Reads an account at a position, if that is still retained.
///
/// # Panics
/// When the store holds no chain.
#[must_use]
pub fn look(reader: &Reader, seqno: Seqno, account: Address) -> Option<Seen> {
    let maps = EvmMaps::find(|name| reader.map(name)).expect("the schema is the adapter's");
    let snapshot = reader.snapshot(seqno).ok()?;
    let record = state::account(&mut &snapshot, &maps, account);
    let (balance, nonce) = record.map_or((U256::ZERO, 0), |found| (found.balance, found.nonce));
    let given = state::storage(&mut &snapshot, &maps, tally(), slot(account));
    Some(Seen { seqno, account, balance, nonce, given })
}

/// The chain as arithmetic says it must be, from the transactions in a ledger. Shares no code with the executor.
#[derive(Debug, Default)]
pub struct Model {
    accounts: BTreeMap<Address, (U256, u64)>,
    /// What each account gave to the contract.
    given: BTreeMap<Address, U256>,
    /// Where each transaction stands.
    pub places: BTreeMap<alloy_primitives::B256, Seqno>,
    block: u64,
    time_ms: u64,
}

impl Model {
    /// The beginning.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        let opened = (0..clients).map(|client| (account(client), (U256::from(FUNDS), 0)));
        Self { accounts: opened.collect(), ..Self::default() }
    }

    /// Takes the transactions of an entry in their order.
    ///
    /// # Panics
    /// When the entry breaks a rule: a block out of order, a nonce that is not the next, a transaction twice, money that
    /// is not there.
    pub fn take(&mut self, entry: &Bytes, secrets: &LedgerSecrets) {
        let view = EntryView::parse(entry).expect("ledgers hold entries");
        let seqno = view.tx_id().seqno;
        let open = view.open(secrets.at(seqno)).expect("it is sealed under its secret");
        let writes = open.writes().expect("it holds writes");
        let outside = writes.get(&MapName::from_static(OUTSIDE_MAP), &OUTSIDE_KEY);
        if let Some(outside) = outside.map(|bytes| decode_outside(bytes).expect("outside values")) {
            assert!(outside.time_ms >= self.time_ms, "time runs backwards at {seqno}");
            self.time_ms = outside.time_ms;
        }
        let blocks = MapName::from_static(names::BLOCKS);
        let found = writes.maps().iter().filter(|map| map.name() == blocks.as_str());
        for (_, value) in found.flat_map(coco_kv::MapView::iter) {
            let block = Block::decode(value.expect("blocks stay")).expect("a block");
            if block.number() == 0 {
                continue;
            }
            assert_eq!(block.number(), self.block + 1, "blocks follow one another, at {seqno}");
            self.block = block.number();
            for included in &block.transactions {
                self.transfer(included, seqno);
            }
        }
    }

    fn transfer(&mut self, included: &coco_evm::block::Included, seqno: Seqno) {
        let earlier = self.places.insert(included.hash, seqno);
        assert_eq!(earlier, None, "{} is executed twice, again at {seqno}", included.hash);
        let value = included.transaction.value();
        let to = included.transaction.to().expect("transfers go to somebody");
        let succeeds = to != tally() || value % U256::from(REFUSED) != U256::ZERO;
        assert_eq!(included.outcome.success, succeeds, "a transfer of {value} to {to} at {seqno}");
        let (balance, nonce) =
            self.accounts.get_mut(&included.sender).expect("clients send from their accounts");
        assert_eq!(included.transaction.nonce(), *nonce, "nonces have no gap, at {seqno}");
        *nonce += 1;
        if !succeeds {
            return;
        }
        *balance = balance.checked_sub(value).expect("nobody spends what is not there");
        self.accounts.entry(to).or_default().0 += value;
        if to == tally() {
            *self.given.entry(included.sender).or_default() += value;
        }
    }

    /// The account now, as [`look`] would show it at `seqno`.
    #[must_use]
    pub fn expect(&self, seqno: Seqno, account: Address) -> Seen {
        let (balance, nonce) = self.accounts.get(&account).copied().unwrap_or_default();
        let given = self.given.get(&account).copied().unwrap_or_default();
        Seen { seqno, account, balance, nonce, given }
    }

    /// Whether no money was made or lost.
    #[must_use]
    pub fn is_whole(&self, clients: usize) -> bool {
        let sum: U256 = self.accounts.values().fold(U256::ZERO, |sum, (balance, _)| sum + *balance);
        sum == U256::from(FUNDS * clients as u64)
    }
}

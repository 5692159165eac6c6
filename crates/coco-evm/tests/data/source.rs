//! Public test data, and a store to run it on.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use coco_evm::{
    block::{Block, PooledTx},
    executor::{Environment, ExecutedBlock, Executor},
    genesis::{Genesis, GenesisAccount},
    state::{EvmMaps, put_block_hash, schema},
};
use coco_kv::Store;
use flate2::read::GzDecoder;
use serde_json::Value;

/// `path` in the data folder; says that the test is skipped when it is not there.
pub(crate) fn data(path: &str) -> Option<PathBuf> {
    let standard = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("COCO_TEST_DATA").map_or_else(standard, PathBuf::from);
    let path = folder.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// What a gzip file holds.
pub(crate) fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// A quantity in hexadecimal, or zero when the field is not there.
pub(crate) fn word(value: &Value) -> U256 {
    match value.as_str() {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{text} is no quantity")),
        None => U256::from(value.as_u64().unwrap_or(0)),
    }
}

/// The same below 2^64.
pub(crate) fn quantity(value: &Value) -> u64 {
    word(value).try_into().unwrap()
}

/// Bytes in hexadecimal of a type of a fixed or any length.
pub(crate) fn hex<T: std::str::FromStr>(value: &Value) -> T {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no text"));
    text.parse().unwrap_or_else(|_| panic!("{text} is malformed"))
}

/// The accounts of a pre-state; `code` gives the code of one.
pub(crate) fn accounts(
    pre: &Value,
    code: impl Fn(&Value) -> Bytes,
) -> BTreeMap<Address, GenesisAccount> {
    let storage = |account: &Value| match account["storage"].as_object() {
        Some(words) => {
            words.iter().map(|(slot, value)| (slot.parse().unwrap(), word(value))).collect()
        }
        None => BTreeMap::new(),
    };
    let account = |(address, account): (&String, &Value)| {
        let genesis = GenesisAccount {
            balance: word(&account["balance"]),
            nonce: quantity(&account["nonce"]),
            code: code(account),
            storage: storage(account),
        };
        (address.parse().unwrap(), genesis)
    };
    pre.as_object().unwrap().iter().map(account).collect()
}

/// A store with one chain.
pub(crate) struct Chain {
    store: Store,
    executor: Executor,
}

impl Chain {
    /// Begins a chain to which the hashes of some other blocks are known; also gives its block 0.
    pub(crate) fn begin(genesis: &Genesis, known: &[(u64, B256)]) -> (Self, Arc<Block>) {
        let mut store = Store::new(schema(), [1, 2]);
        let maps = EvmMaps::find(|name| store.map(name)).unwrap();
        let mut tx = store.begin();
        let block = genesis.write(&mut tx, &maps);
        for (number, hash) in known {
            put_block_hash(&mut tx, &maps, *number, *hash);
        }
        let changes = tx.finish();
        store.commit(store.version().next(), changes).unwrap();
        let executor = Executor::new(Arc::new(genesis.config.clone()), maps);
        (Self { store, executor }, block)
    }

    /// Executes these transactions in one block and commits it.
    pub(crate) fn execute(
        &mut self,
        environment: &Environment,
        transactions: Vec<PooledTx>,
    ) -> ExecutedBlock {
        let mut transactions = transactions.into_iter();
        let mut tx = self.store.begin();
        let executed = self.executor.execute_in(&mut tx, environment, |_| transactions.next());
        let changes = tx.finish();
        self.store.commit(self.store.version().next(), changes).unwrap();
        executed
    }
}

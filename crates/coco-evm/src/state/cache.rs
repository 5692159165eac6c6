//! What a block reads and changes, while it is executed.
//!
//! The interpreter reads through the cache; after each transaction its changes are taken into the cache; after the
//! block what differs from the store is written there, once, however often it changed on the way.

use std::convert::Infallible;

use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256,
    map::{AddressMap, B256Map, HashMap},
};
use alloy_trie::TrieAccount;
use coco_kv::Transaction;
use coco_planted::Bug;
use parking_lot::RwLock;
use revm::{
    Database,
    bytecode::Bytecode,
    state::{Account, AccountInfo, EvmState},
};

use super::{
    AccountRecord, EvmMaps, StateRead, StorageKey, Stored, record::INCARNATION_ONLY_STORAGE,
};
use crate::{
    genesis::{GenesisAccount, StateRoot},
    trie::{self, Owner},
};

/// Analysed code by hash, shared by all who execute. Code never changes under its hash, so a stale entry is harmless.
#[derive(Debug, Default)]
pub(crate) struct CodeCache {
    inner: RwLock<CodeCacheInner>,
}

#[derive(Debug, Default)]
struct CodeCacheInner {
    codes: B256Map<Bytecode>,
    bytes: usize,
}

impl CodeCache {
    fn get(&self, hash: &B256) -> Option<Bytecode> {
        self.inner.read().codes.get(hash).cloned()
    }

    fn insert(&self, hash: B256, code: &Bytecode) {
        let mut inner = self.inner.write();
        if inner.bytes + code.len() > CODE_CACHE_BYTES_MAX {
            *inner = CodeCacheInner::default();
        }
        inner.bytes += code.len();
        inner.codes.insert(hash, code.clone());
    }
}

/// The cache of one block over a source of stored values.
pub(crate) struct BlockCache<'a, S> {
    source: S,
    maps: &'a EvmMaps,
    codes: &'a CodeCache,
    accounts: AddressMap<Cached>,
}

struct Cached {
    /// What the store holds.
    stored: Stored,
    /// What the account is now.
    now: Option<AccountInfo>,
    /// The incarnation of `now`, or of the next account here.
    incarnation: u64,
    /// Words that were read or written in this incarnation.
    words: HashMap<U256, Word>,
}

#[derive(Clone, Copy)]
struct Word {
    stored: U256,
    now: U256,
}

impl Cached {
    fn new(stored: Stored) -> Self {
        let now = stored.record.map(|record| AccountInfo {
            balance: record.balance,
            nonce: record.nonce,
            code_hash: if record.is_only_storage() { B256::ZERO } else { record.code_hash },
            account_id: None,
            code: (!record.has_code()).then(Bytecode::default),
        });
        Self { stored, now, incarnation: stored.incarnation, words: HashMap::default() }
    }

    /// Whether the store holds no words of this incarnation.
    const fn is_fresh(&self) -> bool {
        self.stored.record.is_none() || self.incarnation != self.stored.incarnation
    }

    /// Leaves all words behind. Accounts that never had code have none: only running code writes storage, and accounts of
    /// block 0 that have storage without code are not in their first incarnation.
    fn leave_storage(&mut self) {
        self.words.clear();
        let may_have_words =
            self.stored.record.is_some_and(|record| record.has_code() || record.incarnation != 0);
        if !self.is_fresh() && may_have_words {
            self.incarnation =
                self.stored.incarnation.checked_add(1).expect("fewer destructions than 2^64");
        }
    }

    fn commit(&mut self, account: Account) {
        if account.is_selfdestructed() || (account.is_empty() && !account.is_created()) {
            self.leave_storage();
            self.now = None;
            return;
        }
        if account.is_created() {
            self.leave_storage();
        }
        let before = self.now.as_ref().map_or(0, |info| info.nonce);
        self.now = Some(account.info);
        if coco_planted::is(Bug::KeepNonce) {
            self.now.as_mut().into_iter().for_each(|info| info.nonce = before);
        }
        for (slot, value) in account.storage {
            if value.is_changed() {
                let word = Word { stored: U256::ZERO, now: value.present_value };
                self.words.entry(slot).or_insert(word).now = value.present_value;
            }
        }
    }

    fn changed_words(&self) -> impl Iterator<Item = (&U256, &Word)> {
        self.words.iter().filter(|(_, word)| word.now != word.stored)
    }

    /// What is to be stored, the storage root not yet brought up to date.
    fn to_store(&self) -> Stored {
        let Some(info) = &self.now else {
            return Stored { record: None, incarnation: self.incarnation };
        };
        let mut record = AccountRecord {
            nonce: info.nonce,
            balance: info.balance,
            code_hash: if info.code_hash.is_zero() { KECCAK256_EMPTY } else { info.code_hash },
            incarnation: self.incarnation,
            ..AccountRecord::default()
        };
        if let (false, Some(stored)) = (self.is_fresh(), &self.stored.record) {
            record.storage_root = stored.storage_root;
        }
        Stored::account(record)
    }
}

impl<'a, S: StateRead> BlockCache<'a, S> {
    pub(crate) fn new(source: S, maps: &'a EvmMaps, codes: &'a CodeCache) -> Self {
        Self { source, maps, codes, accounts: AddressMap::default() }
    }

    /// Takes over what a transaction changed. The interpreter loads what it touches, so every account is cached.
    pub(crate) fn commit(&mut self, changes: EvmState) {
        for (address, account) in changes {
            if account.is_touched() {
                self.cached(address).commit(account);
            }
        }
    }

    fn cached(&mut self, address: Address) -> &mut Cached {
        let Self { source, maps, accounts, .. } = self;
        accounts
            .entry(address)
            .or_insert_with(|| Cached::new(super::stored_account(source, maps, address)))
    }

    /// The account as it is now.
    pub(crate) fn info(&mut self, address: Address) -> Option<&AccountInfo> {
        self.cached(address).now.as_ref()
    }

    /// The account as it is now, made if it does not exist, for changes from outside the interpreter.
    pub(crate) fn info_mut(&mut self, address: Address) -> &mut AccountInfo {
        self.cached(address).now.get_or_insert_default()
    }

    /// The accounts whose nonces differ from the store, in no order, with their nonces now.
    pub(crate) fn moved_nonces(&self) -> impl Iterator<Item = (Address, u64)> {
        self.accounts.iter().filter_map(|(address, cached)| {
            let stored = cached.stored.record.map_or(0, |record| record.nonce);
            let now = cached.now.as_ref().map_or(0, |info| info.nonce);
            (now != stored).then_some((*address, now))
        })
    }

    /// Sets one word from outside the interpreter.
    pub(crate) fn set_word(&mut self, address: Address, slot: U256, now: U256) {
        let Ok(stored) = self.storage(address, slot);
        self.cached(address).words.insert(slot, Word { stored, now });
    }

    /// Forgets all words of an account, for a simulation; the result must not be written.
    pub(crate) fn forget_storage(&mut self, address: Address) {
        let cached = self.cached(address);
        cached.words.clear();
        cached.stored = Stored::default();
    }

    /// Puts an account where none was, for block 0.
    pub(crate) fn found(&mut self, address: Address, account: &GenesisAccount) {
        let code = bytecode(account.code.clone());
        let code_hash = code.hash_slow();
        let cached = self.cached(address);
        let has_words = account.storage.values().any(|word| !word.is_zero());
        if code.is_empty() && has_words {
            cached.incarnation = INCARNATION_ONLY_STORAGE;
        }
        cached.now = Some(AccountInfo::new(account.balance, account.nonce, code_hash, code));
        for (slot, now) in &account.storage {
            cached.words.insert(*slot, Word { stored: U256::ZERO, now: *now });
        }
    }
}

impl BlockCache<'_, &mut Transaction<'_>> {
    /// Writes what differs from the store and gives the state root, zero when the chain keeps none.
    pub(crate) fn write(self, mode: StateRoot) -> B256 {
        let Self { source: tx, maps, accounts, .. } = self;
        let mut hashed = Vec::new();
        for (address, cached) in &accounts {
            let mut new = cached.to_store();
            let words_changed = write_words(tx, maps, *address, cached);
            if mode == StateRoot::Mpt && words_changed {
                let address_hash = keccak256(address);
                let owner = Owner::Storage { address_hash, incarnation: cached.incarnation };
                let root = trie::update(&mut (&mut *tx, maps.trie), owner, word_leaves(cached));
                if let Some(record) = &mut new.record {
                    record.storage_root = root;
                }
            }
            if new == cached.stored {
                continue;
            }
            write_code(tx, maps, cached);
            match new.encode() {
                Some(bytes) => tx.put(maps.accounts, address.as_slice(), bytes),
                None => tx.remove(maps.accounts, address.as_slice()),
            }
            if mode == StateRoot::Mpt {
                hashed.push((keccak256(address), new.record.map(|record| account_leaf(&record))));
            }
        }
        match mode {
            StateRoot::Off => B256::ZERO,
            StateRoot::Mpt => {
                hashed.sort_unstable_by_key(|(hash, _)| *hash);
                trie::update(&mut (tx, maps.trie), Owner::Accounts, hashed)
            }
        }
    }
}

/// Writes the words that changed; whether there were any.
fn write_words(
    tx: &mut Transaction<'_>,
    maps: &EvmMaps,
    address: Address,
    cached: &Cached,
) -> bool {
    let mut changed = false;
    for (slot, word) in cached.changed_words() {
        changed = true;
        let key = StorageKey::new(address, cached.incarnation, *slot);
        if word.now.is_zero() {
            tx.remove(maps.storage, key.as_slice());
        } else {
            tx.put(maps.storage, key.as_slice(), word.now.to_be_bytes_trimmed_vec());
        }
    }
    changed
}

fn write_code(tx: &mut Transaction<'_>, maps: &EvmMaps, cached: &Cached) {
    let Some(info) = &cached.now else { return };
    let had = cached
        .stored
        .record
        .map_or_else(|| AccountRecord::default().code_hash, |record| record.code_hash);
    if info.code_hash == had || info.code_hash.is_zero() {
        return;
    }
    let Some(code) = &info.code else { return };
    if !code.is_empty() && tx.get(maps.code, info.code_hash.as_slice()).is_none() {
        tx.put(maps.code, info.code_hash.as_slice(), code.original_byte_slice().to_vec());
    }
}

fn word_leaves(cached: &Cached) -> Vec<(B256, Option<Vec<u8>>)> {
    let leaf = |word: &Word| (!word.now.is_zero()).then(|| alloy_rlp::encode(word.now));
    let mut leaves: Vec<_> = cached
        .changed_words()
        .map(|(slot, word)| (keccak256(slot.to_be_bytes::<32>()), leaf(word)))
        .collect();
    leaves.sort_unstable_by_key(|(hash, _)| *hash);
    leaves
}

fn account_leaf(record: &AccountRecord) -> Vec<u8> {
    alloy_rlp::encode(TrieAccount {
        nonce: record.nonce,
        balance: record.balance,
        storage_root: record.storage_root,
        code_hash: record.code_hash,
    })
}

/// Code in the interpreter's form. Bytes that only look like a delegation (EIP-7702) are plain code.
pub(crate) fn bytecode(code: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}

impl<S: StateRead> Database for BlockCache<'_, S> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.cached(address).now.clone())
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code);
        }
        let code = bytecode(super::code_by_hash(&mut self.source, self.maps, hash));
        self.codes.insert(hash, &code);
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let Self { source, maps, accounts, .. } = self;
        let cached = accounts
            .entry(address)
            .or_insert_with(|| Cached::new(super::stored_account(source, maps, address)));
        if let Some(word) = cached.words.get(&slot) {
            return Ok(word.now);
        }
        if cached.is_fresh() {
            return Ok(U256::ZERO);
        }
        let stored = super::word(source, maps, address, cached.incarnation, slot);
        cached.words.insert(slot, Word { stored, now: stored });
        Ok(stored)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(super::block_hash(&mut self.source, self.maps, number).unwrap_or_default())
    }
}

/// Most code that is kept analysed, in bytes: some four thousand contracts of the usual size.
const CODE_CACHE_BYTES_MAX: usize = 64 << 20;

//! Recorded public blocks as a genesis and a list of raw transactions.
//!
//! Each input file holds a block with full transactions and every account and slot it reads. Merging the pre-states
//! gives a genesis on which the original signed transactions can be sent to any node: chain id 1, base fee 0, all
//! forks to Cancun from the start. The first block that names an account or a slot decides its value, so where two
//! blocks touch one sender some later transactions meet a nonce gap; that is for the node under test to refuse.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use alloy_consensus::{
    EthereumTxEnvelope, SignableTransaction as _, TxEip1559, TxEip2930, TxEip4844, TxLegacy,
};
use alloy_eips::{
    Encodable2718 as _,
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U64, U256, hex};
use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::args::MainnetArgs;

/// What was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MainnetReport {
    /// Block numbers used, in order.
    pub blocks: Vec<u64>,
    /// Accounts in the genesis.
    pub accounts: usize,
    /// Storage slots in the genesis.
    pub slots: usize,
    /// Transactions written.
    pub transactions: usize,
    /// Transactions left out, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// Reads the blocks, writes the genesis and the transactions.
///
/// # Errors
/// When a file cannot be read or written, or a block does not have the expected form. A transaction whose re-encoding
/// does not give its hash is skipped and counted.
pub fn prepare(args: &MainnetArgs) -> anyhow::Result<MainnetReport> {
    let mut merged = Merged::default();
    let mut skipped = BTreeMap::new();
    let mut transactions = 0;
    let mut nonces = Nonces::default();
    let out = File::create(&args.transactions)
        .with_context(|| format!("creating {}", args.transactions.display()))?;
    let mut out = BufWriter::new(out);
    let files = block_files(args)?;
    for (number, path) in &files {
        let recorded = read_block(path)?;
        merged.add(recorded.pre, &recorded.codes).with_context(|| format!("block {number}"))?;
        writeln!(out, "# block {number}")?;
        for transaction in recorded.block.transactions {
            let in_turn = nonces.in_turn(&merged, &transaction);
            match encode(&transaction) {
                Ok(_) if args.without_gaps && !in_turn => {
                    *skipped.entry(OUT_OF_TURN.to_owned()).or_default() += 1;
                }
                Ok(raw) => {
                    writeln!(out, "{} {:#x}", hex::encode_prefixed(raw), transaction.from)?;
                    transactions += 1;
                }
                Err(reason) => *skipped.entry(reason).or_default() += 1,
            }
        }
    }
    out.flush().with_context(|| format!("writing {}", args.transactions.display()))?;
    let genesis = merged.genesis(args.gas_limit);
    fs::write(&args.genesis, genesis.to_string())
        .with_context(|| format!("writing {}", args.genesis.display()))?;
    Ok(MainnetReport {
        blocks: files.into_iter().map(|(number, _)| number).collect(),
        accounts: merged.0.len(),
        slots: merged.0.values().map(|account| account.storage.len()).sum(),
        transactions,
        skipped,
    })
}

impl MainnetReport {
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} transactions of {} blocks; genesis with {} accounts and {} slots\n",
            self.transactions,
            self.blocks.len(),
            self.accounts,
            self.slots
        );
        for (reason, count) in &self.skipped {
            writeln!(text, "skipped {count}: {reason}").expect("writing to a string does not fail");
        }
        text
    }
}

/// The chosen files in block order.
fn block_files(args: &MainnetArgs) -> anyhow::Result<Vec<(u64, PathBuf)>> {
    let entries =
        fs::read_dir(&args.data).with_context(|| format!("reading {}", args.data.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(number) = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok()) else {
            continue;
        };
        if args.blocks.is_empty() || args.blocks.contains(&number) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    ensure!(!files.is_empty(), "no block file in {}", args.data.display());
    for wanted in &args.blocks {
        ensure!(files.iter().any(|(number, _)| number == wanted), "block {wanted} is not there");
    }
    Ok(files)
}

fn read_block(path: &Path) -> anyhow::Result<Recorded> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    serde_json::from_reader(BufReader::new(GzDecoder::new(file)))
        .with_context(|| format!("reading {}", path.display()))
}

#[derive(Debug, Deserialize)]
struct Recorded {
    block: RecordedBlock,
    pre: BTreeMap<Address, RecordedAccount>,
    #[serde(default)]
    codes: BTreeMap<String, Bytes>,
}

#[derive(Debug, Deserialize)]
struct RecordedBlock {
    transactions: Vec<RecordedTransaction>,
}

#[derive(Debug, Deserialize)]
struct RecordedAccount {
    balance: U256,
    nonce: u64,
    #[serde(default)]
    code_hash: Option<B256>,
    #[serde(default)]
    storage: BTreeMap<U256, U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedTransaction {
    hash: B256,
    from: Address,
    nonce: U64,
    #[serde(default)]
    to: Option<Address>,
    value: U256,
    gas: U64,
    input: Bytes,
    v: U64,
    r: U256,
    s: U256,
    #[serde(default, rename = "type")]
    kind: U64,
    #[serde(default)]
    gas_price: Option<U256>,
    #[serde(default)]
    max_fee_per_gas: Option<U256>,
    #[serde(default)]
    max_priority_fee_per_gas: Option<U256>,
    #[serde(default)]
    chain_id: Option<U64>,
    #[serde(default)]
    access_list: Vec<RecordedAccess>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedAccess {
    address: Address,
    storage_keys: Vec<B256>,
}

/// The merged pre-state.
#[derive(Debug, Default)]
struct Merged(BTreeMap<Address, MergedAccount>);

#[derive(Debug)]
struct MergedAccount {
    balance: U256,
    nonce: u64,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

impl Merged {
    /// Adds what is not there yet.
    fn add(
        &mut self,
        pre: BTreeMap<Address, RecordedAccount>,
        codes: &BTreeMap<String, Bytes>,
    ) -> anyhow::Result<()> {
        for (address, account) in pre {
            let code = match account.code_hash {
                Some(hash) if hash != alloy_primitives::KECCAK256_EMPTY && hash != B256::ZERO => {
                    codes
                        .get(&hex::encode(hash))
                        .with_context(|| format!("the code of {address} is missing"))?
                        .clone()
                }
                _ => Bytes::new(),
            };
            let merged = self.0.entry(address).or_insert(MergedAccount {
                balance: account.balance,
                nonce: account.nonce,
                code,
                storage: BTreeMap::new(),
            });
            for (slot, value) in account.storage {
                merged.storage.entry(slot).or_insert(value);
            }
        }
        Ok(())
    }

    /// The genesis in geth's form.
    fn genesis(&self, gas_limit: u64) -> Value {
        let alloc: serde_json::Map<String, Value> = self
            .0
            .iter()
            .map(|(address, account)| {
                let mut entry = json!({
                    "balance": format!("{:#x}", account.balance),
                    "nonce": format!("{:#x}", account.nonce),
                });
                if !account.code.is_empty() {
                    entry["code"] = json!(account.code);
                }
                let storage: serde_json::Map<String, Value> = account
                    .storage
                    .iter()
                    .filter(|(_, value)| !value.is_zero())
                    .map(|(slot, value)| (B256::from(*slot).to_string(), json!(B256::from(*value))))
                    .collect();
                if !storage.is_empty() {
                    entry["storage"] = storage.into();
                }
                (format!("{address:#x}"), entry)
            })
            .collect();
        json!({
            "config": fork_schedule(),
            "nonce": "0x0",
            "timestamp": "0x0",
            "extraData": "0x",
            "gasLimit": format!("{gas_limit:#x}"),
            "difficulty": "0x0",
            "mixHash": B256::ZERO,
            "coinbase": Address::ZERO,
            "number": "0x0",
            "gasUsed": "0x0",
            "parentHash": B256::ZERO,
            "baseFeePerGas": "0x0",
            "alloc": alloc,
        })
    }
}

/// The nonce each sender has once the transactions seen so far are included.
#[derive(Debug, Default)]
struct Nonces(BTreeMap<Address, u64>);

impl Nonces {
    /// Whether `transaction` has the nonce that is next for its sender; if so, the following one is next.
    fn in_turn(&mut self, merged: &Merged, transaction: &RecordedTransaction) -> bool {
        let first = merged.0.get(&transaction.from).map_or(0, |account| account.nonce);
        let next = self.0.entry(transaction.from).or_insert(first);
        let in_turn = transaction.nonce.to::<u64>() == *next;
        *next += u64::from(in_turn);
        in_turn
    }
}

/// Chain id 1 with every fork to Cancun active from the start.
fn fork_schedule() -> Value {
    let mut config = json!({
        "chainId": 1,
        "terminalTotalDifficulty": 0,
        "terminalTotalDifficultyPassed": true,
        "shanghaiTime": 0,
        "cancunTime": 0,
    });
    for fork in [
        "homestead",
        "eip150",
        "eip155",
        "eip158",
        "byzantium",
        "constantinople",
        "petersburg",
        "istanbul",
        "muirGlacier",
        "berlin",
        "london",
        "arrowGlacier",
        "grayGlacier",
    ] {
        config[format!("{fork}Block")] = json!(0);
    }
    config
}

/// The EIP-2718 bytes, or why there are none.
fn encode(transaction: &RecordedTransaction) -> Result<Vec<u8>, String> {
    let envelope = envelope(transaction).map_err(|error| error.to_string())?;
    if *envelope.tx_hash() != transaction.hash {
        return Err("re-encoding gives another hash".to_owned());
    }
    Ok(envelope.encoded_2718())
}

fn envelope(recorded: &RecordedTransaction) -> anyhow::Result<EthereumTxEnvelope<TxEip4844>> {
    let price = |price: Option<U256>| -> anyhow::Result<u128> {
        price.context("a price is missing")?.try_into().ok().context("a price above 128 bits")
    };
    let (v, nonce, gas_limit) = (recorded.v.to::<u64>(), recorded.nonce.to(), recorded.gas.to());
    let to = recorded.to.map_or(TxKind::Create, TxKind::Call);
    let (value, input) = (recorded.value, recorded.input.clone());
    let chain_id = recorded.chain_id.map_or(1, |id| id.to());
    let typed_signature = || Signature::new(recorded.r, recorded.s, v & 1 == 1);
    Ok(match recorded.kind.to::<u64>() {
        0 => {
            // EIP-155: v = 35 + parity + 2 × chain id; before it 27 + parity.
            let (chain_id, parity) = match v {
                27 | 28 => (None, v == 28),
                35.. => (Some((v - 35) / 2), (v - 35) % 2 == 1),
                _ => bail!("a legacy signature with v = {v}"),
            };
            let gas_price = price(recorded.gas_price)?;
            let transaction = TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input };
            transaction.into_signed(Signature::new(recorded.r, recorded.s, parity)).into()
        }
        1 => TxEip2930 {
            chain_id,
            nonce,
            gas_price: price(recorded.gas_price)?,
            gas_limit,
            to,
            value,
            access_list: access_list(&recorded.access_list),
            input,
        }
        .into_signed(typed_signature())
        .into(),
        2 => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: price(recorded.max_fee_per_gas)?,
            max_priority_fee_per_gas: price(recorded.max_priority_fee_per_gas)?,
            to,
            value,
            access_list: access_list(&recorded.access_list),
            input,
        }
        .into_signed(typed_signature())
        .into(),
        kind => bail!("transaction type {kind}"),
    })
}

fn access_list(recorded: &[RecordedAccess]) -> AccessList {
    AccessList(
        recorded
            .iter()
            .cloned()
            .map(|RecordedAccess { address, storage_keys }| AccessListItem {
                address,
                storage_keys,
            })
            .collect(),
    )
}

const SUFFIX: &str = ".json.gz";
const OUT_OF_TURN: &str = "its nonce is not the sender's next";

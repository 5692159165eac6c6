//! The interpreter alone, to hold a node's figures against:
//! `cargo run --release -p coco-evm --example raw-revm -- GENESIS.json TXS.txt [--time SECONDS] [--json]`.
//!
//! The state of a genesis in geth's format is put into revm's own in-memory database. Raw signed transactions, one per
//! line in hexadecimal, are decoded and their senders recovered with the checks of a node's edge; then they are
//! executed in their order by one interpreter, each committed to that database. It is all on one thread. The recovery
//! and the execution are measured apart; reading the files and loading the genesis are not measured.
//!
//! Blocks are filled to the chain's gas limit: a transaction that may use more than is left opens the next one. All of
//! them have the same timestamp (`--time`; now, unless given), base fee 0 and PREVRANDAO 0.
//!
//! Absent: store, ledger, consensus, network, receipts, headers, state roots, system calls (EIP-2935, EIP-4788), real
//! block hashes. A contract that reads BLOCKHASH sees one that revm makes up from the number, and may use other gas than
//! on a node. A transaction that cannot be executed is counted and forgotten; a pool might have kept it for later.
//!
//! In the file of transactions, lines that begin with `#` and empty ones are passed over. A second word on a line is
//! the sender that has to be found.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env,
    error::Error,
    fmt::{self, Display},
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use alloy_consensus::{Transaction as _, Typed2718 as _};
use alloy_eips::eip7702::{RecoveredAuthority, RecoveredAuthorization};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use coco_evm::{
    block::PooledTx,
    executor::warm_up,
    genesis::{ChainConfig, Genesis},
    transaction::{EvmCheck, Unprotected},
};
use revm::{
    Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainnetEvm,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    context_interface::{
        block::BlobExcessGasAndPrice,
        either::Either,
        result::{EVMError, ExecutionResult},
    },
    database::{CacheDB, EmptyDB},
    handler::MainnetContext,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use serde::Serialize;

type Database = CacheDB<EmptyDB>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(env::args().skip(1))?;
    let genesis = Genesis::parse(&fs::read_to_string(&arguments.genesis)?)?;
    let lines = lines(&fs::read_to_string(&arguments.transactions)?)?;
    let database = load(&genesis);
    warm_up();
    let report = measure(&genesis, database, &lines, arguments.time)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

struct Arguments {
    genesis: String,
    transactions: String,
    /// Seconds since 1970.
    time: u64,
    json: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut files, mut time, mut json) = (Vec::new(), None, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => json = true,
                "--time" => time = Some(words.next().ok_or("--time needs seconds")?.parse()?),
                option if option.starts_with('-') => return Err(USAGE.into()),
                _ => files.push(word),
            }
        }
        let Ok([genesis, transactions]) = <[String; 2]>::try_from(files) else {
            return Err(USAGE.into());
        };
        let time = match time {
            Some(time) => time,
            None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        };
        Ok(Self { genesis, transactions, time, json })
    }
}

/// A line of the file of transactions.
struct Line {
    raw: Vec<u8>,
    /// Who signed it, if the file says so.
    sender: Option<Address>,
}

fn lines(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let raw = hex::decode(first).map_err(|error| format!("line {number}: {error}"))?;
        let sender = words.next().map(str::parse).transpose();
        let sender = sender.map_err(|error| format!("line {number}: sender: {error}"))?;
        lines.push(Line { raw, sender });
    }
    Ok(lines)
}

fn load(genesis: &Genesis) -> Database {
    let mut database = Database::default();
    for (address, account) in &genesis.alloc {
        let code = bytecode(&account.code);
        let info = AccountInfo::new(account.balance, account.nonce, code.hash_slow(), code);
        database.insert_account_info(*address, info);
        for (slot, word) in &account.storage {
            let Ok(()) = database.insert_account_storage(*address, *slot, *word);
        }
    }
    database
}

/// Code in the interpreter's form. Bytes that only look like a delegation (EIP-7702) are plain code.
fn bytecode(code: &Bytes) -> Bytecode {
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code.clone()))
}

fn measure(
    genesis: &Genesis,
    database: Database,
    lines: &[Line],
    time: u64,
) -> Result<Report, Box<dyn Error>> {
    let config = &genesis.config;
    let mut rejected = BTreeMap::new();

    let check = EvmCheck::new(Arc::new(config.clone()), Unprotected::Taken);
    let start = Instant::now();
    let decoded: Vec<_> = lines.iter().map(|line| check.decode(&line.raw)).collect();
    let recovery = start.elapsed();
    let mut transactions = Vec::with_capacity(decoded.len());
    for (line, decoded) in lines.iter().zip(decoded) {
        match decoded {
            Ok(found) if line.sender.is_some_and(|sender| sender != found.sender) => {
                return Err(format!("{}: the sender is {}", found.hash, found.sender).into());
            }
            Ok(transaction) => transactions.push(transaction),
            Err(refusal) => count(&mut rejected, &refusal),
        }
    }

    let mut execution = Execution::new(config, time, database);
    let start = Instant::now();
    for transaction in &transactions {
        execution.execute(transaction)?;
    }
    let elapsed = start.elapsed();
    for reason in &execution.rejected {
        count(&mut rejected, reason);
    }

    let executed = execution.succeeded + execution.reverted + execution.halted;
    Ok(Report {
        transactions: lines.len(),
        accounts: genesis.alloc.len(),
        rules: execution.spec.into(),
        time,
        blocks: execution.number,
        block_gas_limit: config.gas_limit,
        succeeded: execution.succeeded,
        reverted: execution.reverted,
        halted: execution.halted,
        executed,
        rejected,
        gas_used: execution.gas_used,
        recovery_seconds: recovery.as_secs_f64(),
        recoveries_per_second: rate(lines.len() as u64, recovery),
        execution_seconds: elapsed.as_secs_f64(),
        executed_per_second: rate(executed, elapsed),
        megagas_per_second: rate(execution.gas_used, elapsed) / 1e6,
        both_seconds: (recovery + elapsed).as_secs_f64(),
        both_per_second: rate(executed, recovery + elapsed),
    })
}

/// Counts a reason, numbers taken out of its text.
fn count(reasons: &mut BTreeMap<String, u64>, reason: &impl Display) {
    let text = reason.to_string();
    let words = text.split(' ').map(|word| {
        let is_number = word.starts_with(|first: char| first.is_ascii_digit());
        if is_number { "#" } else { word }
    });
    *reasons.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The interpreter, the block it is at, and what became of the transactions so far.
struct Execution<'a> {
    evm: MainnetEvm<MainnetContext<Database>>,
    config: &'a ChainConfig,
    spec: SpecId,
    time: u64,
    number: u64,
    block_gas_used: u64,
    gas_used: u64,
    succeeded: u64,
    reverted: u64,
    halted: u64,
    rejected: Vec<EVMError<Infallible>>,
}

impl<'a> Execution<'a> {
    fn new(config: &'a ChainConfig, time: u64, database: Database) -> Self {
        let spec = config.spec(FIRST_BLOCK, time);
        let mut cfg = CfgEnv::new_with_spec(spec);
        cfg.chain_id = config.chain_id;
        let context: MainnetContext<Database> =
            Context::<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()>::new(database, spec);
        let block = block_env(config, spec, FIRST_BLOCK, time);
        Self {
            evm: context.with_cfg(cfg).with_block(block).build_mainnet(),
            config,
            spec,
            time,
            number: FIRST_BLOCK,
            block_gas_used: 0,
            gas_used: 0,
            succeeded: 0,
            reverted: 0,
            halted: 0,
            rejected: Vec::new(),
        }
    }

    fn execute(&mut self, transaction: &PooledTx) -> Result<(), String> {
        let gas_left = self.config.gas_limit.saturating_sub(self.block_gas_used);
        if transaction.envelope.gas_limit() > gas_left && self.block_gas_used > 0 {
            self.open_next_block()?;
        }
        let result = match self.evm.transact_commit(transaction_env(transaction)) {
            Ok(result) => result,
            Err(reason) => {
                self.rejected.push(reason);
                return Ok(());
            }
        };
        let counter = match result {
            ExecutionResult::Success { .. } => &mut self.succeeded,
            ExecutionResult::Revert { .. } => &mut self.reverted,
            ExecutionResult::Halt { .. } => &mut self.halted,
        };
        *counter += 1;
        self.block_gas_used += result.tx_gas_used();
        self.gas_used += result.tx_gas_used();
        Ok(())
    }

    fn open_next_block(&mut self) -> Result<(), String> {
        self.number += 1;
        self.block_gas_used = 0;
        let spec = self.config.spec(self.number, self.time);
        if spec != self.spec {
            return Err(format!(
                "block {} has other rules ({spec} after {}): the genesis has to name one set for all",
                self.number, self.spec
            ));
        }
        self.evm.set_block(block_env(self.config, spec, self.number, self.time));
        Ok(())
    }
}

fn block_env(config: &ChainConfig, spec: SpecId, number: u64, time: u64) -> BlockEnv {
    let blobs = || BlobExcessGasAndPrice::new_with_spec(0, spec);
    BlockEnv {
        number: U256::from(number),
        beneficiary: config.beneficiary,
        timestamp: U256::from(time),
        gas_limit: config.gas_limit,
        basefee: 0,
        difficulty: U256::ZERO,
        prevrandao: (spec >= SpecId::MERGE).then_some(B256::ZERO),
        blob_excess_gas_and_price: (spec >= SpecId::CANCUN).then(blobs),
        slot_num: 0,
    }
}

fn transaction_env(transaction: &PooledTx) -> TxEnv {
    let envelope = &transaction.envelope;
    let authorizations = envelope.authorization_list().unwrap_or_default();
    let authorization_list =
        authorizations.iter().zip(&transaction.authorities).map(|(signed, authority)| {
            let authority =
                authority.map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
            let inner = signed.inner().clone();
            Either::Right(RecoveredAuthorization::new_unchecked(inner, authority))
        });
    TxEnv {
        tx_type: envelope.ty(),
        caller: transaction.sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        authorization_list: authorization_list.collect(),
        ..TxEnv::default()
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// Transactions in the file.
    transactions: usize,
    /// Accounts in the genesis.
    accounts: usize,
    /// The fork whose rules hold.
    rules: &'static str,
    /// Timestamp of all blocks, in seconds since 1970.
    time: u64,
    blocks: u64,
    block_gas_limit: u64,
    succeeded: u64,
    reverted: u64,
    /// Out of gas, or against a rule of the interpreter.
    halted: u64,
    /// Succeeded, reverted or halted.
    executed: u64,
    /// Not executed, by reason.
    rejected: BTreeMap<String, u64>,
    gas_used: u64,
    recovery_seconds: f64,
    /// All transactions of the file, decoded and recovered.
    recoveries_per_second: f64,
    execution_seconds: f64,
    executed_per_second: f64,
    megagas_per_second: f64,
    /// Recovery and execution, one after the other.
    both_seconds: f64,
    both_per_second: f64,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected: u64 = self.rejected.values().sum();
        writeln!(
            f,
            "{} transactions on {} accounts, rules of {}, time {}, {} blocks of {} gas",
            self.transactions,
            self.accounts,
            self.rules,
            self.time,
            self.blocks,
            self.block_gas_limit
        )?;
        writeln!(
            f,
            "recover    {:>8.0} tx/s on one thread ({:.3} s)",
            self.recoveries_per_second, self.recovery_seconds
        )?;
        writeln!(
            f,
            "execute    {:>8.0} tx/s, {:.1} Mgas/s ({:.3} s, {} gas)",
            self.executed_per_second,
            self.megagas_per_second,
            self.execution_seconds,
            self.gas_used
        )?;
        writeln!(
            f,
            "both       {:>8.0} tx/s, one after the other ({:.3} s)",
            self.both_per_second, self.both_seconds
        )?;
        writeln!(
            f,
            "executed   {:>8}: {} succeeded, {} reverted, {} halted",
            self.executed, self.succeeded, self.reverted, self.halted
        )?;
        write!(f, "rejected   {rejected:>8}")?;
        for (reason, count) in &self.rejected {
            write!(f, "\n{count:>19}  {reason}")?;
        }
        Ok(())
    }
}

const USAGE: &str = "usage: raw-revm GENESIS.json TXS.txt [--time SECONDS] [--json]";

const FIRST_BLOCK: u64 = 1;

//! The command line of `coco bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Measure an Ethereum JSON-RPC server, or prepare the transactions to measure it with.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// What to do instead of sending load.
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    /// The load to send.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Print the report as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The other things `coco bench` does.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// Make a genesis and a file of raw transactions from recorded public blocks.
    #[command(
        after_help = "Example:\n  coco bench mainnet --data recorded --genesis genesis.json --transactions raw.txt"
    )]
    Mainnet(MainnetArgs),
    /// Measure how many secp256k1 signatures a second this machine recovers.
    #[command(after_help = "Example:\n  coco bench recoveries --milliseconds 500")]
    Recoveries(RecoveriesArgs),
}

/// Where load goes, what it is made of and how fast it is sent.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// JSON-RPC address, `http://host:port/path`; repeat to spread connections over several servers.
    #[arg(long = "url", default_value = "http://127.0.0.1:8545")]
    pub urls: Vec<String>,
    /// Where to read blocks and receipts; by default the first `--url`.
    #[arg(long)]
    pub watch_url: Option<String>,
    /// What the transactions do.
    #[arg(long, value_enum, default_value = "transfers")]
    pub workload: Workload,
    /// Read signed transactions from this file instead of generating them.
    #[arg(long, value_name = "FILE", visible_alias = "file")]
    pub presigned: Option<PathBuf>,
    /// Write the signed transactions to this file, to be used again with `--presigned` on a chain in the same state.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Stop after signing and saving.
    #[arg(long, requires = "save")]
    pub sign_only: bool,
    /// How many transactions to generate (10,000 by default), or the most to take from the file (all by default).
    #[arg(long)]
    pub count: Option<usize>,
    /// How many accounts send; they are generated, and funded first from the well-known test accounts.
    #[arg(long, default_value_t = 200)]
    pub senders: usize,
    /// Another number gives other generated senders.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The envelope of generated transactions.
    #[arg(long, value_enum, default_value = "eip1559")]
    pub envelope: Envelope,
    /// Wei per gas offered; by default 0 where the base fee is 0, else twice `eth_gasPrice`.
    #[arg(long)]
    pub gas_price: Option<u128>,
    /// Wei sent by each generated transfer.
    #[arg(long, default_value_t = 1)]
    pub value: u64,
    /// Connections kept open; each has one request under way at a time.
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Transactions in one HTTP request: 1 sends single calls, more sends JSON-RPC batches.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// The method that submits.
    #[arg(long, value_enum, default_value = "async")]
    pub method: Method,
    /// Open loop: transactions a second, each sent at its appointed time. Without it the next request is sent as soon
    /// as the last is answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Closed loop: how many transactions one connection may run ahead of the slowest one.
    #[arg(long, default_value_t = 4096)]
    pub window: usize,
    /// How often to ask for a new block, in milliseconds: the resolution of receipt-visible latency.
    #[arg(long, default_value_t = 5)]
    pub poll_ms: u64,
    /// Give up on accepted transactions once no block has included one for this long, in seconds.
    #[arg(long, default_value_t = 10)]
    pub quiet_seconds: u64,
    /// Do not read every receipt back at the end (success and revert are then not counted).
    #[arg(long)]
    pub skip_receipts: bool,
    /// Give up reading receipts back after this long, in seconds (success and revert are then not counted).
    #[arg(long, default_value_t = 60)]
    pub receipts_seconds: u64,
    /// Process ids of the server, for processor time per transaction; separate by commas or repeat.
    #[arg(long = "pid", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Also measure signature recoveries a second on this machine, right after the load.
    #[arg(long)]
    pub recoveries: bool,
}

/// What generated transactions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Plain value transfers.
    Transfers,
    /// ERC-20 transfers on a token deployed first.
    Erc20,
    /// 60 % transfers, 30 % ERC-20 transfers, 5 % approvals, 5 % ERC-20 transfers that revert.
    Mixed,
}

/// How a transaction is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// `eth_sendRawTransaction`: answered with a hash; the receipt is looked for in blocks.
    Async,
    /// `eth_sendRawTransactionSync` (EIP-7966): answered with the receipt.
    Sync,
}

/// The envelope of generated transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Envelope {
    /// Legacy with chain id (EIP-155).
    Legacy,
    /// Type 2.
    Eip1559,
}

/// Which recorded blocks to use and where the results go.
#[derive(Debug, Clone, Args)]
pub struct MainnetArgs {
    /// Folder of `NUMBER.json.gz` files: a block with complete pre-state each.
    #[arg(long)]
    pub data: PathBuf,
    /// Only these block numbers; by default every file of the folder.
    #[arg(long, value_delimiter = ',')]
    pub blocks: Vec<u64>,
    /// Gas limit of the genesis block.
    #[arg(long, default_value_t = 30_000_000)]
    pub gas_limit: u64,
    /// Leave out transactions that can never be included, because an earlier one of their sender is not among the
    /// blocks.
    #[arg(long)]
    pub without_gaps: bool,
    /// Where to write the merged genesis (geth's JSON).
    #[arg(long)]
    pub genesis: PathBuf,
    /// Where to write the raw transactions, one a line.
    #[arg(long)]
    pub transactions: PathBuf,
}

/// How to measure signature recovery.
#[derive(Debug, Clone, Args)]
pub struct RecoveriesArgs {
    /// How long to measure each of the two figures, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    pub milliseconds: u64,
}

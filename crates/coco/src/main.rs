//! `coco`: one binary for a development network, a node, the auditor's tools and the load generator.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's answer is its output")]

mod commands;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use commands::{dev, ledger, node, receipt};

const _: () = assert!(
    !coco_planted::COMPILED_IN,
    "this binary ships: bugs are planted for the simulator only"
);

/// A confidential consortium ledger: run a network, run a node, check what it wrote.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a development network of real node processes on this machine
    Dev(dev::DevArgs),
    /// Run one node from its configuration
    Node(node::NodeArgs),
    /// Check and read ledger files offline
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Fetch receipts and check them offline
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Put load on any Ethereum JSON-RPC endpoint and measure it
    Bench(Box<coco_bench::BenchArgs>),
}

/// What a command ends with, apart from success.
#[derive(Debug)]
enum Failure {
    /// Something failed: exit code 1.
    Failed(anyhow::Error),
    /// What was checked does not verify: exit code 7.
    DoesNotVerify(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Exit code of everything that does not verify.
const DOES_NOT_VERIFY: u8 = 7;
/// How long the end waits for its last words to be taken.
const COMPLAINT_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Dev(arguments) => dev::run(&arguments).map_err(Failure::from),
        Command::Node(arguments) => node::run(&arguments).map_err(Failure::from),
        Command::Ledger(command) => ledger::run(&command),
        Command::Receipt(command) => receipt::run(&command),
        Command::Bench(arguments) => bench(*arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            complain(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
        Err(Failure::DoesNotVerify(error)) => {
            complain(format!("does not verify: {error:#}"));
            ExitCode::from(DOES_NOT_VERIFY)
        }
    }
}

/// Says what went wrong. A standard error that nobody reads must not keep a broken node from ending.
fn complain(text: String) {
    let (said, is_said) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        eprintln!("{text}");
        // Nobody waits any more when this came too late.
        let _is_heard = said.send(()).is_ok();
    });
    let _is_said = is_said.recv_timeout(COMPLAINT_TIME).is_ok();
}

fn bench(arguments: coco_bench::BenchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let json = arguments.json;
    let report = runtime.block_on(coco_bench::run(arguments)).map_err(Failure::Failed)?;
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

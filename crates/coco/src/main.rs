//! `coco`: one binary for a development network, a node, members, auditors and the load generator.

#![expect(clippy::print_stderr, reason = "errors and questions are for people")]

mod codes;
mod commands;
mod contexts;
mod device;
mod fault;
mod files;
mod here;
mod key_place;
mod nodes;
mod output;
mod seen;
mod session;
mod signing;
mod usage;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

use codes::Code;
use commands::{
    completions, context, dev, doctor, explain, keys, ledger, man, member, network, node, proposal,
    receipt, shares, status, user,
};
use fault::Fault;
use output::{Output, out, outln};

const _: () = assert!(
    !coco_planted::COMPILED_IN,
    "this binary ships: bugs are planted for the simulator only"
);

/// A confidential consortium ledger: run a network, govern it, check what it wrote.
#[derive(Debug, Parser)]
#[command(name = "coco", version, arg_required_else_help = true)]
struct Arguments {
    /// How results and errors are printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = usage::OUTPUT,
        hide_possible_values = true
    )]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a development network of real node processes on this machine
    #[command(after_help = "Example:\n  coco dev --nodes 3 --ephemeral")]
    Dev(dev::DevArgs),
    /// One node, its settings, and what nodes say of themselves
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Show a network on one screen: service, nodes, commit, and what waits for you
    #[command(after_help = "Examples:\n  coco status\n  coco status --url http://127.0.0.1:8545")]
    Status(status::StatusArgs),
    /// Say what is wrong with a network, or soon will be, and what to do about it
    #[command(
        after_help = "Examples:\n  coco doctor\n  coco doctor --config node.toml\n  coco doctor --config node.toml --offline"
    )]
    Doctor(doctor::DoctorArgs),
    /// The networks that you work with
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Networks as a whole
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// The members who govern
    Member(member::MemberArgs),
    /// The participants, who use the service
    User(user::UserArgs),
    /// What members decide
    Proposal(proposal::ProposalArgs),
    /// The keys of members
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Bring a lost service back with the shares of its members
    Shares(shares::SharesArgs),
    /// Check and read ledger files offline
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Fetch receipts and check them offline
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Put load on any Ethereum JSON-RPC endpoint and measure it
    #[command(after_help = "Example:\n  coco bench --url http://127.0.0.1:8545 --json")]
    Bench(Box<coco_bench::BenchArgs>),
    /// Say what an error code means, and what to do
    #[command(after_help = "Example:\n  coco explain COCO-2006")]
    Explain(explain::ExplainArgs),
    /// Print what a shell completes command lines with
    #[command(
        after_help = "Example:\n  coco completions bash > ~/.local/share/bash-completion/completions/coco"
    )]
    Completions(completions::CompletionsArgs),
    /// Write manual pages
    #[command(after_help = "Example:\n  coco man --out /usr/local/share/man/man1")]
    Man(man::ManArgs),
}

/// What a command ends with, apart from success.
#[derive(Debug)]
enum Failure {
    /// Something failed: exit code 1, or that of the fault within.
    Failed(anyhow::Error),
    /// What was checked does not verify: exit code 7.
    DoesNotVerify(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(error) => match error.downcast::<Self>() {
                Ok(fault) => fault,
                Err(error) => Self::new(Code::Failed, format!("{error:#}")),
            },
            Failure::DoesNotVerify(error) => Self::new(Code::DoesNotVerify, format!("{error:#}")),
        }
    }
}

/// How long the end waits for its last words to be taken.
const COMPLAINT_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let Arguments { output, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return not_understood(&error),
    };
    match run(command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let fault = Fault::from(failure);
            complain(fault.text(output));
            ExitCode::from(fault.exit() as u8)
        }
    }
}

/// Ends where the command line says nothing that can be done: it asks for help, or is wrong.
fn not_understood(error: &clap::Error) -> ExitCode {
    let Some(fault) = usage::fault(error) else { error.exit() };
    let output = usage::output(std::env::args_os(), std::env::var_os(usage::OUTPUT));
    complain(fault.text(output));
    ExitCode::from(fault.exit() as u8)
}

fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Dev(arguments) => Ok(dev::run(&arguments)?),
        Command::Node(command) => node::run(&command, output),
        Command::Status(arguments) => Ok(status::run(&arguments, output)?),
        Command::Doctor(arguments) => Ok(doctor::run(&arguments, output)?),
        Command::Context(command) => Ok(context::run(&command, output)?),
        Command::Network(command) => Ok(network::run(&command, output)?),
        Command::Member(arguments) => Ok(member::run(&arguments, output)?),
        Command::User(arguments) => Ok(user::run(&arguments, output)?),
        Command::Proposal(arguments) => Ok(proposal::run(&arguments, output)?),
        Command::Shares(arguments) => shares::run(&arguments, output),
        Command::Keys(command) => Ok(keys::run(&command, output)?),
        Command::Ledger(command) => ledger::run(&command, output),
        Command::Receipt(command) => receipt::run(&command),
        Command::Bench(arguments) => bench(*arguments),
        Command::Explain(arguments) => Ok(explain::run(&arguments, output)?),
        Command::Completions(arguments) => Ok(completions::run(&arguments, Arguments::command())?),
        Command::Man(arguments) => Ok(man::run(&arguments, Arguments::command())?),
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
        outln!("{}", report.json());
    } else {
        out!("{}", report.text());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of a command and of those below it, each with the command that shows it.
    fn examples(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in shown.lines().filter(|line| line.trim_start().starts_with("coco ")) {
            found.push((path.to_owned(), line.trim().to_owned()));
        }
        if !command.has_subcommands() {
            let has_example = found.iter().any(|(of, line)| of == path && line.starts_with(path));
            assert!(has_example, "{path} shows no example of itself");
        }
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            examples(below, &format!("{path} {}", below.get_name()), found);
        }
    }

    /// The words of a command line, without what a shell does for itself.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" > ").next().unwrap_or(line);
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, ' ') => words.push(std::mem::take(&mut word)),
                (_, c) => word.push(c),
            }
        }
        words.push(word);
        words
    }

    #[test]
    fn every_command_shows_an_example_that_is_understood() {
        Arguments::command().debug_assert();
        let mut found = Vec::new();
        examples(&Arguments::command(), "coco", &mut found);
        for (path, line) in &found {
            assert!(line.starts_with(path.as_str()), "{path} shows {line}");
            let read = Arguments::try_parse_from(words(line));
            assert!(
                read.is_ok(),
                "{line}: {}",
                read.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
        assert!(found.len() > 40, "{} examples", found.len());
    }

    #[test]
    fn completions_and_pages_are_made_of_every_command() {
        let mut script = Vec::new();
        let mut command = Arguments::command();
        clap_complete::generate(clap_complete::Shell::Bash, &mut command, "coco", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("add-member") && script.contains("--print-request"));
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command()).render(&mut page).unwrap();
        assert!(String::from_utf8(page).unwrap().contains("coco\\-proposal(1)"));
    }
}

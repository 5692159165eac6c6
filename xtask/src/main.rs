//! The workspace's chores, run as `cargo xtask <name>`.
//!
//! | name | does |
//! |---|---|
//! | `ci` | everything below, with formatting, lints and documentation; stops at the first failure |
//! | `chaos` | faults in real processes: `--list`, `--case NAME`, `--cases ci|all` |
//! | `model` | everything that the model of consensus can do: `--bound small` or `--bound large` |
//! | `sim` | simulated worlds: `--seeds N`, `--minutes M` or `--seed S`; `--planted all` plants known bugs |
//! | `replay` | steps through a simulated run: `--seed S` or `--log FILE`; `--diagram FILE` draws it |
//! | `reproduce` | builds the program from two folders and compares the files |
//! | `parts` | lists what is in the program, with versions, licences and digests (`CycloneDX`) |
//! | `supply-chain` | advisories, licences, refused crates and sources of what comes from others |
//! | `test` | all Rust tests, then the end-to-end tests that are there |
//! | `fuzz` | a decoder against the fuzzer: `--list`, or `TARGET --minutes M` |
//! | `layers` | every crate leans on lower floors only, and the lower floors know no operating system |
//! | `tidy` | what neither the compiler nor clippy looks at |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore's answer is its output")]

mod chaos;
mod ci;
mod fuzz;
mod git;
mod layers;
mod model;
mod parts;
mod reproduce;
mod sim;
mod source;
mod step;
mod supply_chain;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::bail;

use step::Counts;
use workspace::Workspace;

const USAGE: &str = "usage: cargo xtask ci | test | sim [--seeds N | --minutes M | --seed S] | \
     replay [--seed S | --log FILE] | model [--bound large] | \
     chaos [--list | --case NAME | --cases ci|all | --matrix] | layers | tidy | parts [FILE] | supply-chain | \
     reproduce [--profile P] [--package P] | fuzz --list | fuzz TARGET --minutes M";

/// Chores that take arguments.
const WITH_ARGUMENTS: [&str; 7] = ["chaos", "fuzz", "model", "parts", "replay", "reproduce", "sim"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match &arguments[..] {
        [name, rest @ ..] if rest.is_empty() || WITH_ARGUMENTS.contains(&name.as_str()) => {
            (name, rest)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    let is_counted = matches!(name.as_str(), "ci" | "test");
    let mut counts = Counts::default();
    let outcome = run(name, rest, &mut counts);
    if let Err(error) = &outcome {
        eprintln!("error: {error:#}");
        // What failed may be no test; it counts as one then.
        counts.failed += u64::from(is_counted && counts.failed == 0);
    }
    if is_counted {
        // The last line, which says to people and programs how it went.
        println!("{counts}");
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str, rest: &[String], counts: &mut Counts) -> anyhow::Result<()> {
    let workspace = Workspace::read()?;
    match name {
        "ci" => ci::run(&workspace, counts),
        "test" => test::run(&workspace, counts),
        "fuzz" => fuzz::run(&workspace, rest),
        "model" => model::run(&workspace, rest),
        "replay" => sim::replay(&workspace, rest),
        "reproduce" => reproduce::run(&workspace, rest),
        "sim" => sim::run(&workspace, rest),
        "chaos" => chaos::run(&workspace, rest),
        "parts" => parts::run(&workspace, rest),
        "supply-chain" => supply_chain::run(&workspace),
        "layers" => layers::run(&workspace),
        "tidy" => tidy::run(&workspace),
        unknown => bail!("there is no chore {unknown}; {USAGE}"),
    }
}

/// Prints what is wrong, and fails if anything is.
fn conclude(chore: &str, faults: &[String]) -> anyhow::Result<()> {
    for fault in faults {
        eprintln!("{chore}: {fault}");
    }
    match faults.len() {
        0 => {
            println!("{chore}: in order");
            Ok(())
        }
        1 => bail!("{chore}: 1 fault"),
        count => bail!("{chore}: {count} faults"),
    }
}

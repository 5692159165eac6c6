//! `coco-model`: exhausts the model within its bounds and says how large it is.

#![expect(clippy::print_stdout, reason = "a command's answer is its output")]

use anyhow::bail;
use clap::{Parser, ValueEnum};
use coco_model::{
    exhaust,
    model::{LARGE, Network, SMALL},
};

/// Looks at everything that a few nodes can do within a bound.
#[derive(Debug, Parser)]
struct Arguments {
    /// How much of it
    #[arg(long, value_enum, default_value = "small")]
    bound: Size,
    /// Threads that search
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    /// What every run of `ci` has time for
    Small,
    /// More entries, views and crashes
    Large,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let all = match arguments.bound {
        Size::Small => SMALL,
        Size::Large => LARGE,
    };
    let mut faults = 0;
    for (name, bounds) in all {
        let outcome = exhaust(Network::sound(bounds), usize::from(arguments.threads));
        println!(
            "{name}: {} states, {} of them different, at most {} actions in a row",
            outcome.states, outcome.unique, outcome.depth
        );
        for (promise, actions) in &outcome.broken {
            println!("broken: {promise}\n  {}", actions.join("\n  "));
        }
        for state in &outcome.never {
            println!("never: {state}");
        }
        faults += usize::from(!outcome.is_sound());
    }
    if faults > 0 {
        bail!("{faults} of {} searches failed", all.len());
    }
    Ok(())
}

//! `coco-chaos`: faults in real processes.
//!
//! Each case makes a network of five `coco node` processes, each in a network namespace of its own, puts load on it from
//! another namespace, does something to it, and has the checker judge what the clients saw. What the machine cannot do is
//! skipped with the reason. Everything that a run makes is gone when it ends, except the folder of a case that failed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's answer is its output")]

mod cases;
mod checker;
mod client;
mod counters;
mod dice;
mod history;
mod image;
mod interrupt;
mod lan;
mod leftovers;
mod load;
mod matrix;
mod member;
mod need;
mod network;
mod nodes_say;
mod packets;
mod proxy;
mod report;
mod scene;
mod sums;
mod tool;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use clap::Parser;

use cases::{Case, Set};
use dice::Dice;
use need::Machine;
use report::{Notes, Row, Verdict};
use scene::{Stage, Void};

/// Strikes real nodes under load, and judges what their clients saw.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this case; may be given several times
    #[arg(long)]
    case: Vec<String>,
    /// Run these cases
    #[arg(long, value_enum, default_value_t = Which::All, conflicts_with = "case")]
    cases: Which,
    /// Run every case so many times, each time with other choices
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// Fail when fewer cases passed: where nothing can run, nothing was shown
    #[arg(long, default_value_t = 0)]
    at_least: usize,
    /// List the cases and what they do
    #[arg(long)]
    list: bool,
    /// Run the storage crash matrix instead of cases
    #[arg(long, conflicts_with_all = ["case", "cases", "times"])]
    matrix: bool,
    /// Power cuts of the matrix
    #[arg(long, default_value_t = 600, requires = "matrix")]
    cuts: u32,
    /// Where choices come from; drawn when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Append a line for each case to docs/book/chaos.csv, and print what all its lines come to
    #[arg(long)]
    record: bool,
    /// The program `coco`; by default the one beside this program
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where the nodes live; by default below the folder for temporary files
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// What runs for every change
    Ci,
    /// All of them
    All,
}

/// The lines of all recorded runs, seen from the root of the repository.
const RECORD: &str = "docs/book/chaos.csv";
/// Most runs of each case that one command may ask for.
const TIMES_MAX: u64 = 1000;

/// Tells people what goes on.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.list {
        for case in cases::all() {
            let set = if case.set == Set::Ci { "ci" } else { "  " };
            println!("{set} {:22} {}", case.name, case.about);
        }
        return Ok(true);
    }
    ensure!((1..=TIMES_MAX).contains(&arguments.times), "--times may be 1 to {TIMES_MAX}");
    let cases = chosen(arguments)?;
    let this = std::env::current_exe()?;
    let program = arguments.program.clone().unwrap_or_else(|| this.with_file_name("coco"));
    ensure!(program.is_file(), "there is no program {}; build it first", program.display());
    let build = program.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    if arguments.record {
        report::check_columns(Path::new(RECORD))?;
    }
    interrupt::watch()?;
    let base = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    leftovers::sweep(&base);
    leftovers::sweep(Path::new(matrix::MEMORY));
    let folder = leftovers::run_folder(&base);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut dice = Dice::new(match arguments.seed {
        Some(seed) => seed,
        None => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?,
    });
    let mut machine = Machine::default();
    let mut rows = Vec::new();
    if arguments.matrix {
        let seed = dice.between(0, 999_999_999);
        let seed = arguments.seed.unwrap_or(seed);
        say(&format!("== storage crash matrix (seed {seed})"));
        rows = matrix::run(&program, &folder, arguments.cuts, seed, &mut machine);
        rows.iter().for_each(|row| println!("{}", row.text()));
    }
    let cases = if arguments.matrix { Vec::new() } else { cases };
    'all: for _ in 0..arguments.times {
        for case in &cases {
            if interrupt::is_asked() {
                break 'all;
            }
            let seed = arguments.seed.unwrap_or_else(|| dice.between(0, 999_999_999));
            let row = play(case, seed, &program, &folder, &mut machine);
            println!("{}", row.text());
            rows.push(row);
        }
    }
    let is_failed = |row: &Row| matches!(row.verdict, Verdict::Failed(_));
    if arguments.matrix && rows.iter().any(is_failed) {
        println!("what the nodes wrote: {}", keep(&folder, &base, "matrix")?.display());
    } else {
        // Folders of cases that failed have been moved away.
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    if arguments.record {
        report::record(Path::new(RECORD), &build, &rows)?;
    }
    let (text, is_well) = report::conclude(&rows, arguments.at_least);
    println!("{text}");
    if arguments.record {
        println!("for docs/book/chaos.md:\n{}", sums::text(&fs::read_to_string(RECORD)?)?);
    }
    Ok(is_well && !interrupt::is_asked())
}

fn chosen(arguments: &Arguments) -> anyhow::Result<Vec<Case>> {
    let all = cases::all();
    if arguments.case.is_empty() {
        let is_in = |case: &Case| arguments.cases == Which::All || case.set == Set::Ci;
        return Ok(all.into_iter().filter(is_in).collect());
    }
    let find = |name: &String| {
        let found = all.iter().find(|case| case.name == name);
        found.copied().with_context(|| format!("there is no case {name}; --list names them"))
    };
    arguments.case.iter().map(find).collect()
}

/// Runs one case in a thread of its own, which moves into the case's namespaces.
fn play(case: &Case, seed: u64, program: &Path, base: &Path, machine: &mut Machine) -> Row {
    let started = Instant::now();
    let mut notes = Notes::default();
    let verdict = match machine.lacks(case.needs, base) {
        Some(reason) => Verdict::Skipped(reason),
        None => {
            say(&format!("== {} (seed {seed}): {}", case.name, case.about));
            let folder = base.join(case.name);
            let outcome = std::thread::scope(|scope| {
                let playing = scope.spawn(|| {
                    fs::create_dir_all(&folder)?;
                    let dice = Dice::new(seed);
                    (case.play)(Stage { program, folder: &folder, dice, notes: &mut notes })
                });
                playing.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
            });
            conclude(outcome, case, &folder)
        }
    };
    Row { case: case.name, seed, notes, took: started.elapsed(), verdict }
}

/// What an outcome means; the folder of a failure is kept.
fn conclude(outcome: anyhow::Result<()>, case: &Case, folder: &Path) -> Verdict {
    let verdict = match outcome {
        Ok(()) => Verdict::Passed,
        Err(error) if error.is::<Void>() => Verdict::Void(format!("{error:#}")),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    let Verdict::Failed(reason) = verdict else {
        if let Err(error) = fs::remove_dir_all(folder) {
            say(&format!("cannot remove {}: {error}", folder.display()));
        }
        return verdict;
    };
    let base = folder.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Verdict::Failed(match keep(folder, base, case.name) {
        Ok(kept) => format!("{reason}\n    what the nodes wrote is in {}", kept.display()),
        Err(error) => format!("{reason}\n    what the nodes wrote cannot be kept: {error:#}"),
    })
}

/// Moves a folder to where nobody sweeps.
fn keep(folder: &Path, base: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let kept = base.join(format!("coco-chaos-failed-{name}-{nanos}"));
    fs::rename(folder, &kept)?;
    Ok(kept)
}

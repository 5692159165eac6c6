//! `coco-sim`: runs seeds and says what they reached.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command's answer is its output")]

mod counts;
mod figures;
mod hunt;
mod seeds;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write as _},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use coco_sim::{
    REQUIRED_OF_DRILLS, Report, drill, has_real_keys,
    marks::{Marks, REQUIRED},
    run, run_recorded,
};

use self::{
    figures::{Costs, thread_time},
    seeds::Seeds,
};

/// Runs simulated worlds, each from one seed. The same seed always gives the same run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Run so many seeds (100 unless bugs are planted)
    #[arg(long)]
    seeds: Option<u64>,
    /// Begin with this seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run as many seeds from this one on, too
    #[arg(long, conflicts_with_all = ["seed", "minutes", "planted"])]
    and_from: Option<u64>,
    /// Stop after so many minutes, whatever `--seeds` says
    #[arg(long)]
    minutes: Option<u64>,
    /// Plant known bugs, one after the other, and fail when one is not found: `all`, or names between commas
    #[arg(long, conflicts_with_all = ["seed", "minutes"])]
    planted: Option<String>,
    /// Write what happens in the run of `--seed` into this file. A seed that fails leaves one in any case
    #[arg(long, requires = "seed")]
    log: Option<PathBuf>,
    /// Append how often each fault fired and each rare state was reached to this file, as comma-separated values
    #[arg(long)]
    counts: Option<PathBuf>,
    /// Append what the run came to, and what its seeds cost, to this file, as comma-separated values
    #[arg(long)]
    figures: Option<PathBuf>,
    /// Write into this file which states each seed reaches, a line for each: to find a seed for a regression
    #[arg(long, conflicts_with = "planted")]
    states: Option<PathBuf>,
    /// Make drills: everything is lost, and members bring the service back
    #[arg(long, conflicts_with_all = ["planted", "log"])]
    drills: bool,
    /// Fail when a required state was not reached
    #[arg(long)]
    require_marks: bool,
}

/// Seeds of a run that says nothing else.
const SEEDS: u64 = 100;
/// Where logs of seeds that fail go.
const LOG_FOLDER: &str = "target/coco-sim";
/// Every so many seeds one is run twice, and must give the same digest.
const TWICE_EVERY: u64 = 100;
/// And with real keys every so many, of those with this remainder, which have them.
const TWICE_EVERY_WITH_KEYS: (u64, u64) = (500, 101);

#[derive(Default)]
struct Sum {
    seeds: u64,
    /// Seeds that failed; the run ends with the first.
    failures: u64,
    committed: usize,
    entries: usize,
    audited: usize,
    reads: usize,
    states: usize,
    simulated_us: u64,
    faults: BTreeMap<&'static str, u64>,
    marks: Marks,
    /// Processor time of each seed, and of those with doubles of keys.
    costs: Costs,
    quick_costs: Costs,
}

/// What becomes of a seed.
#[derive(Clone, Copy)]
enum Kind {
    World,
    Drill,
}

impl Kind {
    fn run(self, seed: u64) -> Report {
        match self {
            Self::World => run(seed),
            Self::Drill => drill(seed),
        }
    }

    /// What it takes to repeat one.
    const fn argument(self) -> &'static str {
        match self {
            Self::World => "",
            Self::Drill => " --drills",
        }
    }

    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::World => &REQUIRED,
            Self::Drill => &REQUIRED_OF_DRILLS,
        }
    }
}

/// What the threads share.
struct Shared {
    kind: Kind,
    seeds: Seeds,
    until: Option<Instant>,
    failed: AtomicBool,
    log: Option<PathBuf>,
    states: Option<Mutex<BufWriter<File>>>,
    sum: Mutex<Sum>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    if let Some(names) = &arguments.planted {
        return plant(names, arguments.from, arguments.seeds);
    }
    let (from, count) = match (arguments.seed, arguments.minutes) {
        (Some(seed), _) => (seed, 1),
        (None, Some(_)) => (arguments.from, u64::MAX),
        (None, None) => (arguments.from, arguments.seeds.unwrap_or(SEEDS)),
    };
    if let Some(and_from) = arguments.and_from {
        println!("{count} seeds from {from} on, and {count} from {and_from} on");
    }
    let until = arguments.minutes.map(|minutes| started + Duration::from_secs(minutes * 60));
    let states = match arguments.states.as_ref().map(File::create).transpose() {
        Ok(file) => file.map(|file| Mutex::new(BufWriter::new(file))),
        Err(error) => {
            eprintln!("error: cannot write what seeds reach: {error}");
            return ExitCode::FAILURE;
        }
    };
    let kind = if arguments.drills { Kind::Drill } else { Kind::World };
    let shared = Shared {
        kind,
        seeds: Seeds::new([from].into_iter().chain(arguments.and_from), count),
        until,
        failed: AtomicBool::new(false),
        log: arguments.log.clone(),
        states,
        sum: Mutex::default(),
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&shared, arguments.seed.is_some()));
        }
    });
    if let (Some(seed), Some(path)) = (arguments.seed, &shared.log)
        && !shared.failed.load(Ordering::Relaxed)
    {
        write_log(seed, path);
    }
    let has_failed = shared.failed.load(Ordering::Relaxed);
    let mut sum = shared.sum.into_inner().expect("no thread panics while it adds up");
    sum.failures = u64::from(has_failed);
    if let Some(path) = &arguments.counts
        && let Err(error) = counts::append(path, from, &sum)
    {
        eprintln!("error: cannot append to {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if let Some(path) = &arguments.figures
        && let Err(error) = figures::append(path, from, &sum)
    {
        eprintln!("error: cannot append to {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if has_failed {
        return ExitCode::FAILURE;
    }
    conclude(&sum, started, kind.required(), arguments.require_marks)
}

fn plant(names: &str, from: u64, seeds: Option<u64>) -> ExitCode {
    match hunt::named(names) {
        Ok(bugs) if hunt::hunt(&bugs, from, seeds) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs seeds until there are no more, the time is over, or one fails.
fn work(shared: &Shared, always_twice: bool) {
    while !shared.failed.load(Ordering::Relaxed)
        && shared.until.is_none_or(|until| Instant::now() < until)
    {
        let Some(seed) = shared.seeds.next() else { return };
        let started = thread_time();
        let times = if always_twice || is_run_twice(seed) { 2 } else { 1 };
        let runs = (0..times).map(|_| panic::catch_unwind(|| shared.kind.run(seed)));
        let Ok(reports) = runs.collect::<Result<Vec<_>, _>>() else {
            fail(shared, seed, "fails");
            return;
        };
        if reports.first() != reports.last() {
            fail(shared, seed, "gives two different runs");
            return;
        }
        if let (Some(states), Some(report)) = (&shared.states, reports.first()) {
            let reached: Vec<&str> = report.marks.iter().map(|(state, _)| state).collect();
            let mut states = states.lock().expect("nothing panics while it writes");
            if let Err(error) = writeln!(states, "{seed}: {}", reached.join("; ")) {
                eprintln!("error: cannot write what seed {seed} reaches: {error}");
            }
        }
        let cost = thread_time().saturating_sub(started) / times;
        let mut sum = shared.sum.lock().expect("no thread panics while it adds up");
        sum.costs.add(cost);
        if !has_real_keys(seed) {
            sum.quick_costs.add(cost);
        }
        reports.first().into_iter().for_each(|report| sum.add(report));
    }
}

/// Whether a seed's run is made twice, to see that it is the same again.
const fn is_run_twice(seed: u64) -> bool {
    let (every, with_keys) = TWICE_EVERY_WITH_KEYS;
    seed.is_multiple_of(TWICE_EVERY) || seed % every == with_keys
}

/// Says that a seed fails, and leaves a log of its run. The first one to fail does.
fn fail(shared: &Shared, seed: u64, how: &str) {
    if shared.failed.swap(true, Ordering::Relaxed) {
        return;
    }
    let kind = shared.kind.argument();
    eprintln!("seed {seed} {how}; repeat it with: cargo xtask sim{kind} --seed {seed}");
    if matches!(shared.kind, Kind::Drill) {
        return;
    }
    let path = Path::new(LOG_FOLDER).join(format!("seed-{seed}.jsonl"));
    let path = shared.log.as_ref().unwrap_or(&path);
    write_log(seed, path);
}

/// Makes a run again, and writes what happens in it.
fn write_log(seed: u64, path: &Path) {
    // What it fails with was said before, and stands in the log.
    panic::set_hook(Box::new(|_| {}));
    let (_, log) = run_recorded(seed, None);
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = fs::create_dir_all(folder).and_then(|()| File::create(path));
    match file.and_then(|file| log.write(&mut BufWriter::new(file))) {
        Ok(()) => {
            let path = path.display();
            eprintln!("its log is {path}; step through it with: cargo xtask replay --log {path}");
        }
        Err(error) => eprintln!("its log cannot be written to {}: {error}", path.display()),
    }
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.committed += report.committed;
        self.entries += report.entries;
        self.audited += report.audited;
        self.reads += report.reads;
        self.states += report.states;
        self.simulated_us += report.time_us;
        for (fault, acts) in &report.faults {
            *self.faults.entry(fault).or_default() += acts;
        }
        self.marks.merge(&report.marks);
    }
}

fn conclude(
    sum: &Sum,
    started: Instant,
    required: &[&'static str],
    require_marks: bool,
) -> ExitCode {
    println!(
        "{} seeds, {} transfers committed, {} entries, {} reads and {} states compared, {} receipts verified, {} simulated seconds in \
         {:.1} s",
        sum.seeds,
        sum.committed,
        sum.entries,
        sum.reads,
        sum.states,
        sum.audited,
        sum.simulated_us / 1_000_000,
        started.elapsed().as_secs_f64()
    );
    let (all, quick) = (&sum.costs, &sum.quick_costs);
    println!(
        "CPU seconds of a seed: median {:.3}, mean {:.3}, most {:.3}; with doubles of keys: median {:.3}, mean {:.3}",
        all.median(),
        all.mean(),
        all.most(),
        quick.median(),
        quick.mean()
    );
    for (fault, acts) in &sum.faults {
        println!("fault  {acts:8}  {fault}");
    }
    for (state, times) in sum.marks.iter() {
        println!("reached {times:7}  {state}");
    }
    let missing = sum.marks.missing(required);
    for state in &missing {
        println!("never            {state}");
    }
    if require_marks && !missing.is_empty() {
        eprintln!("{} required states were not reached", missing.len());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

//! Hunts planted bugs: each must be found within its number of seeds.

use std::{
    panic,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use coco_sim::{
    Planted,
    planted::{self, Known},
};

/// What a hunt came to.
struct Outcome {
    bug: Planted,
    budget: u64,
    found: Option<u64>,
    /// Runs that failed with something else.
    others: u64,
    seconds: f64,
    message: String,
}

/// The bugs that a command line means: `all`, or names between commas.
pub(crate) fn named(names: &str) -> Result<Vec<Known<Planted>>, String> {
    let known: Vec<_> = planted::all().collect();
    if names == "all" {
        return Ok(known);
    }
    let find = |name: &str| {
        let found = known.iter().find(|known| known.bug.name() == name).copied();
        let names: Vec<String> = known.iter().map(|known| known.bug.name()).collect();
        found.ok_or_else(|| {
            format!("this build can plant no bug {name}; it can plant: {}", names.join(", "))
        })
    };
    names.split(',').map(find).collect()
}

/// Looks for each bug in the seeds from `from` on, at most `seeds` where that is given. Says what it found; whether all
/// were found.
pub(crate) fn hunt(bugs: &[Known<Planted>], from: u64, seeds: Option<u64>) -> bool {
    // Bugs announce themselves by panics, which are told below in one line each.
    panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(known) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(known, from, seeds.unwrap_or(known.seeds));
                    println!("{}", outcome.line());
                    outcomes.lock().expect("nothing panics outside of runs").push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("nothing panics outside of runs");
    let missed = outcomes.iter().filter(|outcome| outcome.found.is_none()).count();
    println!("{} bugs planted, {} found", outcomes.len(), outcomes.len() - missed);
    missed == 0
}

fn one(known: &Known<Planted>, from: u64, budget: u64) -> Outcome {
    let started = Instant::now();
    let mut message = String::new();
    let mut others = 0;
    let found = (from..from.saturating_add(budget)).find(|seed| match known.is_found_by(*seed) {
        Ok(None) => false,
        Ok(Some(said)) => {
            message = said;
            true
        }
        Err(said) => {
            others += 1;
            message = said;
            false
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    Outcome { bug: known.bug, budget, found, others, seconds, message }
}

impl Outcome {
    fn line(&self) -> String {
        let Self { bug, budget, found, others, seconds, message } = self;
        let name = bug.name();
        match found {
            Some(seed) => format!("{name}: found by seed {seed} in {seconds:.1} s: {message}"),
            None if *others > 0 => format!(
                "{name}: NOT FOUND in {budget} seeds, {seconds:.1} s; {others} failed with something else, the last with: {message}"
            ),
            None => format!("{name}: NOT FOUND in {budget} seeds, {seconds:.1} s"),
        }
    }
}

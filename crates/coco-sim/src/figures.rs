//! What a long run came to, as a line of a table that grows, and what its seeds cost.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    Sum,
    counts::{asked_git, commit},
};

const HEADER: &str = "date,commit,seeds,first_seed,failures,simulated_seconds,cpu_seconds,transfers_committed,entries,\
    reads_compared,clock,crash,failed_sync,partition,pause,slow_disk,transfer,messages_lost,messages_doubled,\
    states_compared,receipts_verified,cpu_median,cpu_mean,cpu_most,quick_cpu_median,quick_cpu_mean";

/// Faults that have a column.
const FAULTS: [&str; 7] =
    ["clock", "crash", "failed_sync", "partition", "pause", "slow_disk", "transfer"];

/// The time that this thread has had of a processor.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it only grows from zero")
}

/// What seeds cost, each in processor time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs(Vec<Duration>);

impl Costs {
    pub(crate) fn add(&mut self, cost: Duration) {
        self.0.push(cost);
    }

    fn sum(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64()
    }

    /// The middle one, or the lower of two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).map_or(0.0, Duration::as_secs_f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody runs so many seeds")]
    pub(crate) fn mean(&self) -> f64 {
        self.sum() / self.0.len().max(1) as f64
    }

    pub(crate) fn most(&self) -> f64 {
        self.0.iter().max().map_or(0.0, Duration::as_secs_f64)
    }
}

/// Appends what a run came to, after a line of names when the file is new.
pub(crate) fn append(path: &Path, first_seed: u64, sum: &Sum) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = String::new();
    if file.metadata()?.len() == 0 {
        text += HEADER;
        text.push('\n');
    }
    text += &line(first_seed, sum);
    file.write_all(text.as_bytes())
}

fn line(first_seed: u64, sum: &Sum) -> String {
    let date = asked_git(&["show", "--no-patch", "--format=%cs", "HEAD"]);
    let mark =
        |name| sum.marks.iter().find(|(mark, _)| *mark == name).map_or(0, |(_, times)| times);
    let fault = |name: &&str| sum.faults.get(name).copied().unwrap_or_default().to_string();
    let (all, quick) = (&sum.costs, &sum.quick_costs);
    let mut cells = vec![
        date,
        commit(),
        sum.seeds.to_string(),
        first_seed.to_string(),
        sum.failures.to_string(),
        (sum.simulated_us / 1_000_000).to_string(),
        format!("{:.0}", all.sum()),
        sum.committed.to_string(),
        sum.entries.to_string(),
        sum.reads.to_string(),
    ];
    cells.extend(FAULTS.iter().map(fault));
    cells.extend(
        [mark("a message was lost"), mark("a message arrived twice")].map(|n| n.to_string()),
    );
    cells.extend([sum.states.to_string(), sum.audited.to_string()]);
    let costs = [all.median(), all.mean(), all.most(), quick.median(), quick.mean()];
    cells.extend(costs.map(|seconds| format!("{seconds:.3}")));
    cells.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_name_and_the_book_has_these_names() {
        let names = HEADER.split(',').count();
        assert_eq!(line(7, &Sum::default()).trim_end().split(',').count(), names);
        let book = include_str!("../../../docs/book/simulator.csv");
        assert_eq!(book.lines().next(), Some(HEADER));
        assert!(book.lines().all(|line| line.split(',').count() == names));
    }

    #[test]
    fn the_median_is_the_middle_one_or_the_lower_of_two() {
        let mut costs = Costs::default();
        assert_eq!(costs.median().to_bits(), 0.0_f64.to_bits());
        for (ms, median) in [(400, 0.4), (100, 0.1), (200, 0.2)] {
            costs.add(Duration::from_millis(ms));
            assert!((costs.median() - median).abs() < 1e-9, "{ms}");
        }
    }
}

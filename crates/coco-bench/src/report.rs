//! What a run found, as JSON and as text.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

use crate::{mainnet::MainnetReport, process::ProcessTime, recover::Recoveries};

/// What [`run`](crate::run()) found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// Load was sent.
    Load(Box<LoadReport>),
    /// Transactions were signed and saved, none was sent.
    Signed(SignedReport),
    /// A genesis and a transaction file were made.
    Mainnet(MainnetReport),
    /// Only signature recovery was measured.
    Recoveries(Recoveries),
}

/// How a load run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Where load was sent.
    pub urls: Vec<String>,
    /// `web3_clientVersion` of the server.
    pub server: String,
    /// `eth_chainId`.
    pub chain_id: u64,
    /// What the load was: the workload's name or the file's.
    pub workload: String,
    /// The submitting method.
    pub method: &'static str,
    /// Connections used.
    pub connections: usize,
    /// Transactions in one request.
    pub batch: usize,
    /// Transactions a second asked for; none in a closed loop.
    pub rate: Option<f64>,
    /// Transactions put on a wire.
    pub submitted: usize,
    /// Of those, answered with a hash or a receipt.
    pub accepted: usize,
    /// Of those, named by a block and with a receipt.
    pub committed: usize,
    /// Committed with status 1; none when receipts were not read back.
    pub succeeded: Option<usize>,
    /// Committed with status 0; none when receipts were not read back.
    pub reverted: Option<usize>,
    /// Refusals and failures by message, numbers taken out.
    pub errors: BTreeMap<String, u64>,
    /// Blocks with at least one of the transactions.
    pub blocks: usize,
    /// Gas used by the transactions (by their blocks, when receipts were not read back).
    pub gas_used: u64,
    /// From the first submission to the last answer.
    pub submit_seconds: f64,
    /// From the first submission to the last receipt visible.
    pub seconds: f64,
    /// `committed / seconds`.
    pub committed_per_second: f64,
    /// `gas_used / seconds`.
    pub gas_per_second: f64,
    /// From the moment a submission was due to its receipt visible.
    pub latency: Option<Latency>,
    /// From the moment a submission was due to its answer.
    pub answer_latency: Option<Latency>,
    /// Processor time of the processes named, during the load.
    pub processes: Vec<ProcessTime>,
    /// Their sum for each committed transaction.
    pub cpu_seconds_per_transaction: Option<f64>,
    /// Processor time of this load generator, during the load.
    pub generator_cpu_seconds: f64,
    /// Signature recoveries a second, measured right after the load.
    pub recoveries: Option<Recoveries>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Transactions measured.
    pub count: usize,
    /// Half were faster.
    pub p50_ms: f64,
    /// 90 % were faster.
    pub p90_ms: f64,
    /// 99 % were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignedReport {
    /// The file written.
    pub file: String,
    /// Transactions that prepare the chain.
    pub setup: usize,
    /// Transactions to measure with.
    pub load: usize,
    /// How long signing took.
    pub seconds: f64,
}

impl Latency {
    /// Nearest-rank percentiles of `samples`; `None` when there are none.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Option<Self> {
        samples.sort_unstable();
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).map(|sample| sample.as_secs_f64() * 1e3)
        };
        Some(Self {
            count: samples.len(),
            p50_ms: at(50)?,
            p90_ms: at(90)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

impl Report {
    /// The report as one line of JSON.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "numbers, text and maps with text keys always serialise"
    )]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report serialises")
    }

    /// The report as text for people, ending in a line break.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Load(report) => report.text(),
            Self::Signed(report) => format!(
                "{} set-up and {} load transactions signed in {:.1} s, saved to {}\n",
                report.setup, report.load, report.seconds, report.file
            ),
            Self::Mainnet(report) => report.text(),
            Self::Recoveries(recoveries) => recoveries_line(recoveries),
        }
    }
}

impl LoadReport {
    fn text(&self) -> String {
        let mut text = String::new();
        let pace = self
            .rate
            .map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop {rate}/s"));
        line(&mut text, "server", &format!("{} ({})", self.server, self.urls.join(" ")));
        let shape = format!(
            "{}, {} in batches of {} on {} connections, {pace}",
            self.workload, self.method, self.batch, self.connections
        );
        line(&mut text, "load", &shape);
        let counts =
            format!("{} accepted {} committed {}", self.submitted, self.accepted, self.committed);
        line(&mut text, "submitted", &counts);
        if let (Some(succeeded), Some(reverted)) = (self.succeeded, self.reverted) {
            line(&mut text, "receipts", &format!("{succeeded} succeeded {reverted} reverted"));
        }
        for (message, count) in &self.errors {
            line(&mut text, "error", &format!("{count} × {message}"));
        }
        let speed = format!(
            "{:.0} tx/s, {:.1} Mgas/s over {:.2} s in {} blocks (submission took {:.2} s)",
            self.committed_per_second,
            self.gas_per_second / 1e6,
            self.seconds,
            self.blocks,
            self.submit_seconds
        );
        line(&mut text, "committed", &speed);
        latency_line(&mut text, "receipt", self.latency);
        latency_line(&mut text, "answer", self.answer_latency);
        if let Some(per_transaction) = self.cpu_seconds_per_transaction {
            let all: f64 = self.processes.iter().map(|process| process.seconds).sum();
            let cpu = format!("{:.0} µs a transaction ({all:.2} s)", per_transaction * 1e6);
            line(&mut text, "server cpu", &cpu);
        }
        line(&mut text, "own cpu", &format!("{:.2} s", self.generator_cpu_seconds));
        if let Some(recoveries) = &self.recoveries {
            text.push_str(&recoveries_line(recoveries));
        }
        text
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name:<11} {value}").expect("writing to a string does not fail");
}

fn latency_line(text: &mut String, name: &str, latency: Option<Latency>) {
    if let Some(Latency { count, p50_ms, p90_ms, p99_ms, max_ms }) = latency {
        let value = format!(
            "p50 {p50_ms:.1} p90 {p90_ms:.1} p99 {p99_ms:.1} max {max_ms:.1} ms after due ({count})"
        );
        line(text, name, &value);
    }
}

fn recoveries_line(recoveries: &Recoveries) -> String {
    let mut text = String::new();
    let value = format!(
        "{:.0}/s on one thread, {:.0}/s on {}",
        recoveries.one_thread_per_second, recoveries.all_threads_per_second, recoveries.threads
    );
    line(&mut text, "recoveries", &value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let samples = (1..=200).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(samples).unwrap();
        let Latency { count, p50_ms, p90_ms, p99_ms, max_ms } = latency;
        assert_eq!((count, p50_ms, p90_ms, p99_ms, max_ms), (200, 100.0, 180.0, 198.0, 200.0));
        assert_eq!(Latency::of(vec![Duration::from_millis(3)]).unwrap().p50_ms, 3.0);
        assert_eq!(Latency::of(Vec::new()), None);
    }
}

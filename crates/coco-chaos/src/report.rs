//! What is written down of each case, and the sum of a run.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use coco_node::config::Restart;

use crate::{checker::Judged, tool::run};

/// What is known of a case, as far as it got.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    choices: Vec<String>,
    /// In words.
    restarts: BTreeSet<&'static str>,
    rate_before: Option<u64>,
    operations: usize,
    judged: Judged,
    lost: usize,
    outages: Vec<Duration>,
    silence: Duration,
}

impl Notes {
    /// A choice that the dice made.
    pub(crate) fn choose(&mut self, choice: &str) {
        self.choices.push(choice.to_owned());
    }

    /// What a node's configuration says of its coming back. More than one way when nodes differ.
    pub(crate) fn restart(&mut self, way: Restart) {
        self.restarts.insert(match way {
            Restart::Rejoin => "rejoin",
            Restart::FromDisk => "from_disk",
        });
    }

    /// Operations a second before a fault; the smallest counts.
    pub(crate) fn rate(&mut self, rate: u64) {
        self.rate_before = Some(self.rate_before.map_or(rate, |before| before.min(rate)));
    }

    pub(crate) const fn operations(&mut self, count: usize) {
        self.operations = count;
    }

    pub(crate) const fn judged(&mut self, judged: Judged) {
        self.judged = judged;
    }

    pub(crate) const fn lost(&mut self, count: usize) {
        self.lost = count;
    }

    /// Time from the loss of a primary until writes went on.
    pub(crate) fn outage(&mut self, time: Duration) {
        self.outages.push(time);
    }

    /// The longest time without any acknowledgement.
    pub(crate) const fn silence(&mut self, time: Duration) {
        self.silence = time;
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// The load was too small for it to mean anything.
    Void(String),
    /// The machine lacks something.
    Skipped(String),
    Failed(String),
}

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Void(_) => "void",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
        }
    }
}

/// One case that was run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) seed: u64,
    pub(crate) notes: Notes,
    pub(crate) took: Duration,
    pub(crate) verdict: Verdict,
}

/// The columns of the file of all long runs.
pub(crate) const HEADER: &str = "date,commit,build,case,restart,seed,choices,rate_before,writes,acknowledged,unknown,reads,lost,outages_ms,longest_silence_ms,seconds,verdict";

impl Row {
    /// A line for people.
    pub(crate) fn text(&self) -> String {
        let Self { case, notes, took, verdict, .. } = self;
        let mut text = format!("{case}: {} after {:.1} s", verdict.word(), took.as_secs_f64());
        match verdict {
            Verdict::Passed => {}
            Verdict::Void(reason) | Verdict::Skipped(reason) | Verdict::Failed(reason) => {
                text.push_str(&format!("\n    {reason}"));
                if matches!(verdict, Verdict::Skipped(_)) {
                    return text;
                }
            }
        }
        text.push_str(&format!(
            "\n    {} writes, {} acknowledged, {} unknown, {} lost, {} reads; {} a second before the fault",
            notes.operations,
            notes.judged.acknowledged,
            notes.judged.unknown,
            notes.lost,
            notes.judged.reads,
            notes.rate_before.map_or_else(|| "?".to_owned(), |rate| rate.to_string()),
        ));
        if !notes.outages.is_empty() {
            text.push_str(&format!("; writes went on after {} ms", self.outages()));
        }
        if !notes.choices.is_empty() {
            text.push_str(&format!("\n    {}", notes.choices.join("; ")));
        }
        text
    }

    fn outages(&self) -> String {
        let outages = self.notes.outages.iter().map(|outage| outage.as_millis().to_string());
        outages.collect::<Vec<_>>().join(" ")
    }

    fn csv(&self, date: &str, commit: &str, build: &str) -> String {
        let Self { case, seed, notes, took, verdict } = self;
        let restarts: Vec<&str> = notes.restarts.iter().copied().collect();
        let choices = notes.choices.join("; ").replace([',', '"', '\n'], " ");
        format!(
            "{date},{commit},{build},{case},{},{seed},{choices},{},{},{},{},{},{},{},{},{:.1},{}",
            restarts.join(" "),
            notes.rate_before.map(|rate| rate.to_string()).unwrap_or_default(),
            notes.operations,
            notes.judged.acknowledged,
            notes.judged.unknown,
            notes.judged.reads,
            notes.lost,
            self.outages(),
            notes.silence.as_millis(),
            took.as_secs_f64(),
            verdict.word(),
        )
    }
}

/// Refuses a file whose lines have other columns than those that would be appended.
pub(crate) fn check_columns(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let found = text.lines().next().unwrap_or_default();
    ensure!(found == HEADER, "{} has other columns: {found}", path.display());
    Ok(())
}

/// Appends the rows to the file of all long runs.
pub(crate) fn record(path: &Path, build: &str, rows: &[Row]) -> anyhow::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if is_new {
        writeln!(file, "{HEADER}")?;
    }
    let commit = run("git", &["rev-parse", "--short", "HEAD"])
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let date = today()?;
    for row in rows.iter().filter(|row| !matches!(row.verdict, Verdict::Skipped(_))) {
        writeln!(file, "{}", row.csv(&date, &commit, build))?;
    }
    Ok(())
}

/// Today's date in UTC.
pub(crate) fn today() -> anyhow::Result<String> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let (year, month, day) = civil(days);
    Ok(format!("{year:04}-{month:02}-{day:02}"))
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// After the loss of a primary writes go on within this time, at p99.
const OUTAGE_P99_MAX: Duration = Duration::from_secs(3);
/// Of fewer outages none is judged: a percentile would be the worst of a handful.
const OUTAGES_MIN: usize = 10;

/// The sum of a run for people; whether all is well: so many cases passed, and writes went on in time.
pub(crate) fn conclude(rows: &[Row], at_least: usize) -> (String, bool) {
    let count = |word: &str| rows.iter().filter(|row| row.verdict.word() == word).count();
    let (passed, failed) = (count("passed"), count("failed"));
    let (void, skipped) = (count("void"), count("skipped"));
    let mut text = String::new();
    for row in rows {
        if let Verdict::Skipped(reason) = &row.verdict {
            text.push_str(&format!("skipped: {} ({reason})\n", row.case));
        }
    }
    let (outages, is_in_time) = conclude_outages(rows);
    text.push_str(&outages);
    let acknowledged: usize = rows.iter().map(|row| row.notes.judged.acknowledged).sum();
    let lost: usize = rows.iter().map(|row| row.notes.lost).sum();
    text.push_str(&format!("{acknowledged} writes acknowledged, {lost} lost\n"));
    text.push_str(&format!("{passed} passed, {failed} failed, {void} void, {skipped} skipped"));
    if passed < at_least {
        text.push_str(&format!(", and at least {at_least} had to pass"));
    }
    (text, failed == 0 && void == 0 && passed >= at_least && is_in_time)
}

/// How long the outages of a run were; whether that is well.
fn conclude_outages(rows: &[Row]) -> (String, bool) {
    let mut outages: Vec<Duration> =
        rows.iter().flat_map(|row| row.notes.outages.iter().copied()).collect();
    outages.sort();
    let (Some(median), Some(high)) = (percentile(&outages, 50), percentile(&outages, 99)) else {
        return (String::new(), true);
    };
    let is_judged = outages.len() >= OUTAGES_MIN;
    let is_in_time = !is_judged || high <= OUTAGE_P99_MAX;
    let mut text = format!(
        "writes went on after the loss of a primary: p50 {} ms, p99 {} ms, of {}",
        median.as_millis(),
        high.as_millis(),
        outages.len()
    );
    if !is_judged {
        text.push_str(&format!("; fewer than {OUTAGES_MIN} are not judged"));
    }
    if !is_in_time {
        text.push_str(&format!(
            "\nfailed: p99 is {high:?}, and may be {OUTAGE_P99_MAX:?} at the most"
        ));
    }
    text.push('\n');
    (text, is_in_time)
}

/// The smallest value that is not below so many of a hundred.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_782, (2026, 11, 25)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&times[..1], 50), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_run_with_a_failure_or_a_void_case_is_not_well() {
        let row = |verdict| Row {
            case: "a",
            seed: 1,
            notes: Notes::default(),
            took: Duration::ZERO,
            verdict,
        };
        let passed = || row(Verdict::Passed);
        let skipped = || row(Verdict::Skipped("no nft".into()));
        assert!(conclude(&[passed(), skipped()], 1).1);
        assert!(!conclude(&[passed(), skipped()], 2).1);
        assert!(!conclude(&[passed(), row(Verdict::Void("slow".into()))], 0).1);
        assert!(!conclude(&[passed(), row(Verdict::Failed("lost".into()))], 0).1);
    }

    #[test]
    fn a_run_whose_outages_are_too_long_is_not_well() {
        let run = |count: usize, long_ms: u64| {
            let mut notes = Notes::default();
            (1..count).for_each(|_| notes.outage(Duration::from_millis(600)));
            notes.outage(Duration::from_millis(long_ms));
            let (took, verdict) = (Duration::ZERO, Verdict::Passed);
            conclude(&[Row { case: "a", seed: 1, notes, took, verdict }], 1)
        };
        for (count, long_ms, is_well) in [
            (10, 3000, true),
            (10, 3001, false),
            // A percentile of so few is no percentile.
            (9, 9000, true),
            // One of a hundred may be longer.
            (100, 9000, true),
            (99, 9000, false),
        ] {
            assert_eq!(run(count, long_ms).1, is_well, "{count} {long_ms}");
        }
        let (text, _) = run(10, 3001);
        assert!(text.contains("p99 is 3.001s, and may be 3s at the most"), "{text}");
        assert!(!run(10, 3000).0.contains("failed:"));
    }

    #[test]
    fn a_row_has_as_many_fields_as_the_header() {
        let mut notes = Notes::default();
        notes.choose("one, \"two\"");
        notes.restart(Restart::Rejoin);
        let row = Row { case: "a", seed: 1, notes, took: Duration::ZERO, verdict: Verdict::Passed };
        let line = row.csv("2026-11-25", "abc", "release");
        assert_eq!(line.split(',').count(), HEADER.split(',').count(), "{line}");
    }

    #[test]
    fn a_row_says_how_nodes_came_back() {
        let at = HEADER.split(',').position(|column| column == "restart");
        for (ways, words) in [
            (&[][..], ""),
            (&[Restart::Rejoin, Restart::Rejoin], "rejoin"),
            (&[Restart::FromDisk], "from_disk"),
            (&[Restart::Rejoin, Restart::FromDisk], "from_disk rejoin"),
        ] {
            let mut notes = Notes::default();
            ways.iter().for_each(|way| notes.restart(*way));
            let (took, verdict) = (Duration::ZERO, Verdict::Passed);
            let line = Row { case: "a", seed: 1, notes, took, verdict }.csv("", "", "");
            assert_eq!(at.and_then(|at| line.split(',').nth(at)), Some(words), "{line}");
        }
    }

    #[test]
    fn lines_go_under_their_own_header_only() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("chaos.csv");
        check_columns(&path)?;
        record(&path, "debug", &[])?;
        check_columns(&path)?;
        for other in ["", "date,commit\n", "date,commit,build,case,seed\n2026-11-25,a,b,c,1\n"] {
            fs::write(&path, other)?;
            assert!(check_columns(&path).is_err(), "{other}");
        }
        check_columns(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/chaos.csv"))
    }
}

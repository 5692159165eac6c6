//! The fuzzer: goes on from the committed corpus of a target, and leaves a minimised one with a line of figures.
//!
//! Needs what a change does not need: a nightly compiler, `cargo install cargo-fuzz --locked`, and a C++ compiler. The
//! corpora run without any of that, as tests of `coco-fuzz`.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    git::git,
    step::{Step, timed},
    workspace::{Workspace, files},
};

/// Most bytes of a committed corpus. `tests/corpora.rs` of `coco-fuzz` holds them to it.
const CORPUS_BYTES_MAX: u64 = 100 << 10;
/// Most files of a committed corpus, held in the same way.
const CORPUS_FILES_MAX: usize = 1000;
/// Longest run of a target, in minutes of processor time: a day.
const MINUTES_MAX: f64 = 24.0 * 60.0;
/// Most times that the program of a target is started to get its minutes.
const ROUNDS_MAX: u32 = 100;
/// Longest time for one input, in seconds. The targets stay far below a millisecond; but the fuzzer measures by the clock, and
/// beside other work, at the lowest priority, its program may get no processor for ten seconds.
const INPUT_SECONDS_MAX: u32 = 120;
/// Most memory of the fuzzer, in MiB.
const MEMORY_MIB_MAX: u32 = 1024;
/// Where the figures of every run stand.
const FIGURES: &str = "docs/book/fuzzing.csv";

const USAGE: &str = "usage: cargo xtask fuzz --list | TARGET --minutes M";

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--list"] => {
            for target in targets(workspace)? {
                println!("{:<18} reads bytes of {}s", target.name, target.from);
            }
            Ok(())
        }
        [name, "--minutes", minutes] if !name.starts_with('-') => {
            let minutes: f64 = minutes.parse().with_context(|| format!("--minutes {minutes}"))?;
            ensure!(minutes > 0.0 && minutes <= MINUTES_MAX, "--minutes is above 0, at most a day");
            let all = targets(workspace)?;
            let target = all.into_iter().find(|target| target.name == name);
            let target =
                target.with_context(|| format!("there is no target {name}: see --list"))?;
            let repeat = format!("cargo xtask fuzz {name} --minutes {minutes}");
            timed(&format!("fuzz {name}"), &repeat, || fuzz(workspace, &target, minutes))
        }
        _ => bail!(USAGE),
    }
}

/// A target as `coco-fuzz list` prints it.
struct Target {
    name: String,
    from: String,
    bytes_max: String,
}

fn targets(workspace: &Workspace) -> anyhow::Result<Vec<Target>> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--package", "coco-fuzz", "--", "list"])
        .current_dir(&workspace.root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "coco-fuzz does not list its targets");
    parse_targets(&String::from_utf8_lossy(&output.stdout))
}

fn parse_targets(text: &str) -> anyhow::Result<Vec<Target>> {
    text.lines()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [name, from, bytes_max] => Ok(Target {
                name: name.to_owned(),
                from: from.to_owned(),
                bytes_max: bytes_max.to_owned(),
            }),
            _ => bail!("{line:?} is no line of the list of targets"),
        })
        .collect()
}

fn fuzz(workspace: &Workspace, target: &Target, minutes: f64) -> anyhow::Result<()> {
    let folder = workspace.root.join("fuzz");
    let name = &target.name;
    let (corpus, work) = (folder.join("corpus").join(name), folder.join("work").join(name));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    // What real nodes wrote is never minimised away.
    let real = folder.join("seeds").join(name);
    if real.exists() {
        for path in files(&real)? {
            fs::copy(&path, work.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Step::new("inputs made by hand", "cargo", &workspace.root)
        .arguments("run --quiet --package coco-fuzz -- seeds")
        .argument(name)
        .argument(&work)
        .run()?;
    // Built before the time starts.
    Step::new("build", "cargo", &folder)
        .arguments("+nightly fuzz build --sanitizer none")
        .argument(name)
        .run()
        .context("the fuzzer needs nightly Rust, cargo-fuzz (cargo install cargo-fuzz --locked) and a C++ compiler")?;
    let (mut figures, mut failed, mut rounds) = (Figures::default(), false, 0);
    // The fuzzer counts time of the clock, which on a busy machine is less than what it had.
    while figures.minutes < minutes && !failed && rounds < ROUNDS_MAX {
        let rest = Duration::from_secs_f64((minutes - figures.minutes) * 60.0);
        let options = format!(
            "-max_total_time={} -max_len={} -timeout={INPUT_SECONDS_MAX} -rss_limit_mb={MEMORY_MIB_MAX} -print_final_stats=1",
            rest.as_secs().max(1),
            target.bytes_max
        );
        let before = processor_minutes()?;
        let round = program(&folder, name, &[&work, &corpus], &options)?;
        let executions = figures.executions + round.0.executions;
        let minutes = figures.minutes + processor_minutes()? - before;
        figures = Figures { executions, minutes, ..round.0 };
        failed = round.1;
        rounds += 1;
    }
    figures.crashes = u64::from(failed);
    minimise(&folder, target, &corpus, &work)?;
    for file in files(&corpus)? {
        figures.corpus_bytes += fs::metadata(&file)?.len();
        figures.corpus_files += 1;
    }
    let line = figures.line(&git(workspace, &["rev-parse", "--short=12", "HEAD"])?, target);
    println!("{line}");
    let path = workspace.root.join(FIGURES);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{line}")?;
    ensure!(
        !failed,
        "an input failed: it lies in fuzz/artifacts/{name}; make it a test, then mend the crate"
    );
    Ok(())
}

/// What ended children of this process have had of the processors, in minutes: the 16th and 17th field of
/// `/proc/self/stat`, in hundredths of a second (proc(5)).
fn processor_minutes() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    // The second field, a name in brackets, may hold spaces.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(13).take(2));
    let ticks: Vec<u32> = fields.into_iter().flatten().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(ticks.len() == 2, "/proc/self/stat is too short");
    Ok(ticks.into_iter().map(f64::from).sum::<f64>() / 6000.0)
}

/// Runs the fuzzer's program of a target, and reads its figures; whether it failed.
fn program(
    folder: &Path,
    name: &str,
    corpora: &[&Path],
    options: &str,
) -> anyhow::Result<(Figures, bool)> {
    let mut child = Command::new("cargo")
        .args(["+nightly", "fuzz", "run", "--sanitizer", "none", name])
        .args(corpora)
        .arg("--")
        .args(options.split(' '))
        .current_dir(folder)
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo fuzz")?;
    let mut figures = Figures::default();
    let mut shown = Instant::now();
    if let Some(output) = child.stderr.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            // Most lines tell of an input that was kept.
            if !line.starts_with('#') || shown.elapsed() > Duration::from_secs(30) {
                eprintln!("{line}");
                shown = Instant::now();
            }
            figures.read(&line);
        }
    }
    Ok((figures, !child.wait()?.success()))
}

/// At most so many of them, from all parts of the list alike.
fn thinned<T>(all: Vec<T>, most: usize) -> Vec<T> {
    // As many as there are, where there are fewer.
    let count = all.len().max(most).max(1);
    let before = |place: usize| place * most / count;
    let is_kept = |place: &usize| before(place + 1) > before(*place);
    let kept = all.into_iter().enumerate().filter(|(place, _)| is_kept(place));
    kept.map(|(_, one)| one).collect()
}

/// Puts the smallest set of inputs with the same coverage in the corpus' place.
fn minimise(folder: &Path, target: &Target, corpus: &Path, work: &Path) -> anyhow::Result<()> {
    let fresh = folder.join("work").join(format!("{}.fresh", target.name));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let options = format!("-set_cover_merge=1 -max_len={}", target.bytes_max);
    let (_, failed) = program(folder, &target.name, &[&fresh, corpus, work], &options)?;
    ensure!(!failed, "the corpus cannot be minimised");
    let mut inputs = Vec::new();
    for path in files(&fresh)? {
        inputs.push((fs::metadata(&path)?.len(), path));
    }
    ensure!(!inputs.is_empty(), "nothing is left of the corpus");
    // The fuzzer prefers short inputs, so the longest ones add the least for each byte.
    inputs.sort();
    fs::remove_dir_all(corpus)?;
    fs::create_dir_all(corpus)?;
    let mut bytes = 0;
    for (length, path) in thinned(inputs, CORPUS_FILES_MAX) {
        bytes += length;
        if bytes > CORPUS_BYTES_MAX {
            break;
        }
        fs::copy(&path, corpus.join(path.file_name().unwrap_or_default()))?;
    }
    fs::remove_dir_all(&fresh)?;
    Ok(())
}

/// What a run did.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    minutes: f64,
    executions: u64,
    edges: u64,
    features: u64,
    corpus_files: u64,
    corpus_bytes: u64,
    crashes: u64,
}

impl Figures {
    /// Takes what a line of libFuzzer's says.
    fn read(&mut self, line: &str) {
        let number = |after: &str| -> Option<u64> {
            line.split_once(after)?.1.split_whitespace().next()?.parse().ok()
        };
        if let Some(executions) = number("stat::number_of_executed_units:") {
            self.executions = executions;
        }
        if line.starts_with('#') {
            self.edges = number(" cov: ").unwrap_or(self.edges);
            self.features = number(" ft: ").unwrap_or(self.features);
        }
    }

    fn line(&self, commit: &str, target: &Target) -> String {
        let Self { minutes, executions, edges, features, corpus_files, corpus_bytes, crashes } =
            self;
        let mut line =
            format!("{commit},{},{},{minutes:.1},{executions}", target.name, target.from);
        write!(line, ",{edges},{features},{corpus_files},{corpus_bytes},{crashes}")
            .expect("text takes every write");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_files_are_thinned_evenly() {
        assert_eq!(thinned((0..10).collect(), 4), [2, 4, 7, 9]);
        assert_eq!(thinned((0..4).collect(), 4), [0, 1, 2, 3]);
        assert_eq!(thinned((0..3).collect(), 4), [0, 1, 2]);
        assert!(thinned(Vec::<u8>::new(), 4).is_empty());
    }

    #[test]
    fn figures_are_read_from_the_fuzzers_lines() {
        let mut figures = Figures::default();
        for line in [
            "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#4194304\tpulse  cov: 512 ft: 1300 corp: 90/9Kb lim: 4096 exec/s: 9000 rss: 90Mb",
            "#5000000\tDONE   cov: 513 ft: 1301 corp: 91/9Kb lim: 4096 exec/s: 9000 rss: 90Mb",
            "stat::number_of_executed_units: 5000000",
            "stat::average_exec_per_sec:     9000",
        ] {
            figures.read(line);
        }
        let expected =
            Figures { executions: 5_000_000, edges: 513, features: 1301, ..Figures::default() };
        assert_eq!(figures, expected);
    }

    #[test]
    fn the_list_of_targets_is_read() {
        let found = parse_targets("entry stranger 8192\ncodec insider 1024\n").expect("it is one");
        let names: Vec<_> = found.iter().map(|target| target.name.as_str()).collect();
        assert_eq!((names, found[0].bytes_max.as_str()), (vec!["entry", "codec"], "8192"));
        assert!(parse_targets("entry stranger").is_err());
    }
}

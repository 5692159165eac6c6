//! One program run for a chore: shown, timed, its tests counted.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{BufRead, BufReader, Read, Write},
    ops::AddAssign,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context, bail};

/// How many tests ran, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Counts {
    /// What the closing line of a test runner says: of nextest, of `cargo test`, or of our own suites.
    fn read(line: &str) -> Option<Self> {
        let line = line.trim_end();
        // nextest repeats the output of tests that failed, with spaces before it: closing lines in there do not count.
        if line.trim_start().starts_with("Summary [") {
            let (run, passed) = (number_before(line, " test")?, number_before(line, " passed")?);
            return Some(Self { passed, failed: run.checked_sub(passed)? });
        }
        let is_cargo = line.starts_with("test result: ");
        let (passed, failed) = (number_before(line, " passed")?, number_before(line, " failed")?);
        let counts = Self { passed, failed };
        (is_cargo || counts.to_string() == line).then_some(counts)
    }
}

/// The number that stands right before `word`.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let before = &line[..line.find(word)?];
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[start..].parse().ok()
}

/// A program with its arguments and what it finds in its environment.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    folder: PathBuf,
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, program: impl AsRef<OsStr>, folder: &Path) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    /// Adds arguments, which are separated by spaces.
    pub(crate) fn arguments(mut self, words: &str) -> Self {
        self.arguments.extend(words.split_whitespace().map(OsString::from));
        self
    }

    /// Adds one argument as it is.
    pub(crate) fn argument(mut self, word: impl AsRef<OsStr>) -> Self {
        self.arguments.push(word.as_ref().to_owned());
        self
    }

    /// Sets a variable.
    pub(crate) fn environment(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What somebody types to run it again.
    fn line(&self) -> String {
        let environment =
            self.environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let words = std::iter::once(&self.program).chain(&self.arguments).map(|word| quoted(word));
        environment.chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs it.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        timed(&self.name, &self.line(), || {
            let status = self.command().status().with_context(|| self.not_run())?;
            if status.success() { Ok(()) } else { bail!("it ended with {status}") }
        })
    }

    /// Runs it, and adds up what its closing lines say of tests.
    pub(crate) fn run_tests(&self, counts: &mut Counts) -> anyhow::Result<()> {
        timed(&self.name, &self.line(), || {
            let (found, status) = self.count(&mut std::io::stdout(), &mut std::io::stderr())?;
            *counts += found;
            if status.success() { Ok(()) } else { bail!("it ended with {status}") }
        })
    }

    /// Runs it, passes its output on, and adds up what its closing lines say.
    fn count(
        &self,
        out: &mut impl Write,
        error: &mut (impl Write + Send),
    ) -> anyhow::Result<(Counts, ExitStatus)> {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.not_run())?;
        let (from_out, from_error) = (child.stdout.take(), child.stderr.take());
        let (in_out, in_error) = std::thread::scope(|scope| {
            let copying = scope.spawn(|| copy_counting(from_error, error));
            let in_out = copy_counting(from_out, out);
            (in_out, copying.join().expect("copying lines does not panic"))
        });
        let mut counts = in_out?;
        counts += in_error?;
        Ok((counts, child.wait()?))
    }

    fn not_run(&self) -> String {
        format!("cannot run {}", self.program.display())
    }
}

/// Runs `work`, and says how long it took and how to repeat it when it fails.
pub(crate) fn timed<T>(
    name: &str,
    repeat: &str,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    println!("== {name}");
    let started = Instant::now();
    let outcome = work();
    let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
    println!("== {name}: {verdict} after {:.1} s", started.elapsed().as_secs_f64());
    outcome.with_context(|| format!("{name} failed; repeat it with: {repeat}"))
}

/// Copies lines as they come; the sum of the closing lines among them.
fn copy_counting(from: Option<impl Read>, to: &mut impl Write) -> std::io::Result<Counts> {
    let mut counts = Counts::default();
    let Some(from) = from else { return Ok(counts) };
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        counts += Counts::read(&String::from_utf8_lossy(&line)).unwrap_or_default();
        line.clear();
    }
    Ok(counts)
}

/// A word as a shell takes it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_test_runners_are_understood() {
        for (line, expected) in [
            ("     Summary [   1.2s] 12 tests run: 12 passed, 3 skipped", Some((12, 0))),
            (
                "Summary [ 1.2s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped",
                Some((9, 3)),
            ),
            ("Summary [ 1.2s] 1 test run: 1 passed, 0 skipped", Some((1, 0))),
            (
                "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; finished in 0.1s",
                Some((3, 1)),
            ),
            ("7 passed, 1 failed", Some((7, 1))),
            ("it said 7 passed, 1 failed somewhere", None),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored", None),
            ("ok ethers (1.0 s)", None),
        ] {
            let expected = expected.map(|(passed, failed)| Counts { passed, failed });
            assert_eq!(Counts::read(line), expected, "{line}");
        }
    }

    #[test]
    fn output_of_programs_is_counted_and_their_failure_noticed() {
        let folder = std::env::temp_dir();
        let step = |script: &str| Step::new("test", "sh", &folder).argument("-c").argument(script);
        let (mut out, mut error) = (Vec::new(), Vec::new());
        let (counts, status) =
            step("echo '2 passed, 0 failed'; echo '1 passed, 1 failed' >&2; exit 3")
                .count(&mut out, &mut error)
                .expect("it runs");
        assert_eq!((counts, status.code()), (Counts { passed: 3, failed: 1 }, Some(3)));
        assert_eq!(
            (&out[..], &error[..]),
            (&b"2 passed, 0 failed\n"[..], &b"1 passed, 1 failed\n"[..])
        );
        let error = step("exit 3").run().expect_err("it fails");
        assert!(format!("{error:#}").contains("repeat it with: sh -c 'exit 3'"), "{error:#}");
    }
}

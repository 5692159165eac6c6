//! How often each fault fired and each rare state was reached in a long run, as lines of a file that grows.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    process::Command,
};

use crate::Sum;

const HEADER: &str = "commit,first_seed,seeds,kind,name,count";

/// Appends the counts of a run, after a line of names when the file is new.
pub(crate) fn append(path: &Path, first_seed: u64, sum: &Sum) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let commit = commit();
    let mut text = String::new();
    if file.metadata()?.len() == 0 {
        text += HEADER;
        text.push('\n');
    }
    let faults = sum.faults.iter().map(|(name, count)| ("fault", *name, *count));
    let states = sum.marks.iter().map(|(name, count)| ("state", name, count));
    for (kind, name, count) in faults.chain(states) {
        // Names of states are sentences; those with a comma are quoted.
        let name = if name.contains(',') { format!("\"{name}\"") } else { name.to_owned() };
        text += &format!("{commit},{first_seed},{},{kind},{name},{count}\n", sum.seeds);
    }
    file.write_all(text.as_bytes())
}

/// The commit that is checked out where the simulator runs, as git names it.
pub(crate) fn commit() -> String {
    asked_git(&["rev-parse", "--short", "HEAD"])
}

/// What git answers.
pub(crate) fn asked_git(words: &[&str]) -> String {
    let asked = Command::new("git").args(words).output();
    let said = asked.ok().filter(|output| output.status.success());
    said.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

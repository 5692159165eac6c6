//! Programs of the system, run to their end.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, ensure};

/// Runs a program; its standard output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    conclude(program, arguments, &output)
}

/// Runs a program on `input`; its standard output.
pub(crate) fn run_on(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    // Dropped at the end of the statement, so that the program sees the end of its input.
    child.stdin.take().context("standard input is a pipe")?.write_all(input.as_bytes())?;
    conclude(program, arguments, &child.wait_with_output()?)
}

fn conclude(program: &str, arguments: &[&str], output: &Output) -> anyhow::Result<String> {
    ensure!(
        output.status.success(),
        "{program} {} ended with {}: {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program of this name can be run.
pub(crate) fn exists(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

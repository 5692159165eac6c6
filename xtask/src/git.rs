//! What git says of the sources.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::workspace::Workspace;

/// What a command of git answers, without the line's end.
pub(crate) fn git(workspace: &Workspace, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(&workspace.root)
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

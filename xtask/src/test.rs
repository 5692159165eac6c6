//! All tests: of the crates, and of the one binary from outside.
//!
//! Examples in documentation are not run: nextest does not know them.
//!
//! End-to-end suites are the programs called `run` in `tests/e2e` and in its folders; `tests/e2e/drill` plays some of its
//! recoveries after them. Each gets
//!
//! - `COCO_BIN`, the binary to test, and `COCO_CCF_PYTHON`, a Python with what an auditor installs;
//! - and closes with the line `N passed, N failed`, and exit code 0 when none failed.
//!
//! The tests of the crates get that Python as well: they have `ccf` read the ledgers that their networks leave.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::{
    step::{Counts, Step},
    workspace::Workspace,
};

/// What an auditor installs. The first declares Python 3.12 and runs on 3.11.
const AUDITOR_PACKAGES: &str = "ccf==7.0.22 openapi-spec-validator==0.9.0";
const PYTHON_VARIABLE: &str = "COCO_CCF_PYTHON";
/// Loses networks and brings them back in twelve ways.
const DRILL: &str = "tests/e2e/drill";
/// Those of which the tests of the crates have least: a pass of all takes a minute.
const DRILLS: &str = "1 8 9 10 12";

pub(crate) fn run(workspace: &Workspace, counts: &mut Counts) -> anyhow::Result<()> {
    let suites = suites(&workspace.root.join("tests/e2e"))?;
    let python = auditor_python(workspace)?;
    let cargo = |name: &str| {
        Step::new(name, "cargo", &workspace.root).environment(PYTHON_VARIABLE, &python)
    };
    // All targets in one build, so that the binary under test is made of the same objects as the tests.
    cargo("build").arguments("build --workspace --all-targets").run()?;
    let tests = cargo("tests of the crates");
    let tests = if has_nextest() {
        tests.arguments("nextest run --workspace --no-fail-fast")
    } else {
        tests.arguments("test --workspace --tests --no-fail-fast")
    };
    tests.run_tests(counts)?;
    let binary = workspace.target.join("debug").join("coco");
    let end_to_end = |program: &Path| {
        let name = program.strip_prefix(&workspace.root).unwrap_or(program).display().to_string();
        Step::new(name, program, &workspace.root)
            .environment("COCO_BIN", &binary)
            .environment(PYTHON_VARIABLE, &python)
    };
    for suite in suites {
        end_to_end(&suite).run_tests(counts)?;
    }
    end_to_end(&workspace.root.join(DRILL)).arguments(DRILLS).run_tests(counts)
}

/// A step that runs a program as [`run`] has built it. Built by itself it would get other features of what it leans on, and all of that
/// would be built once more.
pub(crate) fn built(workspace: &Workspace, name: &str, program: &str) -> Step {
    Step::new(name, workspace.target.join("debug").join(program), &workspace.root)
}

fn has_nextest() -> bool {
    let asked = Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// The programs called `run` in `folder` and right below it, in a fixed order.
fn suites(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let listing =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut suites = vec![folder.join("run")];
    for entry in listing {
        suites.push(entry?.path().join("run"));
    }
    suites.retain(|suite| suite.is_file());
    suites.sort();
    Ok(suites)
}

/// The Python that runs the auditor's tools: the one that the environment names, or one made here.
fn auditor_python(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    if let Some(python) = std::env::var_os(PYTHON_VARIABLE) {
        return Ok(python.into());
    }
    let folder = workspace.target.join("e2e/auditor");
    let python = folder.join("bin/python");
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == AUDITOR_PACKAGES) {
        return Ok(python);
    }
    let step = |program: &Path| Step::new("auditor's tools", program, &workspace.root);
    step(Path::new("python3")).arguments("-m venv --clear").argument(&folder).run()?;
    step(&python)
        .arguments("-m pip install --quiet --disable-pip-version-check --ignore-requires-python")
        .arguments(AUDITOR_PACKAGES)
        .run()?;
    fs::write(&stamp, AUDITOR_PACKAGES)
        .with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_name() {
        let folder = tempfile::tempdir().expect("makes a folder").keep();
        for name in ["b", "a", "empty"] {
            fs::create_dir_all(folder.join(name)).expect("makes folders");
        }
        for name in ["run", "b/run", "a/run", "a/other"] {
            fs::write(folder.join(name), "").expect("writes");
        }
        let found = suites(&folder).expect("reads");
        assert_eq!(found, ["a/run", "b/run", "run"].map(|name| folder.join(name)));
        fs::remove_dir_all(&folder).expect("removes");
        assert!(suites(&folder).expect("absent is empty").is_empty());
    }
}

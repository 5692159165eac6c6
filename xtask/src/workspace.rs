//! What cargo says of the workspace, and its files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use serde::Deserialize;

/// Folders that hold nothing that somebody of us wrote.
const FOREIGN_FOLDERS: [&str; 9] = [
    "target",
    "node_modules",
    "__pycache__",
    ".git",
    ".coco-dev",
    // Of the fuzzer.
    "artifacts",
    "corpus",
    "seeds",
    "work",
];

/// The workspace as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// The crates of the workspace, without their dependencies.
    #[serde(rename = "packages")]
    pub(crate) crates: Vec<Crate>,
    /// The root folder.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// What each feature turns on.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// An arrow from a crate to another.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for an ordinary dependency.
    pub(crate) kind: Option<DependencyKind>,
    /// Where it lies, when it is not from a registry.
    pub(crate) path: Option<PathBuf>,
    /// Features that are always asked for.
    #[serde(default)]
    pub(crate) features: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DependencyKind {
    Dev,
    Build,
}

impl Crate {
    /// The crate's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().expect("a manifest lies in a folder")
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cargo metadata is not of the known form")
    }

    /// A path relative to the root, for messages.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// All files below `folder` that are ours, in a fixed order.
pub(crate) fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let listing =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for file in listing {
            let file = file?;
            let kind = file.file_type()?;
            if kind.is_dir() {
                let name = file.file_name();
                if !FOREIGN_FOLDERS.iter().any(|foreign| name == *foreign) {
                    folders.push(file.path());
                }
            } else if kind.is_file() {
                found.push(file.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether the name of `path` ends so.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

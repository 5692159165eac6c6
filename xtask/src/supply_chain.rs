//! What comes from others: advisories, licences, refused crates and sources, held against `deny.toml`.
//!
//! `deny.toml` is `cargo deny`'s, and `cargo deny` and `cargo audit` are run where they are installed. Building the two
//! takes two cores longer than everything else that CI does to a change, so the same questions are answered here as well,
//! from `cargo metadata`, the lock files and the advisory data, without anything that is not built anyway.
//!
//! Not looked at here: yanked versions, which only a registry knows.

pub(crate) mod advisories;
mod licences;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
pub(crate) use semver::Version;
use serde::Deserialize;

use crate::{conclude, step::Step, workspace::Workspace};

/// The one registry.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Names the folder of test data; the advisories lie in `advisory-db` below it.
const DATA_VARIABLE: &str = "COCO_TEST_DATA";
/// Where test data lies by default, from the root of the workspace.
const DATA_DEFAULT: &str = "../shared/data";

/// What this reads of `deny.toml`.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: LicenceRules,
    bans: Bans,
    advisories: AdvisoryRules,
}

#[derive(Debug, Deserialize)]
struct LicenceRules {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct AdvisoryRules {
    ignore: Vec<Ignored>,
}

#[derive(Debug, Deserialize)]
struct Ignored {
    id: String,
    reason: String,
}

/// What this reads of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    dependencies: Vec<Requirement>,
}

#[derive(Debug, Deserialize)]
struct Requirement {
    name: String,
    req: String,
    path: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let path = workspace.root.join("deny.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).context("deny.toml is not of the known form")?;
    let metadata = metadata(&workspace.root)?;
    let built = built(&workspace.root)?;
    let mut faults = Vec::new();
    for package in &metadata.packages {
        // What no feature of ours asks for stands in the lock file and is never built.
        if built.contains(&(package.name.clone(), package.version.clone())) {
            faults.extend(package_faults(package, &rules));
        }
    }
    let direct: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none())
        .flat_map(|package| package.dependencies.iter().map(|one| one.name.as_str()))
        .collect();
    let data = advisory_data(workspace);
    match &data {
        Some(folder) => faults.extend(advised(workspace, folder, &rules, &direct)?),
        None => println!(
            "skipped: no advisory data; {DATA_VARIABLE} names the folder that holds advisory-db"
        ),
    }
    println!("supply chain: {} packages that are built for some platform", built.len());
    conclude("supply chain", &faults)?;
    installed_tools(workspace, data.as_deref())
}

pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed");
    serde_json::from_slice(&output.stdout).context("cargo metadata is not of the known form")
}

/// Names and versions of what is built on any platform, tests and build scripts included.
fn built(root: &Path) -> anyhow::Result<BTreeSet<(String, Version)>> {
    tree(root, &["--workspace", "--target", "all", "--edges", "normal,build,dev"])
}

/// Names and versions of what `cargo tree` lists with these arguments.
pub(crate) fn tree(root: &Path, arguments: &[&str]) -> anyhow::Result<BTreeSet<(String, Version)>> {
    let output = Command::new("cargo")
        .arg("tree")
        .args(arguments)
        .args(["--prefix", "none", "--locked", "--format", "{p}"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed");
    let built = parse_tree(&String::from_utf8_lossy(&output.stdout))?;
    ensure!(!built.is_empty(), "cargo tree lists nothing");
    Ok(built)
}

/// Reads lines such as `serde v1.0.228 (proc-macro) (*)`.
fn parse_tree(text: &str) -> anyhow::Result<BTreeSet<(String, Version)>> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, rest) = line.split_once(" v").with_context(|| format!("{line:?}"))?;
            let version = rest.split(' ').next().unwrap_or_default();
            Ok((name.to_owned(), version.parse().with_context(|| format!("{line:?}"))?))
        })
        .collect()
}

/// Licence, name and source of one package.
fn package_faults(package: &Package, rules: &Rules) -> Vec<String> {
    let mut faults = Vec::new();
    let Package { name, version, .. } = package;
    match &package.license {
        None => faults.push(format!("{name} {version} names no licence")),
        Some(licence) => match licences::is_allowed(licence, &rules.licenses.allow) {
            Ok(true) => {}
            Ok(false) => faults.push(format!("{name} {version} is under {licence}")),
            Err(error) => faults.push(format!("{name} {version}: licence {licence:?}: {error}")),
        },
    }
    if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == *name) {
        faults.push(format!("{name} {version} is refused: {}", ban.reason));
    }
    match &package.source {
        Some(source) if source != REGISTRY => {
            faults.push(format!("{name} {version} comes from {source}"));
        }
        Some(_) => {}
        None => {
            let any =
                package.dependencies.iter().filter(|one| one.path.is_none() && one.req == "*");
            faults.extend(any.map(|one| format!("{name} takes any version of {}", one.name)));
        }
    }
    faults
}

fn advisory_data(workspace: &Workspace) -> Option<PathBuf> {
    let data = std::env::var_os(DATA_VARIABLE)
        .map_or_else(|| workspace.root.join(DATA_DEFAULT), PathBuf::from);
    let folder = data.join("advisory-db");
    folder.join("crates").is_dir().then_some(folder)
}

/// Advisories for what the lock files hold, ours and the fuzzer's.
fn advised(
    workspace: &Workspace,
    folder: &Path,
    rules: &Rules,
    direct: &BTreeSet<&str>,
) -> anyhow::Result<Vec<String>> {
    let all = advisories::read(folder)?;
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    let mut notes = BTreeSet::new();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let path = workspace.root.join(lock);
        if !path.exists() {
            continue;
        }
        for locked in advisories::locked(&path)? {
            for advisory in all.iter().filter(|one| one.concerns(&locked)) {
                let what = format!("{} {}: {}", locked.name, locked.version, advisory.title());
                if rules.advisories.ignore.iter().any(|ignored| ignored.id == advisory.id) {
                    used.insert(advisory.id.clone());
                } else if advisory.is_only_a_note(direct.contains(locked.name.as_str())) {
                    notes.insert(what);
                } else {
                    faults.push(format!("{lock}: {what}"));
                }
            }
        }
    }
    for note in notes {
        println!("note: {note}");
    }
    for Ignored { id, reason } in &rules.advisories.ignore {
        if used.contains(id) {
            println!("excepted: {id}: {reason}");
        } else {
            faults.push(format!(
                "deny.toml excepts {id}, which concerns nothing any more: remove it"
            ));
        }
    }
    println!("supply chain: {} advisories", all.len());
    Ok(faults)
}

/// Runs `cargo deny` and `cargo audit`, where they are.
fn installed_tools(workspace: &Workspace, data: Option<&Path>) -> anyhow::Result<()> {
    let step = |name: &str| Step::new(name, "cargo", &workspace.root);
    if is_installed("deny") {
        step("cargo deny")
            .arguments("deny --offline --log-level error check licenses bans sources")
            .run()?;
    } else {
        println!("cargo deny is not installed: the checks above stand alone");
    }
    match data {
        Some(data) if is_installed("audit") => step("cargo audit")
            .arguments("audit --quiet --no-fetch --db")
            .argument(data)
            // `cargo audit` has its own list of exceptions; it is the one of deny.toml.
            .arguments(&ignored_arguments(workspace)?)
            .run(),
        _ => {
            println!("cargo audit is not installed, or has no data");
            Ok(())
        }
    }
}

fn ignored_arguments(workspace: &Workspace) -> anyhow::Result<String> {
    let rules: Rules = toml::from_str(&fs::read_to_string(workspace.root.join("deny.toml"))?)?;
    let ignored = rules.advisories.ignore.iter().map(|one| format!("--ignore {}", one.id));
    Ok(ignored.collect::<Vec<_>>().join(" "))
}

fn is_installed(tool: &str) -> bool {
    let asked = Command::new("cargo")
        .args([tool, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, license: Option<&str>, source: Option<&str>, req: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: Version::new(1, 0, 0),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            dependencies: vec![Requirement {
                name: "a".to_owned(),
                req: req.to_owned(),
                path: None,
            }],
        }
    }

    #[test]
    fn the_tree_of_what_is_built_is_read() {
        let found = parse_tree("a v1.0.0\nb v2.1.0-rc.1+x (proc-macro) (*)\n\na v1.0.0 (*)\n");
        let found = found.expect("it is a tree");
        let names: Vec<_> =
            found.iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(names, ["a 1.0.0", "b 2.1.0-rc.1+x"]);
        assert!(parse_tree("a 1.0.0").is_err());
    }

    #[test]
    fn each_fault_of_a_package_is_found() {
        let rules: Rules = toml::from_str(
            "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"ring\", reason = \"no\" }]\n\
             [advisories]\nignore = []\n",
        )
        .expect("it is well-formed");
        let good = (Some("MIT"), Some(REGISTRY), "^1");
        for (name, (license, source, req), faults) in [
            ("a", good, 0),
            ("a", (Some("MIT"), None, "^1"), 0),
            ("ring", good, 1),
            ("a", (None, Some(REGISTRY), "^1"), 1),
            ("a", (Some("GPL-3.0-only"), Some(REGISTRY), "^1"), 1),
            ("a", (Some("MIT AND"), Some(REGISTRY), "^1"), 1),
            ("a", (Some("MIT"), Some("git+https://example.org/a"), "^1"), 1),
            ("a", (Some("MIT"), None, "*"), 1),
            // Somebody else's wildcard is bounded by the lock file.
            ("a", (Some("MIT"), Some(REGISTRY), "*"), 0),
        ] {
            let found = package_faults(&package(name, license, source, req), &rules);
            assert_eq!(found.len(), faults, "{name} {license:?} {source:?} {req}: {found:?}");
        }
    }
}

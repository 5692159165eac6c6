//! The list of parts: what of others and of ours is in the program `coco`, each with version, licence and digest.
//!
//! In `CycloneDX` (ECMA-424, version 1.6), which tools for vulnerabilities and licences read. It is of the program for one
//! platform, follows from the lock file, and has no time and no number of its own: two lists of one commit are the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::{
    supply_chain::{
        Metadata, Package, Version,
        advisories::{Locked, locked},
        metadata, tree,
    },
    workspace::Workspace,
};

/// The program.
const PROGRAM: &str = "coco";
/// For which it is listed.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// No part of the program as Rust: its C sources are compiled into what scripts run in.
const EMBEDDED: [&str; 1] = ["rquickjs-sys"];

const USAGE: &str = "usage: cargo xtask parts [FILE]";

/// Writes the list into a file, or prints it.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let file = match arguments {
        [] => None,
        [file] if !file.starts_with('-') => Some(file),
        _ => bail!(USAGE),
    };
    let root = &workspace.root;
    let lock = locked(&root.join("Cargo.lock"))?;
    let edges = ["--edges", "normal,no-proc-macro"];
    let built = tree(root, &[&["--package", PROGRAM, "--target", PLATFORM], &edges[..]].concat())?;
    let list = list(&metadata(root)?, &lock, &built)?;
    let text = serde_json::to_string_pretty(&list)?;
    match file {
        None => println!("{text}"),
        Some(file) => {
            let path = Path::new(file);
            fs::write(path, text + "\n").with_context(|| format!("cannot write {file}"))?;
        }
    }
    Ok(())
}

fn list(
    metadata: &Metadata,
    lock: &[Locked],
    built: &BTreeSet<(String, Version)>,
) -> anyhow::Result<Value> {
    let digests: BTreeMap<(&str, &Version), &str> = lock
        .iter()
        .filter_map(|one| Some(((one.name.as_str(), &one.version), one.checksum.as_deref()?)))
        .collect();
    let mut parts = BTreeMap::new();
    let mut program = None;
    for package in &metadata.packages {
        let Package { name, version, .. } = package;
        let is_embedded = EMBEDDED.contains(&name.as_str());
        if !is_embedded && !built.contains(&(name.clone(), version.clone())) {
            continue;
        }
        let part = part(package, digests.get(&(name.as_str(), version)).copied());
        if name == PROGRAM {
            program = Some(part);
        } else {
            parts.insert((name, version), part);
        }
    }
    for name in EMBEDDED {
        let is_there = parts.keys().any(|(part, _)| *part == name);
        ensure!(is_there, "{name} is in the program, and not in the lock file");
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": program.context("the program is no package")? },
        "components": parts.into_values().collect::<Vec<_>>(),
    }))
}

fn part(package: &Package, digest: Option<&str>) -> Value {
    let Package { name, version, license, .. } = package;
    let kind = if name == PROGRAM { "application" } else { "library" };
    let own = format!("{name}@{version}");
    let mut part = json!({ "type": kind, "bom-ref": own, "name": name, "version": version });
    // What is ours is in no registry, where somebody else may have taken the name.
    if package.source.is_some() {
        part["purl"] = format!("pkg:cargo/{own}").into();
    }
    // Packages of before wrote `MIT/Apache-2.0`.
    if let Some(licence) = license {
        part["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(digest) = digest {
        part["hashes"] = json!([{ "alg": "SHA-256", "content": digest }]);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: &str) -> Package {
        let source = (name != PROGRAM).then_some("registry");
        let text = json!({
            "name": name, "version": version, "license": license, "source": source, "dependencies": [],
        });
        serde_json::from_value(text).expect("a package")
    }

    #[test]
    fn what_is_in_the_program_is_listed_and_nothing_else() {
        let packages = vec![
            package("coco", "0.1.0", "Apache-2.0"),
            package("old", "1.0.0", "MIT/Apache-2.0"),
            package("rquickjs-sys", "0.14.0", "MIT"),
            package("tool", "2.0.0", "MIT"),
        ];
        let lock = json!([
            { "name": "old", "version": "1.0.0", "checksum": "ab" },
            { "name": "coco", "version": "0.1.0" },
        ]);
        let lock: Vec<Locked> = serde_json::from_value(lock).expect("what a lock file says");
        let built = [("coco", "0.1.0"), ("old", "1.0.0")];
        let built = built.map(|(name, version)| (name.to_owned(), version.parse().expect("one")));
        let found = list(&Metadata { packages }, &lock, &built.into()).expect("a list");
        assert_eq!(found["metadata"]["component"]["bom-ref"], "coco@0.1.0");
        assert_eq!(found["metadata"]["component"].get("purl"), None);
        let parts = found["components"].as_array().expect("a list");
        let names: Vec<_> = parts.iter().map(|part| part["name"].clone()).collect();
        assert_eq!(names, ["old", "rquickjs-sys"]);
        assert_eq!(parts[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(parts[0]["purl"], "pkg:cargo/old@1.0.0");
        assert_eq!(parts[0]["hashes"][0]["content"], "ab");
        assert_eq!(parts[1].get("hashes"), None);
    }
}

//! The floors: who may lean on whom, and who may know the operating system.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::Context;

use crate::{
    conclude, source,
    workspace::{Crate, Dependency, DependencyKind, Workspace, files, has_extension},
};

/// The floor of every crate. A crate that is not here has no place yet: give it one in the change that adds it.
const FLOORS: [(&str, u8); 22] = [
    ("coco-types", 0),
    ("coco-planted", 0),
    ("coco-crypto", 1),
    ("coco-kv", 1),
    ("coco-script", 1),
    ("coco-ledger", 2),
    ("coco-consensus", 2),
    ("coco-governance", 2),
    ("coco-attest", 2),
    ("coco-adapter", 2),
    ("coco-replica", 3),
    ("coco-evm", 3),
    ("coco-api", 3),
    // Rules and a checker of traces: the simulator leans on it, and nothing that ships does.
    ("coco-model", 3),
    ("coco-node", 4),
    ("coco-client", 4),
    // A program of its own by nature, but `coco bench` is the way to it: so it stands below the one binary.
    ("coco-bench", 4),
    ("coco-sim", 4),
    ("coco", 5),
    ("coco-fuzz", 5),
    // A test tool that runs the one binary; nothing leans on it.
    ("coco-chaos", 5),
    // Builds nothing that ships, and nothing leans on it.
    ("xtask", 5),
];

/// Arrows of tests that do not point down, with the reason.
const DEV_EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Crates up to this floor are synchronous and know no operating system.
const PURE_FLOOR_MAX: u8 = 3;

/// Modules of the standard library that pure code does not name.
const STD_MODULES_REFUSED: [&str; 5] = ["env", "fs", "os", "process", "thread"];

/// The crate of the switch for planted bugs, its feature, and the only crate that may have a way to it.
const PLANTED_CRATE: &str = "coco-planted";
const PLANTED_FEATURE: &str = "planted";
const PLANTING_CRATE: &str = "coco-sim";

/// Words that pure code does not contain. Addresses are data, so `std::net` as such is none of them.
const WORDS_REFUSED: [&str; 17] = [
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "Instant::now",
    "SystemTime::now",
    "async fn",
    "async move",
    "tokio",
    "rand",
    "getrandom",
    "thread_rng",
    "OsRng",
    "SystemRandom",
    "RandomState",
];

/// A word that one file may contain all the same.
struct Exception {
    file: &'static str,
    word: &'static str,
    /// Why. Shown to readers of this table only.
    #[expect(dead_code, reason = "a reason is for people")]
    reason: &'static str,
}

const EXCEPTIONS: [Exception; 2] = [
    Exception {
        file: "crates/coco-crypto/src/ecdsa.rs",
        word: "rand",
        reason: "the library takes the nonce of a signature from the system, so that no caller can get it wrong",
    },
    Exception { file: "crates/coco-crypto/src/ecdsa.rs", word: "SystemRandom", reason: "as above" },
];

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let floors = BTreeMap::from(FLOORS);
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for one in &workspace.crates {
        let Some(floor) = floors.get(one.name.as_str()) else {
            faults.push(format!("{} stands on no floor: add it to the table in xtask", one.name));
            continue;
        };
        faults.extend(arrows(one, *floor, &floors));
        faults.extend(plantings(one));
        if *floor <= PURE_FLOOR_MAX {
            faults.extend(impurities(workspace, one, &mut used)?);
        }
    }
    for (i, exception) in EXCEPTIONS.iter().enumerate().filter(|(i, _)| !used.contains(i)) {
        let Exception { file, word, .. } = exception;
        faults.push(format!("exception {i} ({word} in {file}) is not needed any more: remove it"));
    }
    conclude("layers", &faults)
}

/// The arrows of a crate that do not point down.
fn arrows(one: &Crate, floor: u8, floors: &BTreeMap<&str, u8>) -> Vec<String> {
    let mut faults = Vec::new();
    for dependency in one.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
        let (from, to) = (one.name.as_str(), dependency.name.as_str());
        let Some(other) = floors.get(to) else { continue };
        let kind = match dependency.kind {
            None => "",
            Some(DependencyKind::Build) => " (build)",
            Some(DependencyKind::Dev) => " (dev)",
        };
        let is_excepted = dependency.kind == Some(DependencyKind::Dev)
            && DEV_EXCEPTIONS.iter().any(|(a, b, _)| (*a, *b) == (from, to));
        if *other >= floor && !is_excepted {
            let direction = if *other == floor { "sideways" } else { "up" };
            faults.push(format!(
                "{from} (floor {floor}) -> {to} (floor {other}){kind} points {direction}"
            ));
        }
    }
    faults
}

/// Ways by which planted bugs could reach what ships: features are united over all that one command builds.
fn plantings(one: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    let always = |dependency: &Dependency| {
        dependency.name == PLANTED_CRATE && !dependency.features.is_empty()
    };
    if one.dependencies.iter().any(always) {
        faults.push(format!("{} always asks for features of {PLANTED_CRATE}", one.name));
    }
    let turns_on = |on: &String| on.starts_with(PLANTED_CRATE) || on == PLANTED_FEATURE;
    for (feature, _) in one.features.iter().filter(|(_, on)| on.iter().any(turns_on)) {
        if one.name != PLANTING_CRATE || feature != PLANTED_FEATURE {
            faults.push(format!("the feature {feature} of {} plants bugs", one.name));
        }
    }
    faults
}

/// What the sources of a crate name that its floor does not know.
fn impurities(
    workspace: &Workspace,
    one: &Crate,
    used: &mut BTreeSet<usize>,
) -> anyhow::Result<Vec<String>> {
    let paths = files(&one.folder().join("src"))?;
    let mut sources: Vec<(PathBuf, String)> = Vec::new();
    let mut test_modules: Vec<(PathBuf, String)> = Vec::new();
    for path in paths.into_iter().filter(|path| has_extension(path, "rs")) {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (code, modules) = source::without_tests(&source::code_only(&text));
        test_modules.extend(modules.into_iter().map(|module| (path.clone(), module)));
        sources.push((path, code));
    }
    sources.retain(|(path, _)| {
        !test_modules.iter().any(|(parent, module)| source::is_of_module(path, parent, module))
    });
    let mut faults = Vec::new();
    for (path, code) in sources {
        let file = workspace.shown(&path).to_string();
        for (at, word) in refused(&code) {
            let exception = EXCEPTIONS
                .iter()
                .position(|exception| exception.file == file && exception.word == word);
            match exception {
                Some(i) => {
                    used.insert(i);
                }
                None => faults.push(format!(
                    "{file}:{}: {word} has no place below floor {}",
                    source::line(&code, at),
                    PURE_FLOOR_MAX + 1
                )),
            }
        }
    }
    Ok(faults)
}

/// What pure code does not contain, with its place.
fn refused(code: &str) -> Vec<(usize, String)> {
    let modules = source::std_modules(code)
        .into_iter()
        .filter(|(_, module)| STD_MODULES_REFUSED.contains(module))
        .map(|(at, module)| (at, format!("std::{module}")));
    let words = WORDS_REFUSED
        .iter()
        .flat_map(|word| source::words(code, word).map(|at| (at, (*word).to_owned())));
    let mut found: Vec<_> = modules.chain(words).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_with(name: &str, to: &str, kind: Option<DependencyKind>) -> Crate {
        Crate {
            name: name.into(),
            description: None,
            manifest_path: PathBuf::from("Cargo.toml"),
            dependencies: vec![Dependency {
                name: to.into(),
                kind,
                path: Some(PathBuf::from(to)),
                features: Vec::new(),
            }],
            features: BTreeMap::new(),
        }
    }

    #[test]
    fn arrows_point_down() {
        let floors = BTreeMap::from(FLOORS);
        for (from, to, kind, expected) in [
            ("coco-kv", "coco-types", None, None),
            ("coco-kv", "coco-crypto", None, Some("sideways")),
            ("coco-kv", "coco-node", None, Some("up")),
            ("coco-kv", "coco-crypto", Some(DependencyKind::Dev), Some("sideways")),
            ("coco", "coco-bench", None, None),
        ] {
            let found = arrows(&crate_with(from, to, kind), floors[from], &floors);
            assert_eq!(!found.is_empty(), expected.is_some(), "{from} -> {to}: {found:?}");
            assert!(expected.is_none_or(|word| found[0].ends_with(word)), "{found:?}");
        }
    }

    #[test]
    fn bugs_are_planted_for_the_simulator_only() {
        let with = |name: &str, asks: &[&str], feature: &str, on: &str| {
            let mut one = crate_with(name, PLANTED_CRATE, None);
            one.dependencies[0].features = asks.iter().map(|word| (*word).to_owned()).collect();
            one.features.insert(feature.into(), vec![on.into()]);
            plantings(&one).len()
        };
        assert_eq!(with("coco-sim", &[], "planted", "coco-planted/planted"), 0);
        assert_eq!(with("coco-sim", &[], "default", "planted"), 1);
        assert_eq!(with("coco-sim", &["planted"], "planted", "coco-planted/planted"), 1);
        assert_eq!(with("coco-node", &[], "planted", "coco-planted/planted"), 1);
        assert_eq!(with("coco-node", &[], "metrics", "dep:prometheus-client"), 0);
    }

    #[test]
    fn the_operating_system_is_recognised() {
        let names = |code: &str| -> Vec<String> {
            refused(&source::code_only(code)).into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(
            names("use std::{fs, io}; let t = Instant::now();"),
            ["std::fs", "Instant::now"]
        );
        assert_eq!(names("async fn f() { tokio::spawn(g()) }"), ["async fn", "tokio"]);
        assert_eq!(names("aws_lc_rs::rand::fill(&mut x)"), ["rand"]);
        let nothing: [&str; 0] = [];
        assert_eq!(names("// std::fs\nlet operand = \"tokio\"; std::net::IpAddr"), nothing);
    }
}

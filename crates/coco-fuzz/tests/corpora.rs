//! The corpora in `fuzz/corpus`, what real nodes wrote in `fuzz/seeds`, and the inputs made by hand, as plain tests: each
//! input once, on the stable compiler.

#![expect(clippy::print_stdout, reason = "a failing test shows the input that it failed on")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use coco_fuzz::{TARGETS, Target, check, target};

/// Most bytes of one committed corpus.
const CORPUS_BYTES_MAX: u64 = 100 << 10;
/// Most files of one.
const CORPUS_FILES_MAX: usize = 1000;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let listing =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = listing.map(|file| file.expect("it is listed").path()).collect();
    files.sort();
    files
}

fn run(name: &str) {
    let target = target(name).expect("it is in the list");
    for (n, seed) in (target.seeds)().iter().enumerate() {
        println!("{name}: seed {n}");
        check(target, seed);
    }
    let real = fuzz_folder().join("seeds").join(name);
    if real.exists() {
        run_files(target, &real);
    }
    let corpus = fuzz_folder().join("corpus").join(name);
    let count = files(&corpus).len();
    let (bytes, held) = run_files(target, &corpus);
    assert!(bytes > 0, "the corpus of {name} is empty");
    assert!(count <= CORPUS_FILES_MAX, "the corpus of {name} has {count} files: minimise it");
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus of {name} has {bytes} bytes: minimise it");
    println!("{name}: {bytes} bytes in the corpus, at most {held} bytes of memory held");
}

/// Runs every file of a folder; how many bytes they have, and the most memory that one held.
fn run_files(target: &Target, folder: &Path) -> (u64, usize) {
    let (mut bytes, mut held) = (0, 0);
    for path in files(folder) {
        // A failing test shows the last of these lines, and so the input.
        println!("{}: {}", target.name, path.file_name().unwrap_or_default().display());
        let input = fs::read(&path).expect("it is readable");
        bytes += input.len() as u64;
        held = held.max(check(target, &input));
    }
    (bytes, held)
}

macro_rules! corpora {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

corpora!(
    bearer_token,
    certificate,
    client_answer,
    client_certificate,
    cose_sign1,
    endorsements,
    entry,
    evidence,
    governance_document,
    governance_request,
    http_route,
    issuer_keys,
    json_rpc,
    key_pem,
    ledger,
    log_filter,
    node_join,
    raw_transaction,
    receipt_cose,
    receipt_json,
    recovery_share,
    rpc_params,
    script_value,
    snapshot,
    write_set,
    codec,
    consensus_message,
    genesis,
    hard_state,
    identifiers,
    ledger_secrets,
    node_config,
    peer_frame,
    snapshot_entry,
    state_image,
    stored_values,
);

#[test]
fn every_target_is_here_and_under_the_fuzzer() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, NAMES);
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("it is readable");
    for name in &names {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\n")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
    let programs = files(&fuzz_folder().join("fuzz_targets"));
    let stems = programs.iter().filter_map(|path| path.file_stem()?.to_str());
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(stems.collect::<Vec<_>>(), sorted);
    let corpora = files(&fuzz_folder().join("corpus"));
    let stems = corpora.iter().filter_map(|path| path.file_name()?.to_str());
    assert_eq!(stems.collect::<Vec<_>>(), sorted);
}

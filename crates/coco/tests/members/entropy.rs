//! What keys are made of when the host says what is random.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::{desk::Desk, ended::program_in};

/// What a generator of random numbers is begun with has at least so many bytes; hash tables ask for fewer.
const SEED_BYTES_MIN: usize = 32;

#[test]
fn keys_differ_though_the_system_gives_zeros_for_random_numbers() {
    let desk = Desk::empty();
    let zeros = desk.path("zeros.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/members/zeros.c");
    let flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o", &zeros, source];
    let built = Command::new("clang").args(flags).output().expect("clang builds the engine, too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut keys = BTreeSet::new();
    for name in ["one", "two", "three"] {
        let dir = desk.path(name);
        let mut program = program_in(desk.folder(), Path::new(env!("CARGO_BIN_EXE_coco")));
        program.env("LD_PRELOAD", &zeros).args(["keys", "new", "acme", "--dir", &dir]);
        let made = program.arg("--encryption").output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        let asked = said.lines().filter_map(|line| line.strip_prefix("random zeros: "));
        let most = asked.filter_map(|bytes| bytes.parse::<usize>().ok()).max();
        assert!(most >= Some(SEED_BYTES_MIN), "nothing was begun with zeros: {said}");
        for file in ["acme_privk.pem", "acme_enc_privk.pem"] {
            keys.insert(fs::read(desk.folder().join(name).join(file)).unwrap());
        }
    }
    assert_eq!(keys.len(), 6, "each is another");
}

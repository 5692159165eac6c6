//! Builds a program twice, from two folders with names of different lengths, and compares the files byte for byte.
//!
//! What would differ is told to both compilers alike: folders are given one name each, and the time is that of the commit.
//! What is built is the commit and not the working tree. Two release builds from nothing take a while: this is not part
//! of `ci`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use crate::{
    git::git,
    step::{Step, timed},
    workspace::Workspace,
};

/// Under this name the sources appear in what is built.
const SOURCES_SHOWN: &str = "/coco";
/// And so what cargo has fetched.
const CARGO_SHOWN: &str = "/cargo";

const USAGE: &str = "usage: cargo xtask reproduce [--profile PROFILE] [--package PACKAGE]";

/// What is built.
#[derive(Debug, PartialEq)]
struct Request<'a> {
    profile: &'a str,
    package: &'a str,
}

fn read<'a>(arguments: &[&'a str]) -> anyhow::Result<Request<'a>> {
    let mut request = Request { profile: "release", package: "coco" };
    for pair in arguments.chunks(2) {
        match *pair {
            ["--profile", profile] => request.profile = profile,
            ["--package", package] => request.package = package,
            _ => bail!(USAGE),
        }
    }
    Ok(request)
}

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let request = read(&words)?;
    let repeat = format!("cargo xtask reproduce {}", words.join(" "));
    timed("reproduce", &repeat, || twice(workspace, &request))
}

fn twice(workspace: &Workspace, request: &Request<'_>) -> anyhow::Result<()> {
    let commit = git(workspace, &["rev-parse", "HEAD"])?;
    let time = git(workspace, &["log", "-1", "--format=%ct"])?;
    let folder = workspace.target.join("reproduce");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let mut built = Vec::new();
    for name in ["one", "another-with-a-longer-name"] {
        let place = folder.join(name);
        check_out(workspace, &commit, &place)?;
        let file = build(&place, request, &time)?;
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // Only the file is looked at from here on, and two target folders of a release build are large.
        fs::remove_dir_all(place.join("target"))?;
        built.push(bytes);
    }
    println!(
        "commit {commit}, {} of {}, {} bytes",
        request.profile,
        request.package,
        built[0].len()
    );
    ensure!(
        built[0] == built[1],
        "the two builds differ: {} and {} bytes, first at {:?}, in {} places",
        built[0].len(),
        built[1].len(),
        built[0].iter().zip(&built[1]).position(|(one, other)| one != other),
        built[0].iter().zip(&built[1]).filter(|(one, other)| one != other).count(),
    );
    let kept = folder.join(request.package);
    fs::write(&kept, &built[0]).with_context(|| format!("cannot write {}", kept.display()))?;
    Step::new("digest", "sha256sum", &folder).argument(request.package).run()?;
    println!("both builds are the same, byte for byte");
    Ok(())
}

/// The files of a commit, without history.
fn check_out(workspace: &Workspace, commit: &str, place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    let archive = place.with_extension("tar");
    Step::new("files of the commit", "git", &workspace.root)
        .arguments("archive --format tar --output")
        .argument(&archive)
        .argument(commit)
        .run()?;
    Step::new("unpack", "tar", place).arguments("--extract --file").argument(&archive).run()?;
    fs::remove_file(&archive)?;
    Ok(())
}

fn build(place: &Path, request: &Request<'_>, time: &str) -> anyhow::Result<PathBuf> {
    let cargo_home = cargo_home()?;
    // Rust shows both in panic messages and line tables, C in assertions.
    let maps = [(place, SOURCES_SHOWN), (&cargo_home, CARGO_SHOWN)];
    let shown = |flag: &str, between: &str| {
        let each = maps.iter().map(|(from, to)| format!("{flag}={}={to}", from.display()));
        each.collect::<Vec<_>>().join(between)
    };
    let target = place.join("target");
    Step::new(format!("build in {}", place.display()), "cargo", place)
        .arguments("build --locked --package")
        .argument(request.package)
        .argument("--profile")
        .argument(request.profile)
        .environment("CARGO_TARGET_DIR", &target)
        .environment("CARGO_INCREMENTAL", "0")
        // The separator of this variable, so that folders may have spaces in their names.
        .environment("CARGO_ENCODED_RUSTFLAGS", shown("--remap-path-prefix", "\x1f"))
        .environment("CFLAGS", shown("-ffile-prefix-map", " "))
        .environment("CXXFLAGS", shown("-ffile-prefix-map", " "))
        .environment("SOURCE_DATE_EPOCH", time)
        .environment("ZERO_AR_DATE", "1")
        .run()?;
    // The one profile whose folder is called otherwise.
    let folder = if request.profile == "dev" { "debug" } else { request.profile };
    Ok(target.join(folder).join(request.package))
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(folder.into());
    }
    let home = std::env::home_dir().context("neither CARGO_HOME nor a home folder is known")?;
    Ok(home.join(".cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_chosen() {
        let release = Request { profile: "release", package: "coco" };
        assert_eq!(read(&[]).expect("all is given"), release);
        let small = read(&["--profile", "dev", "--package", "xtask"]).expect("it is a choice");
        assert_eq!(small, Request { profile: "dev", package: "xtask" });
        for wrong in [&["--profile"][..], &["--package", "a", "b"], &["all", "of it"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}

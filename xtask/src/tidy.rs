//! What neither the compiler nor clippy looks at.

mod claims;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{
    conclude, source,
    workspace::{Workspace, files, has_extension},
};

/// Longest source file, in lines. A file that needs more answers two questions.
const SOURCE_LINES_MAX: usize = 800;

/// Files whose text is looked at line by line.
const TEXT_EXTENSIONS: [&str; 14] = [
    "rs", "md", "toml", "py", "sh", "mjs", "js", "json", "txt", "sol", "yml", "yaml", "lock",
    "html",
];

/// Names that say nothing.
const NAMES_REFUSED: [&str; 7] =
    ["util", "utils", "common", "helper", "helpers", "manager", "misc"];

/// Paths of somebody's machine. Written in two parts, so that this file does not contain them.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:", "\\Users"),
];

/// The word that marks work as unfinished, in any text.
const MARK_REFUSED: &str = concat!("FIX", "ME");

/// Macros that do not reach the main branch, in code.
const MACROS_REFUSED: [&str; 3] = ["todo!", "dbg!", "unimplemented!"];

/// Words that unsafe code, or a way around the lint that denies it, cannot do without.
const UNSAFE_WORDS: [&str; 2] = ["unsafe", "unsafe_code"];

pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut faults = manifests(workspace)?;
    let files = files(&workspace.root)?;
    for path in &files {
        faults.extend(file(workspace, path)?);
    }
    faults.extend(decisions(workspace, &files)?);
    faults.extend(book(workspace)?);
    faults.extend(claims::faults(workspace, &files)?);
    conclude("tidy", &faults)
}

/// What the workspace's lints must say. A crate takes all of them or none, see [`manifests`].
const UNSAFE_DENIED: &str = "\nunsafe_code = \"deny\"\n";

/// Every crate says what it is for and takes the workspace's lints, which deny unsafe code.
fn manifests(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    if !read(&workspace.root.join("Cargo.toml"))?.contains(UNSAFE_DENIED) {
        faults.push("Cargo.toml does not deny unsafe code".to_owned());
    }
    for one in &workspace.crates {
        if one.description.as_deref().is_none_or(str::is_empty) {
            faults.push(format!("{} has no description: its charter in one sentence", one.name));
        }
        if !read(&one.manifest_path)?.contains("[lints]\nworkspace = true") {
            faults.push(format!("{} does not take the workspace's lints", one.name));
        }
    }
    Ok(faults)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn file(workspace: &Workspace, path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = workspace.shown(path).to_string();
    let mut faults = Vec::new();
    let stem = path.file_stem().unwrap_or_default();
    if NAMES_REFUSED.iter().any(|name| stem == *name) {
        faults.push(format!("{shown}: the name says nothing"));
    }
    let is_text = path
        .extension()
        .is_none_or(|extension| TEXT_EXTENSIONS.iter().any(|known| extension == *known));
    if !is_text {
        return Ok(faults);
    }
    let Ok(text) = String::from_utf8(fs::read(path)?) else {
        faults.push(format!("{shown}: not UTF-8, though its name says that it is text"));
        return Ok(faults);
    };
    faults.extend(content(path, &shown, &text));
    Ok(faults)
}

fn content(path: &Path, shown: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let is_rust = has_extension(path, "rs");
    let is_prose = has_extension(path, "md");
    for (i, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", i + 1);
        if let Some(found) = MACHINE_PATHS.iter().find(|found| line.contains(**found)) {
            faults.push(format!("{place}: {found} is a path of one machine"));
        }
        if source::words(line, MARK_REFUSED).next().is_some() {
            faults.push(format!("{place}: {MARK_REFUSED}: open an issue instead"));
        }
        if (is_rust || is_prose) && line.ends_with([' ', '\t']) {
            faults.push(format!("{place}: space at the end of the line"));
        }
        if (is_rust || is_prose) && line.contains('\t') {
            faults.push(format!("{place}: a tab"));
        }
    }
    if (is_rust || is_prose) && !text.is_empty() && !text.ends_with('\n') {
        faults.push(format!("{shown}: no newline at the end"));
    }
    if is_rust {
        let code = source::code_only(text);
        for name in MACROS_REFUSED {
            let places = source::words(&code, name);
            faults.extend(places.map(|at| format!("{shown}:{}: {name}", source::line(&code, at))));
        }
        for name in UNSAFE_WORDS {
            let places = source::words(&code, name);
            faults.extend(places.map(|at| {
                let line = source::line(&code, at);
                format!(
                    "{shown}:{line}: {name}: there is no unsafe code, and no exception from that"
                )
            }));
        }
        let lines = text.lines().count();
        if path.components().any(|part| part.as_os_str() == "src") && lines > SOURCE_LINES_MAX {
            faults.push(format!(
                "{shown} has {lines} lines, {SOURCE_LINES_MAX} are the most: make it two files"
            ));
        }
    }
    if path.file_name().is_some_and(|name| name == "package-lock.json")
        && text.contains("\"resolved\"")
    {
        // npm takes the registry that it is configured for; a host in the lock file would bind everybody to one.
        faults.push(format!(
            "{shown} names registry hosts: run npm with omit-lockfile-registry-resolved"
        ));
    }
    faults
}

/// Every decision is listed in the index, and every listed decision is there.
fn decisions(workspace: &Workspace, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let folder = workspace.root.join("docs/adr");
    let index = read(&folder.join("README.md"))?;
    let mut faults = Vec::new();
    let mut names = Vec::new();
    for path in files.iter().filter(|path| path.parent() == Some(&folder)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != "README.md" && !index.contains(&format!("]({name})")) {
            faults.push(format!("docs/adr/{name} is not listed in docs/adr/README.md"));
        }
        names.push(name);
    }
    for link in index.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
        if has_extension(Path::new(link.0), "md")
            && !link.0.contains('/')
            && !names.iter().any(|name| name == link.0)
        {
            faults.push(format!("docs/adr/README.md lists {}, which is not there", link.0));
        }
    }
    Ok(faults)
}

/// The operators' page names every setting, method and metric.
fn book(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let page = read(&workspace.root.join("docs/book/README.md"))?;
    let source = |path: &str| read(&workspace.root.join("crates").join(path));
    let settings = settings(&source("coco-node/src/config.rs")?);
    let methods = methods(&source("coco-evm/src/rpc/method.rs")?);
    let metrics = metrics(&source("coco-node/src/metrics.rs")?);
    let missing = [settings, methods, metrics]
        .into_iter()
        .flatten()
        .filter(|name| !page.contains(name))
        .map(|name| format!("docs/book/README.md does not speak of {name}"));
    Ok(missing.collect())
}

/// The public fields, as the table of settings spells them: the last part of a path in backticks.
fn settings(source: &str) -> Vec<String> {
    let fields = source.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
    let names = fields.map(|(name, _)| name).filter(|name| !name.contains(' '));
    // Tables of the file are named by what is in them.
    let tables =
        ["client", "development_http", "peer", "ledger", "consensus", "limits", "ethereum", "jwt"];
    names.filter(|name| !tables.contains(name)).map(|name| format!("{name}`")).collect()
}

/// The names of JSON-RPC methods, in backticks.
fn methods(source: &str) -> Vec<String> {
    let spaces = ["web3_", "net_", "eth_", "txpool_"];
    let literals = source.split('"').skip(1).step_by(2);
    let names = literals.filter(|text| spaces.iter().any(|space| text.starts_with(space)));
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.sort();
    names.dedup();
    names
}

/// The names of metrics, without what the text format puts behind them.
fn metrics(source: &str) -> Vec<String> {
    let registered = source.split("registry.register").skip(1);
    registered
        .filter_map(|call| call.split('"').nth(1))
        .map(|name| format!("`coco_{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, text: &str) -> usize {
        content(Path::new(name), name, text).len()
    }

    #[test]
    fn each_fault_is_found_once() {
        for (name, text) in [
            ("a.md", concat!("see /ho", "me/somebody\n")),
            ("a.md", "two  \n"),
            ("a.md", "a\tb\n"),
            ("a.md", "no end"),
            ("a.py", concat!("# FIX", "ME later\n")),
            ("a.rs", concat!("fn f() { to", "do!() }\n")),
            ("a.rs", "fn f() { unsafe { g() } }\n"),
            ("a.rs", "#![expect(unsafe_code, reason = \"none is good enough\")]\n"),
            ("package-lock.json", "{\"resolved\": \"https://registry\"}\n"),
        ] {
            assert_eq!(faults(name, text), 1, "{name}: {text}");
        }
    }

    #[test]
    fn sources_have_a_most_of_lines() {
        for (lines, expected) in [(SOURCE_LINES_MAX, 0), (SOURCE_LINES_MAX + 1, 1)] {
            assert_eq!(faults("crates/a/src/b.rs", &"x\n".repeat(lines)), expected, "{lines}");
            assert_eq!(faults("crates/a/tests/b.rs", &"x\n".repeat(lines)), 0, "{lines}");
        }
    }

    #[test]
    fn what_the_book_must_name_is_found() {
        let config = "pub struct A {\n    pub ledger: B,\n    pub data_dir: PathBuf,\n}\n    pub fn f(a: u8) {}\n";
        assert_eq!(settings(config), ["data_dir`"]);
        assert_eq!(
            methods(r#"match "eth_call" { "no" => ("eth_call", "net_version") }"#),
            ["`eth_call`", "`net_version`"]
        );
        let text = "registry.register(\"view\", \"Current view\");\nregistry.register_with_unit(\n  \"fsync\", \"Time\")";
        assert_eq!(metrics(text), ["`coco_view", "`coco_fsync"]);
    }

    #[test]
    fn what_is_in_order_is_left_alone() {
        for (name, text) in [
            ("a.rs", concat!("// a to", "do! in a comment\nconst A: &str = \"db", "g!\";\n")),
            ("a.md", "a clean line\n"),
            ("a.py", "trailing \t\n"),
        ] {
            assert_eq!(faults(name, text), 0, "{name}: {text}");
        }
    }
}

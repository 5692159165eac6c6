//! Pages name tests that show what they say. Each of these tests is there, and each row of the table of attacks has one or
//! says that nothing is there yet.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::read;
use crate::{
    source,
    workspace::{Workspace, has_extension},
};

/// The table of attacks.
const ATTACKS: &str = "docs/book/attacks.md";
/// What a row of it says that has no test.
const ABSENT: &str = "Not there";

pub(super) fn faults(workspace: &Workspace, files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let docs = workspace.root.join("docs");
    let mut faults = Vec::new();
    for path in files.iter().filter(|path| path.starts_with(&docs) && has_extension(path, "md")) {
        let (shown, text) = (workspace.shown(path).to_string(), read(path)?);
        for (line, file, test) in claims(&text) {
            let source = fs::read_to_string(place(&workspace.root, file)).unwrap_or_default();
            if !has_test(&source, test) {
                faults.push(format!("{shown}:{line}: there is no test {file}::{test}"));
            }
        }
        if shown == ATTACKS {
            faults.extend(rows_without_test(&text).map(|line| {
                format!("{shown}:{line}: the row names no test and does not say \"{ABSENT}\"")
            }));
        }
    }
    Ok(faults)
}

/// The tests that a text names in backticks, `FILE.rs::TEST`, with the number of the line.
fn claims(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().flat_map(|(i, line)| {
        let quoted = line.split('`').skip(1).step_by(2);
        quoted.filter_map(move |quoted| {
            let (file, test) = quoted.split_once("::")?;
            has_extension(Path::new(file), "rs").then_some((i + 1, file, test))
        })
    })
}

/// Files are named as below `crates`, but for those of this tool.
fn place(root: &Path, file: &str) -> PathBuf {
    if file.starts_with("xtask/") { root.join(file) } else { root.join("crates").join(file) }
}

fn has_test(source: &str, name: &str) -> bool {
    let code = source::code_only(source);
    let mut functions = code.split("test]").skip(1).filter_map(|rest| rest.split_once("fn "));
    functions.any(|(_, rest)| rest.split(['(', '<']).next() == Some(name))
}

/// The rows that begin with a number and say neither of the two, by the numbers of their lines.
fn rows_without_test(text: &str) -> impl Iterator<Item = usize> + '_ {
    let is_row = |line: &str| {
        line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let lines = text.lines().enumerate();
    lines
        .filter(move |(_, line)| is_row(line))
        .filter(|(_, line)| claims(line).next().is_none() && !line.contains(ABSENT))
        .map(|(i, _)| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_in_backticks() {
        let text = "see `a/b.rs::one`, `a/b.rs` and `View::next`\n\n| 1 | x | `c.rs::two`<br>`c.rs::three` |\n";
        let found: Vec<_> = claims(text).collect();
        assert_eq!(found, [(1, "a/b.rs", "one"), (3, "c.rs", "two"), (3, "c.rs", "three")]);
    }

    #[test]
    fn a_test_is_a_function_that_is_marked_as_one() {
        let source = "/// #[test] fn no() {}\nfn helper() {}\n#[test]\nfn one() {}\n#[test]\n#[ignore]\nfn two() -> R {}\nfn three() {}\n";
        for (name, expected) in [
            ("one", true),
            ("two", true),
            ("three", false),
            ("helper", false),
            ("no", false),
            ("on", false),
        ] {
            assert_eq!(has_test(source, name), expected, "{name}");
        }
        assert!(!has_test("", "one"), "a file that is not there");
    }

    #[test]
    fn a_row_has_a_test_or_says_that_nothing_is_there() {
        let text = "| # | a | b |\n|---|---|---|\n| 1 | x | `c.rs::two` |\n| 2 | Not there yet. | |\n| 3 | x | `c.rs` |\n";
        assert_eq!(rows_without_test(text).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn files_are_named_below_the_crates() {
        let root = Path::new("r");
        assert_eq!(place(root, "coco-kv/src/lib.rs"), Path::new("r/crates/coco-kv/src/lib.rs"));
        assert_eq!(place(root, "xtask/src/tidy.rs"), Path::new("r/xtask/src/tidy.rs"));
    }
}

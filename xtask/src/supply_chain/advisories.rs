//! `RustSec` advisories: a TOML block at the start of a Markdown file each, in a folder for each crate.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use semver::{Version, VersionReq};
use serde::Deserialize;

use super::REGISTRY;
use crate::workspace::{files, has_extension};

/// One advisory.
#[derive(Debug)]
pub(super) struct Advisory {
    pub(super) id: String,
    package: String,
    /// Not about a vulnerability, but about what: `unmaintained`, `unsound`, `notice`.
    informational: Option<String>,
    /// Versions that it is not about.
    others: Vec<VersionReq>,
    title: String,
}

/// A package of a lock file.
#[derive(Debug, Deserialize)]
pub(crate) struct Locked {
    pub(crate) name: String,
    pub(crate) version: Version,
    source: Option<String>,
    /// SHA-256 of what the registry gave; none of what is ours.
    pub(crate) checksum: Option<String>,
}

impl Advisory {
    /// Whether it is about this package. Advisories are about crates of the registry, not about ours of the same name.
    pub(super) fn concerns(&self, locked: &Locked) -> bool {
        self.package == locked.name
            && locked.source.as_deref() == Some(REGISTRY)
            && !self.others.iter().any(|versions| versions.matches(&locked.version))
    }

    /// Whether it is told and not refused: that nobody keeps a crate any more, unless we lean on it ourselves.
    pub(super) fn is_only_a_note(&self, is_direct: bool) -> bool {
        match self.informational.as_deref() {
            Some("unmaintained") => !is_direct,
            Some("notice") => true,
            // Unsound, vulnerable, or of a kind that is not known yet.
            _ => false,
        }
    }

    pub(super) fn title(&self) -> String {
        let kind = self.informational.as_deref().unwrap_or("vulnerability");
        format!("{} ({kind}): {}", self.id, self.title)
    }
}

#[derive(Deserialize)]
struct File {
    advisory: Head,
    versions: Versions,
}

#[derive(Deserialize)]
struct Head {
    id: String,
    package: String,
    informational: Option<String>,
    withdrawn: Option<toml::Value>,
}

#[derive(Deserialize)]
struct Versions {
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

/// Reads all advisories that were not withdrawn.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Advisory>> {
    let mut all = Vec::new();
    for path in files(&folder.join("crates"))? {
        if has_extension(&path, "md") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let advisory = parse(&text).with_context(|| path.display().to_string())?;
            all.extend(advisory);
        }
    }
    if all.is_empty() {
        bail!("{} holds no advisories", folder.display());
    }
    Ok(all)
}

/// Reads one; none when it was withdrawn.
fn parse(text: &str) -> anyhow::Result<Option<Advisory>> {
    let block = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("\n```"));
    let (block, prose) = block.context("there is no TOML block")?;
    let File { advisory, versions } = toml::from_str(block)?;
    if advisory.withdrawn.is_some() {
        return Ok(None);
    }
    let title = prose.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    Ok(Some(Advisory {
        id: advisory.id,
        package: advisory.package,
        informational: advisory.informational,
        others: [versions.patched, versions.unaffected].concat(),
        title: title.to_owned(),
    }))
}

/// The packages of a lock file.
pub(crate) fn locked(path: &Path) -> anyhow::Result<Vec<Locked>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(lock.package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advisory(fields: &str, versions: &str) -> Option<Advisory> {
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2000-0001\"\npackage = \"a\"\n{fields}\n[versions]\n{versions}\n```\n\n# Title\n"
        );
        parse(&text).expect("it is well-formed")
    }

    fn locked(name: &str, version: &str, source: Option<&str>) -> Locked {
        let version = version.parse().expect("it is a version");
        let source = source.map(str::to_owned);
        Locked { name: name.to_owned(), version, source, checksum: None }
    }

    #[test]
    fn an_advisory_concerns_what_is_neither_patched_nor_unaffected() {
        let versions =
            "patched = [\">= 1.2.3, < 2.0.0\", \">= 2.1.0\"]\nunaffected = [\"< 1.0.0\"]";
        let advisory = advisory("", versions).expect("it was not withdrawn");
        for (version, expected) in [
            ("0.9.9", false),
            ("1.0.0", true),
            ("1.2.2", true),
            ("1.2.3", false),
            ("2.0.0", true),
            ("2.0.9", true),
            ("2.1.0", false),
        ] {
            assert_eq!(
                advisory.concerns(&locked("a", version, Some(REGISTRY))),
                expected,
                "{version}"
            );
        }
        assert!(!advisory.concerns(&locked("b", "1.0.0", Some(REGISTRY))));
        assert!(!advisory.concerns(&locked("a", "1.0.0", None)), "ours, by another name for it");
        assert_eq!(advisory.title(), "RUSTSEC-2000-0001 (vulnerability): Title");
    }

    #[test]
    fn what_is_only_a_note_depends_on_who_leans_on_it() {
        for (fields, direct, expected) in [
            ("", false, false),
            ("informational = \"unsound\"", false, false),
            ("informational = \"unmaintained\"", false, true),
            ("informational = \"unmaintained\"", true, false),
            ("informational = \"notice\"", true, true),
            ("informational = \"something-new\"", false, false),
        ] {
            let advisory = advisory(fields, "patched = []").expect("it was not withdrawn");
            assert_eq!(advisory.is_only_a_note(direct), expected, "{fields} {direct}");
        }
        assert!(advisory("withdrawn = \"2025-01-01\"", "patched = []").is_none());
    }
}

//! Files that are there whole or not at all, whenever the power goes.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use anyhow::Context;

/// Writes a file in the place of the one that may be there. Durable on return.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let folder = path.parent().context("a file lies in a folder")?;
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft).with_context(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(failed)?;
    fs::rename(&draft, path).with_context(failed)?;
    sync_folder(folder)
}

/// Makes the names of a folder's files durable.
pub(super) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|open| open.sync_all())
        .with_context(|| format!("cannot make {} durable", folder.display()))
}

//! What a cut met, by what the disk says of the moment.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use coco_node::snapshot_files::{SNAPSHOT_FOLDER, SNAPSHOTS_KEPT};

/// The version of the format with which a snapshot begins.
const SNAPSHOT_VERSION: u8 = 1;

/// What was under way in the ledger and among the snapshots of a node's folder.
pub(super) fn all(data: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut met = vec![ledger(&data.join("ledger"))?];
    met.extend(snapshots(&data.join(SNAPSHOT_FOLDER))?);
    Ok(met)
}

fn ledger(ledger: &Path) -> anyhow::Result<&'static str> {
    let mut is_named_last = true;
    let mut open = None;
    for file in fs::read_dir(ledger)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        match name.split_once('-') {
            None => open = Some(ledger.join(&name)),
            Some(_) => is_named_last &= name.ends_with(".committed"),
        }
    }
    let Some(open) = open else { return Ok("no open chunk") };
    let mut header = [0; 8];
    let is_whole = File::open(&open)?.read_exact(&mut header).is_ok();
    Ok(match (is_whole, header == [0; 8], is_named_last) {
        (false, ..) => "chunk being opened",
        (true, false, _) => "chunk being closed",
        (true, true, false) => "closed chunk without its final name",
        (true, true, true) => "append",
    })
}

fn snapshots(folder: &Path) -> anyhow::Result<Vec<&'static str>> {
    // The first cuts may come before a node has made the folder.
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut met = Vec::new();
    let mut complete = 0;
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().ends_with(".unfinished") {
            met.push(unfinished(&file.path())?);
        } else {
            complete += 1;
        }
    }
    if complete > SNAPSHOTS_KEPT {
        met.push("old snapshot not yet removed");
    }
    Ok(met)
}

/// How far a snapshot had got. Its entry begins with a version, a byte of flags, and how many bytes follow the first 8.
fn unfinished(path: &Path) -> anyhow::Result<&'static str> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    let mut header = [0; 8];
    if file.read_exact(&mut header).is_err() || header[0] != SNAPSHOT_VERSION {
        return Ok("snapshot being written");
    }
    let mut size = [0; 8];
    size[..6].copy_from_slice(&header[2..]);
    Ok(match found.cmp(&u64::from_le_bytes(size).saturating_add(8)) {
        std::cmp::Ordering::Less => "snapshot being written",
        std::cmp::Ordering::Equal => "snapshot without its proof",
        std::cmp::Ordering::Greater => "snapshot without its final name",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_as_far_as_its_length_says() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let path = folder.path().join("snapshot");
        let with = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("writes");
            unfinished(&path).expect("reads")
        };
        let entry = [1, 0, 3, 0, 0, 0, 0, 0, 7, 7, 7];
        for end in 0..entry.len() {
            assert_eq!(with(&entry[..end]), "snapshot being written", "{end}");
        }
        assert_eq!(with(&[0; 40]), "snapshot being written");
        assert_eq!(with(&entry), "snapshot without its proof");
        assert_eq!(with(&[&entry[..], b"p"].concat()), "snapshot without its final name");
    }
}

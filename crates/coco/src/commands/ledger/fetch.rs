//! `coco ledger fetch`: the complete files of a ledger, from any node that offers them, for whoever has no access to its disk.

use std::{
    fs::{self, File},
    io::Write,
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use coco_ledger::{Chunk, ChunkName};
use coco_types::Seqno;
use serde_json::json;

use crate::{
    codes::Code,
    fault::Fault,
    files,
    output::Output,
    session::{NetworkArgs, Session},
};

/// Bytes that are asked for at a time.
const PART_BYTES: NonZeroU64 = NonZeroU64::new(8 << 20).expect("it is more than nothing");
/// Largest file: positions in it have 32 bits.
const CHUNK_BYTES_MAX: u64 = 1 << 32;
/// Stands behind the name of a file that is not whole yet.
const UNFINISHED: &str = ".part";

#[derive(Debug, clap::Args)]
pub(crate) struct FetchArgs {
    /// Where the files are put; those that are there already are not fetched again
    folder: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(super) fn run(arguments: &FetchArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let (mut last, mut count, mut fetched) = (Seqno::ZERO, 0, 0);
    let end = loop {
        let asked = session.try_ask(|client| client.ledger_chunk_at(last.next()));
        let name = match asked {
            Ok(name) => name,
            // The end, if there was a beginning.
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.status == 404 && count > 0 => {
                    break refusal.message.clone();
                }
                _ => return Err(error.into()),
            },
        };
        let chunk = holding(&name, last.next()).ok_or_else(|| {
            let message = format!("{name:?} was named for entry {}", last.next());
            Fault::new(Code::NotUnderstood, message)
        })?;
        let path = folder.join(&name);
        if path.exists() {
            check_whole(&path, &chunk)?;
        } else {
            fetch(&session, &chunk, &path)?;
            fetched += 1;
        }
        count += 1;
        last = last_of(&chunk);
    };
    let shown = folder.display().to_string();
    let members = json!({ "folder": shown, "files": count, "fetched": fetched, "last": last.0 });
    output.print("ledger.fetch", members, || {
        format!(
            "{shown} has entries 1 to {last} in {count} files, {fetched} of them new\n\
             not there: {end}\n\
             next  coco ledger verify {shown} --service-cert FILE"
        )
    });
    Ok(())
}

/// The file of this name, if it is complete, committed, and begins with this entry.
fn holding(name: &str, seqno: Seqno) -> Option<ChunkName> {
    let chunk: ChunkName = name.parse().ok()?;
    (chunk.is_committed && chunk.first == seqno && seqno <= last_of(&chunk)).then_some(chunk)
}

/// The last entry of a complete file.
fn last_of(chunk: &ChunkName) -> Seqno {
    chunk.last.unwrap_or(Seqno::ZERO)
}

/// Checks that a file is a closed chunk with the entries of its name: the end of what a node gives need not be the file's.
/// Nothing is verified.
fn check_whole(path: &Path, name: &ChunkName) -> Result<(), Fault> {
    let bytes = files::read(path)?;
    let is_whole = Chunk::parse(&bytes).is_ok_and(|chunk| {
        let entries = chunk.entries.iter().map(|(_, entry)| entry.tx_id().seqno.0);
        chunk.is_closed && entries.eq(name.first.0..=last_of(name).0)
    });
    if is_whole {
        return Ok(());
    }
    Err(Fault::new(Code::NotUnderstood, format!("this is not the whole of {name}"))
        .with("file", path.display().to_string())
        .next("remove it, and fetch it again, from another node if need be"))
}

fn fetch(session: &Session, name: &ChunkName, path: &Path) -> Result<(), Fault> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let failed = |error: std::io::Error| unwritable(&unfinished, &error);
    let mut file = File::create(&unfinished).map_err(failed)?;
    let from = format!("/node/ledger_chunk/{name}");
    let mut offset = 0;
    loop {
        let part = session.ask(|client| client.part(&from, offset, PART_BYTES))?;
        file.write_all(&part).map_err(failed)?;
        offset += part.len() as u64;
        if (part.len() as u64) < PART_BYTES.get() {
            break;
        }
        if offset > CHUNK_BYTES_MAX {
            let message = format!("{name} has more than {CHUNK_BYTES_MAX} bytes");
            return Err(Fault::new(Code::NotUnderstood, message));
        }
    }
    file.sync_all().map_err(failed)?;
    check_whole(&unfinished, name)?;
    fs::rename(&unfinished, path).map_err(failed)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::file(Code::FileUnwritable, path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_the_next_file_is_taken() {
        for (name, expected) in [
            ("ledger_7-9.committed", Some(9)),
            ("ledger_7-7.committed", Some(7)),
            ("ledger_7-9", None),
            ("ledger_7", None),
            ("ledger_6-9.committed", None),
            ("ledger_8-9.committed", None),
            ("../ledger_7-9.committed", None),
            ("", None),
        ] {
            let found = holding(name, Seqno(7)).map(|chunk| last_of(&chunk));
            assert_eq!(found, expected.map(Seqno), "{name}");
        }
    }
}

//! The files of a copy, and what their entries say of services before anything is verified.

use coco_crypto::Certificate;
use coco_kv::MapName;
use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ChunkName, Folder, SERVICE_MAP, ServiceStatus, note_services,
    open_chunk, read_whole, service_status, settle_open_chunk, singleton_key, used_chunks,
};
use coco_types::{Seqno, TxId};

use super::RecoverLedgerError;

/// A file of the ledger, as far as it is kept.
#[derive(Clone, Debug)]
pub(super) struct KeptFile {
    /// Its name in the copy.
    file: String,
    /// The name under which it is kept.
    pub(super) name: ChunkName,
    /// Where another service begins in it, which is left out: an offset after some entry.
    upto: Option<usize>,
}

impl KeptFile {
    /// Its bytes, as those of a chunk with its name.
    pub(super) fn read(&self, copy: &impl Folder) -> Result<Vec<u8>, RecoverLedgerError> {
        let mut bytes = read_whole(&copy.open_to_read(&self.file)?)?;
        if self.name.last.is_none() && self.upto.is_none() {
            settle_open_chunk(self.name, &mut bytes)?;
        }
        if let Some(upto) = self.upto {
            bytes.truncate(upto);
            bytes[..CHUNK_HEADER_BYTES].copy_from_slice(&open_chunk());
        }
        Ok(bytes)
    }
}

/// The ledger's files in their order.
pub(super) fn files(folder: &impl Folder) -> Result<Vec<KeptFile>, RecoverLedgerError> {
    let named = |file: String| {
        let name = file.parse::<ChunkName>().ok()?;
        Some(KeptFile { file, name, upto: None })
    };
    let mut files: Vec<KeptFile> = folder.names()?.into_iter().filter_map(named).collect();
    files.sort_by_key(|file| file.name);
    // As at a start: an archived chunk may have come back beside the node's own.
    let names: Vec<ChunkName> = files.iter().map(|file| file.name).collect();
    let used = used_chunks(folder, &names)?;
    files.retain(|file| used.contains(&file.name));
    Ok(files)
}

/// Those that have entries after one.
pub(super) fn after(files: &[KeptFile], seqno: Seqno) -> Vec<KeptFile> {
    let has_more = |file: &&KeptFile| file.name.last.is_none_or(|last| last > seqno);
    files.iter().filter(has_more).cloned().collect()
}

/// What the entries of a ledger say of its services. Nothing is verified.
#[derive(Default)]
pub(super) struct Said {
    pub(super) services: Vec<Certificate>,
    /// Where each begins, and whether it was ever open.
    pub(super) parts: Vec<Part>,
    /// The last entry.
    pub(super) last: TxId,
}

/// A stretch of the ledger that is of one service.
pub(super) struct Part {
    /// The file that it begins in, by its place, and the offset there.
    file: usize,
    offset: u64,
    pub(super) was_open: bool,
}

/// A ledger may have been recovered before. What cannot be read is refused later, with its place. `after` is the entry of the
/// snapshot that is begun with: what comes before it is not read.
pub(super) fn said_of_services(
    copy: &impl Folder,
    files: &[KeptFile],
    after: Seqno,
) -> Result<Said, RecoverLedgerError> {
    let mut said = Said::default();
    for (file, kept) in files.iter().enumerate() {
        let bytes = kept.read(copy)?;
        let Ok(chunk) = Chunk::parse(&bytes) else { break };
        let entries = chunk.entries.iter().filter(|(_, entry)| entry.tx_id().seqno > after);
        for (offset, entry) in entries {
            said.last = entry.tx_id();
            let Ok(writes) = entry.public_writes() else { continue };
            let _unread: Result<(), _> = note_services(&mut said.services, &writes);
            while said.services.len() > said.parts.len() {
                said.parts.push(Part { file, offset: *offset, was_open: false });
            }
            let row = writes.get(&MapName::from_static(SERVICE_MAP), singleton_key());
            let is_open = row.and_then(service_status) == Some(ServiceStatus::Open);
            if let Some(part) = said.parts.last_mut() {
                part.was_open |= is_open;
            }
        }
    }
    Ok(said)
}

/// Leaves out what begins with a part of the ledger. Nothing is cut where it lies.
pub(super) fn keep_before(files: &mut Vec<KeptFile>, part: &Part) {
    files.truncate(part.file + 1);
    let upto = usize::try_from(part.offset).expect("the file is in memory");
    match files.last_mut() {
        Some(file) if upto > CHUNK_HEADER_BYTES => {
            file.upto = Some(upto);
            file.name = ChunkName { last: None, is_committed: false, ..file.name };
        }
        Some(_) | None => drop(files.pop()),
    }
}

//! The one writer of a folder's chunk files.

use std::sync::{Arc, atomic::Ordering};

use coco_types::Seqno;

use super::{LedgerFiles, LedgerFilesError, OpenChunk, last_of, open_tail};
use crate::{CHUNK_HEADER_BYTES, ChunkName, Folder, FolderFile, close_chunk, open_chunk};

/// Bytes gathered before they are handed to the file system.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Appends to, cuts and names the chunk files. There is one for a folder. After an error nothing may be promised of the
/// files, and the writer is not used again.
#[derive(Debug)]
pub struct LedgerWriter<F: Folder> {
    files: Arc<LedgerFiles<F>>,
    open: Option<F::File>,
    pending: Vec<u8>,
    /// Where `pending` belongs.
    pending_at: u64,
    unsynced_bytes: u64,
    folder_changed: bool,
}

impl<F: Folder> LedgerWriter<F> {
    pub(super) fn new(files: Arc<LedgerFiles<F>>) -> Result<Self, LedgerFilesError> {
        let mut writer = Self {
            files,
            open: None,
            pending: Vec::new(),
            pending_at: 0,
            unsynced_bytes: 0,
            folder_changed: false,
        };
        writer.reopen()?;
        let is_full = writer.files.index.read().open.as_ref().is_some_and(|open| open.is_full);
        if is_full {
            writer.close()?;
        }
        Ok(writer)
    }

    /// The files, for readers.
    #[must_use]
    pub fn files(&self) -> Arc<LedgerFiles<F>> {
        Arc::clone(&self.files)
    }

    fn reopen(&mut self) -> Result<(), LedgerFilesError> {
        let open = self.files.index.read().open.as_ref().map(|open| (open.name(), open.end));
        if let Some((name, end)) = open {
            self.open = Some(self.files.folder.open_to_write(&name.to_string())?);
            self.pending_at = u64::from(end);
        } else {
            self.open = None;
        }
        Ok(())
    }

    /// Appends an entry; `chunk_ends` closes the chunk after it. Durable only after [`LedgerWriter::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    ///
    /// # Panics
    /// Never: the open chunk is made before it is used.
    pub fn append(&mut self, entry: &[u8], chunk_ends: bool) -> Result<(), LedgerFilesError> {
        if self.open.is_none() {
            // Else this chunk could be found after a crash without the one before.
            self.sync_folder()?;
            let first = self.files.index.read().last().next();
            let file = self.files.folder.create(&ChunkName::open(first).to_string())?;
            file.write_at(&open_chunk(), 0)?;
            self.folder_changed = true;
            self.open = Some(file);
            self.pending_at = CHUNK_HEADER_BYTES as u64;
            self.files.index.write().open = Some(OpenChunk::new(first));
        }
        self.pending.extend_from_slice(entry);
        self.unsynced_bytes += entry.len() as u64;
        self.files
            .index
            .write()
            .open
            .as_mut()
            .expect("made above")
            .push(entry.len(), chunk_ends)?;
        if chunk_ends {
            self.close()?;
        } else if self.pending.len() >= WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LedgerFilesError> {
        if let Some(file) = &self.open
            && !self.pending.is_empty()
        {
            file.write_at(&self.pending, self.pending_at)?;
            self.pending_at += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), LedgerFilesError> {
        if std::mem::take(&mut self.folder_changed) {
            self.files.folder.sync()?;
        }
        Ok(())
    }

    /// Makes everything durable; gives back how many bytes that were.
    ///
    /// # Errors
    /// Any error of the file system. Nothing may be promised of these files after it.
    pub fn sync(&mut self) -> Result<u64, LedgerFilesError> {
        self.flush()?;
        if let Some(file) = &self.open {
            file.sync_data()?;
        }
        self.sync_folder()?;
        Ok(std::mem::take(&mut self.unsynced_bytes))
    }

    /// Closes the open chunk. Readers go by the index alone, and it changes last, together with the name: the disk may take
    /// its time before, and whoever looks at the index waits for none of it.
    fn close(&mut self) -> Result<(), LedgerFilesError> {
        self.flush()?;
        let Some(file) = self.open.take() else { return Ok(()) };
        file.sync_data()?;
        let (open, closed, (header, table), end) = {
            let index = self.files.index.read();
            let open = index.open.as_ref().expect("the writer has a file for the open chunk");
            let end = u64::from(open.end);
            let closed = ChunkName::closed(open.first, open.last());
            (open.name(), closed, close_chunk(&open.offsets, end), end)
        };
        file.write_at(&header, 0)?;
        file.sync_data()?;
        file.write_at(&table, end)?;
        file.sync_data()?;
        let mut index = self.files.index.write();
        self.files.folder.rename(&open.to_string(), &closed.to_string())?;
        index.open = None;
        index.closed.push(closed);
        drop(index);
        self.folder_changed = true;
        Ok(())
    }

    /// Gives closed chunks of which everything is committed their final name, the oldest first and each durable before the
    /// next: whoever looks for chunks without it looks after the last one that has it.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn name_committed(&mut self) -> Result<(), LedgerFilesError> {
        let seqno = Seqno(self.files.committed_seqno.load(Ordering::SeqCst));
        if self.files.index.read().closed.last().is_none_or(|chunk| chunk.is_committed) {
            return Ok(());
        }
        // What is committed may be what comes in the place of a chunk's entries, and not yet what is in it.
        let first_coming = self.files.first_coming();
        let stays = |chunk: &ChunkName| {
            last_of(chunk) <= seqno && first_coming.is_none_or(|coming| last_of(chunk) < coming)
        };
        // Each turn names one of the chunks that are there.
        loop {
            let mut index = self.files.index.write();
            let waiting = index.closed.iter_mut().rev().take_while(|chunk| !chunk.is_committed);
            let Some(chunk) = waiting.last().filter(|chunk| stays(chunk)) else { break };
            let committed = ChunkName::committed(chunk.first, last_of(chunk));
            self.files.folder.rename(&chunk.to_string(), &committed.to_string())?;
            *chunk = committed;
            drop(index);
            self.folder_changed = true;
            self.sync_folder()?;
        }
        self.sync_folder()
    }

    /// Cuts the ledger so that `to` is its last entry. Durable on return. Each step is durable before the next: were a
    /// chunk cut while a later one may come back with the next start, the ledger would have a gap.
    ///
    /// # Errors
    /// Any error of the file system; [`LedgerFilesError::Committed`] when a committed chunk would be cut.
    pub fn truncate(&mut self, to: Seqno) -> Result<(), LedgerFilesError> {
        self.flush()?;
        loop {
            let open = self.files.index.read().open.as_ref().map(OpenChunk::name);
            match open {
                Some(name) if to >= name.first => return self.cut_open(to),
                Some(name) => {
                    self.open = None;
                    self.files.index.write().open = None;
                    self.files.folder.remove(&name.to_string())?;
                    self.files.folder.sync()?;
                }
                None => {
                    let last = self.files.index.read().last();
                    if to >= last {
                        return self.sync_folder();
                    }
                    self.reopen_last_closed()?;
                }
            }
        }
    }

    fn cut_open(&mut self, to: Seqno) -> Result<(), LedgerFilesError> {
        let end = {
            let mut index = self.files.index.write();
            let open = index.open.as_mut().expect("looked at above");
            // A chunk of more entries than memory can address does not exist, and then there is nothing to cut.
            let keep = usize::try_from(to.0 - open.first.0 + 1).unwrap_or(usize::MAX);
            let is_cut = keep < open.offsets.len();
            open.cut(keep);
            is_cut.then_some(u64::from(open.end))
        };
        // Readers find what is cut off no more; the disk may take its time.
        if let Some(end) = end {
            self.pending_at = end;
            let file = self.open.as_ref().expect("an open chunk has its file");
            file.cut(end)?;
            file.sync_all()?;
        }
        self.sync_folder()
    }

    /// Makes the last closed chunk the open one again.
    fn reopen_last_closed(&mut self) -> Result<(), LedgerFilesError> {
        let chunk = {
            let mut index = self.files.index.write();
            let chunk = *index.closed.last().expect("there are entries to cut, in some chunk");
            if index.is_committed(&chunk) {
                return Err(LedgerFilesError::Committed(chunk));
            }
            index.closed.pop();
            index.doubted = index.doubted.min(chunk.first.previous());
            chunk
        };
        let open = ChunkName::open(chunk.first);
        self.files.folder.rename(&chunk.to_string(), &open.to_string())?;
        self.files.folder.sync()?;
        let (tail, torn) = open_tail(&self.files.folder, open)?;
        if let Some(torn) = torn {
            // It was whole when it was closed: the disk is bad, and what comes after would stand where no start finds it.
            return Err(LedgerFilesError::Spoiled(torn));
        }
        self.files.index.write().open = Some(tail);
        self.reopen()
    }
}

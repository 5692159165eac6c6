//! The consensus hard state on disk: two slots, written in turn, so that a torn write leaves the other one whole.

use coco_consensus::{HARD_STATE_BYTES, HardState};
use coco_ledger::{FileError, Folder, FolderFile, SECTOR_BYTES};
use thiserror::Error;

/// Bytes of one slot, a disk sector. It holds a u64 counter and the encoded state, which carries its own checksum;
/// the rest is padding.
const SLOT_BYTES: usize = 512;
const _: () = assert!(SLOT_BYTES as u64 == SECTOR_BYTES, "a slot is a sector");

/// The open file.
#[derive(Debug)]
pub struct HardStateFile<H> {
    file: H,
    counter: u64,
}

/// Why a hard state cannot be read or written.
#[derive(Debug, Error)]
pub enum HardStateFileError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a file, and nothing whole in it.
    #[error("{file} holds no whole state; this node must not vote again with this identity")]
    Damaged {
        /// Its name.
        file: String,
    },
}

impl<H: FolderFile> HardStateFile<H> {
    /// Opens or creates the file and reads the newest whole state in it.
    ///
    /// # Errors
    /// [`HardStateFileError`].
    pub fn open<F: Folder<File = H>>(
        folder: &F,
        name: &str,
    ) -> Result<(Self, Option<HardState>), HardStateFileError> {
        let exists = folder.names()?.iter().any(|there| there == name);
        let file = if exists { folder.open_to_write(name)? } else { folder.create(name)? };
        let length = file.length()?;
        let mut newest: Option<(u64, HardState)> = None;
        for slot in 0..2 {
            if let Some(found) = read_slot(&file, length, slot)?
                && newest.as_ref().is_none_or(|(counter, _)| found.0 > *counter)
            {
                newest = Some(found);
            }
        }
        if newest.is_none() && length > 0 {
            return Err(HardStateFileError::Damaged { file: name.to_owned() });
        }
        // A vote that was written but not synced before a crash is read back as durable, so it is made so now.
        file.sync_all()?;
        folder.sync()?;
        let counter = newest.as_ref().map_or(0, |(counter, _)| *counter);
        Ok((Self { file, counter }, newest.map(|(_, state)| state)))
    }

    /// Writes `state` into the older slot. Durable only after [`HardStateFile::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    ///
    /// # Panics
    /// Never: the encoded state is far shorter than a slot.
    pub fn write(&mut self, state: &HardState) -> Result<(), FileError> {
        self.counter += 1;
        let mut slot = self.counter.to_le_bytes().to_vec();
        slot.extend_from_slice(&state.encode());
        assert!(slot.len() <= SLOT_BYTES, "a hard state fits its slot");
        slot.resize(SLOT_BYTES, 0);
        self.file.write_at(&slot, slot_offset(self.counter % 2))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_all()
    }
}

const fn slot_offset(slot: u64) -> u64 {
    slot * SECTOR_BYTES
}

fn read_slot(
    file: &impl FolderFile,
    length: u64,
    slot: u64,
) -> Result<Option<(u64, HardState)>, FileError> {
    if length < slot_offset(slot + 1) {
        return Ok(None);
    }
    let mut bytes = [0; SLOT_BYTES];
    file.read_at(&mut bytes, slot_offset(slot))?;
    let (counter, state) = bytes.split_at(8);
    let counter = u64::from_le_bytes(counter.try_into().expect("eight bytes"));
    Ok(HardState::decode(&state[..HARD_STATE_BYTES]).ok().map(|state| (counter, state)))
}

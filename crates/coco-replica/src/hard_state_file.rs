//! The consensus hard state on disk: two slots, written in turn, so that a write that does not arrive leaves the other one
//! whole; and each slot twice, so that a damaged sector is told from one that was never written, and forgets no vote.
//!
//! ```text
//!   slot 0 | slot 0 again | slot 1 | slot 1 again          four sectors
//!   slot: u64 generation | its complement | encoded state, with its checksum | generation and complement again | zeros
//! ```
//!
//! The file begins with a filler in all four sectors, and gets its name with them: so a disk without room refuses it as a
//! whole, and a first write that stops inside a sector leaves the filler in the other. A write that stops inside a sector
//! leaves two generations in it, or a generation and filler. Generation *g* stands in slot *g* mod 2, and takes the place of *g* − 2 only when *g* − 1 is durable.

use coco_consensus::{HARD_STATE_BYTES, HardState};
use coco_ledger::{FileError, Folder, FolderFile, SECTOR_BYTES};
use thiserror::Error;

/// The open file.
#[derive(Debug)]
pub struct HardStateFile<H> {
    file: H,
    /// The generation that is durable.
    durable: u64,
    is_written: bool,
}

/// Why a hard state cannot be read or written.
#[derive(Debug, Error)]
pub enum HardStateFileError {
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The newest state may have stood here.
    #[error(
        "{file} is damaged at offset {offset}; this node must not vote again with this identity"
    )]
    Damaged {
        /// Its name.
        file: String,
        /// Where.
        offset: u64,
    },
}

impl<H: FolderFile> HardStateFile<H> {
    /// Opens or creates the file and reads the newest state in it.
    ///
    /// # Errors
    /// [`HardStateFileError`].
    pub fn open<F: Folder<File = H>>(
        folder: &F,
        name: &str,
    ) -> Result<(Self, Option<HardState>), HardStateFileError> {
        let names = folder.names()?;
        if !names.iter().any(|there| there == name) {
            make(folder, name, &names)?;
        }
        let file = folder.open_to_write(name)?;
        let mut newest: Option<(u64, HardState)> = None;
        for slot in 0..2 {
            let found = match (read_sector(&file, slot, 0)?, read_sector(&file, slot, 1)?) {
                (Sector::Whole(found), _) | (_, Sector::Whole(found)) => found,
                (Sector::Empty | Sector::Filler, Sector::Empty | Sector::Filler)
                // Nobody has heard of a first write that reached one of them and stopped there.
                | (Sector::Damaged, Sector::Filler)
                | (Sector::Filler, Sector::Damaged) => continue,
                (Sector::Damaged, _) | (_, Sector::Damaged) => {
                    let (file, offset) = (name.to_owned(), offset(slot, 0));
                    return Err(HardStateFileError::Damaged { file, offset });
                }
            };
            if newest.as_ref().is_none_or(|(generation, _)| found.0 > *generation) {
                newest = Some(found);
            }
        }
        let durable = newest.as_ref().map_or(0, |(generation, _)| *generation);
        let newest = newest.map(|(_, state)| state);
        let mut opened = Self { file, durable, is_written: false };
        // A vote that was written but not synced before a crash is read back as durable, so it is made so now. It is
        // written once more, since after a sync that failed a system shows what it will never write.
        newest.iter().try_for_each(|state| opened.write(state))?;
        opened.sync()?;
        folder.sync()?;
        Ok((opened, newest))
    }

    /// Writes `state` into the older slot, or over what was written there since the last sync. Durable only after
    /// [`HardStateFile::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    ///
    /// # Panics
    /// Never: the encoded state is far shorter than a sector.
    pub fn write(&mut self, state: &HardState) -> Result<(), FileError> {
        let generation = self.durable + 1;
        let mut sector = generation.to_le_bytes().to_vec();
        sector.extend_from_slice(&(!generation).to_le_bytes());
        sector.extend_from_slice(&state.encode());
        sector.extend_from_within(..GENERATION_BYTES);
        assert!(sector.len() <= SECTOR, "a hard state fits a sector");
        sector.resize(SECTOR, 0);
        self.is_written = true;
        self.file.write_at(&sector.repeat(COPIES), offset(generation % 2, 0))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_all()?;
        self.durable += u64::from(std::mem::take(&mut self.is_written));
        Ok(())
    }
}

/// What one sector holds.
enum Sector {
    /// A generation and its state.
    Whole((u64, HardState)),
    /// Nothing was ever written there.
    Empty,
    /// What the file was made with.
    Filler,
    /// Something else.
    Damaged,
}

/// Bytes of a sector, as a length in memory.
const SECTOR: usize = 512;
const _: () = assert!(SECTOR as u64 == SECTOR_BYTES, "one size of sectors");

/// Bytes of a generation with its complement.
const GENERATION_BYTES: usize = 16;
/// Slots of the file, and how many times each stands in it.
const SLOTS: usize = 2;
const COPIES: usize = 2;
/// Stands behind the name of the file while it is made.
const UNFINISHED: &str = ".new";

/// Makes the file, durable on return. What a crash leaves of it has another name.
fn make<F: Folder>(folder: &F, name: &str, names: &[String]) -> Result<(), FileError> {
    let unfinished = format!("{name}{UNFINISHED}");
    if names.contains(&unfinished) {
        folder.remove(&unfinished)?;
    }
    let file = folder.create(&unfinished)?;
    file.write_at(&filler().repeat(SLOTS * COPIES), 0)?;
    file.sync_all()?;
    drop(file);
    folder.rename(&unfinished, name)?;
    folder.sync()
}

/// A generation that no slot has, so that it is told from what was never written.
fn filler() -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    bytes[GENERATION_BYTES / 2..GENERATION_BYTES].fill(0xff);
    bytes
}

const fn offset(slot: u64, copy: u64) -> u64 {
    (slot * COPIES as u64 + copy) * SECTOR_BYTES
}

fn read_sector(file: &impl FolderFile, slot: u64, copy: u64) -> Result<Sector, FileError> {
    let offset = offset(slot, copy);
    let mut bytes = [0; SECTOR];
    // The file has the length that its last write gave it, and what that one did not reach was never written.
    let there = file.length()?.saturating_sub(offset).min(SECTOR_BYTES);
    let there = usize::try_from(there).expect("not more than a sector");
    file.read_at(&mut bytes[..there], offset)?;
    if bytes == [0; SECTOR] {
        return Ok(Sector::Empty);
    }
    if bytes == filler() {
        return Ok(Sector::Filler);
    }
    let (before, rest) = bytes.split_at(GENERATION_BYTES);
    let (state, rest) = rest.split_at(HARD_STATE_BYTES);
    let (generation, complement) = before.split_at(GENERATION_BYTES / 2);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let generation = number(generation);
    let is_whole =
        generation == !number(complement) && rest.starts_with(before) && generation % 2 == slot;
    let state = HardState::decode(state).ok().filter(|_| is_whole);
    Ok(state.map_or(Sector::Damaged, |state| Sector::Whole((generation, state))))
}

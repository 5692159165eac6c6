//! A folder of a simulated disk: what programs see, and what is durable of it.
//!
//! What is written is seen at once, and durable after a sync. When the power goes, each sector that was written and not
//! synced is there or not, on its own; a file that grew has its old length, its new one, or one between, and reads as
//! zeros where nothing arrived; a cut that was not synced may be undone; files that were made, renamed or removed since
//! the folder was synced are so or not, each on its own or, as file systems with a journal have it, in order. When only
//! the process ends, everything that it wrote is still seen, and still not durable.
//!
//! A sector of 512 bytes is written whole or not at all: that is what disks promise, and what the ledger's files lean on.

mod host;

use std::{
    cell::{Ref, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    io,
    rc::Rc,
};

use coco_ledger::{ChunkName, FileError, FileOperation, Folder, FolderFile, SECTOR_BYTES};

use crate::{
    dice::Dice,
    private::{BEFORE_BYTES, Private},
};

/// Bytes of a sector, as a length in memory.
const SECTOR: usize = 512;
const _: () = assert!(SECTOR as u64 == SECTOR_BYTES, "one size of sectors");

/// A disk, or a folder on it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SimFolder {
    disk: Rc<RefCell<State>>,
    /// What the names of its files begin with on the disk.
    within: &'static str,
}

/// An open file of it.
#[derive(Debug)]
pub struct SimFile {
    folder: SimFolder,
    number: usize,
    /// The name under which it was opened.
    name: String,
}

/// What is wrong with a disk, beside what it forgets when the power goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The power goes after so many operations that change something.
    pub operations_left: Option<u64>,
    /// It is full after so many bytes more than its files have.
    pub bytes_left: Option<u64>,
    /// Syncs fail.
    pub sync_fails: Option<FailingSync>,
    /// The next sync of a file puts one sector somewhere else.
    pub misdirects: Option<u64>,
    /// Nothing works any more.
    pub is_dead: bool,
    /// Its syncs do nothing of this kind, and say that all is well.
    pub lie: Option<Lie>,
}

/// Which syncs fail. Reading and writing go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailingSync {
    /// The next one of a file. What it was to make durable is seen and taken for durable, and is not.
    File,
    /// The next one of a folder. Its names stay as they are seen until the power goes.
    Folder,
    /// All from now on.
    All,
}

/// What a sync says to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// To have made a file durable.
    Files,
    /// To have made the names in a folder durable.
    Names,
}

impl FailingSync {
    /// Whether no operator mends it.
    #[must_use]
    pub const fn is_for_good(self) -> bool {
        matches!(self, Self::All)
    }
}

impl Faults {
    /// Whether the power is off.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.operations_left == Some(0)
    }
}

/// Faults that have shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// A sync has failed.
    pub failed_sync: bool,
    /// It was one of a folder.
    pub failed_folder_sync: bool,
    /// A write has landed somewhere else.
    pub misdirected: bool,
}

/// What went with the power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Sectors that did not arrive.
    pub sectors: usize,
    /// Sectors that did.
    pub sectors_kept: usize,
    /// A sector arrived although one before it in its file did not.
    pub left_a_hole: bool,
    /// Files made that are not there.
    pub created: usize,
    /// Names that are still the old ones.
    pub renamed: usize,
    /// Removed files that are there again.
    pub removed: usize,
    /// A later change of a name stayed although one before it did not.
    pub reordered_names: bool,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// What was done to names since the folder was synced.
    name_changes: Vec<NameChange>,
    /// Files that the host keeps elsewhere, by the names that they had.
    archive: BTreeMap<String, usize>,
    /// Files that somebody has tampered with.
    spoiled: BTreeSet<usize>,
    /// Somebody has removed a file.
    has_lost: bool,
    /// A write has landed somewhere else, ever.
    is_astray: bool,
    faults: Faults,
    fired: Fired,
    /// What its host must not see.
    private: Option<Private>,
}

#[derive(Debug, Default)]
struct FileState {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
    /// The shortest that it was cut to, not synced.
    cut: Option<usize>,
}

#[derive(Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl NameChange {
    fn is_of(&self, name: &str) -> bool {
        match self {
            Self::Create(it, _) | Self::Remove(it) => it == name,
            Self::Rename(from, to, _) => from == name || to == name,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Create(name, _) | Self::Remove(name) | Self::Rename(name, ..) => name,
        }
    }
}

impl State {
    /// Whether an operation is carried out.
    fn allow(
        &mut self,
        operation: FileOperation,
        name: &str,
        offset: Option<u64>,
    ) -> Result<(), FileError> {
        let refused = |kind, why| FileError {
            operation,
            file: name.to_owned(),
            offset,
            source: io::Error::new(kind, why),
        };
        if self.faults.is_dead {
            return Err(refused(io::ErrorKind::Other, "the disk is dead"));
        }
        let is_change =
            !matches!(operation, FileOperation::List | FileOperation::Open | FileOperation::Read);
        match &mut self.faults.operations_left {
            Some(0) => Err(refused(io::ErrorKind::Other, "the power is off")),
            Some(left) if is_change => {
                *left -= 1;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl State {
    /// Whether a sync of a file, or of a folder, fails.
    fn sync_fails(&mut self, is_folder: bool) -> bool {
        let once = if is_folder { FailingSync::Folder } else { FailingSync::File };
        let failing = &mut self.faults.sync_fails;
        let fails = failing.take_if(|it| *it == once).is_some()
            || failing.is_some_and(FailingSync::is_for_good);
        self.fired.failed_sync |= fails;
        self.fired.failed_folder_sync |= fails && is_folder;
        fails
    }

    /// A host sees these bytes.
    fn show(&self, bytes: &[u8]) {
        if let Some(private) = &self.private {
            private.shown(bytes);
        }
    }
}

impl FileState {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.truncate(cut);
        }
        self.durable.resize(self.seen.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.copy(sector);
        }
    }

    /// A sector arrives on the disk.
    fn copy(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.seen.len());
        if start < end {
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[start..end].copy_from_slice(&self.seen[start..end]);
        }
    }

    fn lose_power(&mut self, kept_per_mille: u64, lost: &mut Lost, dice: &mut Dice) {
        if self.dirty.is_empty() && self.cut.is_none() {
            if self.seen != self.durable {
                self.seen.clone_from(&self.durable);
            }
            return;
        }
        if let Some(cut) = self.cut.take()
            && dice.per_mille(kept_per_mille)
        {
            self.durable.truncate(cut);
        }
        let mut is_hole = false;
        for sector in std::mem::take(&mut self.dirty) {
            if dice.per_mille(kept_per_mille) {
                self.copy(sector);
                lost.sectors_kept += 1;
                lost.left_a_hole |= is_hole;
            } else {
                lost.sectors += 1;
                is_hole = true;
            }
        }
        // The length is written apart from the bytes.
        if self.durable.len() < self.seen.len() && dice.per_mille(500) {
            let more = dice.place(self.seen.len() - self.durable.len() + 1);
            let more = dice.one_of(&[more, self.seen.len() - self.durable.len()]);
            self.durable.resize(self.durable.len() + more, 0);
        }
        self.seen.clone_from(&self.durable);
    }
}

impl SimFolder {
    fn state(&self) -> Ref<'_, State> {
        self.disk.borrow()
    }

    fn change(&self) -> RefMut<'_, State> {
        self.disk.borrow_mut()
    }

    /// A folder on this disk, whose name ends with a slash. It is always there.
    #[must_use]
    pub fn folder(&self, within: &'static str) -> Self {
        Self { disk: Rc::clone(&self.disk), within }
    }

    /// What a file of this folder is called on the disk.
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }

    /// What is wrong with the disk.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.state().faults
    }

    /// Makes something wrong with the disk, or right again.
    pub fn set_faults(&self, faults: Faults) {
        self.change().faults = faults;
    }

    /// Looks at every byte that is written, and at every name, from now on.
    pub fn watch(&self, private: &Private) {
        self.change().private = Some(private.clone());
    }

    /// Faults that have shown since this was asked last.
    #[must_use]
    pub fn fired(&self) -> Fired {
        std::mem::take(&mut self.change().fired)
    }

    /// The power goes, and comes again.
    pub fn lose_power(&self, dice: &mut Dice) -> Lost {
        let state = &mut *self.change();
        let mut lost = Lost::default();
        let kept_per_mille = dice.one_of(&[0, 200, 500, 800, 1000]);
        for file in &mut state.files {
            file.lose_power(kept_per_mille, &mut lost, dice);
        }
        let has_journal = dice.per_mille(500);
        let changes = std::mem::take(&mut state.name_changes);
        let first = dice.place(changes.len() + 1);
        let mut is_hole = false;
        for (at, change) in changes.into_iter().enumerate() {
            let is_kept = if has_journal { at < first } else { dice.per_mille(kept_per_mille) };
            lost.reordered_names |= is_kept && is_hole;
            is_hole |= !is_kept;
            let names = &mut state.durable_names;
            match change {
                NameChange::Create(name, file) if is_kept => {
                    names.insert(name, file);
                }
                NameChange::Rename(from, to, file) if is_kept => {
                    names.remove(&from);
                    names.insert(to, file);
                }
                NameChange::Remove(name) if is_kept => {
                    names.remove(&name);
                }
                NameChange::Create(..) => lost.created += 1,
                NameChange::Rename(..) => lost.renamed += 1,
                NameChange::Remove(_) => lost.removed += 1,
            }
        }
        state.names.clone_from(&state.durable_names);
        state.faults.operations_left = None;
        lost
    }

    /// Flips bits of one durable sector, where no newer write is on its way; of which file, if there was one. Programs see
    /// it at once, as those do that read a disk again.
    pub fn rot(&self, dice: &mut Dice) -> Option<(String, usize)> {
        let state = &mut *self.change();
        let (number, sector) = state.any_sector(dice)?;
        let file = &mut state.files[number];
        if file.dirty.contains(&sector) {
            return None;
        }
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(file.durable.len()).min(file.seen.len());
        let bits = 1 + dice.place(3);
        for _ in 0..bits {
            let at = start + dice.place(end - start);
            let flip = 1 << dice.below(8);
            file.durable[at] ^= flip;
            file.seen[at] ^= flip;
        }
        state.spoiled.insert(number);
        let found = state.durable_names.iter().find(|(_, file)| **file == number);
        found.map(|(name, _)| (name.clone(), bits))
    }

    /// Tampers with a file, if everything about it is durable. Programs see it at once. Whether it was done.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let name = self.path(name);
        let state = &mut *self.change();
        let Some(number) = state.at_rest(&name) else { return false };
        let file = &mut state.files[number];
        change(&mut file.durable);
        file.seen.clone_from(&file.durable);
        state.spoiled.insert(number);
        true
    }

    /// What is seen of a file, whatever is wrong with the disk.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let number = state.names.get(&self.path(name))?;
        Some(state.files[*number].seen.clone())
    }

    /// Whether somebody has tampered with a file.
    #[must_use]
    pub fn is_spoiled(&self, name: &str) -> bool {
        let state = self.state();
        let number = state.names.get(&self.path(name));
        number.is_some_and(|number| state.spoiled.contains(number))
    }

    /// Whether a write has ever landed somewhere else on this disk, or on the one that it is a copy of.
    #[must_use]
    pub fn is_astray(&self) -> bool {
        self.state().is_astray
    }

    /// Whether somebody tampered with a chunk on the disk.
    #[must_use]
    pub fn has_spoiled_chunk(&self) -> bool {
        let state = self.state();
        let mut names = state.names.iter().chain(&state.archive);
        names.any(|(name, number)| {
            name.parse::<ChunkName>().is_ok() && state.spoiled.contains(number)
        })
    }

    /// Whether somebody tampered with any file of the disk, or removed one.
    #[must_use]
    pub fn has_spoiled(&self) -> bool {
        let state = self.state();
        state.has_lost || !state.spoiled.is_empty()
    }

    /// Takes a file away, if everything about it is durable. Whether it was done.
    pub fn take_away(&self, name: &str) -> bool {
        let name = self.path(name);
        let state = &mut *self.change();
        let Some(number) = state.at_rest(&name) else { return false };
        state.names.remove(&name);
        state.durable_names.remove(&name);
        state.archive.insert(name, number);
        true
    }

    /// Brings back all files that were taken away; how many of them are chunks that the node has one of meanwhile.
    pub fn bring_back(&self) -> usize {
        let state = &mut *self.change();
        let first = |name: &String| name.parse::<ChunkName>().ok().map(|chunk| chunk.first);
        let own: BTreeSet<_> = state.names.keys().filter_map(first).collect();
        let archive = std::mem::take(&mut state.archive);
        let is_beside = |name: &&String| first(name).is_some_and(|first| own.contains(&first));
        let beside = archive.keys().filter(is_beside).count();
        state.names.extend(archive.clone());
        state.durable_names.extend(archive);
        beside
    }

    /// How many files are away.
    #[must_use]
    pub fn away(&self) -> usize {
        self.state().archive.len()
    }

    /// A copy of the disk as it is seen, with nothing wrong with it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let kept: BTreeSet<usize> =
            state.names.values().chain(state.archive.values()).copied().collect();
        let file = |(number, file): (usize, &FileState)| match kept.contains(&number) {
            true => FileState {
                seen: file.seen.clone(),
                durable: file.seen.clone(),
                ..FileState::default()
            },
            false => FileState::default(),
        };
        let copy = State {
            files: state.files.iter().enumerate().map(file).collect(),
            names: state.names.clone(),
            durable_names: state.names.clone(),
            archive: state.archive.clone(),
            spoiled: state.spoiled.clone(),
            has_lost: state.has_lost,
            is_astray: state.is_astray,
            private: state.private.clone(),
            ..State::default()
        };
        Self { disk: Rc::new(RefCell::new(copy)), within: self.within }
    }

    /// Everything is gone.
    pub fn wipe(&self) {
        let private = self.change().private.take();
        *self.change() = State { private, ..State::default() };
    }

    /// One file is gone.
    pub fn forget(&self, name: &str) {
        let state = &mut *self.change();
        state.names.remove(name);
        state.durable_names.remove(name);
    }
}

impl State {
    /// A file of which nothing waits to become durable: neither its name nor its bytes.
    fn at_rest(&self, name: &str) -> Option<usize> {
        let number = *self.names.get(name)?;
        let file = &self.files[number];
        let is_at_rest = self.durable_names.get(name) == Some(&number)
            && file.dirty.is_empty()
            && file.cut.is_none()
            && !self.name_changes.iter().any(|change| change.is_of(name));
        is_at_rest.then_some(number)
    }

    /// A durable sector of a file with a name; none on an empty disk.
    fn any_sector(&self, dice: &mut Dice) -> Option<(usize, usize)> {
        let sectors = |file: &FileState| file.durable.len().min(file.seen.len()).div_ceil(SECTOR);
        let files = || self.durable_names.values().map(|number| (*number, &self.files[*number]));
        let all: usize = files().map(|(_, file)| sectors(file)).sum();
        let mut at = if all > 0 { dice.place(all) } else { return None };
        for (number, file) in files() {
            match at.checked_sub(sectors(file)) {
                None => return Some((number, at)),
                Some(left) => at = left,
            }
        }
        None
    }

    /// One of the sectors that a file is about to make durable lands somewhere else.
    fn misdirect(&mut self, number: usize, seed: u64) {
        let mut dice = Dice::new(seed);
        let dirty = &self.files[number].dirty;
        if dirty.is_empty() {
            return;
        }
        let from = *dirty.iter().nth(dice.place(dirty.len())).expect("a place in it");
        let Some((to_file, to)) = self.any_sector(&mut dice) else { return };
        if self.files[to_file].dirty.contains(&to) || (to_file, to) == (number, from) {
            return;
        }
        let file = &mut self.files[number];
        file.dirty.remove(&from);
        let end = ((from + 1) * SECTOR).min(file.seen.len());
        let mut bytes = file.seen.get(from * SECTOR..end).unwrap_or_default().to_vec();
        bytes.resize(SECTOR, 0);
        let target = &mut self.files[to_file];
        let start = to * SECTOR;
        let end = (start + SECTOR).min(target.durable.len());
        target.durable[start..end].copy_from_slice(&bytes[..end - start]);
        self.fired.misdirected = true;
        self.is_astray = true;
    }
}

impl Folder for SimFolder {
    type File = SimFile;

    fn names(&self) -> Result<Vec<String>, FileError> {
        let state = &mut *self.change();
        state.allow(FileOperation::List, "the folder", None)?;
        let inside = state.names.keys().filter_map(|name| inside(self.within, name));
        Ok(inside.map(str::to_owned).collect())
    }

    fn open_to_read(&self, name: &str) -> Result<SimFile, FileError> {
        let path = self.path(name);
        let state = &mut *self.change();
        state.allow(FileOperation::Open, name, None)?;
        let number = state.names.get(&path).copied().ok_or_else(|| {
            FileError::new(FileOperation::Open, name, io::ErrorKind::NotFound.into())
        })?;
        Ok(SimFile { folder: self.clone(), number, name: name.to_owned() })
    }

    fn open_to_write(&self, name: &str) -> Result<SimFile, FileError> {
        self.open_to_read(name)
    }

    fn create(&self, name: &str) -> Result<SimFile, FileError> {
        let path = self.path(name);
        let state = &mut *self.change();
        state.allow(FileOperation::Create, name, None)?;
        if state.names.contains_key(&path) {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(FileError::new(FileOperation::Create, name, source));
        }
        state.show(path.as_bytes());
        let number = state.files.len();
        state.files.push(FileState::default());
        state.names.insert(path.clone(), number);
        state.name_changes.push(NameChange::Create(path, number));
        Ok(SimFile { folder: self.clone(), number, name: name.to_owned() })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let (old, new) = (self.path(from), self.path(to));
        let state = &mut *self.change();
        state.allow(FileOperation::Rename, from, None)?;
        let number = state.names.remove(&old).ok_or_else(|| {
            FileError::new(FileOperation::Rename, from, io::ErrorKind::NotFound.into())
        })?;
        state.show(new.as_bytes());
        state.names.insert(new.clone(), number);
        state.name_changes.push(NameChange::Rename(old, new, number));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        let path = self.path(name);
        let state = &mut *self.change();
        state.allow(FileOperation::Remove, name, None)?;
        state.names.remove(&path).ok_or_else(|| {
            FileError::new(FileOperation::Remove, name, io::ErrorKind::NotFound.into())
        })?;
        state.name_changes.push(NameChange::Remove(path));
        Ok(())
    }

    fn sync(&self) -> Result<(), FileError> {
        let state = &mut *self.change();
        state.allow(FileOperation::Sync, "the folder", None)?;
        if state.sync_fails(true) {
            let source = io::Error::other("input/output error");
            return Err(FileError::new(FileOperation::Sync, "the folder", source));
        }
        let is_here = |name: &str| inside(self.within, name).is_some();
        if state.faults.lie != Some(Lie::Names)
            && state.name_changes.iter().any(|change| is_here(change.name()))
        {
            state.name_changes.retain(|change| !is_here(change.name()));
            state.durable_names.retain(|name, _| !is_here(name));
            let here = state.names.iter().filter(|(name, _)| is_here(name));
            state.durable_names.extend(here.map(|(name, number)| (name.clone(), *number)));
        }
        Ok(())
    }
}

/// The name of a file in this folder; none when it lies in another.
fn inside<'a>(within: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(within).filter(|name| !name.contains('/'))
}

impl SimFile {
    fn state(&self) -> RefMut<'_, State> {
        self.folder.change()
    }

    fn place(offset: u64) -> usize {
        usize::try_from(offset).expect("a simulated file fits memory")
    }
}

impl FolderFile for SimFile {
    fn length(&self) -> Result<u64, FileError> {
        let mut state = self.state();
        state.allow(FileOperation::Read, &self.name, None)?;
        Ok(state.files[self.number].seen.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
        let mut state = self.state();
        state.allow(FileOperation::Read, &self.name, Some(offset))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let start = Self::place(offset);
        let there = state.files[self.number].seen.get(start..start.saturating_add(bytes.len()));
        let there = there.ok_or_else(|| {
            let source = io::ErrorKind::UnexpectedEof.into();
            FileError::at(FileOperation::Read, &self.name, offset, source)
        })?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let mut state = self.state();
        state.allow(FileOperation::Write, &self.name, Some(offset))?;
        let start = Self::place(offset);
        let mut room = bytes.len();
        // What is written over has its place already: no part of a sector stays as it was for want of room.
        let end = start + bytes.len();
        let more = end.saturating_sub(state.files[self.number].seen.len()).min(bytes.len());
        if let Some(left) = &mut state.faults.bytes_left {
            let fits = more.min(Self::place(*left));
            *left -= fits as u64;
            room -= more - fits;
        }
        state.files[self.number].write(&bytes[..room], start);
        // A value that is written in pieces is whole on the disk.
        let from = start.saturating_sub(BEFORE_BYTES);
        state.show(&state.files[self.number].seen[from..start + room]);
        if room < bytes.len() {
            let source = io::ErrorKind::StorageFull.into();
            return Err(FileError::at(FileOperation::Write, &self.name, offset, source));
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> Result<(), FileError> {
        let mut state = self.state();
        state.allow(FileOperation::Cut, &self.name, Some(length))?;
        let (file, length) = (&mut state.files[self.number], Self::place(length));
        if length < file.seen.len() {
            file.seen.truncate(length);
            file.cut = Some(file.cut.map_or(length, |cut| cut.min(length)));
            file.dirty.split_off(&length.div_ceil(SECTOR));
        } else {
            file.seen.resize(length, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), FileError> {
        let mut state = self.state();
        state.allow(FileOperation::Sync, &self.name, None)?;
        if state.sync_fails(false) {
            let file = &mut state.files[self.number];
            file.dirty.clear();
            file.cut = None;
            let source = io::Error::other("input/output error");
            return Err(FileError::new(FileOperation::Sync, &self.name, source));
        }
        if let Some(seed) = state.faults.misdirects.take() {
            state.misdirect(self.number, seed);
        }
        if state.faults.lie != Some(Lie::Files) {
            state.files[self.number].sync();
        }
        Ok(())
    }

    fn sync_all(&self) -> Result<(), FileError> {
        self.sync_data()
    }
}

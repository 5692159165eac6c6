//! A folder of files, as far as the ledger needs one. The operating system's is on floor 4; the simulator has another.
//!
//! What is written is durable once it was synced, and not before: a crash may keep any part of it, sector by sector,
//! in any order. A sector of [`SECTOR_BYTES`] is kept or lost as a whole, and what was never written within a file
//! reads as zeros. The names of a folder are apart from the files: a file that was made, renamed or removed is so for
//! certain only once the folder was synced.

use std::{fmt, io};

use thiserror::Error;

/// The unit in which disks write: all of it, or nothing.
pub const SECTOR_BYTES: u64 = 512;

/// A folder that is there.
pub trait Folder: fmt::Debug {
    /// An open file in it. It stays the same file when it gets another name.
    type File: FolderFile;

    /// The names of all files, in no order. Names that are no text are left out.
    ///
    /// # Errors
    /// [`FileError`].
    fn names(&self) -> Result<Vec<String>, FileError>;

    /// Opens a file for reading only.
    ///
    /// # Errors
    /// [`FileError`], also when there is none.
    fn open_to_read(&self, name: &str) -> Result<Self::File, FileError>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`FileError`], also when there is none.
    fn open_to_write(&self, name: &str) -> Result<Self::File, FileError>;

    /// Makes a file, for reading and writing.
    ///
    /// # Errors
    /// [`FileError`], also when there is one of this name.
    fn create(&self, name: &str) -> Result<Self::File, FileError>;

    /// Gives a file another name, in one step.
    ///
    /// # Errors
    /// [`FileError`].
    fn rename(&self, from: &str, to: &str) -> Result<(), FileError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`FileError`].
    fn remove(&self, name: &str) -> Result<(), FileError>;

    /// Makes durable which names there are, and of which files.
    ///
    /// # Errors
    /// [`FileError`]. Nothing may be promised of this folder after it.
    fn sync(&self) -> Result<(), FileError>;
}

/// An open file.
pub trait FolderFile: fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// [`FileError`].
    fn length(&self) -> Result<u64, FileError>;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`FileError`], also when the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError>;

    /// Writes all of `bytes` from `offset` on. The file grows as needed.
    ///
    /// # Errors
    /// [`FileError`]. Some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// [`FileError`].
    fn cut(&self, length: u64) -> Result<(), FileError>;

    /// Makes what was written durable, and as much of the length as it takes to read it back.
    ///
    /// # Errors
    /// [`FileError`]. Nothing may be promised of this file after it.
    fn sync_data(&self) -> Result<(), FileError>;

    /// Makes everything about the file durable but its name. Needed after a cut.
    ///
    /// # Errors
    /// [`FileError`]. Nothing may be promised of this file after it.
    fn sync_all(&self) -> Result<(), FileError>;
}

/// At most `bytes` bytes of a file from `offset` on; fewer at its end.
///
/// # Errors
/// [`FileError`].
pub fn read_part(file: &impl FolderFile, offset: u64, bytes: usize) -> Result<Vec<u8>, FileError> {
    let left = file.length()?.saturating_sub(offset);
    let mut part = vec![0; usize::try_from(left).map_or(bytes, |left| left.min(bytes))];
    file.read_at(&mut part, offset)?;
    Ok(part)
}

/// Reads a whole file.
///
/// # Errors
/// [`FileError`].
///
/// # Panics
/// When the file is larger than memory can address.
pub fn read_whole(file: &impl FolderFile) -> Result<Vec<u8>, FileError> {
    let length = usize::try_from(file.length()?).expect("a file that fits an address space");
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// What was asked of a folder or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// To say which files there are.
    List,
    /// To open one.
    Open,
    /// To make one.
    Create,
    /// To read.
    Read,
    /// To write.
    Write,
    /// To cut.
    Cut,
    /// To make durable.
    Sync,
    /// To give another name.
    Rename,
    /// To remove.
    Remove,
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Cut => "cut",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
        })
    }
}

/// Something that a file system did not do.
#[derive(Debug, Error)]
#[error("cannot {operation} {file}{}", At(*offset))]
pub struct FileError {
    /// What.
    pub operation: FileOperation,
    /// On which file, or on which folder.
    pub file: String,
    /// Where in the file, if it was at some place.
    pub offset: Option<u64>,
    /// Why not.
    pub source: io::Error,
}

impl FileError {
    /// An error at no particular place of a file.
    #[must_use]
    pub fn new(operation: FileOperation, file: &str, source: io::Error) -> Self {
        Self { operation, file: file.to_owned(), offset: None, source }
    }

    /// An error at a place of a file.
    #[must_use]
    pub fn at(operation: FileOperation, file: &str, offset: u64, source: io::Error) -> Self {
        Self { operation, file: file.to_owned(), offset: Some(offset), source }
    }
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |offset| write!(f, " at offset {offset}"))
    }
}

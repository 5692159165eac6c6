//! A folder in memory: what a node finds on its disk when it starts. Everything that is written stays.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use coco_ledger::{FileError, FileOperation, Folder, FolderFile};

/// The folder. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryFolder(Rc<RefCell<BTreeMap<String, MemoryFile>>>);

/// A file of it.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFile {
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl<'a> FromIterator<&'a (String, Vec<u8>)> for MemoryFolder {
    /// Of two files with one name, which no folder holds, the first is there.
    fn from_iter<I: IntoIterator<Item = &'a (String, Vec<u8>)>>(files: I) -> Self {
        let mut folder = BTreeMap::new();
        for (name, bytes) in files {
            folder
                .entry(name.clone())
                .or_insert_with(|| MemoryFile { bytes: Rc::new(RefCell::new(bytes.clone())) });
        }
        Self(Rc::new(RefCell::new(folder)))
    }
}

fn missing(operation: FileOperation, name: &str) -> FileError {
    FileError::new(operation, name, io::ErrorKind::NotFound.into())
}

impl Folder for MemoryFolder {
    type File = MemoryFile;

    fn names(&self) -> Result<Vec<String>, FileError> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn open_to_read(&self, name: &str) -> Result<MemoryFile, FileError> {
        self.0.borrow().get(name).cloned().ok_or_else(|| missing(FileOperation::Open, name))
    }

    fn open_to_write(&self, name: &str) -> Result<MemoryFile, FileError> {
        self.open_to_read(name)
    }

    fn create(&self, name: &str) -> Result<MemoryFile, FileError> {
        if self.0.borrow().contains_key(name) {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(FileError::new(FileOperation::Create, name, source));
        }
        let file = MemoryFile { bytes: Rc::default() };
        self.0.borrow_mut().insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let mut files = self.0.borrow_mut();
        let file = files.remove(from).ok_or_else(|| missing(FileOperation::Rename, from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        let removed = self.0.borrow_mut().remove(name);
        removed.map(drop).ok_or_else(|| missing(FileOperation::Remove, name))
    }

    fn sync(&self) -> Result<(), FileError> {
        Ok(())
    }
}

impl FolderFile for MemoryFile {
    fn length(&self) -> Result<u64, FileError> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<(), FileError> {
        let bytes = self.bytes.borrow();
        let start = usize::try_from(offset).unwrap();
        match bytes.get(start..start.saturating_add(into.len())) {
            Some(part) => into.copy_from_slice(part),
            None => {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(FileError::at(FileOperation::Read, "a file", offset, source));
            }
        }
        Ok(())
    }

    fn write_at(&self, from: &[u8], offset: u64) -> Result<(), FileError> {
        let mut bytes = self.bytes.borrow_mut();
        let start = usize::try_from(offset).unwrap();
        let end = start + from.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(from);
        Ok(())
    }

    fn cut(&self, length: u64) -> Result<(), FileError> {
        self.bytes.borrow_mut().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), FileError> {
        Ok(())
    }

    fn sync_all(&self) -> Result<(), FileError> {
        Ok(())
    }
}

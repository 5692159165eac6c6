//! Files that commands read and write: bounded when read, whole when written, private where they must be.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use crate::{codes::Code, fault::Fault};

/// Largest file that is read: the largest request that a service takes is smaller.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Its owner alone.
    Private,
    /// Everybody.
    Public,
}

impl Rights {
    const fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Reads a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |error: &io::Error| Fault::file(Code::FileUnreadable, path, error);
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| failed(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(failed(&io::Error::other(format!("more than {FILE_BYTES_MAX} bytes"))))
    }
}

/// Reads a file of text.
pub(crate) fn read_text(path: &Path) -> Result<String, Fault> {
    String::from_utf8(read(path)?)
        .map_err(|error| Fault::file(Code::FileUnreadable, path, &error.utf8_error()))
}

/// Whether nobody but its owner can read a file.
pub(crate) fn is_private(path: &Path) -> Result<bool, Fault> {
    let metadata =
        fs::metadata(path).map_err(|error| Fault::file(Code::FileUnreadable, path, &error))?;
    Ok(metadata.permissions().mode() & 0o077 == 0)
}

/// Writes a file that must not be there yet. Missing folders are made.
pub(crate) fn create(path: &Path, bytes: &[u8], rights: Rights) -> Result<(), Fault> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Fault::new(Code::FileExists, path.display().to_string()),
        _ => Fault::file(Code::FileUnwritable, path, &error),
    };
    make_folder(path)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(rights.mode())
        .open(path)
        .map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| sync_folder(path)).map_err(|error| {
        // Half a file would be in the way of the next attempt. What cannot be removed either is named by the error.
        let _removed = fs::remove_file(path).is_ok();
        failed(error)
    })
}

/// Writes a file in the place of the one that may be there. Missing folders are made.
pub(crate) fn replace(path: &Path, bytes: &[u8], rights: Rights) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault::file(Code::FileUnwritable, path, &error);
    make_folder(path)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".draft-{}", std::process::id()));
    let draft = Path::new(&draft);
    let write = || {
        // One that is left of another process of that number would keep its rights.
        match fs::remove_file(draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(rights.mode()).open(draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        sync_folder(path)
    };
    write().map_err(failed)
}

/// Makes a name in a file's folder outlast a crash: what a command writes next may count on it.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn make_folder(path: &Path) -> Result<(), Fault> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::create_dir_all(folder)
            .map_err(|error| Fault::file(Code::FileUnwritable, folder, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_that_is_left_over_gives_its_rights_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("share.cose");
        let draft = folder.path().join(format!("share.cose.draft-{}", std::process::id()));
        fs::write(&draft, "old").unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"secret", Rights::Private).unwrap();
        assert!(is_private(&path).unwrap() && !draft.exists());
        assert_eq!(read(&path).unwrap(), b"secret");
    }

    #[test]
    fn a_private_file_is_made_once_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap().keep();
        let path = folder.join("key.pem");
        create(&path, b"secret", Rights::Private).unwrap();
        assert!(is_private(&path).unwrap());
        let again = create(&path, b"other", Rights::Private).unwrap_err();
        assert_eq!(again.code(), Code::FileExists);
        assert_eq!(read(&path).unwrap(), b"secret");
        replace(&path, b"other", Rights::Public).unwrap();
        assert!(!is_private(&path).unwrap());
        assert_eq!(read_text(&path).unwrap(), "other");
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(read(&path).unwrap_err().code(), Code::FileUnreadable);
    }
}

//! Secrets in files, which only this code on this machine can read.
//!
//! Under the *virtual* platform the sealing key is public: it is derived from a constant in this file. Whoever can
//! read a sealed file has what is in it. The file's mode (owner only) is all the protection there is. On a real TEE the same
//! bytes are sealed under a key that only the same code on the same processor can derive.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use coco_crypto::{
    AEAD_KEY_BYTES, AEAD_NONCE_BYTES, AEAD_TAG_BYTES, AeadKey, SecretBytes, hkdf_sha256,
};
use coco_types::codec::Reader;
use thiserror::Error;

/// What a sealed file begins with: of what kind it is, and of which version.
pub(crate) type Magic = [u8; 8];

/// Why something sealed cannot be written or opened.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file system refused.
    #[error("cannot access sealed identity {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file was not written by this software on this platform, or was altered.
    #[error("sealed identity {path} does not open: {what}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// Seals bytes, which are of this kind.
///
/// # Panics
/// When the system has no entropy.
pub(crate) fn seal(magic: &Magic, mut plain: Vec<u8>) -> Vec<u8> {
    let mut nonce = [0; AEAD_NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system has entropy");
    let tag = virtual_sealing_key().seal(nonce, magic, &mut plain);
    [&magic[..], &nonce, &tag, &plain].concat()
}

/// Opens what [`seal`] sealed, if it is of this kind; or what is wrong with it.
pub(crate) fn unseal(magic: &Magic, bytes: &[u8]) -> Result<SecretBytes, &'static str> {
    let short = "it ends too early";
    let mut reader = Reader::new(bytes);
    let found: Magic = reader.array("magic").map_err(|_| short)?;
    if found != *magic {
        return Err("it is nothing of this kind that was sealed under the virtual platform");
    }
    let nonce = reader.array("nonce").map_err(|_| short)?;
    let tag: [u8; AEAD_TAG_BYTES] = reader.array("tag").map_err(|_| short)?;
    let plain = virtual_sealing_key().open(nonce, magic, reader.rest(), &tag);
    plain.map(SecretBytes::new).map_err(|_| "its seal is broken")
}

/// Writes a file that is its owner's alone, and is not there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let write = || {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        write_whole(path, bytes)?;
        sync_folder(path)
    };
    write().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Writes such a file in the place of the one that is there. Whatever happens meanwhile, one of the two is there. Durable on
/// return.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let write = || {
        write_whole(path, bytes)?;
        sync_folder(path)
    };
    write().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Half a file would be in the way of every later attempt.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(DRAFT_SUFFIX);
    // What an earlier attempt left may be open to others.
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// What a file is called that is about to take its place.
pub(crate) const DRAFT_SUFFIX: &str = ".draft";

/// Reads a sealed file of so many bytes at most.
pub(crate) fn read_sealed(path: &Path, bytes_max: u64) -> Result<Vec<u8>, IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > bytes_max {
        return Err(IdentityError::Unreadable { path: path.to_owned(), what: "it is too large" });
    }
    std::fs::read(path).map_err(failed)
}

fn virtual_sealing_key() -> AeadKey {
    let mut key = [0; AEAD_KEY_BYTES];
    hkdf_sha256(
        b"coco virtual platform: this key is public and protects nothing",
        b"",
        b"identity",
        &mut key,
    );
    AeadKey::new(&key)
}

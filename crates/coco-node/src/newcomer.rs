//! The keys of a machine that is to be a node, before a network has taken it: sealed to a file, so that it is the same node
//! however often it asks.

use std::{io, path::Path, sync::Arc};

use coco_crypto::{Curve, DecryptionKey, SecretBytes, SigningKey};
use coco_types::codec::{Reader, put_bytes};

use crate::{
    identity::IdentityError,
    seal::{Magic, read_sealed, replace, seal, unseal, write_new},
};

/// Name of the sealed file inside a node's folder. It says what the seal is worth.
pub const NEWCOMER_FILE: &str = "newcomer.virtual-sealed";

/// Largest such file that is read, in bytes.
const NEWCOMER_BYTES_MAX: u64 = 64 << 10;
const MAGIC: &Magic = b"coconew\x01";

/// Where a newcomer has said that it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewcomerPlace {
    /// By clients, `host:port`.
    pub client: String,
    /// By other nodes, `host:port`.
    pub peer: String,
}

/// The keys of a node that no network has taken yet.
#[derive(Debug)]
pub struct Newcomer {
    /// What it signs with, and is called by.
    pub key: SigningKey,
    /// What is encrypted for it.
    pub encryption_key: Arc<DecryptionKey>,
    /// Where it is reached, once it has asked a network: the ledger has that, and nobody asks twice.
    pub place: Option<NewcomerPlace>,
}

impl Newcomer {
    /// Makes keys.
    ///
    /// # Panics
    /// When the system has no entropy.
    #[must_use]
    pub fn generate() -> Self {
        let encryption_key = Arc::new(DecryptionKey::generate());
        Self { key: SigningKey::generate(Curve::P384), encryption_key, place: None }
    }

    /// Seals the keys into `folder`. An existing file is not replaced.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    ///
    /// # Panics
    /// When the system has no entropy.
    pub fn seal(&self, folder: &Path) -> Result<(), IdentityError> {
        write_new(&folder.join(NEWCOMER_FILE), &self.sealed())
    }

    /// Keeps where it is reached. Whatever happens meanwhile, the file is there, with the keys.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    ///
    /// # Panics
    /// When the system has no entropy.
    pub fn settle(&mut self, folder: &Path, place: NewcomerPlace) -> Result<(), IdentityError> {
        self.place = Some(place);
        replace(&folder.join(NEWCOMER_FILE), &self.sealed())
    }

    fn sealed(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        put_bytes(&mut plain, self.key.pkcs8_der().expose());
        put_bytes(&mut plain, self.encryption_key.pem().expose());
        for text in self.place.iter().flat_map(|place| [&place.client, &place.peer]) {
            put_bytes(&mut plain, text.as_bytes());
        }
        seal(MAGIC, plain)
    }

    /// Opens the keys that are sealed in `folder`; nothing, where there are none.
    ///
    /// # Errors
    /// [`IdentityError`] that says what is wrong with the file.
    pub fn open(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(NEWCOMER_FILE);
        match read_sealed(&path, NEWCOMER_BYTES_MAX) {
            Ok(bytes) => Self::unseal(&bytes)
                .map(Some)
                .map_err(|what| IdentityError::Unreadable { path, what }),
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the file, once the node has its identity.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn forget(folder: &Path) -> Result<(), IdentityError> {
        let path = folder.join(NEWCOMER_FILE);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::File { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn unseal(bytes: &[u8]) -> Result<Self, &'static str> {
        let plain = unseal(MAGIC, bytes)?;
        let mut reader = Reader::new(plain.expose());
        let mut part = || {
            let bytes = reader.bytes("part").map_err(|_| "it ends too early")?;
            Ok::<_, &'static str>(SecretBytes::new(bytes.to_vec()))
        };
        let (key, encryption_key) = (part()?, part()?);
        let key =
            SigningKey::from_pkcs8_der(Curve::P384, &key).map_err(|_| "its key is malformed")?;
        let encryption_key = str::from_utf8(encryption_key.expose())
            .ok()
            .and_then(|pem| DecryptionKey::from_pem(pem).ok())
            .ok_or("its encryption key is malformed")?;
        let place = if reader.rest().is_empty() {
            None
        } else {
            let mut text = || {
                let bytes = reader.bytes("address").map_err(|_| "it ends too early")?;
                String::from_utf8(bytes.to_vec()).map_err(|_| "its addresses are malformed")
            };
            Some(NewcomerPlace { client: text()?, peer: text()? })
        };
        Ok(Self { key, encryption_key: Arc::new(encryption_key), place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_the_same_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(Newcomer::open(folder).unwrap().is_none());
        let mut made = Newcomer::generate();
        made.seal(folder).unwrap();
        assert!(Newcomer::generate().seal(folder).is_err(), "nothing is written over it");
        let opened = Newcomer::open(folder).unwrap().unwrap();
        assert_eq!(opened.key.public(), made.key.public());
        assert_eq!(opened.encryption_key.public().pem(), made.encryption_key.public().pem());
        assert_eq!(opened.place, None);
        let place = NewcomerPlace { client: "n1.acme:8000".into(), peer: "n1.acme:8001".into() };
        made.settle(folder, place.clone()).unwrap();
        let opened = Newcomer::open(folder).unwrap().unwrap();
        assert_eq!((opened.key.public(), opened.place), (made.key.public(), Some(place)));
        let path = folder.join(NEWCOMER_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(Newcomer::open(folder).unwrap_err().to_string().contains("its seal is broken"));
        Newcomer::forget(folder).unwrap();
        Newcomer::forget(folder).unwrap();
        assert!(Newcomer::open(folder).unwrap().is_none());
    }
}

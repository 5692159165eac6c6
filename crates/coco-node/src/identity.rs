//! A node's keys and the service's secrets, sealed to a file.
//!
//! Under the *virtual* platform the sealing key is public: it is derived from a constant in this file. Whoever can
//! read the file has the node's key, the service's key and the ledger secret. The file's mode (owner only) is all the
//! protection there is. On a real TEE the same bytes are sealed under a key that only the same code on the same
//! processor can derive.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use coco_crypto::{
    AEAD_KEY_BYTES, AEAD_NONCE_BYTES, AEAD_TAG_BYTES, AeadKey, AltName, Certificate,
    CertificateError, Curve, EndorseNode, SecretBytes, SigningKey, endorse_node, hkdf_sha256,
};
use coco_ledger::LedgerSecret;
use coco_types::{
    NodeId,
    codec::{Reader, put_bytes},
};
use thiserror::Error;

use crate::tls::peer_dns_name;

/// Name of the sealed file inside a node's folder. It says what the seal is worth.
pub const IDENTITY_FILE: &str = "identity.virtual-sealed";

/// Largest sealed identity that is read, in bytes.
const IDENTITY_BYTES_MAX: u64 = 64 << 10;
const MAGIC: &[u8; 8] = b"cocoid\x00\x01";

/// Everything secret that a node holds across restarts.
#[derive(Clone)]
pub struct Identity {
    /// SHA-256 of the node's public key.
    pub node_id: NodeId,
    /// The node's certificate, endorsed by the service.
    pub node_cert: Certificate,
    /// The service's certificate, which clients pin.
    pub service_cert: Certificate,
    node_key: SecretBytes,
    service_key: SecretBytes,
    ledger_secret: SecretBytes,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

/// Why a sealed identity cannot be written or opened.
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

impl Identity {
    /// Puts together what belongs together.
    #[must_use]
    pub fn new(
        node_key: &SigningKey,
        node_cert: Certificate,
        service_key: &SigningKey,
        service_cert: Certificate,
        ledger_secret: SecretBytes,
    ) -> Self {
        Self {
            node_id: node_key.public().node_id(),
            node_cert,
            service_cert,
            node_key: node_key.pkcs8_der(),
            service_key: service_key.pkcs8_der(),
            ledger_secret,
        }
    }

    /// A node that was not there before, endorsed by the service, for the seat that this identity holds. Its key is
    /// never sealed.
    ///
    /// # Errors
    /// [`CertificateError`] when `names` cannot stand in a certificate.
    ///
    /// # Panics
    /// Never: the keys were checked when the identity was opened.
    pub fn new_node(&self, names: &[AltName]) -> Result<Self, CertificateError> {
        let key = SigningKey::generate(Curve::P384);
        let service_key = self.service_key();
        let mut names = names.to_vec();
        names.push(AltName::Dns(peer_dns_name(key.public().node_id())));
        let validity = self.service_cert.validity();
        let endorsement = EndorseNode { key: key.public(), names: &names, validity };
        let cert = endorse_node(&service_key, &self.service_cert, &endorsement)?;
        let service_cert = self.service_cert.clone();
        Ok(Self::new(&key, cert, &service_key, service_cert, self.ledger_secret.clone()))
    }

    fn service_key(&self) -> SigningKey {
        SigningKey::from_pkcs8_der(Curve::P384, &self.service_key)
            .expect("checked when the identity was opened")
    }

    /// The node's key.
    ///
    /// # Panics
    /// Never: it was checked when the identity was opened.
    #[must_use]
    pub fn node_key(&self) -> SigningKey {
        SigningKey::from_pkcs8_der(Curve::P384, &self.node_key)
            .expect("checked when the identity was opened")
    }

    /// The node's private key for TLS.
    #[must_use]
    pub fn node_key_pkcs8(&self) -> &[u8] {
        self.node_key.expose()
    }

    /// The node's private key for signing the ledger.
    #[must_use]
    pub const fn node_key_secret(&self) -> &SecretBytes {
        &self.node_key
    }

    /// The service's private key for signing the ledger.
    #[must_use]
    pub const fn service_key_secret(&self) -> &SecretBytes {
        &self.service_key
    }

    /// The secret that seals private data.
    ///
    /// # Panics
    /// Never: its length was checked when the identity was made.
    #[must_use]
    pub fn ledger_secret(&self) -> LedgerSecret {
        LedgerSecret::new(
            self.ledger_secret.expose().try_into().expect("checked when the identity was opened"),
        )
    }

    /// Seals the identity into `folder`. An existing file is not replaced.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    ///
    /// # Panics
    /// When the system has no entropy.
    pub fn seal(&self, folder: &Path) -> Result<(), IdentityError> {
        let mut plain = Vec::new();
        for part in [
            self.node_key.expose(),
            self.node_cert.der(),
            self.service_key.expose(),
            self.service_cert.der(),
            self.ledger_secret.expose(),
        ] {
            put_bytes(&mut plain, part);
        }
        let mut nonce = [0; AEAD_NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has entropy");
        let tag = virtual_sealing_key().seal(nonce, MAGIC, &mut plain);
        let bytes = [&MAGIC[..], &nonce, &tag, &plain].concat();
        let path = folder.join(IDENTITY_FILE);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(|source| IdentityError::File { path: path.clone(), source })
    }

    /// Opens the identity sealed in `folder`.
    ///
    /// # Errors
    /// [`IdentityError`] that says what is wrong with the file.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(IDENTITY_FILE);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        if std::fs::metadata(&path).map_err(failed)?.len() > IDENTITY_BYTES_MAX {
            return Err(IdentityError::Unreadable { path, what: "it is too large" });
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        Self::unseal(&bytes).map_err(|what| IdentityError::Unreadable { path, what })
    }

    fn unseal(bytes: &[u8]) -> Result<Self, &'static str> {
        let short = "it ends too early";
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len(), "magic").map_err(|_| short)? != MAGIC {
            return Err("it is no identity sealed under the virtual platform");
        }
        let nonce = reader.array("nonce").map_err(|_| short)?;
        let tag: [u8; AEAD_TAG_BYTES] = reader.array("tag").map_err(|_| short)?;
        let plain = SecretBytes::new(
            virtual_sealing_key()
                .open(nonce, MAGIC, reader.rest(), &tag)
                .map_err(|_| "its seal is broken")?,
        );
        let mut reader = Reader::new(plain.expose());
        let mut part = || reader.bytes("part").map(<[u8]>::to_vec).map_err(|_| short);
        let node_key = SecretBytes::new(part()?);
        let node_cert =
            Certificate::from_der(&part()?).map_err(|_| "its node certificate is malformed")?;
        let service_key = SecretBytes::new(part()?);
        let service_cert =
            Certificate::from_der(&part()?).map_err(|_| "its service certificate is malformed")?;
        let ledger_secret = SecretBytes::new(part()?);
        let node = SigningKey::from_pkcs8_der(Curve::P384, &node_key)
            .map_err(|_| "its node key is malformed")?;
        SigningKey::from_pkcs8_der(Curve::P384, &service_key)
            .map_err(|_| "its service key is malformed")?;
        if ledger_secret.expose().len() != AEAD_KEY_BYTES {
            return Err("its ledger secret has the wrong length");
        }
        Ok(Self {
            node_id: node.public().node_id(),
            node_cert,
            service_cert,
            node_key,
            service_key,
            ledger_secret,
        })
    }
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

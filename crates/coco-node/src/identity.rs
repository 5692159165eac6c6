//! A node's keys and the service's secrets, sealed to a file.

use std::{path::Path, sync::Arc};

use coco_crypto::{
    AltName, Certificate, CertificateError, Curve, DecryptionKey, EndorseNode, NodeRequest,
    NodeRequestError, PublicKey, SecretBytes, SigningKey, Validity, endorse_node, endorse_service,
    node_names, renew_node, service_certificate,
};
use coco_governance::Certify;
use coco_ledger::LedgerSecrets;
use coco_types::{
    NodeId,
    codec::{Reader, put_bytes},
};

pub use crate::seal::IdentityError;
use crate::seal::{read_sealed, replace, seal, unseal, write_new};

/// Name of the sealed file inside a node's folder. It says what the seal is worth.
pub const IDENTITY_FILE: &str = "identity.virtual-sealed";

/// Largest sealed identity that is read, in bytes: one with all the periods that a ledger can have.
const IDENTITY_BYTES_MAX: u64 = 1 << 20;
const MAGIC: &[u8; 8] = b"cocoid\x00\x03";

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
    encryption_key: Arc<DecryptionKey>,
    ledger_secrets: LedgerSecrets,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl Identity {
    /// Puts together what belongs together.
    #[must_use]
    pub fn new(
        node_key: &SigningKey,
        node_cert: Certificate,
        service_key: &SigningKey,
        service_cert: Certificate,
        encryption_key: Arc<DecryptionKey>,
        ledger_secrets: LedgerSecrets,
    ) -> Self {
        Self {
            node_id: node_key.public().node_id(),
            node_cert,
            service_cert,
            node_key: node_key.pkcs8_der(),
            service_key: service_key.pkcs8_der(),
            encryption_key,
            ledger_secrets,
        }
    }

    /// A node that was not there before, endorsed by the service for this period, for the seat that this identity holds. Its key is
    /// never sealed.
    ///
    /// # Errors
    /// [`CertificateError`] when `names` cannot stand in a certificate.
    ///
    /// # Panics
    /// Never: the keys were checked when the identity was opened.
    pub fn new_node(
        &self,
        names: &[AltName],
        validity: Validity,
    ) -> Result<Self, CertificateError> {
        let key = SigningKey::generate(Curve::P384);
        let cert = self.endorse(key.public(), names, validity)?;
        let service_key = self.service_key();
        let service_cert = self.service_cert.clone();
        let encryption_key = Arc::clone(&self.encryption_key);
        let secrets = self.ledger_secrets.clone();
        Ok(Self::new(&key, cert, &service_key, service_cert, encryption_key, secrets))
    }

    /// The same node with other ledger secrets.
    #[must_use]
    pub fn with_ledger_secrets(&self, ledger_secrets: LedgerSecrets) -> Self {
        Self { ledger_secrets, ..self.clone() }
    }

    /// The certificate by which the service endorses a node with this key, for this period.
    ///
    /// # Errors
    /// [`CertificateError`] when `names` cannot stand in a certificate.
    ///
    /// # Panics
    /// Never: the keys were checked when the identity was opened.
    pub fn endorse(
        &self,
        key: &PublicKey,
        names: &[AltName],
        validity: Validity,
    ) -> Result<Certificate, CertificateError> {
        let names = node_names(key, names);
        let endorsement = EndorseNode { key, names: &names, validity };
        endorse_node(&self.service_key(), &self.service_cert, &endorsement)
    }

    /// The node's certificate made anew, for this period.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificates are not of our making.
    ///
    /// # Panics
    /// Never: the keys were checked when the identity was opened.
    pub fn renewed(&self, validity: Validity) -> Result<Certificate, CertificateError> {
        renew_node(&self.service_key(), &self.service_cert, &self.node_cert, validity)
    }

    /// The node's signed request for certificates like the one that it has: for the same key and names.
    ///
    /// # Errors
    /// [`NodeRequestError`] when that has more names than a request may have.
    ///
    /// # Panics
    /// Never: the key was checked when the identity was opened.
    pub fn request(&self) -> Result<NodeRequest, NodeRequestError> {
        NodeRequest::new(&self.node_key(), &self.node_cert.node_names()?)
    }

    /// A certificate by which the service endorses the key of one of before.
    ///
    /// # Errors
    /// [`CertificateError`] when the certificate of the service is not one of ours.
    ///
    /// # Panics
    /// Never: the keys were checked when the identity was opened.
    pub fn endorse_service(&self, before: &PublicKey) -> Result<Certificate, CertificateError> {
        endorse_service(&self.service_key(), &self.service_cert, before)
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

    /// What later ledger secrets are encrypted to. It is the seat's: a node that comes back has the same.
    #[must_use]
    pub const fn encryption_key(&self) -> &Arc<DecryptionKey> {
        &self.encryption_key
    }

    /// The secrets that seal private data, of all periods until it was sealed. Later ones are in the ledger.
    #[must_use]
    pub const fn ledger_secrets(&self) -> &LedgerSecrets {
        &self.ledger_secrets
    }

    /// Seals the identity into `folder`. An existing file is not replaced.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    ///
    /// # Panics
    /// When the system has no entropy.
    pub fn seal(&self, folder: &Path) -> Result<(), IdentityError> {
        write_new(&folder.join(IDENTITY_FILE), &self.sealed())
    }

    /// Seals the identity in the place of the one in `folder`. Whatever happens meanwhile, one of the two is there.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    ///
    /// # Panics
    /// When the system has no entropy.
    pub fn reseal(&self, folder: &Path) -> Result<(), IdentityError> {
        replace(&folder.join(IDENTITY_FILE), &self.sealed())
    }

    fn sealed(&self) -> Vec<u8> {
        let secrets = self.ledger_secrets.encode();
        let encryption_key = self.encryption_key.pem();
        let parts = [
            self.node_key.expose(),
            self.node_cert.der(),
            self.service_key.expose(),
            self.service_cert.der(),
            encryption_key.expose(),
            secrets.expose(),
        ];
        let mut plain = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
        parts.into_iter().for_each(|part| put_bytes(&mut plain, part));
        seal(MAGIC, plain)
    }

    /// Opens the identity sealed in `folder`.
    ///
    /// # Errors
    /// [`IdentityError`] that says what is wrong with the file.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(IDENTITY_FILE);
        let bytes = read_sealed(&path, IDENTITY_BYTES_MAX)?;
        Self::unseal(&bytes).map_err(|what| IdentityError::Unreadable { path, what })
    }

    fn unseal(bytes: &[u8]) -> Result<Self, &'static str> {
        let short = "it ends too early";
        let plain = unseal(MAGIC, bytes)?;
        let mut reader = Reader::new(plain.expose());
        let mut part = || reader.bytes("part").map(<[u8]>::to_vec).map_err(|_| short);
        let node_key = SecretBytes::new(part()?);
        let node_cert =
            Certificate::from_der(&part()?).map_err(|_| "its node certificate is malformed")?;
        let service_key = SecretBytes::new(part()?);
        let service_cert =
            Certificate::from_der(&part()?).map_err(|_| "its service certificate is malformed")?;
        let encryption_key = SecretBytes::new(part()?);
        let encryption_key = str::from_utf8(encryption_key.expose())
            .ok()
            .and_then(|pem| DecryptionKey::from_pem(pem).ok())
            .ok_or("its encryption key is malformed")?;
        let secrets = SecretBytes::new(part()?);
        let ledger_secrets = LedgerSecrets::decode(secrets.expose())
            .map_err(|_| "its ledger secrets are malformed")?;
        let node = SigningKey::from_pkcs8_der(Curve::P384, &node_key)
            .map_err(|_| "its node key is malformed")?;
        SigningKey::from_pkcs8_der(Curve::P384, &service_key)
            .map_err(|_| "its service key is malformed")?;
        Ok(Self {
            node_id: node.public().node_id(),
            node_cert,
            service_cert,
            node_key,
            service_key,
            encryption_key: Arc::new(encryption_key),
            ledger_secrets,
        })
    }
}

impl Certify for Identity {
    fn service_certificate(&self, validity: Validity) -> Result<Certificate, CertificateError> {
        service_certificate(&self.service_key(), validity)
    }

    fn node_certificate(&self, node: &EndorseNode<'_>) -> Result<Certificate, CertificateError> {
        endorse_node(&self.service_key(), &self.service_cert, node)
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::{LEDGER_SECRET_BYTES, LedgerSecret, Period};
    use coco_types::Seqno;

    use super::*;
    use crate::seal::DRAFT_SUFFIX;

    fn identity(ledger_secrets: LedgerSecrets) -> Identity {
        let (key, service_key) =
            (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
        let validity = Validity { not_before: 0, not_after: 1_000_000 };
        let service_cert = service_certificate(&service_key, validity).unwrap();
        let names = [AltName::Dns("node".to_owned())];
        let endorsement = EndorseNode { key: key.public(), names: &names, validity };
        let cert = endorse_node(&service_key, &service_cert, &endorsement).unwrap();
        let encryption_key = Arc::new(DecryptionKey::generate());
        Identity::new(&key, cert, &service_key, service_cert, encryption_key, ledger_secrets)
    }

    fn secret(of: u8) -> LedgerSecret {
        LedgerSecret::new(&[of; LEDGER_SECRET_BYTES])
    }

    #[test]
    fn all_periods_are_kept_in_the_file() {
        let folder = tempfile::tempdir().unwrap().keep();
        let periods = [(1, 1), (10, 2), (30, 3)];
        let periods = periods.map(|(from, of)| Period { from: Seqno(from), secret: secret(of) });
        let sealed = identity(LedgerSecrets::new(periods).unwrap());
        sealed.seal(&folder).unwrap();
        let opened = Identity::open(&folder).unwrap();
        assert_eq!(opened.node_id, sealed.node_id);
        assert_eq!(opened.ledger_secrets().encode(), sealed.ledger_secrets().encode());
        let one = sealed.with_ledger_secrets(secret(4).into());
        assert!(one.seal(&folder).is_err(), "nothing is written over it");
        // What an earlier attempt left is in nobody's way.
        let unfinished = folder.join(format!("{IDENTITY_FILE}{DRAFT_SUFFIX}"));
        std::fs::write(unfinished, b"half").unwrap();
        one.reseal(&folder).unwrap();
        let opened = Identity::open(&folder).unwrap();
        assert_eq!(opened.ledger_secrets().encode(), one.ledger_secrets().encode());
        let files = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files, 1);
    }
}

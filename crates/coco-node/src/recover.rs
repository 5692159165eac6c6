//! The folder of a node with which a service begins anew, from a copy of its ledger: see [`coco_replica::Reach`].

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use coco_attest::PlatformId;
use coco_crypto::{
    AltName, Certificate, CertificateError, Curve, DecryptionKey, EndorseNode, NodeRequest,
    NodeRequestError, SecretBytes, SigningKey, endorse_node, service_certificate,
};
use coco_evm::state;
use coco_ledger::{GenesisNode, LEDGER_SECRET_BYTES, LedgerSecret, ServiceSigner, VerifiedReceipt};
use coco_replica::{NewService, RecoverLedgerError};
use coco_types::Digest;
use thiserror::Error;

use crate::{
    folder::DiskFolder,
    identity::{Identity, IdentityError},
    provision::{LEDGER_FOLDER, a_year_from},
    snapshot_files::SNAPSHOT_FOLDER,
};

/// How far a copy of a ledger in a folder reaches.
pub type Reach = coco_replica::Reach<DiskFolder>;

/// What a service is brought back from.
#[derive(Debug)]
pub struct RecoverSpec<'a> {
    /// What [`reach`] said of the ledger. Its files are only read.
    pub reach: &'a Reach,
    /// The folder of the node, which is made.
    pub folder: &'a Path,
    /// Where clients reach it, host and port.
    pub client_address: String,
    /// Where other nodes reach it, host and port.
    pub peer_address: String,
    /// Further names of its certificate.
    pub names: &'a [AltName],
    /// SHA-256 of the program that it runs.
    pub code_digest: Digest,
    /// Seconds since 1970.
    pub now: u64,
}

/// What was made.
#[derive(Debug)]
pub struct Recovered {
    /// The certificate of the service.
    pub service: Certificate,
    /// The node.
    pub node: coco_types::NodeId,
}

/// Why a service was not brought back.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A folder or file cannot be made.
    #[error("cannot access {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ledger cannot be brought back.
    #[error("the ledger in {path} is not brought back")]
    Ledger {
        /// Its folder.
        path: PathBuf,
        /// The cause.
        source: Box<RecoverLedgerError>,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] CertificateError),
    /// The node cannot ask for certificates.
    #[error("cannot make the node's request for certificates")]
    Request(#[from] NodeRequestError),
    /// The identity cannot be sealed.
    #[error("cannot seal the identity")]
    Identity(#[from] IdentityError),
}

/// Verifies a copy of a ledger against the service that was lost, and says how far it reaches. It must hold what the
/// receipts prove. With a folder of `snapshots` it is begun with one of them; without one only where the first files are missing,
/// with those in `snapshots` beside the ledger's folder.
///
/// # Errors
/// [`RecoverError::Ledger`] that says what is wrong with the copy, and where.
pub fn reach(
    ledger: &Path,
    snapshots: Option<&Path>,
    previous: &Certificate,
    receipts: &[VerifiedReceipt],
) -> Result<Reach, RecoverError> {
    let copy = DiskFolder::new(ledger);
    let from = |snapshots: &Path| {
        let snapshots = DiskFolder::new(snapshots);
        Reach::from_snapshot(copy.clone(), snapshots, previous, receipts)
    };
    let beside = ledger.join("..").join(SNAPSHOT_FOLDER);
    let found = match snapshots {
        Some(snapshots) => from(snapshots),
        None => match Reach::of(copy.clone(), previous, receipts) {
            Err(RecoverLedgerError::NoLedger) if beside.is_dir() => from(&beside),
            found => found,
        },
    };
    found.map_err(|source| RecoverError::Ledger { path: ledger.to_owned(), source: source.into() })
}

/// Makes the folder of a node with which a service begins anew. Durable on return; the identity is written last, so that a
/// folder that is half made starts no node.
///
/// # Errors
/// [`RecoverError`], also when the folder holds something already.
///
/// # Panics
/// When the system has no entropy.
pub fn recover(spec: &RecoverSpec<'_>) -> Result<Recovered, RecoverError> {
    let ledger = spec.folder.join(LEDGER_FOLDER);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RecoverError::File { path, source }
    };
    fs::create_dir_all(spec.folder).map_err(failed(spec.folder))?;
    let snapshots = spec.folder.join(SNAPSHOT_FOLDER);
    for folder in [&ledger, &snapshots] {
        fs::create_dir(folder).map_err(failed(folder))?;
    }
    let secret = draw_secret();
    let keys = Keys::make(spec)?;
    let signer = ServiceSigner::new(
        &keys.node.pkcs8_der(),
        keys.certificate.pem(),
        &keys.service.pkcs8_der(),
    )
    .expect("keys that were just made can sign");
    let node = GenesisNode {
        node_id: keys.node.public().node_id(),
        certificate_pem: keys.certificate.pem(),
        request_pem: Some(keys.request.pem()),
        quote_format: PlatformId::Insecure.quote_format().to_owned(),
        code_digest: spec.code_digest,
        rpc_address: spec.client_address.clone(),
        peer_address: spec.peer_address.clone(),
        encryption_key_pem: keys.encryption.public().pem(),
    };
    let service = NewService {
        certificate: &keys.service_certificate,
        node: &node,
        signer: &signer,
        cipher: &*keys.encryption,
        secret: &secret,
        now: spec.now,
    };
    let secrets = spec
        .reach
        .recover(
            (&DiskFolder::new(&ledger), &DiskFolder::new(&snapshots)),
            state::schema(),
            &service,
        )
        .map_err(|source| match source {
            RecoverLedgerError::Source(source) => {
                RecoverError::Ledger { path: spec.reach.copy().path().to_owned(), source }
            }
            source => RecoverError::Ledger { path: ledger, source: source.into() },
        })?;
    let Keys { node, certificate, service, service_certificate, encryption, .. } = keys;
    let identity =
        Identity::new(&node, certificate, &service, service_certificate, encryption, secrets);
    sync(spec.folder)?;
    identity.seal(spec.folder)?;
    sync(spec.folder)?;
    Ok(Recovered { service: identity.service_cert.clone(), node: identity.node_id })
}

fn draw_secret() -> LedgerSecret {
    let mut secret = vec![0; LEDGER_SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).expect("the system has entropy");
    let secret = SecretBytes::new(secret);
    LedgerSecret::new(secret.expose().try_into().expect("it was made so long"))
}

fn sync(folder: &Path) -> Result<(), RecoverError> {
    File::open(folder)
        .and_then(|open| open.sync_all())
        .map_err(|source| RecoverError::File { path: folder.to_owned(), source })
}

/// The keys of the service and its node.
struct Keys {
    node: SigningKey,
    request: NodeRequest,
    certificate: Certificate,
    service: SigningKey,
    service_certificate: Certificate,
    encryption: Arc<DecryptionKey>,
}

impl Keys {
    fn make(spec: &RecoverSpec<'_>) -> Result<Self, RecoverError> {
        let validity = a_year_from(spec.now);
        let [service, node] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let service_certificate = service_certificate(&service, validity)?;
        let request = NodeRequest::new(&node, spec.names)?;
        let endorsement = EndorseNode { key: request.key(), names: request.names(), validity };
        let certificate = endorse_node(&service, &service_certificate, &endorsement)?;
        let encryption = Arc::new(DecryptionKey::generate());
        Ok(Self { node, request, certificate, service, service_certificate, encryption })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use coco_evm::genesis::{ChainConfig, Genesis};
    use coco_ledger::LedgerFault;

    use super::*;
    use crate::{
        folder::LedgerFiles,
        identity::IDENTITY_FILE,
        provision::{NetworkSpec, NodeSpec, provision},
    };

    /// Makes the ledger of a service in a folder; its certificate.
    fn provisioned(lost: &NodeSpec) -> Certificate {
        provision(&NetworkSpec {
            nodes: std::slice::from_ref(lost),
            code_digest: Digest::ZERO,
            names: &[],
            genesis: &Genesis::new(ChainConfig::new(1)),
            governance: None,
            now: NOW,
        })
        .expect("there is nothing yet");
        Identity::open(&lost.folder).expect("opens").service_cert
    }

    fn place(folder: &Path, name: &str) -> NodeSpec {
        NodeSpec {
            folder: folder.join(name),
            client_address: "127.0.0.1:1000".to_owned(),
            peer_address: "127.0.0.1:2000".to_owned(),
        }
    }

    /// Recovers what is within reach.
    fn recover_to(reach: &Reach, place: NodeSpec) -> Result<Recovered, RecoverError> {
        let NodeSpec { folder, client_address, peer_address } = place;
        recover(&RecoverSpec {
            reach,
            folder: &folder,
            client_address,
            peer_address,
            names: &[],
            code_digest: Digest::ZERO,
            now: NOW,
        })
    }

    const NOW: u64 = 1_700_000_000;

    /// The power went between the first entry of a recovery and its signature, or somebody has put the entry there.
    #[test]
    fn a_service_that_signed_nothing_is_left_out_and_never_brought_back() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let lost = place(folder.path(), "lost");
        let previous = provisioned(&lost);
        let found =
            reach(&lost.folder.join(LEDGER_FOLDER), None, &previous, &[]).expect("it is sound");
        let begun = place(folder.path(), "begun");
        let ledger = begun.folder.join(LEDGER_FOLDER);
        let begun = recover_to(&found, begun).expect("it is sound");
        let files = LedgerFiles::open(DiskFolder::new(&ledger)).expect("opens");
        let mut writer = files.into_writer().expect("opens");
        writer.truncate(found.signed.seqno.next()).expect("it is not committed");
        drop(writer);

        let again = reach(&ledger, None, &previous, &[]).expect("the rest is sound");
        assert_eq!((again.signed, again.services_after), (found.signed, 1));
        let refused = reach(&ledger, None, &begun.service, &[]);
        let is_unsigned = |error: &RecoverError| match error {
            RecoverError::Ledger { source, .. } => match &**source {
                RecoverLedgerError::Verify(error) => {
                    matches!(error.fault, LedgerFault::UnsignedService(_))
                }
                _ => false,
            },
            _ => false,
        };
        assert!(refused.as_ref().is_err_and(is_unsigned), "{refused:?}");
    }

    /// The copy is another by the time at which it is copied, where whoever loads a ledger does not look.
    #[test]
    fn nothing_is_sealed_that_does_not_verify() {
        let folder = tempfile::tempdir().expect("makes a folder");
        let lost = place(folder.path(), "lost");
        let previous = provisioned(&lost);
        let ledger = lost.folder.join(LEDGER_FOLDER);
        let file = ledger.join("ledger_1");
        // As an archive may be that nobody may write to.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).expect("takes rights");
        let found = reach(&ledger, None, &previous, &[]).expect("it is sound");
        for is_sound in [true, false] {
            if !is_sound {
                let mut bytes = fs::read(&file).expect("it is there");
                let signature = br#""sig":""#;
                let at = bytes.windows(signature.len()).rposition(|part| part == signature);
                let byte = &mut bytes[at.expect("it is signed") + signature.len() + 20];
                *byte = if *byte == b'A' { b'B' } else { b'A' };
                fs::remove_file(&file).and_then(|()| fs::write(&file, bytes)).expect("writes");
            }
            let again = place(folder.path(), if is_sound { "sound" } else { "other" });
            let identity = again.folder.join(IDENTITY_FILE);
            let made = recover_to(&found, again);
            assert_eq!(identity.exists(), is_sound, "{made:?}");
            let is_found_out = |error: &RecoverError| match error {
                RecoverError::Ledger { source, .. } => {
                    matches!(**source, RecoverLedgerError::Made(_))
                }
                _ => false,
            };
            assert!(is_sound || made.as_ref().is_err_and(is_found_out), "{made:?}");
        }
    }
}

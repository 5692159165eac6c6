//! Snapshots: the whole state as of one signature entry, in one file, with the proof that the service stands by it.
//!
//! ```text
//!   u8 version = 1 | u8 flags = 0 | u48 size of the rest of the entry     the entry
//!   16 bytes tag | u64 seqno | u32 2^31
//!   u64 length of the public part
//!   u8 type = 1 | i64 seqno | i64 0
//!   u64 32, leaf of the entry at seqno | u64 length, first seqno of each view from 1 on, u64 each
//!   public image
//!   32 bytes salt | AES-256-GCM(key of this snapshot, nonce, associated = public part) of the private image
//!   COSE receipt of the evidence                                          the proof
//! ```
//!
//! The form is CCF's; images are those of `coco_kv`. The file is called `snapshot_<seqno>_<evidence>.committed`: the
//! evidence is the entry that writes the digest of the snapshot's entry to [`SNAPSHOT_EVIDENCE_MAP`] and claims it, so
//! that a receipt of the evidence proves the snapshot.
//!
//! Where we depart from CCF: the private image is not sealed with the ledger secret under the snapshot's seqno. Two
//! programs could make different snapshots of one seqno, and would use one nonce for two plaintexts. The key is derived
//! from the plaintext instead (Rogaway and Shrimpton's synthetic IV, as a salt): another plaintext has another key, and
//! equal states still have equal bytes. Reading the public part and checking the proof need nothing of it.

mod contents;
mod evidence;
mod name;

use coco_crypto::{
    AEAD_NONCE_BYTES, AEAD_TAG_BYTES, AeadKey, Certificate, SealError, Sha256, sha256,
};
use coco_kv::{Domain, StateImage};
use coco_planted::Bug;
use coco_types::{
    Digest, Seqno, TxId, View,
    codec::{DecodeError, Reader},
};
use thiserror::Error;

use crate::{
    EndorsedService, LedgerSecret, MerkleTree, ReceiptVerifier, ServiceKey, VerifiedReceipt,
    VerifyReceiptError,
    receipt::{verify_cose_of, verify_cose_under},
};

use contents::{Positions, VIEWS_MAX, view_history};
pub use contents::{SNAPSHOT_POSITIONS_MAP, SnapshotContentsError, put_positions};
pub use evidence::{SNAPSHOT_EVIDENCE_MAP, SnapshotEvidence};
pub use name::{ParseSnapshotNameError, SnapshotName};

/// Largest snapshot entry, in bytes. A state fits a node's memory; the bound is far below what GCM can seal.
pub const SNAPSHOT_BYTES_MAX: u64 = 16 << 30;

/// What a snapshot is made of.
pub struct SnapshotParts<'a> {
    /// The signature entry as of which the state is.
    pub seqno: Seqno,
    /// Its leaf.
    pub leaf: Digest,
    /// The first seqno of each view up to there, ascending.
    pub views: &'a [(Seqno, View)],
    /// The public image, with the positions in it; see [`put_positions`].
    pub public: &'a [u8],
    /// The private image, which is sealed where it lies.
    pub private: Vec<u8>,
}

/// The entry of a snapshot, in two pieces that follow each other in the file.
pub struct SealedSnapshot {
    /// Everything before the sealed image.
    pub head: Vec<u8>,
    /// The sealed image.
    pub sealed: Vec<u8>,
    /// SHA-256 of both.
    pub digest: Digest,
}

/// A state that makes no snapshot.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SealSnapshotError {
    /// The snapshot would be too long.
    #[error("snapshot would have {found} bytes, the limit is {limit}")]
    Long {
        /// Bytes it would have.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// More views than a snapshot lists.
    #[error("ledger is in view {found}, snapshots list views up to {limit}")]
    Views {
        /// The view.
        found: View,
        /// The limit.
        limit: u64,
    },
}

/// Seals a snapshot's entry. The same parts give the same bytes.
///
/// # Errors
/// [`SealSnapshotError`] past [`SNAPSHOT_BYTES_MAX`], or in a view that nobody reaches.
///
/// # Panics
/// When the views are empty: every ledger has one.
pub fn seal_snapshot(
    secret: &LedgerSecret,
    parts: SnapshotParts<'_>,
) -> Result<SealedSnapshot, SealSnapshotError> {
    let SnapshotParts { seqno, leaf, views, public, private: mut sealed } = parts;
    let (_, last) = *views.last().expect("a ledger has a view");
    if last.0 > VIEWS_MAX {
        return Err(SealSnapshotError::Views { found: last, limit: VIEWS_MAX });
    }
    let history = view_history(views);
    let public_bytes = PUBLIC_HEADER_BYTES + 8 * history.len() + public.len();
    let head_bytes = PUBLIC_START + public_bytes + SALT_BYTES;
    let total = (head_bytes + sealed.len()) as u64;
    if total > SNAPSHOT_BYTES_MAX {
        return Err(SealSnapshotError::Long { found: total, limit: SNAPSHOT_BYTES_MAX });
    }
    let nonce = nonce(seqno);
    let mut head = Vec::with_capacity(head_bytes);
    head.extend_from_slice(&[VERSION, FLAGS]);
    head.extend_from_slice(&(total - HEADER_BYTES as u64).to_le_bytes()[..6]);
    head.extend_from_slice(&[0; AEAD_TAG_BYTES]);
    head.extend_from_slice(&nonce);
    head.extend_from_slice(&(public_bytes as u64).to_le_bytes());
    head.push(TYPE_SNAPSHOT);
    head.extend_from_slice(&seqno.0.to_le_bytes());
    head.extend_from_slice(&0_u64.to_le_bytes());
    head.extend_from_slice(&(leaf.0.len() as u64).to_le_bytes());
    head.extend_from_slice(&leaf.0);
    head.extend_from_slice(&(8 * history.len() as u64).to_le_bytes());
    history.iter().for_each(|first| head.extend_from_slice(&first.0.to_le_bytes()));
    head.extend_from_slice(public);
    let salt = secret.snapshot_salt(&head[PUBLIC_START..], &sealed);
    let tag = secret.snapshot_key(&salt).seal(nonce, &head[PUBLIC_START..], &mut sealed);
    head[TAG_START..TAG_START + AEAD_TAG_BYTES].copy_from_slice(&tag);
    head.extend_from_slice(&salt.0);
    assert_eq!(head.len(), head_bytes, "a snapshot has the length that its header says");
    let mut digest = Sha256::new();
    digest.update(&head);
    digest.update(&sealed);
    Ok(SealedSnapshot { head, sealed, digest: digest.finish() })
}

/// A snapshot file taken apart: nothing of it is believed yet.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotFile<'a> {
    entry: &'a [u8],
    receipt: &'a [u8],
}

/// A snapshot that the service stands by.
pub struct VerifiedSnapshot<'a> {
    digest: Digest,
    evidence: TxId,
    evidence_leaf: Digest,
    seqno: Seqno,
    positions: Positions,
    public: StateImage<'a>,
    associated: &'a [u8],
    tag: &'a [u8; AEAD_TAG_BYTES],
    salt: Digest,
    sealed: &'a [u8],
}

/// A snapshot that cannot be used.
#[derive(Debug, Error)]
#[error("at offset {offset}")]
pub struct SnapshotError {
    /// Where, from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    #[source]
    pub fault: SnapshotFault,
}

/// What is wrong with a snapshot.
#[derive(Debug, Error)]
pub enum SnapshotFault {
    /// The entry is malformed.
    #[error("snapshot is malformed")]
    Entry(#[from] DecodeError),
    /// The file ends inside the entry, or with it.
    #[error("snapshot claims {claimed} bytes and a receipt, the file has {found} bytes")]
    Length {
        /// Bytes of the entry, as its header says.
        claimed: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The receipt proves nothing.
    #[error("receipt of the evidence does not hold")]
    Receipt(#[source] VerifyReceiptError),
    /// The evidence is of another snapshot.
    #[error("snapshot has the digest {found}, its evidence is of {expected}")]
    Digest {
        /// What the evidence claims.
        expected: Digest,
        /// What the entry has.
        found: Digest,
    },
    /// The file is not named after what is in it.
    #[error(
        "snapshot is of {seqno} with evidence at {evidence}, which is not what the file's name says"
    )]
    Name {
        /// The seqno in the entry.
        seqno: Seqno,
        /// The transaction of the receipt.
        evidence: TxId,
    },
    /// The parts of the snapshot contradict each other.
    #[error("contents of the snapshot do not fit together")]
    Contents(#[from] SnapshotContentsError),
}

impl<'a> SnapshotFile<'a> {
    /// Takes a snapshot file apart.
    ///
    /// # Errors
    /// [`SnapshotError`] when the bytes are not an entry with something after it.
    pub fn split(file: &'a [u8]) -> Result<Self, SnapshotError> {
        let wrong = |fault| SnapshotError { offset: 0, fault };
        let claimed = entry_bytes(file).map_err(|error| wrong(error.into()))?;
        let found = file.len() as u64;
        let split = usize::try_from(claimed).ok().and_then(|at| file.split_at_checked(at));
        match split {
            Some((entry, receipt)) if !receipt.is_empty() => Ok(Self { entry, receipt }),
            _ => Err(wrong(SnapshotFault::Length { claimed, found })),
        }
    }

    /// Checks the proof against the service's certificate in PEM, and the name; only then reads what is inside.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first thing that is wrong.
    pub fn verify(
        self,
        name: SnapshotName,
        service_certificate_pem: &str,
    ) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
        let service = Certificate::from_pem(service_certificate_pem)
            .map_err(|error| self.receipt_fails(VerifyReceiptError::Service(error)))?;
        self.verify_under(name, service.key())
    }

    /// [`SnapshotFile::verify`] under the service's key itself.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first thing that is wrong.
    pub fn verify_under(
        self,
        name: SnapshotName,
        service: &dyn ServiceKey,
    ) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
        let believed = AnySignature(service);
        let service = if coco_planted::is(Bug::BelieveAnyProof) { &believed } else { service };
        self.proved(name, verify_cose_under(self.receipt, service))
    }

    /// [`SnapshotFile::verify_under`] for one of a service of before, within what a later one endorses that it signed.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first thing that is wrong.
    pub fn verify_of(
        self,
        name: SnapshotName,
        service: &EndorsedService,
    ) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
        self.proved(name, verify_cose_of(self.receipt, service))
    }

    /// [`SnapshotFile::verify_under`] for whoever trusts one service, and those before it as far as it endorses them.
    ///
    /// # Errors
    /// [`SnapshotError`] with the first thing that is wrong.
    pub fn verify_by(
        self,
        name: SnapshotName,
        verifier: &ReceiptVerifier,
    ) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
        self.proved(name, verifier.cose(self.receipt))
    }

    /// Checks name and digest once the receipt holds, and reads what is inside.
    fn proved(
        self,
        name: SnapshotName,
        receipt: Result<VerifiedReceipt, VerifyReceiptError>,
    ) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
        let receipt = receipt.map_err(|error| self.receipt_fails(error))?;
        let leaf = receipt.leaf_components.expect("a COSE receipt has the parts of its leaf");
        let evidence = receipt.tx_id.expect("a COSE receipt names its transaction");
        let wrong = |fault| SnapshotError { offset: 0, fault };
        let (expected, digest) = (leaf.claims_digest, sha256(self.entry));
        if expected != digest {
            return Err(wrong(SnapshotFault::Digest { expected, found: digest }));
        }
        // Before it is read, the entry may be too short to have a public part.
        let entry = Entry::read(self.entry).map_err(|error| wrong(error.into()))?;
        let inside =
            |error: SnapshotFault| SnapshotError { offset: PUBLIC_START as u64, fault: error };
        let seqno = entry.seqno;
        if name != (SnapshotName { seqno, evidence: evidence.seqno }) || evidence.seqno <= seqno {
            return Err(wrong(SnapshotFault::Name { seqno, evidence }));
        }
        let public = StateImage::parse(entry.maps, Domain::Public, seqno)
            .map_err(|error| inside(error.into()))?;
        let positions = Positions::read(seqno, entry.leaf, &entry.history, &public)
            .map_err(|error| inside(error.into()))?;
        Ok(VerifiedSnapshot {
            digest,
            evidence,
            evidence_leaf: leaf.leaf(),
            seqno,
            positions,
            public,
            associated: entry.associated,
            tag: entry.tag,
            salt: entry.salt,
            sealed: entry.sealed,
        })
    }

    const fn receipt_fails(&self, error: VerifyReceiptError) -> SnapshotError {
        SnapshotError { offset: self.entry.len() as u64, fault: SnapshotFault::Receipt(error) }
    }
}

/// A service's key to a planted bug: whoever signed, it was the service.
struct AnySignature<'a>(&'a dyn ServiceKey);

impl ServiceKey for AnySignature<'_> {
    fn digest(&self) -> Digest {
        self.0.digest()
    }

    fn has_signed(&self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

impl<'a> VerifiedSnapshot<'a> {
    /// The signature entry as of which the state is.
    ///
    /// # Panics
    /// Never: the positions were read.
    #[must_use]
    pub fn tx_id(&self) -> TxId {
        let (_, view) = *self.positions.views.last().expect("a ledger has a view");
        TxId { view, seqno: self.seqno }
    }

    /// SHA-256 of the snapshot's entry.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The entry that proves it.
    #[must_use]
    pub const fn evidence(&self) -> TxId {
        self.evidence
    }

    /// The leaf of that entry.
    #[must_use]
    pub const fn evidence_leaf(&self) -> Digest {
        self.evidence_leaf
    }

    /// The first seqno of each view, ascending.
    #[must_use]
    pub fn views(&self) -> &[(Seqno, View)] {
        &self.positions.views
    }

    /// The tree up to and with the entry at [`Self::tx_id`].
    #[must_use]
    pub const fn tree(&self) -> &MerkleTree {
        &self.positions.tree
    }

    /// The positions of all signature entries, ascending.
    #[must_use]
    pub fn signatures(&self) -> &[Seqno] {
        &self.positions.signatures
    }

    /// The state of the public maps, signatures and positions included.
    #[must_use]
    pub const fn public(&self) -> &StateImage<'a> {
        &self.public
    }

    /// Views, tree and signatures, taken out.
    #[must_use]
    pub fn into_positions(self) -> (Vec<(Seqno, View)>, MerkleTree, Vec<Seqno>) {
        let Positions { views, tree, signatures } = self.positions;
        (views, tree, signatures)
    }

    /// Opens the private image, which [`StateImage::parse`] reads.
    ///
    /// # Errors
    /// [`SealError`] when it was not sealed with this secret.
    pub fn open(&self, secret: &LedgerSecret) -> Result<Vec<u8>, SealError> {
        let key = secret.snapshot_key(&self.salt);
        key.open(nonce(self.seqno), self.associated, self.sealed, self.tag)
    }
}

impl std::fmt::Debug for VerifiedSnapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedSnapshot({}, evidence {})", self.tx_id(), self.evidence)
    }
}

impl std::fmt::Debug for SnapshotParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotParts({})", self.seqno)
    }
}

impl std::fmt::Debug for SealedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedSnapshot({})", self.digest)
    }
}

/// The fields of a snapshot's entry.
struct Entry<'a> {
    tag: &'a [u8; AEAD_TAG_BYTES],
    seqno: Seqno,
    associated: &'a [u8],
    leaf: Digest,
    history: Vec<Seqno>,
    maps: &'a [u8],
    salt: Digest,
    sealed: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.take(HEADER_BYTES, "header")?;
        let short = DecodeError::Value { field: "tag", found: 0 };
        let tag = reader.take(AEAD_TAG_BYTES, "tag")?.as_array().ok_or(short)?;
        let seqno = Seqno(reader.u64("seqno")?);
        expect("view", reader.u32("view")?.into(), SNAPSHOT_BIT.into())?;
        let associated = reader.bytes("public part")?;
        let salt = Digest(reader.array("salt")?);
        let sealed = reader.rest();

        let mut reader = Reader::new(associated);
        expect("entry type", reader.u8("entry type")?.into(), TYPE_SNAPSHOT.into())?;
        expect("seqno in the public part", reader.u64("seqno in the public part")?, seqno.0)?;
        expect("conflict version", reader.u64("conflict version")?, 0)?;
        expect("bytes of the leaf", reader.u64("bytes of the leaf")?, 32)?;
        let leaf = Digest(reader.array("leaf")?);
        let history = reader.bytes("view history")?;
        let (firsts, []) = history.as_chunks() else {
            let found = history.len() as u64;
            return Err(DecodeError::Value { field: "bytes of the view history", found });
        };
        if firsts.len() as u64 > VIEWS_MAX {
            let found = firsts.len() as u64;
            return Err(DecodeError::Over { field: "view history", found, limit: VIEWS_MAX });
        }
        let history = firsts.iter().map(|first| Seqno(u64::from_le_bytes(*first))).collect();
        Ok(Self { tag, seqno, associated, leaf, history, maps: reader.rest(), salt, sealed })
    }
}

fn expect(field: &'static str, found: u64, expected: u64) -> Result<(), DecodeError> {
    if found == expected { Ok(()) } else { Err(DecodeError::Value { field, found }) }
}

/// How many bytes the entry has at the front of a snapshot file, header included.
fn entry_bytes(file: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(file);
    expect("entry version", reader.u8("entry version")?.into(), VERSION.into())?;
    expect("entry flags", reader.u8("entry flags")?.into(), FLAGS.into())?;
    let mut size = [0; 8];
    size[..6].copy_from_slice(reader.take(6, "entry size")?);
    let (found, limit) = (u64::from_le_bytes(size), SNAPSHOT_BYTES_MAX - HEADER_BYTES as u64);
    if found > limit {
        return Err(DecodeError::Over { field: "entry size", found, limit });
    }
    Ok(found + HEADER_BYTES as u64)
}

/// As CCF's: the seqno, view zero, and the bit of snapshots.
fn nonce(seqno: Seqno) -> [u8; AEAD_NONCE_BYTES] {
    let mut nonce = [0; AEAD_NONCE_BYTES];
    nonce[..8].copy_from_slice(&seqno.0.to_le_bytes());
    nonce[8..].copy_from_slice(&SNAPSHOT_BIT.to_le_bytes());
    nonce
}

impl LedgerSecret {
    /// What the key of a snapshot is derived from: a keyed digest of all its plaintext, so that it says nothing of the
    /// plaintext to whoever lacks the secret.
    fn snapshot_salt(&self, public: &[u8], private: &[u8]) -> Digest {
        let parts = [sha256(public).0, sha256(private).0].concat();
        self.derived(SALT_LABEL).sign(&parts)
    }

    fn snapshot_key(&self, salt: &Digest) -> AeadKey {
        AeadKey::new(&self.derived(KEY_LABEL).sign(&salt.0).0)
    }
}

const SALT_LABEL: &[u8] = b"Coco snapshot salt";
const KEY_LABEL: &[u8] = b"Coco snapshot key";

const VERSION: u8 = 1;
const FLAGS: u8 = 0;
const TYPE_SNAPSHOT: u8 = 1;
const SNAPSHOT_BIT: u32 = 1 << 31;
const HEADER_BYTES: usize = 8;
const TAG_START: usize = HEADER_BYTES;
const PUBLIC_START: usize = TAG_START + AEAD_TAG_BYTES + AEAD_NONCE_BYTES + 8;
/// Bytes of the public part before its maps, without the view history.
const PUBLIC_HEADER_BYTES: usize = 1 + 8 + 8 + 8 + 32 + 8;
const SALT_BYTES: usize = 32;

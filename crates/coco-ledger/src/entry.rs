//! Entries: one write set, sealed.
//!
//! ```text
//!   u8 version = 1 | u8 flags | u48 size of the rest                      header
//!   16 bytes tag | u64 seqno | u32 view                                   seal
//!   u64 length of the public part
//!   u8 type = 4 | i64 seqno | 32 bytes claims digest | 32 bytes commit evidence digest | i64 0 | public maps
//!   AES-256-GCM(ledger secret, nonce = seqno and view, associated = public part) of the private maps
//! ```
//!
//! All numbers little-endian. The leaf is SHA-256(SHA-256(entry) || SHA-256(commit evidence) || claims digest).

use bytes::Bytes;
use coco_crypto::{AEAD_NONCE_BYTES, AEAD_TAG_BYTES, SealError, Sha256, sha256};
use coco_kv::{Domain, WriteSet, WriteSetView};
use coco_types::{
    Digest, Seqno, TxId, View,
    codec::{DecodeError, Reader},
    limits::ENTRY_BYTES_MAX,
};
use thiserror::Error;

use crate::{
    secret::{LedgerSecret, cipher_nonce, nonce},
    signature::is_signature_map,
};

/// Bytes of the header that says how long an entry is.
pub const ENTRY_HEADER_BYTES: usize = 8;

/// What an entry asks of the chunk files around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags(u8);

impl EntryFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The chunk ends with this entry.
    pub const CHUNK_AFTER: Self = Self(1);
    /// A chunk begins with this entry. Written after a recovery only.
    pub const CHUNK_BEFORE: Self = Self(2);

    /// Whether every flag of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn read(found: u8) -> Result<Self, DecodeError> {
        let known = Self::CHUNK_AFTER.0 | Self::CHUNK_BEFORE.0;
        if found & !known == 0 {
            Ok(Self(found))
        } else {
            Err(DecodeError::Value { field: "entry flags", found: found.into() })
        }
    }
}

/// An entry ready to be proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    /// The whole entry, header included.
    pub bytes: Bytes,
    /// Its leaf in the Merkle tree.
    pub leaf: Digest,
    /// SHA-256 of the bytes.
    pub write_set_digest: Digest,
}

/// A write set that makes no entry.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SealEntryError {
    /// The entry would be longer than any may be.
    #[error("entry would have {found} bytes, the limit is {limit}")]
    Long {
        /// Bytes it would have.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

/// Seals a write set as the entry of a transaction. The same arguments give the same bytes.
///
/// Opening entries of a view are this with an empty write set: every node can make them from the secret and the
/// transaction id.
///
/// # Errors
/// [`SealEntryError::Long`] past [`ENTRY_BYTES_MAX`].
///
/// # Panics
/// When the view has more than 31 bits, which consensus never reaches.
pub fn seal(
    secret: &LedgerSecret,
    tx_id: TxId,
    flags: EntryFlags,
    claims: &Digest,
    write_set: &WriteSet,
) -> Result<SealedEntry, SealEntryError> {
    assert!(tx_id.view <= View::MAX, "view {} does not fit an entry", tx_id.view);
    let (public, private) = (write_set.encode(Domain::Public), write_set.encode(Domain::Private));
    let found = PUBLIC_START + PUBLIC_HEADER_BYTES + public.len() + private.len();
    if found > ENTRY_BYTES_MAX {
        return Err(SealEntryError::Long { found, limit: ENTRY_BYTES_MAX });
    }
    let evidence = sha256(secret.commit_evidence(tx_id).as_bytes());
    let nonce = nonce(tx_id);

    let mut bytes = Vec::with_capacity(found);
    bytes.extend_from_slice(&[VERSION, flags.0]);
    bytes.extend_from_slice(&((found - ENTRY_HEADER_BYTES) as u64).to_le_bytes()[..6]);
    bytes.extend_from_slice(&[0; AEAD_TAG_BYTES]);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&((PUBLIC_HEADER_BYTES + public.len()) as u64).to_le_bytes());
    bytes.push(TYPE_WITH_EVIDENCE_AND_CLAIMS);
    bytes.extend_from_slice(&tx_id.seqno.0.to_le_bytes());
    bytes.extend_from_slice(&claims.0);
    bytes.extend_from_slice(&evidence.0);
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    bytes.extend_from_slice(&public);
    bytes.extend_from_slice(&private);
    assert_eq!(bytes.len(), found, "an entry has the length that its header says");

    let private_start = found - private.len();
    let (clear, private) = bytes.split_at_mut(private_start);
    let tag = secret.seal_key().seal(cipher_nonce(tx_id), &clear[PUBLIC_START..], private);
    bytes[TAG_START..TAG_START + AEAD_TAG_BYTES].copy_from_slice(&tag);

    let write_set_digest = sha256(&bytes);
    let leaf = leaf(&write_set_digest, &evidence, claims);
    Ok(SealedEntry { bytes: bytes.into(), leaf, write_set_digest })
}

/// How many bytes the entry has that starts with this header, header included.
///
/// # Errors
/// [`DecodeError`] when the version or a flag is unknown, or the length is impossible.
pub fn entry_bytes(header: &[u8; ENTRY_HEADER_BYTES]) -> Result<usize, DecodeError> {
    read_header(&mut Reader::new(header)).map(|(_, rest)| ENTRY_HEADER_BYTES + rest)
}

/// An entry in someone else's bytes: well-formed, and not yet opened or checked against a leaf.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    bytes: &'a [u8],
    tx_id: TxId,
    flags: EntryFlags,
    claims: Digest,
    evidence: Digest,
    /// The public part with its own header: what the seal's tag covers beside the private part.
    associated: &'a [u8],
    private: &'a [u8],
}

impl<'a> EntryView<'a> {
    /// Reads one whole entry.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not exactly one entry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (flags, rest) = read_header(&mut reader)?;
        if rest != reader.left() {
            return Err(DecodeError::Value { field: "entry size", found: rest as u64 });
        }
        reader.take(AEAD_TAG_BYTES, "tag")?;
        let seqno = reader.u64("seqno")?;
        let view = reader.u32("view")?;
        if seqno == 0 || seqno > SEQNO_MAX {
            return Err(DecodeError::Value { field: "seqno", found: seqno });
        }
        if u64::from(view) > View::MAX.0 {
            return Err(DecodeError::Value { field: "view", found: view.into() });
        }
        let associated = reader.bytes("public part")?;
        let private = reader.rest();

        let mut reader = Reader::new(associated);
        let expect = |field, found: u64, expected: u64| {
            if found == expected { Ok(()) } else { Err(DecodeError::Value { field, found }) }
        };
        expect(
            "entry type",
            reader.u8("entry type")?.into(),
            TYPE_WITH_EVIDENCE_AND_CLAIMS.into(),
        )?;
        expect("seqno in the public part", reader.u64("seqno in the public part")?, seqno)?;
        let claims = Digest(reader.array("claims digest")?);
        let evidence = Digest(reader.array("commit evidence digest")?);
        expect("conflict version", reader.u64("conflict version")?, 0)?;
        let tx_id = TxId { view: View(view.into()), seqno: Seqno(seqno) };
        Ok(Self { bytes, tx_id, flags, claims, evidence, associated, private })
    }

    /// The whole entry.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its transaction id.
    #[must_use]
    pub const fn tx_id(&self) -> TxId {
        self.tx_id
    }

    /// Its flags.
    #[must_use]
    pub const fn flags(&self) -> EntryFlags {
        self.flags
    }

    /// Its claims digest: zeros when the application made no claim.
    #[must_use]
    pub const fn claims(&self) -> &Digest {
        &self.claims
    }

    /// SHA-256 of its commit evidence.
    #[must_use]
    pub const fn commit_evidence_digest(&self) -> &Digest {
        &self.evidence
    }

    /// The encoded writes to public maps.
    #[must_use]
    pub fn public(&self) -> &'a [u8] {
        &self.associated[PUBLIC_HEADER_BYTES..]
    }

    /// How many bytes the writes to private maps take.
    #[must_use]
    pub const fn private_bytes(&self) -> usize {
        self.private.len()
    }

    /// The writes to public maps.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not in the one accepted encoding.
    pub fn public_writes(&self) -> Result<WriteSetView<'a>, DecodeError> {
        WriteSetView::parse(self.public(), &[])
    }

    /// Whether this is a signature entry: whether a signature map was written.
    #[must_use]
    pub fn is_signature(&self) -> bool {
        self.public_writes()
            .is_ok_and(|writes| writes.maps().iter().any(|map| is_signature_map(map.name())))
    }

    /// SHA-256 of the entry.
    #[must_use]
    pub fn write_set_digest(&self) -> Digest {
        sha256(self.bytes)
    }

    /// Its leaf in the Merkle tree.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        leaf(&self.write_set_digest(), &self.evidence, &self.claims)
    }

    /// Opens the private part. Success also means that the entry was sealed, all of it but its header, by a holder of
    /// the secret under this transaction id.
    ///
    /// # Errors
    /// [`OpenEntryError`].
    ///
    /// # Panics
    /// Never: the tag was read when the entry was.
    pub fn open(&self, secret: &LedgerSecret) -> Result<OpenEntry<'a>, OpenEntryError> {
        if sha256(secret.commit_evidence(self.tx_id).as_bytes()) != self.evidence {
            return Err(OpenEntryError::CommitEvidence);
        }
        let tag =
            self.bytes[TAG_START..TAG_START + AEAD_TAG_BYTES].try_into().expect("the tag was read");
        let private =
            secret.seal_key().open(cipher_nonce(self.tx_id), self.associated, self.private, tag)?;
        Ok(OpenEntry { public: self.public(), private })
    }
}

/// An entry that does not open.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum OpenEntryError {
    /// The commit evidence is not that of the secret: another secret, or other bytes.
    #[error("commit evidence does not belong to the ledger secret")]
    CommitEvidence,
    /// The seal does not authenticate the entry.
    #[error("entry does not open under the ledger secret")]
    Seal(#[from] SealError),
}

/// An opened entry.
pub struct OpenEntry<'a> {
    /// The encoded writes to public maps.
    pub public: &'a [u8],
    /// The encoded writes to private maps.
    pub private: Vec<u8>,
}

impl OpenEntry<'_> {
    /// All writes.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not in the one accepted encoding.
    pub fn writes(&self) -> Result<WriteSetView<'_>, DecodeError> {
        WriteSetView::parse(self.public, &self.private)
    }
}

impl std::fmt::Debug for OpenEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenEntry")
    }
}

/// The leaf of an entry in the Merkle tree.
pub(crate) fn leaf(write_set: &Digest, commit_evidence: &Digest, claims: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update(&write_set.0);
    hash.update(&commit_evidence.0);
    hash.update(&claims.0);
    hash.finish()
}

fn read_header(reader: &mut Reader<'_>) -> Result<(EntryFlags, usize), DecodeError> {
    let version = reader.u8("entry version")?;
    if version != VERSION {
        return Err(DecodeError::Value { field: "entry version", found: version.into() });
    }
    let flags = EntryFlags::read(reader.u8("entry flags")?)?;
    let mut size = [0; 8];
    size[..6].copy_from_slice(reader.take(6, "entry size")?);
    let found = u64::from_le_bytes(size);
    let limit = (ENTRY_BYTES_MAX - ENTRY_HEADER_BYTES) as u64;
    match usize::try_from(found) {
        Ok(size) if found <= limit && size >= REST_BYTES_MIN => Ok((flags, size)),
        Ok(size) if size < REST_BYTES_MIN => Err(DecodeError::Value { field: "entry size", found }),
        _ => Err(DecodeError::Over { field: "entry size", found, limit }),
    }
}

const VERSION: u8 = 1;
const TYPE_WITH_EVIDENCE_AND_CLAIMS: u8 = 4;

/// The type has room for negative numbers, which mark deletions in old ledgers.
const SEQNO_MAX: u64 = i64::MAX as u64;

/// Where the tag of the seal stands.
pub(crate) const TAG_START: usize = ENTRY_HEADER_BYTES;
/// Where the nonce of the seal stands: the seqno first.
pub(crate) const NONCE_START: usize = TAG_START + AEAD_TAG_BYTES;
/// Where the length of the public part stands.
pub(crate) const PUBLIC_LENGTH_START: usize = NONCE_START + AEAD_NONCE_BYTES;
/// Where the public part starts.
pub(crate) const PUBLIC_START: usize = PUBLIC_LENGTH_START + 8;
/// Where the digest of the commit evidence starts.
pub(crate) const EVIDENCE_START: usize = PUBLIC_START + 1 + 8 + 32;
/// Bytes of the public part before its maps.
const PUBLIC_HEADER_BYTES: usize = 1 + 8 + 32 + 32 + 8;
/// Least bytes after the header.
const REST_BYTES_MIN: usize = PUBLIC_START - ENTRY_HEADER_BYTES + PUBLIC_HEADER_BYTES;

#[cfg(test)]
mod tests {
    use coco_kv::MapName;

    use super::*;

    fn secret() -> LedgerSecret {
        LedgerSecret::new(&[9; 32])
    }

    fn write_set() -> WriteSet {
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static("public:records"), b"k", &b"open"[..]);
        set.insert(&MapName::from_static("secrets"), b"k", &b"hidden"[..]);
        set
    }

    fn sealed() -> SealedEntry {
        seal(&secret(), TxId::new(2, 7), EntryFlags::CHUNK_AFTER, &Digest([5; 32]), &write_set())
            .unwrap()
    }

    #[test]
    fn an_entry_opens_to_what_was_sealed() {
        let sealed = sealed();
        let view = EntryView::parse(&sealed.bytes).unwrap();
        assert_eq!((view.tx_id(), view.flags()), (TxId::new(2, 7), EntryFlags::CHUNK_AFTER));
        assert_eq!((view.leaf(), view.write_set_digest()), (sealed.leaf, sealed.write_set_digest));
        assert!(!view.is_signature());
        assert_eq!(view.open(&secret()).unwrap().writes().unwrap().to_write_set(), write_set());
        let bytes = &sealed.bytes;
        assert!(!bytes.windows(6).any(|window| window == b"hidden"));
        assert!(bytes.windows(4).any(|window| window == b"open"));
        assert_eq!(entry_bytes(bytes[..8].try_into().unwrap()), Ok(bytes.len()));
    }

    #[test]
    fn equal_arguments_give_equal_bytes() {
        assert_eq!(sealed(), sealed());
        let opening = || {
            seal(&secret(), TxId::new(3, 8), EntryFlags::NONE, &Digest::ZERO, &WriteSet::new())
                .unwrap()
        };
        assert_eq!(opening(), opening());
        assert_eq!(EntryView::parse(&opening().bytes).unwrap().private_bytes(), 0);
    }

    #[test]
    fn every_byte_but_the_flags_is_covered_by_the_secret() {
        let bytes = sealed().bytes;
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let opens = EntryView::parse(&changed).is_ok_and(|view| view.open(&secret()).is_ok());
            assert!(!opens || at == 1, "byte {at}");
        }
    }

    #[test]
    fn another_secret_does_not_open_it() {
        let bytes = sealed().bytes;
        let refused = EntryView::parse(&bytes).unwrap().open(&LedgerSecret::new(&[8; 32]));
        assert_eq!(refused.unwrap_err(), OpenEntryError::CommitEvidence);
    }

    #[test]
    fn no_prefix_is_an_entry() {
        let bytes = sealed().bytes;
        for end in 0..bytes.len() {
            assert!(EntryView::parse(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn an_entry_may_have_the_longest_length_and_no_more() {
        let name = MapName::from_static("big");
        let entry = |bytes: usize| {
            let mut set = WriteSet::new();
            set.insert(&name, b"", vec![0; bytes]);
            seal(&secret(), TxId::new(2, 1), EntryFlags::NONE, &Digest::ZERO, &set)
        };
        let overhead = entry(0).unwrap().bytes.len();
        let most = ENTRY_BYTES_MAX - overhead;
        for (bytes, ok) in [(most - 1, true), (most, true), (most + 1, false)] {
            assert_eq!(entry(bytes).is_ok(), ok, "{bytes}");
        }
    }
}

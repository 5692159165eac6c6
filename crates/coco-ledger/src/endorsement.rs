//! What a service says of the one that it goes on from after a disaster: that was its key, and up to here it signed.
//!
//! ```text
//!   18([ { 1: -35, 15: { 6: time }, "ccf.v1": { "epoch.end.txid", "epoch.start.txid", "epoch.end.merkle.root" } },
//!        {}, the key of the service before in SPKI DER, signature of the service after ])
//! ```
//!
//! Whoever trusts the newest service follows such links back to the one that signed a receipt ([`Endorsements`]). A key of
//! before is believed within its epoch only: whoever stole it signs nothing new with it. Tables, fields and headers are CCF's.
//! Unlike there, a service does not endorse itself when it first opens, and the epoch ends with the last signature, as it was.

mod chain;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{KeyError, PublicKey, cose};
use coco_kv::{MapName, WriteSet};
use coco_types::{Digest, Seqno, TxId};
use minicbor::{Decoder, Encoder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::genesis::singleton_key;

pub use chain::{ENDORSEMENTS_MAX, Endorsements};

/// `one key -> JSON`: the endorsement of the service before the last recovery.
pub const PREVIOUS_ENDORSEMENT_MAP: &str =
    "public:ccf.internal.previous_service_identity_endorsement";

/// The part of a ledger that one service signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The entry with which the service began.
    pub first: TxId,
    /// Its last signature entry.
    pub last: TxId,
    /// The root that it signed there.
    pub root: Digest,
}

impl Epoch {
    /// Whether a transaction is one of this part or before, by view and by seqno.
    #[must_use]
    pub fn reaches(&self, id: TxId) -> bool {
        id.seqno <= self.last.seqno && id.view <= self.last.view
    }

    /// Whether a transaction is one of this part.
    #[must_use]
    pub fn contains(&self, id: TxId) -> bool {
        self.reaches(id) && self.first.seqno <= id.seqno && self.first.view <= id.view
    }

    /// Whether another part goes on where this one ends.
    fn is_before(&self, next: &Self) -> bool {
        self.last.seqno.0.checked_add(1) == Some(next.first.seqno.0)
            && self.last.view < next.first.view
    }
}

/// A service of before, as one that came later knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsedService {
    /// Its key.
    pub key: PublicKey,
    /// What it signed.
    pub epoch: Epoch,
}

/// An endorsement that is not to be believed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EndorsementError {
    /// More bytes than are read.
    #[error("endorsements have {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// More links than are followed.
    #[error("there are {found} endorsements, at most {limit} are followed")]
    Many {
        /// Links given.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a list of messages.
    #[error("endorsements are not a CBOR array of byte strings in its shortest form")]
    List,
    /// A link is not a COSE message of the form.
    #[error("endorsement is not a COSE message of the form")]
    Message,
    /// What is endorsed is no key.
    #[error("what is endorsed is not a key")]
    Key(#[source] KeyError),
    /// A link is signed by another service than the one that is to endorse.
    #[error("endorsement is not signed by the service with the key {endorser}")]
    Signature {
        /// SHA-256 of the key that it was checked against.
        endorser: Digest,
    },
    /// An epoch ends before it begins.
    #[error("epoch begins at {first} and ends at {last}")]
    Epoch {
        /// Its first transaction.
        first: TxId,
        /// Its last one.
        last: TxId,
    },
    /// A link does not lead to the one after it: the order is another, or one between them is missing.
    #[error("epoch that ends at {older} does not lead to the one that begins at {newer}")]
    Order {
        /// Where the older epoch ends.
        older: TxId,
        /// Where the newer one begins.
        newer: TxId,
    },
    /// The row of the table is not JSON of its form.
    #[error("row of {PREVIOUS_ENDORSEMENT_MAP} is not JSON of its form")]
    Row,
    /// The row of the table says something else than the message in it.
    #[error("row of {PREVIOUS_ENDORSEMENT_MAP} says something else than what was signed")]
    Contradiction,
}

impl EndorsedService {
    /// The message by which another service endorses this one: `sign` signs with its key, as [`Signer::sign_cose`]. `now_s` is in
    /// seconds since 1970 and is recorded, never compared.
    ///
    /// [`Signer::sign_cose`]: crate::Signer::sign_cose
    #[must_use]
    pub fn endorse(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>, now_s: u64) -> Vec<u8> {
        let protected = Headers { epoch: self.epoch, issued_at_s: now_s }.encode();
        let payload = self.key.spki_der();
        let signature = sign(&cose::to_be_signed(&protected, payload));
        let unprotected = cose::EMPTY_MAP;
        cose::AttachedSign1 { protected: &protected, unprotected, payload, signature: &signature }
            .encode()
    }

    /// Reads such a message, once the service with this key has signed it.
    ///
    /// # Errors
    /// [`EndorsementError`] with the first thing that is wrong.
    pub fn verify(message: &[u8], service: &PublicKey) -> Result<Self, EndorsementError> {
        let sign1 = cose::AttachedSign1::decode(message).map_err(|_| EndorsementError::Message)?;
        let Headers { epoch, .. } =
            Headers::decode(sign1.protected).ok_or(EndorsementError::Message)?;
        if sign1.unprotected != cose::EMPTY_MAP {
            return Err(EndorsementError::Message);
        }
        sign1
            .verify(service)
            .map_err(|_| EndorsementError::Signature { endorser: service.digest() })?;
        let Epoch { first, last, .. } = epoch;
        if last.seqno < first.seqno || last.view < first.view {
            return Err(EndorsementError::Epoch { first, last });
        }
        let key = PublicKey::from_spki_der(sign1.payload).map_err(EndorsementError::Key)?;
        Ok(Self { key, epoch })
    }
}

/// The row of [`PREVIOUS_ENDORSEMENT_MAP`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementRow {
    message: Vec<u8>,
    endorser: Vec<u8>,
    first: TxId,
    last: TxId,
    previous: Option<Seqno>,
}

impl EndorsementRow {
    /// The row in which the service with this key endorses the one before; `sign` signs with it. `previous` is the entry that
    /// has the row before.
    #[must_use]
    pub fn new(
        before: &EndorsedService,
        service: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
        previous: Option<Seqno>,
        now_s: u64,
    ) -> Self {
        Self {
            message: before.endorse(sign, now_s),
            endorser: service.spki_der().to_vec(),
            first: before.epoch.first,
            last: before.epoch.last,
            previous,
        }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`EndorsementError::Row`].
    pub fn read(row: &[u8]) -> Result<Self, EndorsementError> {
        let form: Form = serde_json::from_slice(row).map_err(|_| EndorsementError::Row)?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| EndorsementError::Row);
        let id = |text: &str| text.parse::<TxId>().map_err(|_| EndorsementError::Row);
        Ok(Self {
            message: bytes(&form.endorsement)?,
            endorser: bytes(&form.endorsing_key)?,
            first: id(&form.endorsement_epoch_begin)?,
            last: id(&form.endorsement_epoch_end)?,
            previous: form.previous_version.map(Seqno),
        })
    }

    /// Writes it.
    ///
    /// # Panics
    /// Never: text and numbers have a JSON form.
    pub fn put(&self, set: &mut WriteSet) {
        let form = Form {
            endorsement: STANDARD.encode(&self.message),
            endorsing_key: STANDARD.encode(&self.endorser),
            endorsement_epoch_begin: self.first.to_string(),
            endorsement_epoch_end: self.last.to_string(),
            previous_version: self.previous.map(|seqno| seqno.0),
        };
        let row = serde_json::to_vec(&form).expect("text and numbers have a JSON form");
        set.insert(&MapName::from_static(PREVIOUS_ENDORSEMENT_MAP), singleton_key(), row);
    }

    /// The service before, once the service with this key has endorsed it.
    ///
    /// # Errors
    /// [`EndorsementError`] with the first thing that is wrong.
    pub fn verify(&self, service: &PublicKey) -> Result<EndorsedService, EndorsementError> {
        let before = EndorsedService::verify(&self.message, service)?;
        let said = (self.endorser.as_slice(), self.first, self.last);
        if said != (service.spki_der(), before.epoch.first, before.epoch.last) {
            return Err(EndorsementError::Contradiction);
        }
        Ok(before)
    }

    /// The key that has signed it, as it says itself: whoever verifies with it knows it from elsewhere.
    ///
    /// # Errors
    /// [`EndorsementError::Row`] when there is no key.
    pub fn endorser(&self) -> Result<PublicKey, EndorsementError> {
        PublicKey::from_spki_der(&self.endorser).map_err(|_| EndorsementError::Row)
    }

    /// The signed message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The entry that has the row before.
    #[must_use]
    pub const fn previous(&self) -> Option<Seqno> {
        self.previous
    }
}

/// The row, in CCF's fields.
#[derive(Serialize, Deserialize)]
struct Form {
    endorsement: String,
    endorsing_key: String,
    endorsement_epoch_begin: String,
    endorsement_epoch_end: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_version: Option<u64>,
}

/// What the protected headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Headers {
    epoch: Epoch,
    issued_at_s: u64,
}

impl Headers {
    /// The map in deterministic CBOR.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        self.write(&mut Encoder::new(&mut bytes)).expect("memory takes every write");
        bytes
    }

    fn write(
        &self,
        to: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        let Epoch { first, last, root } = &self.epoch;
        to.map(3)?;
        to.i64(1)?.i64(cose::ALGORITHM_ES384)?;
        to.i64(15)?.map(1)?.i64(6)?.u64(self.issued_at_s)?;
        to.str("ccf.v1")?.map(3)?;
        to.str("epoch.end.txid")?.str(&last.to_string())?;
        to.str("epoch.start.txid")?.str(&first.to_string())?;
        to.str("epoch.end.merkle.root")?.bytes(&root.0)?;
        Ok(())
    }

    /// Reads exactly what [`Self::encode`] writes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let headers = Self::read(&mut Decoder::new(bytes)).ok()?;
        (headers.encode() == bytes).then_some(headers)
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, minicbor::decode::Error> {
        let wrong = || minicbor::decode::Error::message("header");
        // What is passed over here is compared by the caller.
        from.map()?;
        from.i64()?;
        from.i64()?;
        from.i64()?;
        from.map()?;
        from.i64()?;
        let issued_at_s = from.u64()?;
        from.str()?;
        from.map()?;
        from.str()?;
        let last = from.str()?.parse().map_err(|_| wrong())?;
        from.str()?;
        let first = from.str()?.parse().map_err(|_| wrong())?;
        from.str()?;
        let root = from.bytes()?.try_into().map(Digest).map_err(|_| wrong())?;
        Ok(Self { epoch: Epoch { first, last, root }, issued_at_s })
    }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, SigningKey};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate(Curve::P384)
    }

    fn before(key: &SigningKey) -> EndorsedService {
        let (first, last) = (TxId::new(2, 1), TxId::new(4, 9));
        EndorsedService {
            key: key.public().clone(),
            epoch: Epoch { first, last, root: Digest([7; 32]) },
        }
    }

    #[test]
    fn a_link_is_read_back_under_the_key_that_signed_it_and_no_other() {
        let (old, new) = (key(), key());
        let before = before(&old);
        let message = before.endorse(|bytes| new.sign_fixed(bytes), 1_700_000_000);
        assert_eq!(EndorsedService::verify(&message, new.public()), Ok(before));
        let endorser = old.public().digest();
        assert_eq!(
            EndorsedService::verify(&message, old.public()),
            Err(EndorsementError::Signature { endorser })
        );
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 0x10;
            assert!(EndorsedService::verify(&changed, new.public()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_epoch_that_ends_before_it_begins_is_refused() {
        let (old, new) = (key(), key());
        for (last, ok) in [((2, 1), true), ((1, 9), false), ((3, 0), false), ((2, 2), true)] {
            let mut before = before(&old);
            before.epoch.last = TxId::new(last.0, last.1);
            let read = EndorsedService::verify(
                &before.endorse(|bytes| new.sign_fixed(bytes), 0),
                new.public(),
            );
            assert_eq!(read.is_ok(), ok, "{last:?}: {read:?}");
        }
    }

    #[test]
    fn a_row_says_what_was_signed() {
        let (old, new) = (key(), key());
        let before = before(&old);
        let row = EndorsementRow::new(
            &before,
            new.public(),
            |bytes| new.sign_fixed(bytes),
            Some(Seqno(3)),
            5,
        );
        let mut set = WriteSet::new();
        row.put(&mut set);
        let bytes = set.get(&MapName::from_static(PREVIOUS_ENDORSEMENT_MAP), singleton_key());
        let bytes = bytes.unwrap().clone();
        assert_eq!(EndorsementRow::read(&bytes), Ok(row.clone()));
        assert_eq!(row.verify(new.public()), Ok(before));
        assert_eq!(row.previous(), Some(Seqno(3)));
        let text = str::from_utf8(&bytes).unwrap();
        for (from, to) in [("\"4.9\"", "\"4.8\""), ("\"2.1\"", "\"2.2\"")] {
            let other = EndorsementRow::read(text.replace(from, to).as_bytes()).unwrap();
            assert_eq!(other.verify(new.public()), Err(EndorsementError::Contradiction), "{to}");
        }
        let another = EndorsementRow { endorser: old.public().spki_der().to_vec(), ..row };
        assert_eq!(another.verify(new.public()), Err(EndorsementError::Contradiction));
        for wrong in
            ["", "{}", "[]", &text.replace("\"4.9\"", "4"), &text.replace("\"4.9\"", "\"\"")]
        {
            assert_eq!(
                EndorsementRow::read(wrong.as_bytes()),
                Err(EndorsementError::Row),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_protected_headers_are_deterministic_cbor() {
        let epoch = before(&key()).epoch;
        let bytes = Headers { epoch, issued_at_s: 1_700_000_000 }.encode();
        let expected = [
            &[0xa3, 0x01, 0x38, 0x22, 0x0f, 0xa1, 0x06, 0x1a, 0x65, 0x53, 0xf1, 0x00, 0x66][..],
            b"ccf.v1",
            &[0xa3, 0x6e],
            b"epoch.end.txid",
            &[0x63],
            b"4.9",
            &[0x70],
            b"epoch.start.txid",
            &[0x63],
            b"2.1",
            &[0x75],
            b"epoch.end.merkle.root",
            &[0x58, 0x20],
            &[7; 32],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }
}

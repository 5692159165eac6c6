//! Endorsements one after another: from the service that somebody trusts back to the first one.

use coco_crypto::PublicKey;
use minicbor::{Decoder, Encoder};

use super::{EndorsedService, EndorsementError};

/// Most recoveries between the service that is trusted and one of before: as many as CCF's tools follow.
pub const ENDORSEMENTS_MAX: usize = 64;

/// Largest list that is read, in bytes. A link has less than half a kilobyte.
const ENDORSEMENTS_BYTES_MAX: usize = 64 << 10;

/// Endorsements, the newest first: each is of the service that signed the next. Not verified yet, at most
/// [`ENDORSEMENTS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsements(Vec<Vec<u8>>);

impl Endorsements {
    /// Takes messages in, the newest first.
    ///
    /// # Errors
    /// [`EndorsementError`] when they are too many, or too long.
    pub fn new(messages: Vec<Vec<u8>>) -> Result<Self, EndorsementError> {
        let (found, limit) = (messages.len(), ENDORSEMENTS_MAX);
        if found > limit {
            return Err(EndorsementError::Many { found, limit });
        }
        check_length(messages.iter().map(Vec::len).sum())?;
        Ok(Self(messages))
    }

    /// The messages, the newest first.
    #[must_use]
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The list as CCF's tools have it: a CBOR array of byte strings.
    ///
    /// # Panics
    /// Never: memory takes every write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut to = Encoder::new(&mut bytes);
        let mut written = to.array(self.0.len() as u64).map(drop);
        for message in &self.0 {
            written = written.and_then(|()| to.bytes(message).map(drop));
        }
        written.expect("memory takes every write");
        bytes
    }

    /// Reads a list in its one encoding.
    ///
    /// # Errors
    /// [`EndorsementError`] when it is too long or of another form.
    pub fn decode(bytes: &[u8]) -> Result<Self, EndorsementError> {
        check_length(bytes.len())?;
        let wrong = |_| EndorsementError::List;
        let mut from = Decoder::new(bytes);
        let count = from.array().map_err(wrong)?.ok_or(EndorsementError::List)?;
        if count > ENDORSEMENTS_MAX as u64 {
            let found = usize::try_from(count).unwrap_or(usize::MAX);
            return Err(EndorsementError::Many { found, limit: ENDORSEMENTS_MAX });
        }
        let messages = (0..count).map(|_| from.bytes().map(<[u8]>::to_vec).map_err(wrong));
        let read = Self(messages.collect::<Result<_, _>>()?);
        // The library also reads numbers that are not in their shortest form, and what follows was not looked at.
        if read.encode() == bytes { Ok(read) } else { Err(EndorsementError::List) }
    }

    /// The services of before, the newest first, once the one with this key has endorsed them.
    ///
    /// # Errors
    /// [`EndorsementError`] when a link is not signed by the one after it, or does not lead to it.
    pub fn verify(&self, service: &PublicKey) -> Result<Vec<EndorsedService>, EndorsementError> {
        let mut services: Vec<EndorsedService> = Vec::with_capacity(self.0.len());
        for message in &self.0 {
            let after = services.last();
            let older = EndorsedService::verify(message, after.map_or(service, |it| &it.key))?;
            if let Some(newer) = after
                && !older.epoch.is_before(&newer.epoch)
            {
                let (older, newer) = (older.epoch.last, newer.epoch.first);
                return Err(EndorsementError::Order { older, newer });
            }
            services.push(older);
        }
        Ok(services)
    }
}

fn check_length(found: usize) -> Result<(), EndorsementError> {
    let limit = ENDORSEMENTS_BYTES_MAX;
    if found > limit { Err(EndorsementError::Long { found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use coco_crypto::{Curve, SigningKey};
    use coco_types::{Digest, TxId};

    use super::{super::Epoch, *};

    /// Three services that followed each other, the newest first, and their endorsements.
    struct Three {
        keys: [SigningKey; 3],
        epochs: [Epoch; 2],
    }

    impl Three {
        fn new() -> Self {
            let epoch = |first: (u64, u64), last: (u64, u64)| Epoch {
                first: TxId::new(first.0, first.1),
                last: TxId::new(last.0, last.1),
                root: Digest([1; 32]),
            };
            let keys = [0; 3].map(|_| SigningKey::generate(Curve::P384));
            Self { keys, epochs: [epoch((5, 10), (6, 30)), epoch((2, 1), (3, 9))] }
        }

        fn service(&self, at: usize) -> EndorsedService {
            EndorsedService { key: self.keys[at + 1].public().clone(), epoch: self.epochs[at] }
        }

        fn messages(&self) -> Vec<Vec<u8>> {
            (0..2)
                .map(|at| self.service(at).endorse(|bytes| self.keys[at].sign_fixed(bytes), 0))
                .collect()
        }

        fn verify(&self, messages: Vec<Vec<u8>>) -> Result<Vec<EndorsedService>, EndorsementError> {
            Endorsements::new(messages).unwrap().verify(self.keys[0].public())
        }
    }

    #[test]
    fn a_chain_leads_to_every_service_of_before() {
        let three = Three::new();
        let expected = vec![three.service(0), three.service(1)];
        assert_eq!(three.verify(three.messages()), Ok(expected));
        assert_eq!(three.verify(Vec::new()), Ok(Vec::new()));
        let made = Endorsements::new(three.messages()).unwrap();
        assert_eq!(Endorsements::decode(&made.encode()), Ok(made));
    }

    #[test]
    fn a_link_that_is_forged_missing_or_out_of_order_breaks_the_chain() {
        let three = Three::new();
        let messages = three.messages();
        let forged = three
            .service(1)
            .endorse(|bytes| SigningKey::generate(Curve::P384).sign_fixed(bytes), 0);
        for (name, wrong) in [
            ("forged", vec![messages[0].clone(), forged]),
            ("missing", vec![messages[1].clone()]),
            ("out of order", vec![messages[1].clone(), messages[0].clone()]),
            ("twice", vec![messages[0].clone(), messages[0].clone()]),
        ] {
            let refused = three.verify(wrong);
            assert!(
                matches!(refused, Err(EndorsementError::Signature { .. })),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn epochs_follow_each_other_without_gap_and_overlap() {
        for (last, ok) in
            [((3, 9), true), ((3, 8), false), ((3, 10), false), ((4, 9), true), ((5, 9), false)]
        {
            let mut three = Three::new();
            three.epochs[1].last = TxId::new(last.0, last.1);
            let read = three.verify(three.messages());
            assert_eq!(read.is_ok(), ok, "{last:?}: {read:?}");
            assert!(ok || matches!(read, Err(EndorsementError::Order { .. })));
        }
    }

    #[test]
    fn lists_have_a_limit_and_one_encoding() {
        for (count, ok) in [(63, true), (64, true), (65, false)] {
            assert_eq!(Endorsements::new(vec![vec![1]; count]).is_ok(), ok, "{count}");
            let list = Endorsements(vec![vec![1]; count]).encode();
            assert_eq!(Endorsements::decode(&list).is_ok(), ok, "{count}");
        }
        let long = vec![vec![0; ENDORSEMENTS_BYTES_MAX + 1]];
        assert!(matches!(Endorsements::new(long), Err(EndorsementError::Long { .. })));
        let long = vec![0; ENDORSEMENTS_BYTES_MAX + 1];
        assert!(matches!(Endorsements::decode(&long), Err(EndorsementError::Long { .. })));
        for wrong in [
            &[][..],
            &[0x82, 0x41, 1],
            &[0x81, 0x41, 1, 0],
            &[0x81, 0x61, b'a'],
            &[0x98, 0x01, 0x41, 1],
            &[0x9f, 0x41, 1, 0xff],
            &[0xa0],
        ] {
            assert_eq!(Endorsements::decode(wrong), Err(EndorsementError::List), "{wrong:02x?}");
        }
        assert!(matches!(
            Endorsements::decode(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(EndorsementError::Many { .. })
        ));
    }
}

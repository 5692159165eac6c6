//! The secrets of all periods of one ledger, and which of them an entry is sealed under.
//!
//! An entry is sealed under the secret of its seqno. As in CCF, a new secret is recorded by an entry that is itself sealed
//! under the one before, and is used from the next entry on: the entry at seqno s begins the period that starts at s + 1.
//! When the entry at s is rolled back, the period goes with it. (CCF drops the period already when the ledger is rolled back
//! *to* s; here the entry at s and what it began stay together.)

use std::{fmt, sync::Arc};

use coco_crypto::SecretBytes;
use coco_types::{
    Seqno,
    codec::{DecodeError, Reader, put_u64},
};
use thiserror::Error;

use crate::{
    ENDORSEMENTS_MAX, EntryView, LEDGER_SECRET_BYTES, LedgerSecret, OpenEntry, OpenEntryError,
};

/// Most periods of a ledger: one a day for 44 years. Each has a kilobyte of prepared keys in memory.
pub const PERIODS_MAX: usize = 1 << 14;

/// How many of them rekeys leave to recoveries, each of which begins one: as many recoveries as receipts are followed through.
/// A ledger whose periods were all used up could not be brought back.
const PERIODS_FOR_RECOVERIES: usize = ENDORSEMENTS_MAX;

/// The secrets of a ledger, in the order of the periods they seal. There is always one. Cheap to clone.
///
/// Those that it was made of were handed over by who knew that their entries are committed, so they stay whatever is rolled
/// back; those appended later go with their entries.
#[derive(Clone)]
pub struct LedgerSecrets {
    periods: Arc<Vec<Period>>,
    /// How many it was made of.
    given: usize,
}

/// The periods, as a list; each shows its first entry only.
impl fmt::Debug for LedgerSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LedgerSecrets").field(&self.periods).finish()
    }
}

/// A stretch of the ledger that is sealed under one secret.
#[derive(Clone, Debug)]
pub struct Period {
    /// Its first entry.
    pub from: Seqno,
    /// What seals it.
    pub secret: LedgerSecret,
}

/// A period that cannot follow.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PeriodError {
    /// It does not begin after the one before.
    #[error("a period from {found} does not follow one from {newest}")]
    Order {
        /// Where the newest begins.
        newest: Seqno,
        /// Where this one would.
        found: Seqno,
    },
    /// There are as many as there may be.
    #[error("a ledger has at most {PERIODS_MAX} periods")]
    Many,
    /// There must be one.
    #[error("a ledger has a secret")]
    None,
}

impl LedgerSecrets {
    /// Puts periods together, oldest first.
    ///
    /// # Errors
    /// [`PeriodError`] when they are no sequence.
    pub fn new(periods: impl IntoIterator<Item = Period>) -> Result<Self, PeriodError> {
        let mut periods = periods.into_iter();
        let first = vec![periods.next().ok_or(PeriodError::None)?];
        let mut secrets = Self { periods: Arc::new(first), given: 1 };
        periods.try_for_each(|Period { from, secret }| secrets.append(from, secret))?;
        secrets.given = secrets.periods.len();
        Ok(secrets)
    }

    /// The secret of the entry at `seqno`. What is before the first period gets the first secret, which does not open it.
    ///
    /// # Panics
    /// Never: there is a first.
    #[must_use]
    pub fn at(&self, seqno: Seqno) -> &LedgerSecret {
        let newest = self.newest();
        // Nearly always: entries are sealed, and mostly read, at the end.
        if newest.from <= seqno {
            return &newest.secret;
        }
        let after = self.periods.partition_point(|period| period.from <= seqno);
        &self.periods[after.saturating_sub(1)].secret
    }

    /// Opens an entry under the secret of its place.
    ///
    /// A signature entry that ends a period is the last one of a service that was lost: what begins a period otherwise is no
    /// signature. When its ledger was copied for the recovery, its tag and its digest of evidence were under no signature, so
    /// whoever had the copy may have changed them, and the service after it has signed them so. All of the entry is public:
    /// if it does not open it goes by that.
    ///
    /// # Errors
    /// [`OpenEntryError`].
    pub fn open<'a>(&self, entry: &EntryView<'a>) -> Result<OpenEntry<'a>, OpenEntryError> {
        let seqno = entry.tx_id().seqno;
        entry.open(self.at(seqno)).or_else(|error| {
            let ends_period = self.periods.iter().any(|period| period.from == seqno.next());
            if ends_period && entry.private_bytes() == 0 && entry.is_signature() {
                return Ok(OpenEntry { public: entry.public(), private: Vec::new() });
            }
            Err(error)
        })
    }

    /// The newest period.
    ///
    /// # Panics
    /// Never: there is always one.
    #[must_use]
    pub fn newest(&self) -> &Period {
        self.periods.last().expect("a ledger has a secret")
    }

    /// All periods, oldest first.
    #[must_use]
    pub fn periods(&self) -> &[Period] {
        &self.periods
    }

    /// Whether the secret of the entry at `seqno` is there. It is not for what was before the first period: a service that
    /// is being recovered knows its own secret only, until members have sent their shares.
    #[must_use]
    pub fn knows(&self, seqno: Seqno) -> bool {
        self.periods[0].from <= seqno
    }

    /// Whether the secrets of all entries are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.knows(Seqno(1))
    }

    /// Whether members may give the ledger another secret: not when so many periods are left as are kept for recoveries.
    #[must_use]
    pub fn may_rekey(&self) -> bool {
        self.periods.len() < PERIODS_MAX - PERIODS_FOR_RECOVERIES
    }

    /// Begins a period, by the entry before `from`.
    ///
    /// # Errors
    /// [`PeriodError`] when it does not follow.
    pub fn append(&mut self, from: Seqno, secret: LedgerSecret) -> Result<(), PeriodError> {
        let newest = self.newest().from;
        if from <= newest {
            return Err(PeriodError::Order { newest, found: from });
        }
        if self.periods.len() == PERIODS_MAX {
            return Err(PeriodError::Many);
        }
        Arc::make_mut(&mut self.periods).push(Period { from, secret });
        Ok(())
    }

    /// Forgets the periods that began with entries after `to`, except those that it was made of.
    pub fn rollback(&mut self, to: Seqno) {
        let kept = self.periods.partition_point(|period| period.from <= to.next());
        let kept = kept.max(self.given);
        if kept < self.periods.len() {
            Arc::make_mut(&mut self.periods).truncate(kept);
        }
    }

    /// The key of the fingerprints of history maps and of the placement of keys in memory; see [`LedgerSecret::index_key`].
    /// It is the first secret's for all periods: fingerprints that are in the store would be worth nothing under another.
    #[must_use]
    pub fn index_key(&self) -> [u64; 2] {
        self.periods[0].secret.index_key()
    }

    /// All periods as bytes, for whoever seals them to a disk or sends them to a node that may have them.
    #[must_use]
    pub fn encode(&self) -> SecretBytes {
        // Never grown: what a vector leaves behind when it grows is not wiped.
        let mut bytes = Vec::with_capacity(self.periods.len() * PERIOD_BYTES);
        for Period { from, secret } in &*self.periods {
            put_u64(&mut bytes, from.0);
            bytes.extend_from_slice(secret.secret().expose());
        }
        SecretBytes::new(bytes)
    }

    /// Reads what [`LedgerSecrets::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no sequence of periods.
    ///
    /// # Panics
    /// Never: as many bytes are taken as a secret has.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (count, limit) = (bytes.len().div_ceil(PERIOD_BYTES), PERIODS_MAX as u64);
        if count > PERIODS_MAX {
            return Err(DecodeError::Over { field: "periods", found: count as u64, limit });
        }
        let mut reader = Reader::new(bytes);
        let mut period = || {
            let from = Seqno(reader.u64("first seqno of a period")?);
            let secret = reader.take(LEDGER_SECRET_BYTES, "ledger secret")?;
            let secret = secret.try_into().expect("as many bytes were taken");
            Ok(Period { from, secret: LedgerSecret::new(secret) })
        };
        let periods = (0..count).map(|_| period()).collect::<Result<Vec<_>, DecodeError>>()?;
        Self::new(periods).map_err(|error| {
            let found = match error {
                PeriodError::Order { found, .. } => found.0,
                PeriodError::Many | PeriodError::None => count as u64,
            };
            DecodeError::Value { field: "first seqno of a period", found }
        })
    }
}

/// One period, from the first entry on.
impl From<LedgerSecret> for LedgerSecrets {
    fn from(secret: LedgerSecret) -> Self {
        Self { periods: Arc::new(vec![Period { from: Seqno(1), secret }]), given: 1 }
    }
}

const PERIOD_BYTES: usize = 8 + LEDGER_SECRET_BYTES;

#[cfg(test)]
mod tests {
    use coco_kv::{MapName, WriteSet};
    use coco_types::{Digest, TxId};

    use super::*;
    use crate::{
        EntryFlags, SIGNATURES_MAP,
        entry::{EVIDENCE_START, TAG_START},
        seal,
    };

    fn secret(of: u8) -> LedgerSecret {
        LedgerSecret::new(&[of; 32])
    }

    fn three() -> LedgerSecrets {
        let mut secrets = LedgerSecrets::from(secret(1));
        secrets.append(Seqno(10), secret(2)).unwrap();
        secrets.append(Seqno(20), secret(3)).unwrap();
        secrets
    }

    /// Which secret it is.
    fn which(secrets: &LedgerSecrets, seqno: u64) -> u8 {
        secrets.at(Seqno(seqno)).secret().expose()[0]
    }

    fn begins(secrets: &LedgerSecrets) -> Vec<u64> {
        secrets.periods().iter().map(|period| period.from.0).collect()
    }

    #[test]
    fn each_entry_has_the_secret_of_its_period() {
        let secrets = three();
        for (seqno, expected) in
            [(0, 1), (1, 1), (9, 1), (10, 2), (11, 2), (19, 2), (20, 3), (21, 3), (u64::MAX, 3)]
        {
            assert_eq!(which(&secrets, seqno), expected, "{seqno}");
        }
        assert_eq!(secrets.newest().from, Seqno(20));
    }

    #[test]
    fn a_period_goes_with_the_entry_that_began_it() {
        for (to, left) in [
            (30, vec![1, 10, 20]),
            (20, vec![1, 10, 20]),
            (19, vec![1, 10, 20]),
            (18, vec![1, 10]),
            (9, vec![1, 10]),
            (8, vec![1]),
            (0, vec![1]),
        ] {
            let mut secrets = three();
            secrets.rollback(Seqno(to));
            assert_eq!(begins(&secrets), left, "to {to}");
        }
        let given = [10, 20].map(|from| Period { from: Seqno(from), secret: secret(2) });
        let mut late = LedgerSecrets::new(given).unwrap();
        late.append(Seqno(30), secret(3)).unwrap();
        late.rollback(Seqno(3));
        assert_eq!(begins(&late), [10, 20], "what was given is committed");
        assert!(late.knows(Seqno(10)) && !late.knows(Seqno(9)) && !late.is_whole());
    }

    #[test]
    fn only_the_last_signature_of_a_lost_service_goes_by_its_public_part() {
        let secrets = three();
        let sealed = |seqno, map: &'static str| {
            let mut set = WriteSet::new();
            set.insert(&MapName::from_static(map), b"k", b"v".to_vec());
            let id = TxId::new(2, seqno);
            let secret = secrets.at(Seqno(seqno));
            seal(secret, id, EntryFlags::NONE, &Digest::ZERO, &set).unwrap().bytes
        };
        let last = |seqno| sealed(seqno, SIGNATURES_MAP);
        for (entry, goes) in [
            (last(9), true),
            (last(8), false),
            (sealed(9, "public:other"), false),
            (sealed(9, "private"), false),
        ] {
            assert!(secrets.open(&EntryView::parse(&entry).unwrap()).is_ok());
            for at in [TAG_START, EVIDENCE_START] {
                let mut changed = entry.to_vec();
                changed[at] ^= 1;
                let view = EntryView::parse(&changed).unwrap();
                assert_eq!(secrets.open(&view).is_ok(), goes, "{:?}, {at}", view.tx_id());
            }
        }
    }

    #[test]
    fn periods_follow_each_other() {
        let mut secrets = three();
        for from in [0, 19, 20] {
            let refused = PeriodError::Order { newest: Seqno(20), found: Seqno(from) };
            assert_eq!(secrets.append(Seqno(from), secret(4)), Err(refused));
        }
        assert_eq!(secrets.append(Seqno(21), secret(4)), Ok(()));
        assert_eq!(LedgerSecrets::new([]).unwrap_err(), PeriodError::None);
    }

    #[test]
    fn a_ledger_has_the_most_periods_and_no_more() {
        let mut secrets = LedgerSecrets::from(secret(1));
        let last = PERIODS_MAX as u64;
        let same = secret(2);
        for from in 2..=last {
            let is_early = from <= last - ENDORSEMENTS_MAX as u64;
            assert_eq!(secrets.may_rekey(), is_early, "{from}");
            assert_eq!(secrets.append(Seqno(from), same.clone()), Ok(()), "{from}");
        }
        assert_eq!(secrets.append(Seqno(last + 1), secret(2)), Err(PeriodError::Many));
        assert_eq!(
            begins(&LedgerSecrets::decode(secrets.encode().expose()).unwrap()).len(),
            PERIODS_MAX
        );
        let more = [secrets.encode().expose(), &[9; PERIOD_BYTES]].concat();
        assert!(matches!(LedgerSecrets::decode(&more), Err(DecodeError::Over { .. })));
    }

    #[test]
    fn the_index_key_is_that_of_the_first_secret() {
        assert_eq!(three().index_key(), secret(1).index_key());
        assert_ne!(secret(1).index_key(), secret(3).index_key());
    }

    #[test]
    fn periods_read_as_they_were_written_and_others_are_refused() {
        let bytes = three().encode();
        let bytes = bytes.expose();
        let read = LedgerSecrets::decode(bytes).unwrap();
        assert_eq!(begins(&read), [1, 10, 20]);
        assert_eq!([1, 10, 20].map(|at| which(&read, at)), [1, 2, 3]);
        for end in 0..bytes.len() {
            assert_eq!(LedgerSecrets::decode(&bytes[..end]).is_ok(), end > 0 && end % 40 == 0);
        }
        let turned = [&bytes[40..80], &bytes[..40]].concat();
        assert!(LedgerSecrets::decode(&turned).is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?}", LedgerSecrets::from(secret(7)));
        assert_eq!(printed, "LedgerSecrets([Period { from: Seqno(1), secret: LedgerSecret }])");
    }
}

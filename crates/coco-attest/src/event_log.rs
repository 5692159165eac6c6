//! Logs of what firmware measured into registers, event by event (TCG, "PC Client Platform Firmware Profile", section 10: the crypto
//! agile form).
//!
//! A register starts with zeros, and each event makes it the hash of what it was and of the event's digest. So whoever has the registers
//! signed needs nobody's word for the digests: a log either leads to them or does not. *Only* the digests and their order are proved. What
//! kind of event it was nobody has hashed, and its data only where their own hash is the digest, which not every kind of event has.

use crate::{
    error::VerifyError,
    little_endian::{LittleEndian, Malformed},
};

/// Most events of a log. Firmware, loader and kernel make some dozens.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Most bytes of data of one event. Lists of revoked loaders have some ten thousand.
const DATA_BYTES_MAX: usize = 64 << 10;

/// Most hashes in use at once: as many as are known here.
const BANKS_MAX: usize = 4;

/// Which hash a register is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bank {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Bank {
    /// By the number of the hash, and the bytes of a digest (TCG, "Algorithm Registry").
    const fn of(number: u16, bytes: u16) -> Option<Self> {
        match (number, bytes) {
            (0x04, 20) => Some(Self::Sha1),
            (0x0b, 32) => Some(Self::Sha256),
            (0x0c, 48) => Some(Self::Sha384),
            (0x0d, 64) => Some(Self::Sha512),
            _ => None,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::Sha1 => 0x04,
            Self::Sha256 => 0x0b,
            Self::Sha384 => 0x0c,
            Self::Sha512 => 0x0d,
        }
    }

    const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// An event that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a, const N: usize> {
    /// The number of the register, as this platform counts.
    pub(crate) register: u32,
    /// What the log calls it; proved by nothing.
    pub(crate) kind: u32,
    pub(crate) digest: [u8; N],
    /// Proved by nothing but a digest that is their hash.
    pub(crate) data: &'a [u8],
}

/// What was measured under one hash, of which a digest has `N` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventLog<'a, const N: usize> {
    pub(crate) events: Vec<Event<'a, N>>,
}

/// The register of the first event, which means nothing there: the first that a TPM has, or the first that a trust domain measures into.
const FIRST: [u32; 2] = [0, 1];
/// The kind of events that measure nothing.
const NO_ACTION: u32 = 3;
/// What the first event begins with: its form, of platforms of the class "client", in version 2.0.
const SPECIFICATION: &[u8; 16] = b"Spec ID Event03\0";
/// Class, minor and major version and errata, each as they have been since that form came.
const CLIENT: [u8; 7] = [0, 0, 0, 0, 0, 2, 0];
/// The sizes of the firmware's numbers: 32 and 64 bits.
const NUMBER_SIZES: [u8; 2] = [1, 2];

impl<'a, const N: usize> EventLog<'a, N> {
    /// Reads a log to its last byte, with at most this number of a register. The events that measure nothing are passed over.
    pub(crate) fn read(
        bytes: &'a [u8],
        bank: Bank,
        register_max: u32,
    ) -> Result<Self, VerifyError> {
        let read = Self::read_all(bytes, bank, register_max);
        read.map_err(|Malformed { what, at }| VerifyError::Log { what, at })
    }

    fn read_all(bytes: &'a [u8], bank: Bank, register_max: u32) -> Result<Self, Malformed> {
        let mut reader = LittleEndian::new(bytes);
        let banks = read_banks(&mut reader)?;
        if bank.digest_bytes() != N || !banks.contains(&bank) {
            return Err(reader.malformed("the log has no digests of this hash"));
        }
        let (mut events, mut count) = (Vec::new(), 0_usize);
        while !reader.rest().is_empty() {
            count = count.saturating_add(1);
            if count > EVENTS_MAX {
                return Err(reader.malformed("too many events"));
            }
            let event = read_event(&mut reader, &banks, bank, register_max)?;
            if event.kind != NO_ACTION {
                events.push(event);
            }
        }
        Ok(Self { events })
    }

    /// What this register is after all events, by the hash of the log.
    pub(crate) fn replay(&self, register: u32, hash: fn(&[u8]) -> [u8; N]) -> [u8; N] {
        let of_it = self.events.iter().filter(|event| event.register == register);
        of_it.fold([0; N], |was, event| hash([was, event.digest].as_flattened()))
    }
}

/// The first event, which is in the form of logs before there were several hashes, and says which there are.
fn read_banks(reader: &mut LittleEndian<'_>) -> Result<Vec<Bank>, Malformed> {
    let place = *reader;
    if !FIRST.contains(&reader.u32("the register of the first event")?) {
        return Err(place.malformed("the first event is of another register than the first"));
    }
    let place = *reader;
    if reader.u32("the kind of the first event")? != NO_ACTION {
        return Err(place.malformed("the first event measures something"));
    }
    reader.zeros::<20>("the first event has a digest")?;
    let length = reader.length("the length of the first event")?;
    let mut said = reader.part(length, "the first event")?;
    let place = said;
    if said.array::<16>("the form of the log")? != *SPECIFICATION
        || said.array::<7>("the version of the log")? != CLIENT
        || !NUMBER_SIZES.contains(&said.u8("the size of numbers")?)
    {
        return Err(place.malformed("not a crypto agile log of version 2.0"));
    }
    let place = said;
    let count = said.length("the number of hashes")?;
    if count == 0 || count > BANKS_MAX {
        return Err(place.malformed("no hash, or too many"));
    }
    let mut banks = Vec::new();
    for _ in 0..count {
        let place = said;
        let (number, bytes) = (said.u16("a hash")?, said.u16("the bytes of a digest")?);
        match Bank::of(number, bytes) {
            Some(bank) if !banks.contains(&bank) => banks.push(bank),
            _ => return Err(place.malformed("a hash that is not known here, or stands twice")),
        }
    }
    // Nothing of a vendor's.
    said.zeros::<1>("something of a vendor's in the first event")?;
    said.end("bytes after the first event")?;
    Ok(banks)
}

/// A later event: a digest of each hash, in the order of the first.
fn read_event<'a, const N: usize>(
    reader: &mut LittleEndian<'a>,
    banks: &[Bank],
    wanted: Bank,
    register_max: u32,
) -> Result<Event<'a, N>, Malformed> {
    let place = *reader;
    let register = reader.u32("the register of an event")?;
    if register > register_max {
        return Err(place.malformed("an event of a register that there is not"));
    }
    let kind = reader.u32("the kind of an event")?;
    let place = *reader;
    if reader.length("the number of digests")? != banks.len() {
        return Err(place.malformed("not one digest of each hash"));
    }
    let mut digest = [0; N];
    for bank in banks {
        let place = *reader;
        if reader.u16("the hash of a digest")? != bank.number() {
            return Err(place.malformed("not the digest of this hash"));
        }
        let found = reader.bytes(bank.digest_bytes(), "a digest")?;
        if *bank == wanted {
            digest = <[u8; N]>::try_from(found).map_err(|_| place.malformed("a digest"))?;
        }
    }
    let place = *reader;
    let length = reader.length("the length of an event")?;
    if length > DATA_BYTES_MAX {
        return Err(place.malformed("an event with too many bytes"));
    }
    let data = reader.bytes(length, "the data of an event")?;
    Ok(Event { register, kind, digest, data })
}

#[cfg(test)]
mod tests;

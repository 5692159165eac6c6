//! The stored form of an account.

use alloy_primitives::{B256, KECCAK256_EMPTY, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use coco_types::codec::{DecodeError, Reader};

/// An account that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// How many transactions it has sent, or contracts it has created.
    pub nonce: u64,
    /// Its balance, in wei.
    pub balance: U256,
    /// Keccak-256 of its code; that of nothing when it has none.
    pub code_hash: B256,
    /// How often an account at this address was destroyed before.
    pub incarnation: u64,
    /// Root of its storage trie; the root of nothing when the chain keeps no tries.
    pub storage_root: B256,
}

impl Default for AccountRecord {
    fn default() -> Self {
        Self {
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
            incarnation: 0,
            storage_root: EMPTY_ROOT_HASH,
        }
    }
}

impl AccountRecord {
    /// Whether it has code.
    #[must_use]
    pub fn has_code(&self) -> bool {
        self.code_hash != KECCAK256_EMPTY
    }

    /// Whether it has storage and neither code nor nonce, which only an account of block 0 can. No contract can be
    /// created there (EIP-7610). What the interpreter is shown instead is told in `executor::code_hash`.
    pub(crate) fn is_only_storage(&self) -> bool {
        self.incarnation == INCARNATION_ONLY_STORAGE && self.nonce == 0 && !self.has_code()
    }
}

/// What is stored under an address: an account, or the mark that one was destroyed here, or (the default) nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The account, if it exists.
    pub(crate) record: Option<AccountRecord>,
    /// The incarnation of the account, or of the next one here.
    pub(crate) incarnation: u64,
}

impl Stored {
    /// An account that exists.
    pub(crate) const fn account(record: AccountRecord) -> Self {
        Self { incarnation: record.incarnation, record: Some(record) }
    }

    /// The stored form; `None` when nothing needs to be stored.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        if self.record.is_none() && self.incarnation == 0 {
            return None;
        }
        let mut out = Vec::with_capacity(RECORD_BYTES_USUAL);
        let Some(record) = &self.record else {
            out.push(HAS_INCARNATION);
            put_number(&mut out, self.incarnation);
            return Some(out);
        };
        let has_root = record.storage_root != EMPTY_ROOT_HASH;
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        out.push(
            EXISTS
                | flag(record.has_code(), HAS_CODE)
                | flag(record.incarnation != 0, HAS_INCARNATION)
                | flag(has_root, HAS_STORAGE_ROOT),
        );
        put_number(&mut out, record.nonce);
        let balance = record.balance.to_be_bytes_trimmed_vec();
        out.push(u8::try_from(balance.len()).expect("a word has 32 bytes"));
        out.extend_from_slice(&balance);
        if record.has_code() {
            out.extend_from_slice(record.code_hash.as_slice());
        }
        if record.incarnation != 0 {
            put_number(&mut out, record.incarnation);
        }
        if has_root {
            out.extend_from_slice(record.storage_root.as_slice());
        }
        Some(out)
    }

    /// Reads what [`Stored::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8("flags")?;
        if flags & !(EXISTS | HAS_CODE | HAS_INCARNATION | HAS_STORAGE_ROOT) != 0 {
            return Err(DecodeError::Value { field: "flags", found: u64::from(flags) });
        }
        let has = |flag: u8| flags & flag != 0;
        let mut record = AccountRecord::default();
        if has(EXISTS) {
            record.nonce = number(&mut reader, "nonce")?;
            let length = usize::from(reader.u8("balance length")?);
            let balance = reader.take(length, "balance")?;
            let wrong =
                DecodeError::Over { field: "balance length", found: length as u64, limit: 32 };
            record.balance = U256::try_from_be_slice(balance).ok_or(wrong)?;
        }
        if has(HAS_CODE) {
            record.code_hash = reader.array("code hash")?.into();
        }
        if has(HAS_INCARNATION) {
            record.incarnation = number(&mut reader, "incarnation")?;
        }
        if has(HAS_STORAGE_ROOT) {
            record.storage_root = reader.array("storage root")?.into();
        }
        reader.end()?;
        Ok(Self { incarnation: record.incarnation, record: has(EXISTS).then_some(record) })
    }
}

/// Appends a number in as few bytes as it takes: a length byte, then little-endian bytes without trailing zeros.
fn put_number(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    let length = (u64::BITS - value.leading_zeros()).div_ceil(8);
    let length = usize::try_from(length).expect("at most eight");
    out.push(u8::try_from(length).expect("at most eight"));
    out.extend_from_slice(&bytes[..length]);
}

fn number(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let length = usize::from(reader.u8(field)?);
    let mut bytes = [0; 8];
    let Some(low) = bytes.get_mut(..length) else {
        return Err(DecodeError::Over { field, found: length as u64, limit: 8 });
    };
    low.copy_from_slice(reader.take(length, field)?);
    Ok(u64::from_le_bytes(bytes))
}

/// The incarnation of accounts of block 0 that have storage and no code. Far from any that destruction leads to.
pub(crate) const INCARNATION_ONLY_STORAGE: u64 = 1 << 63;

const EXISTS: u8 = 1;
const HAS_CODE: u8 = 2;
const HAS_INCARNATION: u8 = 4;
const HAS_STORAGE_ROOT: u8 = 8;
/// Flags, a nonce, a balance below 2^96; contracts take more.
const RECORD_BYTES_USUAL: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_read_what_they_wrote() {
        let full = AccountRecord {
            nonce: u64::MAX,
            balance: U256::MAX,
            code_hash: B256::repeat_byte(1),
            incarnation: 300,
            storage_root: B256::repeat_byte(2),
        };
        let plain = AccountRecord {
            nonce: 1,
            balance: U256::from(10).pow(U256::from(18)),
            ..AccountRecord::default()
        };
        for stored in [
            Stored::account(AccountRecord::default()),
            Stored::account(plain),
            Stored::account(full),
            Stored { record: None, incarnation: 1 },
        ] {
            let bytes = stored.encode().expect("there is something to store");
            assert_eq!(Stored::decode(&bytes), Ok(stored));
            for end in 0..bytes.len() {
                assert!(Stored::decode(&bytes[..end]).is_err(), "{stored:?} cut at {end}");
            }
        }
        assert_eq!(Stored::account(plain).encode().map(|bytes| bytes.len()), Some(12));
        assert_eq!(Stored::default().encode(), None);
    }
}

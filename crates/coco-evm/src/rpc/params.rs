//! Reads parameters: hexadecimal numbers and bytes, block names, and lists of them.
//!
//! Errors read as go-ethereum's do, its type names included: tools show them to people who look them up.

use std::borrow::Cow;

use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{error::RpcError, request::capped_list};

/// Which block a query is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockId {
    /// The newest committed block: `latest`, `safe` and `finalized`, which are one here.
    Latest,
    /// The newest executed block, which may still be rolled back: `pending`.
    Pending,
    /// The block with this number; `earliest` is 0.
    Number(u64),
    /// The block with this hash (EIP-1898).
    Hash(B256),
}

/// The parameters of one call.
pub(super) struct Params<'a> {
    items: Vec<&'a RawValue>,
}

/// What is wrong with one parameter.
pub(super) type Wrong = String;

impl<'a> Params<'a> {
    /// Reads the list; none and `null` are the empty one.
    pub(super) fn read(params: Option<&'a RawValue>, most: usize) -> Result<Self, RpcError> {
        let text = params.map_or("[]", RawValue::get);
        if text == "null" {
            return Ok(Self { items: Vec::new() });
        }
        if !text.starts_with('[') {
            return Err(RpcError::params("non-array args"));
        }
        let list = capped_list(text, most).map_err(|_| RpcError::params("non-array args"))?;
        if list.total > most {
            return Err(RpcError::params(format!("too many arguments, want at most {most}")));
        }
        Ok(Self { items: list.items })
    }

    /// The parameter at `at`.
    pub(super) fn required<T>(
        &self,
        at: usize,
        read: impl FnOnce(&'a RawValue) -> Result<T, Wrong>,
    ) -> Result<T, RpcError> {
        self.optional(at, read)?
            .ok_or_else(|| RpcError::params(format!("missing value for required argument {at}")))
    }

    /// The parameter at `at`, unless it is missing or `null`.
    pub(super) fn optional<T>(
        &self,
        at: usize,
        read: impl FnOnce(&'a RawValue) -> Result<T, Wrong>,
    ) -> Result<Option<T>, RpcError> {
        match self.items.get(at) {
            None => Ok(None),
            Some(item) if item.get() == "null" => Ok(None),
            Some(item) => match read(item) {
                Ok(value) => Ok(Some(value)),
                Err(wrong) => Err(RpcError::params(format!("invalid argument {at}: {wrong}"))),
            },
        }
    }

    /// The block at `at`; the newest when it is missing.
    pub(super) fn block(&self, at: usize) -> Result<BlockId, RpcError> {
        Ok(self.optional(at, block_id)?.unwrap_or(BlockId::Latest))
    }
}

/// A string.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// Bytes of any length.
pub(super) fn bytes(value: &RawValue) -> Result<Bytes, Wrong> {
    let cannot =
        |why: &str| format!("json: cannot unmarshal {why} into Go value of type hexutil.Bytes");
    let text = text(value).ok_or_else(|| cannot("non-string"))?;
    decode(&text).map(Bytes::from).map_err(cannot)
}

/// An address.
pub(super) fn address(value: &RawValue) -> Result<Address, Wrong> {
    fixed::<20>(value, "common.Address").map(Address::from)
}

/// A hash.
pub(super) fn hash(value: &RawValue) -> Result<B256, Wrong> {
    fixed::<32>(value, "common.Hash").map(B256::from)
}

/// A quantity of 64 bits.
pub(super) fn quantity(value: &RawValue) -> Result<u64, Wrong> {
    let cannot =
        |why: &str| format!("json: cannot unmarshal {why} into Go value of type hexutil.Uint64");
    let text = text(value).ok_or_else(|| cannot("non-string"))?;
    number(&text).map_err(cannot)
}

/// A quantity of 256 bits.
pub(super) fn large_quantity(value: &RawValue) -> Result<U256, Wrong> {
    let cannot =
        |why: &str| format!("json: cannot unmarshal {why} into Go value of type *hexutil.Big");
    let text = text(value).ok_or_else(|| cannot("non-string"))?;
    let digits = number_digits(&text).map_err(cannot)?;
    if digits.len() > 64 {
        return Err(cannot("hex number > 256 bits"));
    }
    U256::from_str_radix(digits, 16).map_err(|_| cannot("invalid hex string"))
}

/// A price in wei. Prices over 128 bits are refused as over 256 bits are: nobody can pay either.
pub(super) fn price(value: &RawValue) -> Result<u128, Wrong> {
    u128::try_from(large_quantity(value)?).map_err(|_| {
        "json: cannot unmarshal hex number > 128 bits into Go value of type *hexutil.Big".to_owned()
    })
}

/// A count, as a JSON number, or a string of decimal or hexadecimal digits.
pub(super) fn count(value: &RawValue) -> Result<u64, Wrong> {
    let text = text(value).unwrap_or(Cow::Borrowed(value.get()));
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
    }
    .ok_or_else(|| {
        format!("invalid hex or decimal integer {:?}", text.chars().take(32).collect::<String>())
    })
}

/// A boolean.
pub(super) fn boolean(value: &RawValue) -> Result<bool, Wrong> {
    serde_json::from_str(value.get())
        .map_err(|_| "json: cannot unmarshal into Go value of type bool".to_owned())
}

/// A slot of storage: up to 32 bytes, with or without leading zeros.
pub(super) fn slot(value: &RawValue) -> Result<U256, RpcError> {
    let wrong = |why: &str| RpcError::params(format!("unable to decode storage key: {why}"));
    let text = text(value).ok_or_else(|| wrong("hex string invalid"))?;
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
    if digits.len() > 64 {
        return Err(wrong("hex string too long, want at most 32 bytes"));
    }
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong("hex string invalid"));
    }
    Ok(if digits.is_empty() {
        U256::ZERO
    } else {
        U256::from_str_radix(digits, 16).expect("at most 64 digits")
    })
}

/// A block by tag or number: a string.
pub(super) fn block_number(value: &RawValue) -> Result<BlockId, Wrong> {
    let text = text(value).ok_or_else(|| {
        "json: cannot unmarshal non-string into Go value of type rpc.BlockNumber".to_owned()
    })?;
    named_block(&text)
}

/// A block by tag, number, hash, or EIP-1898 object.
pub(super) fn block_id(value: &RawValue) -> Result<BlockId, Wrong> {
    if let Some(text) = text(value) {
        return if text.len() == 66 {
            fixed_text::<32>(&text, "common.Hash").map(|hash| BlockId::Hash(hash.into()))
        } else {
            named_block(&text)
        };
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a> {
        #[serde(borrow, default)]
        block_number: Option<&'a RawValue>,
        #[serde(borrow, default)]
        block_hash: Option<&'a RawValue>,
        // Every block here is canonical.
        #[serde(default)]
        #[expect(dead_code, reason = "read so that a value of another type is refused")]
        require_canonical: Option<bool>,
    }
    let object: Option<Object<'_>> =
        value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten();
    match object {
        Some(Object { block_number: Some(number), block_hash: None, .. }) => block_number(number),
        Some(Object { block_number: None, block_hash: Some(hash), .. }) => {
            fixed::<32>(hash, "common.Hash").map(B256::from).map(BlockId::Hash)
        }
        Some(Object { block_number: Some(_), block_hash: Some(_), .. }) => {
            Err("cannot specify both BlockHash and BlockNumber, choose one or the other".to_owned())
        }
        _ => Err("json: cannot unmarshal into Go value of type rpc.BlockNumberOrHash".to_owned()),
    }
}

/// A list of at most `most` items; an error names the item that is wrong.
pub(super) fn list<'a, T>(
    value: &'a RawValue,
    most: usize,
    mut read: impl FnMut(&'a RawValue) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    if !value.get().starts_with('[') {
        return Err("json: cannot unmarshal non-array into Go slice".to_owned());
    }
    let list = capped_list(value.get(), most)
        .map_err(|_| "json: cannot unmarshal into Go slice".to_owned())?;
    if list.total > most {
        return Err(format!("exceed max items: {} given, {most} allowed", list.total));
    }
    list.items.into_iter().map(&mut read).collect()
}

fn named_block(text: &str) -> Result<BlockId, Wrong> {
    Ok(match text {
        "latest" | "safe" | "finalized" => BlockId::Latest,
        "pending" => BlockId::Pending,
        "earliest" => BlockId::Number(0),
        other => match number(other)? {
            number if i64::try_from(number).is_ok() => BlockId::Number(number),
            _ => return Err("block number larger than int64".to_owned()),
        },
    })
}

fn fixed<const N: usize>(value: &RawValue, name: &str) -> Result<[u8; N], Wrong> {
    match text(value) {
        Some(text) => fixed_text(&text, name),
        None => Err(format!("json: cannot unmarshal non-string into Go value of type {name}")),
    }
}

fn fixed_text<const N: usize>(text: &str, name: &str) -> Result<[u8; N], Wrong> {
    let bytes = decode(text)
        .map_err(|why| format!("json: cannot unmarshal {why} into Go value of type {name}"))?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| {
        format!("hex string has length {}, want {} for {name}", 2 * bytes.len(), 2 * N)
    })
}

fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .ok_or("hex string without 0x prefix")?;
    if digits.len() % 2 == 1 {
        return Err("hex string of odd length");
    }
    // The decoder takes a prefix of its own accord: a second one must not pass.
    if digits.starts_with("0x") {
        return Err("invalid hex string");
    }
    hex::decode(digits).map_err(|_| "invalid hex string")
}

fn number(text: &str) -> Result<u64, &'static str> {
    let digits = number_digits(text)?;
    if digits.len() > 16 {
        return Err("hex number > 64 bits");
    }
    u64::from_str_radix(digits, 16).map_err(|_| "invalid hex string")
}

fn number_digits(text: &str) -> Result<&str, &'static str> {
    if text.is_empty() {
        return Err("empty hex string");
    }
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .ok_or("hex string without 0x prefix")?;
    match digits.as_bytes() {
        [] => Err("hex string \"0x\""),
        [b'0', _, ..] => Err("hex number with leading zero digits"),
        digits if !digits.iter().all(u8::is_ascii_hexdigit) => Err("invalid hex string"),
        _ => Ok(digits),
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

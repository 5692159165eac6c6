//! What a call is refused with, in the codes and words of go-ethereum's RPC server.

use alloy_primitives::hex;

/// Not JSON.
pub const CODE_PARSE: i64 = -32700;
/// JSON, but no request.
pub const CODE_INVALID_REQUEST: i64 = -32600;
/// A method that this node does not have.
pub const CODE_METHOD_NOT_FOUND: i64 = -32601;
/// Parameters that do not fit the method.
pub const CODE_INVALID_PARAMS: i64 = -32602;
/// The node itself is at fault.
pub const CODE_INTERNAL: i64 = -32603;
/// Everything without a code of its own.
pub const CODE_DEFAULT: i64 = -32000;
/// The answers to a batch outgrew the limit.
pub const CODE_RESPONSE_TOO_LARGE: i64 = -32003;
/// A query over the node's limits.
pub const CODE_LIMIT: i64 = -32005;
/// The call was reverted; the data is what it reverted with.
pub const CODE_REVERTED: i64 = 3;
/// EIP-7966: the receipt did not come in time; the data is the transaction's hash.
pub const CODE_TIMEOUT: i64 = 4;
/// EIP-7966: the node is not ready to take the transaction; the data is the transaction's hash.
pub const CODE_UNREADY: i64 = 5;
/// The block is so old that its entry is no longer on this disk.
pub const CODE_PRUNED: i64 = 4444;

/// An error of a JSON-RPC response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// Its code.
    pub code: i64,
    /// Its text.
    pub message: String,
    /// Its data, a string, when it has any.
    pub data: Option<String>,
}

impl RpcError {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self::new(CODE_DEFAULT, message)
    }

    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(CODE_INVALID_PARAMS, message)
    }

    pub(super) fn method_not_found(method: &str) -> Self {
        let shown: String = method.chars().take(METHOD_CHARS_SHOWN).collect();
        Self::new(
            CODE_METHOD_NOT_FOUND,
            format!("the method {shown} does not exist/is not available"),
        )
    }

    /// A call that was reverted with `output`.
    pub(super) fn reverted(output: &[u8]) -> Self {
        let message = match revert_reason(output) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        Self { code: CODE_REVERTED, message, data: Some(hex::encode_prefixed(output)) }
    }
}

/// The reason in what Solidity's `revert`, `require`, `assert` and checked arithmetic return.
fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, arguments) = output.split_at_checked(4)?;
    match selector {
        ERROR_SELECTOR => error_text(arguments),
        PANIC_SELECTOR => {
            let code = arguments.get(..32)?;
            let (high, low) = code.split_at(31);
            let known = high.iter().all(|byte| *byte == 0).then(|| panic_text(low[0])).flatten();
            Some(known.map_or_else(
                || {
                    let digits = hex::encode(code);
                    let digits = digits.trim_start_matches('0');
                    format!(
                        "unknown panic code: 0x{}",
                        if digits.is_empty() { "0" } else { digits }
                    )
                },
                str::to_owned,
            ))
        }
        _ => None,
    }
}

/// The string in the ABI encoding of one string.
fn error_text(arguments: &[u8]) -> Option<String> {
    let number = |at: usize| -> Option<usize> {
        let (high, low) = arguments.get(at..at.checked_add(32)?)?.split_at(24);
        let low = u64::from_be_bytes(low.try_into().ok()?);
        high.iter().all(|byte| *byte == 0).then(|| usize::try_from(low).ok())?
    };
    let offset = number(0)?;
    let length = number(offset)?;
    let start = offset.checked_add(32)?;
    let text = arguments.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// What the panics of Solidity mean, as go-ethereum says it.
const fn panic_text(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "generic panic",
        0x01 => "assert(false)",
        0x11 => "arithmetic underflow or overflow",
        0x12 => "division or modulo by zero",
        0x21 => "enum overflow",
        0x22 => "invalid encoded storage byte array accessed",
        0x31 => "out-of-bounds array access; popping on an empty array",
        0x32 => "out-of-bounds access of an array or bytesN",
        0x41 => "out of memory",
        0x51 => "uninitialized function",
        _ => return None,
    })
}

/// `Error(string)`.
const ERROR_SELECTOR: &[u8] = &[0x08, 0xc3, 0x79, 0xa0];
/// `Panic(uint256)`.
const PANIC_SELECTOR: &[u8] = &[0x4e, 0x48, 0x7b, 0x71];
/// How much of a method's name an error repeats.
const METHOD_CHARS_SHOWN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn word(value: u64) -> Vec<u8> {
        [vec![0; 24], value.to_be_bytes().to_vec()].concat()
    }

    #[test]
    fn reasons_are_read_out_of_what_solidity_returns() {
        let mut text = b"not enough".to_vec();
        text.resize(32, 0);
        let error = [ERROR_SELECTOR.to_vec(), word(32), word(10), text].concat();
        let panic = |code| [PANIC_SELECTOR.to_vec(), word(code)].concat();
        let cases = [
            (error.clone(), "execution reverted: not enough"),
            (error[..error.len() - 23].to_vec(), "execution reverted"),
            (panic(0x11), "execution reverted: arithmetic underflow or overflow"),
            (panic(0x99), "execution reverted: unknown panic code: 0x99"),
            (panic(0x1_0011), "execution reverted: unknown panic code: 0x10011"),
            ([ERROR_SELECTOR.to_vec(), word(u64::MAX), word(1)].concat(), "execution reverted"),
            ([ERROR_SELECTOR.to_vec(), word(32), word(u64::MAX)].concat(), "execution reverted"),
            (Vec::new(), "execution reverted"),
            (vec![1, 2, 3], "execution reverted"),
        ];
        for (output, message) in cases {
            let error = RpcError::reverted(&output);
            assert_eq!(error.message, message);
            assert_eq!(error.code, 3);
            assert_eq!(error.data, Some(hex::encode_prefixed(&output)));
        }
    }
}

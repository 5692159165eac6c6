//! PEM (RFC 7468): certificates, and blocks of other kinds for whoever names their label.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::SecretBytes;

/// A text that is no PEM of the kind asked for.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PemError {
    /// Longer than any text of this kind.
    #[error("the text has {found} bytes, at most {limit} are read")]
    Long {
        /// Bytes of the text.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The lines that enclose the content are missing.
    #[error("no block between BEGIN CERTIFICATE and END CERTIFICATE")]
    Frame,
    /// A block that begins and does not end.
    #[error("a block begins and does not end")]
    Open,
    /// More certificates than are read.
    #[error("more than {limit} certificates")]
    Many {
        /// The limit.
        limit: usize,
    },
    /// The content is not base64.
    #[error("the block is not base64")]
    Base64,
}

/// Encodes `der` between `BEGIN` and `END` lines, 64 characters a line, with a final line feed.
pub(crate) fn encode(der: &[u8]) -> String {
    encode_between(BEGIN, END, der)
}

/// Encodes `der` as a block of another kind than a certificate, for example `PRIVATE KEY`.
#[must_use]
pub fn encode_pem(label: &str, der: &[u8]) -> SecretBytes {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    SecretBytes::new(encode_between(&begin, &end, der).into_bytes())
}

/// Decodes the first block of a kind in `text`, if there is one; text around it is passed over.
///
/// # Errors
/// [`PemError`] when the text is too long, or the block has no end or is not base64.
pub fn decode_pem(label: &str, text: &str) -> Result<Option<SecretBytes>, PemError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: TEXT_BYTES_MAX });
    }
    let Some((_, after)) = text.split_once(&format!("-----BEGIN {label}-----")) else {
        return Ok(None);
    };
    let (block, _) = after.split_once(&format!("-----END {label}-----")).ok_or(PemError::Open)?;
    let mut base64 = Zeroizing::new(String::with_capacity(block.len()));
    base64.extend(block.chars().filter(|c| !c.is_ascii_whitespace()));
    let der = STANDARD.decode(base64.as_bytes()).map_err(|_| PemError::Base64)?;
    Ok(Some(SecretBytes::new(der)))
}

fn encode_between(begin: &str, end: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let lines = base64.len().div_ceil(LINE_CHARACTERS);
    // All of it from the start: a text that grows leaves copies of secrets behind.
    let mut text = String::with_capacity(base64.len() + lines + begin.len() + end.len() + 2);
    text.push_str(begin);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push('\n');
        text.push_str(line);
        rest = left;
    }
    text.push('\n');
    text.push_str(end);
    text.push('\n');
    text
}

/// Decodes the first certificate in `text`; text before and after it is passed over.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, PemError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: TEXT_BYTES_MAX });
    }
    let (_, after) = text.split_once(BEGIN).ok_or(PemError::Frame)?;
    let (block, _) = after.split_once(END).ok_or(PemError::Frame)?;
    let base64: String = block.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(base64).map_err(|_| PemError::Base64)
}

/// Decodes every certificate in `text`, at most `limit` of them; text around them is passed over.
pub(crate) fn decode_all(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > BUNDLE_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: BUNDLE_BYTES_MAX });
    }
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((_, after)) = rest.split_once(BEGIN) {
        if found.len() == limit {
            return Err(PemError::Many { limit });
        }
        let (block, left) = after.split_once(END).ok_or(PemError::Frame)?;
        let base64: String = block.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        found.push(STANDARD.decode(base64).map_err(|_| PemError::Base64)?);
        rest = left;
    }
    if found.is_empty() { Err(PemError::Frame) } else { Ok(found) }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const LINE_CHARACTERS: usize = 64;

/// Longest text that is decoded: a certificate of the largest size with room for comments.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Longest text of several certificates that is decoded.
const BUNDLE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encodes() {
        for length in [0, 1, 47, 48, 49, 96, 500] {
            let der = vec![0x5a; length];
            assert_eq!(decode(&encode(&der)), Ok(der));
        }
    }

    #[test]
    fn blocks_of_other_kinds_are_found_by_their_label() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![0x5a; length];
            let text = encode_pem("PRIVATE KEY", &der);
            let text = format!("before {} after", str::from_utf8(text.expose()).unwrap());
            let found = decode_pem("PRIVATE KEY", &text).unwrap().unwrap();
            assert_eq!(found.expose(), der);
            assert_eq!(decode_pem("EC PRIVATE KEY", &text), Ok(None));
        }
        let cut = "-----BEGIN PRIVATE KEY-----\nAAAA\n";
        assert_eq!(decode_pem("PRIVATE KEY", cut), Err(PemError::Open));
        let other = "-----BEGIN K-----\n!!!!\n-----END K-----";
        assert_eq!(decode_pem("K", other), Err(PemError::Base64));
    }

    #[test]
    fn refuses_what_is_no_certificate() {
        assert_eq!(decode("hello"), Err(PemError::Frame));
        assert_eq!(decode(&format!("{BEGIN}\n!!!!\n{END}\n")), Err(PemError::Base64));
        assert!(matches!(decode(&" ".repeat(TEXT_BYTES_MAX + 1)), Err(PemError::Long { .. })));
    }
}

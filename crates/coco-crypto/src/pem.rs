//! PEM (RFC 7468), one certificate a text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

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
    let base64 = STANDARD.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / LINE_CHARACTERS + 60);
    text.push_str(BEGIN);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push('\n');
        text.push_str(line);
        rest = left;
    }
    text.push('\n');
    text.push_str(END);
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
    fn refuses_what_is_no_certificate() {
        assert_eq!(decode("hello"), Err(PemError::Frame));
        assert_eq!(decode(&format!("{BEGIN}\n!!!!\n{END}\n")), Err(PemError::Base64));
        assert!(matches!(decode(&" ".repeat(TEXT_BYTES_MAX + 1)), Err(PemError::Long { .. })));
    }
}

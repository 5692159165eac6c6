//! PEM (RFC 7468): one block of base64 with a label, a key or a certificate.

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
    #[error("no block between BEGIN {label} and END {label}")]
    Frame {
        /// What the lines should say.
        label: &'static str,
    },
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

/// What blocks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// An X.509 certificate.
    Certificate,
    /// A request for one in PKCS #10.
    CertificateRequest,
    /// A public key in SPKI.
    PublicKey,
    /// A private key in PKCS #8.
    PrivateKey,
}

impl Label {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::CertificateRequest => "CERTIFICATE REQUEST",
            Self::PublicKey => "PUBLIC KEY",
            Self::PrivateKey => "PRIVATE KEY",
        }
    }
}

/// Encodes `der` between `BEGIN` and `END` lines, 64 characters a line, with a final line feed.
pub(crate) fn encode(label: Label, der: &[u8]) -> String {
    encode_block(label.as_str(), der)
}

/// Encodes `der` as a block of another kind, for example `EC PRIVATE KEY`.
#[must_use]
pub fn encode_pem(label: &str, der: &[u8]) -> SecretBytes {
    SecretBytes::new(encode_block(label, der).into_bytes())
}

/// Decodes the first block of a kind in `text`, if there is one; text around it is passed over.
///
/// # Errors
/// [`PemError`] when the text is too long, or the block has no end or is not base64.
pub fn decode_pem(label: &str, text: &str) -> Result<Option<SecretBytes>, PemError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: TEXT_BYTES_MAX });
    }
    let block = next_block(label, text)?;
    Ok(block.map(|(der, _)| SecretBytes::new(der)))
}

fn encode_block(label: &str, der: &[u8]) -> String {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let lines = base64.len().div_ceil(LINE_CHARACTERS);
    // All of it from the start: a text that grows leaves copies of secrets behind.
    let mut text = String::with_capacity(base64.len() + lines + 2 * (label.len() + 16) + 2);
    text.extend(["-----BEGIN ", label, "-----"]);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push('\n');
        text.push_str(line);
        rest = left;
    }
    text.extend(["\n-----END ", label, "-----\n"]);
    text
}

/// Decodes the first block with that label in `text`; text before and after it is passed over.
pub(crate) fn decode(label: Label, text: &str) -> Result<Vec<u8>, PemError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: TEXT_BYTES_MAX });
    }
    let (der, _) =
        next_block(label.as_str(), text)?.ok_or(PemError::Frame { label: label.as_str() })?;
    Ok(der)
}

/// Decodes every certificate in `text`, at most `limit` of them; text around them is passed over.
pub(crate) fn decode_all(text: &str, limit: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > BUNDLE_BYTES_MAX {
        return Err(PemError::Long { found: text.len(), limit: BUNDLE_BYTES_MAX });
    }
    let label = Label::Certificate.as_str();
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((der, left)) = next_block(label, rest)? {
        if found.len() == limit {
            return Err(PemError::Many { limit });
        }
        found.push(der);
        rest = left;
    }
    if found.is_empty() { Err(PemError::Frame { label }) } else { Ok(found) }
}

/// The content of the first block, if one begins, and the text after it.
fn next_block<'t>(label: &str, text: &'t str) -> Result<Option<(Vec<u8>, &'t str)>, PemError> {
    let [begin, end] = ["BEGIN", "END"].map(|mark| format!("-----{mark} {label}-----"));
    let Some((_, after)) = text.split_once(&*begin) else { return Ok(None) };
    let (block, left) = after.split_once(&*end).ok_or(PemError::Open)?;
    // It may be a private key.
    let mut base64 = Zeroizing::new(String::with_capacity(block.len()));
    base64.extend(block.chars().filter(|c| !c.is_ascii_whitespace()));
    let der = STANDARD.decode(base64.as_bytes()).map_err(|_| PemError::Base64)?;
    Ok(Some((der, left)))
}

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
            for label in [Label::Certificate, Label::PublicKey, Label::PrivateKey] {
                assert_eq!(decode(label, &encode(label, &der)), Ok(der.clone()));
            }
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
        let decode = |text: &str| decode(Label::Certificate, text);
        let missing = PemError::Frame { label: "CERTIFICATE" };
        assert_eq!(decode("hello"), Err(missing));
        assert_eq!(decode(&encode(Label::PublicKey, b"key")), Err(missing));
        assert_eq!(decode("-----BEGIN CERTIFICATE-----\nAAAA"), Err(PemError::Open));
        let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert_eq!(decode(broken), Err(PemError::Base64));
        assert!(matches!(decode(&" ".repeat(TEXT_BYTES_MAX + 1)), Err(PemError::Long { .. })));
    }
}

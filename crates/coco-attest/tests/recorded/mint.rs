//! Certificates for keys of others, under roots of our own.

use coco_crypto::{PublicKey, SigningKey};

/// ECDSA on P-384 with SHA-384.
const ALGORITHM: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// Basic constraints of an authority, and key usage of one and of a signer, each critical.
const IS_AUTHORITY: &[u8] = b"\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff";
const ISSUES: &[u8] = b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x02\x04";
const SIGNS: &[u8] = b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80";

/// What a certificate says.
pub(crate) struct Certified<'a> {
    pub(crate) subject: &'a str,
    /// In SPKI.
    pub(crate) key: &'a [u8],
    /// As certificates write it: the first second and the last.
    pub(crate) period: [&'a str; 2],
    pub(crate) is_authority: bool,
}

impl Certified<'_> {
    /// Under the key of an issuer, which is on P-384.
    pub(crate) fn sign(&self, issuer: &str, key: &SigningKey) -> Vec<u8> {
        let period = self.period.map(|time| der(0x17, time.as_bytes())).concat();
        let extensions =
            if self.is_authority { [IS_AUTHORITY, ISSUES].concat() } else { SIGNS.to_vec() };
        let signed = [
            &der(0xa0, &der(0x02, &[2]))[..],
            &der(0x02, &[7]),
            ALGORITHM,
            &name(issuer),
            &der(0x30, &period),
            &name(self.subject),
            self.key,
            &der(0xa3, &der(0x30, &extensions)),
        ];
        let signed = der(0x30, &signed.concat());
        let signature = [&[0], key.sign_der(&signed).as_slice()].concat();
        der(0x30, &[&signed, ALGORITHM, &der(0x03, &signature)].concat())
    }
}

/// An authority that nobody stands above, for this century.
pub(crate) fn root(subject: &str, key: &SigningKey) -> Vec<u8> {
    let spki = PublicKey::spki_der(key.public());
    let period = ["000101000000Z", "491231235959Z"];
    Certified { subject, key: spki, period, is_authority: true }.sign(subject, key)
}

/// A common name.
fn name(text: &str) -> Vec<u8> {
    let text = [&[0x06, 0x03, 0x55, 0x04, 0x03], der(0x0c, text.as_bytes()).as_slice()].concat();
    der(0x30, &der(0x31, &der(0x30, &text)))
}

/// A value behind its tag and its length.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
    let head = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, byte] => vec![tag, 0x81, byte],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

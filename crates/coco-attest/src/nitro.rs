//! AWS: documents in CBOR, signed under COSE (ES384) by a certificate that came into being with the enclave and lives for three hours.
//!
//! ```text
//! document ── leaf ── instance ── zone ── region ── root, pinned by its bytes
//! ```
//!
//! The chain is in the document, the root first. There are no lists of revoked certificates and no versions of firmware: what is
//! believed is AWS.

use std::collections::BTreeMap;

use coco_crypto::{Curve, MakerCertificate, SignatureInvalid, cose::AttachedSign1};
use coco_types::Digest;
use minicbor::{Decoder, data::Type};

use crate::{
    error::{Link, Piece, VerifyError},
    facts::{Facts, NitroFacts, PlatformFacts},
    valid,
};

/// Longest document that is read, in bytes. AWS makes none longer than this.
pub const NITRO_DOCUMENT_BYTES_MAX: usize = 16 << 10;

/// Bytes of a register.
pub const NITRO_PCR_BYTES: usize = 48;

/// SHA-256 of the root's certificate: that of AWS, `aws.nitro-enclaves`, valid until 2049.
pub const NITRO_ROOT: Digest = Digest([
    0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
    0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b,
]);

/// Most certificates above the leaf.
const AUTHORITIES_MAX: u64 = 9;
/// Most registers.
const PCRS_MAX: u64 = 32;
/// Most fields of a document.
const FIELDS_MAX: u64 = 16;
/// Most bytes that whoever asked, or whatever runs there, may have put in.
const GIVEN_BYTES_MAX: usize = 1024;
/// Longest name of an instance and its enclave, in bytes.
const MODULE_BYTES_MAX: usize = 256;
/// Registers that say what an enclave is; all zero where it was started to be looked into.
const CODE_PCRS: [u8; 3] = [0, 1, 2];

/// The protected headers: the algorithm is ES384 (-35).
const PROTECTED: &[u8] = &[0xa1, 0x01, 0x38, 0x22];
/// The unprotected headers: there are none.
const UNPROTECTED: &[u8] = &[0xa0];
/// The tag of COSE Sign1 (RFC 9052).
const TAG_SIGN1: u8 = 0xd2;
/// Bytes before the bytes of a signature of 96.
const SIGNATURE_HEADER: usize = 2;

pub(crate) fn verify(body: &[u8], now: u64) -> Result<Facts, VerifyError> {
    if body.len() > NITRO_DOCUMENT_BYTES_MAX {
        return Err(VerifyError::Long { found: body.len(), limit: NITRO_DOCUMENT_BYTES_MAX });
    }
    // AWS leaves out the tag.
    let tagged = [&[TAG_SIGN1], body].concat();
    let message = AttachedSign1::decode(&tagged)
        .map_err(|_| malformed("not a COSE Sign1 message without a tag", 0))?;
    if message.protected != PROTECTED || message.unprotected != UNPROTECTED {
        return Err(malformed("other headers than those of ES384", 0));
    }
    // What is behind the document: the signature.
    let behind = message.signature.len().saturating_add(SIGNATURE_HEADER);
    let start = body.len().saturating_sub(behind).saturating_sub(message.payload.len());
    let document = Document::read(message.payload, start)?;
    let (leaf, authorities) = document.chain()?;
    let [root, between @ ..] = authorities.as_slice() else {
        return Err(VerifyError::ChainLength { found: 0, expected: 1 });
    };
    let found = root.digest();
    if found != NITRO_ROOT {
        return Err(VerifyError::Root { found });
    }
    let mut above = root;
    for (certificate, at) in between.iter().zip((1..=between.len()).rev()) {
        let issued = certificate.verify_issued_by(above);
        issued.map_err(|source| VerifyError::Chain { link: Link::Between(at), source })?;
        above = certificate;
    }
    leaf.verify_issued_by(above)
        .map_err(|source| VerifyError::Chain { link: Link::Leaf, source })?;
    let key = leaf.key().ok().filter(|key| key.curve() == Curve::P384 && !leaf.is_authority());
    message.verify(&key.ok_or(SignatureInvalid)?)?;

    let made = document.made_ms / 1000;
    let pieces = std::iter::once((Piece::LeafCertificate, &leaf))
        .chain(between.iter().rev().zip(1..).map(|(one, at)| (Piece::Authority(at), one)))
        .chain(std::iter::once((Piece::RootCertificate, root)));
    // The clock of whoever appraises may be behind AWS's; how far is the policy's business.
    let valid = valid(pieces, made, made.max(now))?;
    let (facts, bound) = document.facts();
    let platform = PlatformFacts::Nitro(facts);
    Ok(Facts { bound, made: Some(made), valid, platform })
}

fn malformed(what: &'static str, at: usize) -> VerifyError {
    VerifyError::Malformed { what, at }
}

/// What is signed.
#[derive(Default)]
struct Document<'a> {
    module_id: &'a str,
    made_ms: u64,
    pcrs: BTreeMap<u8, &'a [u8]>,
    is_tpm: bool,
    certificate: &'a [u8],
    authorities: Vec<&'a [u8]>,
    public_key: &'a [u8],
    user_data: &'a [u8],
    nonce: &'a [u8],
}

impl<'a> Document<'a> {
    fn read(bytes: &'a [u8], start: usize) -> Result<Self, VerifyError> {
        let mut decoder = Decoder::new(bytes);
        let at = |decoder: &Decoder<'_>| start.saturating_add(decoder.position());
        let count = decoder.map().map_err(|_| malformed("not a map", start))?;
        let mut fields = Items::new(count, FIELDS_MAX);
        let mut document = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        while fields.next(&mut decoder).map_err(|what| malformed(what, at(&decoder)))? {
            let place = at(&decoder);
            let field = decoder.str().map_err(|_| malformed("a field without a name", place))?;
            if !seen.insert(field) {
                return Err(malformed("a field that stands twice", place));
            }
            let read = document.field(field, &mut decoder);
            read.map_err(|what| malformed(what, at(&decoder)))?;
        }
        if decoder.position() != bytes.len() {
            return Err(malformed("bytes after the document", at(&decoder)));
        }
        for field in ["module_id", "digest", "timestamp", "certificate", "cabundle"] {
            if !seen.contains(field) {
                return Err(malformed("a field is missing that every document has", start));
            }
        }
        if seen.contains("pcrs") == seen.contains("nitrotpm_pcrs") {
            return Err(malformed("not the registers of one kind", start));
        }
        Ok(document)
    }

    fn field(&mut self, name: &str, decoder: &mut Decoder<'a>) -> Result<(), &'static str> {
        match name {
            "module_id" => {
                self.module_id = decoder
                    .str()
                    .ok()
                    .filter(|name| name.len() <= MODULE_BYTES_MAX)
                    .ok_or("the module is no text of up to 256 bytes")?;
            }
            "digest" => {
                if decoder.str().ok() != Some("SHA384") {
                    return Err("the registers are not of SHA-384");
                }
            }
            "timestamp" => self.made_ms = decoder.u64().map_err(|_| "the time is no number")?,
            "pcrs" => self.pcrs = pcrs(decoder)?,
            "nitrotpm_pcrs" => {
                self.is_tpm = true;
                self.pcrs = pcrs(decoder)?;
            }
            "certificate" => {
                self.certificate = decoder.bytes().map_err(|_| "the certificate is no bytes")?;
            }
            "cabundle" => {
                let what = "the chain is no list of certificates";
                let count = decoder.array().map_err(|_| what)?;
                let mut items = Items::new(count, AUTHORITIES_MAX);
                while items.next(decoder)? {
                    self.authorities.push(decoder.bytes().map_err(|_| what)?);
                }
            }
            "public_key" => self.public_key = given(decoder)?,
            "user_data" => self.user_data = given(decoder)?,
            "nonce" => self.nonce = given(decoder)?,
            _ => return Err("a field that is not known here"),
        }
        Ok(())
    }

    /// The certificate of the key, and those above it, the root first.
    fn chain(&self) -> Result<(MakerCertificate, Vec<MakerCertificate>), VerifyError> {
        let read = |link, der: &[u8]| {
            MakerCertificate::from_der(der).map_err(|source| VerifyError::Chain { link, source })
        };
        let leaf = read(Link::Leaf, self.certificate)?;
        let between = (1..self.authorities.len()).rev().map(Link::Between);
        let links = std::iter::once(Link::Root).chain(between);
        let authorities = links.zip(&self.authorities).map(|(link, der)| read(link, der));
        Ok((leaf, authorities.collect::<Result<_, _>>()?))
    }

    /// What it says, and what it binds.
    fn facts(&self) -> (NitroFacts, Vec<u8>) {
        let pcrs: BTreeMap<u8, Vec<u8>> =
            self.pcrs.iter().map(|(at, value)| (*at, value.to_vec())).collect();
        let is_zero = |value: &Vec<u8>| value.iter().all(|byte| *byte == 0);
        let debug = CODE_PCRS.iter().all(|at| pcrs.get(at).is_none_or(is_zero));
        let facts = NitroFacts {
            pcrs,
            is_tpm: self.is_tpm,
            module_id: self.module_id.to_owned(),
            nonce: self.nonce.to_vec(),
            public_key: self.public_key.to_vec(),
            debug,
        };
        (facts, self.user_data.to_vec())
    }
}

/// The items of a list or a map, whose length stands before them, or whose end is marked: AWS writes either.
struct Items {
    /// How many are left, where that is known.
    left: Option<u64>,
    taken: u64,
    limit: u64,
}

impl Items {
    const fn new(left: Option<u64>, limit: u64) -> Self {
        Self { left, taken: 0, limit }
    }

    /// Whether there is another one.
    fn next(&mut self, decoder: &mut Decoder<'_>) -> Result<bool, &'static str> {
        let is_over = match &mut self.left {
            Some(0) => true,
            Some(left) => {
                *left = left.saturating_sub(1);
                false
            }
            None if decoder.datatype().ok() == Some(Type::Break) => {
                decoder.skip().map_err(|_| "a list that does not end")?;
                true
            }
            None => false,
        };
        if is_over {
            return Ok(false);
        }
        self.taken = self.taken.saturating_add(1);
        if self.taken > self.limit { Err("a list that is too long") } else { Ok(true) }
    }
}

/// What was put in: bytes, or nothing.
fn given<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], &'static str> {
    let what = "what was given is no bytes, or too many";
    if decoder.datatype().ok() == Some(Type::Null) {
        return decoder.null().map(|()| &[][..]).map_err(|_| what);
    }
    decoder.bytes().ok().filter(|bytes| bytes.len() <= GIVEN_BYTES_MAX).ok_or(what)
}

fn pcrs<'a>(decoder: &mut Decoder<'a>) -> Result<BTreeMap<u8, &'a [u8]>, &'static str> {
    let what = "the registers are no map of up to 32 numbers to 48 bytes each";
    let mut items = Items::new(decoder.map().map_err(|_| what)?, PCRS_MAX);
    let mut pcrs = BTreeMap::new();
    while items.next(decoder)? {
        let at = decoder.u8().map_err(|_| what)?;
        let value = decoder.bytes().map_err(|_| what)?;
        if value.len() != NITRO_PCR_BYTES || pcrs.insert(at, value).is_some() {
            return Err(what);
        }
    }
    Ok(pcrs)
}

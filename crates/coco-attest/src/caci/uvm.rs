//! What Microsoft signs of utility VMs: messages of COSE Sign1 under PS384, with the chain of the signer in them.
//!
//! There are two forms. In the older one the signer, the line and the time are headers of their own, and the payload is JSON with the
//! version and the measurement. In the newer one the first three and the version are claims of a CBOR web token (RFC 9597), and the
//! payload is the measurement, which may be called the hash of what is loaded (RFC 9995).

use coco_crypto::{
    MakerCertificate, PssHash, Validity,
    cose::{AttachedSign1, EMPTY_MAP},
};
use coco_types::Digest;
use minicbor::{
    Decoder,
    data::{Tag, Type},
};
use serde::Deserialize;

use super::UvmFacts;
use crate::{
    cbor::{self, Label},
    error::{Link, Piece, VerifyError},
    evidence::EndorsementKind,
    valid,
};

/// SHA-256 of the root's certificate: that of `Microsoft Supply Chain RSA Root CA 2022`, valid until 2047.
pub const UVM_ROOT: Digest = Digest([
    0x23, 0xff, 0xe2, 0xb8, 0xbd, 0xb9, 0xa1, 0x71, 0x15, 0x15, 0xd4, 0xcf, 0xfd, 0xa0, 0x4b, 0xc7,
    0xf7, 0x93, 0xd5, 0x13, 0xc7, 0x6c, 0x24, 0x3f, 0x10, 0x20, 0x50, 0x7d, 0x86, 0x69, 0xb7, 0xdb,
]);

/// Longest endorsement that is read, in bytes: three certificates are most of it.
const ENDORSEMENT_BYTES_MAX: usize = 16 << 10;
/// Most headers, and most claims.
const HEADERS_MAX: u64 = 16;
/// Most certificates, of which there are three.
const CERTIFICATES_MAX: u64 = 8;
/// Longest name of a signer or a line, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Most numbers of an object identifier.
const ARCS_MAX: usize = 32;

/// COSE's numbers: RSASSA-PSS with SHA-384 (RFC 8230), SHA-256 and SHA-384 (RFC 9054).
const ALGORITHM_PS384: i64 = -38;
const ALGORITHM_SHA256: i64 = -16;
const ALGORITHM_SHA384: i64 = -43;
/// Seconds since 1970 (RFC 8949, section 3.4.2).
const TAG_TIME: Tag = Tag::new(1);

/// What was signed.
#[derive(Debug)]
pub(super) struct Endorsed {
    pub(super) measurement: [u8; 48],
    pub(super) facts: UvmFacts,
}

pub(super) fn verify(bytes: &[u8], now: u64) -> Result<Endorsed, VerifyError> {
    if bytes.len() > ENDORSEMENT_BYTES_MAX {
        return Err(form("it is too long"));
    }
    let message = AttachedSign1::decode(bytes).map_err(|_| form("it is no COSE Sign1 message"))?;
    if message.unprotected != EMPTY_MAP {
        return Err(form("it has headers that nobody signed"));
    }
    let headers = Headers::read(message.protected).map_err(form)?;
    let endorsed = headers.endorsed(message.payload).map_err(form)?;
    let signed = endorsed.facts.signed;
    if now < signed {
        let validity = Validity { not_before: signed, not_after: u64::MAX };
        return Err(VerifyError::NotYetValid { piece: Piece::UvmEndorsement, validity, now });
    }
    let signer = headers.signer(&endorsed.facts)?;
    let key = signer.rsa_key().ok().filter(|_| signer.may_sign());
    let kind = EndorsementKind::UvmEndorsement;
    key.and_then(|key| {
        key.verify_pss(PssHash::Sha384, &message.to_be_signed(), message.signature).ok()
    })
    .ok_or(VerifyError::EndorsementSignature { kind })?;
    Ok(endorsed)
}

const fn form(what: &'static str) -> VerifyError {
    VerifyError::EndorsementForm { kind: EndorsementKind::UvmEndorsement, what }
}

/// The headers that are signed, not believed.
#[derive(Default)]
struct Headers<'a> {
    content: Option<&'a str>,
    hash: Option<i64>,
    preimage: Option<&'a str>,
    certificates: Vec<&'a [u8]>,
    thumbprint: Option<&'a [u8]>,
    /// In the older form.
    named: Claims<'a>,
    /// In the newer one.
    claims: Option<Claims<'a>>,
}

/// Who signed, of what, when, and of which version.
#[derive(Clone, Copy, Default)]
struct Claims<'a> {
    issuer: Option<&'a str>,
    line: Option<&'a str>,
    time: Option<u64>,
    svn: Option<u64>,
}

impl<'a> Headers<'a> {
    fn read(protected: &'a [u8]) -> Result<Self, &'static str> {
        let mut headers = Self::default();
        let seen = cbor::whole(protected, |decoder| {
            cbor::map(decoder, HEADERS_MAX, |label, decoder| headers.header(label, decoder))
        })?;
        // The algorithm was looked at where it stands.
        if seen.contains(&Label::Number(1)) { Ok(headers) } else { Err("no algorithm") }
    }

    fn header(&mut self, label: Label<'a>, decoder: &mut Decoder<'a>) -> Result<(), &'static str> {
        match label {
            Label::Number(1) => {
                if decoder.i64().ok() != Some(ALGORITHM_PS384) {
                    return Err("another algorithm than PS384");
                }
            }
            Label::Number(3) => self.content = Some(name(decoder)?),
            Label::Number(15) => self.claims = Some(Claims::read(decoder)?),
            Label::Number(33) => {
                let what = "a certificate is no bytes";
                let item = |decoder: &mut Decoder<'a>| decoder.bytes().map_err(|_| what);
                self.certificates = cbor::list(decoder, CERTIFICATES_MAX, item)?;
            }
            Label::Number(34) => self.thumbprint = Some(thumbprint(decoder)?),
            Label::Number(258) => {
                self.hash = Some(decoder.i64().map_err(|_| "the hash is no number")?);
            }
            Label::Number(259) => self.preimage = Some(name(decoder)?),
            Label::Name("iss") => self.named.issuer = Some(name(decoder)?),
            Label::Name("feed") => self.named.line = Some(name(decoder)?),
            Label::Name("signingtime") => self.named.time = Some(time(decoder)?),
            Label::Number(_) | Label::Name(_) => return Err("a header that is not known here"),
        }
        Ok(())
    }

    /// What is said of which measurement.
    fn endorsed(&self, payload: &[u8]) -> Result<Endorsed, &'static str> {
        let Claims { issuer, line, time, svn } = self.named;
        match (self.content, self.hash, self.preimage, self.claims) {
            (Some("application/json"), None, None, None) => {
                let (svn, measurement) = read_json(payload)?;
                Claims { issuer, line, time, svn: Some(svn) }.endorse(measurement)
            }
            (Some("application/octet-stream"), None, None, Some(claims))
            | (None, Some(ALGORITHM_SHA384), Some("application/octet-stream"), Some(claims))
                if issuer.is_none() && line.is_none() && time.is_none() && svn.is_none() =>
            {
                let measurement = payload.try_into();
                claims.endorse(measurement.map_err(|_| "the payload has not 48 bytes")?)
            }
            _ => Err("neither of the two forms"),
        }
    }

    /// The signer's certificate, which is of the purpose that its name says, and counted when this was signed.
    fn signer(&self, facts: &UvmFacts) -> Result<MakerCertificate, VerifyError> {
        let read = |(at, der): (usize, &&[u8])| {
            let link = Link::Uvm(at);
            MakerCertificate::from_der(der).map_err(|source| VerifyError::Chain { link, source })
        };
        let chain = self.certificates.iter().enumerate().map(read);
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let [signer, authority, root] = chain.as_slice() else {
            return Err(VerifyError::ChainLength { found: chain.len(), expected: 3 });
        };
        let found = root.digest();
        if found != UVM_ROOT {
            return Err(VerifyError::Root { found });
        }
        for (at, below, above) in [(2, root, root), (1, authority, root), (0, signer, authority)] {
            let issued = below.verify_issued_by(above);
            issued.map_err(|source| VerifyError::Chain { link: Link::Uvm(at), source })?;
        }
        if self.thumbprint.is_some_and(|digest| digest != signer.digest().0) {
            return Err(form("its headers name another certificate than the signer's"));
        }
        if !is_named(&facts.did, signer, root) {
            return Err(form("the signer's name is not that of the certificates"));
        }
        let pieces = chain.iter().enumerate().map(|(at, one)| (Piece::UvmCertificate(at), one));
        valid(pieces, facts.signed, facts.signed)?;
        Ok(signer.clone())
    }
}

impl<'a> Claims<'a> {
    fn read(decoder: &mut Decoder<'a>) -> Result<Self, &'static str> {
        let mut claims = Self::default();
        cbor::map(decoder, HEADERS_MAX, |label, decoder| {
            match label {
                Label::Number(1) => claims.issuer = Some(name(decoder)?),
                Label::Number(2) => claims.line = Some(name(decoder)?),
                Label::Number(6) => claims.time = Some(time(decoder)?),
                Label::Name("svn") => {
                    claims.svn = Some(decoder.u64().map_err(|_| "the version is no number")?);
                }
                Label::Number(_) | Label::Name(_) => return Err("a claim that is not known here"),
            }
            Ok(())
        })?;
        Ok(claims)
    }

    fn endorse(&self, measurement: [u8; 48]) -> Result<Endorsed, &'static str> {
        let Self { issuer: Some(did), line: Some(feed), time: Some(signed), svn: Some(svn) } =
            *self
        else {
            return Err("it lacks who signed it, of what, when, or of which version");
        };
        let (did, feed) = (did.to_owned(), feed.to_owned());
        Ok(Endorsed { measurement, facts: UvmFacts { did, feed, svn, signed } })
    }
}

/// The payload of the older form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "x-ms-sevsnpvm-guestsvn")]
    svn: String,
    /// The same as a number, in later ones.
    #[serde(rename = "x-ms-sevsnpvm-guestsvn-int", default)]
    number: Option<u64>,
    #[serde(rename = "x-ms-sevsnpvm-launchmeasurement")]
    measurement: String,
}

/// The version and the measurement.
fn read_json(payload: &[u8]) -> Result<(u64, [u8; 48]), &'static str> {
    let payload: Payload = serde_json::from_slice(payload)
        .map_err(|_| "the payload is not a version and a measurement")?;
    let svn = payload.svn.parse().ok().filter(|svn: &u64| svn.to_string() == payload.svn);
    let svn = svn.ok_or("the version is no number")?;
    if payload.number.is_some_and(|number| number != svn) {
        return Err("two versions");
    }
    let mut measurement = [0; 48];
    hex::decode_to_slice(&payload.measurement, &mut measurement)
        .map_err(|_| "the measurement is not 48 bytes in hexadecimal")?;
    Ok((svn, measurement))
}

/// Whether a name (`did:x509`, version 0) is that of a signer under a root: by the SHA-256 of the one, and a purpose of the other.
fn is_named(did: &str, signer: &MakerCertificate, root: &MakerCertificate) -> bool {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let parts = did.strip_prefix("did:x509:0:sha256:").and_then(|rest| rest.split_once("::eku:"));
    let Some((fingerprint, purpose)) = parts else { return false };
    let arcs: Option<Vec<u64>> =
        purpose.split('.').take(ARCS_MAX).map(|arc| arc.parse().ok()).collect();
    let Some(arcs) = arcs else { return false };
    let texts: Vec<String> = arcs.iter().map(u64::to_string).collect();
    fingerprint == URL_SAFE_NO_PAD.encode(root.digest().0)
        && texts.join(".") == purpose
        && signer.is_for(&arcs)
}

fn name<'a>(decoder: &mut Decoder<'a>) -> Result<&'a str, &'static str> {
    let text = decoder.str().ok().filter(|text| text.len() <= NAME_BYTES_MAX);
    text.ok_or("a name is no text of up to 256 bytes")
}

/// Seconds since 1970, with the tag that says so or without it.
fn time(decoder: &mut Decoder<'_>) -> Result<u64, &'static str> {
    let what = "the time is not seconds since 1970";
    if decoder.datatype().ok() == Some(Type::Tag) && decoder.tag().ok() != Some(TAG_TIME) {
        return Err(what);
    }
    decoder.u64().map_err(|_| what)
}

/// The SHA-256 of a certificate (RFC 9360, `x5t`).
fn thumbprint<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], &'static str> {
    let what = "the thumbprint is no SHA-256";
    let is_sha256 =
        decoder.array().ok() == Some(Some(2)) && decoder.i64().ok() == Some(ALGORITHM_SHA256);
    if !is_sha256 {
        return Err(what);
    }
    decoder.bytes().map_err(|_| what)
}

#[cfg(test)]
mod tests {
    use minicbor::Encoder;

    use super::*;

    const DID: &str = "did:x509:0:sha256:AA::eku:1.2.3";

    /// One header, by its number or its name.
    enum Header {
        Number(i64, Value),
        Name(&'static str, Value),
    }

    #[derive(Clone)]
    enum Value {
        Number(i64),
        Text(&'static str),
        Time(u64),
        Claims(Vec<(i64, Self)>, Option<u64>),
    }

    fn put(encoder: &mut Encoder<Vec<u8>>, value: &Value) {
        match value {
            Value::Number(number) => drop(encoder.i64(*number)),
            Value::Text(text) => drop(encoder.str(text)),
            Value::Time(time) => drop(encoder.tag(TAG_TIME).and_then(|encoder| encoder.u64(*time))),
            Value::Claims(claims, svn) => {
                let count = claims.len() as u64 + u64::from(svn.is_some());
                drop(encoder.map(count));
                for (number, claim) in claims {
                    drop(encoder.i64(*number));
                    put(encoder, claim);
                }
                if let Some(svn) = svn {
                    drop(encoder.str("svn").and_then(|encoder| encoder.u64(*svn)));
                }
            }
        }
    }

    fn encode(headers: &[Header]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        drop(encoder.map(headers.len() as u64));
        for header in headers {
            let value = match header {
                Header::Number(number, value) => {
                    drop(encoder.i64(*number));
                    value
                }
                Header::Name(name, value) => {
                    drop(encoder.str(name));
                    value
                }
            };
            put(&mut encoder, value);
        }
        encoder.into_writer()
    }

    fn read(headers: &[Header], payload: &[u8]) -> Result<Endorsed, &'static str> {
        Headers::read(&encode(headers)).and_then(|headers| headers.endorsed(payload))
    }

    fn older() -> Vec<Header> {
        vec![
            Header::Number(1, Value::Number(ALGORITHM_PS384)),
            Header::Number(3, Value::Text("application/json")),
            Header::Name("iss", Value::Text(DID)),
            Header::Name("feed", Value::Text("line")),
            Header::Name("signingtime", Value::Time(7)),
        ]
    }

    fn newer(claims: Value) -> Vec<Header> {
        vec![
            Header::Number(1, Value::Number(ALGORITHM_PS384)),
            Header::Number(258, Value::Number(ALGORITHM_SHA384)),
            Header::Number(259, Value::Text("application/octet-stream")),
            Header::Number(15, claims),
        ]
    }

    fn claims() -> Vec<(i64, Value)> {
        vec![(1, Value::Text(DID)), (2, Value::Text("line")), (6, Value::Number(7))]
    }

    fn check(read: Result<Endorsed, &'static str>) {
        let Endorsed { measurement, facts } = read.expect("it is read");
        let expected = UvmFacts { did: DID.to_owned(), feed: "line".to_owned(), svn: 9, signed: 7 };
        assert_eq!((measurement, facts), ([0xab; 48], expected));
    }

    fn json(rest: &str) -> String {
        let measurement = "ab".repeat(48);
        format!(r#"{{"x-ms-sevsnpvm-launchmeasurement":"{measurement}",{rest}}}"#)
    }

    #[test]
    fn both_forms_are_read() {
        let number = json(r#""x-ms-sevsnpvm-guestsvn":"9","x-ms-sevsnpvm-guestsvn-int":9"#);
        check(read(&older(), json(r#""x-ms-sevsnpvm-guestsvn":"9""#).as_bytes()));
        check(read(&older(), number.as_bytes()));
        check(read(&newer(Value::Claims(claims(), Some(9))), &[0xab; 48]));
        let mut tagged = claims();
        tagged[2].1 = Value::Time(7);
        check(read(&newer(Value::Claims(tagged, Some(9))), &[0xab; 48]));
        let mut plain = newer(Value::Claims(claims(), Some(9)));
        drop(plain.splice(1..3, [Header::Number(3, Value::Text("application/octet-stream"))]));
        check(read(&plain, &[0xab; 48]));
    }

    /// Whatever the headers are: nobody has signed them yet where they are read.
    #[test]
    fn no_headers_make_it_panic() {
        let whole = encode(&newer(Value::Claims(claims(), Some(9))));
        for at in 0..whole.len() {
            assert!(Headers::read(&whole[..at]).is_err(), "cut at {at}");
            for change in 1..=u8::MAX {
                let mut other = whole.clone();
                other[at] ^= change;
                let read = Headers::read(&other).and_then(|headers| headers.endorsed(&[0xab; 48]));
                drop(read);
            }
        }
    }

    #[test]
    fn other_payloads_of_the_older_form_are_refused() {
        for rest in [
            r#""x-ms-sevsnpvm-guestsvn":9"#,
            r#""x-ms-sevsnpvm-guestsvn":"09""#,
            r#""x-ms-sevsnpvm-guestsvn":"+9""#,
            r#""x-ms-sevsnpvm-guestsvn":"""#,
            r#""x-ms-sevsnpvm-guestsvn":"-9""#,
            r#""x-ms-sevsnpvm-guestsvn":"9","x-ms-sevsnpvm-guestsvn-int":10"#,
            r#""x-ms-sevsnpvm-guestsvn":"9","x-ms-sevsnpvm-guestsvn":"9""#,
            r#""x-ms-sevsnpvm-guestsvn":"9","x-ms-sevsnpvm-debug":true"#,
        ] {
            assert!(read(&older(), json(rest).as_bytes()).is_err(), "{rest}");
        }
        let good = json(r#""x-ms-sevsnpvm-guestsvn":"9""#);
        for other in [good.replacen("ab", "", 1), good.replacen("ab", "ag", 1), good + "{}"] {
            assert!(read(&older(), other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_of_neither_form_is_refused() {
        let good = json(r#""x-ms-sevsnpvm-guestsvn":"9""#);
        for left_out in 0..older().len() {
            let mut headers = older();
            drop(headers.remove(left_out));
            assert!(read(&headers, good.as_bytes()).is_err(), "{left_out}");
        }
        let token = || Value::Claims(claims(), Some(9));
        for left_out in 0..newer(token()).len() {
            let mut headers = newer(token());
            drop(headers.remove(left_out));
            assert!(read(&headers, &[0xab; 48]).is_err(), "{left_out}");
        }
        for left_out in 0..claims().len() {
            let mut claims = claims();
            drop(claims.remove(left_out));
            let found = read(&newer(Value::Claims(claims, Some(9))), &[0xab; 48]);
            assert!(found.is_err(), "{left_out}");
        }
        assert!(read(&newer(Value::Claims(claims(), None)), &[0xab; 48]).is_err());
        for other in [
            Header::Number(2, Value::Number(1)),
            Header::Number(3, Value::Text("application/json")),
            Header::Number(260, Value::Text("elsewhere")),
            Header::Name("iss", Value::Text(DID)),
            Header::Name("signingtime", Value::Time(7)),
        ] {
            let mut headers = newer(token());
            headers.push(other);
            assert!(read(&headers, &[0xab; 48]).is_err());
        }
        for other in [
            Header::Number(15, token()),
            Header::Number(259, Value::Text("application/json")),
            Header::Name("svn", Value::Number(9)),
            Header::Name("feed", Value::Text("line")),
        ] {
            let mut headers = older();
            headers.push(other);
            assert!(read(&headers, good.as_bytes()).is_err());
        }
        for length in [0, 47, 49] {
            assert!(read(&newer(token()), &vec![0xab; length]).is_err(), "{length}");
        }
        let mut hash = newer(token());
        hash[1] = Header::Number(258, Value::Number(ALGORITHM_SHA256));
        assert!(read(&hash, &[0xab; 48]).is_err());
        let mut algorithm = older();
        algorithm[0] = Header::Number(1, Value::Number(-37));
        assert!(read(&algorithm, good.as_bytes()).is_err());
        let mut unknown = claims();
        unknown.push((4, Value::Number(9)));
        assert!(read(&newer(Value::Claims(unknown, Some(9))), &[0xab; 48]).is_err());
    }
}

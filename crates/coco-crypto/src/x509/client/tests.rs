//! Authorities that are made here, and what they issue.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber, SignatureAlgorithm,
};

use super::*;
use crate::{CERTIFICATE_BYTES_MAX, SignatureInvalid, x509::algorithm_der};

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// An authority of that name with a key of that kind, and what it signs with.
fn authority(
    name: &str,
    algorithm: &'static SignatureAlgorithm,
) -> (UserAuthority, Issuer<'static, KeyPair>) {
    let key = key(algorithm);
    let params = authority_params(name);
    let pem = params.self_signed(&key).unwrap().pem();
    (UserAuthority::from_pem(&pem).unwrap(), Issuer::new(params, key))
}

fn issue(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Vec<u8> {
    let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    params.signed_by(&key, issuer).unwrap().der().to_vec()
}

const KINDS: [&SignatureAlgorithm; 4] = [
    &rcgen::PKCS_ECDSA_P256_SHA256,
    &rcgen::PKCS_ECDSA_P384_SHA384,
    &rcgen::PKCS_ECDSA_P521_SHA512,
    &rcgen::PKCS_ED25519,
];

#[test]
fn an_authority_of_each_kind_issues_for_keys_of_each_kind() {
    for of_authority in KINDS {
        let (authority, issuer) = authority("acme", of_authority);
        for of_client in KINDS {
            let made = named("alice").signed_by(&key(of_client), &issuer).unwrap();
            let client = ClientCertificate::read(made.der()).unwrap();
            assert_eq!(client.check_use(), Ok(()));
            assert!(client.names(&authority));
            assert_eq!(client.verify_issued_by(&authority), Ok(()));
            assert_eq!(client.digest(), sha256(made.der()));
        }
    }
}

#[test]
fn an_authority_of_the_same_name_did_not_issue_it() {
    for kind in KINDS {
        let (_, issuer) = authority("acme", kind);
        let der = issue(&named("alice"), &issuer);
        let client = ClientCertificate::read(&der).unwrap();
        let (same_name, _) = authority("acme", kind);
        assert!(client.names(&same_name));
        let refused = client.verify_issued_by(&same_name);
        assert_eq!(refused, Err(CertificateError::Signature(SignatureInvalid)));
        let (other_name, _) = authority("bank", kind);
        assert!(!client.names(&other_name));
        assert_eq!(client.verify_issued_by(&other_name), Err(CertificateError::Issuer));
    }
    let (_, issuer) = authority("acme", KINDS[0]);
    let der = issue(&named("alice"), &issuer);
    let (other_kind, _) = authority("acme", KINDS[3]);
    let refused = ClientCertificate::read(&der).unwrap().verify_issued_by(&other_kind);
    assert_eq!(refused, Err(CertificateError::Algorithm));
}

#[test]
fn a_flipped_bit_is_noticed() {
    for kind in [KINDS[0], KINDS[3]] {
        let (authority, issuer) = authority("acme", kind);
        let der = issue(&named("alice"), &issuer);
        for bit in 0..8 * der.len() {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verdict =
                ClientCertificate::read(&changed).and_then(|c| c.verify_issued_by(&authority));
            assert!(verdict.is_err(), "bit {bit}");
        }
    }
}

/// The order of P-256 (FIPS 186-5).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// What an integer in DER takes off the order, as an integer in DER.
fn off_the_order(integer: &[u8]) -> Vec<u8> {
    let mut digits = [0; 32];
    let plain = &integer[integer.len().saturating_sub(32)..];
    digits[32 - plain.len()..].copy_from_slice(plain);
    let mut borrow = 0;
    for (digit, of_order) in digits.iter_mut().zip(ORDER).rev() {
        let left = i16::from(of_order) - i16::from(*digit) - borrow;
        borrow = i16::from(left < 0);
        *digit = left.rem_euclid(256).to_le_bytes()[0];
    }
    let start = digits.iter().position(|digit| *digit != 0).unwrap();
    let sign: &[u8] = if digits[start] >= 0x80 { &[0] } else { &[] };
    [sign, &digits[start..]].concat()
}

#[test]
fn a_second_signature_makes_another_certificate_and_nobody_else() {
    let (authority, issuer) = authority("acme", KINDS[0]);
    let der = issue(&named("alice"), &issuer);
    let one = ClientCertificate::read(&der).unwrap();
    // A sequence of two integers, each with a tag and a length of one byte.
    let signature = &one.parsed.signature_value.data;
    let (r, s) = signature[2..].split_at(2 + usize::from(signature[3]));
    let s = off_the_order(&s[2..]);
    let s = [&[2, u8::try_from(s.len()).unwrap()], &*s].concat();
    let length = u8::try_from(r.len() + s.len()).unwrap();
    let signature = [&[0x30, length], r, &s].concat();
    let tbs = one.parsed.tbs_certificate.as_ref();
    let changed = super::super::signed::encoded(tbs, algorithm_der(crate::Curve::P256), &signature);
    let other = ClientCertificate::read(&changed).unwrap();
    assert_eq!(other.verify_issued_by(&authority), Ok(()));
    assert_ne!(other.digest(), one.digest());
    assert_eq!(other.signed_digest(), one.signed_digest());
    let next = issue(&named("alice"), &issuer);
    assert_ne!(ClientCertificate::read(&next).unwrap().signed_digest(), one.signed_digest());
}

#[test]
fn only_certificates_for_clients_are_taken() {
    let (_, issuer) = authority("acme", KINDS[0]);
    let check = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = named("alice");
        change(&mut params);
        ClientCertificate::read(&issue(&params, &issuer)).unwrap().check_use()
    };
    let extension = |oid: &[u64], is_critical| {
        let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
        extension.set_criticality(is_critical);
        extension
    };
    let not = |what| Err(CertificateError::NotForClients(what));
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    use KeyUsagePurpose::{DigitalSignature, KeyAgreement};
    for (usages, expected) in [
        (vec![ClientAuth], Ok(())),
        (vec![ServerAuth, ClientAuth], Ok(())),
        (vec![Any], Ok(())),
        (vec![ServerAuth], not("its extended key usage")),
    ] {
        assert_eq!(check(&|params| params.extended_key_usages = usages.clone()), expected);
    }
    for (usages, expected) in
        [(vec![DigitalSignature], Ok(())), (vec![KeyAgreement], not("its key usage"))]
    {
        assert_eq!(check(&|params| params.key_usages = usages.clone()), expected);
    }
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(check(&|params| params.is_ca = authority), not("it is an authority's"));
    for (is_critical, expected) in
        [(false, Ok(())), (true, Err(CertificateError::CriticalExtension))]
    {
        let more = extension(&[1, 2, 3, 4], is_critical);
        assert_eq!(check(&|params| params.custom_extensions = vec![more.clone()]), expected);
    }
}

/// Basic constraints of an authority, as they stand in the extension.
const OF_AUTHORITY: [u8; 5] = [0x30, 0x03, 0x01, 0x01, 0xff];

/// Parsers give no basic constraints for those that stand twice or cannot be read, which would be those of no authority.
#[test]
fn extensions_that_are_doubled_or_cannot_be_read_are_refused() {
    let basic_constraints =
        |content: &[u8]| CustomExtension::from_oid_content(&[2, 5, 29, 19], content.to_vec());
    let key_id = CustomExtension::from_oid_content(&[2, 5, 29, 14], vec![5]);
    let other = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    let whole = basic_constraints(&OF_AUTHORITY);
    let unreadable = basic_constraints(&OF_AUTHORITY[..4]);
    let (_, issuer) = authority("acme", KINDS[0]);
    for (name, extensions) in [
        ("doubled", vec![whole.clone(), whole]),
        ("unreadable", vec![unreadable]),
        ("another that is doubled", vec![other.clone(), other]),
        ("another that is unreadable", vec![key_id]),
    ] {
        let mut params = named("alice");
        params.custom_extensions = extensions.clone();
        let client = issue(&params, &issuer);
        let refused = ClientCertificate::read(&client).unwrap().check_use();
        assert_eq!(refused, Err(CertificateError::Der), "{name}");

        let mut params = authority_params("acme");
        params.custom_extensions = extensions;
        let of_authority = params.self_signed(&key(KINDS[0])).unwrap().pem();
        let refused = UserAuthority::from_pem(&of_authority).err();
        assert_eq!(refused, Some(CertificateError::Der), "{name}");
    }
}

#[test]
fn only_authorities_are_taken_for_one() {
    let read = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = authority_params("acme");
        change(&mut params);
        UserAuthority::from_pem(&params.self_signed(&key(KINDS[0])).unwrap().pem()).err()
    };
    assert_eq!(read(&|_| ()), None);
    let may_issue = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    assert_eq!(read(&|params| params.key_usages = may_issue.clone()), None);
    let none = Some(CertificateError::NoAuthority);
    assert_eq!(read(&|params| params.is_ca = IsCa::NoCa), none);
    assert_eq!(read(&|params| params.is_ca = IsCa::ExplicitNoCa), none);
    let may_sign = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(read(&|params| params.key_usages = may_sign.clone()), none);
    let constraints = rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example".to_owned())],
        excluded_subtrees: Vec::new(),
    };
    let constrained = read(&|params| params.name_constraints = Some(constraints.clone()));
    assert_eq!(constrained, Some(CertificateError::CriticalExtension));

    let pem = authority_params("acme").self_signed(&key(KINDS[0])).unwrap().pem();
    for (count, expected) in [(0, false), (1, true), (2, false)] {
        assert_eq!(UserAuthority::from_pem(&pem.repeat(count)).is_ok(), expected, "{count}");
    }
}

#[test]
fn a_serial_number_has_one_spelling() {
    let (_, issuer) = authority("acme", KINDS[0]);
    for (serial, expected) in [
        (&[0x0a, 0xbc][..], "abc"),
        (&[0x00], "0"),
        (&[0xff, 0x01], "ff01"),
        (&[0x40; 20], "4040404040404040404040404040404040404040"),
    ] {
        let mut params = named("alice");
        params.serial_number = Some(SerialNumber::from_slice(serial));
        let der = issue(&params, &issuer);
        assert_eq!(ClientCertificate::read(&der).unwrap().serial(), expected);
    }
}

#[test]
fn the_key_of_any_certificate_is_read() {
    for kind in KINDS {
        let key = key(kind);
        let made = named("alice").self_signed(&key).unwrap();
        let spki = certificate_key(made.der()).unwrap();
        assert!(spki.ends_with(key.public_key_raw()));
    }
    assert_eq!(certificate_key(b""), Err(CertificateError::Der));
    let long = vec![0; CERTIFICATE_BYTES_MAX + 1];
    assert!(matches!(certificate_key(&long), Err(CertificateError::Long { .. })));
}

//! Lists made here by the certificate library, and one made by OpenSSL under RSA-PSS, as AMD signs its own.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, date_time_ymd,
};

use super::*;
use crate::{
    Curve, SignatureInvalid, SigningKey,
    x509::{Issuing, common_name},
};

const PSS_ROOT: &str = include_str!("../../../tests/vectors/chain/pss_root.pem");
/// Issued by that one, and on the list.
const PSS_LEAF: &str = include_str!("../../../tests/vectors/chain/pss_leaf.pem");
const PSS_LIST: &[u8] = include_bytes!("../../../tests/vectors/chain/pss_list.der");

/// An authority of this name, which may do this.
fn authority(
    name: &str,
    usages: &[KeyUsagePurpose],
    is_ca: IsCa,
) -> (SigningKey, CertificateParams, MakerCertificate) {
    let key = SigningKey::generate(Curve::P256);
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = is_ca;
    params.key_usages = usages.to_vec();
    let made = params.self_signed(&Issuing(&key)).unwrap();
    let certificate = MakerCertificate::from_der(made.der()).unwrap();
    (key, params, certificate)
}

fn root(name: &str) -> (SigningKey, CertificateParams, MakerCertificate) {
    let usages = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority(name, &usages, IsCa::Ca(BasicConstraints::Unconstrained))
}

fn revoked(serial: &[u8]) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: serial.to_vec().into(),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    }
}

fn params(revoked_certs: Vec<RevokedCertParams>) -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(2025, 2, 1),
        crl_number: vec![7].into(),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn made(
    params: &CertificateRevocationListParams,
    key: &SigningKey,
    mut issuer: CertificateParams,
) -> Vec<u8> {
    // The library signs no list of one who may not sign it; the certificate says that, not this.
    issuer.key_usages.clear();
    let list = params.signed_by(&Issuer::new(issuer, Issuing(key))).unwrap();
    list.der().to_vec()
}

#[test]
fn a_list_revokes_what_is_on_it() {
    let (key, issuer, certificate) = root("authority");
    let mut with_reason = revoked(&[0x7f, 1]);
    with_reason.reason_code = Some(RevocationReason::KeyCompromise);
    with_reason.invalidity_date = Some(date_time_ymd(2023, 1, 1));
    let entries = vec![revoked(&[0x0a]), revoked(&[0x80, 0]), with_reason];
    let list = RevocationList::from_der(&made(&params(entries), &key, issuer)).unwrap();
    assert_eq!(list.verify_issued_by(&certificate), Ok(()));
    let validity = Validity { not_before: 1_735_689_600, not_after: 1_738_368_000 };
    assert_eq!((list.validity(), list.revoked()), (validity, 3));
    for (serial, is_on_it) in [
        (&[0x0a][..], true),
        (&[0, 0x0a], true),
        (&[0x80, 0], true),
        (&[0, 0x80, 0], true),
        (&[0x7f, 1], true),
        (&[0x80], false),
        (&[0x0b], false),
        (&[0x0a, 0], false),
        (&[0], false),
        (&[], false),
    ] {
        assert_eq!(list.revokes(serial), is_on_it, "{serial:02x?}");
    }
}

#[test]
fn a_list_is_its_issuers() {
    let (key, issuer, certificate) = root("authority");
    let der = made(&params(vec![revoked(&[1])]), &key, issuer);
    let list = RevocationList::from_der(&der).unwrap();
    let (_, _, same_name) = root("authority");
    let (_, _, other_name) = root("other");
    let usages = [KeyUsagePurpose::KeyCertSign];
    let (_, _, no_lists) =
        authority("authority", &usages, IsCa::Ca(BasicConstraints::Unconstrained));
    let (_, _, no_authority) = authority("authority", &[], IsCa::ExplicitNoCa);
    for (issuer, expected) in [
        (&same_name, CertificateError::Signature(SignatureInvalid)),
        (&other_name, CertificateError::Issuer),
        (&no_lists, CertificateError::NoAuthority),
        (&no_authority, CertificateError::NoAuthority),
    ] {
        let found = list.verify_issued_by(issuer);
        assert_eq!(found, Err(RevocationListError::Issued(expected)));
    }
    let pss = MakerCertificate::from_pem(PSS_ROOT).unwrap();
    assert!(list.verify_issued_by(&pss).is_err());
    for at in 0..der.len() {
        let mut altered = der.clone();
        altered[at] ^= 1;
        let found =
            RevocationList::from_der(&altered).and_then(|list| list.verify_issued_by(&certificate));
        assert!(found.is_err(), "byte {at}");
    }
    for end in 0..der.len() {
        assert_eq!(RevocationList::from_der(&der[..end]), Err(RevocationListError::Der), "{end}");
    }
}

/// As AMD signs.
#[test]
fn a_list_is_signed_under_rsa_pss_as_well() {
    let root = MakerCertificate::from_pem(PSS_ROOT).unwrap();
    let list = RevocationList::from_der(PSS_LIST).unwrap();
    assert_eq!(root.verify_issued_by(&root), Ok(()));
    assert_eq!(list.verify_issued_by(&root), Ok(()));
    assert_eq!(list.revoked(), 2);
    let leaf = MakerCertificate::from_pem(PSS_LEAF).unwrap();
    assert_eq!(leaf.verify_issued_by(&root), Ok(()));
    assert_eq!((leaf.common_name().as_deref(), leaf.serial()), (Some("pss leaf"), vec![10, 1]));
    assert_eq!([&leaf, &root].map(|one| list.revokes(&one.serial())), [true, false]);
    assert_eq!([&[0][..], &[10, 1], &[10]].map(|serial| list.revokes(serial)), [true, true, false]);
    for at in 0..PSS_LIST.len() {
        let mut altered = PSS_LIST.to_vec();
        altered[at] ^= 1;
        let found =
            RevocationList::from_der(&altered).and_then(|list| list.verify_issued_by(&root));
        assert!(found.is_err(), "byte {at}");
    }
}

#[test]
fn a_list_of_some_certificates_only_is_refused() {
    let (key, issuer, _) = root("authority");
    let mut partial = params(vec![revoked(&[1])]);
    let distribution_point = CrlDistributionPoint { uris: vec!["http://a.example".to_owned()] };
    partial.issuing_distribution_point =
        Some(CrlIssuingDistributionPoint { distribution_point, scope: None });
    let read = RevocationList::from_der(&made(&partial, &key, issuer));
    assert_eq!(read, Err(RevocationListError::Extension));
}

#[test]
fn a_list_is_as_long_as_its_limits_allow() {
    let (key, issuer, certificate) = root("authority");
    let serials = |count: usize| {
        let serial = |number: usize| revoked(&(0x4000 + number).to_be_bytes()[6..]);
        made(&params((0..count).map(serial).collect()), &key, issuer.clone())
    };
    for (count, is_read) in [(REVOKED_MAX - 1, true), (REVOKED_MAX, true), (REVOKED_MAX + 1, false)]
    {
        let read = RevocationList::from_der(&serials(count));
        match &read {
            Ok(list) => assert_eq!(list.verify_issued_by(&certificate), Ok(())),
            Err(error) => {
                let (found, limit) = (count, REVOKED_MAX);
                assert_eq!(*error, RevocationListError::Many { found, limit });
            }
        }
        assert_eq!(read.is_ok(), is_read, "{count}");
    }
    for (bytes, expected) in [
        (REVOCATION_LIST_BYTES_MAX, RevocationListError::Der),
        (
            REVOCATION_LIST_BYTES_MAX + 1,
            RevocationListError::Long {
                found: REVOCATION_LIST_BYTES_MAX + 1,
                limit: REVOCATION_LIST_BYTES_MAX,
            },
        ),
    ] {
        assert_eq!(RevocationList::from_der(&vec![0; bytes]), Err(expected));
    }
}

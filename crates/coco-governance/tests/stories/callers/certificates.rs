//! By certificates: participants, members, and the users of organisations.

use std::time::Duration;

use coco_crypto::{ClientCertificate, Validity, sha256};
use coco_governance::{MemberId, caller::ORGANISATIONS_MAX, tables};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use serde_json::{Value, json};

use super::*;

const P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
const ED25519: &SignatureAlgorithm = &rcgen::PKCS_ED25519;
const LONG: Validity = Validity { not_before: START, not_after: START + 1000 };

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// Somebody's own certificate: PEM and DER.
fn self_signed(algorithm: &'static SignatureAlgorithm, validity: Validity) -> (String, Vec<u8>) {
    let made = params("alice", validity).self_signed(&key(algorithm)).unwrap();
    (made.pem(), made.der().to_vec())
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str, validity: Validity) -> Self {
        let key = key(P256);
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, params: &CertificateParams, kind: &'static SignatureAlgorithm) -> Vec<u8> {
        params.signed_by(&key(kind), &self.issuer).unwrap().der().to_vec()
    }

    /// A user with this serial number.
    fn user(&self, serial: &[u8]) -> Vec<u8> {
        let mut params = params("alice", LONG);
        params.serial_number = Some(SerialNumber::from_slice(serial));
        self.issue(&params, P256)
    }
}

/// Makes an organisation of an authority.
fn admit(c: &mut Consortium, name: &str, authority: &Authority) {
    passes(c, "set_organisation", &json!({ "name": name, "cert": authority.pem }));
}

fn user_of(c: &Consortium, der: &[u8]) -> String {
    match certificate(c, der, NOW) {
        Ok(Caller::OrganisationUser { organisation, .. }) => organisation,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_participant_is_recognised_by_its_certificate_whatever_its_key() {
    let mut c = service();
    for kind in [P256, ED25519, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let (pem, der) = self_signed(kind, LONG);
        let id = sha256(&der);
        let unknown = certificate(&c, &der, NOW).unwrap_err();
        assert!(matches!(unknown, ByCertificateError::Unknown { id: found } if found == id));
        passes(&mut c, "set_user", &json!({ "cert": pem }));
        let user = |data| Caller::User { id, data };
        assert_eq!(certificate(&c, &der, NOW).unwrap(), user(Value::Null));
        let data = json!({ "role": "trader" });
        passes(&mut c, "set_user_data", &json!({ "user_id": id.to_string(), "user_data": data }));
        assert_eq!(certificate(&c, &der, NOW).unwrap(), user(data));
        passes(&mut c, "remove_user", &json!({ "user_id": id.to_string() }));
        assert!(matches!(certificate(&c, &der, NOW), Err(ByCertificateError::Unknown { .. })));
    }
}

#[test]
fn a_certificate_counts_in_its_period() {
    let mut c = service();
    let (pem, der) = self_signed(P256, Validity { not_before: NOW, not_after: NOW + 10 });
    passes(&mut c, "set_user", &json!({ "cert": pem }));
    for (now, is_valid) in [(NOW - 1, false), (NOW, true), (NOW + 10, true), (NOW + 11, false)] {
        match certificate(&c, &der, now) {
            Ok(_) => assert!(is_valid, "{now}"),
            Err(ByCertificateError::Period { now: found, .. }) => {
                assert_eq!((found, is_valid), (now, false));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_member_is_recognised_with_its_status() {
    let mut c = service();
    let active = c.members[0].certificate.clone();
    let Caller::Member { id, status, .. } = certificate(&c, active.der(), NOW).unwrap() else {
        panic!("no member")
    };
    assert_eq!((id, status), (c.members[0].id(), tables::MemberStatus::Active));
    let (pem, der) = self_signed(P256, LONG);
    let data = json!({ "name": "dock" });
    passes(&mut c, "set_member", &json!({ "cert": pem, "member_data": data }));
    let id = MemberId(sha256(&der));
    let status = tables::MemberStatus::Accepted;
    assert_eq!(certificate(&c, &der, NOW).unwrap(), Caller::Member { id, status, data });
    passes(&mut c, "remove_member", &json!({ "member_id": id.to_string() }));
    assert!(matches!(certificate(&c, &der, NOW), Err(ByCertificateError::Unknown { .. })));
}

#[test]
fn an_organisations_users_are_recognised_by_its_authority() {
    let mut c = service();
    let acme = Authority::new("acme users", LONG);
    let bank = Authority::new("bank users", LONG);
    // One that bears the name of another.
    let forger = Authority::new("acme users", LONG);
    let data = json!({ "desk": "bonds" });
    let args = json!({ "name": "acme", "cert": acme.pem, "user_data": data });
    passes(&mut c, "set_organisation", &args);
    assert_eq!(
        c.json(tables::ORGANISATIONS, b"acme"),
        Some(json!({ "cert": acme.pem, "user_data": data }))
    );
    admit(&mut c, "bank", &bank);

    for kind in [P256, ED25519] {
        let der = acme.issue(&params("alice", LONG), kind);
        let expected = Caller::OrganisationUser {
            id: ClientCertificate::read(&der).unwrap().signed_digest(),
            organisation: "acme".to_owned(),
            data: data.clone(),
        };
        assert_eq!(certificate(&c, &der, NOW).unwrap(), expected);
    }
    assert_eq!(user_of(&c, &bank.user(&[1])), "bank");
    let forged = certificate(&c, &forger.user(&[1]), NOW).unwrap_err();
    assert!(
        matches!(&forged, ByCertificateError::NotIssued { organisation, .. } if organisation == "acme"),
        "{forged}"
    );
    // Should both be organisations, each has its own.
    admit(&mut c, "aaa", &forger);
    assert_eq!(user_of(&c, &forger.user(&[1])), "aaa");
    assert_eq!(user_of(&c, &acme.user(&[1])), "acme");

    passes(&mut c, "remove_organisation", &json!({ "name": "bank" }));
    let unknown = certificate(&c, &bank.user(&[1]), NOW);
    assert!(matches!(unknown, Err(ByCertificateError::Unknown { .. })));
    assert!(matches!(certificate(&c, b"\x30\x00", NOW), Err(ByCertificateError::Unreadable(_))));
}

#[test]
fn what_an_organisation_issued_counts_for_clients_and_in_time() {
    let mut c = service();
    let acme = Authority::new("acme", Validity { not_before: NOW - 10, not_after: NOW + 10 });
    admit(&mut c, "acme", &acme);
    let der = acme.user(&[1]);
    for (now, is_valid) in
        [(NOW - 11, false), (NOW - 10, true), (NOW + 10, true), (NOW + 11, false)]
    {
        match certificate(&c, &der, now) {
            Ok(_) => assert!(is_valid, "{now}"),
            Err(ByCertificateError::PeriodOfAuthority { .. }) => assert!(!is_valid, "{now}"),
            Err(other) => panic!("{other}"),
        }
    }
    let short = params("alice", Validity { not_before: NOW + 1, not_after: NOW + 2 });
    let early = certificate(&c, &acme.issue(&short, P256), NOW);
    assert!(matches!(early, Err(ByCertificateError::Period { .. })));
    let mut for_servers = params("alice", LONG);
    for_servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let other = certificate(&c, &acme.issue(&for_servers, P256), NOW);
    assert!(matches!(other, Err(ByCertificateError::OtherUse { .. })));
    // It issues for clients, not for other authorities.
    let mut below = params("alice", LONG);
    below.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = certificate(&c, &acme.issue(&below, P256), NOW);
    assert!(matches!(other, Err(ByCertificateError::OtherUse { .. })));
}

#[test]
fn a_user_is_revoked_by_its_serial_number_or_with_its_authority() {
    let mut c = service();
    let acme = Authority::new("acme", LONG);
    let revocations = |serials: Value| json!({ "name": "acme", "serials": serials });
    fails(&mut c, "set_organisation_revocations", &revocations(json!([])), "no organisation acme");
    admit(&mut c, "acme", &acme);
    let [one, other] = [&[0x0a, 0xbc][..], &[0x0a, 0xbd]].map(|serial| acme.user(serial));
    passes(&mut c, "set_organisation_revocations", &revocations(json!(["0A:BC", "abc", "07"])));
    let row = c.json(tables::ORGANISATIONS_REVOCATIONS, b"acme");
    assert_eq!(row, Some(json!(["7", "abc"])));
    let revoked = certificate(&c, &one, NOW).unwrap_err();
    assert!(
        matches!(&revoked, ByCertificateError::Revoked { serial, .. } if serial == "abc"),
        "{revoked}"
    );
    assert_eq!(user_of(&c, &other), "acme");

    // The list is all of it; and it outlives a change of the authority, which may be the same key again.
    let new = Authority::new("acme", LONG);
    admit(&mut c, "acme", &new);
    assert!(matches!(certificate(&c, &other, NOW), Err(ByCertificateError::NotIssued { .. })));
    assert_eq!(user_of(&c, &new.user(&[0x0a, 0xbd])), "acme");
    let again = certificate(&c, &new.user(&[0x0a, 0xbc]), NOW);
    assert!(matches!(again, Err(ByCertificateError::Revoked { .. })));
    passes(&mut c, "set_organisation_revocations", &revocations(json!([])));
    assert_eq!(user_of(&c, &new.user(&[0x0a, 0xbc])), "acme");
    passes(&mut c, "remove_organisation", &json!({ "name": "acme" }));
    assert_eq!(c.row(tables::ORGANISATIONS_REVOCATIONS, b"acme"), None);
}

#[test]
fn an_organisation_has_a_name_and_one_authority_of_its_own() {
    let mut c = service();
    let acme = Authority::new("acme", LONG);
    let (no_authority, _) = self_signed(P256, LONG);
    for (name, cert, expected) in [
        ("", &acme.pem, "name must be"),
        (&*"x".repeat(129), &acme.pem, "name must be"),
        ("acme", &no_authority, "certificate of an authority"),
        ("acme", &acme.pem.repeat(2), "certificate of an authority"),
        ("acme", &"x".to_owned(), "certificate of an authority"),
    ] {
        let args = json!({ "name": name, "cert": cert });
        is_no_proposal(&mut c, "set_organisation", &args, expected);
    }
    for serials in [
        json!(null),
        json!("01"),
        json!([1]),
        json!([""]),
        json!(["g"]),
        json!([":"]),
        json!(["1".repeat(65)]),
        json!(vec!["1"; 1001]),
    ] {
        let args = json!({ "name": "acme", "serials": serials });
        is_no_proposal(&mut c, "set_organisation_revocations", &args, "serials must be");
    }
    admit(&mut c, "acme", &acme);
    admit(&mut c, "acme", &acme);
    let args = json!({ "name": "bank", "cert": acme.pem });
    fails(&mut c, "set_organisation", &args, "this is the certificate of acme");
}

#[test]
fn there_is_room_for_as_many_organisations_as_are_looked_at() {
    let mut c = service();
    // In the order of names the one that counts comes last.
    for i in 1..ORGANISATIONS_MAX {
        let pem = Authority::new(&format!("o{i:03}"), LONG).pem;
        let name = format!("o{i:03}");
        let row = json!({ "cert": pem });
        c.set(&[(tables::ORGANISATIONS, name.as_bytes(), row)]);
    }
    let last = Authority::new("z", LONG);
    admit(&mut c, "z", &last);
    assert_eq!(user_of(&c, &last.user(&[1])), "z");
    let more = Authority::new("more", LONG);
    let args = json!({ "name": "zz", "cert": more.pem });
    fails(&mut c, "set_organisation", &args, "there are 100 organisations already");
    // One that is there may still change.
    admit(&mut c, "z", &more);
    assert_eq!(user_of(&c, &more.user(&[1])), "z");
}

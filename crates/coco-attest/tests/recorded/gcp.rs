//! Machines of Google Cloud.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use coco_attest::{
    AppraisalPolicy, AppraiseError, Endorsement, EndorsementKind, Endorsements, Evidence, GCP_ROOT,
    GcpEvidence, GcpFacts, GcpPolicy, Link, PcrCode, Piece, PlatformFacts, PlatformId, TrustClass,
    VerifyError, verify,
};
use coco_crypto::{MakerCertificate, SignatureInvalid, Validity, read_bundle};
use serde_json::Value;

use crate::data::{bytes, endorsed, folder};

/// 1 March 2026.
const NOW: u64 = 1_772_323_200;
/// 3 February 2026, 02:37:49, and 27 January 2056, 02:37:48: the first second of the certificate and its last.
const FIRST: u64 = 1_770_086_269;
const LAST: u64 = 2_716_166_268;

fn gcp() -> Option<(GcpEvidence, Endorsements)> {
    let machine = folder("gcp-vtpm/tdx")?;
    let read = |file: &str| fs::read(machine.join(file)).expect("a file");
    let claims: Value = serde_json::from_slice(&read("claims.json")).expect("JSON");
    let register =
        |at: usize| bytes(claims["pcrs"]["sha256"][at.to_string()].as_str().expect("a register"));
    let evidence = GcpEvidence {
        quote: read("quote.attest"),
        signature: read("quote.sig.der"),
        pcrs: std::array::from_fn(register),
    };
    let chain = String::from_utf8(read("ak_cert_chain.pem")).expect("a text");
    let chain = read_bundle(&chain).expect("certificates");
    let chain: Vec<_> =
        chain.iter().map(|der| MakerCertificate::from_der(der).expect("a certificate")).collect();
    Some((evidence, endorsed(&chain)))
}

fn evidence(parts: &GcpEvidence) -> Evidence {
    Evidence::new(PlatformId::GcpVtpm, parts.encode())
}

fn facts(parts: &GcpEvidence, endorsements: &Endorsements) -> (GcpFacts, Vec<u8>) {
    let facts = verify(&evidence(parts), endorsements, NOW).expect("it verifies");
    let (class, platform) = (TrustClass::MeasuredBoot, PlatformId::GcpVtpm);
    assert_eq!((facts.class(), facts.platform_id(), facts.made()), (class, platform, None));
    match facts.platform() {
        PlatformFacts::GcpVtpm(said) => ((**said).clone(), facts.bound().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_says_what_it_was_recorded_to_say() {
    let Some((parts, endorsements)) = gcp() else { return };
    let (found, bound) = facts(&parts, &endorsements);
    let nonce = "6424632e79ec068f2189adf46d121b9a10f758c45a18c52f630da14600d4317b";
    assert_eq!(bound, bytes::<32>(nonce));
    assert_eq!((&*found.instance.zone, &*found.instance.project), ("us-central1-a", "lockboot"));
    assert_eq!(found.instance.instance, 2_141_209_421_113_254_303);
    assert!(found.instance.is_production);
    assert_eq!(found.pcrs, parts.pcrs);
    let root = MakerCertificate::from_der(&endorsements.items[2].bytes).expect("a certificate");
    assert_eq!(root.digest(), GCP_ROOT);
}

#[test]
fn a_machine_counts_as_long_as_its_certificate() {
    let Some((parts, endorsements)) = gcp() else { return };
    let verified = |now| verify(&evidence(&parts), &endorsements, now);
    let (piece, validity) =
        (Piece::LeafCertificate, Validity { not_before: FIRST, not_after: LAST });
    assert_eq!(verified(FIRST).expect("it counts from here on").valid(), validity);
    assert!(verified(LAST).is_ok());
    let now = FIRST - 1;
    assert_eq!(verified(now), Err(VerifyError::NotYetValid { piece, validity, now }));
    let now = LAST + 1;
    assert_eq!(verified(now), Err(VerifyError::Expired { piece, validity, now }));
}

#[test]
fn no_byte_of_a_machines_evidence_or_its_chain_can_be_another() {
    let Some((parts, endorsements)) = gcp() else { return };
    let whole = evidence(&parts);
    assert!(verify(&whole, &endorsements, NOW).is_ok(), "as it is");
    for at in 0..whole.body.len() {
        let mut altered = whole.clone();
        altered.body[at] ^= 1;
        assert!(verify(&altered, &endorsements, NOW).is_err(), "byte {at}");
        let cut = Evidence { body: whole.body[..at].to_vec(), ..whole.clone() };
        assert!(verify(&cut, &endorsements, NOW).is_err(), "cut at {at}");
    }
    for which in 0..endorsements.items.len() {
        for at in 0..endorsements.items[which].bytes.len() {
            let mut altered = endorsements.clone();
            altered.items[which].bytes[at] ^= 1;
            let found = verify(&whole, &altered, NOW);
            assert!(found.is_err(), "certificate {which}, byte {at}");
        }
    }
    let mut long = whole;
    long.body.push(0);
    assert!(verify(&long, &endorsements, NOW).is_err());
}

#[test]
fn a_quote_needs_its_registers_and_its_chain() {
    let Some((parts, endorsements)) = gcp() else { return };
    let refused = |parts: &GcpEvidence, endorsements: &Endorsements| {
        verify(&evidence(parts), endorsements, NOW).expect_err("it does not verify")
    };
    let mut registers = parts.clone();
    registers.pcrs.swap(0, 1);
    let other = VerifyError::OtherMachine { what: "the registers" };
    assert_eq!(refused(&registers, &endorsements), other);
    // A quote and its signature of another TPM: that of a laboratory.
    if let Some(lab) = folder("tpm-swtpm") {
        let read = |file: &str| fs::read(lab.join(file)).expect("a file");
        let signature = read("quote.sig.der");
        let signed = GcpEvidence { signature, ..parts.clone() };
        let unsigned = VerifyError::Signature(SignatureInvalid);
        assert_eq!(refused(&signed, &endorsements), unsigned);
        let quoted = GcpEvidence { quote: read("quote.attest"), ..signed };
        assert!(verify(&evidence(&quoted), &endorsements, NOW).is_err());
    }
    let with = |items: &[usize]| {
        let items = items.iter().map(|at| endorsements.items[*at].clone()).collect();
        refused(&parts, &Endorsements { items })
    };
    let length = |found| VerifyError::ChainLength { found, expected: 3 };
    assert_eq!((with(&[]), with(&[0, 1]), with(&[0, 1, 2, 2])), (length(0), length(2), length(4)));
    assert!(matches!(with(&[0, 1, 1]), VerifyError::Root { .. }));
    let is_link = |error: &VerifyError, link: Link| matches!(error, VerifyError::Chain { link: found, .. } if *found == link);
    let found = with(&[0, 2, 2]);
    assert!(is_link(&found, Link::Leaf), "{found:?}");
    let found = with(&[0, 0, 2]);
    assert!(is_link(&found, Link::Between(1)), "{found:?}");
    // The certificate of an authority, which signs no quotes.
    assert_eq!(with(&[1, 2, 2]), VerifyError::Signature(SignatureInvalid));
    let mut more = endorsements.clone();
    let kind = EndorsementKind::RevocationList;
    more.items.push(Endorsement { kind, bytes: Vec::new() });
    let count = VerifyError::Pieces { kind, found: 1, expected: 0 };
    assert_eq!(refused(&parts, &more), count);
}

#[test]
fn a_policy_admits_a_machine_by_project_and_registers() {
    let Some((parts, endorsements)) = gcp() else { return };
    let (found, _) = facts(&parts, &endorsements);
    let code = PcrCode { pcrs: BTreeMap::from([(4, found.pcrs[4]), (9, found.pcrs[9])]) };
    let gcp = GcpPolicy {
        projects: BTreeSet::from(["lockboot".to_owned()]),
        zones: Some(BTreeSet::from(["us-central1-a".to_owned()])),
        instances: Some(BTreeSet::from([found.instance.instance])),
        code: vec![code],
    };
    let good = AppraisalPolicy {
        class_min: TrustClass::MeasuredBoot,
        gcp_vtpm: Some(gcp),
        ..AppraisalPolicy::none(1)
    };
    let judged = |policy: &AppraisalPolicy| {
        policy.judge(&verify(&evidence(&parts), &endorsements, NOW).expect("it verifies"), NOW)
    };
    assert_eq!(judged(&good), Ok(()));
    let refused = |change: &dyn Fn(&mut GcpPolicy)| {
        let mut policy = good.clone();
        change(policy.gcp_vtpm.as_mut().expect("it has one"));
        judged(&policy).expect_err("it is refused")
    };
    let error = refused(&|policy| policy.projects = BTreeSet::from(["another".to_owned()]));
    assert_eq!(error, AppraiseError::Instance { what: "project", have: "lockboot".to_owned() });
    let error = refused(&|policy| policy.code[0].pcrs.clear());
    assert!(matches!(error, AppraiseError::Measurement { .. }), "{error}");
    let (have, need) = (TrustClass::MeasuredBoot, TrustClass::Hypervisor);
    let class = AppraisalPolicy { class_min: need, ..good };
    assert_eq!(judged(&class), Err(AppraiseError::Class { have, need }));
}

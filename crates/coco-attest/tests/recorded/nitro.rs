//! AWS.

use std::{collections::BTreeMap, fs};

use coco_attest::{
    AppraisalPolicy, AppraiseError, EndorsementKind, Evidence, NitroCode, NitroFacts, NitroPolicy,
    Piece, PlatformFacts, TrustClass, VerifyError, verify,
};
use serde_json::Value;

use crate::data::{bytes, folder, nitro};

const DOCUMENT: &str = "nitro/aws_nitro_document.cbor";
/// When the document was made: 9 November 2022.
const MADE: u64 = 1_668_034_320;
/// 22:51:57 of that day, when its leaf begins to count, and 01:52:00 of the next, when it ends.
const FIRST: u64 = 1_668_034_317;
const LAST: u64 = 1_668_045_120;

fn facts(evidence: &Evidence, now: u64) -> NitroFacts {
    let verified = verify(evidence, &Default::default(), now).expect("it verifies");
    match verified.platform() {
        PlatformFacts::Nitro(facts) => {
            let of = if facts.is_tpm { TrustClass::MeasuredBoot } else { TrustClass::Hypervisor };
            assert_eq!(verified.class(), of);
            facts.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_says_what_it_was_recorded_to_say() {
    let Some((evidence, endorsements)) = nitro(DOCUMENT) else { return };
    let found = facts(&evidence, MADE);
    let pcr0: [u8; 48] = bytes(
        "22f9e1c949208da55eb01b9b9fc88f87454f77ba133f0d82320b509621c92482152a99d0a12335b97178c02d6f977d01",
    );
    assert_eq!(found.pcrs.get(&0).map(Vec::as_slice), Some(&pcr0[..]));
    assert!(!found.debug && !found.is_tpm);
    let all = verify(&evidence, &endorsements, MADE).expect("it verifies");
    assert_eq!(all.made(), Some(MADE));
    assert!(all.bound().starts_with(&bytes::<4>("7c371080")), "{all:?}");
    assert!(found.nonce.starts_with(&bytes::<4>("c678c861")), "{found:?}");
}

#[test]
fn a_document_counts_for_three_hours() {
    let Some((evidence, endorsements)) = nitro(DOCUMENT) else { return };
    let verified = |now| verify(&evidence, &endorsements, now);
    let valid = verified(FIRST).expect("it counts from here on").valid();
    assert_eq!((valid.not_before, valid.not_after), (FIRST, LAST));
    assert!(verified(LAST).is_ok());
    // How far ahead AWS's clock may be is the policy's business.
    assert!(verified(FIRST - 1).is_ok());
    let is_leaf = |piece| piece == Piece::LeafCertificate;
    let late = verified(LAST + 1);
    assert!(matches!(late, Err(VerifyError::Expired { piece, .. }) if is_leaf(piece)), "{late:?}");
}

#[test]
fn a_document_with_another_signature_is_not_believed() {
    let Some((evidence, endorsements)) = nitro("nitro/aws_nitro_document_bad_sig.cbor") else {
        return;
    };
    let found = verify(&evidence, &endorsements, MADE);
    assert_eq!(found, Err(VerifyError::Signature(coco_crypto::SignatureInvalid)));
}

#[test]
fn no_byte_of_a_document_can_be_another() {
    let Some((evidence, endorsements)) = nitro(DOCUMENT) else { return };
    assert!(verify(&evidence, &endorsements, MADE).is_ok(), "as it is");
    for at in 0..evidence.body.len() {
        let mut altered = evidence.clone();
        altered.body[at] ^= 1;
        assert!(verify(&altered, &endorsements, MADE).is_err(), "byte {at}");
        let cut = Evidence { body: evidence.body[..at].to_vec(), ..evidence.clone() };
        assert!(verify(&cut, &endorsements, MADE).is_err(), "cut at {at}");
    }
    let mut long = evidence.clone();
    long.body.push(0);
    assert!(verify(&long, &endorsements, MADE).is_err());
    let Some((_, of_amd)) = crate::data::snp("tav-milan", ["vcek.pem", "ask.pem", "ark.pem"])
    else {
        return;
    };
    let found = verify(&evidence, &of_amd, MADE);
    let kind = EndorsementKind::Certificate;
    assert_eq!(found, Err(VerifyError::Pieces { kind, found: 3, expected: 0 }));
}

#[test]
fn a_policy_admits_by_registers_and_age() {
    let Some((evidence, endorsements)) = nitro(DOCUMENT) else { return };
    let found = facts(&evidence, MADE);
    let code = |pcrs: BTreeMap<u8, Vec<u8>>| NitroCode { is_tpm: false, pcrs };
    let policy = |code| AppraisalPolicy {
        class_min: TrustClass::Hypervisor,
        age_max_s: 60,
        nitro: Some(NitroPolicy { code: vec![code] }),
        ..AppraisalPolicy::none(1)
    };
    let facts = verify(&evidence, &endorsements, MADE).expect("it verifies");
    assert_eq!(facts.class(), TrustClass::Hypervisor);
    let judged = |policy: &AppraisalPolicy, now| policy.judge(&facts, now);
    let fixed: BTreeMap<u8, Vec<u8>> =
        found.pcrs.range(..16).map(|(at, value)| (*at, value.clone())).collect();
    let admitted = policy(code(fixed));
    assert_eq!(judged(&admitted, MADE + 60), Ok(()));
    let stale = AppraiseError::Stale { made: MADE, now: MADE + 61, age_max_s: 60 };
    assert_eq!(judged(&admitted, MADE + 61), Err(stale));
    let stale = AppraiseError::Stale { made: MADE, now: MADE - 61, age_max_s: 60 };
    assert_eq!(judged(&admitted, MADE - 61), Err(stale));
    let class = AppraisalPolicy { class_min: TrustClass::Processor, ..admitted };
    let error = judged(&class, MADE).expect_err("the class is too low");
    assert!(matches!(error, AppraiseError::Class { .. }), "{error}");
    let mut others = found.pcrs.clone();
    others.insert(8, vec![1; 48]);
    for code in [code(others), code(BTreeMap::new()), NitroCode { is_tpm: true, pcrs: found.pcrs }]
    {
        let error = judged(&policy(code.clone()), MADE).expect_err("it is other code");
        assert!(matches!(error, AppraiseError::Measurement { .. }), "{code:?}");
    }
}

/// The document of an instance: its registers are those of its TPM, and the key that it names signs that TPM's quotes.
#[test]
fn a_document_of_an_instance_names_the_registers_and_a_key_of_its_tpm() {
    const MADE: u64 = 1_770_113_522;
    let Some((evidence, endorsements)) = nitro("nitrotpm/nitrotpm_document.cbor") else { return };
    let found = facts(&evidence, MADE);
    assert!(found.is_tpm && !found.debug);
    let claims = fs::read_to_string(folder("nitrotpm/claims.json").expect("it is beside it"));
    let claims: Value = serde_json::from_str(&claims.expect("a text")).expect("claims");
    let registers = claims["pcrs"]["sha384"].as_object().expect("registers");
    for (at, value) in registers {
        let value = hex::decode(value.as_str().expect("digits")).expect("digits");
        let known = found.pcrs.get(&at.parse().expect("a number"));
        assert_eq!(known, Some(&value), "register {at}");
    }
    let key = &claims["ak_ecc_p256"];
    let coordinate = |name: &str| key[name].as_str().expect("digits").to_owned();
    let point = format!("04{}{}", coordinate("x"), coordinate("y"));
    assert_eq!(hex::encode(&found.public_key), point);
    for (now, is_good) in [(MADE, true), (1_770_124_322, true), (1_770_124_323, false)] {
        assert_eq!(verify(&evidence, &endorsements, now).is_ok(), is_good, "{now}");
    }
}

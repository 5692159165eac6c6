//! Tokens of Azure Attestation.

use std::{collections::BTreeSet, fs};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AppraiseEvidenceError, Endorsement, EndorsementKind,
    Endorsements, Evidence, Flag, MaaFacts, Piece, PlatformFacts, PlatformId, TrustClass,
    VerifyError, appraise, maa_key_set, verify,
};
use coco_crypto::{SignatureInvalid, Validity};

use crate::data::{bytes, folder, report_data};

const LINUX: &str = "linux-cvm-snp-2025-12-15.jwt";
const WINDOWS: &str = "windows-cvm-snp-2023-03-30.jwt";
/// The first second and the last of each.
const LINUX_PERIOD: (u64, u64) = (1_765_826_648, 1_765_855_447);
const WINDOWS_PERIOD: (u64, u64) = (1_680_173_374, 1_680_202_173);

/// A token, and its key out of all that are known.
fn maa(file: &str) -> Option<(Evidence, Endorsements)> {
    let folder = folder("maa")?;
    let token = fs::read(folder.join(file)).expect("a token");
    let published = fs::read(folder.join("jwks.json")).expect("keys");
    let bytes = maa_key_set(&published, &token).expect("it has the key");
    let items = vec![Endorsement { kind: EndorsementKind::KeySet, bytes }];
    Some((Evidence::new(PlatformId::Maa, token), Endorsements { items }))
}

fn facts(evidence: &Evidence, endorsements: &Endorsements, now: u64) -> (MaaFacts, Vec<u8>) {
    let facts = verify(evidence, endorsements, now).expect("it verifies");
    assert_eq!((facts.class(), facts.platform_id()), (TrustClass::Processor, PlatformId::Maa));
    match facts.platform() {
        PlatformFacts::Maa(said) => ((**said).clone(), facts.bound().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_say_what_they_were_recorded_to_say() {
    if let Some((evidence, endorsements)) = maa(LINUX) {
        let (found, bound) = facts(&evidence, &endorsements, LINUX_PERIOD.0);
        assert_eq!(bound, b"midnight-srs");
        assert_eq!(found.issuer, "https://sharedeus2.eus2.attest.azure.net");
        assert_eq!((found.is_windows, found.pcrs), (false, (0..8).collect()));
        assert_eq!(found.flags, BTreeSet::new());
        let guest = found.guest.expect("it is confidential");
        // As of the machine whose own report was recorded elsewhere.
        assert_eq!(
            guest.measurement,
            bytes(
                "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e"
            )
        );
        assert_eq!((guest.vmpl, guest.tcb.snp, guest.tcb.microcode), (0, 24, 219));
        assert_eq!(guest.flags, BTreeSet::from([Flag::Smt]));
        assert_eq!(guest.compliance, "azure-compliant-cvm");
    }
    if let Some((evidence, endorsements)) = maa(WINDOWS) {
        let (found, bound) = facts(&evidence, &endorsements, WINDOWS_PERIOD.0);
        assert_eq!(bound, b"ADE0101");
        assert_eq!(found.issuer, "https://sharedweu.weu.attest.azure.net");
        assert!(found.is_windows && found.flags.is_empty(), "{found:?}");
        assert_eq!(found.pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13].into());
        assert_eq!(found.machine, "70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7");
    }
}

#[test]
fn a_token_counts_for_eight_hours() {
    for (file, (not_before, not_after)) in [(LINUX, LINUX_PERIOD), (WINDOWS, WINDOWS_PERIOD)] {
        let Some((evidence, endorsements)) = maa(file) else { continue };
        let verified = |now| verify(&evidence, &endorsements, now);
        let (piece, validity) = (Piece::Token, Validity { not_before, not_after });
        let facts = verified(not_before).expect("it counts from here on");
        assert_eq!((facts.valid(), facts.made()), (validity, Some(not_before)));
        assert!(verified(not_after).is_ok());
        let now = not_before - 1;
        assert_eq!(verified(now), Err(VerifyError::NotYetValid { piece, validity, now }));
        let now = not_after + 1;
        assert_eq!(verified(now), Err(VerifyError::Expired { piece, validity, now }));
    }
}

#[test]
fn no_byte_of_a_token_or_its_key_can_be_another() {
    for (file, (now, _)) in [(LINUX, LINUX_PERIOD), (WINDOWS, WINDOWS_PERIOD)] {
        let Some((evidence, endorsements)) = maa(file) else { continue };
        assert!(verify(&evidence, &endorsements, now).is_ok(), "as it is");
        for at in 0..evidence.body.len() {
            let mut altered = evidence.clone();
            altered.body[at] ^= 1;
            assert!(verify(&altered, &endorsements, now).is_err(), "byte {at}");
            let cut = Evidence { body: evidence.body[..at].to_vec(), ..evidence.clone() };
            assert!(verify(&cut, &endorsements, now).is_err(), "cut at {at}");
        }
        for at in 0..endorsements.items[0].bytes.len() {
            let mut altered = endorsements.clone();
            altered.items[0].bytes[at] ^= 1;
            assert!(verify(&evidence, &altered, now).is_err(), "key, byte {at}");
        }
        for more in ["\n", "=", ".", ".AA", "A"] {
            let mut long = evidence.clone();
            long.body.extend_from_slice(more.as_bytes());
            assert!(verify(&long, &endorsements, now).is_err(), "{more:?}");
        }
    }
}

#[test]
fn a_token_is_believed_under_its_own_key() {
    let (Some((linux, of_linux)), Some((windows, of_windows))) = (maa(LINUX), maa(WINDOWS)) else {
        return;
    };
    let now = LINUX_PERIOD.0;
    let found = verify(&linux, &of_windows, now);
    assert!(matches!(found, Err(VerifyError::OtherKey { .. })), "{found:?}");
    // The other's key under the id that this one names.
    let text = |one: &Endorsements| String::from_utf8(one.items[0].bytes.clone()).expect("a text");
    let id = |text: &str| text.split('"').nth(9).expect("the id").to_owned();
    let (own, other) = (text(&of_linux), text(&of_windows));
    let mut renamed = of_windows.clone();
    renamed.items[0].bytes = other.replace(&id(&other), &id(&own)).into_bytes();
    let found = verify(&linux, &renamed, now);
    assert_eq!(found, Err(VerifyError::Signature(SignatureInvalid)));
    // Parts of two tokens.
    let parts = |evidence: &Evidence| {
        let text = String::from_utf8(evidence.body.clone()).expect("a text");
        text.split('.').map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, two) = (parts(&linux), parts(&windows));
    for mixed in [[&one[0], &two[1], &one[2]], [&one[0], &one[1], &two[2]]] {
        let body = mixed.map(String::as_str).join(".").into_bytes();
        let found = verify(&Evidence { body, ..linux.clone() }, &of_linux, now);
        assert_eq!(found, Err(VerifyError::Signature(SignatureInvalid)));
    }
    let kind = EndorsementKind::KeySet;
    let none = verify(&linux, &Endorsements::default(), now);
    assert_eq!(none, Err(VerifyError::Pieces { kind, found: 0, expected: 1 }));
    let mut two = of_linux.clone();
    two.items.extend(of_windows.items);
    let found = verify(&linux, &two, now);
    assert_eq!(found, Err(VerifyError::Pieces { kind, found: 2, expected: 1 }));
    // All that is published, which nobody signed.
    let folder = folder("maa").expect("it was there");
    let mut all = of_linux;
    all.items[0].bytes = fs::read(folder.join("jwks.json")).expect("keys");
    let found = verify(&linux, &all, now);
    assert!(matches!(found, Err(VerifyError::EndorsementForm { .. })), "{found:?}");
}

/// Whoever recorded it asked with fewer bytes than a node binds.
#[test]
fn a_token_for_a_short_question_is_admitted_by_no_policy() {
    let Some((evidence, endorsements)) = maa(LINUX) else { return };
    let now = LINUX_PERIOD.0;
    let data = report_data(&[5; 64]);
    let found = appraise(&evidence, &endorsements, now, &AppraisalPolicy::none(1), &data);
    let (have, need) = (hex::encode(b"midnight-srs"), "05".repeat(64));
    let refusal = AppraiseEvidenceError::Appraise(AppraiseError::Binding { have, need });
    assert_eq!(found, Err(refusal));
}

//! Arm CCA: examples of emulators.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coco_attest::{
    CcaFacts, Endorsement, EndorsementKind, Endorsements, Evidence, PlatformFacts, PlatformId,
    TrustClass, VerifyError, verify,
};
use coco_crypto::{Curve, PublicKey, SignatureInvalid};
use serde_json::Value;

use crate::data::{bytes, folder};

const NOW: u64 = 1_748_736_000;
const TOKENS: [(&str, &str); 3] = [
    ("cca-token-01.cbor", "cpak-veraison.json"),
    ("cca-token-draft-ffm-00.cbor", "cpak-veraison.json"),
    ("coco-example-token.cbor", "cpak-coco.json"),
];

/// A token, and the key of its platform.
fn cca(token: &str, key: &str) -> Option<(Evidence, Endorsements)> {
    let folder = folder("cca")?;
    let body = fs::read(folder.join(token)).expect("a token");
    let key: Value =
        serde_json::from_slice(&fs::read(folder.join(key)).expect("a key")).expect("JSON");
    let [x, y] = ["x", "y"].map(|name| {
        URL_SAFE_NO_PAD.decode(key[name].as_str().expect("a number")).expect("base64url")
    });
    let key = PublicKey::from_coordinates(Curve::P384, &x, &y).expect("a key");
    let bytes = key.spki_der().to_vec();
    let items = vec![Endorsement { kind: EndorsementKind::AttestationKey, bytes }];
    Some((Evidence::new(PlatformId::Cca, body), Endorsements { items }))
}

fn facts(evidence: &Evidence, endorsements: &Endorsements) -> (CcaFacts, Vec<u8>) {
    let facts = verify(evidence, endorsements, NOW).expect("it verifies");
    assert_eq!((facts.class(), facts.platform_id()), (TrustClass::Processor, PlatformId::Cca));
    assert_eq!(facts.made(), None);
    match facts.platform() {
        PlatformFacts::Cca(said) => ((**said).clone(), facts.bound().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_say_what_they_were_recorded_to_say() {
    for ((token, key), (components, rim, challenge)) in TOKENS.into_iter().zip([
        (4, "0000000000000000", "abababababababab"),
        (13, "311314ab73620350", "6e86d6d97cc713bc"),
        (13, "ae87fbf7f105e71a", "57e979ae2618de0c"),
    ]) {
        let Some((evidence, endorsements)) = cca(token, key) else { return };
        let (found, bound) = facts(&evidence, &endorsements);
        assert_eq!((found.lifecycle, found.components.len()), (0x3003, components), "{token}");
        assert!(found.rim.starts_with(&bytes::<8>(rim)), "{found:?}");
        assert!(bound.starts_with(&bytes::<8>(challenge)), "{bound:?}");
        assert_eq!((bound.len(), found.rems.len()), (64, 4));
        let instance = "0107060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918";
        assert_eq!(found.instance, bytes(instance));
    }
}

#[test]
fn no_byte_of_a_token_or_its_key_can_be_another() {
    for (token, key) in TOKENS {
        let Some((evidence, endorsements)) = cca(token, key) else { return };
        assert!(verify(&evidence, &endorsements, NOW).is_ok(), "as it is");
        for at in 0..evidence.body.len() {
            let mut altered = evidence.clone();
            altered.body[at] ^= 1;
            assert!(verify(&altered, &endorsements, NOW).is_err(), "{token}, byte {at}");
            let cut = Evidence { body: evidence.body[..at].to_vec(), ..evidence.clone() };
            assert!(verify(&cut, &endorsements, NOW).is_err(), "{token}, cut at {at}");
        }
        for at in 0..endorsements.items[0].bytes.len() {
            let mut altered = endorsements.clone();
            altered.items[0].bytes[at] ^= 1;
            assert!(verify(&evidence, &altered, NOW).is_err(), "{token}, key, byte {at}");
        }
        let mut long = evidence.clone();
        long.body.push(0);
        assert!(verify(&long, &endorsements, NOW).is_err());
    }
}

/// The platform's claims of one token, and the realm's of another: both under the same two keys, as examples are.
#[test]
fn a_token_needs_its_own_key_and_both_its_parts() {
    let [(token, key), (other, _), _] = TOKENS;
    let Some((evidence, endorsements)) = cca(token, key) else { return };
    let Some((other, _)) = cca(other, key) else { return };
    let kind = EndorsementKind::AttestationKey;
    let found = verify(&evidence, &Endorsements::default(), NOW);
    assert_eq!(found, Err(VerifyError::Pieces { kind, found: 0, expected: 1 }));
    // Each is of another profile.
    let realm_at = |body: &[u8]| {
        body.windows(3).position(|found| found == [0x19, 0xac, 0xd1]).expect("it has a realm")
    };
    for (one, two) in [(&evidence, &other), (&other, &evidence)] {
        let [before, after] = [&one.body[..realm_at(&one.body)], &two.body[realm_at(&two.body)..]];
        let body = [before, after].concat();
        let found = verify(&Evidence { body, ..evidence.clone() }, &endorsements, NOW);
        assert!(matches!(found, Err(VerifyError::Malformed { .. })), "{found:?}");
    }
    let mut altered = evidence;
    *altered.body.last_mut().expect("it has a signature") ^= 1;
    let found = verify(&altered, &endorsements, NOW);
    assert_eq!(found, Err(VerifyError::Signature(SignatureInvalid)));
}

//! Tokens that nobody has recorded, and what policies refuse of them.

use coco_crypto::{
    SignatureInvalid, SigningKey,
    cose::{AttachedSign1, EMPTY_MAP, to_be_signed},
    sha256,
};
use minicbor::Encoder;

use super::{token::join, *};
use crate::{Endorsement, TrustClass};

const PROTECTED: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

/// A claim by its number.
#[derive(Clone)]
enum Claim {
    Bytes(Vec<u8>),
    Text(&'static str),
    Number(u64),
    List(Vec<Vec<u8>>),
    /// One part of the firmware.
    Firmware(Vec<(i64, Vec<u8>)>),
}

type Claims = Vec<(i64, Claim)>;

fn encode(claims: &[(i64, Claim)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    drop(encoder.map(claims.len() as u64));
    for (number, claim) in claims {
        drop(encoder.i64(*number));
        match claim {
            Claim::Bytes(bytes) => drop(encoder.bytes(bytes)),
            Claim::Text(text) => drop(encoder.str(text)),
            Claim::Number(number) => drop(encoder.u64(*number)),
            Claim::List(items) => {
                drop(encoder.array(items.len() as u64));
                items.iter().for_each(|item| drop(encoder.bytes(item)));
            }
            Claim::Firmware(part) => {
                drop(encoder.array(1).and_then(|encoder| encoder.map(part.len() as u64)));
                for (number, bytes) in part {
                    drop(encoder.i64(*number).and_then(|encoder| encoder.bytes(bytes)));
                }
            }
        }
    }
    bytes
}

/// The point of a key.
fn point(key: &SigningKey) -> Vec<u8> {
    let spki = key.public().spki_der();
    spki[spki.len() - 97..].to_vec()
}

/// The same in COSE.
fn cose_key(key: &SigningKey) -> Vec<u8> {
    let point = point(key);
    let (x, y) = point[1..].split_at(48);
    [&[0xa4, 0x01, 0x02, 0x20, 0x02, 0x21, 0x58, 0x30], x, &[0x22, 0x58, 0x30], y].concat()
}

fn platform(realm_key: &[u8]) -> Claims {
    vec![
        (265, Claim::Text("http://arm.com/CCA-SSD/1.0.0")),
        (10, Claim::Bytes(sha256(realm_key).0.to_vec())),
        (2396, Claim::Bytes(vec![5; 32])),
        (256, Claim::Bytes([&[1][..], &[6; 32]].concat())),
        (2401, Claim::Bytes(vec![7; 4])),
        (2395, Claim::Number(0x3003)),
        (2402, Claim::Text("sha-256")),
        (2399, Claim::Firmware(vec![(2, vec![8; 32]), (5, vec![9; 32])])),
    ]
}

fn realm(key: Vec<u8>) -> Claims {
    vec![
        (10, Claim::Bytes(vec![1; 64])),
        (44_236, Claim::Text("sha-256")),
        (44_240, Claim::Text("sha-256")),
        (44_235, Claim::Bytes(vec![2; 64])),
        (44_237, Claim::Bytes(key)),
        (44_238, Claim::Bytes(vec![3; 32])),
        (44_239, Claim::List(vec![vec![4; 32]; 4])),
    ]
}

fn sign(key: &SigningKey, claims: &[(i64, Claim)]) -> Vec<u8> {
    let payload = encode(claims);
    let signature = key.sign_fixed(&to_be_signed(PROTECTED, &payload));
    AttachedSign1 {
        protected: PROTECTED,
        unprotected: EMPTY_MAP,
        payload: &payload,
        signature: &signature,
    }
    .encode()
}

/// A platform's key, a realm's, and what they sign.
struct Mint {
    platform_key: SigningKey,
    realm_key: SigningKey,
    platform: Claims,
    realm: Claims,
}

impl Mint {
    fn new() -> Self {
        let [platform_key, realm_key] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let key = point(&realm_key);
        let (platform, realm) = (platform(&key), realm(key));
        Self { platform_key, realm_key, platform, realm }
    }

    fn verify(&self) -> Result<Facts, VerifyError> {
        let parts = [sign(&self.platform_key, &self.platform), sign(&self.realm_key, &self.realm)];
        verify(&join([&parts[0], &parts[1]]), &endorsed(&self.platform_key))
    }
}

fn endorsed(key: &SigningKey) -> Endorsements {
    let bytes = key.public().spki_der().to_vec();
    Endorsements { items: vec![Endorsement { kind: EndorsementKind::AttestationKey, bytes }] }
}

fn facts(verified: Result<Facts, VerifyError>) -> CcaFacts {
    let facts = verified.expect("it verifies");
    assert_eq!((facts.class(), facts.bound()), (TrustClass::Processor, &[1; 64][..]));
    match facts.platform() {
        PlatformFacts::Cca(facts) => (**facts).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_minted_token_is_read_in_both_profiles() {
    let mut mint = Mint::new();
    let found = facts(mint.verify());
    assert_eq!(found.key, mint.platform_key.public().digest());
    assert_eq!((found.lifecycle, &*found.rim), (0x3003, &[3; 32][..]));
    let key = cose_key(&mint.realm_key);
    mint.platform = platform(&key);
    mint.realm = realm(key);
    mint.platform[0].1 = Claim::Text("tag:arm.com,2023:cca_platform#1.0.0");
    mint.realm.push((265, Claim::Text("tag:arm.com,2023:realm#1.0.0")));
    let (again, found) = (facts(mint.verify()), found);
    assert_eq!(again, found);
    // Each with a part of the other.
    drop(mint.realm.pop());
    assert!(matches!(mint.verify(), Err(VerifyError::Malformed { .. })));
    mint.realm.push((265, Claim::Text("tag:arm.com,2023:realm#1.0.0")));
    let key = point(&mint.realm_key);
    mint.platform[1].1 = Claim::Bytes(sha256(&key).0.to_vec());
    mint.realm[4].1 = Claim::Bytes(key);
    assert!(matches!(mint.verify(), Err(VerifyError::Malformed { .. })));
}

#[test]
fn a_realm_is_of_the_platform_that_names_its_key() {
    let mut mint = Mint::new();
    let other = SigningKey::generate(Curve::P384);
    // A realm's claims under another key than the one that they have.
    let own = std::mem::replace(&mut mint.realm_key, other.clone());
    assert_eq!(mint.verify(), Err(VerifyError::Signature(SignatureInvalid)));
    // That key in the claims, which the platform does not name.
    mint.realm = realm(point(&other));
    assert_eq!(mint.verify(), Err(VerifyError::OtherMachine { what: "the realm's key" }));
    (mint.realm_key, mint.realm) = (own.clone(), realm(point(&own)));
    assert!(mint.verify().is_ok());
    // A platform's claims under another key than the one that came.
    let parts = [sign(&other, &mint.platform), sign(&mint.realm_key, &mint.realm)];
    let body = join([&parts[0], &parts[1]]);
    let found = verify(&body, &endorsed(&mint.platform_key));
    assert_eq!(found, Err(VerifyError::Signature(SignatureInvalid)));
    // It is another platform's then, and facts say so.
    assert_eq!(facts(verify(&body, &endorsed(&other))).key, other.public().digest());
    let swapped = join([&parts[1], &parts[0]]);
    assert!(verify(&swapped, &endorsed(&other)).is_err());
    for key in [SigningKey::generate(Curve::P256), SigningKey::generate(Curve::P521)] {
        let found = verify(&body, &endorsed(&key));
        assert!(matches!(found, Err(VerifyError::EndorsementForm { .. })), "{found:?}");
    }
}

#[test]
fn every_claim_is_there_once_and_known() {
    let whole = Mint::new();
    let changed = |change: &dyn Fn(&mut Mint)| {
        let mut mint = Mint {
            platform_key: whole.platform_key.clone(),
            realm_key: whole.realm_key.clone(),
            platform: whole.platform.clone(),
            realm: whole.realm.clone(),
        };
        change(&mut mint);
        mint.verify()
    };
    assert!(changed(&|_| ()).is_ok());
    for at in 0..whole.platform.len() {
        let found = changed(&|mint| drop(mint.platform.remove(at)));
        assert!(found.is_err(), "platform, without {at}");
        let found = changed(&|mint| {
            let claim = mint.platform[at].clone();
            mint.platform.push(claim);
        });
        assert!(found.is_err(), "platform, {at} twice");
    }
    for at in 0..whole.realm.len() {
        let found = changed(&|mint| drop(mint.realm.remove(at)));
        assert!(found.is_err(), "realm, without {at}");
        let found = changed(&|mint| {
            let claim = mint.realm[at].clone();
            mint.realm.push(claim);
        });
        assert!(found.is_err(), "realm, {at} twice");
    }
    let bad: [&dyn Fn(&mut Mint); 12] = [
        &|mint| mint.platform.push((2403, Claim::Number(1))),
        &|mint| mint.realm.push((44_242, Claim::Number(1))),
        &|mint| mint.platform[0].1 = Claim::Text("tag:arm.com,2024:cca_platform#1.0.0"),
        &|mint| mint.platform[3].1 = Claim::Bytes(vec![2; 33]),
        &|mint| mint.platform[5].1 = Claim::Number(0x1_3003),
        &|mint| mint.platform[6].1 = Claim::Text("sha-512"),
        &|mint| mint.platform[7].1 = Claim::Firmware(vec![(2, vec![8; 32])]),
        &|mint| mint.platform[7].1 = Claim::Firmware(vec![(5, vec![8; 32])]),
        &|mint| mint.realm[1].1 = Claim::Text("sha-384"),
        &|mint| mint.realm[2].1 = Claim::Text("sha-512"),
        &|mint| mint.realm[6].1 = Claim::List(vec![vec![4; 32]; 3]),
        &|mint| mint.realm[6].1 = Claim::List(vec![vec![4; 32]; 5]),
    ];
    for (at, change) in bad.into_iter().enumerate() {
        let found = changed(change);
        assert!(matches!(found, Err(VerifyError::Malformed { .. })), "{at}: {found:?}");
    }
}

/// Whatever the claims are: whoever has keys of their own can sign them.
#[test]
fn no_claims_make_it_panic() {
    let key = point(&SigningKey::generate(Curve::P384));
    let read = |[platform, realm]: [&[u8]; 2]| {
        let [platform, realm] = [platform, realm].map(|payload| {
            let (unprotected, signature) = (EMPTY_MAP, &[][..]);
            AttachedSign1 { protected: PROTECTED, unprotected, payload, signature }.encode()
        });
        let body = join([&platform, &realm]);
        let parts = Parts::read(&body)?;
        let platform = PlatformClaims::read(&parts.platform)?;
        RealmClaims::read(&parts.realm, platform.profile)
    };
    let (platform, realm) = (encode(&platform(&key)), encode(&realm(key)));
    assert!(read([&platform, &realm]).is_ok());
    let changes = [1, 2, 4, 8, 16, 32, 64, 128];
    for at in 0..platform.len() {
        assert!(read([&platform[..at], &realm]).is_err(), "cut at {at}");
        for change in changes {
            let mut other = platform.clone();
            other[at] ^= change;
            drop(read([&other, &realm]));
        }
    }
    for at in 0..realm.len() {
        assert!(read([&platform, &realm[..at]]).is_err(), "cut at {at}");
        for change in changes {
            let mut other = realm.clone();
            other[at] ^= change;
            drop(read([&platform, &other]));
        }
    }
}

fn admitted(facts: &CcaFacts) -> CcaPolicy {
    let firmware = CcaFirmware {
        implementation: facts.implementation,
        config: facts.config.clone(),
        components: facts.components.clone(),
    };
    let code = CcaCode {
        rim: facts.rim.clone(),
        rems: BTreeMap::from([(3, facts.rems[3].clone())]),
        personalization: Some(BTreeSet::from([facts.personalization])),
    };
    CcaPolicy {
        platforms: BTreeMap::from([(facts.instance, facts.key)]),
        firmware: vec![firmware],
        code: vec![code],
    }
}

#[test]
fn each_part_of_a_token_can_be_what_is_refused() {
    let facts = facts(Mint::new().verify());
    let policy = admitted(&facts);
    let judged = |change: &dyn Fn(&mut CcaFacts)| {
        let mut facts = facts.clone();
        change(&mut facts);
        judge(&facts, &policy)
    };
    assert_eq!(judged(&|_| ()), Ok(()));
    assert_eq!(judged(&|facts| facts.rems[0] = vec![0; 32]), Ok(()));
    let found = judged(&|facts| facts.instance[1] = 0);
    assert!(matches!(found, Err(AppraiseError::Instance { .. })), "{found:?}");
    let found = judged(&|facts| facts.key = Digest([0; 32]));
    assert!(matches!(found, Err(AppraiseError::Key { .. })), "{found:?}");
    for (lifecycle, is_secured) in
        [(0x2fff, false), (0x3000, true), (0x30ff, true), (0x3100, false), (0x7003, false)]
    {
        let found = judged(&|facts| facts.lifecycle = lifecycle);
        let expected =
            if is_secured { Ok(()) } else { Err(AppraiseError::Lifecycle { have: lifecycle }) };
        assert_eq!(found, expected);
    }
    let firmware: [&dyn Fn(&mut CcaFacts); 5] = [
        &|facts| facts.implementation[0] = 0,
        &|facts| facts.config.push(0),
        &|facts| facts.components.clear(),
        &|facts| facts.components[0].measurement[0] = 0,
        &|facts| facts.components[0].signer[0] = 0,
    ];
    for change in firmware {
        let found = judged(change);
        assert!(matches!(found, Err(AppraiseError::Firmware { .. })), "{found:?}");
    }
    for change in [
        &(|facts: &mut CcaFacts| facts.rim[0] = 0) as &dyn Fn(&mut CcaFacts),
        &|facts| facts.rems[3][0] = 0,
        &|facts| facts.rems.truncate(3),
    ] {
        let found = judged(change);
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    }
    let found = judged(&|facts| facts.personalization[0] = 0);
    assert!(matches!(found, Err(AppraiseError::HostData { .. })), "{found:?}");
    assert!(judge(&facts, &CcaPolicy::default()).is_err());
}

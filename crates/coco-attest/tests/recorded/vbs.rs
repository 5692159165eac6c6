//! Enclaves of Windows: a report of 2019, whose secure kernel a Host Guardian Service has vouched for. Its root was not recorded, so the
//! key comes by itself, or under roots of our own.

use std::{collections::BTreeSet, fs};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AppraiseEvidenceError, Endorsement, EndorsementKind,
    Endorsements, Evidence, Link, Piece, PlatformFacts, PlatformId, TrustClass, VbsCode,
    VbsEnclaveFacts, VbsEnclavePolicy, VbsProgram, VerifyError, appraise, verify,
};
use coco_crypto::{Curve, MakerCertificate, SignatureInvalid, SigningKey, sha256};

use crate::{
    data::{bytes, certificate, folder, report_data},
    mint::{Certified, root},
};

/// 30 October 2019, 18:22:47, and 31 October, 02:22:48: the health certificate's first second and its last.
const FIRST: u64 = 1_572_459_767;
const LAST: u64 = 1_572_488_568;
const PERIOD: [&str; 2] = ["191030182247Z", "191031022248Z"];

fn of(kind: EndorsementKind, items: &[Vec<u8>]) -> Endorsements {
    let items = items.iter().map(|bytes| Endorsement { kind, bytes: bytes.clone() });
    Endorsements { items: items.collect() }
}

/// The report, and the health certificate that came with it.
fn recorded() -> Option<(Evidence, MakerCertificate)> {
    let folder = folder("vbs-enclave/mssql-2019")?;
    let body = fs::read(folder.join("enclave_report_package.bin")).expect("a report");
    let health = certificate(&folder.join("hgs_health_cert.der"));
    Some((Evidence::new(PlatformId::VbsEnclave, body), health))
}

/// The report, and the key by itself.
fn vbs() -> Option<(Evidence, Endorsements)> {
    let (evidence, health) = recorded()?;
    Some((evidence, of(EndorsementKind::AttestationKey, &[spki(&health)])))
}

fn facts(evidence: &Evidence, endorsements: &Endorsements, now: u64) -> (VbsEnclaveFacts, Vec<u8>) {
    let facts = verify(evidence, endorsements, now).expect("it verifies");
    let (class, platform) = (TrustClass::Hypervisor, PlatformId::VbsEnclave);
    assert_eq!((facts.class(), facts.platform_id(), facts.made()), (class, platform, None));
    match facts.platform() {
        PlatformFacts::VbsEnclave(said) => ((**said).clone(), facts.bound().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_enclave_says_what_it_was_recorded_to_say() {
    let Some((evidence, endorsements)) = vbs() else { return };
    let (found, bound) = facts(&evidence, &endorsements, FIRST);
    let (unique, author) = (
        "94b46574dabbb17186edc5263cb4de7bf6d9e2eb868622205a94d393d4cc6581",
        "0437cae2537d8b9b0776b61b11e6ced3d232e9308f60e21adab2fd91e3da9598",
    );
    assert_eq!((found.image.unique, found.image.author), (bytes(unique), bytes(author)));
    assert_eq!(found.image.image, bytes("19171200010520130005140312012205"));
    assert!(found.owner.starts_with(&bytes::<8>("1020304041312111")), "{found:?}");
    assert_eq!((found.flags, found.platform_svn, found.kernel_svn), (0, 1, 0));
    let names: Vec<&str> = found.modules.iter().map(|module| &*module.name).collect();
    assert_eq!(
        names,
        [
            "aetm-enclave.dll",
            "bcrypt.dll",
            "ucrtbase_enclave.dll",
            "vertdll.dll",
            "AzureAttest.dll",
            "bcryptPrimitives.dll"
        ]
    );
    assert_eq!(found.modules[0].image, found.image);
    assert_eq!(found.idks.root, None);
    // What runs there bound its key.
    let folder = folder("vbs-enclave/mssql-2019").expect("it was there");
    let key = fs::read(folder.join("enclave_pubkey_RSA1.bin")).expect("a key");
    assert_eq!(bound, [sha256(&key).0, [0; 32]].concat());
}

#[test]
fn no_byte_of_a_report_or_its_key_can_be_another() {
    let Some((evidence, endorsements)) = vbs() else { return };
    assert!(verify(&evidence, &endorsements, FIRST).is_ok(), "as it is");
    for at in 0..evidence.body.len() {
        let mut altered = evidence.clone();
        altered.body[at] ^= 1;
        assert!(verify(&altered, &endorsements, FIRST).is_err(), "byte {at}");
        let cut = Evidence { body: evidence.body[..at].to_vec(), ..evidence.clone() };
        assert!(verify(&cut, &endorsements, FIRST).is_err(), "cut at {at}");
    }
    for at in 0..endorsements.items[0].bytes.len() {
        let mut altered = endorsements.clone();
        altered.items[0].bytes[at] ^= 1;
        assert!(verify(&evidence, &altered, FIRST).is_err(), "key, byte {at}");
    }
    let mut long = evidence;
    long.body.push(0);
    assert!(verify(&long, &endorsements, FIRST).is_err());
}

/// Keys of a root and an authority, and certificates from the recorded key to the root.
struct Guardian {
    root_key: SigningKey,
    authority_key: SigningKey,
    chain: Vec<Vec<u8>>,
}

impl Guardian {
    fn new(health: &MakerCertificate) -> Self {
        let [root_key, authority_key] = [(); 2].map(|()| SigningKey::generate(Curve::P384));
        let authority = Certified {
            subject: "authority",
            key: authority_key.public().spki_der(),
            period: ["180101000000Z", "220101000000Z"],
            is_authority: true,
        };
        let key = spki(health);
        let chain = vec![
            leaf(&key, PERIOD).sign("authority", &authority_key),
            authority.sign("root", &root_key),
            root("root", &root_key),
        ];
        Self { root_key, authority_key, chain }
    }
}

/// The recorded key.
fn spki(health: &MakerCertificate) -> Vec<u8> {
    health.rsa_key().expect("a key of RSA").spki_der().to_vec()
}

/// What says that a key is a machine's.
const fn leaf<'a>(key: &'a [u8], period: [&'a str; 2]) -> Certified<'a> {
    Certified { subject: "machine", key, period, is_authority: false }
}

fn refused(evidence: &Evidence, chain: &[Vec<u8>], now: u64) -> VerifyError {
    let endorsements = of(EndorsementKind::Certificate, chain);
    verify(evidence, &endorsements, now).expect_err("it does not verify")
}

#[test]
fn a_health_certificate_counts_for_eight_hours() {
    let Some((evidence, health)) = recorded() else { return };
    let (guardian, key) = (Guardian::new(&health), spki(&health));
    let endorsements = of(EndorsementKind::Certificate, &guardian.chain);
    let (found, _) = facts(&evidence, &endorsements, FIRST);
    assert_eq!(found.idks.root, Some(sha256(guardian.root_key.public().spki_der())));
    let valid = verify(&evidence, &endorsements, LAST).expect("it counts").valid();
    assert_eq!((valid.not_before, valid.not_after), (FIRST, LAST));
    let early = refused(&evidence, &guardian.chain, FIRST - 1);
    let is_leaf = |piece| piece == Piece::LeafCertificate;
    assert!(matches!(early, VerifyError::NotYetValid { piece, .. } if is_leaf(piece)), "{early:?}");
    let late = refused(&evidence, &guardian.chain, LAST + 1);
    assert!(matches!(late, VerifyError::Expired { piece, .. } if is_leaf(piece)), "{late:?}");
    // A service with one root and nothing between.
    let short = [leaf(&key, PERIOD).sign("root", &guardian.root_key), guardian.chain[2].clone()];
    let endorsements = of(EndorsementKind::Certificate, &short);
    assert_eq!(facts(&evidence, &endorsements, FIRST).0.idks, found.idks);
}

#[test]
fn a_chain_vouches_for_a_key_by_every_link() {
    let Some((evidence, health)) = recorded() else { return };
    let Guardian { root_key, authority_key, chain } = Guardian::new(&health);
    let key = spki(&health);
    let [signed, authority, top] = [0, 1, 2].map(|at| chain[at].clone());
    for which in 0..chain.len() {
        for at in 0..chain[which].len() {
            let mut altered = chain.clone();
            altered[which][at] ^= 1;
            let endorsements = of(EndorsementKind::Certificate, &altered);
            let found = verify(&evidence, &endorsements, FIRST);
            assert!(found.is_err(), "certificate {which}, byte {at}");
        }
    }
    let is_link = |error: &VerifyError, link: Link| matches!(error, VerifyError::Chain { link: found, .. } if *found == link);
    let found = refused(&evidence, &[signed.clone(), top.clone()], FIRST);
    assert!(is_link(&found, Link::Leaf), "{found:?}");
    let found = refused(&evidence, &[signed.clone(), authority.clone()], FIRST);
    assert!(is_link(&found, Link::Root), "{found:?}");
    let found = refused(&evidence, &[signed.clone(), signed.clone(), top.clone()], FIRST);
    assert!(is_link(&found, Link::Between(1)), "{found:?}");
    let other = SigningKey::generate(Curve::P384);
    let found = refused(&evidence, &[signed.clone(), authority, root("root", &other)], FIRST);
    assert!(is_link(&found, Link::Between(1)), "{found:?}");
    // A certificate alone vouches for nothing, whoever made it, and five are most.
    let length = |found, expected| VerifyError::ChainLength { found, expected };
    assert_eq!(refused(&evidence, &[health.der().to_vec()], FIRST), length(1, 2));
    assert_eq!(refused(&evidence, &vec![top.clone(); 6], FIRST), length(6, 5));
    let many = [vec![signed], vec![top.clone(); 4]].concat();
    let found = refused(&evidence, &many, FIRST);
    assert!(is_link(&found, Link::Leaf), "{found:?}");
    // The key of an authority signs no reports, and neither does one on a curve.
    let mut issues = leaf(&key, PERIOD);
    issues.is_authority = true;
    let wrong = [issues.sign("root", &root_key), top.clone()];
    assert_eq!(refused(&evidence, &wrong, FIRST), VerifyError::Signature(SignatureInvalid));
    let curve = Certified { key: authority_key.public().spki_der(), ..leaf(&key, PERIOD) };
    let wrong = [curve.sign("root", &root_key), top];
    assert_eq!(refused(&evidence, &wrong, FIRST), VerifyError::Signature(SignatureInvalid));
}

#[test]
fn a_key_comes_once_and_in_one_way() {
    let Some((evidence, endorsements)) = vbs() else { return };
    let Some((_, health)) = recorded() else { return };
    let kind = EndorsementKind::AttestationKey;
    let count = |kind, found, expected| Err(VerifyError::Pieces { kind, found, expected });
    let found = verify(&evidence, &Endorsements::default(), FIRST);
    assert_eq!(found, count(kind, 0, 1));
    let mut twice = endorsements.clone();
    twice.items.extend(endorsements.items.clone());
    assert_eq!(verify(&evidence, &twice, FIRST), count(kind, 2, 1));
    let mut both = of(EndorsementKind::Certificate, &Guardian::new(&health).chain);
    both.items.extend(endorsements.items);
    assert_eq!(verify(&evidence, &both, FIRST), count(kind, 1, 0));
    let other = SigningKey::generate(Curve::P256).public().spki_der().to_vec();
    let found = verify(&evidence, &of(kind, &[other]), FIRST);
    assert!(matches!(found, Err(VerifyError::EndorsementForm { .. })), "{found:?}");
}

#[test]
fn a_policy_admits_an_enclave_by_machine_and_program() {
    let Some((evidence, endorsements)) = vbs() else { return };
    let (found, bound) = facts(&evidence, &endorsements, FIRST);
    let image = &found.image;
    let program = VbsProgram::Signed {
        author: image.author,
        family: image.family,
        image: image.image,
        svn_min: image.svn,
    };
    let modules = found.modules.iter().map(|module| module.image.unique).collect();
    let code =
        VbsCode { program, owners: Some(BTreeSet::from([found.owner])), modules: Some(modules) };
    let vbs = VbsEnclavePolicy {
        keys: BTreeSet::from([found.idks.key]),
        platform_svn_min: 1,
        code: vec![code],
        ..VbsEnclavePolicy::default()
    };
    let good = AppraisalPolicy {
        class_min: TrustClass::Hypervisor,
        vbs_enclave: Some(vbs),
        ..AppraisalPolicy::none(1)
    };
    let judged = |policy: &AppraisalPolicy| {
        appraise(&evidence, &endorsements, FIRST, policy, &report_data(&bound))
    };
    let attested = judged(&good).expect("it is admitted");
    assert_eq!(attested.claims().class, TrustClass::Hypervisor);
    assert!(attested.claims().measurement.starts_with(&hex::encode(image.unique)));
    let refused = |change: &dyn Fn(&mut VbsEnclavePolicy)| {
        let mut policy = good.clone();
        change(policy.vbs_enclave.as_mut().expect("it has one"));
        match judged(&policy) {
            Err(AppraiseEvidenceError::Appraise(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let error = refused(&|policy| policy.keys.clear());
    assert!(matches!(error, AppraiseError::Key { .. }), "{error}");
    let error = refused(&|policy| policy.platform_svn_min = 2);
    assert_eq!(error, AppraiseError::Svn { what: "platform", have: 1, need: 2 });
    let error = refused(&|policy| policy.code[0].modules = Some(BTreeSet::new()));
    assert!(matches!(error, AppraiseError::Measurement { .. }), "{error}");
    let (have, need) = (TrustClass::Hypervisor, TrustClass::Processor);
    let class = AppraisalPolicy { class_min: need, ..good };
    let refusal = AppraiseEvidenceError::Appraise(AppraiseError::Class { have, need });
    assert_eq!(judged(&class), Err(refusal));
}

//! AMD SEV-SNP.

use std::collections::{BTreeMap, BTreeSet};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AppraiseEvidenceError, Endorsement, EndorsementKind,
    Endorsements, Evidence, Flag, Generation, Link, Piece, PlatformFacts, PlatformId, ReportData,
    RevocationRule, SnpCode, SnpFacts, SnpGenerationPolicy, SnpKey, SnpMachinePolicy, SnpOwner,
    SnpPolicy, SnpTcb, TcbComponent, TrustClass, VerifyError, appraise, verify,
};
use coco_crypto::{
    CertificateError, MakerCertificate, RevocationListError, SignatureInvalid, Validity,
};
use coco_types::Digest;

use crate::data::{bytes, intel, report_data, snp};

const PEM: [&str; 3] = ["vcek.pem", "ask.pem", "ark.pem"];
const DER: [&str; 3] = ["vcek.der", "ask.pem", "ark.pem"];
const VLEK: [&str; 3] = ["vlek.der", "asvk.pem", "ark.pem"];

/// 1 March 2026, when the newer ones count.
const SPRING_2026: u64 = 1_772_323_200;
/// 1 June 2025, when the older ones do.
const SUMMER_2025: u64 = 1_748_736_000;
/// 5 February 2026, 01:04:33: the first second of two of them.
const FIRST: u64 = 1_770_253_473;

fn facts(evidence: &Evidence, endorsements: &Endorsements, now: u64) -> SnpFacts {
    let facts = verify(evidence, endorsements, now).expect("it verifies");
    assert_eq!(facts.class(), TrustClass::Processor);
    assert!(facts.valid().contains(now));
    match facts.platform() {
        PlatformFacts::Snp(facts) => (**facts).clone(),
        other => panic!("{other:?}"),
    }
}

/// The period of one of these certificates.
fn validity_of(endorsements: &Endorsements, which: usize) -> Validity {
    let read = MakerCertificate::from_der(&endorsements.items[which].bytes);
    read.expect("it is a certificate").validity()
}

/// A policy that admits exactly these facts.
pub(crate) fn policy_of(facts: &SnpFacts) -> SnpPolicy {
    let machines = SnpGenerationPolicy {
        tcb_min: facts.reported_tcb,
        chips: Some(BTreeSet::from([facts.chip_id])),
    };
    let code = SnpCode {
        measurement: facts.measurement,
        host_data: Some(BTreeSet::from([facts.host_data])),
        owner: None,
    };
    let machine = SnpMachinePolicy {
        generations: BTreeMap::from([(facts.generation, machines)]),
        version_min: 3,
        vmpl_max: 0,
        vcek: true,
        vlek_providers: BTreeSet::new(),
        smt: facts.flags.contains(&Flag::Smt),
        alias_check: false,
        revocation_list: RevocationRule::Optional,
    };
    SnpPolicy { machine, code: vec![code] }
}

fn policy(facts: &SnpFacts) -> AppraisalPolicy {
    AppraisalPolicy { snp: Some(policy_of(facts)), ..AppraisalPolicy::none(7) }
}

fn bound(evidence: &Evidence) -> ReportData {
    report_data(&evidence.body[0x50..0x90])
}

#[test]
fn reports_of_three_generations_say_what_they_were_recorded_to_say() {
    if let Some((evidence, endorsements)) = snp("tav-milan", PEM) {
        let facts = facts(&evidence, &endorsements, SPRING_2026);
        assert_eq!(
            (facts.version, facts.generation, &facts.key),
            (3, Generation::Milan, &SnpKey::Vcek)
        );
        assert_eq!(
            facts.measurement,
            bytes(
                "5feee30d6d7e1a29f403d70a4198237ddfb13051a2d6976439487c609388ed7f98189887920ab2fa0096903a0c23fca1"
            )
        );
        assert_eq!(
            facts.host_data,
            bytes("4f4448c67f3c8dfc8de8a5e37125d807dadcc41f06cf23f615dbd52eec777d10")
        );
        let tcb = SnpTcb { bootloader: 4, tee: 0, snp: 24, microcode: 219, fmc: 0 };
        assert_eq!(facts.reported_tcb, tcb);
        for flag in [Flag::Debug, Flag::Migration, Flag::MaskedKey] {
            assert!(!facts.flags.contains(&flag), "{flag:?}");
        }
    }
    if let Some((evidence, endorsements)) = snp("tav-turin", PEM) {
        let facts = facts(&evidence, &endorsements, SPRING_2026);
        assert_eq!((facts.version, facts.generation), (5, Generation::Turin));
        assert_eq!(
            facts.measurement,
            bytes(
                "6d6c354511d6f7c6d7504668903dc5bdc066a048b651840d8d03fb85299ebfa142fccf1d1b0baca496841bdf243619d4"
            )
        );
        let tcb = SnpTcb { bootloader: 1, tee: 1, snp: 4, microcode: 81, fmc: 1 };
        assert_eq!(facts.reported_tcb, tcb);
    }
    if let Some((evidence, endorsements)) = snp("coco-milan-vlek", VLEK) {
        let facts = facts(&evidence, &endorsements, SUMMER_2025);
        let provider = "CN=cc-us-east-2.amazonaws.com".to_owned();
        assert_eq!(facts.key, SnpKey::Vlek { provider });
        assert_eq!((facts.vmpl, facts.chip_id), (1, [0; 64]));
        assert_eq!((facts.reported_tcb.microcode, facts.committed_tcb.microcode), (217, 219));
    }
    for name in ["coco-vcek", "virtee-milan-v2"] {
        if let Some((evidence, endorsements)) = snp(name, DER) {
            let facts = facts(&evidence, &endorsements, SUMMER_2025);
            assert_eq!((facts.version, facts.generation), (2, Generation::Milan));
        }
    }
}

/// The first second and the last count, and none before and after.
#[test]
fn a_report_counts_as_long_as_the_certificates_do() {
    let Some((evidence, endorsements)) = snp("tav-milan", PEM) else { return };
    let verified = |now| verify(&evidence, &endorsements, now);
    let valid = verified(FIRST).expect("it counts from here on").valid();
    assert_eq!(valid.not_before, FIRST);
    let (piece, validity) = (Piece::LeafCertificate, validity_of(&endorsements, 0));
    let now = FIRST - 1;
    assert_eq!(verified(now), Err(VerifyError::NotYetValid { piece, validity, now }));
    let now = valid.not_after;
    assert!(verified(now).is_ok());
    assert_eq!(verified(now + 1), Err(VerifyError::Expired { piece, validity, now: now + 1 }));
}

#[test]
fn a_report_without_its_own_chain_is_not_believed() {
    let Some((milan, of_milan)) = snp("tav-milan", PEM) else { return };
    let Some((turin, of_turin)) = snp("tav-turin", PEM) else { return };
    let Some((_, of_another)) = snp("coco-vcek", DER) else { return };
    let not_signed = Err(VerifyError::Signature(SignatureInvalid));
    assert_eq!(verify(&milan, &of_turin, SPRING_2026), not_signed);
    assert_eq!(verify(&turin, &of_milan, SPRING_2026), not_signed);
    // Of another chip of the same generation.
    assert_eq!(verify(&milan, &of_another, SPRING_2026), not_signed);
    for found in [0, 2] {
        let items = of_milan.items[..found].to_vec();
        let verified = verify(&milan, &Endorsements { items }, SPRING_2026);
        assert_eq!(verified, Err(VerifyError::ChainLength { found, expected: 3 }));
    }
    let mut more = of_milan.clone();
    let kind = EndorsementKind::AttestationKey;
    more.items.push(Endorsement { kind, bytes: Vec::new() });
    let unlooked = VerifyError::Pieces { kind, found: 1, expected: 0 };
    assert_eq!(verify(&milan, &more, SPRING_2026), Err(unlooked));
    let mut swapped = of_milan.clone();
    swapped.items[1] = of_turin.items[1].clone();
    let found = verify(&milan, &swapped, SPRING_2026);
    assert!(matches!(found, Err(VerifyError::Chain { link: Link::Between(1), .. })), "{found:?}");
    let mut no_root = of_milan;
    no_root.items[2] = no_root.items[1].clone();
    let found = verify(&milan, &no_root, SPRING_2026);
    assert!(matches!(found, Err(VerifyError::Root { .. })), "{found:?}");
}

/// Each byte of each report and certificate, one after the other.
#[test]
fn no_byte_of_a_report_or_its_chain_can_be_another() {
    for (name, chain, now) in
        [("tav-turin", PEM, SPRING_2026), ("coco-milan-vlek", VLEK, SUMMER_2025)]
    {
        let Some((evidence, endorsements)) = snp(name, chain) else { continue };
        assert!(verify(&evidence, &endorsements, now).is_ok(), "{name} as it is");
        for at in 0..evidence.body.len() {
            let mut altered = evidence.clone();
            altered.body[at] ^= 1;
            assert!(verify(&altered, &endorsements, now).is_err(), "{name}, byte {at}");
        }
        for length in [0, 1, 0x2a0, 1183] {
            let body = evidence.body[..length].to_vec();
            let short = Evidence { body, ..evidence.clone() };
            assert!(verify(&short, &endorsements, now).is_err(), "{name}, {length} bytes");
        }
        for which in 0..endorsements.items.len() {
            for at in 0..endorsements.items[which].bytes.len() {
                let mut altered = endorsements.clone();
                altered.items[which].bytes[at] ^= 1;
                let found = verify(&evidence, &altered, now);
                assert!(found.is_err(), "{name}, certificate {which}, byte {at}");
            }
        }
    }
}

#[test]
fn a_policy_refuses_what_it_does_not_admit_and_says_why() {
    let Some((evidence, endorsements)) = snp("tav-milan", PEM) else { return };
    let found = facts(&evidence, &endorsements, SPRING_2026);
    let bound = bound(&evidence);
    let judged = |policy: &AppraisalPolicy, data: &ReportData| {
        appraise(&evidence, &endorsements, SPRING_2026, policy, data)
    };
    let good = policy(&found);
    let attested = judged(&good, &bound).expect("it is admitted");
    assert_eq!((attested.claims().node, attested.policy_version()), (bound.node, 7));
    assert_eq!(attested.evidence(), evidence.digest());
    assert_eq!(attested.claims().measurement, hex::encode(found.measurement));

    let refused = |change: &dyn Fn(&mut AppraisalPolicy)| {
        let mut policy = good.clone();
        change(&mut policy);
        match judged(&policy, &bound) {
            Err(AppraiseEvidenceError::Appraise(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    fn of(policy: &mut AppraisalPolicy) -> &mut SnpPolicy {
        policy.snp.as_mut().expect("it has one")
    }
    fn milan(policy: &mut AppraisalPolicy) -> &mut SnpGenerationPolicy {
        of(policy).machine.generations.get_mut(&Generation::Milan).expect("it has it")
    }
    let error = refused(&|policy| policy.snp = None);
    assert!(matches!(error, AppraiseError::PlatformNotAllowed(_)), "{error}");
    let error = refused(&|policy| {
        of(policy).machine.generations =
            BTreeMap::from([(Generation::Genoa, SnpGenerationPolicy::default())]);
    });
    assert_eq!(error, AppraiseError::Generation(Generation::Milan));
    let error = refused(&|policy| milan(policy).chips = Some(BTreeSet::from([[1; 64]])));
    assert_eq!(error, AppraiseError::HardwareId { have: hex::encode(found.chip_id) });
    let error = refused(&|policy| milan(policy).tcb_min.microcode = 220);
    let tcb = AppraiseError::Tcb {
        which: "committed",
        component: TcbComponent::Microcode,
        have: found.committed_tcb.microcode,
        need: 220,
    };
    assert_eq!(error, tcb);
    assert_eq!(error.to_string(), "committed TCB: microcode is 219, and at least 220 is wanted");
    let error = refused(&|policy| of(policy).machine.version_min = 4);
    assert_eq!(error, AppraiseError::ReportVersion { have: 3, need: 4 });
    let error = refused(&|policy| of(policy).machine.revocation_list = RevocationRule::Required);
    assert_eq!(error, AppraiseError::RevocationList);
    let error = refused(&|policy| of(policy).machine.vcek = false);
    assert!(matches!(error, AppraiseError::Key { .. }), "{error}");
    let error = refused(&|policy| of(policy).code[0].measurement[0] ^= 1);
    assert!(matches!(error, AppraiseError::Measurement { .. }), "{error}");
    let error = refused(&|policy| of(policy).code[0].host_data = Some(BTreeSet::new()));
    assert_eq!(error, AppraiseError::HostData { have: hex::encode(found.host_data) });
    let owner = |svn| SnpOwner { id_keys: BTreeSet::from([found.id_key]), guest_svn_min: svn };
    let error = refused(&|policy| of(policy).code[0].owner = Some(owner(found.guest_svn + 1)));
    assert!(matches!(error, AppraiseError::GuestSvn { .. }), "{error}");
    let error = refused(&|policy| of(policy).code[0].owner = Some(SnpOwner::default()));
    assert!(matches!(error, AppraiseError::Owner { .. }), "{error}");
    let error = refused(&|policy| milan(policy).chips = None);
    assert!(matches!(error, AppraiseError::HardwareId { .. }), "{error}");
    let other = ReportData { transcript: Digest([1; 32]), ..bound };
    let found = judged(&good, &other);
    let binding = |error: &AppraiseEvidenceError| {
        matches!(error, AppraiseEvidenceError::Appraise(AppraiseError::Binding { .. }))
    };
    assert!(found.is_err_and(|error| binding(&error)), "it is another question's");
}

/// A report of version 2 does not say of which processor it is, and one of AWS not of which machine.
#[test]
fn what_the_vectors_shall_be_refused_for_they_are() {
    for (name, chain, expected) in [
        ("coco-vcek", DER, AppraiseError::ReportVersion { have: 2, need: 3 }),
        ("virtee-milan-v2", DER, AppraiseError::ReportVersion { have: 2, need: 3 }),
        ("coco-milan-vlek", VLEK, AppraiseError::HardwareId { have: "0".repeat(128) }),
    ] {
        let Some((evidence, endorsements)) = snp(name, chain) else { continue };
        let mut policy = policy(&facts(&evidence, &endorsements, SUMMER_2025));
        let snp = policy.snp.as_mut().expect("it has one");
        snp.machine.vlek_providers.insert("CN=cc-us-east-2.amazonaws.com".to_owned());
        let bound = bound(&evidence);
        let found = appraise(&evidence, &endorsements, SUMMER_2025, &policy, &bound);
        assert_eq!(found, Err(AppraiseEvidenceError::Appraise(expected)), "{name}");
    }
}

/// A list of revoked certificates that names this authority as its issuer, and that nobody has signed.
fn list_of(issuer: &MakerCertificate) -> Vec<u8> {
    const NAME: [u8; 4] = [0x30, 0x7b, 0x31, 0x14];
    const NAME_BYTES: usize = 0x7d;
    const ALGORITHM: [u8; 4] = [0x30, 0x46, 0x06, 0x09];
    const ALGORITHM_BYTES: usize = 0x48;
    let part = |begin: [u8; 4], length: usize| {
        let at = issuer.der().windows(4).position(|window| window == begin).expect("it is there");
        &issuer.der()[at..at + length]
    };
    let sized = |tag: &[u8], content: Vec<u8>| {
        let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
        let head =
            if length[0] == 0 { vec![0x81, length[1]] } else { vec![0x82, length[0], length[1]] };
        [tag, &head, &content].concat()
    };
    let algorithm = part(ALGORITHM, ALGORITHM_BYTES);
    let period = b"\x17\x0d250101000000Z\x17\x0d350101000000Z";
    let said = [&[2, 1, 1], algorithm, part(NAME, NAME_BYTES), &period[..]].concat();
    let signature = sized(&[3], vec![0; 513]);
    sized(&[0x30], [sized(&[0x30], said), algorithm.to_vec(), signature].concat())
}

/// No list of AMD's was recorded: whatever is none is refused, and one that is expected is missed.
#[test]
fn a_list_of_revoked_certificates_is_amds() {
    let Some((evidence, endorsements)) = snp("tav-milan", PEM) else { return };
    let with = |lists: &[&[u8]]| {
        let mut endorsements = endorsements.clone();
        let kind = EndorsementKind::RevocationList;
        let lists = lists.iter().map(|list| Endorsement { kind, bytes: list.to_vec() });
        endorsements.items.extend(lists);
        verify(&evidence, &endorsements, SPRING_2026)
    };
    assert!(!facts(&evidence, &endorsements, SPRING_2026).revocation_list);
    let wrong =
        |source| Err(VerifyError::RevocationList { piece: Piece::RootRevocationList, source });
    let issued = |source| wrong(RevocationListError::Issued(source));
    assert_eq!(with(&[b"0"]), wrong(RevocationListError::Der));
    let chain: Vec<MakerCertificate> = endorsements
        .items
        .iter()
        .map(|item| MakerCertificate::from_der(&item.bytes).expect("a certificate"))
        .collect();
    let root = chain.last().expect("it has one");
    let unsigned = CertificateError::Signature(SignatureInvalid);
    assert_eq!(with(&[&list_of(root)]), issued(unsigned));
    let kind = EndorsementKind::RevocationList;
    let many = with(&[&list_of(root), &list_of(root)]);
    assert_eq!(many, Err(VerifyError::Pieces { kind, found: 2, expected: 1 }));
    if let Some((_, of_intel)) = intel("tdx/dcap-qvl-v4", PlatformId::Tdx) {
        let list = of_intel.items.iter().find(|item| item.kind == kind).expect("it has one");
        assert_eq!(with(&[&list.bytes]), issued(CertificateError::Issuer));
    }
}

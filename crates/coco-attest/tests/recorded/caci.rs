//! Confidential containers of Azure.

use std::{collections::BTreeSet, fs};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AppraiseEvidenceError, Endorsement, EndorsementKind,
    Endorsements, Evidence, Generation, Link, Piece, PlatformFacts, PlatformId, SnpCaciFacts,
    SnpCaciPolicy, TrustClass, UVM_ROOT, UvmPolicy, VerifyError, appraise, host_data_of_policy,
    signed_uvm_endorsement, verify,
};
use coco_crypto::{
    SignatureInvalid, Validity,
    cose::{AttachedSign1, EMPTY_MAP},
};

use crate::{
    data::{bytes, certificate, endorsed, folder, report_data},
    snp::policy_of,
};

/// 1 June 2025, long after the signer's certificate has ended.
const NOW: u64 = 1_748_736_000;
/// 8 February 2023, 05:42:23: when the utility VM was endorsed.
const SIGNED: u64 = 1_675_834_943;
const DID: &str =
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2";
const FEED: &str = "ContainerPlat-AMD-UVM";
/// Where the endorsement is, behind the certificates.
const UVM: usize = 3;

/// What was recorded, with the endorsement as it was given to the containers.
fn given() -> Option<(Evidence, Endorsements)> {
    let folder = folder("caci/milan-v2-2023")?;
    let read = |file: &str| fs::read(folder.join(file)).expect("a file");
    let evidence = Evidence::new(PlatformId::SnpCaci, read("snp_report.bin"));
    let chain = ["vcek.pem", "ask.pem", "ark.pem"].map(|file| certificate(&folder.join(file)));
    let mut endorsements = endorsed(&chain);
    let bytes = read("body.uvm_reference_info.bin");
    endorsements.items.push(Endorsement { kind: EndorsementKind::UvmEndorsement, bytes });
    Some((evidence, endorsements))
}

/// The same with what is signed of it.
fn caci() -> Option<(Evidence, Endorsements)> {
    let (evidence, mut endorsements) = given()?;
    let uvm = &mut endorsements.items[UVM].bytes;
    *uvm = signed_uvm_endorsement(uvm).expect("it is a message");
    Some((evidence, endorsements))
}

fn facts(evidence: &Evidence, endorsements: &Endorsements) -> SnpCaciFacts {
    let facts = verify(evidence, endorsements, NOW).expect("it verifies");
    assert_eq!((facts.class(), facts.platform_id()), (TrustClass::Processor, PlatformId::SnpCaci));
    assert_eq!(facts.made(), None);
    match facts.platform() {
        PlatformFacts::SnpCaci(facts) => (**facts).clone(),
        other => panic!("{other:?}"),
    }
}

/// The endorsement with a change to its parts.
fn changed(endorsements: &Endorsements, change: impl FnOnce(&mut [Vec<u8>; 4])) -> Endorsements {
    let message = AttachedSign1::decode(&endorsements.items[UVM].bytes).expect("it is a message");
    let AttachedSign1 { protected, unprotected, payload, signature } = message;
    let mut parts = [protected, unprotected, payload, signature].map(<[u8]>::to_vec);
    change(&mut parts);
    let [protected, unprotected, payload, signature] = &parts;
    let mut endorsements = endorsements.clone();
    endorsements.items[UVM].bytes =
        AttachedSign1 { protected, unprotected, payload, signature }.encode();
    endorsements
}

/// The same bytes, where they stand, with others of the same length.
fn replaced(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|found| found == from).expect("it stands there");
    bytes[at..at + from.len()].copy_from_slice(to);
}

#[test]
fn containers_say_what_they_were_recorded_to_say() {
    let Some((evidence, endorsements)) = caci() else { return };
    let found = facts(&evidence, &endorsements);
    assert_eq!(
        found.snp.measurement,
        bytes(
            "51068107cdc7ee3d89c7821b05bca6147eb77b2005ae759050fc049b65a1b0beabc65a9d857acecf23225f5ec76849f5"
        )
    );
    assert_eq!((found.snp.version, found.snp.generation), (2, Generation::Milan));
    assert_eq!((&*found.uvm.did, &*found.uvm.feed), (DID, FEED));
    assert_eq!((found.uvm.svn, found.uvm.signed), (22, SIGNED));
    let folder = folder("caci/milan-v2-2023").expect("it was there");
    let policy = fs::read_to_string(folder.join("uvm_security_policy.base64")).expect("a text");
    assert_eq!(Some(found.snp.host_data), host_data_of_policy(&policy));
    let all = verify(&evidence, &endorsements, NOW).expect("it verifies");
    assert!(all.bound().starts_with(&bytes::<4>("ee986ff2")), "{all:?}");
}

/// The certificates of AMD must count now; those of Microsoft had to when the utility VM was endorsed, which cannot be yet to come.
#[test]
fn containers_count_from_the_endorsement_on() {
    let Some((evidence, endorsements)) = caci() else { return };
    let verified = |now| verify(&evidence, &endorsements, now);
    let valid = verified(SIGNED).expect("it counts from here on").valid();
    assert_eq!(valid.not_before, SIGNED);
    let validity = Validity { not_before: SIGNED, not_after: u64::MAX };
    let (piece, now) = (Piece::UvmEndorsement, SIGNED - 1);
    assert_eq!(verified(now), Err(VerifyError::NotYetValid { piece, validity, now }));
    assert!(verified(valid.not_after).is_ok());
    let late = verified(valid.not_after + 1);
    let is_leaf = |piece| piece == Piece::LeafCertificate;
    assert!(matches!(late, Err(VerifyError::Expired { piece, .. }) if is_leaf(piece)), "{late:?}");
}

/// Each byte of the report and of all endorsements, one after the other.
#[test]
fn no_byte_of_containers_evidence_can_be_another() {
    let Some((evidence, endorsements)) = caci() else { return };
    assert!(verify(&evidence, &endorsements, NOW).is_ok(), "as it is");
    for at in 0..evidence.body.len() {
        let mut altered = evidence.clone();
        altered.body[at] ^= 1;
        assert!(verify(&altered, &endorsements, NOW).is_err(), "byte {at}");
    }
    for which in 0..endorsements.items.len() {
        for at in 0..endorsements.items[which].bytes.len() {
            let mut altered = endorsements.clone();
            altered.items[which].bytes[at] ^= 1;
            let found = verify(&evidence, &altered, NOW);
            assert!(found.is_err(), "endorsement {which}, byte {at}");
        }
    }
    let whole = endorsements.items[UVM].bytes.len();
    for length in (0..whole).step_by(7) {
        let mut cut = endorsements.clone();
        cut.items[UVM].bytes.truncate(length);
        assert!(verify(&evidence, &cut, NOW).is_err(), "{length} bytes");
    }
    let mut long = endorsements.clone();
    long.items[UVM].bytes.push(0);
    assert!(verify(&evidence, &long, NOW).is_err());
    let short = Evidence { body: evidence.body[..1183].to_vec(), ..evidence };
    assert!(verify(&short, &endorsements, NOW).is_err());
}

#[test]
fn what_nobody_signed_is_no_part_of_an_endorsement() {
    let Some((evidence, endorsements)) = given() else { return };
    let kind = EndorsementKind::UvmEndorsement;
    let what = "it has headers that nobody signed";
    let found = verify(&evidence, &endorsements, NOW);
    assert_eq!(found, Err(VerifyError::EndorsementForm { kind, what }));
    let (_, signed) = caci().expect("it was there");
    let stripped = changed(&endorsements, |[_, unprotected, ..]| *unprotected = EMPTY_MAP.to_vec());
    assert_eq!(stripped, signed);
}

#[test]
fn an_endorsement_comes_once_and_with_its_own_signature() {
    let Some((evidence, endorsements)) = caci() else { return };
    let kind = EndorsementKind::UvmEndorsement;
    let refused = |endorsements: &Endorsements| {
        verify(&evidence, endorsements, NOW).expect_err("it is not endorsed")
    };
    let mut none = endorsements.clone();
    let one = none.items.pop().expect("it is the last");
    let count = |found, expected| VerifyError::Pieces { kind, found, expected };
    assert_eq!(refused(&none), count(0, 1));
    let mut two = endorsements.clone();
    two.items.push(one);
    assert_eq!(refused(&two), count(2, 1));
    let mut list = endorsements.clone();
    list.items.push(Endorsement { kind: EndorsementKind::RevocationList, bytes: Vec::new() });
    let found = refused(&list);
    assert!(matches!(found, VerifyError::RevocationList { .. }), "it is looked at: {found:?}");
    let mut more = endorsements.clone();
    more.items.push(Endorsement { kind: EndorsementKind::KeySet, bytes: Vec::new() });
    let (kind, found, expected) = (EndorsementKind::KeySet, 1, 0);
    assert_eq!(refused(&more), VerifyError::Pieces { kind, found, expected });
    let mut first = endorsements.clone();
    first.items.rotate_right(1);
    assert!(verify(&evidence, &first, NOW).is_ok(), "they may stand in any order");

    let unsigned = VerifyError::EndorsementSignature { kind: EndorsementKind::UvmEndorsement };
    let svn = changed(&endorsements, |[_, _, payload, _]| replaced(payload, b"\"22\"", b"\"23\""));
    assert_eq!(refused(&svn), unsigned);
    let feed =
        changed(&endorsements, |[protected, ..]| replaced(protected, b"AMD-UVM", b"AMD-UVN"));
    assert_eq!(refused(&feed), unsigned);
    let thumbprint = changed(&endorsements, |[protected, ..]| {
        replaced(protected, &bytes::<4>("a4323e00"), &[0; 4]);
    });
    let what = "its headers name another certificate than the signer's";
    let form = VerifyError::EndorsementForm { kind: EndorsementKind::UvmEndorsement, what };
    assert_eq!(refused(&thumbprint), form);
    let time = |time: u64| {
        let [_, _, _, _, old @ ..] = SIGNED.to_be_bytes();
        let [_, _, _, _, new @ ..] = time.to_be_bytes();
        changed(&endorsements, |[protected, ..]| replaced(protected, &old, &new))
    };
    assert_eq!(refused(&time(SIGNED + 1)), unsigned);
    // When the signer's certificate did not count: it begins on 5 January 2023, 19:22:47, and ends on 3 January 2024.
    for (first, last) in [(1_672_946_566, 1_672_946_567), (1_704_309_768, 1_704_309_767)] {
        let piece = Piece::UvmCertificate(0);
        let found = refused(&time(first));
        let is_signer = match found {
            VerifyError::NotYetValid { piece: found, .. }
            | VerifyError::Expired { piece: found, .. } => found == piece,
            _ => false,
        };
        assert!(is_signer, "{first}: {found:?}");
        assert_eq!(refused(&time(last)), unsigned);
    }
    let did = changed(&endorsements, |[protected, ..]| {
        replaced(protected, b"76.59.1.2", b"76.59.1.3");
    });
    let found = refused(&did);
    let is_named =
        matches!(found, VerifyError::EndorsementForm { what, .. } if what.contains("name"));
    assert!(is_named, "{found:?}");
}

/// The chain of the signer, with another certificate at each place.
#[test]
fn an_endorsement_is_believed_up_to_one_root() {
    let Some((evidence, endorsements)) = caci() else { return };
    let message = AttachedSign1::decode(&endorsements.items[UVM].bytes).expect("it is a message");
    // After the header of a list of three: each behind two bytes of its length.
    let mut rest = &message.protected[message
        .protected
        .windows(3)
        .position(|found| found == [0x18, 0x21, 0x83])
        .expect("it has a chain")
        + 3..];
    let chain = [(); 3].map(|()| {
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let (certificate, left) = rest.split_at(3 + length);
        rest = left;
        certificate.to_vec()
    });
    let all = chain.concat();
    let with = |other: &[&[u8]]| {
        let other = changed(&endorsements, |[protected, ..]| {
            let at = protected.windows(all.len()).position(|found| found == all);
            let at = at.expect("it stands there");
            protected[at - 1] = 0x80 | u8::try_from(other.len()).expect("a few");
            drop(protected.splice(at..at + all.len(), other.concat()));
        });
        verify(&evidence, &other, NOW).expect_err("it is another chain")
    };
    let [signer, authority, root] = chain.each_ref().map(Vec::as_slice);
    let length = |found| VerifyError::ChainLength { found, expected: 3 };
    assert_eq!(with(&[signer, authority]), length(2));
    assert_eq!(with(&[signer, authority, root, root]), length(4));
    assert!(matches!(with(&[signer, authority, authority]), VerifyError::Root { .. }));
    let is_link = |error: &VerifyError, at| matches!(error, VerifyError::Chain { link: Link::Uvm(found), .. } if *found == at);
    let found = with(&[signer, root, root]);
    assert!(is_link(&found, 0), "{found:?}");
    let found = with(&[signer, signer, root]);
    assert!(is_link(&found, 1), "{found:?}");
    let found = with(&[authority, root, root]);
    assert!(matches!(found, VerifyError::EndorsementForm { .. }), "{found:?}");
    let root = coco_crypto::MakerCertificate::from_der(&root[3..]).expect("a certificate");
    assert_eq!(root.digest(), UVM_ROOT);
}

/// The endorsement is genuine, and the report is of another machine, under its own chain.
#[test]
fn an_endorsement_of_one_utility_vm_is_not_that_of_another() {
    let Some((_, endorsements)) = caci() else { return };
    let pem = ["vcek.pem", "ask.pem", "ark.pem"];
    let Some((other, mut mixed)) = crate::data::snp("tav-milan", pem) else { return };
    mixed.items.push(endorsements.items[UVM].clone());
    let other = Evidence { platform: PlatformId::SnpCaci, ..other };
    // 1 March 2026.
    let found = verify(&other, &mixed, 1_772_323_200);
    assert!(matches!(found, Err(VerifyError::OtherCode { .. })), "{found:?}");
    let Some((evidence, _)) = caci() else { return };
    let found = verify(&evidence, &mixed, 1_772_323_200);
    assert_eq!(found, Err(VerifyError::Signature(SignatureInvalid)));
}

#[test]
fn a_policy_admits_containers_by_utility_vm_and_security_policy() {
    let Some((evidence, endorsements)) = caci() else { return };
    let found = facts(&evidence, &endorsements);
    let mut machine = policy_of(&found.snp).machine;
    machine.version_min = 2;
    let uvm = UvmPolicy { did: DID.to_owned(), feed: FEED.to_owned(), svn_min: 22 };
    let host_data = BTreeSet::from([found.snp.host_data]);
    let good = AppraisalPolicy {
        snp_caci: Some(SnpCaciPolicy { machine, uvm: vec![uvm], host_data }),
        ..AppraisalPolicy::none(1)
    };
    let bound = &evidence.body[0x50..0x90];
    let judged = |policy: &AppraisalPolicy| {
        appraise(&evidence, &endorsements, NOW, policy, &report_data(bound))
    };
    let attested = judged(&good).expect("it is admitted");
    assert_eq!(attested.claims().platform, PlatformId::SnpCaci);
    let [code, host] = [&found.snp.measurement[..], &found.snp.host_data].map(hex::encode);
    assert_eq!(attested.claims().measurement, format!("{code} {host}"));
    let refused = |change: &dyn Fn(&mut SnpCaciPolicy)| {
        let mut policy = good.clone();
        change(policy.snp_caci.as_mut().expect("it has one"));
        match judged(&policy) {
            Err(AppraiseEvidenceError::Appraise(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let error = refused(&|policy| policy.machine.version_min = 3);
    assert_eq!(error, AppraiseError::ReportVersion { have: 2, need: 3 });
    let error = refused(&|policy| policy.uvm[0].svn_min = 23);
    assert_eq!(error, AppraiseError::UvmSvn { have: 22, need: 23 });
    let error = refused(&|policy| policy.uvm[0].feed = "ConfAKS-AMD-UVM".to_owned());
    assert!(matches!(error, AppraiseError::Uvm { .. }), "{error}");
    let error = refused(&|policy| policy.host_data = BTreeSet::from([[0; 32]]));
    assert_eq!(error, AppraiseError::HostData { have: host });
    let error = judged(&AppraisalPolicy { snp_caci: None, ..good }).expect_err("not admitted");
    let refusal = AppraiseError::PlatformNotAllowed(PlatformId::SnpCaci);
    assert_eq!(error, AppraiseEvidenceError::Appraise(refusal));
}

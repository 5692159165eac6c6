//! Intel SGX and TDX.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AppraiseEvidenceError, Endorsement, EndorsementKind,
    Endorsements, Evidence, Facts, Flag, IntelConfiguration, IntelPolicy, IntelShortage, IntelTcb,
    IntelTcbPart, IntelTcbStatus, Link, Piece, PlatformFacts, PlatformId, SgxCode, SgxFacts,
    SgxPolicy, TdAttributes, TdxCode, TdxFacts, TdxPolicy, TrustClass, VerifyError, appraise,
    verify,
};
use coco_crypto::{
    CertificateError, MakerCertificate, RevocationList, RevocationListError, Validity, read_bundle,
};

use crate::data::{bytes, folder, intel, report_data};

/// A vector: where it lies, what it is of, and when it counts.
struct Vector {
    name: &'static str,
    platform: PlatformId,
    valid: Validity,
    /// What begins last, and what ends first.
    ends: [Piece; 2],
}

/// 2025-06-19T10:56:11Z to 2025-07-19T10:01:18Z.
const SGX: Vector = Vector {
    name: "sgx/dcap-qvl-v3",
    platform: PlatformId::SgxDcap,
    valid: Validity { not_before: 1_750_330_571, not_after: 1_752_919_278 },
    ends: [Piece::TcbInfo, Piece::QeIdentity],
};
/// 2025-06-19T10:32:27Z to 2025-07-19T10:00:35Z.
const TDX: Vector = Vector {
    name: "tdx/dcap-qvl-v4",
    platform: PlatformId::Tdx,
    valid: Validity { not_before: 1_750_329_147, not_after: 1_752_919_235 },
    ends: [Piece::QeIdentity, Piece::RevocationList],
};
/// 2026-02-18T10:58:51Z to 2026-03-20T10:41:15Z.
const OUTDATED: Vector = Vector {
    name: "tdx/dcap-qvl-v5-outdated",
    platform: PlatformId::Tdx,
    valid: Validity { not_before: 1_771_412_331, not_after: 1_774_003_275 },
    ends: [Piece::TcbInfo, Piece::RevocationList],
};
/// 2026-10-08T00:28:26Z to 2026-11-06T23:45:11Z.
const EXTENDED: Vector = Vector {
    name: "tdx/dcap-qvl-v5-td15ex",
    platform: PlatformId::Tdx,
    valid: Validity { not_before: 1_791_419_306, not_after: 1_794_008_711 },
    ends: [Piece::RevocationList, Piece::QeIdentity],
};

impl Vector {
    fn read(&self) -> Option<(Evidence, Endorsements)> {
        intel(self.name, self.platform)
    }
}

fn facts(found: &Facts) -> &TdxFacts {
    match found.platform() {
        PlatformFacts::Tdx(facts) => facts,
        other => panic!("{other:?}"),
    }
}

fn enclave(found: &Facts) -> &SgxFacts {
    match found.platform() {
        PlatformFacts::SgxDcap(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// The first second and the last count, and none before and after.
#[test]
fn a_quote_counts_as_long_as_each_piece_does() {
    for vector in [SGX, TDX, OUTDATED, EXTENDED] {
        let Some((evidence, endorsements)) = vector.read() else { continue };
        let verified = |now| verify(&evidence, &endorsements, now);
        let Validity { not_before, not_after } = vector.valid;
        for now in [not_before, not_after] {
            let found = verified(now).unwrap_or_else(|error| panic!("{}: {error:?}", vector.name));
            assert_eq!((found.valid(), found.made()), (vector.valid, None), "{}", vector.name);
            assert_eq!(found.class(), TrustClass::Processor);
            assert_eq!(found.platform_id(), vector.platform);
        }
        let [first, last] = vector.ends;
        match verified(not_before - 1) {
            Err(VerifyError::NotYetValid { piece, now, .. }) => {
                assert_eq!((piece, now), (first, not_before - 1), "{}", vector.name);
            }
            other => panic!("{}: {other:?}", vector.name),
        }
        match verified(not_after + 1) {
            Err(VerifyError::Expired { piece, now, .. }) => {
                assert_eq!((piece, now), (last, not_after + 1), "{}", vector.name);
            }
            other => panic!("{}: {other:?}", vector.name),
        }
    }
}

#[test]
fn an_enclave_says_what_it_was_recorded_to_say() {
    let Some((evidence, endorsements)) = SGX.read() else { return };
    let found = verify(&evidence, &endorsements, SGX.valid.not_before).expect("it verifies");
    assert_eq!(found.bound()[..16], *b"Hello, world!\0\0\0");
    assert_eq!(found.bound().len(), 64);
    let facts = enclave(&found);
    assert_eq!(
        facts.mr_enclave,
        bytes("33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb")
    );
    assert_eq!(
        facts.mr_signer,
        bytes("815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6")
    );
    assert_eq!((facts.isv_prod_id, facts.isv_svn), (0, 0));
    assert_eq!((facts.attributes.flags, facts.attributes.xfrm), (5, 0xe7));
    assert!(!facts.attributes.is_debug());
    let tcb = &facts.tcb;
    assert_eq!((tcb.fmspc, tcb.evaluation), (bytes("00A067110000"), 17));
    assert_eq!(tcb.status, IntelTcbStatus::ConfigurationAndSwHardeningNeeded);
    let advisories = ["INTEL-SA-00289", "INTEL-SA-00615"].map(str::to_owned);
    assert_eq!(tcb.advisories, BTreeSet::from(advisories));
    // The machine has one processor, and its certificate says nothing of threads.
    assert_eq!(tcb.configuration, IntelConfiguration::default());
    // Of the newest level it lacks nothing but this part, which is how it is configured.
    let (part, name) = (IntelTcbPart::Sgx(7), String::new());
    assert_eq!(tcb.short, [IntelShortage { part, name, have: 0, need: 12 }]);
}

#[test]
fn a_domain_says_what_it_was_recorded_to_say() {
    if let Some((evidence, endorsements)) = TDX.read() {
        let found = verify(&evidence, &endorsements, TDX.valid.not_before).expect("it verifies");
        let facts = facts(&found);
        assert_eq!(
            facts.mr_td,
            bytes(
                "91eb2b44d141d4ece09f0c75c2c53d247a3c68edd7fafe8a3520c942a604a407de03ae6dc5f87f27428b2538873118b7"
            )
        );
        let [rtmr0, rtmr1, rtmr2, rtmr3] = facts.rtmrs;
        assert!(rtmr0.starts_with(&bytes::<4>("44c0197b")));
        assert!(rtmr1.starts_with(&bytes::<4>("0084452c")));
        assert!(rtmr2.starts_with(&bytes::<4>("d833feef")));
        assert_eq!(rtmr3, [0; 48]);
        assert_eq!(facts.attributes, TdAttributes(TdAttributes::SEPT_VE_DISABLE));
        assert!(facts.tee_tcb_svn.starts_with(&[6, 1, 3]));
        assert_eq!((facts.mr_signer_seam, facts.xfam), ([0; 48], 0x602e7));
        assert_eq!((facts.update, &facts.history, &facts.log), (None, &None, &None));
        let tcb = &facts.tcb;
        assert_eq!((tcb.fmspc, tcb.evaluation), (bytes("B0C06F000000"), 17));
        assert_eq!((tcb.status, tcb.advisories.len()), (IntelTcbStatus::UpToDate, 0));
        assert_eq!(tcb.short, []);
        // The instance of a machine with several processors.
        assert_eq!(tcb.machine, bytes("07828474603E7019DC930775FFE8CDD2"));
        let configuration = IntelConfiguration {
            dynamic_platform: Some(true),
            cached_keys: Some(true),
            smt: Some(true),
        };
        assert_eq!(tcb.configuration, configuration);
    }
    if let Some((evidence, endorsements)) = EXTENDED.read() {
        let now = EXTENDED.valid.not_before;
        let found = verify(&evidence, &endorsements, now).expect("it verifies");
        let facts = facts(&found);
        assert!(facts.mr_td.starts_with(&bytes::<4>("2a674327")));
        assert!(facts.rtmrs[3].starts_with(&bytes::<4>("556d4986")));
        assert!(facts.mr_config_id.starts_with(&bytes::<4>("0151ed70")));
        let update = facts.update.expect("it is of 1.5");
        assert_eq!((update.tee_tcb_svn, update.mr_service_td), (facts.tee_tcb_svn, [0; 48]));
        let history = facts.history.as_ref().expect("it is of the longer form");
        assert!(history.id.starts_with(&bytes::<4>("e1f3ee82")));
        assert_eq!((history.partition, history.devices), (0, [0; 48]));
        assert_eq!((history.service, history.service_at_start), (([0; 48], 0), ([0; 48], 0)));
        assert_eq!(history.started_on, ([0; 16], [0; 16], [0; 12]));
        assert_eq!((facts.tcb.status, facts.tcb.evaluation), (IntelTcbStatus::UpToDate, 20));
        assert_eq!(facts.tcb.short, []);
    }
}

/// A quote that is signed up to the root, of a machine older than anything that Intel lists: one part of it.
#[test]
fn a_machine_of_no_level_is_refused_and_told_what_it_lacks() {
    let Some((evidence, endorsements)) = OUTDATED.read() else { return };
    let now = OUTDATED.valid.not_before;
    let found = verify(&evidence, &endorsements, now).expect("it verifies");
    let domain = facts(&found);
    assert!(domain.mr_td.starts_with(&bytes::<4>("273828c4")));
    assert_eq!(domain.tcb.fmspc, bytes("90C06F000000"));
    // Its module was replaced since, which does not help.
    let update = domain.update.expect("it is of 1.5");
    assert_eq!((domain.tee_tcb_svn[0], update.tee_tcb_svn[0]), (7, 13));
    let (have, part) = (IntelTcbStatus::NotSupported, IntelTcbPart::Sgx(8));
    let short = vec![IntelShortage { part, name: "SEAMLDR ACM".to_owned(), have: 3, need: 5 }];
    assert_eq!((domain.tcb.status, &domain.tcb.short), (have, &short));
    let mut policy = policy(&found);
    machine(&mut policy).statuses = BTreeSet::from([have, IntelTcbStatus::UpToDate]);
    let expected = report_data(found.bound());
    let refused = appraise(&evidence, &endorsements, now, &policy, &expected);
    let error = AppraiseError::IntelTcb { have, short };
    assert_eq!(
        error.to_string(),
        "machines that Intel calls NotSupported are not admitted: SGX component 8 (SEAMLDR ACM) is 3 of 5"
    );
    assert_eq!(refused, Err(AppraiseEvidenceError::Appraise(error)));
}

/// The quote of one year, when Intel has said more of that kind of machine.
#[test]
fn what_was_up_to_date_is_not_so_for_ever() {
    let Some((evidence, _)) = TDX.read() else { return };
    let Some((_, endorsements)) = EXTENDED.read() else { return };
    let found = verify(&evidence, &endorsements, EXTENDED.valid.not_before).expect("it verifies");
    let tcb = &facts(&found).tcb;
    assert_eq!((tcb.status, tcb.evaluation), (IntelTcbStatus::OutOfDate, 20));
    assert!(tcb.advisories.contains("INTEL-SA-01312"), "{:?}", tcb.advisories);
    let short: Vec<String> = tcb.short.iter().map(ToString::to_string).collect();
    assert_eq!(
        short,
        [
            "SGX component 1 (Early Microcode Update) is 3 of 4",
            "SGX component 2 (SGX Late Microcode Update) is 3 of 4",
            "TDX component 3 (TDX Late Microcode Update) is 3 of 4",
            "TDX module is 6 of 11",
        ]
    );
}

#[test]
fn lists_of_revoked_certificates_are_their_authorities() {
    for (vector, expected) in [(SGX, 0), (TDX, 44), (OUTDATED, 57), (EXTENDED, 57)] {
        let Some(folder) = folder(vector.name) else { continue };
        let Some((_, endorsements)) = vector.read() else { continue };
        let text = fs::read_to_string(folder.join("collateral.json")).expect("a collateral");
        let collateral: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let chain = collateral["pck_crl_issuer_chain"].as_str().expect("a text");
        let chain = read_bundle(chain).expect("a chain");
        let [authority, root] =
            [0, 1].map(|at| MakerCertificate::from_der(&chain[at]).expect("one"));
        let kind = EndorsementKind::RevocationList;
        let lists = endorsements.items.iter().filter(|item| item.kind == kind);
        let lists: Vec<_> =
            lists.map(|item| RevocationList::from_der(&item.bytes).expect("a list")).collect();
        let [of_root, of_authority] = lists.as_slice() else { panic!("{lists:?}") };
        assert_eq!(of_root.verify_issued_by(&root), Ok(()));
        assert_eq!(of_authority.verify_issued_by(&authority), Ok(()));
        let other = Err(RevocationListError::Issued(CertificateError::Issuer));
        assert_eq!(of_root.verify_issued_by(&authority), other);
        assert_eq!((of_root.revoked(), of_authority.revoked()), (0, expected), "{}", vector.name);
        let one: [u8; 20] = bytes("6FC34E5023E728923435D61AA4B83C618166AD35");
        let another: [u8; 20] = bytes("EFAE6E9715FCA13B87E333E8261ED6D990A926AD");
        for serial in [one, another] {
            assert_eq!(of_authority.revokes(&serial), expected > 0, "{}", vector.name);
        }
        assert!(!of_authority.revokes(&authority.serial()));
    }
}

/// Each byte of a quote of each version, and of what comes with it.
#[test]
fn no_byte_of_a_quote_or_what_comes_with_it_can_be_another() {
    for (vector, with_endorsements) in [(TDX, true), (SGX, false), (EXTENDED, false)] {
        let Some((evidence, endorsements)) = vector.read() else { continue };
        let (name, now) = (vector.name, vector.valid.not_before);
        assert!(verify(&evidence, &endorsements, now).is_ok(), "{name} as it is");
        for at in 0..evidence.body.len() {
            let mut altered = evidence.clone();
            altered.body[at] ^= 1;
            assert!(verify(&altered, &endorsements, now).is_err(), "{name}, byte {at}");
        }
        if !with_endorsements {
            continue;
        }
        for which in 0..endorsements.items.len() {
            for at in 0..endorsements.items[which].bytes.len() {
                let mut altered = endorsements.clone();
                altered.items[which].bytes[at] ^= 1;
                let found = verify(&evidence, &altered, now);
                assert!(found.is_err(), "{name}, endorsement {which}, byte {at}");
            }
        }
    }
}

/// Nor another length, but for zeros behind a quote.
#[test]
fn no_quote_or_endorsement_is_cut_or_longer() {
    for vector in [SGX, TDX, EXTENDED] {
        let Some((evidence, endorsements)) = vector.read() else { continue };
        let (name, now) = (vector.name, vector.valid.not_before);
        let zeros = evidence.body.iter().rev().take_while(|byte| **byte == 0).count();
        // The last one belongs to the chain.
        let length = evidence.body.len() - zeros + 1;
        let quote =
            |body: Vec<u8>| verify(&Evidence { body, ..evidence.clone() }, &endorsements, now);
        assert!(quote(evidence.body[..length].to_vec()).is_ok(), "{name}");
        assert!(quote([&evidence.body[..], &[0; 9]].concat()).is_ok(), "{name}");
        assert!(quote([&evidence.body[..], &[1]].concat()).is_err(), "{name}");
        for cut in [0, 1, 47, 48, 432, 631, 632, 640, 900, 1400, length - 2, length - 1] {
            assert!(quote(evidence.body[..cut].to_vec()).is_err(), "{name}, {cut} bytes");
        }
        for which in 0..endorsements.items.len() {
            for change in [
                (|bytes| bytes.truncate(bytes.len() - 1)) as fn(&mut Vec<u8>),
                |bytes| bytes.truncate(bytes.len() / 2),
                |bytes| bytes.clear(),
                |bytes| bytes.push(b'\n'),
                |bytes| bytes.push(0),
                |bytes| bytes.insert(0, b' '),
            ] {
                let mut altered = endorsements.clone();
                change(&mut altered.items[which].bytes);
                let found = verify(&evidence, &altered, now);
                assert!(found.is_err(), "{name}, endorsement {which}");
            }
        }
    }
}

/// What a verifier that leaves something out would believe.
#[test]
fn each_endorsement_has_to_be_there_once() {
    let Some((evidence, endorsements)) = TDX.read() else { return };
    let now = TDX.valid.not_before;
    for which in 0..endorsements.items.len() {
        let kind = endorsements.items[which].kind;
        let all = endorsements.items.iter().filter(|item| item.kind == kind).count();
        let mut fewer = endorsements.clone();
        fewer.items.remove(which);
        let found = verify(&evidence, &fewer, now);
        let missing = VerifyError::Pieces { kind, found: all - 1, expected: all };
        assert_eq!(found, Err(missing), "without {which}");
        let mut more = endorsements.clone();
        more.items.push(more.items[which].clone());
        let found = verify(&evidence, &more, now);
        if kind == EndorsementKind::Certificate {
            // That of the signer of one document, and of the other.
            assert!(found.is_ok(), "{found:?}");
            more.items.push(more.items[which].clone());
            let many = VerifyError::Pieces { kind, found: 3, expected: 1 };
            assert_eq!(verify(&evidence, &more, now), Err(many));
        } else {
            let many = VerifyError::Pieces { kind, found: all + 1, expected: all };
            assert_eq!(found, Err(many), "{which} twice");
        }
    }
    let missing =
        VerifyError::Pieces { kind: EndorsementKind::RevocationList, found: 0, expected: 2 };
    assert_eq!(
        missing.to_string(),
        "0 lists of revoked certificates came with the evidence, where 2 are expected"
    );
    assert_eq!(verify(&evidence, &Endorsements::default(), now), Err(missing));
    // And none has a meaning for others.
    let kind = EndorsementKind::TcbInfo;
    let other = Evidence { platform: PlatformId::Snp, ..evidence };
    let meaningless = VerifyError::Pieces { kind, found: 1, expected: 0 };
    assert_eq!(verify(&other, &endorsements, now), Err(meaningless));
}

/// The endorsements, with one of them instead of another.
fn replaced(endorsements: &Endorsements, which: usize, bytes: &[u8]) -> Endorsements {
    let mut endorsements = endorsements.clone();
    endorsements.items[which].bytes = bytes.to_vec();
    endorsements
}

/// Each piece is genuine, and of another machine, enclave or authority.
#[test]
fn pieces_of_two_machines_are_not_one() {
    let (Some((tdx, of_tdx)), Some((sgx, of_sgx))) = (TDX.read(), SGX.read()) else { return };
    let Some((_, of_outdated)) = OUTDATED.read() else { return };
    let now = SGX.valid.not_before;
    let piece = |from: &Endorsements, which: usize| from.items[which].bytes.clone();
    let [signer, of_root, of_authority, info, identity] = [0, 1, 2, 3, 4];
    let with = |which, bytes: &[u8]| verify(&tdx, &replaced(&of_tdx, which, bytes), now);
    // The list of the authority for machines with one processor.
    let list = |piece, source| Err(VerifyError::RevocationList { piece, source });
    let other = RevocationListError::Issued(CertificateError::Issuer);
    let found = with(of_authority, &piece(&of_sgx, of_authority));
    assert_eq!(found, list(Piece::RevocationList, other.clone()));
    let found = with(of_root, &piece(&of_tdx, of_authority));
    assert_eq!(found, list(Piece::RootRevocationList, other.clone()));
    let found = with(of_authority, &piece(&of_tdx, of_root));
    assert_eq!(found, list(Piece::RevocationList, other));
    // Documents of SGX for TDX, of one kind for the other, and the other way round.
    for (evidence, endorsements, other) in [(&tdx, &of_tdx, &of_sgx), (&sgx, &of_sgx, &of_tdx)] {
        for (which, named) in [(info, Piece::TcbInfo), (identity, Piece::QeIdentity)] {
            let mixed = replaced(endorsements, which, &piece(other, which));
            match verify(evidence, &mixed, now) {
                Err(VerifyError::Document { piece, .. }) => assert_eq!(piece, named),
                other => panic!("{other:?}"),
            }
        }
    }
    for (which, bytes, named) in [
        (info, piece(&of_tdx, identity), Piece::TcbInfo),
        (identity, piece(&of_tdx, info), Piece::QeIdentity),
    ] {
        match with(which, &bytes) {
            Err(VerifyError::Document { piece, .. }) => assert_eq!(piece, named),
            other => panic!("{other:?}"),
        }
    }
    // Of another kind of machine.
    let found = verify(&tdx, &of_outdated, OUTDATED.valid.not_before);
    let what = "the kind of machine (FMSPC)";
    assert_eq!(found, Err(VerifyError::OtherPiece { piece: Piece::TcbInfo, what }));
    // The wrong platform.
    for (evidence, platform, found) in [(&tdx, PlatformId::SgxDcap, 4), (&sgx, PlatformId::Tdx, 3)]
    {
        let evidence = Evidence { platform, ..evidence.clone() };
        let what = "the version of the quote";
        let refused = VerifyError::Unsupported { what, found };
        assert_eq!(verify(&evidence, &of_tdx, now), Err(refused));
    }
    let logged = Evidence { log: vec![0], ..sgx };
    let found = verify(&logged, &of_sgx, now);
    assert!(matches!(found, Err(VerifyError::Unsupported { .. })), "{found:?}");
    assert_eq!(of_tdx.items[signer].kind, EndorsementKind::Certificate);
}

/// CVE-2026-22696: whose certificate came with a document was not looked at.
#[test]
fn documents_are_signed_by_whom_the_root_names_for_it() {
    let Some((evidence, endorsements)) = TDX.read() else { return };
    let Some(folder) = folder(TDX.name) else { return };
    let text = fs::read_to_string(folder.join("collateral.json")).expect("a collateral");
    let collateral: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let chain = collateral["pck_crl_issuer_chain"].as_str().expect("a text");
    let chain = read_bundle(chain).expect("a chain");
    let pem = evidence
        .body
        .split_at(evidence.body.windows(5).position(|w| w == b"-----").expect("it is there"))
        .1;
    let pem =
        String::from_utf8_lossy(pem.split(|byte| *byte == 0).next().expect("a text")).into_owned();
    let machine = read_bundle(&pem).expect("a chain").swap_remove(0);
    let verified =
        |endorsements: &Endorsements| verify(&evidence, endorsements, TDX.valid.not_before);
    let with = |der: &[u8]| verified(&replaced(&endorsements, 0, der));
    // An authority of the same root, and the root itself.
    let name = Err(VerifyError::OtherPiece { piece: Piece::DocumentSigner, what: "the name" });
    assert_eq!(with(&chain[0]), name);
    assert_eq!(with(&chain[1]), name);
    // A machine below it, which could sign whatever it wants with the key that a broken one gives away.
    let (link, source) = (Link::DocumentSigner, CertificateError::Issuer);
    let other = Err(VerifyError::Chain { link, source });
    assert_eq!(with(&machine), other);
    // And so for either document by itself.
    for at in [0, 1] {
        let mut two = endorsements.clone();
        let signer = Endorsement { kind: EndorsementKind::Certificate, bytes: machine.clone() };
        two.items.insert(at, signer);
        assert_eq!(verified(&two), other, "{at}");
    }
    // A document of nobody.
    for (which, piece) in [(3, Piece::TcbInfo), (4, Piece::QeIdentity)] {
        let text = String::from_utf8(endorsements.items[which].bytes.clone()).expect("a text");
        let forged =
            text.replace(r#""tcbEvaluationDataNumber":17"#, r#""tcbEvaluationDataNumber":99"#);
        assert_ne!(text, forged);
        let found = verified(&replaced(&endorsements, which, forged.as_bytes()));
        assert_eq!(found, Err(VerifyError::DocumentSignature { piece }));
        // The same, written in another way.
        let spaced = text.replacen(":{", ": {", 1);
        let found = verified(&replaced(&endorsements, which, spaced.as_bytes()));
        assert!(found.is_err(), "{found:?}");
        let (inner, signature) = text.rsplit_once(r#""signature":""#).expect("it has one");
        let upper = format!(r#"{inner}"signature":"{}"}}"#, signature[..128].to_uppercase());
        let found = verified(&replaced(&endorsements, which, upper.as_bytes()));
        assert!(matches!(found, Err(VerifyError::Document { .. })), "{found:?}");
    }
}

/// Google's: Intel's documents for it were not recorded, so it is as far as one comes without them.
#[test]
fn a_log_that_leads_elsewhere_is_refused_before_anything_else_is_asked() {
    let Some(folder) = folder("tdx/gcp-cos113-eventlog") else { return };
    let read = |file: &str| fs::read(folder.join(file)).expect("a file");
    let quote = read("quote.dat");
    assert_eq!(quote[48 + 520..48 + 584], read("nonce.bin"));
    let verified = |log: Vec<u8>| {
        let evidence = Evidence { platform: PlatformId::Tdx, body: quote.clone(), log };
        verify(&evidence, &Endorsements::default(), TDX.valid.not_before)
    };
    let (kind, found) = (EndorsementKind::RevocationList, 0);
    let missing = Err(VerifyError::Pieces { kind, found, expected: 2 });
    assert_eq!(verified(Vec::new()), missing);
    let log = read("ccel_data.dat");
    assert_eq!(verified(log.clone()), missing);
    // The digest of the first event, which is of register 0.
    let mut altered = log.clone();
    altered[0x50] ^= 1;
    assert_eq!(verified(altered), Err(VerifyError::LogReplay { register: 0 }));
    let found = verified(log[..log.len() - 1].to_vec());
    assert!(matches!(found, Err(VerifyError::Log { .. })), "{found:?}");
    let padded = [&log[..], &[0xff; 64]].concat();
    assert!(matches!(verified(padded), Err(VerifyError::Log { .. })));
    let found = verified(b"no log".to_vec());
    assert!(matches!(found, Err(VerifyError::Log { .. })), "{found:?}");
}

/// A policy that admits exactly these facts.
fn policy(found: &Facts) -> AppraisalPolicy {
    let mut policy = AppraisalPolicy::none(7);
    let machine = |tcb: &IntelTcb| IntelPolicy {
        statuses: BTreeSet::from([tcb.status]),
        advisories_refused: BTreeSet::new(),
        evaluation_min: tcb.evaluation,
        kinds: Some(BTreeSet::from([tcb.fmspc])),
        kinds_refused: BTreeSet::new(),
        machines: Some(BTreeSet::from([tcb.machine])),
        smt: true,
    };
    match found.platform() {
        PlatformFacts::SgxDcap(facts) => {
            let code = vec![SgxCode::Enclave { mr_enclave: facts.mr_enclave }];
            policy.sgx = Some(SgxPolicy { machine: machine(&facts.tcb), code });
        }
        PlatformFacts::Tdx(facts) => {
            let [rtmr0, rtmr1, rtmr2, rtmr3] = facts.rtmrs;
            let code = TdxCode {
                mr_td: facts.mr_td,
                rtmrs: [rtmr0, rtmr1, rtmr2],
                rtmr3: Some(rtmr3),
                mr_config_id: facts.mr_config_id,
                mr_owner: facts.mr_owner,
                mr_owner_config: facts.mr_owner_config,
            };
            policy.tdx = Some(TdxPolicy {
                machine: machine(&facts.tcb),
                modules: BTreeMap::from([(facts.tee_tcb_svn[1], facts.tee_tcb_svn[0])]),
                sept_ve: false,
                attributes: 0,
                xfam: facts.xfam,
                service_tds: BTreeSet::new(),
                code: vec![code],
            });
        }
        other => panic!("{other:?}"),
    }
    policy
}

fn machine(policy: &mut AppraisalPolicy) -> &mut IntelPolicy {
    match (&mut policy.sgx, &mut policy.tdx) {
        (Some(sgx), _) => &mut sgx.machine,
        (None, Some(tdx)) => &mut tdx.machine,
        (None, None) => panic!("it has one"),
    }
}

#[test]
fn a_policy_refuses_what_it_does_not_admit_and_says_why() {
    for vector in [SGX, TDX, EXTENDED] {
        let Some((evidence, endorsements)) = vector.read() else { continue };
        let now = vector.valid.not_after;
        let found = verify(&evidence, &endorsements, now).expect("it verifies");
        let bound = found.bound();
        let judged = |policy: &AppraisalPolicy, bound: &[u8]| {
            appraise(&evidence, &endorsements, now, policy, &report_data(bound))
        };
        let good = policy(&found);
        let attested = judged(&good, bound).expect("it is admitted");
        assert_eq!((attested.valid(), attested.policy_version()), (vector.valid, 7));
        assert_eq!(attested.claims().platform, vector.platform);
        let measurement = match found.platform() {
            PlatformFacts::SgxDcap(facts) => hex::encode(facts.mr_enclave),
            _ => hex::encode(facts(&found).mr_td),
        };
        assert!(attested.claims().measurement.starts_with(&measurement));
        let refused = |change: &dyn Fn(&mut AppraisalPolicy)| {
            let mut policy = good.clone();
            change(&mut policy);
            match judged(&policy, bound) {
                Err(AppraiseEvidenceError::Appraise(error)) => error,
                other => panic!("{}: {other:?}", vector.name),
            }
        };
        let error = refused(&|policy| (policy.sgx, policy.tdx) = (None, None));
        assert_eq!(error, AppraiseError::PlatformNotAllowed(vector.platform));
        let error = refused(&|policy| machine(policy).statuses.clear());
        assert!(matches!(error, AppraiseError::IntelTcb { .. }), "{error}");
        let error = refused(&|policy| machine(policy).evaluation_min += 1);
        assert!(matches!(error, AppraiseError::Evaluation { .. }), "{error}");
        let error = refused(&|policy| machine(policy).kinds = Some(BTreeSet::new()));
        assert!(matches!(error, AppraiseError::Fmspc { .. }), "{error}");
        let error = refused(&|policy| machine(policy).machines = Some(BTreeSet::new()));
        assert!(matches!(error, AppraiseError::HardwareId { .. }), "{error}");
        let error = refused(&|policy| machine(policy).smt = false);
        assert_eq!(error, AppraiseError::Flag(Flag::Smt));
        let error = refused(&|policy| {
            policy.sgx.iter_mut().for_each(|policy| policy.code.clear());
            policy.tdx.iter_mut().for_each(|policy| policy.code.clear());
        });
        assert!(matches!(error, AppraiseError::Measurement { .. }), "{error}");
        let mut other = bound.to_vec();
        other[63] ^= 1;
        let found = judged(&good, &other);
        let is_binding = |error: &AppraiseEvidenceError| {
            matches!(error, AppraiseEvidenceError::Appraise(AppraiseError::Binding { .. }))
        };
        assert!(found.is_err_and(|error| is_binding(&error)), "it is another question's");
    }
}

/// Only what is up to date, as careful members have it.
#[test]
fn a_strict_policy_refuses_the_enclave() {
    let Some((evidence, endorsements)) = SGX.read() else { return };
    let now = SGX.valid.not_before;
    let found = verify(&evidence, &endorsements, now).expect("it verifies");
    let mut strict = policy(&found);
    machine(&mut strict).statuses = BTreeSet::from([IntelTcbStatus::UpToDate]);
    let expected = report_data(found.bound());
    match appraise(&evidence, &endorsements, now, &strict, &expected) {
        Err(AppraiseEvidenceError::Appraise(AppraiseError::IntelTcb { have, .. })) => {
            assert_eq!(have, IntelTcbStatus::ConfigurationAndSwHardeningNeeded);
        }
        other => panic!("{other:?}"),
    }
    let mut careful = policy(&found);
    machine(&mut careful).advisories_refused = BTreeSet::from(["INTEL-SA-00289".to_owned()]);
    let have = "INTEL-SA-00289".to_owned();
    let refused = appraise(&evidence, &endorsements, now, &careful, &expected);
    assert_eq!(refused, Err(AppraiseEvidenceError::Appraise(AppraiseError::Advisory { have })));
}

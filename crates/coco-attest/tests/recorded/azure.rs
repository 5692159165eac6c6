//! Confidential machines of Azure.

use std::{collections::BTreeMap, fs};

use coco_attest::{
    AppraisalPolicy, AppraiseError, AzureEvidence, AzureFacts, AzureSnpPolicy, AzureTdxEvidence,
    EndorsementKind, Endorsements, Evidence, Facts, PcrCode, PlatformFacts, PlatformId, SnpKey,
    TrustClass, VerifyError, verify,
};

use crate::{
    data::{bytes, certificate, endorsed, folder, intel},
    snp::policy_of,
};

/// 1 June 2025.
const NOW: u64 = 1_748_736_000;

/// What was recorded, and AMD's certificates: those above the machine's own are the same for each of its generation.
fn azure(name: &str) -> Option<(AzureEvidence, Endorsements)> {
    let (machine, amd) = (folder(&format!("azure/{name}"))?, folder("snp/tav-milan")?);
    let certificates = [machine.join("vcek.der"), amd.join("ask.pem"), amd.join("ark.pem")]
        .map(|path| certificate(&path));
    Some((parts(name)?, endorsed(&certificates)))
}

/// What was read from the TPM of this machine.
fn parts(name: &str) -> Option<AzureEvidence> {
    let machine = folder(&format!("azure/{name}"))?;
    let read = |file: &str| fs::read(machine.join(file)).expect("a file");
    let registers = String::from_utf8(read("pcrs_sha256.json")).expect("a text");
    let digits: Vec<&str> = registers.split('"').filter(|text| text.len() == 64).collect();
    let pcrs: Vec<[u8; 32]> = digits.into_iter().map(bytes).collect();
    Some(AzureEvidence {
        hcl_report: read("hcl_report.bin"),
        quote: read("tpm_quote_attest.bin"),
        signature: read("tpm_quote_sig_rsassa_sha256.bin"),
        pcrs: pcrs.try_into().expect("24 registers"),
    })
}

fn evidence(parts: &AzureEvidence) -> Evidence {
    Evidence::new(PlatformId::AzureSnp, parts.encode())
}

fn facts(parts: &AzureEvidence, endorsements: &Endorsements) -> (AzureFacts, Vec<u8>) {
    let facts = verify(&evidence(parts), endorsements, NOW).expect("it verifies");
    assert_eq!(facts.class(), TrustClass::Processor);
    match facts.platform() {
        PlatformFacts::AzureSnp(azure) => ((**azure).clone(), facts.bound().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_says_what_it_was_recorded_to_say() {
    if let Some((parts, endorsements)) = azure("snp-milan") {
        let (found, bound) = facts(&parts, &endorsements);
        assert_eq!(bound, b"challenge");
        assert_eq!(
            found.snp.measurement,
            bytes(
                "6a063be9dd79f6371c842e480f8dc3b5c725961344e57130e88c5adf49e8f7f6c79b75a5eb77fc769959f4aeb2f9401e"
            )
        );
        assert!(found.pcrs[0].starts_with(&bytes::<4>("e15c4479")), "{found:?}");
        assert!(found.secure_boot);
        assert_eq!((found.snp.vmpl, &found.snp.key), (0, &SnpKey::Vcek));
        assert_eq!(found.user_data, "0".repeat(128));
    }
    if let Some((parts, endorsements)) = azure("snp-milan-userdata") {
        let (found, bound) = facts(&parts, &endorsements);
        assert!(bound.starts_with(&bytes::<4>("982f5c6e")), "{bound:?}");
        assert!(found.user_data.starts_with(&hex::encode(&bound)), "{found:?}");
    }
}

#[test]
fn no_byte_of_a_machines_evidence_can_be_another() {
    let Some((parts, endorsements)) = azure("snp-milan") else { return };
    let whole = evidence(&parts);
    assert!(verify(&whole, &endorsements, NOW).is_ok(), "as it is");
    for at in 0..whole.body.len() {
        let mut altered = whole.clone();
        altered.body[at] ^= 1;
        assert!(verify(&altered, &endorsements, NOW).is_err(), "byte {at}");
    }
    for at in [0, 1, 100, 2600, whole.body.len() - 1] {
        let cut = Evidence { body: whole.body[..at].to_vec(), ..whole.clone() };
        assert!(verify(&cut, &endorsements, NOW).is_err(), "cut at {at}");
    }
}

/// Each part is genuine, and of another machine.
#[test]
fn parts_of_two_machines_are_not_one() {
    let Some((one, endorsements)) = azure("snp-milan") else { return };
    let Some((other, _)) = azure("snp-milan-userdata") else { return };
    let refused = |parts: &AzureEvidence| {
        verify(&evidence(parts), &endorsements, NOW).expect_err("it is mixed")
    };
    let quote = AzureEvidence { quote: other.quote.clone(), ..one.clone() };
    assert_eq!(refused(&quote), VerifyError::Signature(coco_crypto::SignatureInvalid));
    let signed = AzureEvidence { signature: other.signature.clone(), ..quote };
    assert_eq!(refused(&signed), VerifyError::Signature(coco_crypto::SignatureInvalid));
    let registers = AzureEvidence { pcrs: other.pcrs, ..one.clone() };
    assert_eq!(refused(&registers), VerifyError::OtherMachine { what: "the registers" });
    // What the other's paravisor says of its key, under this one's report.
    let mut hcl_report = one.hcl_report;
    hcl_report[1216..].copy_from_slice(&other.hcl_report[1216..]);
    let said = AzureEvidence { hcl_report, ..other };
    assert_eq!(refused(&said), VerifyError::OtherMachine { what: "what the paravisor says" });
}

#[test]
fn a_policy_admits_a_machine_by_paravisor_and_registers() {
    let Some((parts, endorsements)) = azure("snp-milan-userdata") else { return };
    let (found, _) = facts(&parts, &endorsements);
    let code = PcrCode { pcrs: BTreeMap::from([(4, found.pcrs[4]), (11, found.pcrs[11])]) };
    let snp = policy_of(&found.snp);
    let policy = AppraisalPolicy {
        azure_snp: Some(AzureSnpPolicy { snp, secure_boot: true, code: vec![code] }),
        ..AppraisalPolicy::none(3)
    };
    let judged = |policy: &AppraisalPolicy| {
        policy.judge(&verify(&evidence(&parts), &endorsements, NOW).expect("it verifies"), NOW)
    };
    assert_eq!(judged(&policy), Ok(()));
    let other = |change: &dyn Fn(&mut AzureSnpPolicy)| {
        let mut policy = policy.clone();
        change(policy.azure_snp.as_mut().expect("it has one"));
        judged(&policy).expect_err("it is refused")
    };
    let error = other(&|policy| policy.code[0].pcrs.insert(4, [0; 32]).map_or((), drop));
    assert!(matches!(error, AppraiseError::Measurement { platform: PlatformId::AzureSnp, .. }));
    let error = other(&|policy| policy.code[0].pcrs.clear());
    assert!(matches!(error, AppraiseError::Measurement { platform: PlatformId::AzureSnp, .. }));
    let error = other(&|policy| policy.snp.code[0].measurement[0] ^= 1);
    assert!(matches!(error, AppraiseError::Measurement { platform: PlatformId::Snp, .. }));
    let nobody = AppraisalPolicy { azure_snp: None, ..policy.clone() };
    let error = judged(&nobody).expect_err("the platform is not admitted");
    assert_eq!(error, AppraiseError::PlatformNotAllowed(PlatformId::AzureSnp));
}

/// A machine on TDX. What Intel says of it was not recorded, so it is as far as one comes without that.
fn azure_tdx() -> Option<AzureTdxEvidence> {
    let td_quote = fs::read(folder("azure/tdx")?.join("td_quote.bin")).expect("a quote");
    Some(AzureTdxEvidence { machine: parts("tdx")?, td_quote })
}

fn verified_tdx(evidence: &AzureTdxEvidence) -> Result<Facts, VerifyError> {
    let evidence = Evidence::new(PlatformId::AzureTdx, evidence.encode());
    verify(&evidence, &Endorsements::default(), NOW)
}

/// All that is there belongs together, and what is missing is named.
const MISSING: VerifyError =
    VerifyError::Pieces { kind: EndorsementKind::RevocationList, found: 0, expected: 2 };

#[test]
fn a_machine_on_tdx_is_refused_for_what_is_missing_only() {
    let Some(evidence) = azure_tdx() else { return };
    assert_eq!(verified_tdx(&evidence), Err(MISSING));
    // Intel's documents of another kind of machine are none of this one's.
    let Some((_, endorsements)) = intel("tdx/dcap-qvl-v4", PlatformId::Tdx) else { return };
    let whole = Evidence::new(PlatformId::AzureTdx, evidence.encode());
    assert!(verify(&whole, &endorsements, 1_750_400_000).is_err());
    // What only the machine itself can check is not carried, and nothing else stands there.
    // Behind the length of the paravisor's report.
    let hidden = 8 + 32..8 + 1216;
    assert!(evidence.machine.hcl_report[32..1216].iter().any(|byte| *byte != 0));
    assert!(whole.body[hidden.clone()].iter().all(|byte| *byte == 0));
    for at in hidden.step_by(37) {
        let mut altered = whole.clone();
        altered.body[at] ^= 1;
        let found = verify(&altered, &Endorsements::default(), NOW);
        let what = "a report that only the same machine can check";
        assert_eq!(found, Err(VerifyError::Malformed { what, at: 32 }));
    }
    // The same parts are no machine on SEV-SNP, nor the other way round.
    let other = Evidence { platform: PlatformId::AzureSnp, ..whole };
    assert!(matches!(
        verify(&other, &Endorsements::default(), NOW),
        Err(VerifyError::Malformed { .. })
    ));
    if let Some(machine) = parts("snp-milan") {
        let other = AzureTdxEvidence { machine, ..evidence };
        assert!(matches!(verified_tdx(&other), Err(VerifyError::Malformed { .. })));
    }
}

#[test]
fn no_byte_of_a_machine_on_tdx_can_be_another() {
    let Some(evidence) = azure_tdx() else { return };
    let whole = evidence.encode();
    let quote = whole.len() - evidence.td_quote.len();
    // The quote by itself is tried elsewhere.
    for at in (0..quote).chain((quote..whole.len()).step_by(16)) {
        let mut body = whole.clone();
        body[at] ^= 1;
        let altered = Evidence::new(PlatformId::AzureTdx, body);
        let found = verify(&altered, &Endorsements::default(), NOW);
        assert!(found.is_err_and(|error| error != MISSING), "byte {at}");
    }
    for end in [0, 4, 100, quote - 4, quote, whole.len() - 1] {
        let cut = Evidence::new(PlatformId::AzureTdx, whole[..end].to_vec());
        let found = verify(&cut, &Endorsements::default(), NOW);
        assert!(found.is_err_and(|error| error != MISSING), "cut at {end}");
    }
}

#[test]
fn parts_of_two_machines_are_not_one_on_tdx() {
    let (Some(one), Some(other)) = (azure_tdx(), parts("snp-milan")) else { return };
    let refused = |change: &dyn Fn(&mut AzureTdxEvidence)| {
        let mut evidence = one.clone();
        change(&mut evidence);
        verified_tdx(&evidence).expect_err("it is mixed")
    };
    let unsigned = VerifyError::Signature(coco_crypto::SignatureInvalid);
    assert_eq!(refused(&|parts| parts.machine.quote.clone_from(&other.quote)), unsigned);
    assert_eq!(refused(&|parts| parts.machine.signature.clone_from(&other.signature)), unsigned);
    let registers = VerifyError::OtherMachine { what: "the registers" };
    assert_eq!(refused(&|parts| parts.machine.pcrs = other.pcrs), registers);
    // What another paravisor says of its key, under this one's quote.
    let said = VerifyError::OtherMachine { what: "what the paravisor says" };
    let found = refused(&|parts| {
        parts.machine.hcl_report.truncate(1216);
        parts.machine.hcl_report.extend_from_slice(&other.hcl_report[1216..]);
        // It is of a machine on TDX, and as long as it says.
        parts.machine.hcl_report[1224] = 4;
        parts.machine.hcl_report[8..12].copy_from_slice(&other.hcl_report[8..12]);
    });
    assert_eq!(found, said);
    // The quote of another domain.
    let Some((domain, _)) = intel("tdx/dcap-qvl-v4", PlatformId::Tdx) else { return };
    assert_eq!(refused(&|parts| parts.td_quote.clone_from(&domain.body)), said);
}

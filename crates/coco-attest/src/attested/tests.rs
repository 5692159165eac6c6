//! What policies refuse of machines that nobody has recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    PcrCode, SnpGenerationPolicy, SnpOwner, SnpTcb, TcbComponent,
    tpm::{TPM_PCR_BYTES, TPM_PCRS},
};

const NOW: u64 = 1_748_736_000;
const TCB: SnpTcb = SnpTcb { bootloader: 10, tee: 1, snp: 23, microcode: 84, fmc: 0 };

pub(crate) fn report() -> SnpFacts {
    SnpFacts {
        version: 3,
        generation: Generation::Genoa,
        key: SnpKey::Vcek,
        measurement: [1; 48],
        host_data: [2; 32],
        guest_svn: 4,
        id_key: [3; 48],
        author_key: [0; 48],
        chip_id: [5; 64],
        vmpl: 0,
        reported_tcb: TCB,
        committed_tcb: TCB,
        revocation_list: true,
        flags: BTreeSet::new(),
    }
}

/// A policy that admits that report and nothing else.
fn admits() -> SnpPolicy {
    let machines = SnpGenerationPolicy { tcb_min: TCB, chips: Some(BTreeSet::from([[5; 64]])) };
    let owner = SnpOwner { id_keys: BTreeSet::from([[3; 48]]), guest_svn_min: 4 };
    let code = SnpCode {
        measurement: [1; 48],
        host_data: Some(BTreeSet::from([[2; 32]])),
        owner: Some(owner),
    };
    let machine = SnpMachinePolicy {
        generations: BTreeMap::from([(Generation::Genoa, machines)]),
        version_min: 3,
        vmpl_max: 0,
        vcek: true,
        vlek_providers: BTreeSet::new(),
        smt: false,
        alias_check: true,
        revocation_list: RevocationRule::Required,
    };
    SnpPolicy { machine, code: vec![code] }
}

fn registers() -> AzureFacts {
    AzureFacts {
        snp: report(),
        pcrs: [[9; TPM_PCR_BYTES]; TPM_PCRS],
        secure_boot: true,
        user_data: String::new(),
        resets: 1,
        restarts: 0,
    }
}

fn enclave() -> NitroFacts {
    NitroFacts {
        pcrs: BTreeMap::from([(0, vec![8; 48]), (16, vec![8; 48])]),
        is_tpm: false,
        module_id: "i-0".to_owned(),
        nonce: Vec::new(),
        public_key: Vec::new(),
        debug: false,
    }
}

fn policy() -> AppraisalPolicy {
    let pcrs = BTreeMap::from([(4, [9; TPM_PCR_BYTES])]);
    let azure_snp =
        AzureSnpPolicy { snp: admits(), secure_boot: true, code: vec![PcrCode { pcrs }] };
    let code = NitroCode { is_tpm: false, pcrs: BTreeMap::from([(0, vec![8; 48])]) };
    AppraisalPolicy {
        class_min: TrustClass::Hypervisor,
        age_max_s: 60,
        snp: Some(admits()),
        azure_snp: Some(azure_snp),
        nitro: Some(NitroPolicy { code: vec![code] }),
        ..AppraisalPolicy::none(1)
    }
}

fn judged(platform: PlatformFacts, policy: &AppraisalPolicy) -> Result<(), AppraiseError> {
    let valid = Validity { not_before: 0, not_after: u64::MAX };
    let facts = Facts { bound: vec![7; 64], made: Some(NOW), valid, platform };
    policy.judge(&facts, NOW)
}

/// What the policy says of the report with a change.
fn changed(change: impl FnOnce(&mut SnpFacts)) -> Result<(), AppraiseError> {
    let mut facts = report();
    change(&mut facts);
    judged(PlatformFacts::Snp(Box::new(facts)), &policy())
}

#[test]
fn each_field_of_a_report_can_be_what_is_refused() {
    assert_eq!(changed(|_| ()), Ok(()));
    for flag in [Flag::Debug, Flag::Migration, Flag::Smt, Flag::MaskedKey, Flag::AliasUnchecked] {
        let found = changed(|facts| facts.flags = BTreeSet::from([flag]));
        assert_eq!(found, Err(AppraiseError::Flag(flag)));
    }
    let below =
        |which, component, have, need| Err(AppraiseError::Tcb { which, component, have, need });
    let found = changed(|facts| facts.reported_tcb.snp = 22);
    assert_eq!(found, below("reported", TcbComponent::Snp, 22, 23));
    let found = changed(|facts| facts.committed_tcb.bootloader = 9);
    assert_eq!(found, below("committed", TcbComponent::Bootloader, 9, 10));
    assert_eq!(changed(|facts| facts.reported_tcb.microcode = 85), Ok(()));
    for vmpl in [1, 3, 4, u32::MAX] {
        let found = changed(|facts| facts.vmpl = vmpl);
        assert_eq!(found, Err(AppraiseError::Vmpl { have: vmpl, max: 0 }));
    }
    let found = changed(|facts| facts.key = SnpKey::Vlek { provider: "cloud".to_owned() });
    assert!(matches!(found, Err(AppraiseError::Key { .. })), "{found:?}");
    let found = changed(|facts| facts.revocation_list = false);
    assert_eq!(found, Err(AppraiseError::RevocationList));
    let found = changed(|facts| facts.chip_id[63] = 6);
    assert!(matches!(found, Err(AppraiseError::HardwareId { .. })), "{found:?}");
    let found = changed(|facts| facts.id_key = [0; 48]);
    assert_eq!(found, Err(AppraiseError::Owner { have: "0".repeat(96) }));
    let found = changed(|facts| facts.guest_svn = 3);
    assert_eq!(found, Err(AppraiseError::GuestSvn { have: 3, need: 4 }));
}

/// However much a policy admits.
#[test]
fn some_machines_are_never_admitted() {
    let with = |change: &dyn Fn(&mut SnpMachinePolicy, &mut SnpFacts)| {
        let (mut policy, mut facts) = (policy(), report());
        change(&mut policy.snp.as_mut().expect("it has one").machine, &mut facts);
        judged(PlatformFacts::Snp(Box::new(facts)), &policy)
    };
    let found = with(&|policy, facts| (policy.vmpl_max, facts.vmpl) = (u32::MAX, u32::MAX));
    assert_eq!(found, Err(AppraiseError::Vmpl { have: u32::MAX, max: 3 }));
    // A machine on a list, by its own key only, and by its own id.
    let found = with(&|policy, facts| {
        let provider = "cloud".to_owned();
        policy.vlek_providers.insert(provider.clone());
        facts.key = SnpKey::Vlek { provider };
    });
    assert!(matches!(found, Err(AppraiseError::HardwareId { .. })), "{found:?}");
    let found = with(&|policy, facts| {
        let machines = policy.generations.get_mut(&Generation::Genoa).expect("it has it");
        machines.chips = Some(BTreeSet::from([[0; 64]]));
        facts.chip_id = [0; 64];
    });
    assert!(matches!(found, Err(AppraiseError::HardwareId { .. })), "{found:?}");
    // Any machine, of a generation whose keys can be computed and of another one.
    for (generation, is_admitted) in [(Generation::Milan, false), (Generation::Turin, true)] {
        let found = with(&|policy, facts| {
            let machines = SnpGenerationPolicy { tcb_min: TCB, chips: None };
            policy.generations.insert(generation, machines);
            facts.generation = generation;
        });
        assert_eq!(found.is_ok(), is_admitted, "{generation}: {found:?}");
    }
}

#[test]
fn registers_that_anybody_can_set_name_no_program() {
    let with = |change: &dyn Fn(&mut AzureSnpPolicy, &mut AzureFacts)| {
        let (mut policy, mut facts) = (policy(), registers());
        change(policy.azure_snp.as_mut().expect("it has one"), &mut facts);
        judged(PlatformFacts::AzureSnp(Box::new(facts)), &policy)
    };
    assert_eq!(with(&|_, _| ()), Ok(()));
    assert_eq!(with(&|_, facts| facts.secure_boot = false), Err(AppraiseError::SecureBoot));
    let found = with(&|_, facts| facts.snp.measurement = [0; 48]);
    assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    for at in [16, 23, 24] {
        let found = with(&|policy, _| {
            policy.code[0].pcrs.insert(at, [9; TPM_PCR_BYTES]);
        });
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{at}: {found:?}");
    }
    let mut facts = enclave();
    assert_eq!(judged(PlatformFacts::Nitro(facts.clone()), &policy()), Ok(()));
    let mut settable = policy();
    let code = &mut settable.nitro.as_mut().expect("it has one").code[0];
    code.pcrs.insert(16, vec![8; 48]);
    let found = judged(PlatformFacts::Nitro(facts.clone()), &settable);
    assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    facts.debug = true;
    let found = judged(PlatformFacts::Nitro(facts.clone()), &policy());
    assert_eq!(found, Err(AppraiseError::Flag(Flag::Debug)));
    (facts.debug, facts.is_tpm) = (false, true);
    let (have, need) = (TrustClass::MeasuredBoot, TrustClass::Hypervisor);
    let found = judged(PlatformFacts::Nitro(facts), &policy());
    assert_eq!(found, Err(AppraiseError::Class { have, need }));
}

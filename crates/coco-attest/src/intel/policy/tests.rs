//! What policies refuse of machines that nobody has recorded.

use super::*;
use crate::intel::{IntelConfiguration, IntelShortage, IntelTcbPart, SgxAttributes, TdxUpdate};

const SERVICE: [u8; 48] = [0x5e; 48];

fn machine() -> IntelTcb {
    IntelTcb {
        fmspc: [1; 6],
        machine: [2; 16],
        configuration: IntelConfiguration { smt: Some(false), ..IntelConfiguration::default() },
        status: IntelTcbStatus::SwHardeningNeeded,
        advisories: BTreeSet::from(["INTEL-SA-00615".to_owned()]),
        short: Vec::new(),
        evaluation: 17,
    }
}

/// A policy that admits that machine and nothing else.
fn admits() -> IntelPolicy {
    IntelPolicy {
        statuses: BTreeSet::from([IntelTcbStatus::UpToDate, IntelTcbStatus::SwHardeningNeeded]),
        advisories_refused: BTreeSet::from(["INTEL-SA-00289".to_owned()]),
        evaluation_min: 17,
        kinds: Some(BTreeSet::from([[1; 6]])),
        kinds_refused: BTreeSet::from([[9; 6]]),
        machines: Some(BTreeSet::from([[2; 16]])),
        smt: false,
    }
}

fn enclave() -> SgxFacts {
    SgxFacts {
        tcb: machine(),
        mr_enclave: [3; 32],
        mr_signer: [4; 32],
        isv_prod_id: 5,
        isv_svn: 6,
        attributes: SgxAttributes { flags: 0x5, xfrm: 0xe7 },
        misc: 0,
        config_id: [0; 64],
        config_svn: 0,
    }
}

fn of_enclave(code: SgxCode) -> SgxPolicy {
    SgxPolicy { machine: admits(), code: vec![code] }
}

fn exactly() -> SgxPolicy {
    of_enclave(SgxCode::Enclave { mr_enclave: [3; 32] })
}

/// What the policy says of the enclave with a change.
fn changed(policy: &SgxPolicy, change: impl FnOnce(&mut SgxFacts)) -> Result<(), AppraiseError> {
    let mut facts = enclave();
    change(&mut facts);
    judge_sgx(&facts, policy)
}

#[test]
fn each_field_of_a_machine_can_be_what_is_refused() {
    let with = |change: &dyn Fn(&mut IntelTcb)| changed(&exactly(), |facts| change(&mut facts.tcb));
    assert_eq!(with(&|_| ()), Ok(()));
    let found = with(&|tcb| tcb.fmspc = [8; 6]);
    assert_eq!(found, Err(AppraiseError::Fmspc { have: "08".repeat(6) }));
    let found = with(&|tcb| tcb.machine = [0; 16]);
    assert_eq!(found, Err(AppraiseError::HardwareId { have: "00".repeat(16) }));
    let found = with(&|tcb| tcb.evaluation = 16);
    assert_eq!(found, Err(AppraiseError::Evaluation { have: 16, need: 17 }));
    assert_eq!(with(&|tcb| tcb.evaluation = 18), Ok(()));
    assert_eq!(with(&|tcb| tcb.status = IntelTcbStatus::UpToDate), Ok(()));
    let (part, name) = (IntelTcbPart::Sgx(8), "SEAMLDR ACM".to_owned());
    let short = vec![IntelShortage { part, name, have: 3, need: 5 }];
    let have = IntelTcbStatus::OutOfDate;
    let found = with(&|tcb| (tcb.status, tcb.short) = (have, short.clone()));
    let expected = AppraiseError::IntelTcb { have, short };
    assert_eq!(
        expected.to_string(),
        "machines that Intel calls OutOfDate are not admitted: SGX component 8 (SEAMLDR ACM) is 3 of 5"
    );
    assert_eq!(found, Err(expected));
    let have = "INTEL-SA-00289".to_owned();
    let found = with(&|tcb| tcb.advisories.extend([have.clone()]));
    assert_eq!(found, Err(AppraiseError::Advisory { have }));
    for smt in [None, Some(true)] {
        let found = with(&|tcb| tcb.configuration.smt = smt);
        assert_eq!(found, Err(AppraiseError::Flag(Flag::Smt)));
    }
    let refused = SgxPolicy {
        machine: IntelPolicy { kinds: None, kinds_refused: BTreeSet::from([[1; 6]]), ..admits() },
        ..exactly()
    };
    assert_eq!(changed(&refused, |_| ()), Err(AppraiseError::Fmspc { have: "01".repeat(6) }));
}

/// However much a policy admits, and however little.
#[test]
fn some_machines_are_never_admitted() {
    let everything = [
        IntelTcbStatus::UpToDate,
        IntelTcbStatus::SwHardeningNeeded,
        IntelTcbStatus::ConfigurationNeeded,
        IntelTcbStatus::ConfigurationAndSwHardeningNeeded,
        IntelTcbStatus::TdRelaunchAdvised,
        IntelTcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        IntelTcbStatus::OutOfDate,
        IntelTcbStatus::OutOfDateConfigurationNeeded,
        IntelTcbStatus::NotSupported,
        IntelTcbStatus::Revoked,
    ];
    let statuses = BTreeSet::from(everything);
    let all = SgxPolicy {
        machine: IntelPolicy { statuses, kinds: None, machines: None, smt: true, ..admits() },
        ..exactly()
    };
    let nothing = SgxPolicy { machine: IntelPolicy::default(), ..exactly() };
    for have in everything {
        let is_never = matches!(have, IntelTcbStatus::NotSupported | IntelTcbStatus::Revoked);
        let found = changed(&all, |facts| facts.tcb.status = have);
        assert_eq!(found.is_err(), is_never, "{have}");
        let found = changed(&nothing, |facts| facts.tcb.status = have);
        assert_eq!(found, Err(AppraiseError::IntelTcb { have, short: Vec::new() }));
    }
    let found = changed(&SgxPolicy { code: Vec::new(), ..all }, |_| ());
    assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
}

#[test]
fn an_enclave_is_admitted_by_itself_or_by_its_signer() {
    let found = changed(&exactly(), |facts| facts.mr_enclave[31] = 0);
    assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    let found = changed(&exactly(), |facts| facts.attributes.flags |= 2);
    assert_eq!(found, Err(AppraiseError::Flag(Flag::Debug)));
    for bit in [3, 8, 9, 11, 63] {
        let found = changed(&exactly(), |facts| facts.attributes.flags |= 1 << bit);
        assert!(matches!(found, Err(AppraiseError::Bits { .. })), "{bit}: {found:?}");
    }
    let found = changed(&exactly(), |facts| facts.config_id[0] = 1);
    assert!(matches!(found, Err(AppraiseError::HostData { .. })), "{found:?}");
    let found = changed(&exactly(), |facts| facts.config_svn = 1);
    assert!(matches!(found, Err(AppraiseError::HostData { .. })), "{found:?}");
    let signed = of_enclave(SgxCode::Signer { mr_signer: [4; 32], prod_id: 5, svn_min: 6 });
    assert_eq!(changed(&signed, |facts| facts.mr_enclave = [0; 32]), Ok(()));
    let found = changed(&signed, |facts| facts.isv_svn = 5);
    assert_eq!(found, Err(AppraiseError::GuestSvn { have: 5, need: 6 }));
    assert_eq!(changed(&signed, |facts| facts.isv_svn = 7), Ok(()));
    for found in [
        changed(&signed, |facts| facts.isv_prod_id = 6),
        changed(&signed, |facts| facts.mr_signer[0] = 0),
    ] {
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    }
}

fn domain() -> TdxFacts {
    let mut tee_tcb_svn = [0; 16];
    (tee_tcb_svn[0], tee_tcb_svn[1]) = (6, 1);
    let history = TdxHistory {
        partition: 0,
        id: [7; 32],
        devices: [0; 48],
        service_at_start: ([0; 48], 0),
        started_on: ([0; 16], [0; 16], [0; 12]),
        service: ([0; 48], 0),
    };
    TdxFacts {
        tcb: machine(),
        tee_tcb_svn,
        mr_seam: [1; 48],
        mr_signer_seam: [0; 48],
        attributes: TdAttributes(TdAttributes::SEPT_VE_DISABLE | TdAttributes::PKS),
        xfam: 0x602e7,
        mr_td: [2; 48],
        mr_config_id: [3; 48],
        mr_owner: [4; 48],
        mr_owner_config: [5; 48],
        rtmrs: [[10; 48], [11; 48], [12; 48], [13; 48]],
        update: Some(TdxUpdate { tee_tcb_svn, mr_service_td: [0; 48] }),
        history: Some(Box::new(history)),
        log: None,
    }
}

fn of_domain() -> TdxPolicy {
    let code = TdxCode {
        mr_td: [2; 48],
        rtmrs: [[10; 48], [11; 48], [12; 48]],
        rtmr3: Some([13; 48]),
        mr_config_id: [3; 48],
        mr_owner: [4; 48],
        mr_owner_config: [5; 48],
    };
    TdxPolicy {
        machine: admits(),
        modules: BTreeMap::from([(1, 6)]),
        sept_ve: false,
        attributes: TdAttributes::PKS,
        xfam: 0x602e7,
        service_tds: BTreeSet::from([SERVICE]),
        code: vec![code],
    }
}

/// What the policy says of the domain with a change.
fn td(change: impl FnOnce(&mut TdxFacts)) -> Result<(), AppraiseError> {
    let mut facts = domain();
    change(&mut facts);
    judge_tdx(&facts, &of_domain())
}

#[test]
fn each_attribute_of_a_domain_can_be_what_is_refused() {
    assert_eq!(td(|_| ()), Ok(()));
    for bit in 0..64 {
        let refused = td(|facts| facts.attributes.0 |= 1 << bit);
        match (1 << bit, refused) {
            (TdAttributes::SEPT_VE_DISABLE | TdAttributes::PKS, found) => assert_eq!(found, Ok(())),
            (TdAttributes::DEBUG, found) => {
                assert_eq!(found, Err(AppraiseError::Flag(Flag::Debug)));
            }
            (TdAttributes::MIGRATABLE, found) => {
                assert_eq!(found, Err(AppraiseError::Flag(Flag::Migration)));
            }
            (bit, Err(AppraiseError::Bits { refused, .. })) => assert_eq!(refused, bit),
            (bit, found) => panic!("{bit:#x}: {found:?}"),
        }
        let found = td(|facts| facts.xfam |= 1 << bit);
        assert_eq!(found.is_ok(), 0x602e7_u64 & 1 << bit != 0, "{bit}");
    }
    // Whatever the policy says.
    let all = TdxPolicy { attributes: u64::MAX, ..of_domain() };
    for bit in [1, 4, 5, 6, 7, 8, 27, 32, 62] {
        let mut facts = domain();
        facts.attributes.0 |= 1 << bit;
        let found = judge_tdx(&facts, &all);
        assert!(matches!(found, Err(AppraiseError::Bits { .. })), "{bit}: {found:?}");
    }
    let without = |facts: &mut TdxFacts| facts.attributes = TdAttributes(0);
    assert_eq!(td(without), Err(AppraiseError::SeptVe));
    let mut facts = domain();
    without(&mut facts);
    assert_eq!(judge_tdx(&facts, &TdxPolicy { sept_ve: true, ..of_domain() }), Ok(()));
}

#[test]
fn whoever_serves_a_domain_is_voted_for() {
    fn update(facts: &mut TdxFacts) -> &mut TdxUpdate {
        facts.update.as_mut().expect("it has one")
    }
    fn history(facts: &mut TdxFacts) -> &mut TdxHistory {
        facts.history.as_mut().expect("it has one")
    }
    assert_eq!(td(|facts| update(facts).mr_service_td = SERVICE), Ok(()));
    let refused = Err(AppraiseError::ServiceTd { have: "01".repeat(48) });
    assert_eq!(td(|facts| update(facts).mr_service_td = [1; 48]), refused);
    assert_eq!(td(|facts| history(facts).service = ([1; 48], 1)), refused);
    assert_eq!(td(|facts| history(facts).service_at_start = ([1; 48], 1)), refused);
    assert_eq!(td(|facts| history(facts).service = (SERVICE, 1)), Ok(()));
    for found in [
        td(|facts| history(facts).service.1 = 1),
        td(|facts| history(facts).service_at_start.1 = 1),
        td(|facts| history(facts).partition = 1),
        td(|facts| history(facts).devices[47] = 1),
    ] {
        assert!(matches!(found, Err(AppraiseError::Register { .. })), "{found:?}");
    }
    for found in [
        td(|facts| history(facts).started_on.0[0] = 1),
        td(|facts| history(facts).started_on.1[0] = 1),
        td(|facts| history(facts).started_on.2[0] = 1),
    ] {
        assert_eq!(found, Err(AppraiseError::Flag(Flag::Migration)));
    }
    assert_eq!(td(|facts| (facts.update, facts.history) = (None, None)), Ok(()));
}

type Change = fn(&mut TdxFacts);

#[test]
fn each_measurement_of_a_domain_can_be_what_is_refused() {
    let found = td(|facts| facts.tee_tcb_svn[0] = 5);
    let refused = |number, have, need| Err(AppraiseError::TdxModule { number, have, need });
    assert_eq!(found, refused(1, 5, Some(6)));
    assert_eq!(td(|facts| facts.tee_tcb_svn[1] = 3), refused(3, 6, None));
    assert_eq!(td(|facts| facts.tee_tcb_svn[1] = 0), refused(0, 6, None));
    let changes: [Change; 4] = [
        |facts| facts.mr_td[0] = 0,
        |facts| facts.rtmrs[0][0] = 0,
        |facts| facts.rtmrs[1][47] = 0,
        |facts| facts.rtmrs[2][0] = 0,
    ];
    for change in changes {
        let found = td(change);
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{found:?}");
    }
    let changes: [(Change, &str); 4] = [
        (|facts| facts.rtmrs[3][0] = 0, "register 3"),
        (|facts| facts.mr_config_id = [0; 48], "the configuration of the host"),
        (|facts| facts.mr_owner[0] = 0, "the owner"),
        (|facts| facts.mr_owner_config[0] = 0, "the owner's configuration"),
    ];
    for (change, expected) in changes {
        match td(change) {
            Err(AppraiseError::Register { which, .. }) => assert_eq!(which, expected),
            other => panic!("{other:?}"),
        }
    }
    let mut free = of_domain();
    free.code[0].rtmr3 = None;
    let mut facts = domain();
    facts.rtmrs[3] = [0; 48];
    assert_eq!(judge_tdx(&facts, &free), Ok(()));
}

#[test]
fn a_machine_of_azure_is_admitted_by_paravisor_and_registers() {
    let facts = AzureTdxFacts {
        tdx: domain(),
        pcrs: [[9; 32]; 24],
        secure_boot: true,
        user_data: String::new(),
        resets: 1,
        restarts: 0,
    };
    let pcrs = BTreeMap::from([(4, [9; 32])]);
    let policy =
        AzureTdxPolicy { tdx: of_domain(), secure_boot: true, code: vec![PcrCode { pcrs }] };
    assert_eq!(judge_azure_tdx(&facts, &policy), Ok(()));
    let other = AzureTdxFacts { secure_boot: false, ..facts.clone() };
    assert_eq!(judge_azure_tdx(&other, &policy), Err(AppraiseError::SecureBoot));
    for pcrs in [
        BTreeMap::new(),
        BTreeMap::from([(4, [8; 32])]),
        BTreeMap::from([(4, [9; 32]), (16, [9; 32])]),
    ] {
        let policy = AzureTdxPolicy { code: vec![PcrCode { pcrs }], ..policy.clone() };
        let found = judge_azure_tdx(&facts, &policy);
        let platform = PlatformId::AzureTdx;
        assert!(
            matches!(found, Err(AppraiseError::Measurement { platform: of, .. }) if of == platform),
            "{found:?}"
        );
    }
    let mut other = facts;
    other.tdx.mr_td = [0; 48];
    let found = judge_azure_tdx(&other, &policy);
    assert!(
        matches!(found, Err(AppraiseError::Measurement { platform: PlatformId::Tdx, .. })),
        "{found:?}"
    );
}

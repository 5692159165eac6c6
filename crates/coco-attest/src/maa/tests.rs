//! What policies refuse of tokens that nobody has recorded.

use super::*;
use crate::{SnpOwner, TcbComponent};

const ISSUER: &str = "https://instance";

fn facts() -> MaaFacts {
    let guest = MaaGuest {
        measurement: [1; 48],
        host_data: [0; 32],
        guest_svn: 4,
        id_key: [3; 48],
        author_key: [0; 48],
        report_data: [6; 64],
        vmpl: 0,
        tcb: SnpTcb { bootloader: 4, tee: 0, snp: 24, microcode: 219, fmc: 0 },
        compliance: "good".to_owned(),
        flags: BTreeSet::new(),
    };
    MaaFacts {
        issuer: ISSUER.to_owned(),
        key: Digest([1; 32]),
        policy: Digest([2; 32]),
        machine: "VM".to_owned(),
        is_windows: false,
        pcrs: (0..8).collect(),
        flags: BTreeSet::new(),
        guest: Some(guest),
    }
}

fn policy() -> MaaPolicy {
    let issuer = MaaIssuer {
        keys: BTreeSet::from([Digest([1; 32])]),
        policies: BTreeSet::from([Digest([2; 32])]),
    };
    let owner = SnpOwner { id_keys: BTreeSet::from([[3; 48]]), guest_svn_min: 4 };
    let guest = MaaGuestPolicy {
        tcb_min: SnpTcb { bootloader: 4, tee: 0, snp: 24, microcode: 219, fmc: 0 },
        smt: false,
        compliance: BTreeSet::from(["good".to_owned()]),
        code: vec![SnpCode { measurement: [1; 48], host_data: None, owner: Some(owner) }],
    };
    MaaPolicy {
        issuers: BTreeMap::from([(ISSUER.to_owned(), issuer)]),
        secure_boot: true,
        pcrs: BTreeSet::from([0, 7]),
        machines: Some(BTreeSet::from(["VM".to_owned()])),
        guest: Some(guest),
        unconfidential: false,
    }
}

fn judged(change: impl FnOnce(&mut MaaFacts, &mut MaaPolicy)) -> Result<(), AppraiseError> {
    let (mut facts, mut policy) = (facts(), policy());
    change(&mut facts, &mut policy);
    judge(&facts, &policy)
}

fn guest(change: impl FnOnce(&mut MaaGuest)) -> Result<(), AppraiseError> {
    judged(|facts, _| change(facts.guest.as_mut().expect("it has one")))
}

#[test]
fn a_service_is_believed_by_name_key_and_policy() {
    assert_eq!(judged(|_, _| ()), Ok(()));
    let found = judged(|facts, _| facts.issuer.push('/'));
    assert_eq!(found, Err(AppraiseError::Issuer { have: format!("{ISSUER}/") }));
    let found = judged(|_, policy| policy.issuers.clear());
    assert_eq!(found, Err(AppraiseError::Issuer { have: ISSUER.to_owned() }));
    let found = judged(|facts, _| facts.key = Digest([2; 32]));
    assert!(matches!(found, Err(AppraiseError::Key { .. })), "{found:?}");
    let have = Digest([1; 32]);
    let found = judged(|facts, _| facts.policy = have);
    assert_eq!(found, Err(AppraiseError::IssuerPolicy { issuer: ISSUER.to_owned(), have }));
    // The key of another instance that is believed, too.
    let found = judged(|facts, policy| {
        let keys = BTreeSet::from([Digest([9; 32])]);
        let other = MaaIssuer { keys, ..policy.issuers[ISSUER].clone() };
        policy.issuers.insert("https://other".to_owned(), other);
        facts.key = Digest([9; 32]);
    });
    assert!(matches!(found, Err(AppraiseError::Key { .. })), "{found:?}");
    assert!(judge(&facts(), &MaaPolicy::default()).is_err());
}

#[test]
fn what_was_started_can_be_what_is_refused() {
    for flag in
        [MaaFlag::InsecureBoot, MaaFlag::OtherBootKeys, MaaFlag::Debuggers, MaaFlag::TestSigning]
    {
        let flags = || BTreeSet::from([flag]);
        let found = judged(|facts, _| facts.flags = flags());
        assert_eq!(found, Err(AppraiseError::MaaFlag(flag)));
        let found = judged(|facts, policy| {
            facts.flags = flags();
            policy.secure_boot = false;
        });
        let is_boot = matches!(flag, MaaFlag::InsecureBoot | MaaFlag::OtherBootKeys);
        assert_eq!(found.is_ok(), is_boot, "{flag:?}");
    }
    let found = judged(|facts, _| assert!(facts.pcrs.remove(&7)));
    assert_eq!(found, Err(AppraiseError::Unseen { at: 7 }));
    let found = judged(|facts, _| facts.machine.push('2'));
    let have = "VM2".to_owned();
    assert_eq!(found, Err(AppraiseError::Instance { what: "machine", have }));
    assert_eq!(judged(|_, policy| policy.machines = None), Ok(()));
}

#[test]
fn each_kind_of_machine_is_admitted_by_itself() {
    let found = judged(|_, policy| policy.guest = None);
    assert_eq!(found, Err(AppraiseError::Confidential { have: true }));
    let found = judged(|facts, _| facts.guest = None);
    assert_eq!(found, Err(AppraiseError::Confidential { have: false }));
    let found = judged(|facts, policy| {
        facts.guest = None;
        policy.unconfidential = true;
    });
    assert_eq!(found, Ok(()));
    // A confidential machine is not admitted as another one.
    let found = judged(|_, policy| {
        policy.guest = None;
        policy.unconfidential = true;
    });
    assert_eq!(found, Err(AppraiseError::Confidential { have: true }));
}

#[test]
fn each_field_of_a_guest_can_be_what_is_refused() {
    for flag in [Flag::Debug, Flag::Migration, Flag::Smt] {
        let found = guest(|guest| guest.flags = BTreeSet::from([flag]));
        assert_eq!(found, Err(AppraiseError::Flag(flag)));
    }
    assert_eq!(guest(|guest| guest.vmpl = 1), Err(AppraiseError::Vmpl { have: 1, max: 0 }));
    let (which, component) = ("reported", TcbComponent::Microcode);
    let below = AppraiseError::Tcb { which, component, have: 218, need: 219 };
    assert_eq!(guest(|guest| guest.tcb.microcode = 218), Err(below));
    let found = guest(|guest| guest.compliance.push('!'));
    assert_eq!(found, Err(AppraiseError::Compliance { have: "good!".to_owned() }));
    let found = guest(|guest| guest.measurement[0] = 0);
    assert!(
        matches!(found, Err(AppraiseError::Measurement { platform: PlatformId::Maa, .. })),
        "{found:?}"
    );
    let found = guest(|guest| guest.id_key[0] = 0);
    assert!(matches!(found, Err(AppraiseError::Owner { .. })), "{found:?}");
    let found = guest(|guest| guest.guest_svn = 3);
    assert_eq!(found, Err(AppraiseError::GuestSvn { have: 3, need: 4 }));
}

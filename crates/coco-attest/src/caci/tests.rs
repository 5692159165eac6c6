//! What policies refuse of containers that nobody has recorded.

use std::collections::BTreeMap;

use super::*;
use crate::{Flag, Generation, RevocationRule, SnpGenerationPolicy, attested::tests::report};

const DID: &str = "did:x509:0:sha256:AA::eku:1.2.3";

fn facts() -> SnpCaciFacts {
    let snp = SnpFacts { guest_svn: 2, ..report() };
    let uvm = UvmFacts { did: DID.to_owned(), feed: "line".to_owned(), svn: 22, signed: 7 };
    SnpCaciFacts { snp, uvm }
}

fn line(feed: &str, svn_min: u64) -> UvmPolicy {
    UvmPolicy { did: DID.to_owned(), feed: feed.to_owned(), svn_min }
}

fn policy() -> SnpCaciPolicy {
    let machine = SnpMachinePolicy {
        generations: BTreeMap::from([(Generation::Genoa, SnpGenerationPolicy::default())]),
        version_min: 3,
        vmpl_max: 0,
        vcek: true,
        vlek_providers: BTreeSet::new(),
        smt: true,
        alias_check: false,
        revocation_list: RevocationRule::Required,
    };
    SnpCaciPolicy {
        machine,
        uvm: vec![line("line", 22), line("other", 0)],
        host_data: BTreeSet::from([[2; 32]]),
    }
}

fn judged(change: impl FnOnce(&mut SnpCaciFacts, &mut SnpCaciPolicy)) -> Result<(), AppraiseError> {
    let (mut facts, mut policy) = (facts(), policy());
    change(&mut facts, &mut policy);
    judge(&facts, &policy)
}

#[test]
fn a_utility_vm_is_admitted_by_signer_line_and_version() {
    assert_eq!(judged(|_, _| ()), Ok(()));
    assert_eq!(judged(|facts, _| facts.uvm.svn = 23), Ok(()));
    let found = judged(|facts, _| facts.uvm.svn = 21);
    assert_eq!(found, Err(AppraiseError::UvmSvn { have: 21, need: 22 }));
    let (did, feed) = (DID.to_owned(), "lin".to_owned());
    let found = judged(|facts, _| facts.uvm.feed.truncate(3));
    assert_eq!(found, Err(AppraiseError::Uvm { did, feed }));
    for change in [
        (|facts, _| facts.uvm.did.push('0')) as fn(&mut SnpCaciFacts, &mut SnpCaciPolicy),
        |_, policy| policy.uvm.clear(),
        |_, policy| policy.uvm[0].did.clear(),
    ] {
        let found = judged(change);
        assert!(matches!(found, Err(AppraiseError::Uvm { .. })), "{found:?}");
    }
}

#[test]
fn containers_are_admitted_by_name_and_on_admitted_machines_only() {
    let refused =
        |host_data: [u8; 32]| Err(AppraiseError::HostData { have: hex::encode(host_data) });
    assert_eq!(judged(|_, policy| policy.host_data.clear()), refused([2; 32]));
    assert_eq!(judged(|facts, _| facts.snp.host_data = [0; 32]), refused([0; 32]));
    let found = judged(|facts, _| facts.snp.flags = BTreeSet::from([Flag::Debug]));
    assert_eq!(found, Err(AppraiseError::Flag(Flag::Debug)));
    let found = judged(|facts, _| facts.snp.vmpl = 1);
    assert_eq!(found, Err(AppraiseError::Vmpl { have: 1, max: 0 }));
    let found = judged(|_, policy| policy.machine.generations.clear());
    assert_eq!(found, Err(AppraiseError::Generation(Generation::Genoa)));
}

#[test]
fn a_security_policy_has_a_limit_and_is_base64() {
    for (length, is_read) in [
        (SECURITY_POLICY_BYTES_MAX - 4, true),
        (SECURITY_POLICY_BYTES_MAX, true),
        (SECURITY_POLICY_BYTES_MAX + 4, false),
    ] {
        assert_eq!(host_data_of_policy(&"A".repeat(length)).is_some(), is_read, "{length}");
    }
    assert_eq!(host_data_of_policy("cGFja2FnZQ=="), Some(sha256(b"package").0));
    for other in ["cGFja2FnZQ", "cGFja2FnZQ==\n", "!"] {
        assert_eq!(host_data_of_policy(other), None, "{other}");
    }
}

//! What policies refuse of machines that nobody has recorded.

use std::collections::BTreeMap;

use super::*;
use crate::tpm::{TPM_PCR_BYTES, TPM_PCRS};

fn facts() -> GcpFacts {
    let instance = GcpInstance {
        zone: "zone".to_owned(),
        project_number: 1,
        project: "project".to_owned(),
        instance: 2,
        name: "name".to_owned(),
        security_version: 0,
        is_production: true,
    };
    GcpFacts { instance, pcrs: [[9; TPM_PCR_BYTES]; TPM_PCRS], resets: 0, restarts: 0 }
}

fn policy() -> GcpPolicy {
    GcpPolicy {
        projects: BTreeSet::from(["project".to_owned()]),
        zones: Some(BTreeSet::from(["zone".to_owned()])),
        instances: Some(BTreeSet::from([2])),
        code: vec![PcrCode { pcrs: BTreeMap::from([(4, [9; TPM_PCR_BYTES])]) }],
    }
}

fn judged(change: impl FnOnce(&mut GcpFacts, &mut GcpPolicy)) -> Result<(), AppraiseError> {
    let (mut facts, mut policy) = (facts(), policy());
    change(&mut facts, &mut policy);
    judge(&facts, &policy)
}

#[test]
fn a_machine_is_admitted_by_project_place_and_number() {
    assert_eq!(judged(|_, _| ()), Ok(()));
    assert_eq!(
        judged(|facts, _| facts.instance.is_production = false),
        Err(AppraiseError::NotProduction)
    );
    let other = |what, have: &str| Err(AppraiseError::Instance { what, have: have.to_owned() });
    assert_eq!(judged(|_, policy| policy.projects.clear()), other("project", "project"));
    let found = judged(|facts, _| facts.instance.project.push('2'));
    assert_eq!(found, other("project", "project2"));
    let found = judged(|facts, _| facts.instance.zone.clear());
    assert_eq!(found, other("zone", ""));
    assert_eq!(judged(|facts, _| facts.instance.instance = 3), other("machine", "3"));
    let found = judged(|facts, policy| {
        facts.instance.instance = 3;
        facts.instance.zone.clear();
        (policy.zones, policy.instances) = (None, None);
    });
    assert_eq!(found, Ok(()));
}

#[test]
fn registers_that_anybody_can_set_name_no_program() {
    let refused: [fn(&mut GcpFacts, &mut GcpPolicy); 5] = [
        |facts, _| facts.pcrs[4][0] = 0,
        |_, policy| policy.code.clear(),
        |_, policy| policy.code[0].pcrs.clear(),
        |_, policy| assert!(policy.code[0].pcrs.insert(16, [9; TPM_PCR_BYTES]).is_none()),
        |_, policy| assert!(policy.code[0].pcrs.insert(24, [9; TPM_PCR_BYTES]).is_none()),
    ];
    for (at, change) in refused.into_iter().enumerate() {
        let found = judged(change);
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{at}: {found:?}");
    }
    assert_eq!(judged(|facts, _| facts.pcrs[5][0] = 0), Ok(()));
}

//! What an auditor and a backup believe of an entry.

use coco_attest::AppraiseError;
use coco_governance::CLOCKS_APART_MAX_S;
use coco_kv::Domain;
use coco_ledger::{NodeStatus, put_introduced_node, put_status};
use coco_types::Seqno;

use super::*;

const CODE: Digest = Digest([0xc0; 32]);
const OTHER: Digest = Digest([0xd0; 32]);
const NODE: NodeId = NodeId([7; 32]);
const TRANSCRIPT: Digest = Digest([4; 32]);
const NOW_S: u64 = 1_800_000_000;

fn node(code: Digest) -> GenesisNode {
    GenesisNode {
        node_id: NODE,
        certificate_pem: String::new(),
        request_pem: None,
        quote_format: "Insecure_Virtual".into(),
        code_digest: code,
        rpc_address: "there:1".into(),
        peer_address: "there:2".into(),
        encryption_key_pem: "KEY".into(),
    }
}

/// An auditor of a service whose members admit this code, after its first entry, and the time of the signature over it.
fn begun() -> AttestationAudit {
    let mut audit = AttestationAudit::default();
    let mut writes = WriteSet::new();
    let first = GenesisNode { node_id: NodeId([1; 32]), ..node(CODE) };
    put_introduced_node(&mut writes, &first, "key", NodeStatus::Trusted);
    let measurements = MapName::from_static(VIRTUAL_MEASUREMENTS);
    writes.insert(&measurements, CODE.to_string().as_bytes(), &b"\"AllowedToJoin\""[..]);
    audited(&mut audit, 1, &writes).expect("nobody admits anything before");
    audit
}

fn audited(
    audit: &mut AttestationAudit,
    seqno: u64,
    writes: &WriteSet,
) -> Result<(), AttestationRowError> {
    let [public, private] = [Domain::Public, Domain::Private].map(|domain| writes.encode(domain));
    let writes = WriteSetView::parse(&public, &private).expect("it reads what was written");
    let id = TxId::new(2, seqno);
    audit.entry(id, &writes, NOW_S - CLOCKS_APART_MAX_S..=NOW_S + CLOCKS_APART_MAX_S).map_err(
        |error| {
            assert_eq!((error.id, error.node), (id, NODE.to_string()));
            error.source
        },
    )
}

fn shown(code: &Digest, node: NodeId) -> ShownEvidence {
    ShownEvidence::insecure(code, &ReportData { node, transcript: TRANSCRIPT })
}

/// The row that a primary writes which believes a node, or says so.
fn attestation(shown: &ShownEvidence, admits: Digest) -> Row {
    let manifests = Manifests { virtual_measurements: vec![admits.to_string().into_bytes()] };
    let node = [NODE, NodeId([9; 32])]
        .into_iter()
        .find_map(|node| shown.appraise(node, NOW_S, &manifests.policy(1)).ok());
    row(shown, &node.expect("it is believed"), NOW_S)
}

/// An entry in which a node comes with this code and this row.
fn entry(code: Digest, row: Option<&Row>) -> WriteSet {
    let mut writes = WriteSet::new();
    put_introduced_node(&mut writes, &node(code), "key", NodeStatus::Pending);
    if let Some(row) = row {
        let row = serde_json::to_vec(row).expect("it has a JSON form");
        writes.insert(&MapName::from_static(NODES_ATTESTATIONS), NODE.to_string().as_bytes(), row);
    }
    writes
}

fn refused(code: Digest, row: Option<&Row>) -> AttestationRowError {
    audited(&mut begun(), 2, &entry(code, row)).expect_err("it is refused")
}

#[test]
fn a_node_that_has_shown_what_it_runs_is_believed() {
    let mut audit = begun();
    let row = attestation(&shown(&CODE, NODE), CODE);
    audited(&mut audit, 2, &entry(CODE, Some(&row))).expect("it is believed");
    assert_eq!(audit.appraised(), 1);
    // Its row changes, and its code does not.
    let mut writes = WriteSet::new();
    let known = entry(CODE, None);
    let known = known.get(&MapName::from_static(NODES_MAP), NODE.to_string().as_bytes());
    put_status(&mut writes, NODE, known.expect("a row"), NodeStatus::Trusted).expect("a row");
    audited(&mut audit, 3, &writes).expect("it has shown its code");
    assert_eq!(audit.appraised(), 1);
}

#[test]
fn code_that_a_node_has_not_shown_is_refused() {
    assert!(matches!(refused(CODE, None), AttestationRowError::Unshown));
    let row = attestation(&shown(&CODE, NODE), CODE);
    assert!(matches!(refused(OTHER, Some(&row)), AttestationRowError::Unshown));
    // Members say of nodes what they like, and a recovered service begins with a node that has shown nothing.
    for asked in [COSE_HISTORY, SERVICE_INFO] {
        let mut writes = entry(OTHER, None);
        writes.insert(&MapName::from_static(asked), b"key", &b"{}"[..]);
        audited(&mut begun(), 2, &writes).expect("it is not for the primary to say");
    }
}

#[test]
fn evidence_that_is_not_admitted_or_not_the_nodes_is_refused() {
    let row = attestation(&shown(&OTHER, NODE), OTHER);
    let found = refused(OTHER, Some(&row));
    let AttestationRowError::Appraise(AppraiseEvidenceError::Appraise(error)) = found else {
        panic!("{found:?}")
    };
    assert!(matches!(error, AppraiseError::Measurement { .. }), "{error:?}");
    let row = attestation(&shown(&CODE, NodeId([9; 32])), CODE);
    let found = refused(CODE, Some(&row));
    let AttestationRowError::Appraise(AppraiseEvidenceError::Appraise(error)) = found else {
        panic!("{found:?}")
    };
    assert!(matches!(error, AppraiseError::Binding { .. }), "{error:?}");
}

#[test]
fn a_row_that_says_something_else_than_its_evidence_is_refused() {
    let changed = |change: &dyn Fn(&mut Row)| {
        let mut row = attestation(&shown(&CODE, NODE), CODE);
        change(&mut row);
        refused(CODE, Some(&row))
    };
    for change in [
        &(|row: &mut Row| row.platform = "snp".to_owned()) as &dyn Fn(&mut Row),
        &|row| row.class = "processor".to_owned(),
        &|row| row.measurement = OTHER.to_string(),
        &|row| row.policy_version = 2,
        &|row| row.appraised_at = NOW_S + CLOCKS_APART_MAX_S + 1,
    ] {
        assert!(matches!(changed(change), AttestationRowError::Other));
    }
    for (name, change) in [
        ("evidence", &(|row: &mut Row| row.evidence = "AAAA".to_owned()) as &dyn Fn(&mut Row)),
        ("endorsements", &|row| row.endorsements = "AA==".to_owned()),
        ("transcript", &|row| row.transcript = "ab".to_owned()),
    ] {
        let found = changed(change);
        assert!(matches!(found, AttestationRowError::Part(part) if part == name), "{found:?}");
    }
    let other = changed(&|row| row.transcript = OTHER.to_string());
    assert!(matches!(other, AttestationRowError::Appraise(_)), "of another channel");
    let mut writes = entry(CODE, None);
    let map = MapName::from_static(NODES_ATTESTATIONS);
    writes.insert(&map, NODE.to_string().as_bytes(), &b"{}"[..]);
    let found = audited(&mut begun(), 2, &writes).expect_err("it is no row");
    assert!(matches!(found, AttestationRowError::Json(_)), "{found:?}");
}

#[test]
fn an_auditor_who_begins_later_knows_what_members_admitted() {
    let mut audit = begun();
    let measurements = MapName::from_static(VIRTUAL_MEASUREMENTS);
    let mut writes = WriteSet::new();
    writes.insert(&measurements, OTHER.to_string().as_bytes(), &b"\"AllowedToJoin\""[..]);
    writes.remove(&measurements, CODE.to_string().as_bytes());
    audited(&mut audit, 2, &writes).expect("members changed their minds");
    let mut row = attestation(&shown(&OTHER, NODE), OTHER);
    row.policy_version = 2;
    audited(&mut audit, 3, &entry(OTHER, Some(&row))).expect("it is admitted now");
    let mut row = attestation(&shown(&CODE, NODE), CODE);
    row.policy_version = 3;
    let found = audited(&mut audit, 4, &entry(CODE, Some(&row))).expect_err("not any more");
    assert!(matches!(found, AttestationRowError::Appraise(_)), "{found:?}");
}

#[test]
fn no_lease_goes_on_without_evidence_of_its_seat() {
    let mut audit = begun();
    let row = || attestation(&shown(&CODE, NODE), CODE);
    audited(&mut audit, 2, &entry(CODE, Some(&row()))).expect("it has come");
    let mut lease = |seqno, lease: LeaseRow, row: Option<Row>| {
        let mut writes = WriteSet::new();
        let node = NODE.to_string();
        writes.insert(&MapName::from_static(NODES_LEASES), node.as_bytes(), lease.encode());
        if let Some(row) = row {
            let row = Row { policy_version: seqno - 1, ..row };
            let row = serde_json::to_vec(&row).expect("it has a JSON form");
            writes.insert(&MapName::from_static(NODES_ATTESTATIONS), node.as_bytes(), row);
        }
        audited(&mut audit, seqno, &writes)
    };
    lease(3, LeaseRow::new(NOW_S), None).expect("it begins by itself");
    lease(4, LeaseRow::new(NOW_S - 9), None).expect("a clock was ahead");
    let renewed = LeaseRow::new(NOW_S + 9);
    let found = lease(5, renewed, None).expect_err("nobody has shown anything");
    assert!(matches!(found, AttestationRowError::UnshownLease), "{found:?}");
    let other = Row { transcript: OTHER.to_string(), ..row() };
    let found = lease(5, renewed, Some(other)).expect_err("nobody has shown that");
    assert!(matches!(found, AttestationRowError::Appraise(_)), "{found:?}");
    lease(5, renewed, Some(row())).expect("it has shown what it runs");
    lease(6, renewed.ended(NOW_S + 99, Seqno(1)), None).expect("it ends by itself");
    for again in [LeaseRow::new(NOW_S), LeaseRow::new(NOW_S + 999)] {
        let found = lease(7, again, None).expect_err("it had ended");
        assert!(matches!(found, AttestationRowError::UnshownLease), "{found:?}");
    }
    let mut removed = WriteSet::new();
    removed.remove(&MapName::from_static(NODES_LEASES), NODE.to_string().as_bytes());
    let found = audited(&mut audit, 7, &removed).expect_err("the next would begin by itself");
    assert!(matches!(found, AttestationRowError::UnshownLease), "{found:?}");
}

/// A constitution may have a script that writes there; it makes nothing true.
#[test]
fn what_members_write_down_of_evidence_stops_nobody() {
    let mut writes = entry(CODE, None);
    for (map, key) in [(NODES_ATTESTATIONS, NODE.to_string()), (COSE_HISTORY, "key".to_owned())] {
        writes.insert(&MapName::from_static(map), key.as_bytes(), &b"{}"[..]);
    }
    audited(&mut begun(), 2, &writes).expect("members wrote it");
}

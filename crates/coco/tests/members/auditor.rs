//! An auditor at the command line, and a service that signs what its members did not decide.

use std::fs;

use coco_crypto::{
    Certificate, Curve, EndorseNode, SigningKey, Validity, endorse_node, service_certificate,
};
use coco_governance::{DEFAULT_CONSTITUTION, FirstGovernance, FirstMember, tables};
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    Chunk, FirstLedger, GenesisNode, LEDGER_SECRET_BYTES, LedgerSecret, ServiceSigner, chunk_files,
    genesis_write_set,
};
use coco_types::Digest;

use crate::desk::Desk;

const SINCE: u64 = 1_700_000_000;
const VALIDITY: Validity = Validity { not_before: SINCE, not_after: SINCE + 1_000_000 };

/// A service of one node and one member, and a ledger of it in which an entry after the founding has these writes.
fn ledger(then: &WriteSet) -> (Certificate, Vec<(String, Vec<u8>)>) {
    let (service_key, node_key) =
        (SigningKey::generate(Curve::P384), SigningKey::generate(Curve::P384));
    let service = service_certificate(&service_key, VALIDITY).unwrap();
    let endorse = EndorseNode { key: node_key.public(), names: &[], validity: VALIDITY };
    let node = endorse_node(&service_key, &service, &endorse).unwrap();
    let signer =
        ServiceSigner::new(&node_key.pkcs8_der(), node.pem(), &service_key.pkcs8_der()).unwrap();
    let nodes = [GenesisNode {
        node_id: node_key.public().node_id(),
        certificate_pem: node.pem(),
        request_pem: None,
        quote_format: "Insecure_Virtual".to_owned(),
        code_digest: Digest::ZERO,
        rpc_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
        encryption_key_pem: String::new(),
    }];
    let member = service_certificate(&SigningKey::generate(Curve::P384), VALIDITY).unwrap();
    let founding = FirstGovernance {
        constitution: DEFAULT_CONSTITUTION.to_owned(),
        members: vec![FirstMember {
            certificate_pem: member.pem(),
            encryption_key_pem: None,
            data: None,
        }],
        recovery_threshold: None,
        restart_from_disk: false,
        voting_policy: None,
    };
    let mut founded = WriteSet::new();
    founding.put(&mut founded).unwrap();
    let mut ledger = FirstLedger::new(LedgerSecret::new(&[7; LEDGER_SECRET_BYTES]));
    for writes in [&genesis_write_set(&service.pem(), &nodes), &founded, then] {
        ledger.append(writes).unwrap();
        ledger.sign(&signer, SINCE).unwrap();
    }
    let files = chunk_files(&ledger.into_entries());
    (service, files.into_iter().map(|(name, bytes)| (name.to_string(), bytes)).collect())
}

#[test]
fn what_a_service_signed_against_its_rules_is_named_with_its_place() {
    let mut forged = WriteSet::new();
    let constitution = MapName::from_static(tables::CONSTITUTION);
    forged.insert(&constitution, tables::singleton_key(), br#""another one""#.as_slice());
    for (then, is_honest) in [(WriteSet::new(), true), (forged, false)] {
        let desk = Desk::empty();
        let (service, files) = ledger(&then);
        let (folder, cert) = (desk.path("ledger"), desk.write("service.pem", &service.pem()));
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in &files {
            fs::write(desk.folder().join("ledger").join(name), bytes).unwrap();
        }
        let words = ["ledger", "verify", &folder, "--service-cert", &cert];
        let verify = |more: &[&str]| desk.run(&[&words[..], more].concat());
        verify(&[]).ok();
        let audited = verify(&["--governance"]);
        if is_honest {
            assert!(audited.ok().contains("governed by the rules"));
            continue;
        }
        let said = audited.failed(7, "COCO-7001");
        let (name, bytes) = &files[0];
        let (offset, _) = Chunk::parse(bytes).unwrap().entries[4];
        let place = format!("{name} at offset {offset}: governance, seqno 5: nobody signed");
        assert!(said.contains(&place) && said.contains(tables::CONSTITUTION), "{said}");
    }
}

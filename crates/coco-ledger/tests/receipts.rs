//! Receipts: made by one side, believed by the other only when whole.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "fixture/ledger.rs"]
mod fixture;

use coco_ledger::{
    EntryFlags, MerkleTree, Receipt, ReceiptError, VerifyReceiptError, verify_cose, verify_json,
};
use coco_types::{Digest, TxId};
use fixture::Ledger;

#[test]
fn both_forms_of_every_receipt_verify() {
    let ledger = Ledger::small(0);
    for seqno in 1..15 {
        let receipt = ledger.receipt(seqno);
        let (json, cose) = (receipt.json(), receipt.cose().unwrap());
        let by_json = verify_json(json.as_bytes(), &ledger.service_pem).unwrap();
        let by_cose = verify_cose(&cose, &ledger.service_pem).unwrap();
        assert_eq!(by_json.tx_id, Some(receipt.tx_id()));
        assert_eq!((by_json.tx_id, by_json.root), (by_cose.tx_id, by_cose.root));
        assert_eq!(by_json.leaf_components, by_cose.leaf_components);
        assert_eq!(by_json.leaf_components.as_ref(), receipt.leaf_components());
    }
    let claims = ledger.receipt(14).leaf_components().unwrap().claims_digest;
    assert_eq!(claims, Digest([7; 32]));
}

#[test]
fn a_later_signature_covers_earlier_entries_too() {
    let ledger = Ledger::small(0);
    let last = ledger.signatures.last().unwrap();
    for tx_id in [TxId::new(2, 1), TxId::new(2, 2), TxId::new(2, 9)] {
        let entry = &ledger.entries[usize::try_from(tx_id.seqno.0 - 1).unwrap()];
        let evidence = ledger.secret.commit_evidence(tx_id);
        let receipt = Receipt::assemble(entry, evidence, &ledger.tree, last).unwrap();
        assert!(verify_json(receipt.json().as_bytes(), &ledger.service_pem).is_ok(), "{tx_id}");
    }
}

#[test]
fn the_last_signature_entry_has_a_receipt_of_its_own() {
    let ledger = Ledger::small(0);
    let receipt = Receipt::of_signature(ledger.signatures.last().unwrap());
    let verified = verify_json(receipt.json().as_bytes(), &ledger.service_pem).unwrap();
    assert_eq!((verified.tx_id, verified.root), (None, ledger.signatures.last().unwrap().root));
    assert_eq!(receipt.cose(), None);
}

#[test]
fn parts_that_do_not_belong_together_make_no_receipt() {
    let ledger = Ledger::small(0);
    let entry = &ledger.entries[3];
    let (first, last) = (&ledger.signatures[0], ledger.signatures.last().unwrap());
    let evidence = |seqno| ledger.secret.commit_evidence(TxId::new(2, seqno));
    let assemble = |evidence, tree: &MerkleTree, signature| {
        Receipt::assemble(entry, evidence, tree, signature).unwrap_err()
    };
    assert!(matches!(assemble(evidence(4), &ledger.tree, first), ReceiptError::Uncovered { .. }));
    assert_eq!(
        assemble(evidence(5), &ledger.tree, last),
        ReceiptError::CommitEvidence(TxId::new(2, 4))
    );
    assert_eq!(
        assemble(evidence(4), &MerkleTree::new(), last),
        ReceiptError::Leaf(TxId::new(2, 4))
    );
    let mut other = ledger.tree.clone();
    other.truncate(10);
    assert_eq!(assemble(evidence(4), &other, last), ReceiptError::Root(last.tx_id));
    assert!(Receipt::assemble(&entry[1..], evidence(4), &ledger.tree, last).is_err());
}

#[test]
fn another_service_is_not_believed() {
    let (ledger, other) = (Ledger::small(0), Ledger::new());
    let receipt = ledger.receipt(4);
    let by_json = verify_json(receipt.json().as_bytes(), &other.service_pem);
    assert!(matches!(by_json, Err(VerifyReceiptError::Endorsement(_))));
    let by_cose = verify_cose(&receipt.cose().unwrap(), &other.service_pem);
    assert!(matches!(by_cose, Err(VerifyReceiptError::ServiceKey { .. })));
}

#[test]
fn no_flipped_byte_of_a_receipt_is_missed() {
    let ledger = Ledger::small(0);
    let receipt = ledger.receipt(4);
    let (json, cose) = (receipt.json().into_bytes(), receipt.cose().unwrap());
    let genuine = verify_cose(&cose, &ledger.service_pem).unwrap();
    for at in 0..cose.len() {
        let mut changed = cose.clone();
        changed[at] ^= 1;
        assert!(verify_cose(&changed, &ledger.service_pem).is_err(), "COSE byte {at}");
    }
    let expected = verify_json(&json, &ledger.service_pem).unwrap();
    for at in 0..json.len() {
        let mut changed = json.clone();
        changed[at] ^= 1;
        // Some texts mean the same: an upper-case digit, a line break in the certificate. What is believed may not
        // differ.
        if let Ok(verified) = verify_json(&changed, &ledger.service_pem) {
            assert_eq!(verified, expected, "JSON byte {at}");
        }
    }
    assert_eq!(genuine.root, expected.root);
}

#[test]
fn oversized_and_senseless_receipts_are_refused() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    ledger.record(1);
    ledger.sign(EntryFlags::NONE);
    let pem = &ledger.service_pem;
    assert!(matches!(
        verify_json(&vec![b' '; (256 << 10) + 1], pem),
        Err(VerifyReceiptError::Long { .. })
    ));
    assert!(matches!(verify_json(&vec![b' '; 256 << 10], pem), Err(VerifyReceiptError::Json(_))));
    assert!(matches!(verify_json(b"{}", pem), Err(VerifyReceiptError::Json(_))));
    assert!(matches!(verify_cose(b"", pem), Err(VerifyReceiptError::Cose)));
    assert!(verify_json(b"{}", "no certificate").is_err());
    let json: String = ledger.receipt(4).json();
    // The path has one step.
    let path = r#""proof":["#;
    let step = format!(r#"{{"left":"{}"}},"#, Digest::ZERO);
    for (steps, is_long) in [(63, false), (64, true)] {
        let long = json.replace(path, &format!("{path}{}", step.repeat(steps)));
        let refused = verify_json(long.as_bytes(), pem).unwrap_err();
        assert_eq!(
            matches!(refused, VerifyReceiptError::Path { .. }),
            is_long,
            "{steps}: {refused:?}"
        );
    }
    assert_eq!(ledger.files.len(), 1);
}

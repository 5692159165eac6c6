//! What an auditor makes of a ledger who knows the service's certificate and, for what is private, its secrets.

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_ledger::{
    EntryView, LedgerSecrets, MerkleTree, Receipt, SignatureRecord, Verifier, chunk_files,
    verify_cose, verify_json,
};

use crate::dice::Dice;

/// Receipts that are made and verified of one ledger.
const RECEIPTS: usize = 5;

/// Verifies a ledger, and some receipts in both forms; returns how many.
///
/// # Panics
/// When anything does not verify.
#[must_use]
pub fn check(
    service: &Certificate,
    entries: &[Bytes],
    secrets: &LedgerSecrets,
    dice: &mut Dice,
) -> usize {
    let mut verifier = Verifier::new(service.clone()).with_secret(secrets.clone());
    for (name, bytes) in chunk_files(entries) {
        verifier.chunk(&name.to_string(), &bytes).expect("the auditor accepts the chunk");
    }
    let report = verifier.finish(None).expect("the auditor accepts the ledger");
    assert_eq!(report.entries, entries.len() as u64, "the auditor sees every entry");
    assert_eq!(report.signed, report.last, "a ledger at rest is signed to its end");

    let mut tree = MerkleTree::new();
    let views: Vec<EntryView<'_>> = entries
        .iter()
        .map(|entry| EntryView::parse(entry).expect("ledgers hold entries"))
        .collect();
    views.iter().for_each(|view| tree.append(view.leaf()));
    let pem = service.pem();
    for _ in 0..RECEIPTS {
        let at = dice.place(views.len());
        verify(&views, at, secrets, (&tree, &pem));
    }
    RECEIPTS
}

fn verify(
    views: &[EntryView<'_>],
    at: usize,
    secrets: &LedgerSecrets,
    (tree, service_pem): (&MerkleTree, &str),
) {
    let record = |view: &EntryView<'_>| SignatureRecord::read(view).expect("a readable signature");
    let entry = &views[at];
    if let Some(own) = record(entry) {
        let receipt = Receipt::of_signature(&own);
        let verified = verify_json(receipt.json().as_bytes(), service_pem);
        assert!(verified.is_ok(), "the receipt of {}: {verified:?}", entry.tx_id());
        return;
    }
    let covering = views[at..].iter().find_map(record).expect("the last entry is a signature");
    let evidence = secrets.at(entry.tx_id().seqno).commit_evidence(entry.tx_id());
    let receipt = Receipt::assemble(entry.bytes(), evidence, tree, &covering)
        .expect("parts of one ledger belong together");
    let json = verify_json(receipt.json().as_bytes(), service_pem);
    assert!(json.is_ok(), "the receipt of {}: {json:?}", entry.tx_id());
    let cose = receipt.cose().expect("an entry with writes has a COSE receipt");
    let cose = verify_cose(&cose, service_pem);
    assert!(cose.is_ok(), "the receipt of {}: {cose:?}", entry.tx_id());
}

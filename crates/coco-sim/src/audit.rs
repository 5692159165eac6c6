//! What an auditor makes of a ledger who knows the service's certificate and, for what is private, its secrets.

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_governance::{Audit, AuditedEntry, Engine, tables};
use coco_kv::{Domain, StateImage, Store, WriteSet};
use coco_ledger::{
    EntryView, LedgerSecrets, MerkleTree, Receipt, SignatureRecord, Verifier, chunk_files,
    verify_cose, verify_json,
};
use coco_types::Seqno;

use crate::{dice::Dice, genesis::FIRST_ENTRIES};

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

/// Has everything that members did carried out again, from the public writes alone. Members are active from the start here,
/// which no founding allows: the audit begins with them.
///
/// # Panics
/// When an act is found to be against the rules.
pub fn check_governance(entries: &[Bytes]) {
    thread_local!(static ENGINE: Engine = Engine::new());
    let views: Vec<EntryView<'_>> = entries
        .iter()
        .map(|entry| EntryView::parse(entry).expect("ledgers hold entries"))
        .collect();
    let (mut store, mut tree) = (Store::new(tables::maps(), [0; 2]), MerkleTree::new());
    views.iter().for_each(|view| tree.append(view.leaf()));
    let is_first = |view: &&EntryView<'_>| view.tx_id().seqno.0 <= FIRST_ENTRIES;
    for view in views.iter().filter(is_first) {
        let writes = view.public_writes().expect("writes can be read");
        store.apply_view(view.tx_id().seqno, &writes).expect("they are the first entries");
    }
    let begun = store.version();
    let image = store.reader().head().encode(Domain::Public, &WriteSet::new());
    let image = StateImage::parse(&image, Domain::Public, begun).expect("an image can be read");
    let audit = ENGINE.with(|engine| Audit::from_state(engine, begun, &image));
    // Clocks jump here by more than an auditor would let pass.
    let mut audit = audit.expect("it can begin").with_clocks_apart(u64::MAX);
    let mut times = Vec::new();
    for view in views.iter().rev() {
        let record = SignatureRecord::read(view).expect("a readable signature");
        let later = times.last().copied().unwrap_or_default();
        times.push(record.map_or(later, |record| record.issued_at_s));
    }
    let signed = views.iter().zip(times.into_iter().rev());
    for (view, signed_at_s) in signed.filter(|(view, _)| !is_first(view)) {
        let writes = view.public_writes().expect("writes can be read");
        let root = &|upto: Seqno| tree.root_at(upto.0 + 1);
        let entry = AuditedEntry { tx_id: view.tx_id(), writes: &writes, signed_at_s, root };
        if let Err(error) = audit.entry(&entry) {
            panic!("the auditor refuses an act: {error}: {}", error.fault);
        }
    }
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

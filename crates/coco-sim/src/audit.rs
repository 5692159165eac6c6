//! What an auditor makes of a ledger and of receipts who knows the service and, for what is private, its secrets.

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_governance::{Audit, AuditedEntry, Engine, tables};
use coco_kv::{Domain, StateImage, Store, WriteSet};
use coco_ledger::{
    EntryView, LedgerSecrets, MerkleTree, Receipt, SignatureRecord, VerifiedReceipt, Verifier,
    chunk_files, verify_cose_under, verify_json_under,
};
use coco_replica::{AttestationAudit, LedgerState};
use coco_types::Seqno;

use crate::{
    dice::Dice,
    genesis::{FIRST_ENTRIES, Keys},
    machine::index,
};

/// Verifies a ledger with real signatures, of a service or of those that followed one another; and opens it, if its secrets are
/// known.
///
/// # Panics
/// When it does not verify.
pub fn check(services: &[Certificate], entries: &[Bytes], secrets: Option<&LedgerSecrets>) {
    let mut verifier = Verifier::of_services(services.to_vec());
    if let Some(secrets) = secrets {
        verifier = verifier.with_secret(secrets.clone());
    }
    for (name, bytes) in chunk_files(entries) {
        verifier.chunk(&name.to_string(), &bytes).expect("the auditor accepts the chunk");
    }
    let report = verifier.finish(None).expect("the auditor accepts the ledger");
    assert_eq!(report.entries, entries.len() as u64, "the auditor sees every entry");
    assert_eq!(report.signed, report.last, "a ledger at rest is signed to its end");
}

/// Makes the receipt of an entry as a node does that has these entries and lives in this state, and verifies it in both
/// forms as whoever knows the service.
///
/// # Panics
/// When it does not verify, says something else than the entry, or verifies with a bit flipped.
pub fn check_receipt(
    keys: &Keys,
    (state, entries): (&LedgerState, &[Bytes]),
    seqno: Seqno,
    dice: &mut Dice,
) {
    let at = |seqno| EntryView::parse(&entries[index(seqno) - 1]).expect("ledgers hold entries");
    let record = |view: &EntryView<'_>| SignatureRecord::read(view).expect("a readable signature");
    let entry = at(seqno);
    let tx_id = entry.tx_id();
    let own = record(&entry);
    let is_signature = own.is_some();
    let (receipt, root) = match own {
        Some(own) => (Receipt::of_signature(&own), own.root),
        None => {
            let covering = state.covering_signature(seqno).expect("a committed entry is covered");
            let covering = record(&at(covering)).expect("a signature covers it");
            let evidence = state.secrets().at(seqno).commit_evidence(tx_id);
            let receipt = Receipt::assemble(entry.bytes(), evidence, state.tree(), &covering);
            (receipt.expect("parts of one ledger belong together"), covering.root)
        }
    };
    let says = |verified: &VerifiedReceipt| {
        assert_eq!(verified.root, root, "the receipt of {tx_id} leads to the root that was signed");
        assert_eq!(verified.tx_id, (!is_signature).then_some(tx_id), "a receipt names its entry");
        let claims = verified.leaf_components.as_ref().map(|leaf| leaf.claims_digest);
        assert_eq!(claims, (!is_signature).then_some(*entry.claims()), "and what it claims");
    };
    match verify_json_under(receipt.json().as_bytes(), keys.nodes_of_service()) {
        Ok(verified) => says(&verified),
        Err(error) => panic!("the receipt of {tx_id}: {error}"),
    }
    let Some(mut cose) = receipt.cose() else { return };
    match verify_cose_under(&cose, keys.service()) {
        Ok(verified) => says(&verified),
        Err(error) => panic!("the COSE receipt of {tx_id}: {error}"),
    }
    let (at, bit) = (dice.place(cose.len()), dice.below(8));
    cose[at] ^= 1 << bit;
    let spoiled = verify_cose_under(&cose, keys.service());
    assert!(
        spoiled.is_err(),
        "the receipt of {tx_id} verifies with bit {bit} of byte {at} flipped"
    );
}

/// The receipt of an entry that somebody keeps who was told that it is committed: of a ledger that is signed after it.
///
/// # Panics
/// When the ledger gives none.
#[must_use]
pub fn receipt(
    keys: &Keys,
    entries: &[Bytes],
    secrets: &LedgerSecrets,
    seqno: Seqno,
) -> VerifiedReceipt {
    fn parse(entry: &Bytes) -> EntryView<'_> {
        EntryView::parse(entry).expect("ledgers hold entries")
    }
    let record =
        |entry: &Bytes| SignatureRecord::read(&parse(entry)).expect("a readable signature");
    let mut tree = MerkleTree::new();
    entries.iter().for_each(|entry| tree.append(parse(entry).leaf()));
    let mut from = entries[index(seqno) - 1..].iter();
    let own = from.next().expect("it has the entry");
    let receipt = match record(own) {
        Some(own) => Receipt::of_signature(&own),
        None => {
            let covering = from.find_map(record).expect("a signature covers it");
            let evidence = secrets.at(seqno).commit_evidence(parse(own).tx_id());
            Receipt::assemble(own, evidence, &tree, &covering).expect("parts of one ledger")
        }
    };
    verify_json_under(receipt.json().as_bytes(), keys.nodes_of_service()).expect("it verifies")
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
    let mut attestations = AttestationAudit::from_state(&image);
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
        if let Err(error) = attestations.entry(view.tx_id(), &writes, audit.times()) {
            panic!("the auditor does not believe a node: {error}: {}", error.source);
        }
    }
}

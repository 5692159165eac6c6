//! What a snapshot proves, and everything that is refused.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "fixture/ledger.rs"]
mod fixture;
#[path = "fixture/snapshot.rs"]
mod snapshot;

use coco_crypto::{Certificate, sha256};
use coco_kv::{Domain, MapName, StateImage, Store, WriteSet};
use coco_ledger::{
    EntryFlags, LedgerFault, SnapshotError, SnapshotEvidence, SnapshotFault, SnapshotFile,
    SnapshotName, VerifiedSnapshot, Verifier,
};
use coco_types::{Digest, Seqno};
use fixture::Ledger;

/// A ledger of two closed chunks and an open one, with a snapshot of where the first ends.
fn ledger() -> (Ledger, SnapshotName, Vec<u8>) {
    let mut ledger = Ledger::new();
    ledger.genesis();
    (0..5).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::CHUNK_AFTER);
    let (name, file) = snapshot::take(&mut ledger, WriteSet::new());
    (5..9).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::CHUNK_AFTER);
    (9..12).for_each(|n| ledger.record(n));
    ledger.sign(EntryFlags::NONE);
    (ledger, name, file)
}

fn verify<'a>(
    ledger: &Ledger,
    name: SnapshotName,
    file: &'a [u8],
) -> Result<VerifiedSnapshot<'a>, SnapshotError> {
    SnapshotFile::split(file)?.verify(name, &ledger.service_pem)
}

fn certificate(ledger: &Ledger) -> Certificate {
    Certificate::from_pem(&ledger.service_pem).unwrap()
}

#[test]
fn a_snapshot_gives_back_state_tree_and_positions() {
    let (ledger, name, file) = ledger();
    let snapshot = verify(&ledger, name, &file).unwrap();
    assert_eq!((snapshot.tx_id().seqno, snapshot.evidence().seqno), (name.seqno, name.evidence));
    assert_eq!(Some(snapshot.tree().root()), ledger.tree.root_at(name.seqno.0 + 1));
    assert_eq!(snapshot.signatures(), [Seqno(2), name.seqno]);
    assert!(!file.windows(9).any(|window| window == b"private 1"));
    assert!(file.windows(6).any(|window| window == b"public"));

    let private = snapshot.open(&ledger.secret).unwrap();
    let private = StateImage::parse(&private, Domain::Private, name.seqno).unwrap();
    let store =
        Store::restore(snapshot::schema(), name.seqno, snapshot.public(), &private).unwrap();
    let head = store.reader().head();
    let get = |map, key: &[u8]| {
        head.get(head.map(&MapName::from_static(map))?, key).map(|value| value.to_vec())
    };
    assert_eq!(get("accounts", &4_u64.to_be_bytes()).as_deref(), Some(&b"private 4"[..]));
    assert_eq!(get("accounts", &5_u64.to_be_bytes()), None);
    assert_eq!(get("public:records", b"key 4").as_deref(), Some(&b"public"[..]));
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let (ledger, name, file) = ledger();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(verify(&ledger, name, &changed).is_err(), "byte {at}");
    }
    // The first bytes decide how the file is cut: all of their bits.
    for (at, bit) in (0..64).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut changed = file.clone();
        changed[at] ^= 1 << bit;
        assert!(verify(&ledger, name, &changed).is_err(), "bit {bit} of byte {at}");
    }
    for end in 0..file.len() {
        assert!(verify(&ledger, name, &file[..end]).is_err(), "{end} bytes");
    }
    let longer = [&file[..], &[0]].concat();
    assert!(verify(&ledger, name, &longer).is_err());
}

#[test]
fn proof_name_and_service_must_be_its_own() {
    let (mut ledger, name, file) = ledger();
    let fault = |result: Result<VerifiedSnapshot<'_>, SnapshotError>| result.unwrap_err().fault;
    let renamed = SnapshotName { seqno: Seqno(name.seqno.0 - 1), ..name };
    assert!(matches!(fault(verify(&ledger, renamed, &file)), SnapshotFault::Name { .. }));
    let other = Ledger::small(0);
    assert!(matches!(fault(verify(&other, name, &file)), SnapshotFault::Receipt(_)));

    let (_, second) = snapshot::take(&mut ledger, WriteSet::new());
    let entry = |file: &[u8]| {
        let mut size = [0; 8];
        size[..6].copy_from_slice(&file[2..8]);
        8 + usize::try_from(u64::from_le_bytes(size)).unwrap()
    };
    let spliced = [&second[..entry(&second)], &file[entry(&file)..]].concat();
    assert!(matches!(fault(verify(&ledger, name, &spliced)), SnapshotFault::Digest { .. }));
    // The receipt of an entry that claims nothing proves no snapshot.
    let receipt = ledger.receipt(name.seqno.0 - 1).cose().unwrap();
    let forged = [&file[..entry(&file)], &receipt].concat();
    assert!(matches!(fault(verify(&ledger, name, &forged)), SnapshotFault::Digest { .. }));
}

#[test]
fn an_error_points_into_the_snapshot_however_short_it_is() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    ledger.sign(EntryFlags::NONE);
    let entry = [1, 0, 0, 0, 0, 0, 0, 0];
    ledger.append(EntryFlags::NONE, sha256(&entry), &WriteSet::new());
    let name = SnapshotName { seqno: Seqno(4), evidence: Seqno(5) };
    ledger.sign(EntryFlags::NONE);
    let receipt = ledger.receipt(name.evidence.0).cose().unwrap();
    let error = verify(&ledger, name, &[&entry[..], &receipt].concat()).unwrap_err();
    assert!(matches!(error.fault, SnapshotFault::Entry(_)));
    assert_eq!(error.offset, 0);
}

#[test]
fn another_secret_does_not_open_it() {
    let (ledger, name, file) = ledger();
    let snapshot = verify(&ledger, name, &file).unwrap();
    assert!(snapshot.open(&coco_ledger::LedgerSecret::new(&[7; 32])).is_err());
}

/// Two programs, or one program twice, may make different snapshots of one seqno. Under one key and nonce, the exclusive
/// or of what they seal would be that of their plaintexts.
#[test]
fn no_key_and_nonce_seal_two_plaintexts() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    ledger.record(1);
    ledger.sign(EntryFlags::NONE);
    let store = snapshot::store(&ledger);
    let first = snapshot::seal(&ledger, &store, WriteSet::new());
    let again = snapshot::seal(&ledger, &store, WriteSet::new());
    assert_eq!((&first.head, &first.sealed), (&again.head, &again.sealed), "equal states");

    // The same maps at the same version, but one private value is another, of equal length.
    let mut other = Store::new(snapshot::schema(), ledger.secret.index_key());
    for seqno in 1..=store.version().0 {
        let mut set = WriteSet::new();
        if seqno == 4 {
            set.insert(&MapName::from_static("accounts"), &1_u64.to_be_bytes(), *b"private 2");
        }
        other.apply(Seqno(seqno), &set).unwrap();
    }
    let second = snapshot::seal(&ledger, &other, WriteSet::new());
    let salt = |head: &[u8]| head[head.len() - 32..].to_vec();
    assert_ne!(salt(&first.head), salt(&second.head));
    assert_eq!(first.sealed.len(), second.sealed.len());
    let equal = first.sealed.iter().zip(&second.sealed).filter(|(a, b)| a == b).count();
    assert!(equal < first.sealed.len() / 8, "{equal} of {} bytes are equal", first.sealed.len());

    // Another public part alone gives another key, too.
    let mut third = snapshot::store(&ledger);
    let next = third.version();
    third.rollback(next.previous()).unwrap();
    let mut set = WriteSet::new();
    set.insert(&MapName::from_static("public:records"), b"key 1", *b"PUBLIC");
    third.apply(next, &set).unwrap();
    let third = snapshot::seal(&ledger, &third, WriteSet::new());
    assert_ne!(salt(&first.head), salt(&third.head));
}

#[test]
fn the_ledger_vouches_for_its_snapshots() {
    let (ledger, name, file) = ledger();
    let mut verifier = Verifier::new(certificate(&ledger));
    let snapshot = verify(&ledger, name, &file).unwrap();
    for (n, (chunk, bytes)) in ledger.files.iter().enumerate() {
        verifier.chunk(chunk, bytes).unwrap();
        let result = verifier.check_snapshot("snapshot", &snapshot);
        assert_eq!(result.is_ok(), n > 0, "after chunk {n}");
    }
    let report = verifier.finish(None).unwrap();

    // Where the first chunk is archived the snapshot stands for it.
    for skipped in [0, 1] {
        let mut verifier =
            Verifier::from_snapshot(certificate(&ledger), "snapshot", &snapshot).unwrap();
        for (chunk, bytes) in &ledger.files[skipped..] {
            verifier.chunk(chunk, bytes).unwrap();
        }
        verifier.check_snapshot("snapshot", &snapshot).unwrap();
        assert_eq!(verifier.finish(None).unwrap(), report);
    }

    // A gap above it is one, and a changed entry below it is seen.
    let begin = || Verifier::from_snapshot(certificate(&ledger), "snapshot", &snapshot).unwrap();
    let (chunk, bytes) = &ledger.files[2];
    assert!(matches!(begin().chunk(chunk, bytes).unwrap_err().fault, LedgerFault::Gap { .. }));
    let (chunk, bytes) = &ledger.files[0];
    let mut changed = bytes.clone();
    let at = changed.windows(5).position(|window| window == b"key 3").unwrap();
    changed[at] ^= 1;
    let error = begin().chunk(chunk, &changed).unwrap_err();
    assert!(matches!(error.fault, LedgerFault::SnapshotLeaf));
    assert!(error.offset > 0 && error.offset < at as u64, "{}", error.offset);
}

#[test]
fn a_claim_that_is_no_evidence_proves_no_snapshot_to_the_ledger() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    ledger.sign(EntryFlags::NONE);
    let sealed = snapshot::seal(&ledger, &snapshot::store(&ledger), WriteSet::new());
    let seqno = Seqno(ledger.tree.len() - 1);
    // An application may claim any digest. Only the evidence table says what is claimed.
    ledger.append(EntryFlags::NONE, sealed.digest, &WriteSet::new());
    let other = SnapshotEvidence { seqno: Seqno(1), digest: sealed.digest };
    ledger.append(EntryFlags::NONE, sealed.digest, &other.write_set());
    let unclaimed = SnapshotEvidence { seqno, digest: sealed.digest };
    ledger.append(EntryFlags::NONE, Digest::ZERO, &unclaimed.write_set());
    ledger.sign(EntryFlags::NONE);
    let mut verifier = Verifier::new(certificate(&ledger));
    let (chunk, bytes) = &ledger.files[0];
    verifier.chunk(chunk, bytes).unwrap();
    for evidence in [5, 6] {
        let name = SnapshotName { seqno, evidence: Seqno(evidence) };
        let receipt = ledger.receipt(evidence).cose().unwrap();
        let file = [&sealed.head[..], &sealed.sealed, &receipt].concat();
        let snapshot = verify(&ledger, name, &file).unwrap();
        let error = verifier.check_snapshot("snapshot", &snapshot).unwrap_err();
        assert!(matches!(error.fault, LedgerFault::SnapshotEvidence(_)), "{evidence}");
    }
    let receipt = ledger.receipt(7).cose().unwrap();
    let file = [&sealed.head[..], &sealed.sealed, &receipt].concat();
    let name = SnapshotName { seqno, evidence: Seqno(7) };
    assert!(matches!(
        verify(&ledger, name, &file).unwrap_err().fault,
        SnapshotFault::Digest { .. }
    ));
}

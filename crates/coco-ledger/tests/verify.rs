//! The offline verifier: what it accepts, and that it misses no changed byte.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "fixture/ledger.rs"]
mod fixture;

use coco_crypto::Certificate;
use coco_kv::{MapName, WriteSet};
use coco_ledger::{
    EntryFlags, LedgerFault, LedgerReport, ServiceStatus, UnsignedRange, UnsignedWhat, Verifier,
    VerifyLedgerError, put_service,
};
use coco_types::{Digest, Seqno, TxId};
use fixture::Ledger;

type Files = [(String, Vec<u8>)];

fn verifier(ledger: &Ledger) -> Verifier {
    Verifier::new(Certificate::from_pem(&ledger.service_pem).unwrap())
}

fn verify(mut verifier: Verifier, files: &Files) -> Result<LedgerReport, VerifyLedgerError> {
    files.iter().try_for_each(|(name, bytes)| verifier.chunk(name, bytes))?;
    verifier.finish(None)
}

#[test]
fn a_sound_ledger_verifies_with_and_without_the_secret() {
    let ledger = Ledger::small(2);
    let secret = ledger.secret.clone();
    for (verifier, expected_seals) in
        [(verifier(&ledger), 2), (verifier(&ledger).with_secret(secret), 0)]
    {
        let report = verify(verifier, &ledger.files).unwrap();
        assert_eq!((report.entries, report.signatures), (17, 3));
        assert_eq!((report.signed, report.last), (TxId::new(3, 15), TxId::new(3, 17)));
        assert_eq!(report.status, ServiceStatus::Open);
        let what: Vec<UnsignedWhat> = report.unsigned.iter().map(|range| range.what).collect();
        let seals = what.iter().filter(|what| **what == UnsignedWhat::SignatureSeal).count();
        assert_eq!((seals, what.last()), (expected_seals, Some(&UnsignedWhat::UnsignedTail)));
        let tail = report.unsigned.last().unwrap();
        assert_eq!(
            (tail.file.as_str(), tail.offsets.end),
            ("ledger_10", ledger.files[1].1.len() as u64)
        );
    }
}

/// Flips every `stride`th byte of each file and returns how many flips were not noticed. Whatever the report of the sound ledger
/// does not call unsigned must be refused.
fn flip_bytes(ledger: &Ledger, verifier: &Verifier, stride: usize) -> usize {
    let unsigned = verify(verifier.clone(), &ledger.files).unwrap().unsigned;
    let mut before = verifier.clone();
    let mut missed = 0;
    for (index, (name, bytes)) in ledger.files.iter().enumerate() {
        let mut changed = bytes.clone();
        for at in (0..bytes.len()).step_by(stride) {
            changed[at] ^= 1 << (at % 8);
            let files = [&[(name.clone(), changed.clone())], &ledger.files[index + 1..]].concat();
            match verify(before.clone(), &files) {
                Ok(_) => {
                    let is_covered = |range: &UnsignedRange| {
                        range.file == *name && range.offsets.contains(&(at as u64))
                    };
                    assert!(unsigned.iter().any(is_covered), "{name} byte {at} was missed");
                    missed += 1;
                }
                // Damage shows in its own file, or where a later one no longer fits.
                Err(error) => assert!(
                    files.iter().any(|(file, _)| *file == error.file),
                    "{name} byte {at}: {error}"
                ),
            }
            changed[at] = bytes[at];
        }
        before.chunk(name, bytes).unwrap();
    }
    missed
}

#[test]
fn no_flipped_byte_is_missed() {
    let ledger = Ledger::small(0);
    // One bit of flags, the tag and the commit evidence digest of the last signature entry: at most 49 bytes.
    let missed = flip_bytes(&ledger, &verifier(&ledger), 1);
    assert!((48..=49).contains(&missed), "{missed}");
}

#[test]
fn no_flipped_byte_is_missed_when_an_unsigned_tail_follows() {
    let ledger = Ledger::small(1);
    let missed = flip_bytes(&ledger, &verifier(&ledger), 7);
    assert!(missed > 0, "the tail cannot be checked without the secret");
}

#[test]
fn with_the_secret_even_the_last_seal_is_covered() {
    let ledger = Ledger::small(0);
    let missed = flip_bytes(&ledger, &verifier(&ledger).with_secret(ledger.secret.clone()), 7);
    assert!(missed <= 1, "{missed}");
}

#[test]
fn a_flipped_byte_is_traced_to_its_entry() {
    let ledger = Ledger::small(0);
    let mut files = ledger.files.clone();
    let at = files[0].1.windows(5).position(|window| window == b"key 3").unwrap();
    files[0].1[at] ^= 1;
    let error = verify(verifier(&ledger), &files).unwrap_err();
    assert_eq!(error.file, "ledger_1-9.committed");
    let entry = &ledger.entries[6];
    let start = files[0].1.windows(24).position(|window| window == &entry[..24]).unwrap();
    assert_eq!(error.offset, start as u64);
    assert!(matches!(error.fault, LedgerFault::Leaf(_)), "{error:?}");
}

/// The power went before all of the last entry was on the disk. A node that starts from there cuts it off.
#[test]
fn an_entry_that_misses_a_sector_is_a_torn_tail() {
    let mut ledger = Ledger::small(0);
    let end = ledger.files[1].1.len();
    let mut rows = WriteSet::new();
    for n in 0..200_u64 {
        rows.insert(&MapName::from_static("public:records"), &n.to_be_bytes(), &b"public"[..]);
    }
    ledger.append(EntryFlags::NONE, Digest::ZERO, &rows);
    let mut files = ledger.files.clone();
    let whole = files[1].1.len() as u64;
    let sector = (end / 512 + 2) * 512;
    assert!(sector + 512 < files[1].1.len());
    files[1].1[sector..sector + 512].fill(0);
    let at_start = |files: &Files| {
        let mut verifier = verifier(&ledger);
        files.iter().try_for_each(|(name, bytes)| verifier.chunk_as_at_start(name, bytes))?;
        verifier.finish(None)
    };
    let report = at_start(&files).unwrap();
    assert_eq!((report.signed, report.last), (TxId::new(3, 15), TxId::new(3, 15)));
    let torn = report.unsigned.last().unwrap();
    assert_eq!((torn.what, torn.offsets.clone()), (UnsignedWhat::TornTail, end as u64..whole));
    assert!(verify(verifier(&ledger), &files).is_err(), "an auditor is stricter");
    // So is a signature that nothing follows: a part of its record is gone, and its length is not.
    let mut unsigned = ledger.clone();
    unsigned.sign(EntryFlags::NONE);
    let (start, end) = (files[1].1.len(), unsigned.files[1].1.len());
    let torn = (start / 512 + 2) * 512;
    assert!(torn + 512 < end);
    unsigned.files[1].1[torn..torn + 512].fill(0);
    let mut whole = ledger.files.clone();
    whole[1].1.clone_from(&unsigned.files[1].1);
    let report = at_start(&whole).unwrap();
    assert_eq!(report.signed, TxId::new(3, 15));
    // Other damage is none of a crash.
    let mut files = ledger.files.clone();
    files[1].1[sector..sector + 511].fill(0xff);
    assert!(at_start(&files).is_err());
    // Nor is it one where what was signed after it would go, too.
    let mut signed = ledger.clone();
    signed.sign(EntryFlags::NONE);
    signed.files[1].1[sector..sector + 512].fill(0);
    assert!(at_start(&signed.files).is_err());
}

#[test]
fn a_torn_tail_is_reported() {
    let ledger = Ledger::small(2);
    let mut files = ledger.files.clone();
    let cut = files[1].1.len() - 10;
    files[1].1.truncate(cut);
    let report = verify(verifier(&ledger), &files).unwrap();
    assert_eq!(report.last, TxId::new(3, 16));
    let torn = report.unsigned.last().unwrap();
    assert_eq!((torn.what, torn.offsets.end), (UnsignedWhat::TornTail, cut as u64));
}

#[test]
fn the_ledger_must_reach_as_far_as_was_asked() {
    let ledger = Ledger::small(2);
    let reaches = |view, seqno| {
        let mut verifier = verifier(&ledger);
        ledger.files.iter().for_each(|(name, bytes)| verifier.chunk(name, bytes).unwrap());
        verifier.finish(Some(TxId::new(view, seqno))).is_ok()
    };
    assert!(reaches(2, 9) && reaches(3, 10) && reaches(3, 15));
    // After the last signature; in the other view; not there at all.
    assert!(
        !reaches(3, 16) && !reaches(2, 10) && !reaches(3, 9) && !reaches(3, 18) && !reaches(2, 0)
    );
}

#[test]
fn files_must_be_all_there_and_in_order() {
    let ledger = Ledger::small(0);
    let fault = |files: &Files| verify(verifier(&ledger), files).unwrap_err().fault;
    assert!(matches!(fault(&[]), LedgerFault::NoSignature));
    assert!(matches!(
        fault(&ledger.files[1..]),
        LedgerFault::Gap { expected: Seqno(1), found: Seqno(10) }
    ));
    let renamed = |index: usize, name: &str| {
        let mut files = ledger.files.clone();
        files[index].0 = name.to_owned();
        files
    };
    assert!(matches!(
        fault(&renamed(0, "ledger_1-8.committed")),
        LedgerFault::Count { expected: 8, found: 9 }
    ));
    assert!(matches!(fault(&renamed(1, "ledger_10-15.committed")), LedgerFault::NotClosed));
    assert!(matches!(fault(&renamed(0, "other")), LedgerFault::Name(_)));
    let twice = [ledger.files[0].clone(), ledger.files[1].clone(), ledger.files[1].clone()];
    assert!(matches!(fault(&twice), LedgerFault::AfterOpen));
}

#[test]
fn a_closed_chunk_ends_on_a_signature() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    ledger.record(1);
    let (_, mut file) = ledger.files.pop().unwrap();
    let offsets: Vec<u32> = coco_ledger::Chunk::parse(&file)
        .unwrap()
        .entries
        .iter()
        .map(|(at, _)| u32::try_from(*at).unwrap())
        .collect();
    let (header, table) = coco_ledger::close_chunk(&offsets, file.len() as u64);
    file[..8].copy_from_slice(&header);
    file.extend(table);
    let error =
        verify(verifier(&ledger), &[("ledger_1-4.committed".to_owned(), file)]).unwrap_err();
    assert!(matches!(error.fault, LedgerFault::UnsignedChunk), "{error:?}");
    assert_eq!(error.seqno, Seqno(4));
}

#[test]
fn another_service_is_not_believed() {
    let (ledger, other) = (Ledger::small(0), Ledger::new());
    let error = verify(verifier(&other), &ledger.files).unwrap_err();
    assert!(matches!(error.fault, LedgerFault::ServiceKey), "{error:?}");
    assert_eq!((error.file.as_str(), error.offset), ("ledger_1-9.committed", 8));
}

#[test]
fn a_signer_that_is_no_node_is_refused() {
    let mut ledger = Ledger::new();
    ledger.genesis();
    let mut removal = WriteSet::new();
    let node = coco_ledger::Signer::node_id(&ledger.signer).to_string();
    removal.remove(&MapName::from_static(coco_ledger::NODES_MAP), node.as_bytes());
    ledger.append(EntryFlags::NONE, Digest::ZERO, &removal);
    ledger.sign(EntryFlags::NONE);
    let error = verify(verifier(&ledger), &ledger.files).unwrap_err();
    assert!(matches!(error.fault, LedgerFault::Signer { status: None, .. }), "{error:?}");
}

#[test]
fn the_service_makes_no_forbidden_step() {
    // Whoever has the key of a service that is open has no disaster to come back from.
    for next in
        [ServiceStatus::WaitingForRecoveryShares, ServiceStatus::Recovering, ServiceStatus::Opening]
    {
        let mut ledger = Ledger::new();
        ledger.genesis();
        let mut set = WriteSet::new();
        put_service(&mut set, &ledger.service_pem, next);
        ledger.append(EntryFlags::NONE, Digest::ZERO, &set);
        ledger.sign(EntryFlags::NONE);
        let error = verify(verifier(&ledger), &ledger.files).unwrap_err();
        assert!(
            matches!(error.fault, LedgerFault::Transition { from: ServiceStatus::Open, to } if to == next),
            "{error:?}"
        );
    }
}

#[test]
fn entries_of_another_secret_do_not_open() {
    let ledger = Ledger::small(0);
    let other = coco_ledger::LedgerSecret::new(&[1; 32]);
    let error = verify(verifier(&ledger).with_secret(other), &ledger.files).unwrap_err();
    assert!(matches!(error.fault, LedgerFault::Open(_)), "{error:?}");
    assert!(!ledger.signatures.is_empty() && ledger.tree.len() == 16);
    assert_eq!(ledger.receipt(4).tx_id(), TxId::new(2, 4));
}

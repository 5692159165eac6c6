//! What the ledger alone cannot show: that it was longer once, or went on differently. A receipt from later can.

use coco_ledger::{
    Chunk, ChunkName, LedgerFault, Receipt, VerifiedReceipt, VerifyLedgerError, open_chunk,
    verify_cose, verify_json,
};
use coco_types::Seqno;

use crate::{
    ENTRIES, ENTRIES_PER_SIGNATURE,
    fixture::Ledger,
    ledger,
    readers::{Auditor, Files, Reader, Start},
};

/// The ledger up to an entry, as it looked when that was the last one.
fn up_to(ledger: &Ledger, last: u64) -> Files {
    let mut files = Files::new();
    for (name, bytes) in &ledger.files {
        let parsed: ChunkName = name.parse().unwrap();
        if parsed.last.unwrap().0 <= last {
            files.push((name.clone(), bytes.clone()));
        } else if parsed.first.0 <= last {
            let chunk = Chunk::parse(bytes).unwrap();
            let (offset, _) = chunk.entries[usize::try_from(last + 1 - parsed.first.0).unwrap()];
            let mut cut = bytes[..usize::try_from(offset).unwrap()].to_vec();
            cut[..8].copy_from_slice(&open_chunk());
            files.push((ChunkName::open(parsed.first).to_string(), cut));
        }
    }
    files
}

fn check(
    ledger: &Ledger,
    files: &Files,
    receipt: &VerifiedReceipt,
) -> Result<(), VerifyLedgerError> {
    let mut auditor = Auditor::new(ledger);
    files.iter().for_each(|file| auditor.advance(file));
    auditor.0.check_receipt(receipt)
}

fn verified(ledger: &Ledger, seqno: u64) -> VerifiedReceipt {
    verify_json(ledger.receipt(seqno).json().as_bytes(), &ledger.service_pem).unwrap()
}

#[test]
fn a_ledger_cut_at_any_entry_passes_until_a_later_receipt_is_held_against_it() {
    let ledger = ledger();
    let later = verified(&ledger, ENTRIES - 1);
    assert!(check(&ledger, &ledger.files, &later).is_ok());
    let (mut cuts, mut at_signatures) = (0, 0);
    for last in ENTRIES_PER_SIGNATURE..ENTRIES - 1 {
        let files = up_to(&ledger, last);
        let report = Auditor::new(&ledger).read(&files).unwrap().unwrap();
        Start::new(&ledger).read(&files).unwrap();
        // What is not signed is said to be so; at a signature entry, nothing is left to say.
        let tail = report.last.seqno.0 - report.signed.seqno.0;
        assert_eq!(
            (report.last.seqno.0, tail > 0),
            (last, !last.is_multiple_of(ENTRIES_PER_SIGNATURE))
        );
        at_signatures += u64::from(tail == 0);
        let error = check(&ledger, &files, &later).unwrap_err();
        assert!(matches!(error.fault, LedgerFault::Short { .. }), "{error:?}");
        assert_eq!((&error.file, error.seqno), (&files.last().unwrap().0, Seqno(last + 1)));
        // One that the ledger still holds proves nothing about its end.
        assert!(check(&ledger, &files, &verified(&ledger, 4)).is_ok());
        cuts += 1;
    }
    println!(
        "{cuts} cuts, {at_signatures} of them at a signature entry: a later receipt shows each"
    );
    assert_eq!(at_signatures, ENTRIES / ENTRIES_PER_SIGNATURE - 1);
}

#[test]
fn a_ledger_that_went_on_differently_is_shown_by_a_receipt_of_the_first() {
    // Somebody with all keys goes on twice from the same signature entry, as a majority that was set back would.
    let common = Ledger::small(0);
    let (mut one, mut other) = (common.clone(), common);
    one.record(100);
    one.sign(coco_ledger::EntryFlags::CHUNK_AFTER);
    other.record(200);
    other.sign(coco_ledger::EntryFlags::CHUNK_AFTER);
    for ledger in [&one, &other] {
        assert!(Auditor::new(ledger).read(&ledger.files).is_ok());
    }
    let seqno = one.entries.len() as u64 - 1;
    for receipt in [
        verified(&one, seqno),
        verify_cose(&one.receipt(seqno).cose().unwrap(), &one.service_pem).unwrap(),
        verify_json(
            Receipt::of_signature(one.signatures.last().unwrap()).json().as_bytes(),
            &one.service_pem,
        )
        .unwrap(),
    ] {
        assert!(check(&one, &one.files, &receipt).is_ok());
        let error = check(&other, &other.files, &receipt).unwrap_err();
        assert!(matches!(error.fault, LedgerFault::Receipt { .. }), "{error:?}");
    }
    // What both have in common, both prove.
    let before = verified(&one, 4);
    assert!(
        check(&one, &one.files, &before).is_ok() && check(&other, &other.files, &before).is_ok()
    );
}

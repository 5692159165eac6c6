//! A ledger of several chunks, changed in every way that a host can change files: each change is refused by the offline
//! verifier and by a node that starts, with file, offset and seqno, and by a node that is sent its entries, with the seqno.
//!
//! What is tried, and what cannot be seen in the ledger alone:
//!
//! - every bit of all headers and tables and a random share of the rest, one at a time ([`flips`]);
//! - entries and chunks dropped, swapped, doubled and taken from another network's ledger, as they are and with framing
//!   and names put right; chunks cut at each entry ([`pieces`]);
//! - a ledger that was cut at a signature entry is a valid one, and so is one that somebody with the keys went on with
//!   differently: a receipt from later shows both ([`receipts`]).
//!
//! Snapshots are treated likewise ([`snapshots`]): the error names file, offset and seqno, too.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and counts"
)]

mod dice;
#[path = "../../../coco-ledger/tests/fixture/ledger.rs"]
mod fixture;
mod flips;
mod memory;
mod mutants;
mod pieces;
mod readers;
mod receipts;
#[path = "../../../coco-ledger/tests/fixture/snapshot.rs"]
mod snapshot;
mod snapshots;

use fixture::Ledger;

/// Entries of the ledger under test, signatures included.
const ENTRIES: u64 = 200;
/// Entries from one signature to the next.
const ENTRIES_PER_SIGNATURE: u64 = 20;
/// Signatures of a chunk.
const SIGNATURES_PER_CHUNK: u64 = 2;

/// A ledger that ends with a closed chunk.
fn ledger() -> Ledger {
    fill(Ledger::new())
}

/// One of another network: other keys, another secret, the same clients.
fn foreign_ledger() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.secret = coco_ledger::LedgerSecret::new(&[0x43; 32]);
    fill(ledger)
}

fn fill(mut ledger: Ledger) -> Ledger {
    ledger.genesis();
    let mut n = 0;
    let mut signatures = 0;
    while ledger.tree.len() <= ENTRIES {
        if ledger.tree.len().is_multiple_of(ENTRIES_PER_SIGNATURE) {
            signatures += 1;
            let ends = signatures % SIGNATURES_PER_CHUNK == 0;
            ledger.sign(if ends {
                coco_ledger::EntryFlags::CHUNK_AFTER
            } else {
                coco_ledger::EntryFlags::NONE
            });
        } else {
            ledger.record(n);
            n += 1;
        }
    }
    assert_eq!((ledger.files.len(), ledger.entries.len() as u64), (5, ENTRIES));
    ledger
}

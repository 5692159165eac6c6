//! Changed ledgers, and the table of what became of them.

use std::collections::BTreeMap;

use crate::readers::{Files, Reader, Refusal};

/// One changed ledger.
pub(crate) struct Mutant {
    /// What was done: a row of the table.
    pub(crate) kind: &'static str,
    /// Exactly where.
    pub(crate) place: String,
    pub(crate) files: Files,
}

/// How many there were of each kind, and how many of them were refused.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<&'static str, (usize, usize)>);

impl Table {
    /// Notes whether one was refused.
    pub(crate) fn note(&mut self, kind: &'static str, refused: bool) {
        let row = self.0.entry(kind).or_default();
        row.0 += 1;
        row.1 += usize::from(refused);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, (all, refused)) in other.0 {
            let row = self.0.entry(kind).or_default();
            row.0 += all;
            row.1 += refused;
        }
    }

    /// Prints the table and returns how many there were.
    pub(crate) fn print(&self, reader: &str) -> usize {
        for (kind, (all, refused)) in &self.0 {
            println!("{reader:<8} {kind:<44} {all:>6} changed, {refused:>6} refused");
        }
        self.0.values().map(|(all, _)| all).sum()
    }
}

/// Lets a reader at the start of the ledger read every mutant: each must be refused, at a place that is there, unless to
/// this reader it is the untouched ledger. Returns how many were refused.
pub(crate) fn refuse_all(
    name: &str,
    mut reader: impl Reader,
    untouched: &Files,
    mutants: &[Mutant],
) -> usize {
    let (mut table, mut refused) = (Table::default(), 0);
    for Mutant { kind, place, files } in mutants {
        let is_change = reader.is_change(untouched, files);
        table.note(kind, is_change);
        match reader.read(files) {
            Err(refusal) if is_change => {
                let seqno = refusal.seqno;
                assert!(is_there(&refusal, files), "{kind}, {place}: {refusal:?}");
                assert!((1..=2 * crate::ENTRIES).contains(&seqno), "{kind}, {place}: {refusal:?}");
                assert!(refusal.is_told(), "{kind}, {place}: {refusal:?}");
                refused += 1;
            }
            Ok(_) if !is_change => {}
            other => panic!("{name}: {kind}, {place}, a change: {is_change}: {other:?}"),
        }
    }
    assert_eq!(table.print(name), mutants.len());
    refused
}

fn is_there(refusal: &Refusal, files: &Files) -> bool {
    let Some(name) = &refusal.file else { return refusal.offset.is_none() };
    let file = files.iter().find(|(file, _)| file == name);
    file.is_some_and(|(_, bytes)| refusal.offset.unwrap_or(0) <= bytes.len() as u64)
}

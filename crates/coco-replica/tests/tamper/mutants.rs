//! Changed ledgers, and the table of what became of them.

use std::collections::BTreeMap;

use crate::readers::{Files, Reader};

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

/// Lets a reader at the start of the ledger read every mutant: each must be refused, at a place that is there.
pub(crate) fn refuse_all(name: &str, mut reader: impl Reader, mutants: &[Mutant]) -> usize {
    let mut table = Table::default();
    for Mutant { kind, place, files } in mutants {
        let refusal = match reader.read(files) {
            Ok(report) => panic!("{name} took this: {kind}, {place}: {report:?}"),
            Err(refusal) => refusal,
        };
        let file = files.iter().find(|(file, _)| *file == refusal.file);
        let (_, bytes) = file.unwrap_or_else(|| panic!("{kind}, {place}: {refusal:?}"));
        assert!(refusal.offset <= bytes.len() as u64, "{kind}, {place}: {refusal:?}");
        assert!((1..=2 * crate::ENTRIES).contains(&refusal.seqno), "{kind}, {place}: {refusal:?}");
        for part in [
            &refusal.file,
            &format!("offset {}", refusal.offset),
            &format!("seqno {}", refusal.seqno),
        ] {
            assert!(refusal.what.contains(part.as_str()), "{kind}, {place}: {refusal:?}");
        }
        table.note(kind, true);
    }
    table.print(name)
}

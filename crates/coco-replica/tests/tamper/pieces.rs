//! Whole entries and chunks, gone, doubled, in another order, or from somewhere else.

use bytes::Bytes;
use coco_ledger::{Chunk, ChunkName, close_chunk, open_chunk};
use coco_types::Seqno;

use crate::{
    fixture::Ledger,
    foreign_ledger, ledger,
    mutants::{Mutant, refuse_all},
    readers::{Auditor, Files, Join, Start},
};

/// The entries of each chunk.
type Chunks = Vec<Vec<Bytes>>;

fn chunks(files: &Files) -> Chunks {
    let entries = |bytes: &[u8]| {
        let chunk = Chunk::parse(bytes).unwrap();
        chunk.entries.iter().map(|(_, entry)| Bytes::copy_from_slice(entry.bytes())).collect()
    };
    files.iter().map(|(_, bytes)| entries(bytes)).collect()
}

/// A closed chunk file of these entries, whatever they are.
fn file(entries: &[Bytes]) -> Vec<u8> {
    let mut file = open_chunk().to_vec();
    let mut offsets = Vec::new();
    for entry in entries {
        offsets.push(u32::try_from(file.len()).unwrap());
        file.extend_from_slice(entry);
    }
    let (header, table) = close_chunk(&offsets, file.len() as u64);
    file[..header.len()].copy_from_slice(&header);
    [file, table].concat()
}

/// Framing and names put right, so that only the entries themselves can tell. Empty chunks are left out.
fn mended(chunks: &Chunks) -> Files {
    let mut first = 1;
    let mut files = Files::new();
    for entries in chunks.iter().filter(|entries| !entries.is_empty()) {
        let next = first + entries.len() as u64;
        let name = ChunkName::committed(Seqno(first), Seqno(next - 1));
        files.push((name.to_string(), file(entries)));
        first = next;
    }
    files
}

/// Framing put right under the old names.
fn under_old_names(files: &Files, chunks: &Chunks) -> Files {
    files.iter().zip(chunks).map(|((name, _), entries)| (name.clone(), file(entries))).collect()
}

/// Both ways of presenting changed entries.
fn both(files: &Files, kinds: [&'static str; 2], place: &str, changed: &Chunks) -> Vec<Mutant> {
    let mutant = |kind, files| Mutant { kind, place: place.to_owned(), files };
    let old = under_old_names(files, changed);
    vec![mutant(kinds[0], old), mutant(kinds[1], mended(changed))]
}

fn of_entries(one: &Ledger, other: &Ledger) -> Vec<Mutant> {
    let (files, all, foreign) = (&one.files, chunks(&one.files), chunks(&other.files));
    let mut mutants = Vec::new();
    let last = (all.len() - 1, all[all.len() - 1].len() - 1);
    let places =
        all.iter().enumerate().flat_map(|(c, chunk)| (0..chunk.len()).map(move |n| (c, n)));
    for (c, n) in places {
        let place = format!("chunk {c}, entry {n}");
        let with = |change: &dyn Fn(&mut Chunks)| {
            let mut changed = all.clone();
            change(&mut changed);
            changed
        };
        let mut add = |kinds, changed: &Chunks| mutants.extend(both(files, kinds, &place, changed));
        add(
            ["entry dropped", "entry dropped, framing and names mended"],
            &with(&|chunks| drop(chunks[c].remove(n))),
        );
        add(
            ["entry doubled", "entry doubled, framing and names mended"],
            &with(&|chunks| {
                let entry = chunks[c][n].clone();
                chunks[c].insert(n, entry);
            }),
        );
        if (c, n) != last {
            add(
                ["entry swapped with the next", "entry swapped with the next, all mended"],
                &with(&|chunks| {
                    let next = if n + 1 < chunks[c].len() { (c, n + 1) } else { (c + 1, 0) };
                    let (a, b) = (chunks[c][n].clone(), chunks[next.0][next.1].clone());
                    (chunks[c][n], chunks[next.0][next.1]) = (b, a);
                }),
            );
        }
        add(
            ["entry of another network", "entry of another network, all mended"],
            &with(&|chunks| chunks[c][n] = foreign[c][n].clone()),
        );
    }
    mutants
}

fn of_chunks(one: &Ledger, other: &Ledger) -> Vec<Mutant> {
    let (files, foreign) = (&one.files, &other.files);
    let mut mutants = Vec::new();
    for c in 0..files.len() {
        let mut add = |kind, change: &dyn Fn(&mut Files)| {
            let mut files = files.clone();
            change(&mut files);
            mutants.push(Mutant { kind, place: format!("chunk {c}"), files });
        };
        // Without its last chunk a ledger is a shorter one: see `receipts`.
        if c + 1 < files.len() {
            add("chunk dropped", &|files| drop(files.remove(c)));
            add("chunk swapped with the next", &|files| files.swap(c, c + 1));
            add("contents swapped with the next chunk's", &|files| {
                let (one, next) = (files[c].1.clone(), files[c + 1].1.clone());
                (files[c].1, files[c + 1].1) = (next, one);
            });
        }
        add("chunk doubled", &|files| files.insert(c, files[c].clone()));
        add("contents doubled under the next name", &|files| {
            let (name, bytes) = files[c].clone();
            let name: ChunkName = name.parse().unwrap();
            let count = name.last.unwrap().0 - name.first.0 + 1;
            let first = name.last.unwrap().next();
            let doubled = ChunkName::committed(first, Seqno(first.0 + count - 1));
            files.insert(c + 1, (doubled.to_string(), bytes));
        });
        add("chunk of another network", &|files| files[c].1.clone_from(&foreign[c].1));
        add("this and later chunks of another network", &|files| {
            files.truncate(c);
            files.extend_from_slice(&foreign[c..]);
        });
    }
    mutants
}

const CUT_IN_TABLE: &str = "chunk cut in its table";

fn cut(one: &Ledger) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (c, (_, bytes)) in one.files.iter().enumerate() {
        let chunk = Chunk::parse(bytes).unwrap();
        for (offset, entry) in chunk.entries.iter().map(|(offset, entry)| (*offset, entry)) {
            let place = format!("chunk {c}, {}", entry.tx_id());
            for (kind, at) in
                [("chunk cut before an entry", offset), ("chunk cut inside an entry", offset + 40)]
            {
                let mut files = one.files.clone();
                files[c].1.truncate(usize::try_from(at).unwrap());
                mutants.push(Mutant { kind, place: place.clone(), files });
            }
            if c + 1 < one.files.len() {
                mutants.push(opened_again(one, c, offset, &place));
            }
        }
        for left in 0..bytes.len() - usize::try_from(chunk.end).unwrap() {
            let mut files = one.files.clone();
            files[c].1.truncate(usize::try_from(chunk.end).unwrap() + left);
            mutants.push(Mutant { kind: CUT_IN_TABLE, place: format!("chunk {c}"), files });
        }
    }
    mutants
}

/// A chunk that is cut, and made to look as if it was still being written, while later ones are there.
fn opened_again(one: &Ledger, c: usize, offset: u64, place: &str) -> Mutant {
    let mut files = one.files.clone();
    let name: ChunkName = files[c].0.parse().unwrap();
    files[c].0 = ChunkName::open(name.first).to_string();
    files[c].1.truncate(usize::try_from(offset).unwrap());
    files[c].1[..8].copy_from_slice(&open_chunk());
    let kind = "chunk cut and opened again, later ones kept";
    Mutant { kind, place: place.to_owned(), files }
}

#[test]
fn entries_and_chunks_that_were_moved_are_refused() {
    let (one, other) = (ledger(), foreign_ledger());
    let kinds = [of_entries(&one, &other), of_chunks(&one, &other), cut(&one)];
    let mutants: Vec<Mutant> = kinds.into_iter().flatten().collect();
    let audited = refuse_all("auditor", Auditor::new(&one), &one.files, &mutants);
    let started = refuse_all("start", Start::new(&one), &one.files, &mutants);
    let joined = refuse_all("join", Join::new(&one), &one.files, &mutants);
    // A node that joins is not sent the table.
    let in_tables = mutants.iter().filter(|mutant| mutant.kind == CUT_IN_TABLE).count();
    assert!(joined >= mutants.len() - in_tables, "{joined}");
    // A folder shows neither the order of its files nor one of them twice.
    let unseen = (one.files.len() - 1) + one.files.len();
    assert_eq!((audited, started), (mutants.len(), mutants.len() - unseen));
    println!(
        "{audited} changed ledgers refused by the auditor, {started} by a start, {joined} by a join"
    );
}

//! A copy of the ledger for a node that has none, or too little: what is asked and answered over the channel between
//! nodes.
//!
//! Whoever is asked offers its snapshots and says how far its ledger is committed, then gives a snapshot's bytes in parts, and the entries after it. All of it comes from a host's disk. Entries are compared with the tree before they
//! are given; the snapshot is not looked at, since whoever takes it verifies it like one of its own.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use std::sync::Arc;

use bytes::Bytes;
use coco_consensus::{Fetch, FetchId};
use coco_ledger::{FileError, SnapshotName};
use coco_replica::{SNAPSHOTS_KEPT, read_entries};
use coco_types::{
    Seqno,
    codec::{DecodeError, Reader, put_bytes, put_u64},
};
use tracing::info;

use crate::{disk::in_full, history::LedgerHistory, snapshot_files::SnapshotFiles};

/// Bytes of a snapshot in one answer, and bytes of entries after which an answer holds no further one.
pub const PART_BYTES: usize = 1 << 20;
/// Most entries in one answer.
pub const ENTRIES_MAX: u64 = 10_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyQuestion {
    /// What there is to copy.
    Offer,
    /// Bytes of a snapshot file.
    Snapshot {
        /// Which one.
        name: SnapshotName,
        /// From where on.
        offset: u64,
    },
    /// Committed entries.
    Entries {
        /// From which on.
        from: Seqno,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyAnswer {
    /// What there is.
    Offer(Offer),
    /// [`PART_BYTES`] of a snapshot, or what is left of it.
    Part(Bytes),
    /// The entries from the one that was asked for, at least one.
    Entries(Vec<Bytes>),
    /// It is not there any more, or not yet: another offer has to be asked for.
    Gone,
}

/// What a node has to give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Its snapshots, the newest first, and how many bytes they have. At most [`SNAPSHOTS_KEPT`].
    pub snapshots: Vec<(SnapshotName, u64)>,
    /// Its last committed entry.
    pub committed: Seqno,
}

impl CopyQuestion {
    /// The bytes of the question.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Offer => out.push(0),
            Self::Snapshot { name, offset } => {
                out.push(1);
                for number in [name.seqno.0, name.evidence.0, *offset] {
                    put_u64(&mut out, number);
                }
            }
            Self::Entries { from } => {
                out.push(2);
                put_u64(&mut out, from.0);
            }
        }
        out.into()
    }

    /// Reads what [`CopyQuestion::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let question = match reader.u8("question for a copy")? {
            0 => Self::Offer,
            1 => Self::Snapshot { name: name(&mut reader)?, offset: reader.u64("offset")? },
            2 => Self::Entries { from: Seqno(reader.u64("seqno")?) },
            found => {
                let found = u64::from(found);
                return Err(DecodeError::Value { field: "question for a copy", found });
            }
        };
        reader.end()?;
        Ok(question)
    }
}

impl CopyAnswer {
    /// The bytes of the answer.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Offer(Offer { snapshots, committed }) => {
                out.push(0);
                put_u64(&mut out, committed.0);
                put_u64(&mut out, snapshots.len() as u64);
                for (name, bytes) in snapshots {
                    for number in [name.seqno.0, name.evidence.0, *bytes] {
                        put_u64(&mut out, number);
                    }
                }
            }
            Self::Part(bytes) => {
                out.push(1);
                out.extend_from_slice(bytes);
            }
            Self::Entries(entries) => {
                out.push(2);
                put_u64(&mut out, entries.len() as u64);
                for entry in entries {
                    put_bytes(&mut out, entry);
                }
            }
            Self::Gone => out.push(3),
        }
        out.into()
    }

    /// Reads what [`CopyAnswer::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let answer = match reader.u8("answer with a copy")? {
            0 => {
                let committed = Seqno(reader.u64("seqno")?);
                let count = bounded(&mut reader, 24, SNAPSHOTS_KEPT as u64, "snapshots")?;
                let snapshots = (0..count)
                    .map(|_| Ok((name(&mut reader)?, reader.u64("bytes of the snapshot")?)));
                let snapshots = snapshots.collect::<Result<_, _>>()?;
                Self::Offer(Offer { snapshots, committed })
            }
            1 => return Ok(Self::Part(bytes.slice(1..))),
            2 => {
                let count = bounded(&mut reader, ENTRY_BYTES_MIN, ENTRIES_MAX, "entries")?;
                let entries = (0..count).map(|_| reader.bytes("entry").map(|e| bytes.slice_ref(e)));
                Self::Entries(entries.collect::<Result<_, _>>()?)
            }
            3 => Self::Gone,
            found => {
                let found = u64::from(found);
                return Err(DecodeError::Value { field: "answer with a copy", found });
            }
        };
        reader.end()?;
        Ok(answer)
    }
}

fn bounded(
    reader: &mut Reader<'_>,
    item_bytes_min: usize,
    limit: u64,
    field: &'static str,
) -> Result<usize, DecodeError> {
    let count = reader.count(item_bytes_min, field)?;
    let found = count as u64;
    if found > limit { Err(DecodeError::Over { field, found, limit }) } else { Ok(count) }
}

/// The length before an entry.
const ENTRY_BYTES_MIN: usize = 8;

fn name(reader: &mut Reader<'_>) -> Result<SnapshotName, DecodeError> {
    let (seqno, evidence) = (reader.u64("seqno")?, reader.u64("seqno of the evidence")?);
    Ok(SnapshotName { seqno: Seqno(seqno), evidence: Seqno(evidence) })
}

/// What a node gives others copies of.
#[derive(Clone, Debug)]
pub(crate) struct CopySource {
    pub(crate) history: Arc<LedgerHistory>,
    pub(crate) snapshots: SnapshotFiles,
}

impl CopySource {
    /// Answers a question. Reads files; what cannot be read is [`CopyAnswer::Gone`].
    pub(crate) fn answer(&self, question: &CopyQuestion) -> CopyAnswer {
        let answer = match question {
            CopyQuestion::Offer => self.offer().map_err(|error| in_full(&error)),
            CopyQuestion::Snapshot { name, offset } => self
                .snapshots
                .read_part(*name, *offset, PART_BYTES)
                .map(|part| CopyAnswer::Part(part.into()))
                .map_err(|error| in_full(&error)),
            CopyQuestion::Entries { from } => self.entries(*from).map_err(|error| in_full(&error)),
        };
        answer.unwrap_or_else(|error| {
            info!(?question, error, "cannot give a copy of it");
            CopyAnswer::Gone
        })
    }

    fn offer(&self) -> Result<CopyAnswer, FileError> {
        let names = self.snapshots.newest_first()?.into_iter().take(SNAPSHOTS_KEPT);
        let snapshots = names.map(|name| self.snapshots.length(name).map(|bytes| (name, bytes)));
        let snapshots = snapshots.collect::<Result<_, _>>()?;
        let committed = self.history.state().read().committed().seqno;
        Ok(CopyAnswer::Offer(Offer { snapshots, committed }))
    }

    fn entries(&self, from: Seqno) -> Result<CopyAnswer, coco_replica::ReadEntriesError> {
        let committed = self.history.state().read().committed().seqno;
        if from > committed || from == Seqno::ZERO {
            return Ok(CopyAnswer::Gone);
        }
        let to = Seqno(from.0.saturating_add(ENTRIES_MAX).saturating_sub(1)).min(committed);
        let fetch = Fetch { id: FetchId(0), from, to, bytes_max: PART_BYTES };
        let entries = read_entries(self.history.files(), self.history.state(), &fetch)?;
        Ok(CopyAnswer::Entries(entries.into_iter().map(|entry| entry.data).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_and_answer_comes_back_and_no_cut_one_does() {
        let name = SnapshotName { seqno: Seqno(12), evidence: Seqno(14) };
        for question in [
            CopyQuestion::Offer,
            CopyQuestion::Snapshot { name, offset: 1 << 40 },
            CopyQuestion::Entries { from: Seqno(7) },
        ] {
            let bytes = question.encode();
            assert_eq!(CopyQuestion::decode(&bytes), Ok(question));
            for end in 0..bytes.len() {
                assert!(CopyQuestion::decode(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
        let committed = Seqno(99);
        for answer in [
            CopyAnswer::Offer(Offer { snapshots: Vec::new(), committed }),
            CopyAnswer::Offer(Offer { snapshots: vec![(name, 5); SNAPSHOTS_KEPT], committed }),
            CopyAnswer::Entries(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]),
            CopyAnswer::Gone,
        ] {
            let bytes = answer.encode();
            assert_eq!(CopyAnswer::decode(&bytes), Ok(answer));
            for end in 0..bytes.len() {
                assert!(CopyAnswer::decode(&bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
        let part = CopyAnswer::Part(Bytes::from_static(b"part"));
        assert_eq!(CopyAnswer::decode(&part.encode()), Ok(part));
        assert!(CopyAnswer::decode(&Bytes::from_static(&[9])).is_err());
        assert!(CopyQuestion::decode(&[9]).is_err());
    }

    #[test]
    fn an_answer_holds_no_more_entries_than_allowed() {
        for (count, is_read) in [(ENTRIES_MAX, true), (ENTRIES_MAX + 1, false)] {
            let count = usize::try_from(count).expect("small");
            let answer = CopyAnswer::Entries(vec![Bytes::from_static(b"e"); count]);
            assert_eq!(CopyAnswer::decode(&answer.encode()).is_ok(), is_read, "{count}");
        }
        let name = SnapshotName { seqno: Seqno(12), evidence: Seqno(14) };
        let snapshots = vec![(name, 5); SNAPSHOTS_KEPT + 1];
        let answer = CopyAnswer::Offer(Offer { snapshots, committed: Seqno(99) });
        assert!(CopyAnswer::decode(&answer.encode()).is_err());
    }
}

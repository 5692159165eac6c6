//! What two nodes say to each other, and its bytes.
//!
//! A message is a format byte, a kind byte, the sender's view and the fields of its kind, all integers little-endian.
//! Who sent it is known from the transport and not repeated. The positions of the entries of an append follow from
//! the position before them.
//!
//! Decoding checks all that can be checked without knowing the log: sizes, views that only rise, and that nothing but
//! the place before the first entry has view zero. The `raft` crate would take a message with view zero for its own.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use bytes::Bytes;
use coco_types::{
    Seqno, TxId, View,
    codec::{DecodeError, Reader, put_bytes, put_u64},
    limits::{ENTRY_BYTES_MAX, PEER_MESSAGE_BYTES_MAX},
};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The view of the sender; of a pre-vote request and of its approval, the view that is asked for.
    pub(super) view: View,
    /// What it says.
    pub(super) body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The primary's log continues so.
    Append { previous: TxId, commit: Seqno, entries: Vec<WireEntry> },
    /// A backup has everything up to `last` on disk.
    Appended { last: Seqno, commit: Seqno },
    /// A backup cannot continue from `previous`; its log has `hint` at or before it.
    Refused { previous: Seqno, hint: TxId, commit: Seqno },
    /// A candidate asks for a vote.
    Vote(VoteRequest),
    /// A node asks whether it would get a vote.
    PreVote(VoteRequest),
    /// The answer to a vote request.
    Voted(VoteAnswer),
    /// The answer to a pre-vote request.
    PreVoted(VoteAnswer),
    /// The primary is there.
    Heartbeat { commit: Seqno },
    /// So is the backup.
    HeartbeatSeen { commit: Seqno },
    /// The primary wants the receiver to follow it at once.
    TakeOver,
}

/// An entry on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WireEntry {
    pub(super) view: View,
    pub(super) data: Bytes,
}

/// What a candidate shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VoteRequest {
    /// The end of its log.
    pub(super) last: TxId,
    /// What it knows to be committed; zero when it does not say.
    pub(super) commit: TxId,
    /// The primary asked it to take over, so the receiver need not wait for the primary's time to run out.
    pub(super) by_transfer: bool,
}

/// What a voter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VoteAnswer {
    pub(super) granted: bool,
    /// What it knows to be committed; zero when it does not say.
    pub(super) commit: TxId,
}

/// Whether this message makes an earlier one to the same node needless: both are of one view and of a kind of which only the
/// newest counts.
pub(super) fn stands_for(message: &[u8], earlier: &[u8]) -> bool {
    let [_, HEARTBEAT_SEEN | PRE_VOTE | PRE_VOTED, ..] = message else { return false };
    let beginning = message.get(..BEGINNING_BYTES);
    beginning.is_some() && beginning == earlier.get(..BEGINNING_BYTES)
}

/// How long the entries of an append are together.
fn data_bytes(entries: &[WireEntry]) -> usize {
    entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.data.len()))
}

impl Message {
    /// Adds to this append the entries of one that continues it, when both fit `bytes_max`; else gives the other back.
    /// The receiver acknowledges the end of the whole, which acknowledges both.
    pub(super) fn join(&mut self, next: Self, bytes_max: usize) -> Option<Self> {
        let Self { view, body: Body::Append { previous, commit, entries } } = self else {
            return Some(next);
        };
        let Body::Append { previous: continues, commit: newer, entries: more } = &next.body else {
            return Some(next);
        };
        let end = entries.last().map_or(*previous, |last| TxId {
            view: last.view,
            seqno: Seqno(previous.seqno.0.saturating_add(entries.len() as u64)),
        });
        let bytes = data_bytes(entries).saturating_add(data_bytes(more));
        if *view != next.view || *continues != end || more.is_empty() || bytes > bytes_max {
            return Some(next);
        }
        *commit = (*commit).max(*newer);
        entries.extend_from_slice(more);
        None
    }

    /// Cuts an append whose entries do not fit `bytes_max` into ones that continue one another; a larger entry travels
    /// alone. The `raft` crate puts what it was just given behind what it read from the log, whatever both come to.
    pub(super) fn split(self, bytes_max: usize) -> Vec<Self> {
        let Self { view, body: Body::Append { mut previous, commit, entries } } = self else {
            return vec![self];
        };
        let append =
            |previous, entries| Self { view, body: Body::Append { previous, commit, entries } };
        if data_bytes(&entries) <= bytes_max {
            return vec![append(previous, entries)];
        }
        let mut parts = Vec::new();
        let (mut part, mut bytes, mut end) = (Vec::new(), 0_usize, previous);
        for entry in entries {
            bytes = bytes.saturating_add(entry.data.len());
            if bytes > bytes_max && !part.is_empty() {
                parts.push(append(previous, std::mem::take(&mut part)));
                (previous, bytes) = (end, entry.data.len());
            }
            end = TxId { view: entry.view, seqno: end.seqno.next() };
            part.push(entry);
        }
        parts.push(append(previous, part));
        parts
    }

    /// The bytes of the message.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.body.bytes_about());
        out.push(FORMAT);
        out.push(self.body.kind());
        put_u64(&mut out, self.view.0);
        match &self.body {
            Body::Append { previous, commit, entries } => {
                put_tx_id(&mut out, *previous);
                put_u64(&mut out, commit.0);
                put_u64(&mut out, entries.len() as u64);
                for entry in entries {
                    put_u64(&mut out, entry.view.0);
                    put_bytes(&mut out, &entry.data);
                }
            }
            Body::Appended { last, commit } => {
                put_u64(&mut out, last.0);
                put_u64(&mut out, commit.0);
            }
            Body::Refused { previous, hint, commit } => {
                put_u64(&mut out, previous.0);
                put_tx_id(&mut out, *hint);
                put_u64(&mut out, commit.0);
            }
            Body::Vote(request) | Body::PreVote(request) => {
                put_tx_id(&mut out, request.last);
                put_tx_id(&mut out, request.commit);
                out.push(u8::from(request.by_transfer));
            }
            Body::Voted(answer) | Body::PreVoted(answer) => {
                out.push(u8::from(answer.granted));
                put_tx_id(&mut out, answer.commit);
            }
            Body::Heartbeat { commit } | Body::HeartbeatSeen { commit } => {
                put_u64(&mut out, commit.0);
            }
            Body::TakeOver => {}
        }
        Bytes::from(out)
    }

    /// Reads a message; the data of entries shares its buffer.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > PEER_MESSAGE_BYTES_MAX {
            let (found, limit) = (bytes.len() as u64, PEER_MESSAGE_BYTES_MAX as u64);
            return Err(DecodeError::Over { field: "message", found, limit });
        }
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(DecodeError::Value { field: "format", found: u64::from(format) });
        }
        let kind = reader.u8("kind")?;
        let view = view(&mut reader)?;
        let body = match kind {
            APPEND => append(&mut reader, view, bytes)?,
            APPENDED => Body::Appended { last: seqno(&mut reader)?, commit: seqno(&mut reader)? },
            REFUSED => Body::Refused {
                previous: seqno(&mut reader)?,
                hint: tx_id(&mut reader)?,
                commit: seqno(&mut reader)?,
            },
            VOTE => Body::Vote(vote_request(&mut reader)?),
            PRE_VOTE => Body::PreVote(vote_request(&mut reader)?),
            VOTED => Body::Voted(vote_answer(&mut reader)?),
            PRE_VOTED => Body::PreVoted(vote_answer(&mut reader)?),
            HEARTBEAT => Body::Heartbeat { commit: seqno(&mut reader)? },
            HEARTBEAT_SEEN => Body::HeartbeatSeen { commit: seqno(&mut reader)? },
            TAKE_OVER => Body::TakeOver,
            other => return Err(DecodeError::Value { field: "kind", found: u64::from(other) }),
        };
        reader.end()?;
        Ok(Self { view, body })
    }
}

impl Body {
    const fn kind(&self) -> u8 {
        match self {
            Self::Append { .. } => APPEND,
            Self::Appended { .. } => APPENDED,
            Self::Refused { .. } => REFUSED,
            Self::Vote(_) => VOTE,
            Self::PreVote(_) => PRE_VOTE,
            Self::Voted(_) => VOTED,
            Self::PreVoted(_) => PRE_VOTED,
            Self::Heartbeat { .. } => HEARTBEAT,
            Self::HeartbeatSeen { .. } => HEARTBEAT_SEEN,
            Self::TakeOver => TAKE_OVER,
        }
    }

    fn bytes_about(&self) -> usize {
        let Self::Append { entries, .. } = self else { return FIXED_BYTES_MAX };
        entries.iter().fold(FIXED_BYTES_MAX, |sum, entry| {
            sum.saturating_add(entry.data.len()).saturating_add(WIRE_ENTRY_BYTES_MIN)
        })
    }
}

fn put_tx_id(out: &mut Vec<u8>, tx_id: TxId) {
    put_u64(out, tx_id.view.0);
    put_u64(out, tx_id.seqno.0);
}

fn append(
    reader: &mut Reader<'_>,
    message_view: View,
    message: &Bytes,
) -> Result<Body, DecodeError> {
    let previous = tx_id(reader)?;
    let commit = seqno(reader)?;
    let count = reader.count(WIRE_ENTRY_BYTES_MIN, "entries")?;
    let mut entries = Vec::with_capacity(count);
    let mut newest = previous.view;
    for _ in 0..count {
        let view = view(reader)?;
        if view < newest {
            return Err(DecodeError::Value { field: "entry view", found: view.0 });
        }
        newest = view;
        let data = reader.bytes("entry")?;
        if data.len() > ENTRY_BYTES_MAX {
            let (found, limit) = (data.len() as u64, ENTRY_BYTES_MAX as u64);
            return Err(DecodeError::Over { field: "entry", found, limit });
        }
        entries.push(WireEntry { view, data: message.slice_ref(data) });
    }
    if newest > message_view {
        return Err(DecodeError::Over {
            field: "entry view",
            found: newest.0,
            limit: message_view.0,
        });
    }
    Ok(Body::Append { previous, commit, entries })
}

fn vote_request(reader: &mut Reader<'_>) -> Result<VoteRequest, DecodeError> {
    Ok(VoteRequest { last: tx_id(reader)?, commit: tx_id(reader)?, by_transfer: flag(reader)? })
}

fn vote_answer(reader: &mut Reader<'_>) -> Result<VoteAnswer, DecodeError> {
    Ok(VoteAnswer { granted: flag(reader)?, commit: tx_id(reader)? })
}

/// A view that somebody is in.
fn view(reader: &mut Reader<'_>) -> Result<View, DecodeError> {
    let found = reader.u64("view")?;
    if found > View::MAX.0 {
        return Err(DecodeError::Over { field: "view", found, limit: View::MAX.0 });
    }
    if found == 0 {
        return Err(DecodeError::Value { field: "view", found });
    }
    Ok(View(found))
}

fn seqno(reader: &mut Reader<'_>) -> Result<Seqno, DecodeError> {
    let found = reader.u64("seqno")?;
    if found > SEQNO_MAX {
        return Err(DecodeError::Over { field: "seqno", found, limit: SEQNO_MAX });
    }
    Ok(Seqno(found))
}

/// The name of an entry, or zeros for the place before the first one.
fn tx_id(reader: &mut Reader<'_>) -> Result<TxId, DecodeError> {
    let view = reader.u64("view")?;
    let seqno = seqno(reader)?;
    if view > View::MAX.0 {
        return Err(DecodeError::Over { field: "view", found: view, limit: View::MAX.0 });
    }
    if (view == 0) != (seqno == Seqno::ZERO) {
        return Err(DecodeError::Value { field: "view", found: view });
    }
    Ok(TxId { view: View(view), seqno })
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Value { field: "flag", found: u64::from(other) }),
    }
}

/// Bytes that every message begins with: format, kind and view.
const BEGINNING_BYTES: usize = 10;
/// Bytes that an entry takes on the wire beside its data: view and length.
pub(super) const WIRE_ENTRY_BYTES_MIN: usize = 16;
/// Bytes of the longest message without its entries, rounded up.
pub(super) const FIXED_BYTES_MAX: usize = 64;
/// No ledger comes near it, and sums of two positions stay far from the end of a u64.
const SEQNO_MAX: u64 = 1 << 56;
/// The only format so far.
const FORMAT: u8 = 1;
const APPEND: u8 = 1;
const APPENDED: u8 = 2;
const REFUSED: u8 = 3;
const VOTE: u8 = 4;
const PRE_VOTE: u8 = 5;
const VOTED: u8 = 6;
const PRE_VOTED: u8 = 7;
const HEARTBEAT: u8 = 8;
const HEARTBEAT_SEEN: u8 = 9;
const TAKE_OVER: u8 = 10;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An append of entries of two bytes each.
    fn append(view: u64, previous: TxId, commit: u64, entries: &[u64]) -> Message {
        let entry = |view: &u64| WireEntry { view: View(*view), data: Bytes::from_static(b"ab") };
        let entries = entries.iter().map(entry).collect();
        Message {
            view: View(view),
            body: Body::Append { previous, commit: Seqno(commit), entries },
        }
    }

    #[test]
    fn an_append_takes_in_what_continues_it_and_fits() {
        let first = || append(4, TxId::new(2, 7), 5, &[3, 4]);
        let next = || append(4, TxId::new(4, 9), 6, &[4]);
        for (bytes_max, joins) in [(5, false), (6, true), (7, true)] {
            let mut message = first();
            let left = message.join(next(), bytes_max);
            assert_eq!(left, (!joins).then(next), "{bytes_max}");
            let whole = if joins { append(4, TxId::new(2, 7), 6, &[3, 4, 4]) } else { first() };
            assert_eq!(message, whole, "{bytes_max}");
        }
        for other in [
            append(4, TxId::new(4, 10), 6, &[4]),
            append(4, TxId::new(3, 9), 6, &[4]),
            append(5, TxId::new(4, 9), 6, &[4]),
            append(4, TxId::new(4, 9), 6, &[]),
            Message { view: View(4), body: Body::Heartbeat { commit: Seqno(6) } },
        ] {
            let mut message = first();
            assert_eq!(message.join(other.clone(), 100), Some(other));
            assert_eq!(message, first());
        }
        let mut heartbeat = Message { view: View(4), body: Body::TakeOver };
        assert_eq!(heartbeat.join(next(), 100), Some(next()));
    }

    fn views() -> impl Strategy<Value = View> + Clone {
        prop_oneof![1..8u64, 1..=View::MAX.0].prop_map(View)
    }

    fn seqnos() -> impl Strategy<Value = Seqno> + Clone {
        prop_oneof![0..8u64, 0..=SEQNO_MAX].prop_map(Seqno)
    }

    fn tx_ids() -> impl Strategy<Value = TxId> + Clone {
        (views(), seqnos()).prop_map(|(view, seqno)| {
            if seqno == Seqno::ZERO { TxId::default() } else { TxId { view, seqno } }
        })
    }

    fn appends() -> impl Strategy<Value = Message> {
        let entries =
            prop::collection::vec((0..3u64, prop::collection::vec(any::<u8>(), 0..40)), 0..8);
        ((0..1000u64), seqnos(), seqnos(), entries, 0..3u64).prop_map(
            |(view, seqno, commit, steps, ahead)| {
                let previous = if view == 0 || seqno == Seqno::ZERO {
                    TxId::default()
                } else {
                    TxId { view: View(view), seqno }
                };
                let mut newest = previous.view.0.max(1);
                let entries = steps.into_iter().map(|(step, data)| {
                    newest += step;
                    WireEntry { view: View(newest), data: Bytes::from(data) }
                });
                let entries = entries.collect();
                Message {
                    view: View(newest + ahead),
                    body: Body::Append { previous, commit, entries },
                }
            },
        )
    }

    pub(in crate::raft_engine) fn messages() -> impl Strategy<Value = Message> {
        let request = (tx_ids(), tx_ids(), any::<bool>());
        let request = request.prop_map(|(last, commit, by_transfer)| VoteRequest {
            last,
            commit,
            by_transfer,
        });
        let answer =
            (any::<bool>(), tx_ids()).prop_map(|(granted, commit)| VoteAnswer { granted, commit });
        let body = prop_oneof![
            (seqnos(), seqnos()).prop_map(|(last, commit)| Body::Appended { last, commit }),
            (seqnos(), tx_ids(), seqnos()).prop_map(|(previous, hint, commit)| Body::Refused {
                previous,
                hint,
                commit
            }),
            request.clone().prop_map(Body::Vote),
            request.prop_map(Body::PreVote),
            answer.clone().prop_map(Body::Voted),
            answer.prop_map(Body::PreVoted),
            seqnos().prop_map(|commit| Body::Heartbeat { commit }),
            seqnos().prop_map(|commit| Body::HeartbeatSeen { commit }),
            Just(Body::TakeOver),
        ];
        prop_oneof![appends(), (views(), body).prop_map(|(view, body)| Message { view, body })]
    }

    proptest! {
        #[test]
        fn every_message_reads_as_it_was_written(message in messages()) {
            let bytes = message.encode();
            prop_assert!(bytes.len() <= message.body.bytes_about());
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Message::decode(&Bytes::from(bytes)));
        }

        #[test]
        fn damaged_messages_are_refused_or_read_as_what_they_now_say(
            message in messages(), at in any::<prop::sample::Index>(), bits in 1..=255u8, cut in any::<prop::sample::Index>(),
        ) {
            let good = message.encode();
            prop_assert!(Message::decode(&good.slice(..cut.index(good.len()))).is_err(), "a cut message was read");
            let mut bad = good.to_vec();
            bad[at.index(good.len())] ^= bits;
            let bad = Bytes::from(bad);
            if let Ok(read) = Message::decode(&bad) {
                prop_assert_eq!(read.encode(), bad);
            }
        }
    }

    #[test]
    fn an_append_over_the_limit_is_cut_between_entries() {
        let entry = |view, bytes| WireEntry { view: View(view), data: Bytes::from(vec![7; bytes]) };
        let append = |previous, entries| Message {
            view: View(5),
            body: Body::Append { previous, commit: Seqno(3), entries },
        };
        let all = vec![entry(2, 40), entry(2, 60), entry(4, 1), entry(4, 500), entry(5, 9)];
        let parts = append(TxId::new(2, 8), all.clone()).split(100);
        let expected = [
            append(TxId::new(2, 8), all[..2].to_vec()),
            append(TxId::new(2, 10), all[2..3].to_vec()),
            append(TxId::new(4, 11), all[3..4].to_vec()),
            append(TxId::new(4, 12), all[4..].to_vec()),
        ];
        assert_eq!(parts, expected);
        let whole = append(TxId::new(2, 8), all);
        assert_eq!(whole.clone().split(609).len(), 2);
        assert_eq!(whole.clone().split(610), vec![whole]);
        let empty = append(TxId::new(2, 8), Vec::new());
        assert_eq!(empty.clone().split(1), vec![empty]);
    }

    fn refused(message: &Message) -> bool {
        Message::decode(&message.encode()).is_err()
    }

    fn one_entry(previous: TxId, entry_view: u64, bytes: usize) -> Message {
        let entries = vec![WireEntry { view: View(entry_view), data: Bytes::from(vec![7; bytes]) }];
        Message { view: View(5), body: Body::Append { previous, commit: Seqno(0), entries } }
    }

    #[test]
    fn an_entry_may_be_as_large_as_the_limit() {
        assert!(!refused(&one_entry(TxId::new(2, 1), 3, ENTRY_BYTES_MAX - 1)));
        assert!(!refused(&one_entry(TxId::new(2, 1), 3, ENTRY_BYTES_MAX)));
        assert!(refused(&one_entry(TxId::new(2, 1), 3, ENTRY_BYTES_MAX + 1)));
    }

    #[test]
    fn views_may_not_fall_or_pass_the_view_of_the_message() {
        assert!(!refused(&one_entry(TxId::new(3, 1), 3, 1)));
        assert!(refused(&one_entry(TxId::new(4, 1), 3, 1)));
        assert!(!refused(&one_entry(TxId::new(3, 1), 5, 1)));
        assert!(refused(&one_entry(TxId::new(3, 1), 6, 1)));
    }

    #[test]
    fn nothing_but_the_place_before_the_log_has_view_zero() {
        assert!(!refused(&one_entry(TxId::new(0, 0), 1, 1)));
        assert!(refused(&one_entry(TxId::new(0, 0), 0, 1)));
        assert!(refused(&one_entry(TxId::new(0, 9), 1, 1)));
        assert!(refused(&one_entry(TxId::new(1, 0), 1, 1)));
        assert!(refused(&Message { view: View(0), body: Body::TakeOver }));
        assert!(refused(&Message { view: View(View::MAX.0 + 1), body: Body::TakeOver }));
    }
}

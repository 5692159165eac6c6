//! What a message says, for logs and for checkers that watch the network. The engine itself does not use it.

use std::fmt;

use bytes::Bytes;
use coco_types::{Seqno, TxId, View, codec::DecodeError};

use super::codec::{Body, Message};

/// A message between two nodes, without the data of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The view of the sender; of a pre-vote request and of its approval, the view that is asked for.
    pub view: View,
    /// What it says.
    pub what: What,
}

/// What a message says. [`fmt::Display`] has the form for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The primary's log continues so.
    Append {
        /// The entry before the first one.
        previous: TxId,
        /// The last entry; `previous` when there is none.
        last: TxId,
        /// What the primary knows to be committed, or less.
        commit: Seqno,
    },
    /// A backup has everything up to here on disk.
    Appended {
        /// Up to here.
        last: Seqno,
    },
    /// A backup cannot continue from the entry at this position.
    Refused {
        /// Where the primary wanted to continue.
        previous: Seqno,
        /// What the backup has there or before.
        hint: TxId,
    },
    /// A candidate asks for a vote.
    Vote {
        /// The end of its log.
        last: TxId,
    },
    /// A node asks whether it would get a vote.
    PreVote {
        /// The end of its log.
        last: TxId,
    },
    /// The answer to a vote request.
    Voted {
        /// Whether it was given.
        granted: bool,
    },
    /// The answer to a pre-vote request.
    PreVoted {
        /// Whether the vote would be given.
        granted: bool,
    },
    /// The primary is there.
    Heartbeat {
        /// What the receiver may take for committed.
        commit: Seqno,
    },
    /// So is the backup.
    HeartbeatSeen,
    /// The primary wants the receiver to follow it at once.
    TakeOver,
}

impl Said {
    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`] when it does not follow the peer protocol.
    pub fn read(message: &Bytes) -> Result<Self, DecodeError> {
        let Message { view, body } = Message::decode(message)?;
        let what = match body {
            Body::Append { previous, commit, entries } => {
                let last = entries.last().map_or(previous, |last| TxId {
                    view: last.view,
                    seqno: Seqno(previous.seqno.0.saturating_add(entries.len() as u64)),
                });
                What::Append { previous, last, commit }
            }
            Body::Appended { last, .. } => What::Appended { last },
            Body::Refused { previous, hint, .. } => What::Refused { previous, hint },
            Body::Vote(request) => What::Vote { last: request.last },
            Body::PreVote(request) => What::PreVote { last: request.last },
            Body::Voted(answer) => What::Voted { granted: answer.granted },
            Body::PreVoted(answer) => What::PreVoted { granted: answer.granted },
            Body::Heartbeat { commit } => What::Heartbeat { commit },
            Body::HeartbeatSeen { .. } => What::HeartbeatSeen,
            Body::TakeOver => What::TakeOver,
        };
        Ok(Self { view, what })
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view;
        match self.what {
            What::Append { previous, last, commit } if previous == last => {
                write!(f, "view {view}: append nothing after {previous}, committed {commit}")
            }
            What::Append { previous, last, commit } => {
                write!(f, "view {view}: append after {previous} up to {last}, committed {commit}")
            }
            What::Appended { last } => write!(f, "view {view}: on disk up to {last}"),
            What::Refused { previous, hint } => {
                write!(f, "view {view}: cannot append after {previous}, has {hint}")
            }
            What::Vote { last } => write!(f, "view {view}: vote for me, log ends at {last}"),
            What::PreVote { last } => {
                write!(f, "view {view}: would you vote for me, log ends at {last}")
            }
            What::Voted { granted: true } => write!(f, "view {view}: vote given"),
            What::Voted { granted: false } => write!(f, "view {view}: vote refused"),
            What::PreVoted { granted: true } => write!(f, "view {view}: would vote so"),
            What::PreVoted { granted: false } => write!(f, "view {view}: would not vote so"),
            What::Heartbeat { commit } => write!(f, "view {view}: heartbeat, committed {commit}"),
            What::HeartbeatSeen => write!(f, "view {view}: heartbeat seen"),
            What::TakeOver => write!(f, "view {view}: take over"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft_engine::codec::WireEntry;

    #[test]
    fn an_append_names_its_last_entry() {
        let entry = |view| WireEntry { view: View(view), data: Bytes::from_static(b"data") };
        for (entries, last) in [(vec![], "2.7"), (vec![entry(3), entry(4)], "4.9")] {
            let body = Body::Append { previous: TxId::new(2, 7), commit: Seqno(5), entries };
            let said = Said::read(&Message { view: View(4), body }.encode()).expect("it is whole");
            let What::Append { last: found, .. } = said.what else { panic!("{said}") };
            assert_eq!(found.to_string(), last);
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert!(Said::read(&Bytes::from_static(b"\x01\xff")).is_err());
    }
}

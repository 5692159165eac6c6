//! What happened in a run, event by event, for whoever looks for the cause of a failure.
//!
//! Runs record nothing until one has failed; then the same seed is run again with a log, and fails again in the same way.
//! A log is a file of JSON lines: a [`Header`], then [`Event`]s. It holds no payload: of messages what they say to the
//! engine, of entries their names.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    io::{self, BufRead, Write},
    rc::Rc,
};

use coco_consensus::Said;
use serde::{Deserialize, Serialize};

use crate::plan::Micros;

/// Most events of a log. The oldest go: what led to a failure is seldom further back.
pub const EVENTS_MAX: usize = 200_000;

/// The first line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The seed.
    pub seed: u64,
    /// The bug that was planted.
    pub planted: Option<String>,
    /// How many nodes there were in the beginning.
    pub nodes: usize,
    /// What the seed decided, for people.
    pub plan: String,
    /// Older events that were dropped.
    pub dropped: u64,
    /// What the run failed with.
    pub failure: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Simulated microseconds since the beginning.
    pub at_us: Micros,
    /// To which node; none for the world.
    pub node: Option<usize>,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happened {
    /// A node starts from its disk.
    Starts {
        /// Which of its lives begins.
        life: u64,
        /// Its last entry.
        last: String,
    },
    /// A node loses its power.
    Crashes {
        /// Sectors that were lost.
        lost: usize,
        /// Sectors that arrived though nobody had said so.
        kept: usize,
    },
    /// An adversary acts.
    Fault {
        /// Which.
        fault: String,
    },
    /// Faults end.
    Heals,
    /// A node sends.
    Sends {
        /// To whom.
        to: usize,
        /// What.
        said: String,
        /// When it arrives, as often as it does: not at all when it is lost.
        arrives_us: Vec<Micros>,
    },
    /// A node takes a message in.
    Receives {
        /// From whom, if that node still has its name.
        from: Option<usize>,
        /// What.
        said: String,
    },
    /// A node executes a batch.
    Works,
    /// A node hands a write to its disk.
    Writes {
        /// First cut back to here.
        cut: Option<u64>,
        /// The first and the last entry.
        entries: Option<(String, String)>,
        /// View, and whom it votes for.
        hard_state: Option<String>,
    },
    /// A node hears that its disk has what it was given.
    Synced {
        /// Entries on the disk now.
        entries: usize,
    },
    /// A node hands out that this is committed.
    Commits {
        /// The last committed entry.
        id: String,
    },
    /// A node rolls back.
    RollsBack {
        /// To here.
        to: u64,
    },
    /// A member asks a node, or is answered by it.
    Governs {
        /// Which member.
        member: usize,
        /// What.
        what: String,
    },
    /// A node's part changes.
    Role {
        /// The new one.
        role: String,
        /// In this view.
        view: u64,
    },
    /// A node reads entries back for one that lags.
    Fetched {
        /// How many.
        entries: usize,
    },
    /// Something became of a snapshot: it was made, completed, passed over or started from.
    Snapshot {
        /// What.
        what: String,
    },
    /// A client asks for a transfer.
    Asks {
        /// Which client.
        client: usize,
        /// Of which nonce.
        nonce: u64,
    },
    /// A client is answered.
    Answers {
        /// Which client.
        client: usize,
        /// What.
        reply: String,
    },
    /// A client is told what became of its transfer.
    Tells {
        /// Which client.
        client: usize,
        /// Of this entry.
        id: String,
        /// What.
        status: String,
    },
}

/// Takes events in, if there is a log.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Option<Rc<RefCell<Log>>>);

/// Events, and what is known of their run.
#[derive(Debug)]
pub struct Log {
    /// The first line.
    pub header: Header,
    /// In order.
    pub events: VecDeque<Event>,
}

impl Recorder {
    /// A recorder and its log.
    #[must_use]
    pub fn new(seed: u64, planted: Option<String>) -> (Self, Rc<RefCell<Log>>) {
        let plan = String::new();
        let header = Header { seed, planted, nodes: 0, plan, dropped: 0, failure: None };
        let log = Rc::new(RefCell::new(Log { header, events: VecDeque::new() }));
        (Self(Some(Rc::clone(&log))), log)
    }

    /// Notes what the seed decided.
    pub fn plan(&self, plan: &crate::Plan) {
        if let Some(log) = &self.0 {
            let mut log = log.borrow_mut();
            log.header.nodes = plan.nodes;
            log.header.plan = format!("{plan:?}");
        }
    }

    /// Notes an event, which is made only if there is a log.
    pub fn note(&self, at_us: Micros, node: Option<usize>, what: impl FnOnce() -> Happened) {
        let Some(log) = &self.0 else { return };
        let mut log = log.borrow_mut();
        if log.events.len() >= EVENTS_MAX {
            log.events.pop_front();
            log.header.dropped += 1;
        }
        log.events.push_back(Event { at_us, node, what: what() });
    }
}

impl Log {
    /// Writes it as JSON lines.
    ///
    /// # Errors
    /// When the file does not take them.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &self.header)?;
        out.write_all(b"\n")?;
        for event in &self.events {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`Log::write`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, or a line is not of that form; the line is named.
    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let mut lines = from.lines().zip(1_usize..);
        let (first, _) = lines.next().ok_or_else(|| io::Error::other("an empty log"))?;
        let header = serde_json::from_str(&first?).map_err(|why| not_a_line(1, &why))?;
        let mut events = VecDeque::new();
        for (line, number) in lines.take(EVENTS_MAX) {
            events.push_back(serde_json::from_str(&line?).map_err(|why| not_a_line(number, &why))?);
        }
        Ok(Self { header, events })
    }
}

fn not_a_line(number: usize, why: &serde_json::Error) -> io::Error {
    io::Error::other(format!("line {number} is not of a log: {why}"))
}

/// What a message says.
#[must_use]
pub fn said(message: &bytes::Bytes) -> String {
    Said::read(message).map_or_else(|why| format!("no message: {why}"), |said| said.to_string())
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        let who = self.node.map_or_else(|| "--".to_owned(), |node| format!("n{node}"));
        write!(f, "{s:3}.{us:06} {who:3} {}", self.what)
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Governs { member, what } => write!(f, "member {member}: {what}"),
            Self::Starts { life, last } => write!(f, "starts, life {life}, last entry {last}"),
            Self::Crashes { lost, kept } => {
                write!(f, "crashes, {lost} steps to its disk lost, {kept} kept")
            }
            Self::Fault { fault } => write!(f, "fault: {fault}"),
            Self::Heals => write!(f, "the world heals"),
            Self::Sends { to, said, arrives_us } if arrives_us.is_empty() => {
                write!(f, "-> n{to} LOST {said}")
            }
            Self::Sends { to, said, .. } => write!(f, "-> n{to} {said}"),
            Self::Receives { from: Some(from), said } => write!(f, "<- n{from} {said}"),
            Self::Receives { from: None, said } => write!(f, "<- somebody: {said}"),
            Self::Works => write!(f, "executes a batch"),
            Self::Writes { cut, entries, hard_state } => {
                write!(f, "writes")?;
                if let Some(cut) = cut {
                    write!(f, ", after a cut to {cut}")?;
                }
                if let Some((first, last)) = entries {
                    write!(f, ", {first} to {last}")?;
                }
                if let Some(state) = hard_state {
                    write!(f, ", {state}")?;
                }
                Ok(())
            }
            Self::Synced { entries } => write!(f, "its disk has {entries} entries"),
            Self::Commits { id } => write!(f, "commits {id}"),
            Self::RollsBack { to } => write!(f, "rolls back to {to}"),
            Self::Role { role, view } => write!(f, "is {role} in view {view}"),
            Self::Fetched { entries } => write!(f, "reads {entries} entries back"),
            Self::Snapshot { what } => write!(f, "snapshot: {what}"),
            Self::Asks { client, nonce } => write!(f, "c{client} asks for its transfer {nonce}"),
            Self::Answers { client, reply } => write!(f, "answers c{client}: {reply}"),
            Self::Tells { client, id, status } => write!(f, "tells c{client}: {id} is {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_as_it_was_written_and_keeps_the_newest() {
        let (recorder, log) = Recorder::new(7, Some("ForgetVote".into()));
        for at_us in 0..=EVENTS_MAX as u64 {
            recorder.note(at_us, Some(1), || Happened::RollsBack { to: at_us });
        }
        let log = log.borrow();
        assert_eq!((log.events.len(), log.header.dropped), (EVENTS_MAX, 1));
        assert_eq!(log.events.front().map(|event| event.at_us), Some(1));
        let mut bytes = Vec::new();
        log.write(&mut bytes).expect("memory takes it");
        let read = Log::read(bytes.as_slice()).expect("it was written");
        assert_eq!((&read.header, &read.events), (&log.header, &log.events));
    }

    #[test]
    fn what_is_no_log_is_refused_by_line() {
        let header = r#"{"seed":1,"planted":null,"nodes":1,"plan":"","dropped":0,"failure":null}"#;
        for (text, expected) in [
            (String::new(), "empty"),
            ("x".into(), "line 1"),
            (format!("{header}\n{{}}"), "line 2"),
        ] {
            let error = Log::read(text.as_bytes()).expect_err("it is no log").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

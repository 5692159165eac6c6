//! The log as the `raft` crate sees it: the view of every entry, the data of the recent ones.
//!
//! Entries inside the `raft` crate are empty shells of view and position, so that its copies cost nothing; the data
//! stays here and joins the messages on their way out. Three kinds of questions come in:
//!
//! - for a view at a position: answered from the runs of views, for any position;
//! - for entries that go to a backup: answered when their data is in memory, otherwise a fetch from disk is noted and
//!   the asker told to come back;
//! - for entries that are about to be applied or searched for configuration changes: answered with shells, since
//!   nothing but their number matters and there are no configuration changes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
};

use ::raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{Entry, Snapshot},
};
use bytes::Bytes;
use coco_planted::Bug;
use coco_types::{Seqno, TxId, View};

use crate::{Fetch, FetchId, LogEntry};

/// See the module.
pub(super) struct LogStorage {
    /// What `raft` wants to know at its start.
    initial: RaftState,
    /// First seqno of each run of entries with one view; ascending in both, never empty, begins at seqno 1. One item
    /// per view that has entries.
    runs: Vec<(u64, u64)>,
    last: u64,
    window: Window,
    /// Entries from disk, while they are being sent.
    fetched: Option<Window>,
    fetches: RefCell<Fetches>,
    message_bytes: usize,
    window_bytes_max: usize,
    /// How many views the `raft` crate has asked for.
    #[cfg(test)]
    pub(super) asked: std::cell::Cell<u64>,
}

/// Data of consecutive entries.
struct Window {
    first: u64,
    data: VecDeque<Bytes>,
    bytes: usize,
}

/// What has been asked for and not answered.
#[derive(Default)]
struct Fetches {
    open: BTreeMap<FetchId, Fetch>,
    fresh: Vec<Fetch>,
    next: u64,
}

impl LogStorage {
    /// A log from 1 to `last` whose newest data is `recent`; the caller has checked that they fit together.
    pub(super) fn new(
        initial: RaftState,
        views: &[(Seqno, View)],
        last: Seqno,
        recent: Vec<LogEntry>,
        limits: crate::Limits,
    ) -> Self {
        let first = last.0 + 1 - recent.len() as u64;
        let mut window = Window { first, data: VecDeque::new(), bytes: 0 };
        recent.into_iter().for_each(|entry| window.push(entry.data));
        Self {
            initial,
            runs: views.iter().map(|(seqno, view)| (seqno.0, view.0)).collect(),
            last: last.0,
            window,
            fetched: None,
            fetches: RefCell::default(),
            message_bytes: limits.message_bytes,
            window_bytes_max: limits.window_bytes,
            #[cfg(test)]
            asked: std::cell::Cell::default(),
        }
    }

    /// The last position.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// The first position whose data is in memory; one past the end when there is none.
    pub(super) const fn window_first(&self) -> u64 {
        self.window.first
    }

    /// Bytes in memory.
    pub(super) const fn window_bytes(&self) -> usize {
        self.window.bytes
    }

    /// How many fetches wait for an answer.
    pub(super) fn fetches_open(&self) -> usize {
        self.fetches.borrow().open.len()
    }

    /// Fetches noted since the last call.
    pub(super) fn take_fetches(&self) -> Vec<Fetch> {
        std::mem::take(&mut self.fetches.borrow_mut().fresh)
    }

    /// Voids everything after `seqno`.
    pub(super) fn truncate(&mut self, seqno: u64) {
        self.last = self.last.min(seqno);
        self.runs.retain(|(first, _)| *first <= seqno);
        if !coco_planted::is(Bug::KeepVoidData) {
            self.window.truncate(seqno);
        }
    }

    /// Adds the next entry.
    pub(super) fn append(&mut self, tx_id: TxId, data: Bytes) {
        assert_eq!(tx_id.seqno.0, self.last + 1, "the log has no gaps");
        let newest = self.runs.last().map_or(0, |(_, view)| *view);
        assert!(tx_id.view.0 >= newest, "views never fall along the log");
        if tx_id.view.0 > newest {
            self.runs.push((tx_id.seqno.0, tx_id.view.0));
        }
        self.last = tx_id.seqno.0;
        self.window.push(data);
    }

    /// Forgets the oldest data over the limit, but nothing after `keep_after`.
    pub(super) fn shrink(&mut self, keep_after: u64) {
        while self.window.bytes > self.window_bytes_max && self.window.first <= keep_after {
            self.window.pop();
        }
    }

    /// The data at a position, if it is in memory.
    pub(super) fn data(&self, seqno: u64) -> Option<Bytes> {
        let fetched = self.fetched.as_ref().and_then(|window| window.get(seqno));
        fetched.or_else(|| self.window.get(seqno)).cloned()
    }

    /// Takes the answer of a fetch: as many of `entries` as continue from its start and are still part of this log.
    /// Returns the positions that [`LogStorage::entries`] can now serve until [`LogStorage::drop_fetched`].
    pub(super) fn put_fetched(
        &mut self,
        id: FetchId,
        entries: Vec<LogEntry>,
    ) -> Option<(u64, u64)> {
        let fetch = self.fetches.get_mut().open.remove(&id)?;
        let mut window = Window { first: fetch.from.0, data: VecDeque::new(), bytes: 0 };
        for entry in entries {
            let TxId { view, seqno } = entry.tx_id;
            // The log may have been overwritten since the fetch was asked for.
            if seqno.0 != window.end() || self.view_at(seqno.0) != Some(view.0) {
                break;
            }
            window.push(entry.data);
        }
        let range = (window.first, window.end());
        if range.0 == range.1 {
            return None;
        }
        self.fetched = Some(window);
        Some(range)
    }

    /// Forgets a fetch that cannot be answered. Returns the positions that it asked for, the end not included.
    pub(super) fn give_up(&mut self, id: FetchId) -> Option<(u64, u64)> {
        let fetch = self.fetches.get_mut().open.remove(&id)?;
        Some((fetch.from.0, fetch.to.0 + 1))
    }

    /// Forgets the entries of the last answer.
    pub(super) fn drop_fetched(&mut self) {
        self.fetched = None;
    }

    /// The view at a position from 1 to the last.
    pub(super) fn view_at(&self, seqno: u64) -> Option<u64> {
        if seqno == 0 || seqno > self.last {
            return None;
        }
        let run = self.runs.partition_point(|(first, _)| *first <= seqno);
        self.runs.get(run.checked_sub(1)?).map(|(_, view)| *view)
    }

    /// The last position up to `seqno`, which is at most the last one, whose view is not above `view`; zero when there is none.
    pub(super) fn last_up_to(&self, seqno: u64, view: u64) -> u64 {
        let above = self.runs.partition_point(|(_, run)| *run <= view);
        self.runs.get(above).map_or(seqno, |(first, _)| seqno.min(first - 1))
    }

    fn shells(&self, low: u64, high: u64) -> Vec<Entry> {
        let shell = |index| {
            let term = self.view_at(index).expect("raft asks within the log");
            Entry { term, index, ..Entry::default() }
        };
        (low..high).map(shell).collect()
    }

    /// Up to where entries from `low` may travel in one message.
    fn end_of_message(&self, low: u64, high: u64) -> Option<u64> {
        let windows = [self.fetched.as_ref(), Some(&self.window)];
        let window = windows.into_iter().flatten().find(|window| window.get(low).is_some())?;
        let mut bytes = 0;
        let mut end = low;
        while let Some(data) = window.get(end).filter(|_| end < high) {
            bytes += data.len() + ENTRY_OVERHEAD_BYTES;
            if bytes > self.message_bytes && end > low {
                break;
            }
            end += 1;
        }
        Some(end)
    }

    fn note_fetch(&self, low: u64, high: u64) {
        let mut fetches = self.fetches.borrow_mut();
        // Two backups may lag at the same place; one backup asks again at every heartbeat.
        let known = fetches.open.values().any(|fetch| fetch.from.0 == low);
        if known || fetches.open.len() >= FETCHES_MAX {
            return;
        }
        let id = FetchId(fetches.next);
        fetches.next += 1;
        let to = Seqno(high.min(self.window.first) - 1);
        let fetch = Fetch { id, from: Seqno(low), to, bytes_max: self.message_bytes };
        fetches.open.insert(id, fetch);
        fetches.fresh.push(fetch);
    }
}

impl Storage for LogStorage {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        _max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        assert!(low >= 1 && high <= self.last + 1, "raft asks within the log");
        if !context.can_async() {
            return Ok(self.shells(low, high.min(low + SHELLS_MAX)));
        }
        let Some(end) = self.end_of_message(low, high) else {
            self.note_fetch(low, high);
            return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
        };
        Ok(self.shells(low, end))
    }

    fn term(&self, seqno: u64) -> Result<u64> {
        #[cfg(test)]
        self.asked.set(self.asked.get() + 1);
        if seqno == 0 {
            return Ok(0);
        }
        self.view_at(seqno).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, _: u64, _: u64) -> Result<Snapshot> {
        // Never asked for: every entry is in memory or on disk.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

impl Window {
    fn end(&self) -> u64 {
        self.first + self.data.len() as u64
    }

    fn get(&self, seqno: u64) -> Option<&Bytes> {
        let at = usize::try_from(seqno.checked_sub(self.first)?).ok()?;
        self.data.get(at)
    }

    fn push(&mut self, data: Bytes) {
        self.bytes += data.len() + ENTRY_OVERHEAD_BYTES;
        self.data.push_back(data);
    }

    fn pop(&mut self) {
        if let Some(data) = self.data.pop_front() {
            self.bytes -= data.len() + ENTRY_OVERHEAD_BYTES;
            self.first += 1;
        }
    }

    /// Keeps what is not after `seqno`; when that is nothing, the window is empty right after `seqno`.
    fn truncate(&mut self, seqno: u64) {
        while self.end() > seqno + 1 {
            let Some(data) = self.data.pop_back() else {
                self.first = seqno + 1;
                return;
            };
            self.bytes -= data.len() + ENTRY_OVERHEAD_BYTES;
        }
    }
}

/// What an entry costs in memory and on the wire beside its data, rounded up.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 64;
/// Shells handed out at once.
const SHELLS_MAX: u64 = 1024;
/// Open fetches: one for each node of the largest configuration.
const FETCHES_MAX: usize = coco_types::limits::NODES_MAX;

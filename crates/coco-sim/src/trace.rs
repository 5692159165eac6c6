//! Holds what the engines do against the model of consensus (`coco-model`), event by event.
//!
//! [`Traced`] stands between a replica and its engine. It passes everything on, and tells the checker that all nodes of a run
//! share what came of it: what was handed out, what became durable, on whom a primary counts.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use coco_consensus::{
    Configuration, Engine, FetchFailed, FetchId, LogEntry, Output, PersistToken, Progress,
    ProposeError, ReceiveError, Said, Start, Status, TransferError, What,
};
use coco_ledger::{CONFIGURATION_MAP, ConfigurationRow, EntryView, IN_EFFECT_MAP, singleton_key};
use coco_model::trace::{Checker, EntryKind, Event, Members, Started, Stepped, TracedEntry};
use coco_types::{NodeId, Role, Seqno, TxId, View};

use crate::machine::tx_id;

/// The checker of a run, as all its nodes hold it.
#[derive(Clone, Debug)]
pub struct Trace {
    checker: Arc<Mutex<Checker>>,
    /// Everybody begins with the configuration of the entries up to here, which nobody proposed.
    first: Seqno,
}

/// An engine whose steps are held against the model.
#[derive(Debug)]
pub struct Traced<E> {
    engine: E,
    me: NodeId,
    trace: Trace,
    /// On how much of each node's log this primary was last seen to count.
    counted: Vec<(NodeId, Seqno)>,
    joints: Joints,
    /// The configuration that it was last seen to count by.
    applied: Configuration,
}

/// The entries of a log that carry configurations, and whether those are joint: only what came before tells a new
/// configuration from the end of a joint one.
#[derive(Clone, Debug)]
pub struct Joints {
    /// See [`Trace`].
    first: Seqno,
    found: Vec<(Seqno, bool)>,
}

impl Joints {
    const fn after(first: Seqno) -> Self {
        Self { first, found: Vec::new() }
    }

    fn cut(&mut self, to: Seqno) {
        self.found.retain(|(at, _)| *at <= to);
    }

    /// What the next entry of the log is to consensus.
    fn traced(&mut self, tx_id: TxId, data: &[u8]) -> TracedEntry {
        let kind = match Some(tx_id).filter(|id| id.seqno > self.first).and_then(|_| row(data)) {
            None => plain(data),
            Some(row) => {
                let was_joint = self.found.last().is_some_and(|(_, is_joint)| *is_joint);
                self.found.push((tx_id.seqno, !row.outgoing.is_empty()));
                if was_joint {
                    EntryKind::Leave
                } else {
                    EntryKind::Reconfigure(Members { voters: row.voters, learners: row.learners })
                }
            }
        };
        TracedEntry { tx_id, kind }
    }
}

impl Trace {
    /// A network whose nodes all begin with these entries.
    #[must_use]
    pub fn new(voters: &[NodeId], first: &[Bytes]) -> Self {
        let last = Seqno(first.len() as u64);
        let mut joints = Joints::after(last);
        let first: Vec<TracedEntry> =
            first.iter().map(|entry| joints.traced(tx_id(entry), entry)).collect();
        Self { checker: Arc::new(Mutex::new(Checker::new(voters, &first))), first: last }
    }

    /// A node begins a life with these entries on its disk.
    ///
    /// # Panics
    /// When no node of the model would begin so.
    pub fn started(&self, start: &Start, entries: &[Bytes]) -> Joints {
        let mut joints = Joints::after(self.first);
        let log = entries.iter().map(|entry| joints.traced(tx_id(entry), entry)).collect();
        let (view, vote) = (start.hard_state.view, start.hard_state.vote);
        let event = Event::Started(Started { view, vote, log, committed: start.committed });
        self.take(start.me, &event);
        self.applied(start.me, &start.configuration);
        joints
    }

    fn applied(&self, node: NodeId, configuration: &Configuration) {
        let Configuration { voters, outgoing, learners } = configuration.clone();
        let outgoing = Some(outgoing).filter(|outgoing| !outgoing.is_empty());
        self.take(node, &Event::Applied(Members { voters, learners }, outgoing));
    }

    /// A node tells clients that everything up to here is final.
    ///
    /// # Panics
    /// When the model would not.
    pub fn is_final(&self, node: NodeId, up_to: Seqno) {
        self.take(node, &Event::Final(up_to));
    }

    fn take(&self, node: NodeId, event: &Event) {
        let taken =
            self.checker.lock().expect("a run ends with the first rejection").take(node, event);
        if let Err(rejection) = taken {
            panic!("{rejection}: {}", rejection.rule);
        }
    }
}

/// The configuration that an entry carries.
fn row(data: &[u8]) -> Option<ConfigurationRow> {
    if data.is_empty() {
        return None;
    }
    let entry = EntryView::parse(data).expect("nodes keep entries");
    let writes = entry.public_writes().expect("nodes keep entries");
    let map = writes.maps().iter().find(|map| map.name() == CONFIGURATION_MAP)?;
    let row = map.get(singleton_key()).expect("the map has one row");
    Some(ConfigurationRow::read(row).expect("nodes write configurations that can be read"))
}

/// What any other entry is to consensus. An opening entry writes nothing, and comes from the engine without bytes.
fn plain(data: &[u8]) -> EntryKind {
    if data.is_empty() {
        return EntryKind::Opening;
    }
    let entry = EntryView::parse(data).expect("nodes keep entries");
    // A batch writes private maps, signatures and openings do not.
    if entry.private_bytes() > 0 {
        return EntryKind::Plain;
    }
    let writes = entry.public_writes().expect("nodes keep entries");
    match writes.maps() {
        [] => EntryKind::Opening,
        maps if maps.iter().any(|map| map.name() == IN_EFFECT_MAP) => EntryKind::InEffect,
        _ if entry.is_signature() => EntryKind::Signature,
        _ => EntryKind::Plain,
    }
}

impl<E: Engine> Traced<E> {
    /// An engine that is about to be started.
    #[must_use]
    pub fn new(engine: E, me: NodeId, trace: Trace, joints: Joints) -> Self {
        let applied = engine.configuration().clone();
        Self { engine, me, trace, counted: Vec::new(), joints, applied }
    }

    /// By whom it counts, where that has changed.
    fn look_at_configuration(&mut self) {
        if self.applied != *self.engine.configuration() {
            self.applied = self.engine.configuration().clone();
            self.trace.applied(self.me, &self.applied);
        }
    }

    /// On whom a primary counts, where that has changed.
    fn look_at_progress(&mut self) {
        if self.engine.role() != Role::Primary {
            self.counted.clear();
            return;
        }
        for Progress { node, matched, .. } in self.engine.progress() {
            let known = self.counted.iter_mut().find(|(known, _)| *known == node);
            match known {
                Some((_, before)) if *before == matched => continue,
                Some((_, before)) => *before = matched,
                None => self.counted.push((node, matched)),
            }
            // Its own entries it counts when its disk has them, and that shows when it commits.
            if node != self.me {
                self.trace.take(self.me, &Event::Acknowledged(node, matched));
            }
        }
    }

    fn look_at(&mut self, output: &Output) {
        if let Some(to) = output.truncate_to {
            self.joints.cut(to);
        }
        let traced = |entry: &LogEntry| self.joints.traced(entry.tx_id, &entry.data);
        let append = output.append.iter().map(traced).collect();
        let event = Event::Stepped(Stepped {
            view: self.engine.view(),
            role: self.engine.role(),
            ballot: output.hard_state.map(|state| (state.view, state.vote)),
            truncate_to: output.truncate_to,
            append,
            committed: output.committed,
            token: output.persist.map(|token| token.0),
        });
        self.trace.take(self.me, &event);
    }
}

impl<E: Engine> Engine for Traced<E> {
    fn tick(&mut self) {
        self.engine.tick();
    }

    fn receive(&mut self, from: NodeId, message: &Bytes) -> Result<(), ReceiveError> {
        let was_counted = self.counted.iter().any(|(node, _)| *node == from);
        let received = self.engine.receive(from, message);
        self.look_at_progress();
        // The last acknowledgement of a node that leaves ends the change, and with it what is shown of that node.
        let is_gone = was_counted && !self.engine.configuration().contains(from);
        if let Ok(Said { view, what: What::Appended { last } }) = Said::read(message)
            && is_gone
            && view == self.engine.view()
        {
            self.trace.take(self.me, &Event::Acknowledged(from, last));
        }
        received
    }

    fn campaign(&mut self) {
        self.engine.campaign();
    }

    fn next_tx_id(&self) -> Option<TxId> {
        self.engine.next_tx_id()
    }

    fn propose(&mut self, data: Bytes) -> Result<TxId, ProposeError> {
        self.engine.propose(data)
    }

    fn persisted(&mut self, token: PersistToken) {
        self.trace.take(self.me, &Event::Persisted(token.0));
        self.engine.persisted(token);
    }

    fn fetched(&mut self, id: FetchId, entries: Result<Vec<LogEntry>, FetchFailed>) {
        self.engine.fetched(id, entries);
    }

    fn transfer_to(&mut self, node: NodeId) -> Result<(), TransferError> {
        self.engine.transfer_to(node)
    }

    fn unreachable(&mut self, node: NodeId) {
        self.engine.unreachable(node);
    }

    fn poll(&mut self) -> Output {
        let output = self.engine.poll();
        if output.is_empty() {
            // Now the replica has said which entries carry configurations, and heard what is committed.
            self.look_at_configuration();
        } else {
            self.look_at(&output);
        }
        output
    }

    fn can_reconfigure(&self) -> bool {
        self.engine.can_reconfigure()
    }

    fn reconfigure(&mut self, at: Seqno, next: Configuration) {
        self.engine.reconfigure(at, next);
    }

    fn configuration(&self) -> &Configuration {
        self.engine.configuration()
    }

    fn role(&self) -> Role {
        self.engine.role()
    }

    fn view(&self) -> View {
        self.engine.view()
    }

    fn primary(&self) -> Option<NodeId> {
        self.engine.primary()
    }

    fn committed(&self) -> Seqno {
        self.engine.committed()
    }

    fn last(&self) -> Seqno {
        self.engine.last()
    }

    fn progress(&self) -> Vec<Progress> {
        self.engine.progress()
    }

    fn status(&self) -> Status {
        self.engine.status()
    }
}

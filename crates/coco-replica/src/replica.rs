//! The state machine.

use bytes::Bytes;
use coco_adapter::{Adapter, Answer, Checked, Clocks, Entropy, Outside, Ticket, Verdict};
use coco_consensus::{
    Configuration, Engine, FetchFailed, FetchId, LogEntry, Output, PersistToken, Progress,
    ReceiveError, TransferError,
};
use coco_governance::IssuerKeys;
use coco_kv::{MapName, Reader, Value, WriteSet};
use coco_ledger::{
    EntryFlags, EntryView, LedgerSecrets, MembershipError, SealEntryError, SealedEntry, Signer,
    seal, signature_write_set,
};
use coco_planted::Bug;
use coco_types::{Digest, NodeId, Role, Seqno, TxId};
use thiserror::Error;

use crate::{
    attestations::AttestationError,
    effects::{Effects, Persist, Reply},
    governing::{Asked, GovernReply, GovernRequest, Governed, Governing},
    hearsay::{Hearsay, Leads},
    introductions::Introduction,
    leases::Leases,
    ledger_state::SharedLedgerState,
    load::{AppendKind, Core, LoadError, Loader},
    membership::JoinRequest,
    outside::{OUTSIDE_MAP, SINGLETON, encode_outside},
    own_disk::OwnDisk,
    replacements::Ready,
    snapshots::{FinishSnapshot, SnapshotTask, Snapshots},
};

/// What the replica may choose; equal on all nodes only where noted.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Longest time between an entry and the signature that covers it, in milliseconds, while the queue is busy.
    pub signature_interval_ms: u64,
    /// A chunk file ends with the first signature entry after this many bytes.
    pub chunk_bytes: u64,
    /// How many entries below the committed one stay readable.
    pub retained_entries: u64,
    /// A snapshot is made of the first signature entry at or after each multiple of this, and its chunk ends there; zero
    /// for none, else at least [`SNAPSHOT_ENTRIES_MIN`](crate::SNAPSHOT_ENTRIES_MIN). Nodes that differ in it keep only
    /// the snapshots of which the primary makes one, too.
    pub snapshot_entries: u64,
    /// Execution pauses while this many bytes of entries are uncommitted, or are not on this node's own disk.
    pub uncommitted_bytes_max: u64,
    /// Execution pauses while this many entries are uncommitted.
    pub uncommitted_entries_max: usize,
    /// While this many batches are uncommitted, the next one is not begun before it is worth it. An entry costs every
    /// node about as much as executing a hundred transfers, whatever it holds; so while replication is busy, what
    /// arrives is gathered. At least 1; a quiet network never waits.
    pub batches_ahead: usize,
    /// How many waiting transactions are worth a batch at any time: its own cost is then small beside theirs, and
    /// execution runs as far ahead as the other limits let it.
    pub batch_worth: usize,
}

impl Settings {
    /// What a node uses unless it is told otherwise.
    pub const DEFAULT: Self = Self {
        signature_interval_ms: 20,
        chunk_bytes: 5_000_000,
        retained_entries: 1024,
        snapshot_entries: 10_000,
        uncommitted_bytes_max: 32 << 20,
        uncommitted_entries_max: 4096,
        batches_ahead: 2,
        batch_worth: 512,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The driver's clocks at the moment of an input.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Milliseconds of a clock that never runs backwards.
    pub mono_ms: u64,
}

/// What can happen to a replica.
#[derive(Debug)]
pub enum Input {
    /// A tick of the driver's timer: elections, heartbeats, due signatures, expired waits.
    Tick,
    /// Checked transactions, each with the name of the caller who waits.
    Submit(Vec<(Ticket, Checked)>),
    /// Execute the next batch, if there is one and room for it; fresh entropy for it.
    Work(Entropy),
    /// A message of another node, authenticated by the channel.
    Message(NodeId, Bytes),
    /// The writes up to this token are durable.
    Persisted(PersistToken),
    /// Entries asked for by a fetch effect, or nothing when they could not be read.
    Fetched(FetchId, Result<Vec<LogEntry>, FetchFailed>),
    /// The snapshot of this entry is on disk and has this digest, or could not be made.
    SnapshotMade(Seqno, Option<Digest>),
    /// The channel to a node broke.
    Unreachable(NodeId),
    /// Stand for election at once, instead of waiting for the time-out.
    Campaign,
    /// Hand the primacy to this node.
    TransferTo(NodeId),
    /// A node that this one asked for its seat says who leads.
    Told(NodeId, Leads),
    /// A node asks for a seat. Every one is answered, by `Effects::joins`.
    Join(Box<JoinRequest>),
    /// A node that nobody knows says who it is. Every one is answered, by `Effects::introduced`.
    Introduce(Box<Introduction>),
    /// A member's request. Every one is answered, by `Effects::governed`.
    Govern(Ticket, GovernRequest),
    /// Keys that an issuer of tokens publishes. They are answered, by `Effects::governed`.
    IssuerKeys(Ticket, IssuerKeys),
    /// An operator asks for a snapshot, which all nodes make of the next signature entry. Answered by `Effects::governed`.
    AskSnapshot(Ticket),
    /// An operator has the row of a node removed that has left. Answered by `Effects::governed`.
    RemoveNode(Ticket, NodeId),
    /// What was asked for in one of these ways was carried out.
    Governed(Box<Governed>),
}

/// Something broke that a correct network cannot break. The node must stop; its disk is intact.
#[derive(Debug, Error)]
pub enum StepError {
    /// An entry of the log cannot be taken.
    #[error("an entry of the replicated log cannot be taken")]
    Load(#[from] LoadError),
    /// What the primary says that a node has shown is not believed.
    #[error("an entry of the replicated log is not to be believed")]
    Attestation(#[from] AttestationError),
    /// What the replica itself writes does not fit an entry.
    #[error("what the replica writes does not fit an entry")]
    Seal(#[from] SealEntryError),
    /// The ledger's table of nodes cannot be read.
    #[error("the table of nodes cannot be read")]
    Membership(#[from] MembershipError),
    /// A peer counts on entries that this node acknowledged and has no more. Going on would let a quorum forget what
    /// it committed.
    #[error(
        "this node acknowledged entries up to {said}, but its ledger ends at {last}: the disk lost them or was set back"
    )]
    AcknowledgedLost {
        /// The last entry that this node acknowledged, as the peer knows.
        said: Seqno,
        /// The end of this node's ledger.
        last: Seqno,
    },
}

/// One node's mind.
pub struct Replica {
    pub(crate) core: Core,
    pub(crate) engine: Box<dyn Engine>,
    adapter: Box<dyn Adapter>,
    pub(crate) signer: Box<dyn Signer + Send>,
    pub(crate) settings: Settings,
    pub(crate) own_disk: OwnDisk,
    snapshots: Snapshots,
    pub(crate) governing: Governing,
    pub(crate) leases: Leases,
    pub(crate) hearsay: Hearsay,
    /// Members may have trusted or removed nodes that the configuration does not show yet.
    pub(crate) nodes_changed: bool,
    /// With these nodes, and these that are ready, there was nothing to do.
    pub(crate) idle_after: Option<(Configuration, Vec<Ready>)>,
    outside_map: MapName,
    /// When the first entry after the last signature was made, by the monotonic clock.
    unsigned_since_ms: Option<u64>,
    /// A newer view that is not on this disk yet. Nothing is proposed in it before: after a crash this node could be
    /// primary of the same view again, and a transaction id would name two entries under one nonce. Only a network of
    /// one ever waits here; elsewhere the votes of others come after one's own is durable.
    view_not_durable: Option<PersistToken>,
    /// The configuration that the driver knows of.
    shown: Configuration,
    now: Now,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("last", &self.core.last())
            .field("role", &self.engine.role())
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// A replica over what `loader` has read, whose log `engine` continues.
    #[must_use]
    pub fn new(
        loader: Loader,
        engine: Box<dyn Engine>,
        adapter: Box<dyn Adapter>,
        signer: Box<dyn Signer + Send>,
        settings: Settings,
    ) -> Self {
        let mut replica = Self {
            core: loader.core,
            shown: engine.configuration().clone(),
            engine,
            adapter,
            signer,
            snapshots: Snapshots::new(settings.snapshot_entries),
            settings,
            own_disk: OwnDisk::default(),
            governing: Governing::default(),
            leases: Leases::default(),
            hearsay: Hearsay::default(),
            nodes_changed: false,
            idle_after: None,
            outside_map: MapName::from_static(OUTSIDE_MAP),
            unsigned_since_ms: None,
            view_not_durable: None,
            now: Now { wall_ms: 0, mono_ms: 0 },
        };
        replica.core.state.write().view = replica.engine.view();
        let committed = replica.engine.committed();
        if replica.commit_up_to(committed) {
            // Snapshots of before are complete, or never will be.
            let committed = replica.core.state.read().committed;
            drop(replica.core.evidence.commit(committed));
        }
        replica
    }

    /// The positions and the tree, for readers.
    #[must_use]
    pub fn state(&self) -> SharedLedgerState {
        SharedLedgerState(std::sync::Arc::clone(&self.core.state))
    }

    /// The store, for readers.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.core.store.reader()
    }

    /// Whether [`Input::Work`] would execute something now.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let ready = self.adapter.ready();
        ready > 0
            && self.core.state.read().secrets.is_whole()
            && (ready >= self.settings.batch_worth
                || self.core.uncommitted_batches() < self.settings.batches_ahead)
            && self.next_tx_id().is_some()
            && self.has_room()
    }

    /// A row of the newest version, committed or not.
    pub(crate) fn newest(&self, table: &'static str, key: &[u8]) -> Option<Value> {
        let head = self.core.store.reader().head();
        head.get(head.map(&MapName::from_static(table))?, key)
    }

    /// The configuration in effect.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        self.engine.configuration()
    }

    /// The newest configuration of the ledger, in effect or not; none when the ledger names none.
    #[must_use]
    pub fn newest_configuration(&self) -> Option<&Configuration> {
        self.core.newest_configuration()
    }

    /// Each node's acknowledged position as the primary knows it, and whether it answers; empty on a backup.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.engine.progress()
    }

    /// Takes one input and hands back what should be done.
    ///
    /// # Errors
    /// [`StepError`] when the node must stop.
    pub fn step(&mut self, now: Now, input: Input) -> Result<Effects, StepError> {
        self.now = now;
        let mut effects = Effects::default();
        let is_work = matches!(input, Input::Work(_));
        match input {
            Input::Tick => {
                self.engine.tick();
                self.look_at_own_disk();
                self.look_at_leases()?;
                self.advance_membership()?;
                self.advance_governing(&mut effects)?;
                let answers = self.adapter.expire(self.now.mono_ms);
                self.answer(answers, None, &mut effects);
            }
            Input::Submit(batch) => self.admit(batch, &mut effects),
            Input::Work(entropy) => self.work(entropy, &mut effects)?,
            Input::Message(from, bytes) => self.receive(from, &bytes)?,
            Input::Persisted(token) => self.persisted(token),
            Input::Fetched(id, entries) => self.engine.fetched(id, entries),
            Input::SnapshotMade(seqno, digest) => self.snapshots.made(seqno, digest),
            Input::Unreachable(node) => self.engine.unreachable(node),
            Input::Campaign => self.engine.campaign(),
            Input::TransferTo(node) => {
                // Asked for while stopping: a node that is not primary any more has nothing to hand over.
                let _not_primary: Result<(), TransferError> = self.engine.transfer_to(node);
            }
            Input::Told(by, leads) => self.take_word(by, leads)?,
            Input::Join(request) => self.join(&request, &mut effects)?,
            Input::Introduce(introduction) => self.introduce(&introduction, &mut effects)?,
            Input::Govern(ticket, request) => {
                self.take_asked(ticket, Asked::Member(ticket, request), &mut effects)?;
            }
            Input::IssuerKeys(ticket, keys) => {
                self.take_asked(ticket, Asked::IssuerKeys(ticket, keys), &mut effects)?;
            }
            Input::AskSnapshot(ticket) => {
                self.take_asked(ticket, Asked::Snapshot(ticket), &mut effects)?;
            }
            Input::RemoveNode(ticket, node) => {
                self.take_asked(ticket, Asked::RemoveNode(ticket, node), &mut effects)?;
            }
            Input::Governed(governed) => self.take_governed(*governed, &mut effects)?,
        }
        if !is_work {
            self.pump(&mut effects)?;
        }
        self.give_evidence()?;
        if self.signature_is_due() {
            self.sign()?;
        }
        // A batch and the signature over it leave together: one message to each backup, one write to the disk.
        self.pump(&mut effects)?;
        self.show_configuration(&mut effects);
        Ok(effects)
    }

    fn show_configuration(&mut self, effects: &mut Effects) {
        let now = self.engine.configuration();
        if self.shown != *now {
            self.shown = now.clone();
            effects.configuration = Some(now.clone());
        }
    }

    fn receive(&mut self, from: NodeId, bytes: &Bytes) -> Result<(), StepError> {
        if !self.listens_to(from)? {
            return Ok(());
        }
        match self.engine.receive(from, bytes) {
            // Only who has a place in the network can count on what this node acknowledged.
            Err(ReceiveError::Missing { said, last }) if self.has_place(from) => {
                Err(StepError::AcknowledgedLost { said, last })
            }
            // Any other message that is refused is dropped: the channel is authenticated, so it is a peer's fault and
            // not an attack that we could answer; consensus bears any loss.
            Ok(())
            | Err(
                ReceiveError::Missing { .. }
                | ReceiveError::Sender(_)
                | ReceiveError::Malformed(_)
                | ReceiveError::Unproposed { .. }
                | ReceiveError::Contradicts { .. }
                | ReceiveError::FarView { .. }
                | ReceiveError::Unasked
                | ReceiveError::OtherPrimary { .. },
            ) => Ok(()),
        }
    }

    fn persisted(&mut self, token: PersistToken) {
        self.view_not_durable = self.view_not_durable.filter(|waits| *waits > token);
        self.own_disk.durable(token);
        self.engine.persisted(token);
    }

    /// The name of the next entry, if this node may make one now.
    pub(crate) fn next_tx_id(&self) -> Option<TxId> {
        if self.view_not_durable.is_some() { None } else { self.engine.next_tx_id() }
    }

    fn admit(&mut self, batch: Vec<(Ticket, Checked)>, effects: &mut Effects) {
        if self.engine.role() != Role::Primary {
            let primary = self.engine.primary();
            effects
                .replies
                .extend(batch.into_iter().map(|(ticket, _)| (ticket, Reply::NotPrimary(primary))));
            return;
        }
        let head = self.core.store.reader();
        let clocks = Clocks { time_ms: self.block_time_ms(), running_ms: self.now.mono_ms };
        for (ticket, transaction) in batch {
            let answers = self.adapter.admit(&head, clocks, ticket, transaction);
            self.answer(answers, None, effects);
        }
    }

    /// Executes one batch, seals it and proposes it. One that is too long for an entry leaves no trace: the adapter takes
    /// its transactions back and makes a shorter one next time.
    fn work(&mut self, entropy: Entropy, effects: &mut Effects) -> Result<(), StepError> {
        if !self.has_work() {
            return Ok(());
        }
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        let outside = Outside { time_ms: self.block_time_ms(), entropy };
        let mut tx = self.core.store.begin();
        let execution = self.adapter.execute(&mut tx, &outside);
        if execution.is_empty {
            drop(tx);
            let answers = self.adapter.settle(&self.core.store.reader());
            self.answer(answers, None, effects);
            return Ok(());
        }
        let outside_id =
            tx.map(&self.outside_map).expect("the loader registered the map of outside values");
        tx.put(outside_id, &SINGLETON, encode_outside(&outside));
        let changes = tx.finish();
        let kind = kind_at(id, AppendKind::PLAIN);
        let sealed = match self.seal(id, changes.write_set(), &execution.claims, kind) {
            Ok(sealed) => sealed,
            Err(SealEntryError::Long { .. }) => {
                drop(changes);
                let answers = self.adapter.take_back(&self.core.store.reader());
                self.answer(answers, None, effects);
                return Ok(());
            }
        };
        self.core.store.commit(id.seqno, changes).expect("the replica is the only writer");
        self.core.note_time(&outside);
        self.append(id, sealed, kind);
        let answers = self.adapter.settle(&self.core.store.reader());
        self.answer(answers, Some(id), effects);
        Ok(())
    }

    /// Seals what the store has taken at `id`, and gives it to the engine.
    pub(crate) fn propose(
        &mut self,
        id: TxId,
        writes: &WriteSet,
        claims: &Digest,
        kind: AppendKind,
    ) -> Result<(), StepError> {
        let kind = kind_at(id, kind);
        let sealed = self.seal(id, writes, claims, kind)?;
        self.append(id, sealed, kind);
        Ok(())
    }

    fn seal(
        &self,
        id: TxId,
        writes: &WriteSet,
        claims: &Digest,
        kind: AppendKind,
    ) -> Result<SealedEntry, SealEntryError> {
        let flags = if kind.chunk_ends { EntryFlags::CHUNK_AFTER } else { EntryFlags::NONE };
        seal(&self.core.secret_at(id.seqno), id, flags, claims, writes)
    }

    fn append(&mut self, id: TxId, sealed: SealedEntry, kind: AppendKind) {
        let SealedEntry { bytes, leaf, .. } = sealed;
        self.core.append(id, leaf, bytes.len(), kind);
        let proposed =
            self.engine.propose(bytes).expect("next_tx_id promised that a proposal is taken");
        assert_eq!(proposed, id, "the engine numbers entries as it said");
    }

    /// The monotonic clock at the input under way.
    pub(crate) const fn now_mono_ms(&self) -> u64 {
        self.now.mono_ms
    }

    /// The time that adapters see: the wall clock, except that it never falls behind an entry of the ledger.
    pub(crate) fn block_time_ms(&self) -> u64 {
        if coco_planted::is(Bug::TimeFollowsClock) {
            return self.now.wall_ms;
        }
        self.core.time_ms.max(self.now.wall_ms)
    }

    pub(crate) fn has_room(&self) -> bool {
        coco_planted::is(Bug::IgnoreRoom)
            || self.core.uncommitted_entries() < self.settings.uncommitted_entries_max
                && self.core.uncommitted_bytes() < self.settings.uncommitted_bytes_max
                && self.own_disk.bytes() < self.settings.uncommitted_bytes_max
    }

    /// A signature is due for unsigned entries when the interval has passed, or when nothing waits to be executed and
    /// the previous signature has committed: so one signature covers what arrived during one round of replication.
    fn signature_is_due(&mut self) -> bool {
        if self.next_tx_id().is_none() {
            return false;
        }
        let (last, signed, committed) = {
            let state = self.core.state.read();
            (
                state.last().seqno,
                state.last_signature(state.last().seqno).unwrap_or(Seqno::ZERO),
                state.committed,
            )
        };
        if last == signed {
            self.unsigned_since_ms = None;
            return false;
        }
        let since = *self.unsigned_since_ms.get_or_insert(self.now.mono_ms);
        let quiet = signed <= committed && !self.has_work();
        quiet || self.now.mono_ms.saturating_sub(since) >= self.settings.signature_interval_ms
    }

    /// Writes the digest of a finished snapshot into the ledger, if this node is primary and nobody has.
    fn give_evidence(&mut self) -> Result<(), StepError> {
        let Some(evidence) = self.snapshots.owed(&self.core.evidence) else { return Ok(()) };
        let Some(id) = self.next_tx_id().filter(|_| self.has_room()) else { return Ok(()) };
        let writes = evidence.write_set();
        self.core.store.apply(id.seqno, &writes).expect("the map of evidence is in the schema");
        self.core.evidence.append(id, evidence);
        self.propose(id, &writes, &evidence.digest, AppendKind::PLAIN)
    }

    fn sign(&mut self) -> Result<(), StepError> {
        let Some(id) = self.next_tx_id() else { return Ok(()) };
        let now_s = self.now.wall_ms / 1000;
        let (writes, previous) = {
            let state = self.core.state.read();
            let previous = state.last_signature(state.last().seqno).unwrap_or(Seqno::ZERO);
            let signer = self.signer.as_ref();
            (signature_write_set(signer, state.tree(), id, previous, now_s), previous)
        };
        let kind = AppendKind {
            signed_at_s: Some(now_s),
            chunk_ends: self.core.chunk_bytes >= self.settings.chunk_bytes
                || self.governing.chunk_asked
                || self.snapshots.is_due_at(previous, id.seqno)
                || self.core.is_snapshot_asked(previous),
        };
        self.governing.chunk_asked = false;
        self.core
            .store
            .apply(id.seqno, &writes)
            .expect("signature maps are kept in the ledger only");
        self.propose(id, &writes, &Digest::ZERO, kind)?;
        self.unsigned_since_ms = None;
        Ok(())
    }

    /// Carries what the engine has decided into store, tree and effects.
    fn pump(&mut self, effects: &mut Effects) -> Result<(), StepError> {
        loop {
            let output = self.engine.poll();
            if output.is_empty() {
                return Ok(());
            }
            self.carry(output, effects)?;
        }
    }

    fn carry(&mut self, output: Output, effects: &mut Effects) -> Result<(), StepError> {
        if output.hard_state.is_some() {
            self.view_not_durable = output.persist;
        }
        let mut persist =
            Persist { hard_state: output.hard_state, token: output.persist, ..Persist::default() };
        if let Some(to) = output.truncate_to {
            self.core.rollback(to);
            self.adapter.rolled_back(&self.core.store.reader());
            self.unsigned_since_ms = None;
            persist.truncate_to = (!coco_planted::is(Bug::ForgetCut)).then_some(to);
            effects.rolled_back = Some(effects.rolled_back.map_or(to, |earlier| earlier.min(to)));
        }
        for entry in output.append {
            persist.entries.push(self.take(&entry)?);
        }
        if let Some(change) = output.role {
            self.change_role(&change, effects);
        }
        if !persist.is_empty() {
            self.own_disk.handed(&persist);
            effects.persist.push(persist);
        }
        effects.send.extend(output.send);
        effects.fetch.extend(output.fetch);
        effects.behind.extend(output.behind);
        if let Some(replicated) = output.committed {
            self.commit(replicated, effects);
        }
        Ok(())
    }

    /// An entry that the engine appended: our own proposal, which store and tree hold already, or another's.
    fn take(&mut self, entry: &LogEntry) -> Result<(Bytes, bool), StepError> {
        let seqno = entry.tx_id.seqno;
        if seqno > self.core.last().seqno {
            self.check_attestations(entry)?;
            let taken = self.core.take(entry)?;
            if let Some(next) = self.core.configuration_at(seqno) {
                self.engine.reconfigure(seqno, next.clone());
            }
            return Ok(taken);
        }
        assert_eq!(
            self.core.state.read().tx_id(entry.tx_id.seqno),
            entry.tx_id,
            "own proposals come back as they were"
        );
        let flags = EntryView::parse(&entry.data).expect("own proposals are entries").flags();
        Ok((entry.data.clone(), flags.contains(EntryFlags::CHUNK_AFTER)))
    }

    fn change_role(&mut self, change: &coco_consensus::RoleChange, effects: &mut Effects) {
        let was_primary = {
            let mut state = self.core.state.write();
            let was = state.role == Role::Primary;
            state.role = change.role;
            state.view = change.view;
            state.primary = change.primary;
            was
        };
        effects.role_changed = true;
        // Whoever was primary before may not have followed up what members decided.
        self.nodes_changed |= change.role == Role::Primary;
        self.governing.may_end_recovery |= change.role == Role::Primary;
        if was_primary && change.role != Role::Primary {
            let waiting = self.governing.abandon().into_iter();
            let reply = GovernReply::NotPrimary(change.primary);
            effects.governed.extend(waiting.map(|ticket| (ticket, reply.clone())));
            let dropped = self.adapter.abandon();
            effects.replies.extend(
                dropped.into_iter().map(|ticket| (ticket, Reply::NotPrimary(change.primary))),
            );
        }
    }

    /// Moves the committed position, and says so. A snapshot that falls due is begun before its version can be forgotten.
    fn commit(&mut self, replicated: Seqno, effects: &mut Effects) {
        let due = {
            let state = self.core.state.read();
            let to = state.last_signature(replicated).unwrap_or(Seqno::ZERO);
            let asked = self.core.snapshot_asked(&state, to);
            self.snapshots.due(&state, to, asked).map(|seqno| state.tx_id(seqno))
        };
        let due = due.filter(|_| !self.is_recovering());
        let make = due.map(|id| {
            let marks = self.core.marks_at(id.seqno);
            let make = self.snapshots.begin(id, &self.reader(), self.state(), marks);
            SnapshotTask::Make(make)
        });
        effects.snapshots.extend(make);
        if !self.commit_up_to(replicated) {
            return;
        }
        let state = self.core.state.read();
        let is_committed = |(at, _): &mut (Seqno, LedgerSecrets)| *at <= state.committed;
        effects.recovered =
            self.governing.recovered.take_if(is_committed).map(|(_, secrets)| secrets);
        effects.committed = Some(state.committed());
        for (evidence, snapshot) in self.core.evidence.commit(state.committed) {
            let signature = state
                .covering_signature(evidence.seqno)
                .expect("what is committed is under a signature");
            let finish = FinishSnapshot { snapshot, evidence, signature };
            effects.snapshots.push(SnapshotTask::Finish(finish));
        }
    }

    /// Moves the committed position to the last signature entry at or below `replicated`.
    fn commit_up_to(&mut self, replicated: Seqno) -> bool {
        let to = {
            let state = self.core.state.read();
            let to = if coco_planted::is(Bug::CommitUnsigned) {
                Some(replicated)
            } else {
                state.last_signature(replicated)
            };
            to.filter(|to| *to > state.committed)
        };
        let Some(to) = to else { return false };
        self.core.commit(to, self.settings.retained_entries);
        true
    }

    fn answer(&self, answers: Vec<Answer>, executed: Option<TxId>, effects: &mut Effects) {
        for Answer { ticket, verdict } in answers {
            let reply = match verdict {
                Verdict::Executed => {
                    Reply::Executed(executed.expect("only a batch that became an entry executes"))
                }
                Verdict::Earlier(seqno) => Reply::Earlier(self.core.state.read().tx_id(seqno)),
                Verdict::Refused(refusal) => Reply::Refused(refusal),
            };
            effects.replies.push((ticket, reply));
        }
    }
}

/// What kind of entry is made at `id`.
fn kind_at(id: TxId, kind: AppendKind) -> AppendKind {
    let ends = coco_planted::is(Bug::EndChunkAnywhere) && id.seqno.0.is_multiple_of(16);
    AppendKind { chunk_ends: kind.chunk_ends || ends, ..kind }
}

//! The engine on the `raft` crate (raft-rs 0.7).
//!
//! The protocol, event by event:
//!
//! - *tick*: a backup whose time-out ends asks whether it would win (pre-vote) and only then for votes in a new view;
//!   a primary sends heartbeats, and steps down when no quorum answered for one shortest election time-out.
//! - *append*: a backup that has the entry before takes the new ones, voids what contradicts them, and says so after
//!   its disk has them.
//! - *propose*: the primary adds the entry and sends it at once, before its own disk has it. An entry of its own view
//!   is committed when a quorum has it on disk; earlier ones are committed with it.
//! - *winning a view*: the primary adds an opening entry, by which all earlier entries become committable.
//! - *committing a configuration*: each node goes over to it when it learns that its entry is committed; a primary that
//!   does not vote any more steps down.
//!
//! Where we depart from raft-rs as it comes, and why:
//!
//! - Election time-outs come from a seeded generator, so that a run can be repeated; the crate draws its own from the
//!   thread's entropy, and we overwrite that after every input.
//! - Entries inside the crate are shells without data; see [`storage`].
//! - The crate forwards proposals of a backup to the primary. A proposal was executed on one exact state, so we refuse
//!   it here instead.
//! - It bounds uncommitted bytes by dropping proposals silently; we refuse them by name and leave its bound off.
//! - Messages with positions that it would answer with a panic are refused before it sees them.
//! - It walks back through its log, entry by entry, to a hint of another node; we look the place up and hand it that one.
//! - Its log holds no entries of its kind for configuration changes: which entries carry one is the replica's knowledge,
//!   and the crate is told when they are committed. The rule that only one may wait is kept here.
//! - It lets a primary that was voted out go on for ever; ours steps down.
//! - It forgets at each check of its quorum whom it heard; ours keeps when that was.
//!
//! Not used: snapshots, read index, priorities.

mod codec;
mod contacts;
mod convert;
mod far_view;
mod held;
mod peer_message;
mod said;
mod start;
mod storage;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, mem,
};

use ::raft::{RawNode, Ready, StateRole, eraftpb::Message as RaftMessage};
use bytes::Bytes;
use coco_planted::Bug;
use coco_types::{
    NodeId, Role, Seqno, TxId, View,
    limits::{ENTRY_BYTES_MAX, NODES_MAX},
};

use self::{
    codec::{Body, Message},
    contacts::Contacts,
    held::Held,
    storage::LogStorage,
};
pub use self::{
    peer_message::PeerMessage,
    said::{Said, What},
};
use crate::{
    Configuration, Engine, FetchFailed, FetchId, HardState, Limits, LogEntry, Output, PersistToken,
    Progress, ProposeError, ReceiveError, RoleChange, Start, StartError, Status, TransferError,
    configuration::raft_id,
};

/// Orders entries by Raft. See the module for what it does and what it does not.
///
/// In a network of one node it is primary as soon as it exists.
pub struct RaftEngine {
    me: NodeId,
    /// The nodes behind the ids of the `raft` crate: those of configurations, and those that have spoken.
    known: BTreeMap<u64, NodeId>,
    configuration: Configuration,
    /// The next configuration, and the entry that carries it.
    pending: Option<(u64, Configuration)>,
    limits: Limits,
    node: RawNode<LogStorage>,
    timeouts: Timeouts,
    contacts: Contacts,
    /// What the next poll hands out.
    output: Output,
    /// The last position that a poll has handed out.
    polled_last: u64,
    polled_commit: u64,
    polled_role: Option<RoleChange>,
    polled_token: u64,
    hard_state: HardState,
    /// Data of entries that the `raft` crate is about to accept, by position, with their views.
    staged: BTreeMap<u64, (u64, Bytes)>,
    /// Messages that wait for the disk, in the order of the readies.
    held: VecDeque<Held>,
    /// Own proposals that are not committed: position and bytes.
    uncommitted: VecDeque<(u64, usize)>,
    uncommitted_bytes: usize,
}

/// Draws an election time-out whenever the node's part changes.
struct Timeouts {
    /// State of a `SplitMix64` generator.
    state: u64,
    min: usize,
    /// How many different ones there are.
    choices: u64,
    seen: (u64, StateRole),
    current: usize,
}

impl RaftEngine {
    /// Starts or restarts a node.
    ///
    /// # Errors
    /// [`StartError`], when what the node is said to know contradicts itself.
    pub fn new(start: Start) -> Result<Self, StartError> {
        let mut engine = start::engine(start)?;
        if engine.configuration.voters == [engine.me] && !engine.configuration.is_joint() {
            engine.campaign();
        }
        Ok(engine)
    }

    /// The id of another node of the configuration.
    fn other_raft_id(&self, node: NodeId) -> Option<u64> {
        let is_other = node != self.me && self.configuration.contains(node);
        is_other.then(|| raft_id(node))
    }

    /// The node with an id of the `raft` crate; none for its zero.
    fn node_id(&self, raft_id: u64) -> Option<NodeId> {
        self.known.get(&raft_id).copied()
    }

    fn get_to_know(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.known.extend(nodes.into_iter().map(|node| (raft_id(node), node)));
    }

    /// The id of a node that speaks. It need not be of the configuration, which may be an old one on this node, or may
    /// just be changing; the transport knows who belongs to the network.
    fn speaker(&mut self, node: NodeId) -> Option<u64> {
        let id = raft_id(node);
        match self.known.get(&id) {
            Some(known) => (*known == node && node != self.me).then_some(id),
            None if id == 0 || node == self.me || self.known.len() >= KNOWN_MAX => None,
            None => {
                self.known.insert(id, node);
                Some(id)
            }
        }
    }

    /// Notes the configuration that an entry carries.
    fn expect_configuration(&mut self, at: Seqno, next: Configuration) {
        // A primary adds a configuration only when the one before is committed.
        if let Some((_, before)) = self.pending.take() {
            self.change_to(before);
        }
        assert!(self.configuration.may_become(&next), "the configuration of entry {at} follows");
        self.get_to_know(next.nodes().collect::<Vec<_>>());
        self.pending = Some((at.0, next));
    }

    /// Goes over to the configuration that waits, if its entry is committed; whether it did.
    fn settle_configuration(&mut self) -> bool {
        let committed = self.node.raft.raft_log.committed;
        let Some((_, next)) = self.pending.take_if(|(at, _)| *at <= committed) else {
            return false;
        };
        self.change_to(next);
        true
    }

    fn change_to(&mut self, next: Configuration) {
        for change in convert::conf_changes(&self.configuration, &next) {
            self.node.apply_conf_change(&change).expect("the configuration may follow");
        }
        let now = &self.configuration;
        let added = next.nodes().filter(|node| !now.contains(*node)).map(raft_id);
        self.contacts.note_all(added.collect::<Vec<_>>());
        self.configuration = next;
        let stands = self.node.raft.state != StateRole::Follower;
        // A candidate, too: the crate cannot make a primary of a node that has no place in its configuration.
        if stands && !self.configuration.votes(self.me) {
            let view = self.node.raft.term;
            self.node.raft.become_follower(view, 0);
        }
    }

    fn is_primary(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn storage(&self) -> &LogStorage {
        self.node.store()
    }

    /// Everything that the `raft` crate wants done goes to the output. Runs after every input but a proposal, and before
    /// every poll.
    fn drain(&mut self) {
        self.timeouts.renew(&mut self.node);
        self.contacts.renew(self.is_primary().then(|| self.view()));
        loop {
            self.join_held();
            while self.node.has_ready() {
                let ready = self.node.ready();
                self.take_ready(ready);
            }
            if !self.settle_configuration() {
                break;
            }
            self.timeouts.renew(&mut self.node);
        }
        self.staged.clear();
        self.settle_uncommitted();
        let log = &self.node.raft.raft_log;
        let droppable = log.committed.min(log.persisted);
        self.node.mut_store().shrink(droppable);
        self.forget_strangers();
    }

    /// Forgets nodes that have left, and others that spoke once, before they are too many. Runs when nothing that the
    /// `raft` crate wants to say is left in it.
    fn forget_strangers(&mut self) {
        if self.known.len() < KNOWN_MAX / 2 {
            return;
        }
        let raft = &self.node.raft;
        let named = [raft.vote, raft.leader_id];
        let next = self.pending.iter().flat_map(|(_, next)| next.nodes());
        let stay: BTreeSet<NodeId> = self.configuration.nodes().chain(next).collect();
        self.known.retain(|id, node| stay.contains(node) || named.contains(id));
    }

    /// Messages behind others that wait for the disk, when there is nothing else to do, wait with those. They make no ready of
    /// their own: the `raft` crate, too, keeps a note of every ready until the disk has it, and a disk may hang for long.
    fn join_held(&mut self) {
        if self.is_primary() || self.held.is_empty() {
            return;
        }
        let messages = mem::take(&mut self.node.raft.msgs);
        if self.node.has_ready() {
            // They may need what comes with them to be durable first.
            self.node.raft.msgs = messages;
            return;
        }
        let messages = self.encode(&messages);
        let newest = self.held.back_mut().expect("something is held");
        messages.into_iter().for_each(|(to, message)| newest.join(to, message));
    }

    fn take_ready(&mut self, mut ready: Ready) {
        let number = ready.number();
        let to_disk = ready.must_sync();
        for entry in ready.take_entries() {
            self.take_entry(TxId::new(entry.term, entry.index));
        }
        if let Some(state) = ready.hs() {
            let state = HardState { view: View(state.term), vote: self.node_id(state.vote) };
            if state != self.hard_state {
                self.hard_state = state;
                let vote = state.vote.filter(|_| !coco_planted::is(Bug::ForgetVote));
                self.output.hard_state = Some(HardState { vote, ..state });
            }
        }
        let now = self.encode(&ready.take_messages());
        self.output.send.extend(now);
        let mut messages = self.encode(&ready.take_persisted_messages());
        if coco_planted::is(Bug::AnswerBeforeSync) {
            self.output.send.append(&mut messages);
        }
        let applied = ready.committed_entries().last().map(|entry| entry.index);

        self.node.advance_append_async(ready);
        if let Some(applied) = applied {
            // Nothing inside the crate waits for entries to be applied; configurations come from outside.
            self.node.advance_apply_to(applied);
        }
        if to_disk {
            self.output.persist = Some(PersistToken(number));
        }
        self.held.push_back(Held { number, to_disk, messages });
        if coco_planted::is(Bug::CountBeforeSync) && self.is_primary() {
            self.node.on_persist_ready(number);
        }
        self.release(0);
    }

    /// The next entry of the log, which may replace an earlier one at its position and void what followed that.
    fn take_entry(&mut self, tx_id: TxId) {
        let seqno = tx_id.seqno.0;
        if seqno <= self.storage().last() {
            let keep = tx_id.seqno.previous();
            assert!(keep.0 >= self.polled_commit, "entry {tx_id} would void what is committed");
            self.node.mut_store().truncate(keep.0);
            self.pending.take_if(|(at, _)| *at > keep.0);
            self.output.append.retain(|entry| entry.tx_id.seqno <= keep);
            if keep.0 < self.polled_last {
                self.polled_last = keep.0;
                self.output.truncate_to = Some(keep);
            }
        }
        let data = match self.staged.remove(&seqno) {
            Some((view, data)) if view == tx_id.view.0 => data,
            None | Some(_) => {
                assert!(self.is_primary(), "only a new primary adds an entry by itself");
                Bytes::new()
            }
        };
        self.node.mut_store().append(tx_id, data.clone());
        self.output.append.push(LogEntry { tx_id, data });
    }

    fn encode(&self, messages: &[RaftMessage]) -> Vec<(NodeId, Bytes)> {
        let data = |seqno| {
            self.storage().data(seqno).expect("raft sends only entries that the storage gave it")
        };
        let mut whole: Vec<(NodeId, Message)> = Vec::with_capacity(messages.len());
        for message in messages {
            let to =
                self.node_id(message.to).expect("raft sends only to nodes that it was told of");
            for message in convert::outgoing(message, data).split(self.limits.message_bytes) {
                let alone = match whole.iter_mut().rev().find(|(other, _)| *other == to) {
                    Some((_, earlier)) => earlier.join(message, self.limits.message_bytes),
                    None => Some(message),
                };
                whole.extend(alone.map(|message| (to, message)));
            }
        }
        whole.into_iter().map(|(to, message)| (to, message.encode())).collect()
    }

    /// Says what waited for the readies up to `durable`, and what came after them without needing the disk.
    fn release(&mut self, durable: u64) {
        let mut number = None;
        while let Some(held) =
            self.held.pop_front_if(|held| held.number <= durable || !held.to_disk)
        {
            number = Some(held.number);
            self.output.send.extend(held.messages);
        }
        if let Some(number) = number {
            self.node.on_persist_ready(number);
        }
    }

    fn settle_uncommitted(&mut self) {
        let committed = self.node.raft.raft_log.committed;
        let primary = self.is_primary();
        while let Some((_, bytes)) =
            self.uncommitted.pop_front_if(|(seqno, _)| *seqno <= committed || !primary)
        {
            self.uncommitted_bytes -= bytes;
        }
    }

    fn role_change(&self) -> RoleChange {
        RoleChange { role: self.role(), view: self.view(), primary: self.primary() }
    }

    /// Whether the opening entry of this view has been handed out.
    fn is_open(&self) -> bool {
        self.is_primary() && self.polled_role == Some(self.role_change())
    }

    fn check_propose(&self) -> Result<(), ProposeError> {
        if !self.is_primary() {
            return Err(ProposeError::NotPrimary { primary: self.primary() });
        }
        if !self.is_open() {
            return Err(ProposeError::NotOpened);
        }
        if let Some(to) = self.node.raft.lead_transferee.and_then(|id| self.node_id(id)) {
            return Err(ProposeError::Transferring { to });
        }
        let (uncommitted_bytes, limit) = (self.uncommitted_bytes, self.limits.uncommitted_bytes);
        if uncommitted_bytes >= limit {
            return Err(ProposeError::Full { uncommitted_bytes, limit });
        }
        Ok(())
    }

    fn next_name(&self) -> TxId {
        TxId::new(self.node.raft.term, self.node.raft.raft_log.last_index() + 1)
    }

    /// Refuses positions that no working peer would name, and that the `raft` crate would answer with a panic.
    fn check_positions(&self, message: &Message) -> Result<(), ReceiveError> {
        let last = self.last();
        // What an older view says is only answered, never taken.
        if message.view < self.view() {
            return Ok(());
        }
        match &message.body {
            Body::Heartbeat { commit } if *commit > last => {
                Err(ReceiveError::Missing { said: *commit, last })
            }
            Body::Appended { last: said, .. }
                if self.is_primary() && *said > last && message.view == self.view() =>
            {
                Err(ReceiveError::Unproposed { said: *said, last })
            }
            Body::Append { previous, .. } => self.check_previous(*previous),
            // A primary starts from a log that is on its disk; the vote requests were held back for that.
            Body::Voted(answer) if answer.granted && self.has_vote_requests_held(message.view) => {
                Err(ReceiveError::Unasked)
            }
            // Any of these lets the crate count votes, and this node's own is all that it needs.
            Body::Voted(_) | Body::PreVoted(_) | Body::TakeOver if self.waits_for_own_disk() => {
                Err(ReceiveError::Unasked)
            }
            Body::Appended { .. }
            | Body::Refused { .. }
            | Body::Vote(_)
            | Body::PreVote(_)
            | Body::Voted(_)
            | Body::PreVoted(_)
            | Body::Heartbeat { .. }
            | Body::HeartbeatSeen { .. }
            | Body::TakeOver => Ok(()),
        }
    }

    /// Whoever leads has what is committed, so nothing of an older view after it. The crate would look for such an entry through
    /// the whole log.
    fn check_previous(&self, previous: TxId) -> Result<(), ReceiveError> {
        let seqno = self.committed();
        let view = self.storage().view_at(seqno.0).map_or(View(0), View);
        if previous.seqno >= seqno && previous.view < view {
            let committed = TxId { view, seqno };
            return Err(ReceiveError::Contradicts { previous, committed });
        }
        Ok(())
    }

    /// Moves the hint of a backup to where the crate would come to from there, entry by entry, on the thread that everybody
    /// waits for.
    fn shorten(&self, body: &mut Body) {
        if let Body::Refused { hint, .. } = body
            && hint.view > View(0)
            && hint.seqno <= self.last()
        {
            hint.seqno = Seqno(self.storage().last_up_to(hint.seqno.0, hint.view.0));
        }
    }

    /// Only the primary of a view appends in it.
    fn check_primary(&self, from: NodeId, message: &Message) -> Result<(), ReceiveError> {
        let leads =
            matches!(message.body, Body::Append { .. } | Body::Heartbeat { .. } | Body::TakeOver);
        match self.primary().filter(|primary| *primary != from) {
            Some(primary) if leads && message.view == self.view() => {
                Err(ReceiveError::OtherPrimary { said: from, primary })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether this node alone decides who leads, and may not yet: the crate, which asks nobody then, would make a primary of
    /// it whose log is not on its disk.
    fn waits_for_own_disk(&self) -> bool {
        let is_alone = !self.configuration.is_joint() && self.configuration.voters == [self.me];
        let log = &self.node.raft.raft_log;
        is_alone && !self.is_primary() && log.persisted < log.last_index()
    }

    fn has_vote_requests_held(&self, view: View) -> bool {
        let candidate = self.node.raft.state == StateRole::Candidate && view == self.view();
        candidate && self.held.iter().any(|held| held.to_disk)
    }

    /// Sends what came from disk to the backups that wait for it.
    fn send_fetched(&mut self, range: (u64, u64)) {
        for id in self.waiting_for(range) {
            self.node.raft.send_append(id);
        }
    }

    /// Notes that a node needs what is archived here, and asks where it stands: it may have got a copy meanwhile, and
    /// without an append it would never say so.
    fn tell_behind(&mut self, id: u64) {
        let Some(node) = self.node_id(id) else { return };
        let Some(next) = self.node.raft.prs().get(id).map(|progress| progress.next_idx) else {
            return;
        };
        let name = |at| self.storage().view_at(at).map(|view| TxId::new(view, at));
        let Some(needs) = name(next) else { return };
        let previous = name(next - 1).unwrap_or_default();
        let commit = self.committed().min(previous.seqno);
        let body = Body::Append { previous, commit, entries: Vec::new() };
        self.output.send.push((node, Message { view: self.view(), body }.encode()));
        self.output.behind.push((node, needs));
    }

    /// The nodes whose next entry is in a range, its end not included.
    fn waiting_for(&self, (from, end): (u64, u64)) -> Vec<u64> {
        let me = self.node.raft.id;
        let prs = self.node.raft.prs();
        let waits = |(id, progress): (&u64, &::raft::Progress)| {
            (*id != me && (from..end).contains(&progress.next_idx)).then_some(*id)
        };
        let mut waiting: Vec<u64> = prs.iter().filter_map(waits).collect();
        waiting.sort_unstable();
        waiting
    }
}

impl Engine for RaftEngine {
    fn tick(&mut self) {
        self.contacts.now += 1;
        // No time passes for a node that may not stand for election yet.
        if !self.waits_for_own_disk() {
            self.node.tick();
        }
        self.drain();
    }

    fn receive(&mut self, from: NodeId, message: &Bytes) -> Result<(), ReceiveError> {
        // What was proposed and not handed out yet is staged by position, as the entries of the message will be.
        if !self.staged.is_empty() {
            self.drain();
        }
        let sender = self.speaker(from).ok_or(ReceiveError::Sender(from))?;
        let mut message = Message::decode(message).map_err(ReceiveError::Malformed)?;
        self.check_view(from, message.view)?;
        self.check_primary(from, &message)?;
        self.check_positions(&message)?;
        self.shorten(&mut message.body);
        let is_of_view = message.view == self.view();
        let (message, data) = convert::incoming(sender, self.node.raft.id, message);
        for (entry, data) in message.entries.iter().zip(data) {
            self.staged.insert(entry.index, (entry.term, data));
        }
        match self.node.step(message) {
            // An answer of a node that has left meanwhile, or is not known to have joined.
            Ok(()) | Err(::raft::Error::StepPeerNotFound) => {}
            Err(error) => panic!("raft takes all kinds of messages that peers have: {error}"),
        }
        self.drain();
        if is_of_view && self.is_primary() && self.configuration.contains(from) {
            self.contacts.note(sender);
        }
        Ok(())
    }

    fn campaign(&mut self) {
        // The crate asks neither: it would let a learner lead, and panic when one wins that it does not know.
        if !self.configuration.votes(self.me) || self.waits_for_own_disk() {
            return;
        }
        self.node.campaign().expect("raft refuses no call for an election");
        self.drain();
    }

    fn next_tx_id(&self) -> Option<TxId> {
        self.check_propose().is_ok().then(|| self.next_name())
    }

    fn propose(&mut self, data: Bytes) -> Result<TxId, ProposeError> {
        self.check_propose()?;
        if data.is_empty() {
            return Err(ProposeError::Empty);
        }
        let bytes = data.len();
        if bytes > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes, limit: ENTRY_BYTES_MAX });
        }
        let tx_id = self.next_name();
        self.staged.insert(tx_id.seqno.0, (tx_id.view.0, data));
        self.node
            .propose(Vec::new(), Vec::new())
            .expect("a primary that is not transferring takes proposals");
        assert_eq!(
            self.node.raft.raft_log.last_index(),
            tx_id.seqno.0,
            "a proposal takes the next position"
        );
        self.uncommitted.push_back((tx_id.seqno.0, bytes));
        self.uncommitted_bytes += bytes;
        // It waits for the next poll or input, so that the proposals of one step share their messages and their way to
        // the disk.
        Ok(tx_id)
    }

    fn can_reconfigure(&self) -> bool {
        let log = &self.node.raft.raft_log;
        let committed = self.storage().view_at(log.committed);
        self.check_propose().is_ok()
            && self.pending.is_none()
            && committed == Some(self.node.raft.term)
    }

    fn reconfigure(&mut self, at: Seqno, next: Configuration) {
        assert!(at.0 <= self.node.raft.raft_log.last_index(), "entry {at} is there");
        self.expect_configuration(at, next);
        if self.settle_configuration() {
            self.drain();
        }
    }

    fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    fn persisted(&mut self, token: PersistToken) {
        if token.0 > self.polled_token {
            return;
        }
        self.release(token.0);
        self.drain();
    }

    fn fetched(&mut self, id: FetchId, entries: Result<Vec<LogEntry>, FetchFailed>) {
        let entries = match entries {
            Ok(entries) => entries,
            Err(why) => {
                let range = self.node.mut_store().give_up(id);
                if why == FetchFailed::Archived && self.is_primary() {
                    let behind = range.map(|range| self.waiting_for(range)).unwrap_or_default();
                    behind.into_iter().for_each(|id| self.tell_behind(id));
                }
                return;
            }
        };
        let Some(range) = self.node.mut_store().put_fetched(id, entries) else { return };
        if self.is_primary() {
            self.send_fetched(range);
            self.drain();
        }
        self.node.mut_store().drop_fetched();
    }

    fn transfer_to(&mut self, node: NodeId) -> Result<(), TransferError> {
        if !self.is_primary() {
            return Err(TransferError::NotPrimary);
        }
        let receiver =
            self.other_raft_id(node).filter(|_| self.configuration.voters.contains(&node));
        let receiver = receiver.ok_or(TransferError::Receiver(node))?;
        self.node.transfer_leader(receiver);
        self.drain();
        Ok(())
    }

    fn unreachable(&mut self, node: NodeId) {
        if let Some(id) = self.other_raft_id(node) {
            self.node.report_unreachable(id);
            self.drain();
        }
    }

    fn poll(&mut self) -> Output {
        if self.node.has_ready() {
            self.drain();
        }
        let role = self.role_change();
        if self.polled_role != Some(role) {
            self.polled_role = Some(role);
            self.output.role = Some(role);
        }
        let committed = self.committed();
        if committed.0 > self.polled_commit {
            self.polled_commit = committed.0;
            self.output.committed = Some(committed);
        }
        self.output.fetch = self.storage().take_fetches();
        self.polled_last = self.storage().last();
        self.polled_token = self.output.persist.map_or(self.polled_token, |token| token.0);
        mem::take(&mut self.output)
    }

    fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Leader => Role::Primary,
            StateRole::Follower => Role::Backup,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        }
    }

    fn view(&self) -> View {
        View(self.node.raft.term)
    }

    fn primary(&self) -> Option<NodeId> {
        self.node_id(self.node.raft.leader_id)
    }

    fn committed(&self) -> Seqno {
        let committed = Seqno(self.node.raft.raft_log.committed);
        if coco_planted::is(Bug::CommitOlderView) {
            let mut held: Vec<Seqno> = self.progress().iter().map(|node| node.matched).collect();
            held.sort_unstable();
            let by_quorum = held.get(held.len().div_ceil(2).saturating_sub(1)).copied();
            return by_quorum.map_or(committed, |held| held.max(committed));
        }
        committed
    }

    fn last(&self) -> Seqno {
        Seqno(self.storage().last())
    }

    fn progress(&self) -> Vec<Progress> {
        if !self.is_primary() {
            return Vec::new();
        }
        let progress = |node: NodeId| {
            let progress = self.node.raft.prs().get(raft_id(node))?;
            let active = node == self.me || self.contacts.is_active(raft_id(node));
            let silent = !active && self.contacts.is_long();
            let (matched, inflight) = (Seqno(progress.matched), progress.ins.count());
            Some(Progress { node, matched, active, silent, inflight })
        };
        self.configuration.nodes().filter_map(progress).collect()
    }

    fn status(&self) -> Status {
        Status {
            role: self.role(),
            view: self.view(),
            primary: self.primary(),
            last: self.last(),
            persisted: Seqno(self.node.raft.raft_log.persisted),
            committed: self.committed(),
            transfer_to: self.node.raft.lead_transferee.and_then(|id| self.node_id(id)),
            uncommitted_bytes: self.uncommitted_bytes,
            window_first: Seqno(self.storage().window_first()),
            window_bytes: self.storage().window_bytes(),
            messages_held: self.held.iter().map(|held| held.messages.len()).sum(),
            fetches_open: self.storage().fetches_open(),
            progress: self.progress(),
            configuration: self.configuration.clone(),
        }
    }
}

impl fmt::Debug for RaftEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftEngine")
            .field("me", &self.me)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Timeouts {
    const fn new(seed: u64, min: usize, choices: u64) -> Self {
        // No node is in view zero, so the first renewal draws.
        Self { state: seed, min, choices, seen: (0, StateRole::Follower), current: min }
    }

    /// The `raft` crate draws whenever its role or view changes; ours must stand after each of these.
    fn renew(&mut self, node: &mut RawNode<LogStorage>) {
        let now = (node.raft.term, node.raft.state);
        if now != self.seen {
            self.seen = now;
            let offset =
                usize::try_from(self.draw() % self.choices).expect("choices came from a u32");
            self.current = self.min + offset;
        }
        node.raft.set_randomized_election_timeout(self.current);
    }

    /// `SplitMix64`, Steele, Lea and Flood 2014.
    const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// Nodes that are known by name at one time: every kind of node that two configurations may have, and as many that have
/// left or are about to join. From half of it on, the latter are forgotten.
const KNOWN_MAX: usize = 8 * NODES_MAX;

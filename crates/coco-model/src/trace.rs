//! Holds what real nodes do against the rules.
//!
//! The checker sees every node and so knows more than any of them: what each has on its disk, what the primary of each view
//! has in its log, and what the network has committed. It takes one [`Event`] after the other and judges each by the rules
//! that the model obeys; it never runs the protocol itself.
//!
//! What it does not see: messages. A vote is seen when it is on the voter's disk, an acknowledgement when a primary counts on
//! it, a committed position when a node takes note of it. What a message made a node do is judged, not the message.

mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use coco_types::{NodeId, Role, Seqno, TxId, View};

pub use event::{EntryKind, Event, Members, Rejection, Rule, Started, Stepped, TracedEntry};

use crate::rules::{
    Active, Ballot, Configuration, IDENTITIES_MAX, Kind, NodeSet, agreed, committed_at_start,
    implied_commit, is_up_to_date, may_become, may_commit, may_leave, may_reconfigure,
    may_say_in_effect, may_truncate,
};

/// Judges the events of one run.
#[derive(Debug)]
pub struct Checker {
    first: Active,
    numbers: BTreeMap<NodeId, usize>,
    nodes: Vec<Node>,
    views: BTreeMap<View, OfView>,
    /// What the network has committed.
    committed: Vec<Item>,
    /// New configurations, by their place in items.
    changes: Vec<Configuration>,
}

/// An entry, small. The same configuration in two entries may stand at two places of the table; such entries have different
/// names, so nothing compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    view: View,
    kind: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemKind {
    Opening,
    Plain,
    Signature,
    InEffect,
    Reconfigure(usize),
    Leave,
}

#[derive(Debug, Default)]
struct Node {
    /// None before its first start, and after that the number of its present life.
    life: Option<u64>,
    ballot: Ballot,
    role: Option<Role>,
    log: Vec<Item>,
    committed: usize,
    /// The last signature among what is committed.
    signed: usize,
    active: Option<Active>,
    /// Up to where its log says who is active: what is committed, and what must be, since a later change was made after it.
    known: usize,
    disk: Disk,
    /// What was handed to the disk since, in order.
    writes: VecDeque<Write>,
}

#[derive(Debug, Default)]
struct Disk {
    ballot: Ballot,
    log: Vec<Item>,
}

#[derive(Debug, Default)]
struct Write {
    truncate_to: Option<usize>,
    append: Vec<Item>,
    ballot: Option<Ballot>,
    token: Option<u64>,
    /// Once this is durable, so much of the log of this view's primary is. The acknowledgement may leave after the node has
    /// entered a newer view: what counts is that the node had the entry before it voted there.
    holds: Option<(View, usize)>,
}

#[derive(Debug, Default)]
struct OfView {
    /// Its primary, with the number of the life in which it won.
    primary: Option<(usize, u64)>,
    /// The log of its primary.
    log: Vec<Item>,
    /// Who stands, with the end of its log.
    candidates: BTreeMap<usize, TxId>,
    /// Votes on disks: by voter.
    votes: BTreeMap<usize, usize>,
    /// How much of the primary's log each node had on its disk while it was in this view.
    durable: BTreeMap<usize, usize>,
}

impl Node {
    fn last(&self) -> TxId {
        last(&self.log)
    }
}

fn last(log: &[Item]) -> TxId {
    let view = log.last().map_or(View(0), |item| item.view);
    TxId { view, seqno: Seqno(log.len() as u64) }
}

fn index(seqno: Seqno) -> usize {
    usize::try_from(seqno.0).unwrap_or(usize::MAX)
}

impl Checker {
    /// A network of these voters, which all begin with the same committed entries.
    ///
    /// # Panics
    /// When there are more than [`IDENTITIES_MAX`] voters.
    #[must_use]
    pub fn new(voters: &[NodeId], first: &[TracedEntry]) -> Self {
        assert!(voters.len() <= IDENTITIES_MAX, "a network has fewer nodes");
        let now = Configuration { voters: NodeSet::of(0..voters.len()), learners: NodeSet::EMPTY };
        let mut checker = Self {
            first: Active::new(now),
            numbers: voters.iter().copied().zip(0..).collect(),
            nodes: Vec::new(),
            views: BTreeMap::new(),
            committed: Vec::new(),
            changes: Vec::new(),
        };
        let log: Vec<Item> = first.iter().filter_map(|entry| checker.item(entry).ok()).collect();
        for (at, item) in log.iter().enumerate() {
            let of_view = checker.views.entry(item.view).or_default();
            of_view.log = log[..=at].to_vec();
        }
        let view = log.last().map_or(View(0), |item| item.view);
        let disk = || Disk { ballot: Ballot { view, vote: None }, log: log.clone() };
        checker.nodes = voters.iter().map(|_| Node { disk: disk(), ..Node::default() }).collect();
        checker.committed = log;
        checker
    }

    /// Takes what a node did.
    ///
    /// # Errors
    /// [`Rejection`], when no node of the model does that. The checker is of no use after it.
    pub fn take(&mut self, node: NodeId, event: &Event) -> Result<(), Rejection> {
        self.judge(node, event).map_err(|rule| Rejection { node, rule })
    }

    fn judge(&mut self, node: NodeId, event: &Event) -> Result<(), Rule> {
        if let Event::Started(started) = event {
            return self.started(node, started);
        }
        let number = *self.numbers.get(&node).ok_or(Rule::NotStarted)?;
        let life = self.nodes[number].life.ok_or(Rule::NotStarted)?;
        match event {
            Event::Started(_) => unreachable!("it was taken above"),
            Event::Stepped(stepped) => self.stepped(number, life, stepped),
            Event::Persisted(token) => {
                self.persisted(number, *token);
                Ok(())
            }
            Event::Acknowledged(by, up_to) => self.acknowledged(number, *by, index(*up_to)),
            Event::Applied(members, outgoing) => self.applied(number, members, outgoing.as_deref()),
            Event::Final(up_to) => {
                let (said, signed) = (index(*up_to), self.nodes[number].signed);
                if said == signed { Ok(()) } else { Err(Rule::Final { said, signed }) }
            }
        }
    }

    /// The number of an identity, which gets one if it has none.
    fn number(&mut self, node: NodeId) -> Result<usize, Rule> {
        let next = self.numbers.len();
        let number = *self.numbers.entry(node).or_insert(next);
        if number >= IDENTITIES_MAX {
            return Err(Rule::Identities);
        }
        if number >= self.nodes.len() {
            self.nodes.resize_with(number + 1, Node::default);
        }
        Ok(number)
    }

    fn numbers(&mut self, nodes: &[NodeId]) -> Result<NodeSet, Rule> {
        let numbers: Vec<usize> =
            nodes.iter().map(|node| self.number(*node)).collect::<Result<_, _>>()?;
        Ok(NodeSet::of(numbers))
    }

    fn configuration(&mut self, members: &Members) -> Result<Configuration, Rule> {
        let voters = self.numbers(&members.voters)?;
        let learners = self.numbers(&members.learners)?;
        Ok(Configuration { voters, learners })
    }

    fn item(&mut self, entry: &TracedEntry) -> Result<Item, Rule> {
        let kind = match &entry.kind {
            EntryKind::Opening => ItemKind::Opening,
            EntryKind::Plain => ItemKind::Plain,
            EntryKind::Signature => ItemKind::Signature,
            EntryKind::InEffect => ItemKind::InEffect,
            EntryKind::Leave => ItemKind::Leave,
            EntryKind::Reconfigure(members) => {
                let change = self.configuration(members)?;
                let known = self.changes.iter().position(|other| *other == change);
                ItemKind::Reconfigure(known.unwrap_or_else(|| {
                    self.changes.push(change);
                    self.changes.len() - 1
                }))
            }
        };
        Ok(Item { view: entry.tx_id.view, kind })
    }

    /// The items of entries that stand after the first `before` ones.
    fn items(&mut self, entries: &[TracedEntry], before: usize) -> Result<Vec<Item>, Rule> {
        let mut items = Vec::with_capacity(entries.len());
        for (entry, expected) in entries.iter().zip(before + 1..) {
            if index(entry.tx_id.seqno) != expected {
                return Err(Rule::Position { expected, found: entry.tx_id });
            }
            items.push(self.item(entry)?);
        }
        Ok(items)
    }

    fn kinds<'a>(&'a self, items: &'a [Item]) -> impl Iterator<Item = Kind> + Clone + 'a {
        items.iter().map(|item| match item.kind {
            ItemKind::Opening => Kind::Opening,
            ItemKind::Plain => Kind::Client,
            ItemKind::Signature => Kind::Signature,
            ItemKind::Reconfigure(at) => Kind::Reconfigure(self.changes[at]),
            ItemKind::InEffect => Kind::InEffect,
            ItemKind::Leave => Kind::Leave,
        })
    }

    fn started(&mut self, node: NodeId, started: &Started) -> Result<(), Rule> {
        let is_new = !self.numbers.contains_key(&node);
        let number = self.number(node)?;
        let vote = started.vote.map(|vote| self.number(vote)).transpose()?;
        let ballot = Ballot { view: started.view, vote };
        let log = self.items(&started.log, 0)?;
        if is_new && vote.is_some() {
            return Err(Rule::HasVoted);
        }
        if !is_new {
            let durable = self.durable(number);
            self.note_durable(number, self.nodes[number].ballot.view, durable);
            let before = &self.nodes[number];
            let (durable, found) = (before.disk.ballot.view, ballot.view);
            if !may_become(before.disk.ballot, ballot) {
                return Err(Rule::ForgetsBallot { durable, found });
            }
            let cuts = before.writes.iter().filter_map(|write| write.truncate_to);
            let durable = cuts.fold(before.disk.log.len(), usize::min);
            let kept = agreed(&log, &before.disk.log);
            // From where on its disk contradicts what is committed it may begin with less: a copy of another one's ledger takes
            // the place of that, and need not reach so far itself.
            let common = agreed(&before.disk.log, &self.committed);
            let is_void = common < self.committed.len() && common <= kept;
            if kept < durable && !is_void {
                return Err(Rule::ForgetsEntries { kept, durable });
            }
        }
        for (at, item) in log.iter().enumerate() {
            let made = self.views.get(&item.view).and_then(|of_view| of_view.log.get(at));
            if made != Some(item) {
                return Err(Rule::Unmade(last(&log[..=at])));
            }
        }
        let committed = index(started.committed);
        if committed > log.len() || committed > self.committed.len() {
            return Err(Rule::Commits { to: committed, known: self.committed.len() });
        }
        let same = agreed(&log[..committed], &self.committed);
        if same < committed {
            return Err(Rule::Disagrees(same + 1));
        }
        let known = committed.max(committed_at_start(self.kinds(&log)));
        let active = self.first.after_all(self.kinds(&log[..known]));
        let life = self.nodes[number].life.map_or(0, |life| life + 1);
        self.nodes[number] = Node {
            life: Some(life),
            ballot,
            role: None,
            committed,
            signed: last_signature(&log[..committed]),
            active: Some(active),
            known,
            disk: Disk { ballot, log: log.clone() },
            log,
            writes: VecDeque::new(),
        };
        self.vote_is_durable(number, ballot);
        Ok(())
    }

    fn stepped(&mut self, number: usize, life: u64, stepped: &Stepped) -> Result<(), Rule> {
        let ballot = match stepped.ballot {
            None => None,
            Some((view, vote)) => {
                let vote = vote.map(|vote| self.number(vote)).transpose()?;
                let ballot = Ballot { view, vote };
                self.votes(number, ballot)?;
                Some(ballot)
            }
        };
        let (view, own) = (stepped.view, self.nodes[number].ballot.view);
        if view != own {
            return Err(Rule::View { view, ballot: own });
        }
        // A primary that is voted out by what it commits steps down in the same step, in its own view.
        let was_primary = self.nodes[number].role == Some(Role::Primary) && ballot.is_none();
        let is_primary = was_primary || stepped.role == Role::Primary;
        if stepped.role == Role::Primary {
            self.leads(number, life)?;
            self.nodes[number].role = Some(stepped.role);
        }
        let truncate_to = stepped.truncate_to.map(index);
        let before = truncate_to.unwrap_or(self.nodes[number].log.len());
        let append = self.items(&stepped.append, before)?;
        let committed = stepped.committed.map(index);
        // A primary proposes on what it has committed; a backup commits what it has taken.
        let commits_first =
            committed.filter(|to| is_primary && *to <= self.nodes[number].log.len());
        if let Some(to) = commits_first {
            self.commits(number, to)?;
        }
        if is_primary {
            self.proposes(number, truncate_to, &append)?;
        } else if truncate_to.is_some() || !append.is_empty() {
            self.takes(number, truncate_to, &append)?;
        }
        if let Some(to) = committed.filter(|_| commits_first.is_none()) {
            self.commits(number, to)?;
        }
        self.nodes[number].role = Some(stepped.role);
        let token = stepped.token;
        if truncate_to.is_some() || !append.is_empty() || ballot.is_some() || token.is_some() {
            let node = &mut self.nodes[number];
            // What it has appended stands in its primary's log, and so does all before it.
            let holds = (!append.is_empty()).then_some((view, node.log.len()));
            node.writes.push_back(Write { truncate_to, append, ballot, token, holds });
        }
        Ok(())
    }

    /// A node enters a view, or votes in its own.
    fn votes(&mut self, number: usize, next: Ballot) -> Result<(), Rule> {
        self.note_held(number);
        let node = &mut self.nodes[number];
        let (own, last) = (node.ballot, node.last());
        if !may_become(own, next) {
            return Err(Rule::Ballot { own: own.view, next: next.view });
        }
        node.ballot = next;
        let Some(candidate) =
            next.vote.filter(|vote| own.view < next.view || own.vote != Some(*vote))
        else {
            return Ok(());
        };
        let candidates = &mut self.views.entry(next.view).or_default().candidates;
        if candidate == number {
            let is_voter = self.nodes[number].active.is_some_and(|active| active.has_voter(number));
            if !is_voter {
                return Err(Rule::NoVoter(next.view));
            }
            candidates.insert(number, last);
            return Ok(());
        }
        let shown = *candidates.get(&candidate).ok_or(Rule::VotesForNobody(next.view))?;
        if !is_up_to_date(shown, last) {
            return Err(Rule::VotesForShorter { candidate: shown, own: last });
        }
        Ok(())
    }

    /// A node is primary of its view: for the first time, or still.
    fn leads(&mut self, number: usize, life: u64) -> Result<(), Rule> {
        let node = &self.nodes[number];
        let view = node.ballot.view;
        let of_view = self.views.entry(view).or_default();
        if of_view.primary == Some((number, life)) {
            return Ok(());
        }
        let active = node.active.ok_or(Rule::NotStarted)?;
        // Only where no other vote is needed, a node is primary before its own one is durable. It proposes nothing before,
        // so after a crash it may be primary of the same view again.
        let is_alone = active.is_quorum(&NodeSet::EMPTY.with(number));
        let was_never_sure = of_view.primary.is_some_and(|(earlier, _)| {
            is_alone && earlier == number && !of_view.votes.contains_key(&number)
        });
        if !was_never_sure && (of_view.primary.is_some() || !of_view.log.is_empty()) {
            return Err(Rule::SecondPrimary(view));
        }
        let mut granted =
            NodeSet::of(of_view.votes.iter().filter(|vote| *vote.1 == number).map(|vote| *vote.0));
        if is_alone && node.ballot.vote == Some(number) {
            granted = granted.with(number);
        }
        if !active.is_quorum(&granted) {
            return Err(Rule::NoQuorum(view));
        }
        of_view.primary = Some((number, life));
        of_view.log.clone_from(&node.log);
        Ok(())
    }

    /// A primary adds entries to its log.
    fn proposes(
        &mut self,
        number: usize,
        truncate_to: Option<usize>,
        append: &[Item],
    ) -> Result<(), Rule> {
        let node = &self.nodes[number];
        let (view, committed) = (node.ballot.view, node.committed);
        if let Some(to) = truncate_to {
            return Err(Rule::Cuts { to, committed, conflicts: false });
        }
        let active = node.active.ok_or(Rule::NotStarted)?;
        let committed_view = last(&node.log[..committed]).view;
        for item in append {
            let log = &self.nodes[number].log;
            let name = TxId { view: item.view, seqno: Seqno(log.len() as u64 + 1) };
            let is_first = last(log).view < view;
            if item.view != view || is_first != (item.kind == ItemKind::Opening) {
                return Err(Rule::Adds { view, found: name });
            }
            if !is_first && self.nodes[number].disk.ballot.view < view {
                return Err(Rule::TooEarly(view));
            }
            let uncommitted = || self.kinds(&log[committed..]);
            let may = match item.kind {
                ItemKind::Reconfigure(_) => {
                    may_reconfigure(view, committed_view, &active, uncommitted())
                }
                ItemKind::Leave => may_leave(&active, uncommitted()),
                ItemKind::InEffect => may_say_in_effect(&active, uncommitted()),
                ItemKind::Opening | ItemKind::Plain | ItemKind::Signature => true,
            };
            if !may {
                return Err(Rule::Changes(name));
            }
            self.nodes[number].log.push(*item);
            self.views.entry(view).or_default().log.push(*item);
        }
        Ok(())
    }

    /// A node takes what its primary has.
    fn takes(
        &mut self,
        number: usize,
        truncate_to: Option<usize>,
        append: &[Item],
    ) -> Result<(), Rule> {
        let node = &mut self.nodes[number];
        let view = node.ballot.view;
        let primary = self.views.get(&view).filter(|of_view| of_view.primary.is_some());
        let primary = &primary.ok_or(Rule::NoPrimary(view))?.log;
        if let Some(to) = truncate_to {
            let committed = node.committed;
            let (old, new) = (node.log.get(to), append.first());
            let conflicts = old.is_some() && new.is_some() && old != new;
            if !may_truncate(to, committed, conflicts) {
                return Err(Rule::Cuts { to, committed, conflicts });
            }
            node.log.truncate(to);
        }
        let at = node.log.len();
        let continues = at == 0 || node.log.get(at - 1) == primary.get(at - 1);
        let same = agreed(append, primary.get(at..).unwrap_or_default());
        if !continues || same < append.len() {
            let wrong = if continues { same } else { 0 };
            node.log.extend_from_slice(&append[..append.len().min(wrong + 1)]);
            return Err(Rule::Takes(last(&node.log)));
        }
        node.log.extend_from_slice(append);
        let changes = |item: &Item| matches!(item.kind, ItemKind::Reconfigure(_) | ItemKind::Leave);
        if append.iter().any(changes) {
            let known = implied_commit(self.kinds(&self.nodes[number].log));
            self.knows(number, known);
        }
        Ok(())
    }

    /// A node takes note of what is committed: it was told, or it is primary and has counted.
    fn commits(&mut self, number: usize, to: usize) -> Result<(), Rule> {
        let node = &self.nodes[number];
        if to < node.committed {
            return Err(Rule::Disagrees(to + 1));
        }
        let known = self.committed.len();
        let from = node.committed;
        let told = to.min(known);
        if to > node.log.len() {
            return Err(Rule::Commits { to, known });
        }
        let same = agreed(&node.log[from.min(told)..told], &self.committed[from.min(told)..told]);
        if from + same < told {
            return Err(Rule::Disagrees(from + same + 1));
        }
        if to > known {
            self.counts(number, to)?;
            let new = &self.nodes[number].log[known..to];
            self.committed.extend_from_slice(new);
        }
        self.note_committed(number, to);
        Ok(())
    }

    fn note_committed(&mut self, number: usize, to: usize) {
        let node = &self.nodes[number];
        let new = &node.log[node.committed..to];
        let signed = last_signature(new);
        let node = &mut self.nodes[number];
        if signed > 0 {
            node.signed = node.committed + signed;
        }
        node.committed = to;
        self.knows(number, to);
    }

    /// It goes by the configurations of its log up to there.
    fn knows(&mut self, number: usize, to: usize) {
        let node = &self.nodes[number];
        if to > node.known {
            let active = self.first.after_all(self.kinds(&node.log[..to]));
            let node = &mut self.nodes[number];
            (node.active, node.known) = (Some(active), to);
        }
    }

    /// Whether the node may commit up to `to` by counting who has it. What it commits on the way may change who counts.
    fn counts(&self, number: usize, to: usize) -> Result<(), Rule> {
        let node = &self.nodes[number];
        let refused = Rule::Commits { to, known: self.committed.len() };
        let view = node.ballot.view;
        let (Some(mut active), Some(of_view)) = (node.active, self.views.get(&view)) else {
            return Err(refused);
        };
        if node.role != Some(Role::Primary) {
            return Err(refused);
        }
        let mut from = node.committed;
        while from < to {
            let may = |position: &usize| {
                let has = of_view.durable.iter().filter(|(_, durable)| **durable >= *position);
                let durable_on = NodeSet::of(has.map(|(number, _)| *number));
                may_commit(view, node.log[*position - 1].view, &active, &durable_on)
            };
            let Some(next) = (from + 1..=to).rev().find(may) else { return Err(refused) };
            active = active.after_all(self.kinds(&node.log[from..next]));
            from = next;
        }
        Ok(())
    }

    fn persisted(&mut self, number: usize, token: u64) {
        let node = &mut self.nodes[number];
        let is_covered = |write: &Write| write.token.is_some_and(|written| written <= token);
        let Some(end) = node.writes.iter().rposition(is_covered) else { return };
        let (mut ballots, mut holds) = (Vec::new(), Vec::new());
        for write in node.writes.drain(..=end) {
            holds.extend(write.holds);
            if let Some(to) = write.truncate_to {
                node.disk.log.truncate(to);
            }
            node.disk.log.extend(write.append);
            if let Some(ballot) = write.ballot {
                node.disk.ballot = ballot;
                ballots.push(ballot);
            }
        }
        for ballot in ballots {
            self.vote_is_durable(number, ballot);
        }
        for (view, up_to) in holds {
            self.note_durable(number, view, up_to);
        }
    }

    fn vote_is_durable(&mut self, number: usize, ballot: Ballot) {
        if let Some(vote) = ballot.vote {
            self.views.entry(ballot.view).or_default().votes.insert(number, vote);
        }
    }

    /// How much of its primary's log a node has on its disk now.
    fn durable(&self, number: usize) -> usize {
        let node = &self.nodes[number];
        let Some(of_view) = self.views.get(&node.ballot.view) else { return 0 };
        // The disk may still hold what the log has cut, so all three must agree.
        let both = agreed(&node.log, &node.disk.log);
        both.min(agreed(&node.log, &of_view.log))
    }

    fn note_durable(&mut self, number: usize, view: View, up_to: usize) {
        let of_view = self.views.get_mut(&view).filter(|of_view| of_view.primary.is_some());
        if let Some(of_view) = of_view {
            let most = of_view.durable.entry(number).or_default();
            *most = up_to.max(*most);
        }
    }

    /// A node is about to leave its view: what it has there it may have acknowledged, or does once its disk has it.
    fn note_held(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let view = node.ballot.view;
        let Some(of_view) = self.views.get(&view) else { return };
        let held = agreed(&node.log, &of_view.log);
        match node.writes.back_mut() {
            Some(write) if write.token.is_some() => {
                let before = write.holds.filter(|(earlier, _)| *earlier == view);
                let before = before.map_or(0, |(_, up_to)| up_to);
                write.holds = Some((view, held.max(before)));
            }
            Some(_) => {}
            None => self.note_durable(number, view, held),
        }
    }

    fn acknowledged(&mut self, number: usize, by: NodeId, said: usize) -> Result<(), Rule> {
        let by = self.number(by)?;
        let view = self.nodes[number].ballot.view;
        let noted = self.views.get(&view).and_then(|of_view| of_view.durable.get(&by));
        if noted.is_some_and(|durable| *durable >= said) {
            return Ok(());
        }
        let now = if self.nodes[by].ballot.view == view { self.durable(by) } else { 0 };
        let durable = noted.copied().unwrap_or_default().max(now);
        if durable < said {
            return Err(Rule::Acknowledged { said, durable });
        }
        // What a node had before it started again needs no new write to be there.
        if let Some(of_view) = self.views.get_mut(&view) {
            of_view.durable.insert(by, durable);
        }
        Ok(())
    }

    fn applied(
        &mut self,
        number: usize,
        members: &Members,
        outgoing: Option<&[NodeId]>,
    ) -> Result<(), Rule> {
        let now = self.configuration(members)?;
        let outgoing = outgoing.map(|voters| self.numbers(voters)).transpose()?;
        let says = Active { now, outgoing };
        if self.nodes[number].active == Some(says) { Ok(()) } else { Err(Rule::Applies) }
    }
}

/// Where the last signature of these stands, from 1; zero when there is none.
fn last_signature(items: &[Item]) -> usize {
    items.iter().rposition(|item| item.kind == ItemKind::Signature).map_or(0, |at| at + 1)
}

//! What can happen next, and what comes of it.

use coco_types::View;

use super::{
    Network,
    bounds::{Fault, Returns},
    state::{
        Broken, Code, Entry, FIRST_VIEW, FOUNDERS, Log, NODES, Node, Role, SPARE, Said, State,
        VIEWS_MAX, small,
    },
};
use crate::rules::{
    Ballot, Kind, NodeSet, is_up_to_date, may_become, may_commit, may_leave, may_reconfigure,
    may_say_in_effect, may_truncate,
};

/// Something that a node does, or that happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stands for election in this view.
    Stand(usize, u8),
    /// The first votes for the second.
    Vote(usize, usize),
    /// It takes the next entry that the primary of this view has said, and acknowledges it.
    Take(usize, u8),
    /// It hears from the primary of this view what is committed, up to this position.
    Learn(usize, u8, usize),
    /// As a primary it has its log on its own disk.
    Persist(usize),
    /// As a primary it commits up to this position.
    Commit(usize, usize),
    /// As a primary it adds an entry.
    Append(usize, Code),
    /// It loses its power, and so much of its log is left.
    Crash(usize, usize),
}

fn view_of(view: u8) -> View {
    View(u64::from(view))
}

impl Network {
    pub(super) fn first_state(&self) -> State {
        let mut nodes = [Node::with_log(Log::first()); NODES];
        if !self.is_spare_there() {
            nodes[SPARE] = Node::default();
        }
        State {
            nodes,
            said: [Said::default(); VIEWS_MAX + 1],
            committed: Log::first(),
            committed_in: FIRST_VIEW,
            crashes: 0,
            broken: Broken::default(),
        }
    }

    pub(super) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for number in 0..NODES {
            let node = &state.nodes[number];
            if node.role == Role::Gone {
                continue;
            }
            if self.active(node).has_voter(number) {
                actions
                    .extend((node.view + 1..=self.bounds.views).map(|v| Action::Stand(number, v)));
            }
            let candidates = (0..NODES).filter(|other| self.may_vote(state, number, *other));
            actions.extend(candidates.map(|other| Action::Vote(number, other)));
            for view in node.view..=self.bounds.views {
                self.hear(state, number, view, actions);
            }
            if node.role == Role::Primary {
                self.lead(state, number, actions);
            }
            if state.crashes < self.bounds.crashes {
                self.crash(node, number, actions);
            }
        }
    }

    fn may_vote(&self, state: &State, voter: usize, candidate: usize) -> bool {
        let (voter_node, asks) = (&state.nodes[voter], &state.nodes[candidate]);
        let is_asked = voter != candidate
            && asks.role == Role::Candidate
            && asks.votes >> voter & 1 == 0
            && self.active(asks).has_voter(voter);
        if !is_asked {
            return false;
        }
        let next = Ballot { view: view_of(asks.view), vote: Some(candidate) };
        let forgets_vote = self.has(Fault::VoteTwice) && asks.view == voter_node.view;
        let is_further = is_up_to_date(asks.log.last(), voter_node.log.last());
        (may_become(voter_node.ballot(), next) || forgets_vote)
            && (is_further || self.has(Fault::VoteForShorterLog))
    }

    /// What a node may hear of the primary of a view.
    fn hear(&self, state: &State, number: usize, view: u8, actions: &mut Vec<Action>) {
        let node = &state.nodes[number];
        let said = &state.said[usize::from(view)];
        let leads = node.role == Role::Primary && node.view == view;
        if !said.has_primary || leads {
            return;
        }
        let is_sent = said.log.active(self.first(), usize::from(said.commit)).has_member(number);
        if !is_sent {
            return;
        }
        let agreed = node.log.agreed(&said.log);
        if agreed < said.log.len() {
            actions.push(Action::Take(number, view));
        }
        let verified = if self.has(Fault::CommitUnverified) { node.log.len() } else { agreed };
        let to = verified.min(usize::from(said.commit));
        let stops = stops(&node.log, usize::from(node.commit), to);
        let matters = |position: &usize| {
            !self.bounds.changes.is_some() || node.log.changes_configuration_at(*position)
        };
        actions.extend(stops.filter(matters).map(|at| Action::Learn(number, view, at)));
    }

    /// What a primary may do.
    fn lead(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[number];
        if usize::from(node.acked[number]) < node.log.len() {
            actions.push(Action::Persist(number));
        }
        let active = self.active(node);
        let may_commit = |position: &usize| {
            let acked = |other: &usize| usize::from(node.acked[*other]) >= *position;
            let durable_on = NodeSet::of((0..NODES).filter(acked));
            let view = node.log.at(*position).map_or(0, Entry::view);
            let counts_as = if self.has(Fault::CommitEarlierView) { node.view } else { view };
            may_commit(view_of(node.view), view_of(counts_as), &active, &durable_on)
        };
        let commit = usize::from(node.commit);
        if let Some(to) = (commit + 1..=node.log.len()).rev().find(may_commit) {
            let stops = stops(&node.log, commit, to).filter(may_commit);
            actions.extend(stops.map(|position| Action::Commit(number, position)));
        }
        if node.log.len() < self.bounds.log {
            let is_spare_there = state.nodes[SPARE].role != Role::Gone;
            let codes = self.proposals(node).into_iter();
            let codes = codes.filter(|code| is_spare_there || *code != Code::AddLearner);
            actions.extend(codes.map(|code| Action::Append(number, code)));
        }
    }

    fn proposals(&self, node: &Node) -> Vec<Code> {
        let (log, bounds) = (&node.log, &self.bounds);
        let mut codes = Vec::new();
        if log.count(|code| code == Code::Client) < bounds.clients {
            codes.push(Code::Client);
        }
        let ends_signed = log.entries().last().is_some_and(|last| last.code() == Code::Signature);
        if !ends_signed && log.count(|code| code == Code::Signature) <= bounds.signatures {
            codes.push(Code::Signature);
        }
        let commit = usize::from(node.commit);
        let active = node.log.active(self.first(), commit);
        let uncommitted: Vec<Kind> = log.kinds().skip(commit).collect();
        if may_leave(&active, uncommitted.iter().copied()) {
            codes.push(Code::Leave);
        }
        let is_settled = may_say_in_effect(&active, uncommitted.iter().copied());
        if log.has_more_to_say() && (is_settled || self.has(Fault::SayPending)) {
            codes.push(Code::InEffect);
        }
        let committed_view = log.at(commit).map_or(0, Entry::view);
        let may = may_reconfigure(
            view_of(node.view),
            view_of(committed_view),
            &active,
            uncommitted.iter().copied(),
        );
        let is_hasty = self.has(Fault::ChangeWhilePending) && !active.is_joint();
        if may || is_hasty {
            self.changes(node, &mut codes);
        }
        codes
    }

    /// The changes of configuration that are possible after the log of a node.
    fn changes(&self, node: &Node, codes: &mut Vec<Code>) {
        let (log, changes) = (&node.log, &self.bounds.changes);
        let now = log.active(self.first(), log.len()).now;
        let is_member = now.voters.has(SPARE) || now.learners.has(SPARE);
        if !is_member && log.count(|code| code == Code::AddLearner) < changes.learners {
            codes.push(Code::AddLearner);
        }
        let may_promote = now.learners.has(SPARE);
        let singles = log.count(|code| matches!(code, Code::Promote | Code::Remove(_)));
        if singles < changes.singles {
            codes.extend(may_promote.then_some(Code::Promote));
            let leaving = (0..FOUNDERS).filter(|node| now.voters.has(*node));
            codes.extend(leaving.map(|node| Code::Remove(small(node))));
        }
        let swaps = log.count(|code| matches!(code, Code::Swap(_)));
        if may_promote && swaps < changes.swaps {
            let leaving = (0..FOUNDERS).filter(|node| now.voters.has(*node));
            codes.extend(leaving.map(|node| Code::Swap(small(node))));
        }
    }

    fn crash(&self, node: &Node, number: usize, actions: &mut Vec<Action>) {
        let kept_min = match self.bounds.returns {
            Returns::AsItself => usize::from(node.durable),
            Returns::RolledBack => 1,
            Returns::AsAnother if number != SPARE => 1,
            Returns::AsAnother => return,
        };
        actions.extend((kept_min..=node.log.len()).map(|kept| Action::Crash(number, kept)));
    }

    fn is_spare_there(&self) -> bool {
        self.bounds.returns != Returns::AsAnother && self.bounds.changes.is_some()
    }

    pub(super) fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Stand(number, view) => {
                let node = &mut state.nodes[number];
                node.follow();
                (node.role, node.view, node.vote) = (Role::Candidate, view, small(number) + 1);
                node.votes = 1 << number;
                self.count_votes(state, number);
            }
            Action::Vote(voter, candidate) => {
                let view = state.nodes[candidate].view;
                let node = &mut state.nodes[voter];
                node.follow();
                (node.view, node.vote) = (view, small(candidate) + 1);
                state.nodes[candidate].votes |= 1 << voter;
                self.count_votes(state, candidate);
            }
            Action::Take(number, view) => self.take(state, number, view),
            Action::Learn(number, view, position) => {
                follow_view(&mut state.nodes[number], view);
                state.nodes[number].commit = small(position);
                check_commit(state, number);
            }
            Action::Persist(number) => {
                let node = &mut state.nodes[number];
                node.durable = small(node.log.len());
                node.acked[number] = node.durable;
            }
            Action::Commit(number, position) => commit(state, number, position),
            Action::Append(number, code) => {
                let node = &mut state.nodes[number];
                node.log.push(Entry::new(node.view, code));
                self.say(state, number);
            }
            Action::Crash(number, log) => self.crashed(state, number, log),
        }
        self.forget(state);
    }

    fn count_votes(&self, state: &mut State, number: usize) {
        let node = &mut state.nodes[number];
        let granted = NodeSet::of((0..NODES).filter(|other| node.votes >> other & 1 == 1));
        if !self.active(node).is_quorum(&granted) {
            return;
        }
        (node.role, node.votes) = (Role::Primary, 0);
        let (view, log) = (node.view, node.log);
        node.log.push(Entry::new(view, Code::Opening));
        let said = &mut state.said[usize::from(view)];
        if std::mem::replace(&mut said.has_primary, true) {
            state.broken.add(Broken::TWO_PRIMARIES);
        }
        let has_committed = log.agreed(&state.committed) == state.committed.len();
        if view > state.committed_in && !has_committed {
            state.broken.add(Broken::LOST);
        }
        self.say(state, number);
    }

    /// What a primary has can be heard from now on.
    fn say(&self, state: &mut State, number: usize) {
        let node = &state.nodes[number];
        let said = &mut state.said[usize::from(node.view)];
        (said.log, said.commit) = (node.log, node.commit);
        if self.has(Fault::AcknowledgeBeforeDurable) {
            state.nodes[number].acked[number] = small(state.nodes[number].log.len());
        }
    }

    fn take(&self, state: &mut State, number: usize, view: u8) {
        let said = state.said[usize::from(view)];
        let node = &mut state.nodes[number];
        follow_view(node, view);
        let agreed = node.log.agreed(&said.log);
        let Some(entry) = said.log.at(agreed + 1) else { return };
        let instead = node.log.at(agreed + 1);
        if instead.is_some() {
            if !may_truncate(agreed, usize::from(node.commit), instead != Some(entry)) {
                state.broken.add(Broken::CUT);
            }
            node.log = node.log.prefix(agreed);
            node.durable = node.durable.min(small(agreed));
        }
        node.log.push(entry);
        if !self.has(Fault::AcknowledgeBeforeDurable) {
            node.durable = small(node.log.len());
        }
        // The message that brings the entry says so.
        let implied = node.log.implied_commit();
        let told = usize::from(said.commit).min(node.log.len());
        let free = |position: &usize| !node.log.changes_configuration_at(*position);
        let known = usize::from(node.commit).max(implied);
        let known = known + (known + 1..=told).take_while(free).count();
        node.commit = small(known);
        let up_to = small(node.log.len());
        let leads = |other: &&mut Node| other.role == Role::Primary && other.view == view;
        if let Some(primary) = state.nodes.iter_mut().find(leads) {
            primary.acked[number] = primary.acked[number].max(up_to);
        }
        check_commit(state, number);
    }

    fn crashed(&self, state: &mut State, number: usize, kept: usize) {
        state.crashes += 1;
        let Node { view, vote, log, .. } = state.nodes[number];
        let mut node = Node::with_log(log.prefix(kept));
        if self.has(Fault::ForgetConfiguration) {
            node.commit = 1;
        }
        match self.bounds.returns {
            Returns::AsItself => {
                (node.view, node.vote) = (view, vote);
                state.nodes[number] = node;
            }
            Returns::RolledBack => state.nodes[number] = node,
            Returns::AsAnother => {
                state.nodes[SPARE] = node;
                state.nodes[number] = Node::default();
            }
        }
    }

    /// Drops what nobody can hear or use any more, so that states that only differ in it are one.
    fn forget(&self, state: &mut State) {
        if self.bounds.returns == Returns::RolledBack && state.crashes < self.bounds.crashes {
            return;
        }
        let there = state.nodes.iter().filter(|node| node.role != Role::Gone);
        let oldest = there.map(|node| node.view).min().unwrap_or_default();
        for said in &mut state.said[..usize::from(oldest)] {
            *said = Said::default();
        }
    }
}

/// Where a committed position that moves to `to` may stop: there, and at every change of the configuration on the way. Where
/// else it stops makes no difference to what its node does.
fn stops(log: &Log, from: usize, to: usize) -> impl Iterator<Item = usize> {
    let changes =
        move |position: &usize| *position == to || log.changes_configuration_at(*position);
    (from + 1..=to).filter(changes)
}

/// A node hears from the primary of a view.
fn follow_view(node: &mut Node, view: u8) {
    if view > node.view {
        (node.view, node.vote) = (view, 0);
    }
    node.follow();
}

fn commit(state: &mut State, number: usize, position: usize) {
    let node = &mut state.nodes[number];
    node.commit = small(position);
    let (view, committed) = (node.view, node.committed());
    state.said[usize::from(view)].commit = small(position);
    if !committed.is_in_line_with(&state.committed) {
        state.broken.add(Broken::DISAGREE);
    }
    if committed.len() > state.committed.len() {
        state.committed = committed;
    }
    state.committed_in = state.committed_in.max(view);
}

fn check_commit(state: &mut State, number: usize) {
    if !state.nodes[number].committed().is_in_line_with(&state.committed) {
        state.broken.add(Broken::DISAGREE);
    }
}

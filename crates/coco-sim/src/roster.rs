//! Who is of the network and who votes, as the entries of a ledger say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coco_consensus::Configuration;
use coco_governance::{LeaseRow, tables::NODES_LEASES};
use coco_kv::{MapName, WriteSetView};
use coco_ledger::{
    CONFIGURATION_MAP, ConfigurationRow, EntryView, IN_EFFECT_MAP, NODES_MAP, NodeRow, NodeStatus,
    read_node, singleton_key,
};
use coco_replica::NODE_SECRETS_MAP;
use coco_types::NodeId;
use serde_json::Value;

/// The tables about nodes, after some entries.
#[derive(Debug, Default)]
pub struct Roster {
    rows: BTreeMap<NodeId, NodeRow>,
    configuration: Configuration,
    /// Whether those that start count by another configuration than this one.
    is_unsaid: bool,
    /// Leases by seat.
    leases: BTreeMap<NodeId, LeaseRow>,
    /// How many leases have ended of seats that come back.
    lapses: u64,
    /// Seats whose leases have ended, and who have the newest secret of the ledger.
    outside: BTreeSet<NodeId>,
    entries: usize,
}

/// A node, and its row before an entry and after it.
pub type RowChange = (NodeId, Option<NodeRow>, Option<NodeRow>);

/// A seat, and its lease before an entry and after it.
pub type LeaseChange = (NodeId, Option<LeaseRow>, LeaseRow);

/// What an entry does to them.
#[derive(Debug, Default)]
pub struct Changed {
    /// Rows of nodes.
    pub rows: Vec<RowChange>,
    /// The configuration, before and after, if the entry carries one.
    pub configuration: Option<(Configuration, Configuration)>,
    /// Leases of seats.
    pub leases: Vec<LeaseChange>,
    /// To whom a new secret of the ledger is encrypted, if the entry carries one.
    pub named: Option<BTreeSet<NodeId>>,
}

impl Roster {
    /// Takes those entries of a ledger that it has not taken yet.
    pub fn follow(&mut self, ledger: &[Bytes]) {
        for entry in ledger.get(self.entries..).unwrap_or_default() {
            let _seen = self.take(entry);
        }
    }

    /// Takes the next entry.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn take(&mut self, entry: &[u8]) -> Changed {
        self.entries += 1;
        let view = EntryView::parse(entry).expect("ledgers hold entries");
        let writes = view.public_writes().expect("nodes keep entries");
        let mut changed = Changed::default();
        for (key, row) in
            writes.maps().iter().filter(|map| map.name() == NODES_MAP).flat_map(|map| map.iter())
        {
            let key = std::str::from_utf8(key).expect("an id");
            let node: NodeId = key.parse().expect("an id");
            let after = row.map(|row| read_node(node, row).expect("a row"));
            let before = match &after {
                Some(row) => self.rows.insert(node, row.clone()),
                None => self.rows.remove(&node),
            };
            changed.rows.push((node, before, after));
        }
        let configurations = MapName::from_static(CONFIGURATION_MAP);
        if let Some(row) = writes.get(&configurations, singleton_key()) {
            let row = ConfigurationRow::read(row).expect("a configuration");
            let ConfigurationRow { voters, outgoing, learners } = row;
            let after = Configuration { voters, outgoing, learners };
            let before = std::mem::replace(&mut self.configuration, after.clone());
            let is_same = before.voters == after.voters && before.outgoing == after.outgoing;
            self.is_unsaid = !is_same && !before.voters.is_empty();
            changed.configuration = Some((before, after));
        }
        if writes.get(&MapName::from_static(IN_EFFECT_MAP), singleton_key()).is_some() {
            self.is_unsaid = false;
        }
        self.take_secret(&writes, &mut changed);
        self.take_leases(&writes, &mut changed);
        changed
    }

    /// Takes what an entry says of a new secret of the ledger.
    fn take_secret(&mut self, writes: &WriteSetView<'_>, changed: &mut Changed) {
        let Some(row) = writes.get(&MapName::from_static(NODE_SECRETS_MAP), singleton_key()) else {
            return;
        };
        let row: Value = serde_json::from_slice(row).expect("a row of secrets");
        let names = row["secrets"].as_object().expect("they are by node").keys();
        let named: BTreeSet<NodeId> = names.map(|name| name.parse().expect("an id")).collect();
        // Members may have trusted one that is quarantined, and is about to be pending again.
        let seats = named.iter().map(|node| self.seat(*node));
        let outside: BTreeSet<NodeId> = seats.filter(|seat| self.has_lease_ended(*seat)).collect();
        self.outside = outside;
        changed.named = Some(named);
    }

    /// Takes what an entry says of leases.
    fn take_leases(&mut self, writes: &WriteSetView<'_>, changed: &mut Changed) {
        let maps = writes.maps().iter().filter(|map| map.name() == NODES_LEASES);
        for (key, row) in maps.flat_map(|map| map.iter()) {
            let seat: NodeId =
                std::str::from_utf8(key).ok().and_then(|key| key.parse().ok()).expect("a seat");
            let lease = row.and_then(LeaseRow::read).expect("a lease");
            let before = self.leases.insert(seat, lease);
            if lease.ended_at.is_some() {
                self.outside.insert(seat);
                self.lapses += u64::from(self.is_quarantined(seat));
            } else {
                self.outside.remove(&seat);
            }
            changed.leases.push((seat, before, lease));
        }
    }

    /// How often the lease of a seat has ended that comes back.
    #[must_use]
    pub const fn lapses(&self) -> u64 {
        self.lapses
    }

    /// Whether the lease of a seat has ended.
    #[must_use]
    pub fn has_lease_ended(&self, seat: NodeId) -> bool {
        self.leases.get(&seat).is_some_and(|lease| lease.ended_at.is_some())
    }

    /// Whether a seat is quarantined, or about to be: it comes back without a vote.
    #[must_use]
    pub fn is_quarantined(&self, seat: NodeId) -> bool {
        let is_there = |row: &NodeRow| row.seat == seat && row.status != NodeStatus::Retired;
        self.has_lease_ended(seat) && self.rows.values().any(is_there)
    }

    /// Whether somebody has the newest secret of the ledger whose lease has ended.
    #[must_use]
    pub fn is_secret_outside(&self) -> bool {
        !self.outside.is_empty()
    }

    /// Whether a node of a seat takes part.
    #[must_use]
    pub fn takes_part(&self, seat: NodeId) -> bool {
        self.configuration.nodes().any(|node| self.seat(node) == seat)
    }

    /// Who votes.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether everybody who starts knows that the configuration is in effect.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        !self.is_unsaid
    }

    /// The row of a node.
    #[must_use]
    pub fn row(&self, node: NodeId) -> Option<&NodeRow> {
        self.rows.get(&node)
    }

    /// All nodes in this state, with their rows.
    pub fn all(&self, status: NodeStatus) -> impl Iterator<Item = (NodeId, &NodeRow)> {
        let rows = self.rows.iter().filter(move |(_, row)| row.status == status);
        rows.map(|(node, row)| (*node, row))
    }

    /// The seat of a node; its own, as long as no row says otherwise.
    #[must_use]
    pub fn seat(&self, node: NodeId) -> NodeId {
        self.rows.get(&node).map_or(node, |row| row.seat)
    }

    /// The node that has a vote in this seat.
    #[must_use]
    pub fn voter(&self, seat: NodeId) -> Option<NodeId> {
        self.configuration.voters.iter().copied().find(|node| self.seat(*node) == seat)
    }

    /// Whether members trust a node in this seat.
    #[must_use]
    pub fn trusts(&self, seat: NodeId) -> bool {
        self.all(NodeStatus::Trusted).any(|(_, row)| row.seat == seat)
    }

    /// Whether members trust a node in this seat to listen only.
    #[must_use]
    pub fn listens(&self, seat: NodeId) -> bool {
        self.all(NodeStatus::Trusted).any(|(_, row)| row.seat == seat && row.learner)
    }

    /// Whom a node with this row makes room for, as far as members trust them or they come back.
    pub fn successors(&self, row: Option<&NodeRow>) -> impl Iterator<Item = NodeId> {
        let row = row.filter(|row| row.status == NodeStatus::Trusted);
        let seats = row.into_iter().flat_map(|row| &row.successors).copied();
        // One that is quarantined comes back. One that is to listen only is not waited for.
        seats.filter(|seat| {
            let is_to_vote = |row: &NodeRow| row.seat == *seat && !row.learner;
            let comes_back =
                || self.is_quarantined(*seat) && self.row(*seat).is_some_and(is_to_vote);
            self.all(NodeStatus::Trusted).any(|(_, row)| is_to_vote(row)) || comes_back()
        })
    }

    /// Whether there are such, and all of them vote.
    #[must_use]
    pub fn have_successors_votes(&self, row: Option<&NodeRow>) -> bool {
        let mut successors = self.successors(row).peekable();
        successors.peek().is_some() && successors.all(|seat| self.voter(seat).is_some())
    }

    /// Whether all of those vote for whom a node makes room, and no other makes room for it.
    #[must_use]
    pub fn is_replaced(&self, node: NodeId) -> bool {
        self.have_successors_votes(self.row(node)) && !self.is_made_room_for(self.seat(node))
    }

    /// Whether a trusted node makes room for this seat.
    #[must_use]
    pub fn is_made_room_for(&self, seat: NodeId) -> bool {
        self.all(NodeStatus::Trusted).any(|(_, row)| row.successors.contains(&seat))
    }

    /// Whether a seat gets no vote as long as one of those does not that `may_stay_away`: they come together.
    #[must_use]
    pub fn waits(&self, seat: NodeId, may_stay_away: impl Fn(NodeId) -> bool) -> bool {
        let mut held: Vec<NodeId> = Vec::new();
        loop {
            let is_held = |seat: NodeId| may_stay_away(seat) || held.contains(&seat);
            let coming = |node: &NodeId| {
                let successors = self.successors(self.row(*node));
                successors.filter(|seat| self.voter(*seat).is_none()).collect::<Vec<_>>()
            };
            let groups = self.configuration.voters.iter().map(coming);
            let more: Vec<NodeId> = groups
                .filter(|group| group.iter().any(|seat| is_held(*seat)))
                .flatten()
                .filter(|seat| !held.contains(seat))
                .collect();
            if more.is_empty() {
                return held.contains(&seat);
            }
            held.extend(more);
        }
    }

    /// Whether a seat was taken away: a node in it is retired, none is trusted, and none takes part any more.
    #[must_use]
    pub fn is_out(&self, seat: NodeId) -> bool {
        // Of one that was quarantined nothing is left but its lease.
        let is_gone = self.all(NodeStatus::Retired).any(|(_, row)| row.seat == seat)
            || self.has_lease_ended(seat);
        is_gone && !self.trusts(seat) && !self.is_quarantined(seat) && !self.takes_part(seat)
    }
}

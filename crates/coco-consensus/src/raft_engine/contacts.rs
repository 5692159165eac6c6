//! When a primary last heard of each of the others.

use std::collections::BTreeMap;

use coco_types::View;

/// Ticks at which a primary heard of others. The `raft` crate knows only who was heard since its last check of a quorum, so
/// right after one, and at a new primary, nobody was.
#[derive(Debug)]
pub(super) struct Contacts {
    /// Ticks so far.
    pub(super) now: u64,
    /// How many of them without a word are silence: a shortest election time-out.
    silence: u64,
    /// The view that this node leads, and since when.
    leads: Option<(View, u64)>,
    /// When a node of the configuration was last heard in that view, by its id in the `raft` crate.
    heard: BTreeMap<u64, u64>,
}

impl Contacts {
    pub(super) const fn new(silence: u64) -> Self {
        Self { now: 0, silence, leads: None, heard: BTreeMap::new() }
    }

    /// Which view this node leads, if it does.
    pub(super) fn renew(&mut self, leads: Option<View>) {
        if self.leads.map(|(view, _)| view) != leads {
            self.leads = leads.map(|view| (view, self.now));
            self.heard.clear();
        }
    }

    /// A node said something in the view that this one leads.
    pub(super) fn note(&mut self, id: u64) {
        self.heard.insert(id, self.now);
    }

    /// Nodes that come into the configuration are given their time, too; forgets what is older than that.
    pub(super) fn note_all(&mut self, ids: Vec<u64>) {
        let (now, silence) = (self.now, self.silence);
        self.heard.retain(|_, heard| now - *heard < silence);
        ids.into_iter().for_each(|id| self.note(id));
    }

    /// Whether it was heard within a shortest election time-out.
    pub(super) fn is_active(&self, id: u64) -> bool {
        self.heard.get(&id).is_some_and(|heard| self.now - heard < self.silence)
    }

    /// Whether this node has led for long enough to know who is silent.
    pub(super) fn is_long(&self) -> bool {
        self.leads.is_some_and(|(_, since)| self.now - since >= self.silence)
    }
}

//! What a world notes for its log.

use bytes::Bytes;
use coco_replica::{Effects, Persist};
use coco_types::NodeId;

use super::World;
use crate::{
    log::{Happened, said},
    machine::tx_id,
};

impl World {
    /// Notes what happens to a node, if there is a log.
    pub(super) fn note(&self, node: usize, what: impl FnOnce() -> Happened) {
        self.recorder.note(self.time, Some(node), what);
    }

    /// A node has started.
    pub(super) fn note_start(&self, node: usize) {
        let machine = &self.machines[node];
        self.note(node, || Happened::Starts {
            life: machine.life,
            last: machine.ledger.last().map_or_else(String::new, |entry| tx_id(entry).to_string()),
        });
    }

    /// A message has arrived.
    pub(super) fn note_received(&self, node: usize, from: NodeId, bytes: &Bytes) {
        self.note(node, || Happened::Receives {
            from: self.machines.iter().position(|machine| machine.id == from),
            said: said(bytes),
        });
    }

    /// A node wants this done. What it sends is noted when it is sent.
    pub(super) fn note_effects(&self, node: usize, effects: &Effects) {
        for persist in &effects.persist {
            self.note(node, || self.writes(persist));
        }
        if let Some(to) = effects.rolled_back {
            self.note(node, || Happened::RollsBack { to: to.0 });
        }
        if let Some(replica) = self.machines[node].replica.as_ref().filter(|_| effects.role_changed)
        {
            self.note(node, || {
                let state = replica.state();
                let state = state.read();
                let role = format!("{:?}", state.role()).to_lowercase();
                Happened::Role { role, view: state.view().0 }
            });
        }
        if let Some(id) = effects.committed {
            self.note(node, || Happened::Commits { id: id.to_string() });
        }
    }

    fn writes(&self, persist: &Persist) -> Happened {
        let name = |(entry, _): &(Bytes, bool)| tx_id(entry).to_string();
        let ends = persist.entries.first().zip(persist.entries.last());
        let number = |id| self.machines.iter().position(|machine| Some(machine.id) == id);
        Happened::Writes {
            cut: persist.truncate_to.map(|to| to.0),
            entries: ends.map(|(first, last)| (name(first), name(last))),
            hard_state: persist.hard_state.map(|state| match number(state.vote) {
                Some(vote) => format!("view {}, voted for n{vote}", state.view),
                None => format!("view {}, no vote", state.view),
            }),
        }
    }
}

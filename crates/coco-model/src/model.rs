//! The model: all that a few nodes can do within a bound, and what must never come of it.
//!
//! # The protocol, event by event
//!
//! - *stand*: a voter enters a newer view and votes for itself.
//! - *vote*: a node that has no other vote in that view, and whose log does not reach further, votes for a candidate; view
//!   and vote are durable before it says so. With a majority of each configuration that the candidate knows to be in
//!   force, it is primary and opens the view with an entry.
//! - *append*: the primary adds an entry: a client's, a signature, a configuration, the end of a joint state.
//! - *take*: a node that agrees with a primary's log up to a position takes the entry after it, and cuts what is there
//!   instead; its disk has it, and the primary hears so. An entry that is taken and lost before it is acknowledged only
//!   forbids things in between, so it is as if it had not been taken.
//! - *persist*: a primary's own disk has its log. It has sent its entries before.
//! - *commit*: the primary commits what a majority of each configuration has on disk, up to an entry of its own view.
//! - *learn*: a node hears what is committed.
//! - *crash*: of what was on its way to the disk, a first part is there, and the node has forgotten what is committed, but
//!   for what its log says itself. [`Returns`] says as whom it comes back.
//!
//! # How the network is seen
//!
//! Messages may be lost, doubled, and arrive at any time in any order. So what a primary once said is there for good, and
//! hearing it is an action that may happen or not: [`Said`] holds one log for a view, since a primary only adds to it. A
//! request for a vote says no more than its candidate still is, and matters only as long as it stands; an answer or an
//! acknowledgement matters only to who asked for it, and what comes of counting it late comes of voting or committing late.
//! What a backup knows to be committed matters to what it does only where the configuration changes, so that is where it may
//! know more or less; the rest it knows as soon as it could.
//!
//! # What is left out
//!
//! Time-outs, heartbeats, pre-votes, the handing over of the primary's part and refusals only restrict when the actions
//! above happen, so the model allows more without them. Entries carry no content: view and kind name it.

mod actions;
mod bounds;
mod state;
mod symmetry;

pub use actions::Action;
pub use bounds::{Bounds, Changes, Fault, LARGE, Returns, SMALL};
pub use state::{
    Broken, Code, Entry, FIRST_VIEW, FOUNDERS, LOG_MAX, Log, NODES, Node, Role, SPARE, Said, State,
    VIEWS_MAX,
};
pub use symmetry::representative;

use stateright::{Model, Property};

use crate::rules::{Active, Configuration, Kind, NodeSet, service_commit};

/// Nodes within a bound, one of which may have been taught a fault.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// How much of it there is.
    pub bounds: Bounds,
    /// A rule that nodes break.
    pub fault: Option<Fault>,
}

impl Network {
    /// Nodes that keep all rules.
    #[must_use]
    pub const fn sound(bounds: Bounds) -> Self {
        Self { bounds, fault: None }
    }

    /// Nodes that break one.
    #[must_use]
    pub const fn with_fault(bounds: Bounds, fault: Fault) -> Self {
        Self { bounds, fault: Some(fault) }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// What counts before any change.
    #[must_use]
    pub fn first(&self) -> Active {
        let learners = match self.bounds.returns {
            Returns::AsAnother => NodeSet::EMPTY,
            Returns::AsItself | Returns::RolledBack => NodeSet::of([SPARE]),
        };
        Active::new(Configuration { voters: NodeSet::of(0..FOUNDERS), learners })
    }

    /// What counts on a node.
    #[must_use]
    pub fn active(&self, node: &Node) -> Active {
        let active = node.log.active(self.first(), usize::from(node.commit));
        match active.outgoing {
            Some(outgoing) if self.has(Fault::CountOldVotersOnly) => {
                let now = Configuration { voters: outgoing, ..active.now };
                Active::new(now)
            }
            _ => active,
        }
    }

    /// What a node tells clients to be final.
    #[must_use]
    pub fn service_commit(&self, node: &Node) -> usize {
        if self.has(Fault::CommitUnsigned) {
            return usize::from(node.commit);
        }
        service_commit(node.committed().kinds())
    }
}

impl Model for Network {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What follows a broken promise proves nothing more.
        if state.broken == Broken::default() {
            self.possible(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.act(&mut next, action);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("one primary in a view", |_, state: &State| {
                !state.broken.has(Broken::TWO_PRIMARIES)
            }),
            Property::always("a newer primary has all that is committed", |_, state: &State| {
                !state.broken.has(Broken::LOST)
            }),
            Property::always("nodes agree on what is committed", |_, state: &State| {
                !state.broken.has(Broken::DISAGREE)
            }),
            Property::always("nothing committed is cut", |_, state: &State| {
                !state.broken.has(Broken::CUT)
            }),
            Property::always("what is final is signed, and final everywhere", is_final_sound),
            Property::sometimes("entries of two views are committed", |_, state: &State| {
                let views = state.committed.entries().iter().map(|entry| entry.view());
                views
                    .filter(|view| *view > FIRST_VIEW)
                    .min()
                    .is_some_and(|first| state.committed.last().view.0 > u64::from(first))
            }),
            Property::sometimes("logs differ", |_, state: &State| {
                let logs = || state.nodes.iter().map(|node| &node.log);
                logs().any(|one| logs().any(|other| !one.is_in_line_with(other)))
            }),
        ];
        if self.bounds.is_joint_reachable() {
            properties.push(Property::sometimes("a joint state is left", |_, state: &State| {
                state.committed.kinds().any(|kind| kind == Kind::Leave)
            }));
        }
        if self.bounds.crashes > 0 {
            properties
                .push(Property::sometimes("a node crashed", |_, state: &State| state.crashes > 0));
        }
        properties
    }
}

/// What nodes tell clients: each of them ends with a signature, and all of them are one history.
fn is_final_sound(network: &Network, state: &State) -> bool {
    state.nodes.iter().filter(|node| node.role != Role::Gone).all(|node| {
        let told = node.log.prefix(network.service_commit(node));
        let is_signed = told.entries().last().is_some_and(|last| last.code() == Code::Signature);
        is_signed && told.is_in_line_with(&state.committed) && told.len() <= state.committed.len()
    })
}

//! A simulated world around the replica that ships.
//!
//! Replica, consensus, ledger, store and the Ethereum adapter are the very code of a node; the network, the disks, the
//! clocks, the clients and everything that goes wrong are made up here. One seed is one run: [`run`] draws from it how
//! many nodes there are, how slow the network is, which adversaries are about and what the clients ask for, and the same
//! seed always gives the same run, down to the digest of everything that was sent and written.
//!
//! A run has two phases. In the first, faults fall as the seed wills. Then the world heals: a majority of the nodes,
//! drawn from the seed, is well and can be reached, and everything that clients still wait for must come to its end within
//! [`plan::LIVENESS_US`]. What must hold always is checked after every step of every node ([`check`]); what must hold of
//! the whole history is checked in the end.
//!
//! Who reads what:
//!
//! - [`plan`]: what a seed decides.
//! - [`world`]: the queue of events, and time.
//! - [`machine`]: one node: the driver's part around a replica, its files, its clock.
//! - [`faults`]: one adversary a file.
//! - `seats`: nodes that come back as others, copies, and who has a seat.
//! - [`client`]: what clients do; [`ethereum`]: what they ask for, and the model that judges the outcome.
//! - [`members`]: what members ask for, and the model that judges what became of it.
//! - [`roster`]: who is of the network and who votes, as checkers read it.
//! - [`periods`]: the secrets of ledgers, as checkers and auditors read them.
//! - [`private`]: what nobody outside may see.
//! - `drill`: everything is lost, and members bring the service back.
//! - [`store`]: the store alone, under transactions that overlap.
//! - [`audit`]: what an auditor makes of a ledger and its receipts.
//! - [`folder`]: the disk under a node's files, and what it forgets.
//! - [`foreign`]: another network, whose files hosts put in place.
//! - [`log`]: what happened, for whoever looks for the cause of a failure; [`diagram`] draws it.
//! - [`trace`]: holds what the engines do against the model of consensus.
//! - [`marks`]: rare states that runs should reach; [`planted`]: bugs that they must find.

pub mod audit;
pub mod check;
pub mod client;
pub mod diagram;
pub mod dice;
mod drill;
pub mod ethereum;
pub mod faults;
pub mod folder;
pub mod foreign;
pub mod genesis;
pub mod log;
pub mod machine;
pub mod marks;
pub mod members;
pub mod periods;
pub mod plan;
pub mod planted;
pub mod private;
mod recorded;
pub mod roster;
mod seats;
pub mod store;
pub mod trace;
pub mod world;

pub use drill::{REQUIRED as REQUIRED_OF_DRILLS, drill};
pub use plan::Plan;
pub use planted::Planted;
pub use recorded::{run_recorded, what_was_said};
pub use world::{Report, has_real_keys, run, run_with};

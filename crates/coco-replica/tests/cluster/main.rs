//! Whole replicas, their disks and the network between them, in one thread and without a clock.
//!
//! Each test says in its name what is promised. [`network`] is the stage, [`watch`] checks after every step what must
//! hold always, [`bank`] is the hosted ledger, [`weather`] plays at random.

mod bank;
mod broken;
mod commit;
mod failover;
mod genesis;
mod governing;
mod hostile_ballots;
mod leases;
mod limits;
mod membership;
mod network;
mod picture;
mod rekeying;
mod restart;
mod sealed;
mod snapshots;
mod watch;
mod weather;

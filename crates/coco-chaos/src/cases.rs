//! The cases, one family of faults a file.

mod clock;
mod connections;
mod disk;
mod kill;
mod link;
mod log;
mod packets;
mod partition;
mod power;
mod rejoin;

use crate::{need::Need, scene::Stage};

/// A rule of a filter: every fifth packet that leaves goes out once more.
pub(crate) const TWICE: &str =
    "meta l4proto tcp numgen random mod 100 < 20 dup to ip daddr device \"eth0\"";

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) about: &'static str,
    /// What it needs beside namespaces.
    pub(crate) needs: &'static [Need],
    pub(crate) set: Set,
    pub(crate) play: fn(Stage<'_>) -> anyhow::Result<()>,
}

/// Where a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// For every change.
    Ci,
    /// In long runs only.
    Long,
}

/// All cases, in the order in which they run.
pub(crate) fn all() -> Vec<Case> {
    [
        kill::CASES,
        rejoin::CASES,
        power::CASES,
        disk::CASES,
        partition::CASES,
        link::CASES,
        packets::CASES,
        clock::CASES,
        log::CASES,
        connections::CASES,
    ]
    .concat()
}

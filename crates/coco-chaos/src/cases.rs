//! The cases, one family of faults a file.

mod clock;
mod connections;
mod disk;
mod kill;
mod link;
mod log;
mod partition;
mod power;
mod rejoin;

use crate::{need::Need, scene::Stage};

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
        clock::CASES,
        log::CASES,
        connections::CASES,
    ]
    .concat()
}

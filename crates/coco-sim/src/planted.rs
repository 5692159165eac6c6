//! Known bugs, planted on purpose in the world around the replica: a simulator that does not find them proves nothing.

/// A bug of a driver, a disk or a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Writes are reported as durable when they are handed to the disk.
    AcknowledgeBeforeSync,
    /// A crash makes a node forget its view and whom it voted for.
    ForgetHardState,
    /// A disk loses in a crash what it had reported as durable.
    LieAboutSync,
    /// Reads show what is executed, and call it committed.
    ReadUncommitted,
    /// A node sends what it holds in the clear.
    SendInTheClear,
    /// Files are written and never synced.
    SyncNoFile,
    /// Files are made and renamed, and their folder is never synced.
    SyncNoFolder,
    /// Nodes start again as what they were, from disks that their host sets back.
    StartFromOldDisk,
}

/// Each with the number of seeds, from zero on, within which it must be found.
pub const ALL: [(Planted, u64); 8] = [
    (Planted::AcknowledgeBeforeSync, 40),
    (Planted::ForgetHardState, 2000),
    (Planted::LieAboutSync, 40),
    (Planted::ReadUncommitted, 40),
    (Planted::SendInTheClear, 5),
    (Planted::SyncNoFile, 10),
    (Planted::SyncNoFolder, 10),
    (Planted::StartFromOldDisk, 40),
];

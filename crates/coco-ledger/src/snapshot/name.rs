//! What a snapshot file is called.

use std::{fmt, str::FromStr};

use coco_types::Seqno;
use thiserror::Error;

use crate::chunk::seqno;

/// What a complete snapshot file is called: `snapshot_<seqno>_<evidence>.committed`. The newest is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The signature entry as of which the state is.
    pub seqno: Seqno,
    /// The entry that holds its evidence.
    pub evidence: Seqno,
}

/// A text that names no snapshot file.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0:?} is no name of a snapshot, for example snapshot_10001_10003.committed")]
pub struct ParseSnapshotNameError(pub String);

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_{}{COMMITTED}", self.seqno, self.evidence)
    }
}

impl FromStr for SnapshotName {
    type Err = ParseSnapshotNameError;

    fn from_str(text: &str) -> Result<Self, ParseSnapshotNameError> {
        let read = || {
            let range = text.strip_prefix(PREFIX)?.strip_suffix(COMMITTED)?;
            let (at, evidence) = range.split_once('_')?;
            let name = Self { seqno: seqno(at)?, evidence: seqno(evidence)? };
            (name.seqno < name.evidence).then_some(name)
        };
        read().ok_or_else(|| ParseSnapshotNameError(text.chars().take(80).collect()))
    }
}

const PREFIX: &str = "snapshot_";
const COMMITTED: &str = ".committed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_what_they_print_and_nothing_else() {
        for text in ["snapshot_10001_10003.committed", "snapshot_1_9223372036854775807.committed"] {
            assert_eq!(text.parse::<SnapshotName>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "snapshot_1_2",
            "snapshot_1.committed",
            "snapshot_0_2.committed",
            "snapshot_2_2.committed",
            "snapshot_01_2.committed",
            "snapshot_1_+2.committed",
            "snapshot_1_2_3.committed",
            "snapshot_1_2.committed.tmp",
            "snapshot_1_9223372036854775808.committed",
            "snapshot_1_99999999999999999999.committed",
        ];
        for text in wrong {
            assert!(text.parse::<SnapshotName>().is_err(), "{text}");
        }
    }
}

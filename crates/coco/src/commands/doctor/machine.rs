//! This machine: the configuration of a node, its folder, its disk.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use coco_node::{NodeConfig, identity::IDENTITY_FILE};

use super::{Check, SLOW_DISK};
use crate::{
    codes::Code,
    fault::{Fault, chain},
    files,
};

/// Below which share of a disk's room there is too little, in percent.
const ROOM_PERCENT_MIN: u64 = 10;
/// How often a small file is made durable.
const PROBES: usize = 20;
/// How many bytes it has: as many as a small group of transactions.
const PROBE_BYTES: usize = 4_096;
/// From how long on that is slow.
const PROBE_SLOW: Duration = Duration::from_millis(50);

/// Looks at a node of this machine.
pub(super) fn look(path: &Path) -> Vec<Check> {
    let config = match NodeConfig::load(path) {
        Ok(config) => config,
        Err(error) => {
            let fault =
                Fault::new(Code::ConfigUnusable, path.display().to_string()).because(&error);
            let found = format!("{fault}: {}", chain(&error));
            return vec![Check::failure("config", found, fault.step())];
        }
    };
    vec![
        Check::ok("config", path.display().to_string()),
        identity(&config.data_dir),
        room(&config.data_dir),
        probe(&config.data_dir),
    ]
}

/// Whether the keys are there, and nobody else's.
fn identity(folder: &Path) -> Check {
    const NAME: &str = "keys";
    let path = folder.join(IDENTITY_FILE);
    let shown = path.display();
    match files::is_private(&path) {
        Ok(true) => Check::ok(NAME, format!("{shown}")),
        Ok(false) => {
            Check::failure(NAME, format!("others can read {shown}"), format!("chmod 600 {shown}"))
        }
        Err(_) => Check::failure(
            NAME,
            format!("{shown} is not there"),
            "coco network create, or coco network join, makes a node's folder",
        ),
    }
}

/// How much room its disk has.
fn room(folder: &Path) -> Check {
    const NAME: &str = "room";
    match rustix::fs::statvfs(folder) {
        Err(error) => {
            Check::failure(NAME, format!("{}: {error}", folder.display()), "check the folder")
        }
        Ok(disk) => {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            enough_room(bytes(disk.f_bavail), bytes(disk.f_blocks))
        }
    }
}

fn enough_room(free: u64, all: u64) -> Check {
    const NAME: &str = "room";
    let gigabytes = |bytes: u64| bytes / 1_000_000_000;
    let percent = free.saturating_mul(100).checked_div(all).unwrap_or(0);
    let found = format!("{percent} % free, {} of {} GB", gigabytes(free), gigabytes(all));
    if percent < ROOM_PERCENT_MIN {
        let next =
            "a larger disk; committed ledger files below a snapshot can be moved to an archive";
        return Check::warning(NAME, found, next);
    }
    Check::ok(NAME, found)
}

/// How long the disk takes to make little durable.
fn probe(folder: &Path) -> Check {
    const NAME: &str = "fsync";
    match probed(folder) {
        Err(error) => Check::failure(
            NAME,
            format!("{}: {error}", folder.display()),
            "check the rights of the folder",
        ),
        Ok(slowest) => {
            let ms = slowest.as_secs_f64() * 1e3;
            let found = format!("the slowest of {PROBES} took {ms:.1} ms");
            match slowest > PROBE_SLOW {
                true => Check::warning(NAME, found, SLOW_DISK),
                false => Check::ok(NAME, found),
            }
        }
    }
}

fn probed(folder: &Path) -> std::io::Result<Duration> {
    // It has no name in the folder, and so a node does not see it, and nothing is left of it.
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..PROBES {
        let started = Instant::now();
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_data()?;
        slowest = slowest.max(started.elapsed());
    }
    Ok(slowest)
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn little_room_is_spoken_of() {
        for (free, all, level) in
            [(10, 100, Level::Ok), (9, 100, Level::Warning), (0, 0, Level::Warning)]
        {
            assert_eq!(enough_room(free, all).level, level, "{free} of {all}");
        }
    }

    #[test]
    fn a_folder_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert!(probed(folder.path()).unwrap() > Duration::ZERO);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(probe(&folder.path().join("none")).level, Level::Failure);
        assert_eq!(identity(folder.path()).level, Level::Failure);
    }
}

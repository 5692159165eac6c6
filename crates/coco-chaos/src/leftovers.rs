//! What a run leaves that was itself killed: namespaces, mounts and folders carry its process id, and the next run
//! removes them. Its nodes have died with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{lan::PREFIX, say, tool::run};

/// The folder of this process's run.
pub(crate) fn run_folder(base: &Path) -> PathBuf {
    base.join(format!("{PREFIX}{}", std::process::id()))
}

/// Whether a name is of a run whose process is gone.
fn is_orphaned(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let digits = rest.split('-').next().unwrap_or_default();
    digits.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Removes what runs left that are gone.
pub(crate) fn sweep(base: &Path) {
    let names = |folder: &Path| -> Vec<String> {
        let listing = fs::read_dir(folder).into_iter().flatten().flatten();
        listing.filter_map(|file| file.file_name().into_string().ok()).collect()
    };
    for name in names(Path::new("/run/netns")).iter().filter(|name| is_orphaned(name)) {
        report(run("ip", &["netns", "delete", name]));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for name in names(base).iter().filter(|name| is_orphaned(name)) {
        let folder = base.join(name);
        let mounted = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for mount in mounted.filter(|mount| Path::new(mount).starts_with(&folder)) {
            report(run("umount", &["-l", mount]));
        }
        if let Err(error) = fs::remove_dir_all(&folder) {
            say(&format!("cannot remove {}: {error}", folder.display()));
        }
    }
}

fn report(done: anyhow::Result<String>) {
    if let Err(error) = done {
        say(&format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_runs_left_is_swept() {
        let own = std::process::id();
        // No process has this number: the kernel's largest is 2^22.
        let dead = 4_194_305;
        for (name, expected) in [
            (format!("{PREFIX}{dead}-n0"), true),
            (format!("{PREFIX}{dead}"), true),
            (format!("{PREFIX}{own}-n0"), false),
            (format!("{PREFIX}failed"), false),
            (format!("other-{dead}"), false),
        ] {
            assert_eq!(is_orphaned(&name), expected, "{name}");
        }
    }
}

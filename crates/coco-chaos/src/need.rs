//! What a case needs of the machine. Each need is tried, not guessed.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    image::{FileSystem, Image},
    lan::Lan,
    tool,
};

/// Where Debian puts libfaketime.
pub(crate) const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Connections of the case that opens most, with room for files.
const DESCRIPTORS_MIN: u64 = 12_000;

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Network namespaces, veth and bridges. Every case needs them.
    Namespaces,
    /// A packet filter in a namespace.
    Filter,
    /// Loop devices, ext4 and its shutdown.
    Ext4,
    /// Loop devices, XFS and its shutdown.
    Xfs,
    /// A library that shifts clocks.
    FakeTime,
    /// Many file descriptors for one process.
    Descriptors,
}

/// Why this machine cannot do it; `None` when it can.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    tried: BTreeMap<Need, Option<String>>,
}

impl Machine {
    /// The first thing that is missing, with the reason. `folder` is for trying.
    pub(crate) fn lacks(&mut self, needs: &[Need], folder: &Path) -> Option<String> {
        for need in [Need::Namespaces].iter().chain(needs) {
            let tried = self
                .tried
                .entry(*need)
                .or_insert_with(|| attempt(*need, folder).err().map(|error| format!("{error:#}")));
            if let Some(reason) = tried {
                return Some(reason.clone());
            }
        }
        None
    }
}

fn programs(names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        anyhow::ensure!(tool::exists(name), "there is no program {name}");
    }
    Ok(())
}

fn attempt(need: Need, folder: &Path) -> anyhow::Result<()> {
    match need {
        Need::Namespaces => {
            programs(&["ip", "nsenter", "setpriv"])?;
            anyhow::ensure!(rustix::process::geteuid().is_root(), "this process is not root's");
            Lan::make("try", 1).map(drop)
        }
        Need::Filter => {
            programs(&["nft"])?;
            let lan = Lan::make("try", 1)?;
            let netns = format!("--net={}", crate::lan::path(&lan.node(0)));
            let table = "table ip chaos {\nchain input { type filter hook input priority 0;\n\
                         numgen random mod 100 < 10 drop\n}\n}\n";
            tool::run_on("nsenter", &[&netns, "nft", "-f", "-"], table).map(drop)
        }
        Need::Ext4 => {
            programs(&["mkfs.ext4", "xfs_io", "mount", "umount"])?;
            shut_down(FileSystem::Ext4, folder)
        }
        Need::Xfs => {
            programs(&["mkfs.xfs", "xfs_io", "mount", "umount"])?;
            shut_down(FileSystem::Xfs, folder)
        }
        Need::FakeTime => {
            anyhow::ensure!(Path::new(FAKETIME).exists(), "there is no {FAKETIME}");
            Ok(())
        }
        Need::Descriptors => {
            let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let current = limits.current.unwrap_or(u64::MAX);
            anyhow::ensure!(
                current >= DESCRIPTORS_MIN,
                "a process may have {current} descriptors, {DESCRIPTORS_MIN} are needed"
            );
            Ok(())
        }
    }
}

/// A file that was not made durable must be gone after a cut, and one that was must be there.
fn shut_down(kind: FileSystem, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join(format!("try-{}", kind.name()));
    fs::create_dir_all(&folder)?;
    let mut image = Image::make(&folder, kind, kind.bytes())?;
    let kept = fs::File::create(folder.join("kept"))?;
    kept.sync_all()?;
    fs::File::open(&folder)?.sync_all()?;
    drop(kept);
    fs::write(folder.join("lost"), "x")?;
    image.cut()?;
    image.mount_again()?;
    anyhow::ensure!(folder.join("kept").exists(), "a cut takes what was durable");
    anyhow::ensure!(!folder.join("lost").exists(), "a cut leaves what was not durable");
    image.unmount()?;
    drop(image);
    fs::remove_file(folder.with_extension("img"))?;
    Ok(fs::remove_dir(folder)?)
}

//! What a case needs of the machine. Each need is tried, not guessed.

use std::{collections::BTreeMap, fs, io::ErrorKind, net::TcpStream, path::Path, time::Duration};

use crate::{
    dice::Dice,
    image::{FileSystem, Image},
    lan::{Lan, node_address},
    packets::{Deed, Packets},
    tool,
};

/// Where Debian puts libfaketime.
pub(crate) const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Connections of the case that opens most, with room for files.
const DESCRIPTORS_MIN: u64 = 12_000;
/// Nobody listens there.
const UNUSED_PORT: u16 = 9;
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Network namespaces, veth and bridges. Every case needs them.
    Namespaces,
    /// A packet filter in a namespace.
    Filter,
    /// A filter that sends packets twice.
    Twice,
    /// Packets that pass through a program.
    Queue,
    /// A link that takes so many bits a second.
    Rate,
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
            filter("input", "numgen random mod 100 < 10 drop")
        }
        Need::Twice => {
            programs(&["nft"])?;
            filter("output", crate::cases::TWICE)
        }
        Need::Queue => {
            programs(&["iptables"])?;
            pass_through()
        }
        Need::Rate => {
            programs(&["tc"])?;
            let lan = Lan::make("try", 1)?;
            crate::lan::limit(&lan.node(0), Some(1000))
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

/// Puts one rule into one chain of a namespace.
fn filter(hook: &str, rule: &str) -> anyhow::Result<()> {
    let lan = Lan::make("try", 1)?;
    let netns = format!("--net={}", crate::lan::path(&lan.node(0)));
    let table = format!(
        "table ip chaos {{\nchain {hook} {{ type filter hook {hook} priority 0;\n{rule}\n}}\n}}\n"
    );
    tool::run_on("nsenter", &[&netns, "nft", "-f", "-"], &table).map(drop)
}

/// A question to a port where nobody listens goes through this process, and is answered.
fn pass_through() -> anyhow::Result<()> {
    let lan = Lan::make("try", 1)?;
    let held = Deed::HoldBack(1, 1);
    let packets = Packets::strike(&[lan.node(0)], held, 1000, Dice::new(0))?;
    let refused = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            lan.enter()?;
            let address = (node_address(0), UNUSED_PORT).into();
            let answer = TcpStream::connect_timeout(&address, ANSWER_TIME);
            Ok(answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
        });
        asking.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
    });
    anyhow::ensure!(refused?, "a packet that passed through a program had no answer");
    let tally = packets.stop()?;
    anyhow::ensure!(tally.struck > 0, "no packet passed through the program");
    Ok(())
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

//! A file system of its own in a file, whose power can be cut.
//!
//! Cutting is the file systems' shutdown ioctl without a flush of their logs: whatever was not made durable is gone
//! when the image is mounted again, and until then every call fails with EIO.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::tool::run;

/// How long a file system whose processes are gone may still be busy.
const UNMOUNT_TIME: Duration = Duration::from_secs(5);

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The least that mkfs takes, with room for a run. The files are sparse.
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Ext4 => 128 << 20,
            Self::Xfs => 320 << 20,
        }
    }
}

/// The image. Dropping it unmounts it; the file stays.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    folder: PathBuf,
    is_mounted: bool,
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

impl Image {
    /// Makes a file system of `bytes` in `<folder>.img` and mounts it on `folder`.
    pub(crate) fn make(folder: &Path, kind: FileSystem, bytes: u64) -> anyhow::Result<Self> {
        let file = folder.with_extension("img");
        File::create(&file)?.set_len(bytes)?;
        let path = text(&file)?;
        match kind {
            // Nothing is kept back for root, so that full means full.
            FileSystem::Ext4 => run("mkfs.ext4", &["-q", "-m", "0", path])?,
            FileSystem::Xfs => run("mkfs.xfs", &["-q", path])?,
        };
        fs::create_dir_all(folder)?;
        let mut image = Self { file, folder: folder.to_owned(), is_mounted: false };
        image.mount()?;
        Ok(image)
    }

    pub(crate) fn mount(&mut self) -> anyhow::Result<()> {
        // The loop device is let go with the mount.
        run("mount", &["-o", "loop", text(&self.file)?, text(&self.folder)?])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Cuts the power. Processes that use the file system get EIO from now on.
    pub(crate) fn cut(&self) -> anyhow::Result<()> {
        // xfsprogs' tool has the ioctl for both; ext4 took its number over.
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.folder)?]).map(drop)
    }

    /// Unmounts it, when nobody uses it any more.
    pub(crate) fn unmount(&mut self) -> anyhow::Result<()> {
        if !self.is_mounted {
            return Ok(());
        }
        let deadline = Instant::now() + UNMOUNT_TIME;
        let folder = text(&self.folder)?;
        while let Err(error) = run("umount", &[folder]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.is_mounted = false;
        Ok(())
    }

    /// What a machine does whose power comes back.
    pub(crate) fn mount_again(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            crate::say(&format!("{error:#}"));
            let detached = text(&self.folder).and_then(|folder| run("umount", &["-l", folder]));
            if let Err(error) = detached {
                crate::say(&format!("{error:#}"));
            }
        }
    }
}

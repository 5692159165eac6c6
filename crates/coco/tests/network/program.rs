//! The program under test, and folders and signals for it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

/// Exit code of what does not verify.
pub(crate) const DOES_NOT_VERIFY: i32 = 7;

pub(crate) fn program() -> PathBuf {
    env::var_os("COCO_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_coco")), PathBuf::from)
}

/// Runs `coco` with these arguments to its end.
pub(crate) fn coco<A: AsRef<OsStr>>(arguments: &[A]) -> anyhow::Result<Output> {
    Command::new(program()).args(arguments).output().context("cannot run the program under test")
}

/// What a finished program wrote to standard error.
pub(crate) fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a signal to one process that this test started.
pub(crate) fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    let status =
        Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status()?;
    ensure!(status.success(), "kill -{name} {} ended with {status}", child.id());
    Ok(())
}

/// Waits until `is_so`, asking every ten milliseconds.
pub(crate) fn until(
    what: &str,
    time: Duration,
    mut is_so: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + time;
    loop {
        if is_so().with_context(|| what.to_owned())? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("{what}: not so after {time:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder of its own for one test. A test that gets to its end removes it; one that fails leaves its logs behind.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let path = tempfile::Builder::new().prefix("coco-test-").tempdir()?.keep();
        println!("folder: {}", path.display());
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }
}

/// The turn to run a network. Held until dropped, among all threads and processes of this user.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl Turn {
    pub(crate) fn take() -> anyhow::Result<Self> {
        let path = env::temp_dir().join("coco-test-networks.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock().context("cannot wait for other networks to end")?;
        Ok(Self { _file: file })
    }
}

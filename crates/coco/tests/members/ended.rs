//! The program in a folder of its own, and what a command of it ended with.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// What a command ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// What a finished program left.
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            exit: output.status.code().expect("nobody kills it"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The output of a command that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.exit, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// The output of a command that succeeded, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// What a command said that failed with this exit code and error code.
    #[track_caller]
    pub(crate) fn failed(self, exit: i32, code: &str) -> String {
        assert_eq!(self.exit, exit, "{}{}", self.out, self.err);
        assert!(self.err.contains(&format!("error[{code}]: ")), "{}", self.err);
        self.err
    }
}

/// The program with its settings in a folder, and no others.
pub(crate) fn program_in(folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("COCO_")) {
        command.env_remove(name);
    }
    command
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env("XDG_STATE_HOME", folder.join("state"))
        // Where SoftHSM keeps what stands for a device.
        .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
        .current_dir(folder);
    command
}

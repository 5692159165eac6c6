//! Somebody at a command line: a folder of settings, keys, and the program.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use coco_crypto::SignerCertificate;

use crate::{
    ended::{Ended, program_in},
    service::Service,
};

/// Somebody, with a folder of their own that is removed in the end.
pub(crate) struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// Somebody without keys.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("coco-members-").tempdir().unwrap().keep();
        Self { folder }
    }

    /// Somebody with a key named `me`.
    pub(crate) fn with_key(curve: &str) -> Self {
        let desk = Self::empty();
        desk.run(&["keys", "new", "me", "--curve", curve]).ok();
        desk
    }

    /// The founders of a service, who all know it, and the service.
    pub(crate) fn founders<const N: usize>() -> (Service, [Self; N]) {
        let curves = ["ed25519", "p384", "p256", "p521"];
        let desks: [Self; N] = std::array::from_fn(|i| Self::with_key(curves[i % curves.len()]));
        let certificates: Vec<SignerCertificate> = desks.iter().map(Self::certificate).collect();
        let service = Service::start(&certificates);
        for desk in &desks {
            desk.join(&service);
        }
        (service, desks)
    }

    /// Learns of a service.
    pub(crate) fn join(&self, service: &Service) {
        let (key, cert) = (self.key_file("privk"), self.key_file("cert"));
        let files = ["--key", &key, "--cert", &cert];
        let (url, id) = (service.url(), service.identity());
        let add = ["context", "add", "net", "--url", &url, "--service-id", &id];
        self.run(&[&add[..], &files].concat()).ok();
    }

    pub(crate) fn key_file(&self, what: &str) -> String {
        self.path(&format!("config/coco/keys/me_{what}.pem"))
    }

    pub(crate) fn certificate(&self) -> SignerCertificate {
        SignerCertificate::from_pem(&fs::read_to_string(self.key_file("cert")).unwrap()).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.certificate().digest().to_string()
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.join(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.type_in(arguments, "")
    }

    /// Runs the program where nobody reads what it prints; its exit code and errors.
    pub(crate) fn run_unread(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = program_in(&self.folder, Path::new(env!("CARGO_BIN_EXE_coco")));
        let ended = program.args(arguments).stdin(Stdio::null()).stdout(writer).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    }

    /// Runs the program and types something in.
    pub(crate) fn type_in(&self, arguments: &[&str], text: &str) -> Ended {
        let mut child = program_in(&self.folder, Path::new(env!("CARGO_BIN_EXE_coco")))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that asks nothing may have ended already.
        let _typed = child.stdin.take().unwrap().write_all(text.as_bytes());
        Ended::of(&child.wait_with_output().unwrap())
    }

    /// Makes a proposal; its id.
    #[track_caller]
    pub(crate) fn propose(&self, kind: &[&str]) -> String {
        let create = ["proposal", "create", "--yes", "--output", "json"];
        let made = self.run(&[&create[..], kind].concat()).json();
        made["proposal"]["proposalId"].as_str().unwrap().to_owned()
    }

    /// Votes; the state of the proposal after it.
    #[track_caller]
    pub(crate) fn vote(&self, proposal: &str, how: &str) -> String {
        let vote = ["proposal", "vote", proposal, how, "--yes", "--output", "json"];
        let voted = self.run(&vote).json();
        voted["proposal"]["proposalState"].as_str().unwrap().to_owned()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // One that failed leaves its files behind.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

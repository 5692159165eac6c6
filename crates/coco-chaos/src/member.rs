//! The one member of a governed network, who acts by the same commands as people do.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use coco_crypto::{Curve, SigningKey, Validity, member_certificate};
use coco_governance::{DEFAULT_CONSTITUTION, FirstGovernance, FirstMember};
use serde_json::Value;

use crate::tool::run;

/// How long the certificate is valid, in seconds: no case takes a day.
const VALIDITY_SECONDS: u64 = 24 * 3600;
const HOUR_SECONDS: u64 = 3600;

/// Where the keys are, and what is said with them.
#[derive(Debug)]
pub(crate) struct Member {
    key: PathBuf,
    cert: PathBuf,
    /// The program `coco`.
    program: PathBuf,
    /// The network's nodes, and its certificate.
    urls: String,
    service_cert: PathBuf,
}

impl Member {
    /// Makes the keys of the only member below `folder`, and what a network begins with to be theirs.
    pub(crate) fn make(
        program: &Path,
        folder: &Path,
        urls: Vec<String>,
    ) -> anyhow::Result<(Self, FirstGovernance)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let validity =
            Validity { not_before: now - HOUR_SECONDS, not_after: now + VALIDITY_SECONDS };
        let key = SigningKey::generate(Curve::P384);
        let certificate = member_certificate(&key, "member", validity)?;
        let member = Self {
            key: folder.join("member_privk.pem"),
            cert: folder.join("member_cert.pem"),
            program: program.to_owned(),
            urls: urls.join(","),
            service_cert: folder.join("service_cert.pem"),
        };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&member.key)?;
        file.write_all(key.to_pem().expose())?;
        fs::write(&member.cert, certificate.pem())?;
        let governance = FirstGovernance {
            constitution: DEFAULT_CONSTITUTION.to_owned(),
            members: vec![FirstMember {
                certificate_pem: certificate.pem(),
                encryption_key_pem: None,
                data: None,
            }],
            recovery_threshold: None,
            restart_from_disk: true,
            voting_policy: None,
        };
        Ok((member, governance))
    }

    /// Acknowledges the state of the service and opens it.
    pub(crate) fn open(&self) -> anyhow::Result<()> {
        self.ask(&["member", "activate"])?;
        self.decide(&["open"])
    }

    /// Proposes something, and votes for it.
    pub(crate) fn decide(&self, what: &[&str]) -> anyhow::Result<()> {
        let made = self.ask(&[&["proposal", "create"], what].concat())?;
        let id = made["proposal"]["proposalId"].as_str();
        let id = id.with_context(|| format!("no proposal's id in {made}"))?;
        let voted = self.ask(&["proposal", "vote", id, "--approve"])?;
        let state = &voted["proposal"]["proposalState"];
        ensure!(state == "Accepted", "the only member's vote did not decide: {voted}");
        Ok(())
    }

    fn ask(&self, command: &[&str]) -> anyhow::Result<Value> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let [key, cert, service] =
            [&self.key, &self.cert, &self.service_cert].map(|path| text(path));
        let (key, cert, service) = (key?, cert?, service?);
        let how = [
            "--key",
            &key,
            "--cert",
            &cert,
            "--yes",
            "--url",
            &self.urls,
            "--service-cert",
            &service,
            "--output",
            "json",
        ];
        let said = run(&text(&self.program)?, &[command, &how].concat())?;
        serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))
    }
}

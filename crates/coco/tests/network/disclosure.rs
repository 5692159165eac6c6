//! Members read a part of the ledger offline: with shares enough, and once they have agreed to it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use coco_crypto::DecryptionKey;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    ended::Ended,
    http::{Connection, PATIENCE},
    members::{Desk, Member, decide},
    opening,
};

const REASON: &str = "order 12/2026";

/// A network that was opened, whose members agreed to disclose the entries 1 to 3, and that stands still.
fn agreed(keys: &[DecryptionKey]) -> anyhow::Result<Network> {
    let members: Vec<Member> =
        ["m0", "m1", "m2"].into_iter().map(Member::new).collect::<Result<_, _>>()?;
    let all: Vec<&Member> = members.iter().collect();
    let mut governance = opening::governance(&all);
    for (member, key) in governance.members.iter_mut().zip(keys) {
        member.encryption_key_pem = Some(key.public().pem());
    }
    governance.recovery_threshold = Some(2);
    let mut network = opening::start_with(&governance)?;
    let mut connection = Connection::plain(network.addresses(0)?.development, PATIENCE)?;
    for member in &members {
        member.activate(&mut connection)?;
    }
    let service = json!({ "next_service_identity": network.service_cert_pem()? });
    decide(&mut connection, &all, "transition_service_to_open", &service)?;
    // What is disclosed is sealed under the secret before the newest.
    decide(&mut connection, &all, "trigger_ledger_rekey", &json!({}))?;
    let range = json!({ "from": 1, "to": 3, "reason": REASON });
    decide(&mut connection, &all, "disclose_ledger_range", &range)?;
    drop(connection);
    network.stop_all()?;
    Ok(network)
}

/// A file that nobody else can read.
fn private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// What a member types, with the network's folder and certificate.
struct Auditor<'a> {
    desk: Desk,
    network: &'a Network,
}

impl Auditor<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.network.scratch().join(name)
    }

    fn run(&self, verb: &str, rest: &[&str]) -> anyhow::Result<Ended> {
        let ledger = self.network.ledger_folder(0);
        let ledger = ledger.to_str().context("UTF-8")?;
        self.desk.run(&[&["ledger", verb, ledger], rest].concat())
    }

    fn share(&self, key: &str, out: &str) -> anyhow::Result<Ended> {
        let [key, out] = [key, out].map(|name| self.path(name));
        let [key, out] = [&key, &out].map(|path| path.to_str().context("UTF-8"));
        self.run("share", &["--key", key?, "--out", out?])
    }

    fn decrypt(&self, shares: &[&str], from: &str, to: &str) -> anyhow::Result<Ended> {
        self.decrypt_as("table", shares, from, to)
    }

    fn decrypt_as(
        &self,
        output: &str,
        shares: &[&str],
        from: &str,
        to: &str,
    ) -> anyhow::Result<Ended> {
        let told = self.with_shares(shares)?;
        let mut words = vec!["--from", from, "--to", to, "--output", output];
        words.extend(told.iter().map(String::as_str));
        self.run("decrypt", &words)
    }

    fn drill(&self, shares: &[&str]) -> anyhow::Result<Ended> {
        let (ledger, told) = (self.network.ledger_folder(0), self.with_shares(shares)?);
        let mut words = vec!["shares", "drill", ledger.to_str().context("UTF-8")?];
        words.extend(told.iter().map(String::as_str));
        self.desk.run(&words)
    }

    /// The words for the service's certificate and for these shares.
    fn with_shares(&self, shares: &[&str]) -> anyhow::Result<Vec<String>> {
        let cert = self.network.service_cert();
        let files = shares.iter().map(|share| ("--share", self.path(share)));
        let mut words = Vec::new();
        for (flag, path) in [("--service-cert", cert)].into_iter().chain(files) {
            words.extend([flag.to_owned(), path.to_str().context("UTF-8")?.to_owned()]);
        }
        Ok(words)
    }
}

#[test]
fn enough_members_read_what_they_have_agreed_to_disclose() -> anyhow::Result<()> {
    let keys: Vec<DecryptionKey> = (0..4).map(|_| DecryptionKey::generate()).collect();
    let network = agreed(&keys[..3])?;
    let auditor = Auditor { desk: Desk::in_folder(network.scratch()), network: &network };
    for (i, key) in keys.iter().enumerate() {
        private(&auditor.path(&format!("k{i}.pem")), key.pem().expose())?;
    }

    // Each takes its own share, and nobody else's.
    for i in 0..2 {
        let said = auditor.share(&format!("k{i}.pem"), &format!("s{i}"))?.ok();
        let file = auditor.path(&format!("s{i}"));
        ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "{said}");
        ensure!(!said.contains(&fs::read_to_string(&file)?), "a share is in a file alone");
    }
    auditor.share("k3.pem", "s3")?.failed(1, "COCO-1021");
    auditor.share("k1.pem", "s0")?.failed(5, "COCO-1003");
    fs::set_permissions(auditor.path("k2.pem"), fs::Permissions::from_mode(0o640))?;
    auditor.share("k2.pem", "s2")?.failed(3, "COCO-1022");

    // Two of three read what was agreed to.
    let ended = auditor.decrypt_as("json", &["s0", "s1"], "1", "3")?;
    ensure!(ended.err.contains(REASON) && ended.err.contains("entries 1 to 3"), "{}", ended.err);
    let said = ended.ok();
    let lines: Vec<Value> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(!lines.is_empty(), "the genesis state is private");
    for line in &lines {
        ensure!(line["transaction_id"] == "2.3" && line["key"].is_string(), "{line}");
        let map = line["map"].as_str().context("a map")?;
        ensure!(!map.is_empty() && !map.starts_with("public:"), "{line}");
    }

    let shown = auditor.decrypt(&["s0", "s1"], "3", "3")?.ok();
    ensure!(shown.lines().count() == lines.len(), "one line for each: {shown}");

    // Whether it would do for a recovery can be tried without an agreement, since nothing is shown.
    let drilled = auditor.drill(&["s0", "s1"])?.ok();
    ensure!(drilled.starts_with("ok  ") && drilled.contains("all 2 of its secrets"), "{drilled}");
    auditor.drill(&["s0"])?.failed(3, "COCO-1041");

    // Not more, not one alone, and not with what is no share of this sharing.
    let more = auditor.decrypt(&["s0", "s1"], "3", "4")?.failed(3, "COCO-1040");
    ensure!(more.contains("1 to 3"), "{more}");
    let alone = auditor.decrypt(&["s0"], "3", "3")?.failed(3, "COCO-1041");
    ensure!(alone.contains("1 are missing"), "{alone}");
    auditor.decrypt(&["s0", "s0"], "3", "3")?.failed(1, "COCO-1000");
    let mut altered = fs::read(auditor.path("s1"))?;
    altered[20] = if altered[20] == b'A' { b'B' } else { b'A' };
    private(&auditor.path("altered"), &altered)?;
    let wrong = auditor.decrypt(&["s0", "altered"], "3", "3")?.failed(7, "COCO-1042");
    auditor.drill(&["s0", "altered"])?.failed(7, "COCO-1042");
    ensure!(wrong.contains("altered"), "{wrong}");
    private(&auditor.path("text"), b"?")?;
    auditor.decrypt(&["s0", "text"], "3", "3")?.failed(7, "COCO-1042");
    auditor.decrypt(&["s0", "s1"], "3", "2")?.failed(2, "COCO-1006");

    // The agreement was by the rules.
    let cert = network.service_cert();
    let cert = cert.to_str().context("UTF-8")?;
    auditor.run("verify", &["--governance", "--service-cert", cert])?.ok();
    network.finish()
}

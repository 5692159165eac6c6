//! Every machine is gone. From a copy of the ledger and the shares of two of three members the service comes back.

mod from_snapshot;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use coco_node::config::OperatorFeature;
use serde_json::{Value, json};

use super::{
    cluster::Network,
    ended::Ended,
    http::{Connection, PATIENCE},
    ledger::is_read_by_ccf,
    members::{Desk, NAMES},
    newcomers::{Running, free_address},
    program::until,
    rpc::Rpc,
};

/// Time for what members do to be done, and for a node to load its ledger again.
const TIME: Duration = Duration::from_secs(30);
const PAYEE: Address = Address::repeat_byte(7);

/// The node with which the service begins anew.
pub(crate) struct Phoenix {
    pub(crate) client: SocketAddr,
    service_cert: PathBuf,
    pub(crate) pem: String,
    pub(crate) config: PathBuf,
    log: PathBuf,
    /// What was said when it was made.
    said: String,
}

impl Phoenix {
    /// `coco network recover`, in a folder of that name.
    pub(crate) fn make(
        desk: &Desk,
        scratch: &Path,
        name: &str,
        ledger: &Path,
        lost: &Path,
    ) -> anyhow::Result<Self> {
        let folder = scratch.join(name);
        let (client, ended) = recover(desk, &folder, ledger, lost)?;
        let said = ended.ok();
        println!("{said}");
        let service_cert = folder.join("service_cert.pem");
        let pem = fs::read_to_string(&service_cert)?;
        let (config, log) = (folder.join("node.toml"), scratch.join(format!("{name}.log")));
        Ok(Self { client, service_cert, pem, config, log, said })
    }

    /// Has members open it, up to where it waits for shares.
    fn open(&self, desk: &Desk, lost: &Path, members: &[&str]) -> anyhow::Result<()> {
        let id = self.propose_to_open(desk, lost, members[0])?;
        for name in members {
            self.ask(desk, name, &["proposal", "vote", &id, "--approve"])?.ok();
        }
        until("it waits for shares", TIME, || Ok(self.status()? == "WaitingForRecoveryShares"))?;
        let state = self.get("/node/state")?.1;
        ensure!(state["state"] == "PartOfPublicNetwork", "{state}");
        ensure!(state["last_recovered_seqno"] == 0, "{state}");
        let target = state["recovery_target_seqno"].as_u64().context("a target")?;
        ensure!(target > 4 && Some(target) < state["last_signed_seqno"].as_u64(), "{state}");
        Ok(())
    }

    /// Waits until it is open, with all that is private.
    fn opens(&self) -> anyhow::Result<()> {
        until("it is open", TIME, || Ok(self.status().is_ok_and(|status| status == "Open")))?;
        let state = self.get("/node/state")?.1;
        let is_whole = state["recovery_target_seqno"].is_null();
        ensure!(state["state"] == "PartOfNetwork" && is_whole, "{state}");
        Ok(())
    }

    /// Has a member propose to open it; the proposal's id.
    fn propose_to_open(&self, desk: &Desk, lost: &Path, member: &str) -> anyhow::Result<String> {
        let lost = lost.to_str().context("UTF-8")?;
        let open = ["proposal", "create", "open", "--recovered-from", lost, "--output", "json"];
        let made = self.ask(desk, member, &open)?.json();
        Ok(made["proposal"]["proposalId"].as_str().context("an id")?.to_owned())
    }

    pub(crate) fn start(&self) -> anyhow::Result<Running> {
        let config = self.config.to_str().context("UTF-8")?;
        let running = Running::start(&["node", "start", "--config", config], &self.log)?;
        until("it serves governance", TIME, || {
            Ok(self.get("/node/ready/gov").is_ok_and(|(status, _)| status == 204))
        })?;
        Ok(running)
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let response = Connection::tls(self.client, &self.pem)?.get(path)?;
        Ok((response.status, response.json().unwrap_or_default()))
    }

    /// `coco receipt` with these words, of this node.
    fn receipt(&self, desk: &Desk, words: &[&str]) -> anyhow::Result<Ended> {
        let (url, cert) = (format!("https://{}", self.client), self.service_cert.to_str());
        desk.run(&[words, &["--url", &url, "--service-cert", cert.context("UTF-8")?]].concat())
    }

    /// How this service endorses the one that signed a receipt.
    fn endorsements(&self, desk: &Desk, transaction: &str) -> anyhow::Result<PathBuf> {
        let path = self.service_cert.with_file_name("endorsements.cbor");
        let out = path.to_str().context("UTF-8")?;
        self.receipt(desk, &["receipt", "endorsements", transaction, "--out", out])?.ok();
        Ok(path)
    }

    /// Receipts of before a recovery are believed by whoever trusts this service, and nothing else.
    fn vouches_for(&self, desk: &Desk, kept: &Receipts) -> anyhow::Result<()> {
        let endorsements = self.endorsements(desk, &kept.transaction)?;
        for receipt in [&kept.json, &kept.cose] {
            verify_receipt(desk, receipt, &self.service_cert, None)?.failed(7, "COCO-7001");
            let verified =
                verify_receipt(desk, receipt, &self.service_cert, Some(&endorsements))?.ok();
            ensure!(verified.contains(&kept.transaction), "{verified}");
        }
        Ok(())
    }

    /// Once it is open it hands receipts of before out again, and they need nothing else.
    fn hands_out(&self, desk: &Desk, kept: &Receipts) -> anyhow::Result<()> {
        self.vouches_for(desk, kept)?;
        let name = self.service_cert.with_file_name("receipt");
        let again =
            Receipts::fetch(kept.transaction.clone(), &name, |words| self.receipt(desk, words))?;
        verify_receipt(desk, &again.json, &self.service_cert, None)?.ok();
        assert_eq!(fs::read(&again.cose)?, fs::read(&kept.cose)?, "as it was");
        let own: Value = serde_json::from_slice(&fs::read(&again.json)?)?;
        assert_eq!(own["service_endorsements"].as_array().map(Vec::len), Some(1), "{own}");
        Ok(())
    }

    /// Until it is open nobody can make receipts of before again; those that were kept are believed at once, by two links.
    fn vouches_while_sealed(
        &self,
        desk: &Desk,
        kept: &Receipts,
        before: &Self,
    ) -> anyhow::Result<()> {
        self.vouches_for(desk, kept)?;
        let sealed = self.receipt(desk, &["receipt", "get", &kept.transaction])?;
        ensure!(sealed.exit != 0 && sealed.err.contains("once the service has"), "{}", sealed.err);
        let one_link = before.service_cert.with_file_name("endorsements.cbor");
        let refused = verify_receipt(desk, &kept.json, &self.service_cert, Some(&one_link))?;
        refused.failed(7, "COCO-7001");
        Ok(())
    }

    pub(crate) fn status(&self) -> anyhow::Result<String> {
        let (_, network) = self.get("/node/network")?;
        Ok(network["service_status"].as_str().unwrap_or_default().to_owned())
    }

    fn call(&self, method: &str, params: &Value) -> anyhow::Result<Value> {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut connection = Connection::tls(self.client, &self.pem)?;
        connection.post_json("/", call.to_string().as_bytes())?.json()
    }

    /// A member's command to this service.
    fn ask(&self, desk: &Desk, name: &str, words: &[&str]) -> anyhow::Result<Ended> {
        let cert = self.service_cert.to_str().context("UTF-8")?;
        let signs = !matches!(words, [_, "ls" | "show" | "submit", ..] if words[0] == "proposal");
        let more: &[&str] =
            if signs { &["--service-cert", cert, "--yes"] } else { &["--service-cert", cert] };
        desk.ask(name, self.client, &[words, more].concat())
    }
}

/// `coco ledger verify` under a service's certificate.
fn verify_ledger(
    desk: &Desk,
    ledger: &Path,
    service: &Path,
    more: &[&str],
) -> anyhow::Result<Ended> {
    let [ledger, service] = [ledger, service].map(|path| path.to_str().context("UTF-8"));
    desk.run(&[&["ledger", "verify", ledger?, "--service-cert", service?], more].concat())
}

/// The ledger of a recovered service, with all that members did, and receipts of before.
fn verify_recovered(
    desk: &Desk,
    ledger: &Path,
    service: &Path,
    kept: &Receipts,
) -> anyhow::Result<()> {
    verify_ledger(desk, ledger, service, &["--governance"])?.ok();
    let [json, cose] = [&kept.json, &kept.cose].map(|path| path.to_str().context("UTF-8"));
    verify_ledger(desk, ledger, service, &["--receipt", json?, "--receipt", cose?])?.ok();
    is_read_by_ccf(ledger)
}

/// `coco network recover`, which may fail; where the node would serve.
fn recover(
    desk: &Desk,
    folder: &Path,
    ledger: &Path,
    lost: &Path,
) -> anyhow::Result<(SocketAddr, Ended)> {
    let client = free_address()?;
    let (peer, at) = (free_address()?.to_string(), client.to_string());
    let [ledger, lost, dir] = [ledger, lost, folder].map(|path| path.to_str().context("UTF-8"));
    let words = ["network", "recover", ledger?, "--service-cert", lost?, "--dir", dir?];
    let more = ["--client", &at, "--peer", &peer, "--from-disk"];
    Ok((client, desk.run(&[&words[..], &more[..]].concat())?))
}

/// What is kept of a network: a copy of one node's ledger.
fn copy_of(ledger: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for file in fs::read_dir(ledger)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// Changes what no signature covers in a copy: the tag of its last signature entry.
fn change_last_seal(desk: &Desk, kept: &Path, service: &Path) -> anyhow::Result<()> {
    let report = verify_ledger(desk, kept, service, &["--output", "json"])?.json();
    let mut ranges = report["unsigned"].as_array().context("a list")?.iter();
    let is_tag = |range: &&Value| {
        let ends = range["from"].as_u64().zip(range["to"].as_u64());
        range["what"] == "SignatureSeal" && ends.is_some_and(|(from, to)| to - from == 16)
    };
    let tag = ranges.find(is_tag).context("the tag")?;
    let path = kept.join(tag["file"].as_str().context("a name")?);
    let at = usize::try_from(tag["from"].as_u64().context("an offset")?)?;
    let mut bytes = fs::read(&path)?;
    bytes[at] ^= 1;
    fs::write(&path, bytes)?;
    verify_ledger(desk, kept, service, &[])?.ok();
    Ok(())
}

/// All nodes, but for a copy of one ledger.
fn lose(network: &mut Network, kept: &Path) -> anyhow::Result<()> {
    network.kill(&[0, 1, 2])?;
    copy_of(&network.ledger_folder(1), kept)?;
    (0..3).try_for_each(|i| Ok(fs::remove_dir_all(network.place(i))?))
}

fn pay(network: &Network, nonce: u64) -> anyhow::Result<()> {
    let mut rpc = Rpc::to(network.addresses(0)?.development)?;
    let account = &network.accounts[0];
    let transfer = account.transfer(nonce, PAYEE, U256::from(1000));
    rpc.call("eth_sendRawTransaction", &json!([transfer.raw]))?;
    until("the transfer counts", TIME, || Ok(rpc.nonces(&[account.address], "latest")?[0] > nonce))
}

/// What was committed last, but for a signature, and its receipts.
struct Receipts {
    transaction: String,
    json: PathBuf,
    cose: PathBuf,
}

impl Receipts {
    fn of_last(network: &Network, desk: &Desk) -> anyhow::Result<Self> {
        let node = network.addresses(1)?.development;
        let committed = Connection::plain(node, PATIENCE)?.get("/node/commit")?.json()?;
        let committed = committed["transaction_id"].as_str().context("an id")?;
        let (view, seqno) = committed.split_once('.').context("an id")?;
        let transaction = format!("{view}.{}", seqno.parse::<u64>()? - 1);
        Self::fetch(transaction, &network.scratch().join("receipt"), |words| {
            desk.run(&[words, &["--url", &format!("http://{node}")]].concat())
        })
    }

    /// Both forms, in files of this name.
    fn fetch(
        transaction: String,
        name: &Path,
        run: impl Fn(&[&str]) -> anyhow::Result<Ended>,
    ) -> anyhow::Result<Self> {
        let (json, cose) = (name.with_extension("json"), name.with_extension("cose"));
        for (form, path) in [("json", &json), ("cose", &cose)] {
            let out = path.to_str().context("UTF-8")?;
            run(&["receipt", "get", &transaction, "--form", form, "--out", out])?.ok();
        }
        Ok(Self { transaction, json, cose })
    }
}

/// `coco receipt verify` under a service's certificate, with endorsements or without.
fn verify_receipt(
    desk: &Desk,
    receipt: &Path,
    service: &Path,
    endorsements: Option<&Path>,
) -> anyhow::Result<Ended> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("UTF-8");
    let (receipt, service) = (text(receipt)?, text(service)?);
    let mut words = vec!["receipt", "verify", &receipt, "--service-cert", &service];
    let endorsements = endorsements.map(text).transpose()?;
    if let Some(path) = &endorsements {
        words.extend(["--endorsements", path]);
    }
    desk.run(&words)
}

/// A proposal of these words by acme, for which bank votes as well.
fn decide(desk: &Desk, network: &Network, words: &[&str]) -> anyhow::Result<()> {
    let node = network.addresses(1)?.client;
    let made = desk.json("acme", node, &[&["proposal", "create"], words, &["--yes"]].concat())?;
    let id = made["proposal"]["proposalId"].as_str().context("an id")?.to_owned();
    for name in ["acme", "bank"] {
        let vote = ["proposal", "vote", id.as_str(), "--approve", "--yes"];
        desk.ask(name, node, &vote)?.ok();
    }
    Ok(())
}

#[test]
fn a_service_comes_back_from_a_copy_of_its_ledger_and_its_members_shares() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let desk = Desk::of(&network)?;
    let scratch = network.scratch().to_owned();
    pay(&network, 0)?;
    decide(&desk, &network, &["rekey"])?;
    pay(&network, 1)?;
    // A node that starts again reads on under the new secret.
    network.kill(&[2])?;
    network.start(2)?;
    pay(&network, 2)?;
    let balance = U256::from(3000);
    until("the node that came back shows all of them", TIME, || {
        let mut rpc = Rpc::to(network.addresses(2)?.development)?;
        Ok(rpc.balances(&[PAYEE]).is_ok_and(|balances| balances == [balance]))
    })?;

    let receipts = Receipts::of_last(&network, &desk)?;
    let (lost, kept) = (network.service_cert(), scratch.join("kept"));
    lose(&mut network, &kept)?;
    change_last_seal(&desk, &kept, &lost)?;

    let phoenix = Phoenix::make(&desk, &scratch, "again", &kept, &lost)?;
    let running = phoenix.start()?;
    ensure!(phoenix.status()? == "Recovering");
    let (_, info) = phoenix.get("/node/network")?;
    assert_eq!(info["recovery_count"], 1, "{info}");
    let (_, before) = phoenix.get("/node/service/previous_identity")?;
    assert_eq!(before["previous_service_identity"], fs::read_to_string(&lost)?);
    let refused = phoenix.call("eth_blockNumber", &json!([]))?;
    ensure!(
        refused["error"]["message"].as_str().is_some_and(|it| it.contains("Recovering")),
        "{refused}"
    );

    // Nobody's share is taken before members mean this service.
    phoenix.ask(&desk, "acme", &["shares", "submit"])?.failed(3, "COCO-2007");
    phoenix.open(&desk, &lost, &["acme", "bank"])?;

    let other = scratch.join("members").join(format!("{}.enc.key.pem", NAMES[1]));
    let other = ["shares", "submit", "--encryption-key", other.to_str().context("UTF-8")?];
    let said_wrong = phoenix.ask(&desk, "acme", &other)?.failed(1, "COCO-1021");
    ensure!(said_wrong.contains("another key"), "{said_wrong}");
    let one = phoenix.ask(&desk, "acme", &["shares", "submit"])?.ok();
    ensure!(one.contains("1/2"), "{one}");
    ensure!(phoenix.status()? == "WaitingForRecoveryShares", "one share is not enough");
    let two = phoenix.ask(&desk, "corp", &["shares", "submit"])?.ok();
    ensure!(two.contains("2/2") && two.contains("End of recovery"), "{two}");
    phoenix.opens()?;

    let shown = phoenix.call("eth_getBalance", &json!([PAYEE, "latest"]))?;
    assert_eq!(shown["result"], format!("{balance:#x}"));
    let account = &network.accounts[0];
    let transfer = account.transfer(3, PAYEE, U256::from(1000));
    let sent = phoenix.call("eth_sendRawTransaction", &json!([transfer.raw]))?;
    ensure!(sent["result"].is_string(), "{sent}");
    until("it transacts", TIME, || {
        let now = phoenix.call("eth_getBalance", &json!([PAYEE, "latest"]))?;
        Ok(now["result"] == format!("{:#x}", balance + U256::from(1000)))
    })?;
    phoenix.hands_out(&desk, &receipts)?;
    // The shares of the new secret are dealt: they bring it back once more.
    drop(running);
    let ledger = phoenix.config.with_file_name("ledger");
    verify_recovered(&desk, &ledger, &phoenix.service_cert, &receipts)?;
    let other = verify_ledger(&desk, &ledger, &lost, &[])?.failed(7, "COCO-7001");
    ensure!(other.contains("recovered as another one"), "{other}");
    // Nobody goes back behind what a service wrote that was open.
    let (_, back) = recover(&desk, &scratch.join("back"), &ledger, &lost)?;
    let said = back.failed(1, "COCO-1000");
    ensure!(said.contains("which was open"), "{said}");
    let second = Phoenix::make(&desk, &scratch, "once more", &ledger, &phoenix.service_cert)?;
    let _running = second.start()?;
    let (_, info) = second.get("/node/network")?;
    assert_eq!(info["recovery_count"], 2, "{info}");
    let (_, before) = second.get("/node/service/previous_identity")?;
    assert_eq!(before["previous_service_identity"], phoenix.pem);
    second.vouches_while_sealed(&desk, &receipts, &phoenix)?;
    network.finish()
}

/// A network with a member who has left is lost: what is kept of it.
struct Lost {
    network: Network,
    desk: Desk,
    scratch: PathBuf,
    /// A ledger of before the receipt was made, and one of the end.
    early: PathBuf,
    kept: PathBuf,
    /// The certificate of the service.
    cert: PathBuf,
    receipt: PathBuf,
}

impl Lost {
    fn new() -> anyhow::Result<Self> {
        Self::after(|_, _| Ok(()))
    }

    /// The same, where members have done something else before.
    fn after(act: impl FnOnce(&Desk, &Network) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let mut network = Network::provision(3, |_| {})?;
        network.start_all()?;
        let desk = Desk::of(&network)?;
        let scratch = network.scratch().to_owned();
        pay(&network, 0)?;
        let early = scratch.join("early");
        copy_of(&network.ledger_folder(1), &early)?;
        // Whoever leaves takes no share along: the ledger has another secret from then on.
        let members = desk.json("acme", network.addresses(0)?.client, &["member", "ls"])?;
        let mut members = members["members"].as_array().context("a list")?.iter();
        let corp = members.find(|member| member["memberData"]["name"] == "corp");
        let corp = corp.and_then(|corp| corp["memberId"].as_str()).context("corp")?.to_owned();
        decide(&desk, &network, &["remove-member", &corp])?;
        act(&desk, &network)?;
        pay(&network, 1)?;
        let receipt = Receipts::of_last(&network, &desk)?.json;
        let (cert, kept) = (network.service_cert(), scratch.join("kept"));
        lose(&mut network, &kept)?;
        Ok(Self { network, desk, scratch, early, kept, cert, receipt })
    }
}

/// What recovers nothing is refused where it is found.
#[test]
fn nothing_wrong_is_recovered() -> anyhow::Result<()> {
    let Lost { network, desk, scratch, early, kept, cert: lost, receipt } = Lost::new()?;
    // A changed byte, somebody else's certificate, a missing beginning, a folder that is taken.
    let copy = |name: &str| -> anyhow::Result<PathBuf> {
        let to = scratch.join(name);
        copy_of(&kept, &to)?;
        Ok(to)
    };
    let first = |folder: &Path| -> anyhow::Result<PathBuf> {
        let mut files = fs::read_dir(folder)?.map(|file| Ok(file?.path()));
        let files: anyhow::Result<Vec<PathBuf>> = files.by_ref().collect();
        files?.into_iter().min().context("a file")
    };
    let changed = copy("changed")?;
    let file = first(&changed)?;
    let mut bytes = fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes)?;
    let refused = |ledger: &Path, lost: &Path, code: &str, exit: i32| -> anyhow::Result<String> {
        let (_, ended) = recover(&desk, &scratch.join("never"), ledger, lost)?;
        let said = ended.failed(exit, code);
        ensure!(!scratch.join("never").join("identity.virtual-sealed").exists(), "nothing starts");
        Ok(said)
    };
    let said = refused(&changed, &lost, "COCO-7001", 7)?;
    let name = file.file_name().context("a name")?.to_str().context("UTF-8")?;
    ensure!(said.contains(name) && said.contains("seqno"), "{said}");
    let stranger = scratch.join("config/coco/keys/stranger_cert.pem");
    refused(&kept, &stranger, "COCO-7001", 7)?;
    let beheaded = copy("beheaded")?;
    fs::remove_file(first(&beheaded)?)?;
    refused(&beheaded, &lost, "COCO-1001", 1)?;
    // A copy of before what somebody has a receipt of; and of several the one that reaches furthest.
    let dir = scratch.join("longest");
    let words = |ledgers: &[&Path]| -> anyhow::Result<Ended> {
        let mut words = vec!["network".to_owned(), "recover".to_owned()];
        words.extend(ledgers.iter().map(|path| path.display().to_string()));
        for (name, path) in [("--service-cert", &lost), ("--receipt", &receipt), ("--dir", &dir)] {
            words.extend([name.to_owned(), path.display().to_string()]);
        }
        for name in ["--client", "--peer"] {
            words.extend([name.to_owned(), free_address()?.to_string()]);
        }
        desk.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = words(&[&early])?.failed(7, "COCO-7001");
    ensure!(said.contains("does not hold"), "{said}");
    words(&[&early, &kept, &changed])?.ok();
    let size = |folder: &Path| -> anyhow::Result<u64> { Ok(fs::metadata(first(folder)?)?.len()) };
    ensure!(size(&dir.join("ledger"))? >= size(&kept)? && size(&kept)? > size(&early)?);

    let (_, ended) = recover(&desk, &dir, &kept, &lost)?;
    ended.failed(5, "COCO-1003");
    // What this attempt wrote has a secret that no member has a share of.
    let said = refused(&dir.join("ledger"), &dir.join("service_cert.pem"), "COCO-1000", 1)?;
    ensure!(said.contains("was never open (Recovering)"), "{said}");
    // Where nothing else is left, the service before it is brought back from there: the attempt is left out.
    let rest = dir.join("ledger");
    let files = |folder: &Path| -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let files = fs::read_dir(folder)?.map(|file| {
            let path = file?.path();
            Ok((path.clone(), fs::read(path)?))
        });
        files.collect()
    };
    let before = files(&rest)?;
    let made = Phoenix::make(&desk, &scratch, "behind it", &rest, &lost)?;
    assert_eq!(files(&rest)?, before, "it is only read");
    let ledger = made.config.with_file_name("ledger");
    verify_ledger(&desk, &ledger, &made.service_cert, &["--governance"])?.ok();
    let shown = verify_ledger(&desk, &ledger, &made.service_cert, &["--output", "json"])?.json();
    let whole = verify_ledger(&desk, &rest, &dir.join("service_cert.pem"), &["--output", "json"])?;
    assert_eq!(shown["entries"], whole.json()["entries"], "one attempt stands for the other");
    is_read_by_ccf(&ledger)?;
    network.finish()
}

/// An operator brings the service back from a copy that is too old, another with a program that members have not admitted: whoever
/// votes sees it, and a receipt of what would be lost keeps the vote back.
#[test]
fn who_votes_to_open_sees_what_is_lost_and_which_code_runs() -> anyhow::Result<()> {
    let lost = Lost::after(|desk, network| {
        let node = network.addresses(1)?.client;
        let shown = desk.json("acme", node, &["network", "show"])?;
        let code = shown["join_policy"]["virtual"]["measurements"][0].as_str().context("code")?;
        decide(desk, network, &["revoke-code", code])
    })?;
    let Lost { network, desk, scratch, early, kept, cert: lost, receipt } = lost;
    let receipt = receipt.to_str().context("UTF-8")?;

    let older = Phoenix::make(&desk, &scratch, "older", &early, &lost)?;
    ensure!(older.said.contains(": admitted by the members of the ledger"), "{}", older.said);
    let running = older.start()?;
    let id = older.propose_to_open(&desk, &lost, "acme")?;
    let shown = older.ask(&desk, "bank", &["proposal", "show", &id])?.ok();
    ensure!(shown.contains("THIS LEDGER IS OLDER than what you have seen"), "{shown}");
    ensure!(shown.contains("admitted by the members of the ledger"), "{shown}");
    let vote = ["proposal", "vote", &id, "--approve", "--receipt", receipt];
    let said = older.ask(&desk, "bank", &vote)?.failed(7, "COCO-2018");
    ensure!(said.contains("kept   up to "), "{said}");
    let shown = older.ask(&desk, "bank", &["proposal", "show", &id, "--output", "json"])?.json();
    assert_eq!(shown["proposal"]["ballotCount"], 0, "{shown}");
    assert_eq!(shown["recovered"]["is_older_than_seen"], true, "{shown}");
    let warned = older.ask(&desk, "bank", &["proposal", "vote", &id, "--approve"])?;
    ensure!(warned.exit == 0 && warned.err.contains("IS LOST if this is opened"), "{}", warned.err);
    drop(running);

    let whole = Phoenix::make(&desk, &scratch, "whole", &kept, &lost)?;
    ensure!(whole.said.contains(": NOT admitted by the members of the ledger"), "{}", whole.said);
    let _running = whole.start()?;
    let id = whole.propose_to_open(&desk, &lost, "acme")?;
    let shown = whole.ask(&desk, "bank", &["proposal", "show", &id])?.ok();
    ensure!(shown.contains("it holds all that you have seen"), "{shown}");
    ensure!(shown.contains("WARNING          its node runs code "), "{shown}");
    let signed = whole.said.split_once("is kept up to ").context("it is said")?.1;
    let signed = signed.split_once(',').context("up to where")?.0;
    ensure!(shown.contains(&format!("is kept up to {signed}, signed at ")), "{shown}");
    whole.ask(&desk, "acme", &["proposal", "vote", &id, "--approve"])?.ok();
    let vote = ["proposal", "vote", &id, "--approve", "--receipt", receipt];
    whole.ask(&desk, "bank", &vote)?.ok();
    until("it waits for shares", TIME, || Ok(whole.status()? == "WaitingForRecoveryShares"))?;
    // What is not of the opening of a recovered service has nothing to hold a receipt against.
    let made =
        whole.ask(&desk, "acme", &["proposal", "create", "chunk", "--output", "json"])?.json();
    let id = made["proposal"]["proposalId"].as_str().context("an id")?;
    let vote = ["proposal", "vote", id, "--approve", "--receipt", receipt];
    whole.ask(&desk, "acme", &vote)?.failed(2, "COCO-1006");
    network.finish()
}

/// Where the kept part ends with a file, and the node offers its files.
#[test]
fn who_votes_to_open_sees_when_the_end_was_signed() -> anyhow::Result<()> {
    let lost = Lost::after(|desk, network| decide(desk, network, &["chunk"]))?;
    let Lost { network, desk, scratch, kept, cert: lost, .. } = lost;
    let complete = scratch.join("complete");
    copy_of(&kept, &complete)?;
    for file in fs::read_dir(&complete)? {
        let path = file?.path();
        if path.extension().is_none_or(|end| end != "committed") {
            fs::remove_file(path)?;
        }
    }
    let made = Phoenix::make(&desk, &scratch, "offers", &complete, &lost)?;
    super::opening::offer(&made.config, OperatorFeature::LedgerChunkRead)?;
    let _running = made.start()?;
    let id = made.propose_to_open(&desk, &lost, "acme")?;
    let shown = made.ask(&desk, "bank", &["proposal", "show", &id])?.ok();
    let said = made.said.split_once("is kept up to ").context("it is said")?.1;
    let (signed, rest) = said.split_once(", which the lost service signed at ").context("when")?;
    let at = rest.lines().next().context("a line")?;
    ensure!(shown.contains(&format!("is kept up to {signed}, signed at {at}")), "{shown}");
    network.finish()
}

/// Whatever is killed while a service comes back, it comes back; and of two that begin, members open the one that they mean.
#[test]
fn a_recovery_goes_on_after_a_crash_and_members_open_the_one_that_they_mean() -> anyhow::Result<()>
{
    let Lost { network, desk, scratch, kept, cert: lost, .. } = Lost::new()?;
    // Two operators begin at one time. What members signed for one is worth nothing for the other.
    let ours = Phoenix::make(&desk, &scratch, "ours", &kept, &lost)?;
    let theirs = Phoenix::make(&desk, &scratch, "theirs", &kept, &lost)?;
    let (running, other) = (ours.start()?, theirs.start()?);
    let meant = scratch.join("meant.cose");
    let [meant, lost_pem] = [&meant, &lost].map(|path| path.to_str().context("UTF-8"));
    let (meant, lost_pem) = (meant?, lost_pem?);
    // One that names its service would not be taken at all.
    let open = ["proposal", "create", "open", "--recovered-from", lost_pem, "--offline", meant];
    let open = [&open[..], &["--anywhere"]].concat();
    ours.ask(&desk, "acme", &open)?.ok();
    theirs.ask(&desk, "acme", &["proposal", "submit", meant])?.ok();
    let listed = theirs.ask(&desk, "acme", &["proposal", "ls", "--output", "json"])?.json();
    let mut listed = listed["proposals"].as_array().context("a list")?.iter();
    let listed =
        listed.find(|proposal| proposal["proposalState"] == "Open").context("it is open")?;
    let id = listed["proposalId"].as_str().context("an id")?;
    theirs.ask(&desk, "acme", &["proposal", "vote", id, "--approve"])?.ok();
    let said = theirs.ask(&desk, "bank", &["proposal", "vote", id, "--approve"])?;
    let said = format!("{}{}", said.out, said.err);
    ensure!(
        said.contains("next_service_identity is not the certificate of this service"),
        "{said}"
    );
    ensure!(theirs.status()? == "Recovering");
    drop(other);

    ours.open(&desk, &lost, &["acme", "bank"])?;
    ensure!(ours.ask(&desk, "corp", &["shares", "submit"])?.exit != 0, "it is no member any more");
    let one = ours.ask(&desk, "acme", &["shares", "submit"])?.ok();
    ensure!(one.contains("1/2"), "{one}");
    drop(running);
    let running = ours.start()?;
    ensure!(ours.status()? == "WaitingForRecoveryShares", "it was killed, and waits on");
    let two = ours.ask(&desk, "bank", &["shares", "submit"])?.ok();
    ensure!(two.contains("2/2"), "{two}");
    // Killed with the key in its memory or a moment later; a share that is sent again gives it back.
    drop(running);
    let running = ours.start()?;
    until("it is open", TIME, || {
        if ours.status().is_ok_and(|status| status == "Open") {
            return Ok(true);
        }
        let _too_late = ours.ask(&desk, "acme", &["shares", "submit"])?;
        Ok(false)
    })?;
    let balance = ours.call("eth_getBalance", &json!([PAYEE, "latest"]))?;
    assert_eq!(balance["result"], "0x7d0", "{balance}");
    drop(running);
    is_read_by_ccf(&ours.config.with_file_name("ledger"))?;
    network.finish()
}

//! Members of a network: their keys, their signed requests, and their commands.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use coco_client::{API_VERSION, Draft, Envelope, MemberKey, Message};
use coco_crypto::{Curve, SigningKey, Validity, member_certificate};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    ended::{Ended, program_in},
    http::{Connection, Response},
    program::program,
};

/// The members whom `coco dev` makes for a network unless it is told otherwise.
pub(crate) const NAMES: [&str; 3] = ["acme", "bank", "corp"];

/// A ballot for whatever is proposed.
pub(crate) const YES: &str = "export function vote (proposal, proposerId) { return true; }";

/// How long the certificates are valid that a test makes, in seconds.
const VALIDITY_SECONDS: u64 = 24 * 3600;

/// Someone who signs; whether the service knows them as a member is the test's matter.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) key: MemberKey,
    /// The private key once more, for TLS.
    key_pem: String,
}

impl Member {
    /// Someone with a new key.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let now = now()?;
        let validity = Validity { not_before: now - 3600, not_after: now + VALIDITY_SECONDS };
        let key = SigningKey::generate(Curve::P384);
        let certificate = member_certificate(&key, name, validity)?;
        let pem = key.to_pem();
        let key_pem = str::from_utf8(pem.expose())?.to_owned();
        Ok(Self { key: MemberKey::new(key, certificate)?, key_pem })
    }

    /// The holder of a key and its certificate, both in PEM.
    pub(crate) fn from_pem(key_pem: String, cert_pem: &str) -> anyhow::Result<Self> {
        Ok(Self { key: MemberKey::from_pem(&key_pem, cert_pem)?, key_pem })
    }

    /// A member whom `coco dev` made.
    pub(crate) fn load(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let [key, cert] = files(folder, name).map(fs::read_to_string);
        Self::from_pem(key?, &cert?)
    }

    /// A connection on which they prove to hold their key.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        service_cert_pem: &str,
    ) -> anyhow::Result<Connection> {
        let certificate = self.key.certificate().der();
        Connection::tls_as(address, service_cert_pem, certificate, &self.key_pem)
    }

    pub(crate) fn id(&self) -> String {
        self.key.id().to_string()
    }

    /// A request, made now.
    pub(crate) fn sign(&self, message: Message, content: &Value) -> anyhow::Result<Envelope> {
        let content = if content.is_null() { String::new() } else { content.to_string() };
        let draft = Draft::new(message, self.key.certificate(), now()?, content.as_bytes())?;
        Ok(draft.sign(&self.key)?)
    }

    /// Has a request carried out; what the node answers.
    pub(crate) fn ask(
        &self,
        connection: &mut Connection,
        message: Message,
        content: &Value,
    ) -> anyhow::Result<Value> {
        let response = send(connection, &self.sign(message, content)?)?;
        match response.status {
            204 => Ok(Value::Null),
            200 => response.json(),
            status => Err(anyhow::anyhow!("status {status}: {}", response.json()?)),
        }
    }

    /// Makes a proposal of one action; its id.
    pub(crate) fn propose(
        &self,
        connection: &mut Connection,
        action: &str,
        args: &Value,
    ) -> anyhow::Result<coco_client::ProposalId> {
        let made = self.ask(connection, Message::Proposal, &proposal(action, args))?;
        made["proposalId"].as_str().context("a proposal's id")?.parse().context("an id")
    }

    /// Acknowledges the state of the service.
    pub(crate) fn activate(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let waits = self.ask(connection, Message::StateDigest, &Value::Null)?;
        let content = json!({ "stateDigest": waits["stateDigest"] });
        self.ask(connection, Message::Ack, &content).map(drop)
    }
}

/// Proposes an action as the first of these members and has them vote for it until it is decided.
pub(crate) fn decide(
    connection: &mut Connection,
    members: &[&Member],
    action: &str,
    args: &Value,
) -> anyhow::Result<()> {
    let first = members.first().context("somebody decides")?;
    let id = first.propose(connection, action, args)?;
    for member in members {
        let voted = member.ask(connection, Message::Ballot(id), &json!({ "ballot": YES }))?;
        if voted["proposalState"] != "Open" {
            ensure!(voted["proposalState"] == "Accepted", "{action}: {voted}");
            return Ok(());
        }
    }
    anyhow::bail!("{action} is not decided")
}

/// A proposal of one action.
pub(crate) fn proposal(action: &str, args: &Value) -> Value {
    json!({ "actions": [{ "name": action, "args": args }] })
}

/// Sends a request as it is.
pub(crate) fn send(connection: &mut Connection, envelope: &Envelope) -> anyhow::Result<Response> {
    let target = format!("{}?api-version={API_VERSION}", envelope.path());
    connection.request("POST", &target, &[("content-type", "application/cose")], envelope.bytes())
}

/// Where `coco dev` puts the key and the certificate of a member.
fn files(folder: &Path, name: &str) -> [PathBuf; 2] {
    ["key", "cert"].map(|what| folder.join("members").join(format!("{name}.{what}.pem")))
}

fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The members of a network at the command line: one folder of settings with a context for each.
#[derive(Debug)]
pub(crate) struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// Nobody's yet.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// A context for every member of a network that runs, and one for a stranger who has a key as well.
    pub(crate) fn of(network: &Network) -> anyhow::Result<Self> {
        let desk = Self::in_folder(network.scratch());
        desk.run(&["keys", "new", "stranger"])?.ok();
        let keys = network.scratch().join("config/coco/keys");
        let url = https(network.addresses(0)?.client);
        let service = network.service_cert();
        for name in NAMES.into_iter().chain(["stranger"]) {
            let [key, cert] = if name == "stranger" {
                ["privk", "cert"].map(|what| keys.join(format!("{name}_{what}.pem")))
            } else {
                files(network.scratch(), name)
            };
            let paths = [&service, &key, &cert].map(|path| path.to_str().context("UTF-8"));
            let [service, key, cert] = paths;
            let add = ["context", "add", name, "--url", &url, "--service-cert", service?];
            desk.run(&[&add[..], &["--key", key?, "--cert", cert?]].concat())?.ok();
        }
        Ok(desk)
    }

    /// A command in this folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let mut command = program_in(&self.folder, &program());
        Ok(Ended::of(&command.args(arguments).output().context("cannot run coco")?))
    }

    /// A member's command to one node.
    pub(crate) fn ask(
        &self,
        name: &str,
        node: SocketAddr,
        arguments: &[&str],
    ) -> anyhow::Result<Ended> {
        self.run(&[arguments, &["--context", name, "--url", &https(node)]].concat())
    }

    /// A member's command to one node, that succeeds and gives JSON.
    #[track_caller]
    pub(crate) fn json(
        &self,
        name: &str,
        node: SocketAddr,
        arguments: &[&str],
    ) -> anyhow::Result<Value> {
        Ok(self.ask(name, node, &[arguments, &["--output", "json"]].concat())?.json())
    }
}

fn https(node: SocketAddr) -> String {
    format!("https://{node}")
}

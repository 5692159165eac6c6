//! The members of a development network. Their keys are made with it and lie in its folder; from there on they do what
//! members do, by the same calls: acknowledge the state of the service, and vote to open it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use coco_client::{Client, Draft, MemberKey, Message, ProposalId, Settings, reply::Proposal};
use coco_crypto::{Certificate, Curve, SigningKey, Validity, member_certificate};
use coco_governance::{
    DEFAULT_CONSTITUTION, FirstGovernance, FirstMember,
    tables::{MemberStatus, ProposalState},
};
use coco_node::provision::encryption_keys;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::durable;
use crate::files::{self, Rights};

/// The folder of the members' keys.
const FOLDER: &str = "members";
/// What members are called.
const NAMES: [&str; 9] = ["acme", "bank", "corp", "dock", "east", "fund", "gate", "hall", "iron"];
/// Most members of a development network.
pub(super) const MEMBERS_MAX: usize = NAMES.len();
/// How long their certificates are valid, in seconds: ten years.
const VALIDITY_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// A ballot for whatever is proposed.
const YES: &str = "export function vote (proposal, proposerId) { return true; }";

/// A member whose key this process has.
pub(super) struct Member {
    pub(super) name: &'static str,
    key: MemberKey,
}

/// Makes keys for so many members, and what a network begins with to be theirs.
pub(super) fn make(folder: &Path, count: usize) -> anyhow::Result<FirstGovernance> {
    let now = now()?;
    let validity =
        Validity { not_before: now.saturating_sub(3600), not_after: now + VALIDITY_SECONDS };
    let mut members = Vec::new();
    let encryption_keys = encryption_keys(count);
    for (name, encryption_key) in NAMES.into_iter().zip(encryption_keys) {
        let key = SigningKey::generate(Curve::P384);
        let certificate = member_certificate(&key, name, validity)?;
        let [key_file, cert_file] = paths(folder, name);
        fs::create_dir_all(key_file.parent().context("a file lies in a folder")?)?;
        // What a making that was cut short left belongs to nobody.
        for (path, bytes, rights) in [
            (&key_file, key.to_pem().expose(), Rights::Private),
            (&cert_file, certificate.pem().as_bytes(), Rights::Public),
            (&encryption_path(folder, name), encryption_key.pem().expose(), Rights::Private),
        ] {
            files::replace(path, bytes, rights)?;
        }
        let data = Map::from_iter([("name".to_owned(), json!(name))]);
        members.push(FirstMember {
            certificate_pem: certificate.pem(),
            encryption_key_pem: Some(encryption_key.public().pem()),
            data: Some(data),
        });
    }
    durable::sync_folder(&folder.join(FOLDER))?;
    Ok(FirstGovernance {
        constitution: DEFAULT_CONSTITUTION.to_owned(),
        members,
        // More than half of them bring the service back.
        recovery_threshold: (count > 0).then(|| u8::try_from(count / 2 + 1)).transpose()?,
        restart_from_disk: true,
        voting_policy: None,
    })
}

/// Where the key and the certificate of a member lie.
pub(super) fn paths(folder: &Path, name: &str) -> [PathBuf; 2] {
    let folder = folder.join(FOLDER);
    [folder.join(format!("{name}.key.pem")), folder.join(format!("{name}.cert.pem"))]
}

/// Where the key of a member lies to which recovery shares are encrypted.
fn encryption_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{name}.enc.key.pem"))
}

/// The members of the network in a folder.
pub(super) fn load(folder: &Path) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for name in NAMES {
        let [key, cert] = paths(folder, name);
        if !key.exists() {
            break;
        }
        let pair = MemberKey::from_pem(&files::read_text(&key)?, &files::read_text(&cert)?);
        let key = pair.with_context(|| format!("the keys of {name} cannot be used"))?;
        members.push(Member { name, key });
    }
    Ok(members)
}

/// Has every member acknowledge the state of the service, and all of them open it.
pub(super) async fn open(
    node: &str,
    service: &Certificate,
    members: &[Member],
) -> anyhow::Result<()> {
    let endpoint = format!("https://{node}").parse()?;
    let client = Client::new(service.clone(), vec![endpoint], Settings::default())?;
    let Some(first) = members.first() else { return Ok(()) };
    if client.service_info().await?.status == "Open" {
        return Ok(());
    }
    for member in members {
        if client.member(member.key.id()).await?.status != MemberStatus::Active {
            activate(&client, member)
                .await
                .with_context(|| format!("{} cannot become active", member.name))?;
        }
    }
    let args = json!({ "next_service_identity": service.pem() });
    let action = json!({ "name": "transition_service_to_open", "args": args });
    let content = json!({ "actions": [action] });
    let mut proposal: Proposal = ask(&client, first, Message::Proposal, &content).await?;
    let id: ProposalId = proposal.proposal_id.parse()?;
    for member in members {
        if proposal.proposal_state != ProposalState::Open {
            break;
        }
        let ballot = json!({ "ballot": YES });
        proposal = ask(&client, member, Message::Ballot(id), &ballot).await?;
    }
    ensure!(
        proposal.proposal_state == ProposalState::Accepted,
        "the members did not open the service: their proposal is {:?}",
        proposal.proposal_state
    );
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StateDigest {
    state_digest: String,
}

async fn activate(client: &Client, member: &Member) -> anyhow::Result<()> {
    let waits: StateDigest = ask(client, member, Message::StateDigest, &Value::Null).await?;
    let content = json!({ "stateDigest": waits.state_digest });
    send(client, member, Message::Ack, &content).await.map(drop)
}

async fn ask<T: for<'de> Deserialize<'de>>(
    client: &Client,
    member: &Member,
    message: Message,
    content: &Value,
) -> anyhow::Result<T> {
    Ok(send(client, member, message, content).await?.json()?)
}

async fn send(
    client: &Client,
    member: &Member,
    message: Message,
    content: &Value,
) -> anyhow::Result<coco_client::Answer> {
    let content = if content.is_null() { String::new() } else { content.to_string() };
    let draft = Draft::new(message, member.key.certificate(), now()?, content.as_bytes())?;
    Ok(client.submit(&draft.sign(&member.key)?).await?)
}

fn now() -> anyhow::Result<u64> {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(time) => Ok(time.as_secs()),
        Err(_) => bail!("this machine's clock stands before 1970"),
    }
}

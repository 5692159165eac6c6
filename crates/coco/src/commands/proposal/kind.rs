//! The kinds of proposals that have a command of their own, and the actions that they consist of.

use std::path::{Path, PathBuf};

use coco_client::reply::Action;
use coco_types::{Digest, NodeId};
use serde_json::{Map, Value, json};

use super::{document, policy};
use crate::{
    codes::Code, commands::keys::public_key, fault::Fault, files, session::Session,
    session::certificate,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Kind {
    /// Admit a member; it votes once it has activated itself
    #[command(
        after_help = "Example:\n  coco proposal create add-member acme_cert.pem --name acme --encryption-key acme_enc_pubk.pem"
    )]
    AddMember {
        /// Its certificate (PEM)
        certificate: PathBuf,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        /// More to say of it: an object of JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
        /// The public key to which its recovery share is encrypted (PEM)
        #[arg(long, value_name = "PEM")]
        encryption_key: Option<PathBuf>,
        /// Its part in recovery
        #[arg(long, value_enum, requires = "encryption_key")]
        role: Option<Role>,
    },
    /// Expel a member
    #[command(after_help = "Example:\n  coco proposal create remove-member acme")]
    RemoveMember {
        /// Its id, the first digits, or its name
        member: String,
    },
    /// Change what is said of a member
    #[command(
        after_help = "Example:\n  coco proposal create set-member-data acme --data '{\"name\":\"acme\"}'"
    )]
    SetMemberData {
        /// Its id, the first digits, or its name
        member: String,
        /// An object of JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: String,
    },
    /// Admit a participant, or change one
    #[command(
        after_help = "Example:\n  coco proposal create set-user alice_cert.pem --data '{\"role\":\"trader\"}'"
    )]
    SetUser {
        /// Its certificate (PEM)
        certificate: PathBuf,
        /// What to say of it: an object of JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Expel a participant
    #[command(
        after_help = "Example:\n  coco proposal create remove-user 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    RemoveUser {
        /// Its id
        user: Digest,
    },
    /// Change what is said of a participant
    #[command(
        after_help = "Example:\n  coco proposal create set-user-data 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f --data '{\"role\":\"trader\"}'"
    )]
    SetUserData {
        /// Its id
        user: Digest,
        /// An object of JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: String,
    },
    /// Change how votes are counted. The policy that is given replaces the one in force as a whole
    #[command(
        after_help = "Examples:\n  coco proposal create set-policy --default majority --rule set_constitution=unanimous --rule set_voting_policy=unanimous\n  \
                      coco proposal create set-policy policy.json"
    )]
    SetPolicy {
        /// The policy as JSON
        #[arg(required_unless_present = "default", conflicts_with_all = ["default", "rule"])]
        file: Option<PathBuf>,
        /// The rule for all actions: majority, unanimous, one or at-least:N
        #[arg(long, value_name = "RULE", value_parser = policy::rule)]
        default: Option<Value>,
        /// The rule for one kind of action. May be given more than once
        #[arg(long, value_name = "ACTION=RULE", value_parser = policy::rule_of_action)]
        rule: Vec<(String, Value)>,
    },
    /// Change how many recovery shares are needed
    #[command(after_help = "Example:\n  coco proposal create set-threshold 2")]
    SetThreshold {
        /// How many
        #[arg(value_parser = clap::value_parser!(u8).range(1..=254))]
        shares: u8,
    },
    /// Change how many recent proposals new ones are compared with
    #[command(after_help = "Example:\n  coco proposal create set-window 200")]
    SetWindow {
        /// How many
        #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
        proposals: u16,
    },
    /// Open the service that is pinned here to participants
    #[command(
        after_help = "Examples:\n  coco proposal create open\n  coco proposal create open --recovered-from old_service_cert.pem"
    )]
    Open {
        /// The certificate of the service before a recovery (PEM)
        #[arg(long, value_name = "PEM")]
        recovered_from: Option<PathBuf>,
    },
    /// Trust a node that waits
    #[command(
        after_help = "Example:\n  coco proposal create trust-node 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    TrustNode {
        /// Its id
        node: NodeId,
    },
    /// Retire a node
    #[command(
        after_help = "Example:\n  coco proposal create remove-node 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f"
    )]
    RemoveNode {
        /// Its id
        node: NodeId,
    },
    /// Change what is said of a node
    #[command(
        after_help = "Example:\n  coco proposal create set-node-data 3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f3f9a2c4be0c46f4f --data '{\"site\":\"Oslo\"}'"
    )]
    SetNodeData {
        /// Its id
        node: NodeId,
        /// Any JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: String,
    },
    /// Replace the constitution
    #[command(after_help = "Example:\n  coco proposal create set-constitution constitution.js")]
    SetConstitution {
        /// Its text, JavaScript
        file: PathBuf,
    },
    /// Begin a new ledger secret
    #[command(after_help = "Example:\n  coco proposal create rekey")]
    Rekey,
    /// Share the ledger secret anew among the recovery members
    #[command(after_help = "Example:\n  coco proposal create refresh-shares")]
    RefreshShares,
    /// Have the nodes make a snapshot
    #[command(after_help = "Example:\n  coco proposal create snapshot")]
    Snapshot,
    /// Have the nodes begin a new ledger file
    #[command(after_help = "Example:\n  coco proposal create chunk")]
    Chunk,
    /// Propose a document as it is, whatever actions it has
    #[command(after_help = "Example:\n  coco proposal create raw proposal.json")]
    Raw {
        /// The document, JSON: {"actions": [{"name": ..., "args": {...}}]}; `-` for standard input
        file: PathBuf,
    },
}

/// A member's part in recovery.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Role {
    /// Holds a share
    Participant,
    /// Holds a key that suffices alone
    Owner,
}

impl Kind {
    /// The document to propose.
    pub(super) fn document(&self, session: &Session) -> Result<Vec<u8>, Fault> {
        if let Self::Raw { file } = self {
            return Ok(document::read(file)?.0);
        }
        let actions = vec![self.action(session)?];
        document::write(&coco_client::reply::Actions { actions })
    }

    fn action(&self, session: &Session) -> Result<Action, Fault> {
        let (name, args) = match self {
            Self::AddMember { .. } | Self::RemoveMember { .. } | Self::SetMemberData { .. } => {
                self.of_member(session)?
            }
            Self::SetUser { certificate, data } => {
                let cert = pem_of(certificate)?;
                let data = data.as_deref().map(object).transpose()?;
                ("set_user", without_null(json!({ "cert": cert, "user_data": data })))
            }
            Self::RemoveUser { user } => ("remove_user", json!({ "user_id": user.to_string() })),
            Self::SetUserData { user, data } => (
                "set_user_data",
                json!({ "user_id": user.to_string(), "user_data": object(data)? }),
            ),
            Self::SetPolicy { file, default, rule } => (
                "set_voting_policy",
                match (file, default) {
                    (Some(file), _) => value(&files::read_text(file)?)?,
                    (None, default) => {
                        let actions: Map<String, Value> = rule.iter().cloned().collect();
                        json!({ "default": default, "actions": actions })
                    }
                },
            ),
            Self::SetThreshold { shares } => {
                ("set_recovery_threshold", json!({ "recovery_threshold": shares }))
            }
            Self::SetWindow { proposals } => (
                "set_service_configuration",
                json!({ "recent_cose_proposals_window_size": proposals }),
            ),
            Self::Open { recovered_from } => {
                let previous = recovered_from.as_deref().map(pem_of).transpose()?;
                let next = session.client().service().pem();
                let args = json!({
                    "next_service_identity": next, "previous_service_identity": previous,
                });
                ("transition_service_to_open", without_null(args))
            }
            Self::TrustNode { node } => {
                ("transition_node_to_trusted", json!({ "node_id": node.to_string() }))
            }
            Self::RemoveNode { node } => ("remove_node", json!({ "node_id": node.to_string() })),
            Self::SetNodeData { node, data } => (
                "set_node_data",
                json!({ "node_id": node.to_string(), "node_data": inline(data)? }),
            ),
            Self::SetConstitution { file } => {
                ("set_constitution", json!({ "constitution": files::read_text(file)? }))
            }
            Self::Rekey => ("trigger_ledger_rekey", json!({})),
            Self::RefreshShares => ("trigger_recovery_shares_refresh", json!({})),
            Self::Snapshot => ("trigger_snapshot", json!({})),
            Self::Chunk => ("trigger_ledger_chunk", json!({})),
            Self::Raw { .. } => unreachable!("a document that is there already is not made"),
        };
        Ok(Action { name: name.to_owned(), args })
    }

    fn of_member(&self, session: &Session) -> Result<(&'static str, Value), Fault> {
        match self {
            Self::AddMember { certificate, name, data, encryption_key, role } => {
                let mut data = data.as_deref().map_or(Ok(Map::new()), object)?;
                if let Some(name) = name {
                    data.insert("name".to_owned(), name.as_str().into());
                }
                let data = if data.is_empty() { Value::Null } else { Value::Object(data) };
                let encryption_key = encryption_key.as_deref().map(public_key).transpose()?;
                let role = role.map(|role| match role {
                    Role::Participant => "Participant",
                    Role::Owner => "Owner",
                });
                Ok((
                    "set_member",
                    without_null(json!({
                        "cert": pem_of(certificate)?, "member_data": data,
                        "encryption_pub_key": encryption_key, "recovery_role": role,
                    })),
                ))
            }
            Self::SetMemberData { member, data } => {
                let id = session.find_member(member)?.to_string();
                Ok(("set_member_data", json!({ "member_id": id, "member_data": object(data)? })))
            }
            Self::RemoveMember { member } => {
                let id = session.find_member(member)?.to_string();
                Ok(("remove_member", json!({ "member_id": id })))
            }
            _ => unreachable!("the caller sends members alone here"),
        }
    }
}

/// The certificate in a file, and nothing else of the file.
fn pem_of(path: &Path) -> Result<String, Fault> {
    let read = certificate(&files::read_text(path)?);
    Ok(read.map_err(|fault| fault.with("file", path.display().to_string()))?.pem())
}

/// JSON as it is typed, or in a file that is named after an `@`.
fn inline(text: &str) -> Result<Value, Fault> {
    match text.strip_prefix('@') {
        Some(path) => value(&files::read_text(Path::new(path))?),
        None => value(text),
    }
}

fn object(text: &str) -> Result<Map<String, Value>, Fault> {
    match inline(text)? {
        Value::Object(object) => Ok(object),
        other => Err(Fault::new(Code::DocumentInvalid, format!("{other} is no object of JSON"))),
    }
}

fn value(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text)
        .map_err(|error| Fault::new(Code::DocumentInvalid, error.to_string()).because(&error))
}

/// The members of an object that say something.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().filter(|(_, value)| !value.is_null()).collect()
        }
        other => other,
    }
}

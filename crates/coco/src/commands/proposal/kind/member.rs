//! Proposals about members.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Args, member_pem_of, object, without_null};
use crate::{commands::keys::public_key, fault::Fault, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Admit a member, which votes once it has activated itself; or give one that is there another encryption key
    #[command(
        after_help = "Examples:\n  coco proposal create add-member acme_cert.pem --name acme --encryption-key acme_enc_pubk.pem\n  coco proposal create add-member acme_cert.pem --encryption-key acme_2_enc_pubk.pem"
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
    /// Expel a member in whose place another one comes, or the same with another key
    #[command(
        after_help = "Example, once acme-2 was admitted and has activated itself:\n  coco proposal create replace-member acme acme-2"
    )]
    ReplaceMember {
        /// Its id, the first digits, or its name
        member: String,
        /// The one that takes over its weights and vetoes: an active member
        successor: String,
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
}

/// A member's part in recovery.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Role {
    /// Holds a share
    Participant,
    /// Holds a key that suffices alone
    Owner,
}

impl Kind {
    pub(super) fn action(&self, session: &Session) -> Result<(&'static str, Args), Fault> {
        let id_of = |member: &str| Ok::<_, Fault>(session.find_member(member)?.to_string());
        Ok(match self {
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
                let args = json!({
                    "cert": member_pem_of(certificate)?, "member_data": data,
                    "encryption_pub_key": encryption_key, "recovery_role": role,
                });
                ("set_member", without_null(args))
            }
            Self::SetMemberData { member, data } => {
                let (id, data) = (id_of(member)?, object(data)?);
                ("set_member_data", json!({ "member_id": id, "member_data": data }))
            }
            Self::ReplaceMember { member, successor } => (
                "replace_member",
                json!({ "member_id": id_of(member)?, "successor_id": id_of(successor)? }),
            ),
            Self::RemoveMember { member } => {
                ("remove_member", json!({ "member_id": id_of(member)? }))
            }
        })
    }
}

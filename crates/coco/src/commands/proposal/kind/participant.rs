//! Proposals about participants.

use std::path::PathBuf;

use coco_types::Digest;
use serde_json::json;

use super::{Args, client_pem_of, object, without_null};
use crate::fault::Fault;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
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
}

impl Kind {
    pub(super) fn action(&self) -> Result<(&'static str, Args), Fault> {
        Ok(match self {
            Self::SetUser { certificate, data } => {
                let cert = client_pem_of(certificate)?;
                let data = data.as_deref().map(object).transpose()?;
                ("set_user", without_null(json!({ "cert": cert, "user_data": data })))
            }
            Self::RemoveUser { user } => ("remove_user", json!({ "user_id": user.to_string() })),
            Self::SetUserData { user, data } => {
                let data = object(data)?;
                ("set_user_data", json!({ "user_id": user.to_string(), "user_data": data }))
            }
        })
    }
}

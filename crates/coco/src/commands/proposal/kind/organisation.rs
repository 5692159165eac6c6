//! Proposals about organisations whose users are recognised by their authority.

use std::path::PathBuf;

use serde_json::json;

use super::{Args, object, without_null};
use crate::{codes::Code, fault::Fault, files};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Recognise whoever has a certificate from an organisation's authority, or change the authority
    #[command(
        after_help = "Example:\n  coco proposal create set-organisation acme acme_users_ca.pem"
    )]
    SetOrganisation {
        /// What to call it
        name: String,
        /// The certificate of its authority (PEM)
        authority: PathBuf,
        /// What to say of all its users: an object of JSON, or @FILE
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Recognise no users of an organisation any more
    #[command(after_help = "Example:\n  coco proposal create remove-organisation acme")]
    RemoveOrganisation {
        /// Its name
        name: String,
    },
    /// Say which certificates of an organisation's users count no more: these, and no others
    #[command(
        after_help = "Example:\n  coco proposal create set-organisation-revocations acme 04:d2 7f"
    )]
    SetOrganisationRevocations {
        /// Its name
        name: String,
        /// Their serial numbers, in hexadecimal
        serials: Vec<String>,
    },
}

impl Kind {
    pub(super) fn action(&self) -> Result<(&'static str, Args), Fault> {
        Ok(match self {
            Self::SetOrganisation { name, authority, data } => {
                let cert = files::read_text(authority)?;
                coco_crypto::UserAuthority::from_pem(&cert).map_err(|error| {
                    Fault::new(Code::KeyUnusable, error.to_string())
                        .with("file", authority.display().to_string())
                })?;
                let data = data.as_deref().map(object).transpose()?;
                let args = json!({ "name": name, "cert": cert, "user_data": data });
                ("set_organisation", without_null(args))
            }
            Self::RemoveOrganisation { name } => ("remove_organisation", json!({ "name": name })),
            Self::SetOrganisationRevocations { name, serials } => {
                ("set_organisation_revocations", json!({ "name": name, "serials": serials }))
            }
        })
    }
}

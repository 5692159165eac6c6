//! Proposals about issuers of tokens (JWT).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Args, value, without_null};
use crate::{fault::Fault, files};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Believe an issuer of tokens
    #[command(
        after_help = "Examples:\n  coco proposal create set-jwt-issuer https://login.acme.example --keys jwks.json --audience trade\n  coco proposal create set-jwt-issuer https://login.acme.example --refresh --ca-bundle acme --audience trade"
    )]
    SetJwtIssuer {
        /// Its URL, as its tokens name it
        issuer: String,
        /// Its keys: a key set of JSON, as the issuer publishes it
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// For whom its tokens must be; may be given several times
        #[arg(long)]
        audience: Vec<String>,
        /// The name of the certificates by which its server is recognised
        #[arg(long, value_name = "NAME")]
        ca_bundle: Option<String>,
        /// Have the service fetch its keys again and again, from where the issuer says, by the discovery document at its URL
        #[arg(long, requires = "ca_bundle")]
        refresh: bool,
    },
    /// Give an issuer of tokens these keys, and no others
    #[command(
        after_help = "Example:\n  coco proposal create set-jwt-keys https://login.acme.example jwks.json"
    )]
    SetJwtKeys {
        /// Its URL
        issuer: String,
        /// A key set of JSON
        keys: PathBuf,
    },
    /// Believe an issuer of tokens no more
    #[command(
        after_help = "Example:\n  coco proposal create remove-jwt-issuer https://login.acme.example"
    )]
    RemoveJwtIssuer {
        /// Its URL
        issuer: String,
    },
    /// Give certificates a name, by which the servers of issuers are recognised
    #[command(after_help = "Example:\n  coco proposal create set-ca-bundle acme roots.pem")]
    SetCaBundle {
        /// The name
        name: String,
        /// The certificates (PEM)
        certificates: PathBuf,
    },
    /// Forget certificates that have a name
    #[command(after_help = "Example:\n  coco proposal create remove-ca-bundle acme")]
    RemoveCaBundle {
        /// The name
        name: String,
    },
}

impl Kind {
    pub(super) fn action(&self) -> Result<(&'static str, Args), Fault> {
        Ok(match self {
            Self::SetJwtIssuer { issuer, keys, audience, ca_bundle, refresh } => {
                let keys = keys.as_deref().map(key_set).transpose()?;
                let audience = if audience.is_empty() { Value::Null } else { json!(audience) };
                let args = json!({
                    "issuer": issuer, "jwks": keys, "audience": audience,
                    "ca_cert_bundle_name": ca_bundle, "auto_refresh": refresh.then_some(true),
                });
                ("set_jwt_issuer", without_null(args))
            }
            Self::SetJwtKeys { issuer, keys } => {
                let args = json!({ "issuer": issuer, "jwks": key_set(keys)? });
                ("set_jwt_public_signing_keys", args)
            }
            Self::RemoveJwtIssuer { issuer } => ("remove_jwt_issuer", json!({ "issuer": issuer })),
            Self::SetCaBundle { name, certificates } => {
                let bundle = files::read_text(certificates)?;
                ("set_ca_cert_bundle", json!({ "name": name, "cert_bundle": bundle }))
            }
            Self::RemoveCaBundle { name } => ("remove_ca_cert_bundle", json!({ "name": name })),
        })
    }
}

fn key_set(file: &Path) -> Result<Value, Fault> {
    value(&files::read_text(file)?).map_err(|fault| fault.with("file", file.display().to_string()))
}

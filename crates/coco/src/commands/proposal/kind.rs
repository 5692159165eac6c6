//! The kinds of proposals that have a command of their own, and the actions that they consist of.

mod issuer;
mod member;
pub(crate) mod node;
mod organisation;
mod participant;
pub(crate) mod service;

use std::path::{Path, PathBuf};

use coco_crypto::{encode_pem, read_bundle};
use serde_json::{Map, Value, json};

use super::document;
use crate::{
    codes::Code,
    fault::Fault,
    files,
    output::utc,
    session::{Session, certificate, signer_certificate},
    signing::now,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    #[command(flatten)]
    Member(member::Kind),
    #[command(flatten)]
    Participant(participant::Kind),
    #[command(flatten)]
    Organisation(organisation::Kind),
    #[command(flatten)]
    Issuer(issuer::Kind),
    #[command(flatten)]
    Node(node::Kind),
    #[command(flatten)]
    Service(service::Kind),
    /// Propose a document as it is, whatever actions it has
    #[command(after_help = "Example:\n  coco proposal create raw proposal.json")]
    Raw {
        /// The document, JSON: {"actions": [{"name": ..., "args": {...}}]}; `-` for standard input
        file: PathBuf,
    },
}

/// What an action is to do.
type Args = Value;

impl Kind {
    /// Whether a proposal of this kind says for which service it is, unless it is told otherwise. That is an action more, and
    /// decided under the rule for all: so not what the rules often let one member do alone, and no document as it is.
    pub(super) const fn names_service(&self) -> bool {
        match self {
            Self::Member(_) | Self::Service(_) => true,
            Self::Node(kind) => !matches!(kind, node::Kind::TrustNode { .. }),
            Self::Participant(_) | Self::Organisation(_) | Self::Issuer(_) | Self::Raw { .. } => {
                false
            }
        }
    }

    /// The document to propose.
    pub(super) fn document(&self, session: &Session) -> Result<Vec<u8>, Fault> {
        let (name, args) = match self {
            Self::Member(kind) => kind.action(session)?,
            Self::Participant(kind) => kind.action()?,
            Self::Organisation(kind) => kind.action()?,
            Self::Issuer(kind) => kind.action()?,
            Self::Node(kind) => kind.action(session)?,
            Self::Service(kind) => kind.action(session)?,
            Self::Raw { file } => return Ok(document::read(file)?.0),
        };
        document::write(&document::of(vec![document::action(name, args)]))
    }
}

/// The certificate in a file, and nothing else of the file.
fn pem_of(path: &Path) -> Result<String, Fault> {
    let read = certificate(&files::read_text(path)?);
    Ok(read.map_err(|fault| fault.with("file", path.display().to_string()))?.pem())
}

/// The same for a member, whose key may be Ed25519 as well.
fn member_pem_of(path: &Path) -> Result<String, Fault> {
    let read = signer_certificate(&files::read_text(path)?);
    Ok(read.map_err(|fault| fault.with("file", path.display().to_string()))?.pem())
}

/// The same for a participant, whose key may be of any kind.
fn client_pem_of(path: &Path) -> Result<String, Fault> {
    let unusable = |error: &dyn std::error::Error| {
        Fault::new(Code::KeyUnusable, error.to_string()).with("file", path.display().to_string())
    };
    let text = files::read_text(path)?;
    let bundle = read_bundle(&text).map_err(|error| unusable(&error))?;
    let first = bundle.first().map(Vec::as_slice).unwrap_or_default();
    let pem = encode_pem("CERTIFICATE", first);
    Ok(String::from_utf8_lossy(pem.expose()).into_owned())
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

/// The period of a certificate that begins an hour ago: clocks are not all alike.
fn from_an_hour_ago(days: Option<u32>) -> Result<Args, Fault> {
    let from = utc(now()?.saturating_sub(3600));
    let digits: String = from.chars().filter(char::is_ascii_digit).collect();
    Ok(without_null(json!({ "valid_from": digits + "Z", "validity_period_days": days })))
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

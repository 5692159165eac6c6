//! How a command ends that did not succeed: one error with its code, its cause and the next step.

use std::{error::Error, fmt, path::Path};

use coco_client::{CallError, EnvelopeError, Refusal};
use serde_json::json;

use crate::{
    codes::{Code, Exit},
    output::{Output, plain},
};

/// An error with a code.
#[derive(Debug)]
pub(crate) struct Fault {
    code: Code,
    message: String,
    facts: Vec<(&'static str, String)>,
    cause: Option<String>,
    next: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), facts: Vec::new(), cause: None, next: None }
    }

    /// A file that could not be read or written.
    pub(crate) fn file(code: Code, path: &Path, error: &dyn Error) -> Self {
        Self::new(code, path.display().to_string()).because(error)
    }

    /// Something else that is worth knowing.
    pub(crate) fn with(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.facts.push((label, text.into()));
        self
    }

    /// What lies behind it, in place of the usual cause.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        self.cause = Some(chain(error));
        self
    }

    /// What to do, in place of the usual step.
    pub(crate) fn next(mut self, text: impl Into<String>) -> Self {
        self.next = Some(text.into());
        self
    }

    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    pub(crate) fn step(&self) -> String {
        self.next.clone().unwrap_or_else(|| self.code.entry().next.to_owned())
    }

    pub(crate) fn exit(&self) -> Exit {
        self.code.entry().exit
    }

    /// The error as it is printed.
    pub(crate) fn text(&self, output: Output) -> String {
        let entry = self.code.entry();
        let cause = self.cause.as_deref().unwrap_or(entry.cause);
        let next = self.next.as_deref().unwrap_or(entry.next);
        let code = self.code.to_string();
        match output {
            Output::Json => {
                let facts: serde_json::Map<String, serde_json::Value> = self
                    .facts
                    .iter()
                    .map(|(label, text)| ((*label).to_owned(), text.as_str().into()))
                    .collect();
                let error = json!({
                    "code": code, "exit": entry.exit as u8, "title": entry.title, "message": self.message,
                    "cause": cause, "next": next, "facts": facts,
                });
                json!({ "schema": "coco.error/1", "error": error }).to_string()
            }
            Output::Table => {
                let mut text = format!("error[{code}]: {}: {}", entry.title, plain(&self.message));
                let facts = self.facts.iter().map(|(label, text)| (*label, text.as_str()));
                for (label, what) in facts.chain([("cause", cause), ("next", next)]) {
                    text.push_str(&format!("\n  {label:<6} {}", plain(what)));
                }
                text.push_str(&format!("\n  more   coco explain {code}"));
                text
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.entry().title, self.message)
    }
}

impl Error for Fault {}

/// An error and what lies behind it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        let code = match &error {
            CallError::NoEndpoint => Code::NoNetwork,
            CallError::Trust(_) => Code::KeyUnusable,
            CallError::Unreachable { .. } | CallError::Broken { .. } => Code::Unreachable,
            CallError::NotTheService { .. } => Code::NotTheService,
            CallError::Late { .. } | CallError::Behind { .. } => Code::Late,
            CallError::OutcomeUnknown { .. } => Code::OutcomeUnknown,
            CallError::NotUnderstood { .. } => Code::NotUnderstood,
            CallError::Unshown { .. } => Code::Failed,
            CallError::Refused { refusal, .. } => code_of(refusal),
        };
        let fault = Self::new(code, error.to_string());
        match (error.refusal(), error.source()) {
            // What the node said is in the message.
            (Some(_), _) | (None, None) => fault,
            (None, Some(source)) => fault.because(source),
        }
    }
}

impl Fault {
    /// A refusal by a node.
    pub(crate) fn refused(by: &str, refusal: &Refusal) -> Self {
        Self::new(code_of(refusal), format!("{by} refused: {refusal}"))
    }
}

/// Our code for a refusal by a node.
fn code_of(refusal: &Refusal) -> Code {
    match (refusal.code.as_str(), refusal.status) {
        ("ProposalNotFound", _) => Code::ProposalNotFound,
        ("ProposalNotOpen", _) => Code::ProposalNotOpen,
        ("ProposalReplay", _) => Code::ProposalReplay,
        ("ProposalCreatedTooLongAgo" | "InvalidCreatedAt", _) => Code::ProposalTime,
        ("InvalidAuthenticationInfo", _) | (_, 401) => Code::MemberNotActive,
        ("AuthorizationFailed", _) | (_, 403) => Code::Denied,
        ("VoteAlreadyExists", _) => Code::VoteExists,
        ("ProposalFailedToValidate", _) => Code::ProposalInvalid,
        ("StateDigestMismatch", _) => Code::StateDigestOther,
        ("TooManyOpenProposals", _) => Code::ProposalsTooMany,
        // A proposal that fails while it is carried out is reported as an error of the service, in CCF's way.
        ("InternalError", _) if refusal.message.contains("apply()") => Code::ProposalFails,
        (_, 503) => Code::NoPrimary,
        (_, 404) => Code::NotFound,
        (_, 500..) => Code::ServiceFailed,
        _ => Code::Refused,
    }
}

impl From<EnvelopeError> for Fault {
    fn from(error: EnvelopeError) -> Self {
        let code = match error {
            EnvelopeError::Key(_) => Code::DeviceUnusable,
            _ => Code::EnvelopeUnusable,
        };
        Self::new(code, chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_codes_of_their_own() {
        let code = |status, code: &str, message: &str| {
            code_of(&Refusal { status, code: code.into(), message: message.into() })
        };
        for (status, name, message, expected) in [
            (404, "ProposalNotFound", "", Code::ProposalNotFound),
            (404, "ResourceNotFound", "", Code::NotFound),
            (401, "InvalidAuthenticationInfo", "", Code::MemberNotActive),
            (401, "", "", Code::MemberNotActive),
            (403, "AuthorizationFailed", "", Code::Denied),
            (400, "ProposalFailedToValidate", "", Code::ProposalInvalid),
            (500, "InternalError", "failed to apply(): x", Code::ProposalFails),
            (500, "InternalError", "disk", Code::ServiceFailed),
            (503, "PrimaryNotFound", "", Code::NoPrimary),
            (400, "InvalidInput", "", Code::Refused),
            (418, "Novel", "", Code::Refused),
        ] {
            assert_eq!(code(status, name, message), expected, "{status} {name}");
        }
    }

    #[test]
    fn an_error_shows_its_code_its_cause_and_the_next_step() {
        let fault = Fault::new(Code::Late, "n1\u{1b}[2J").with("key", "k");
        let text = fault.text(Output::Table);
        assert!(text.starts_with("error[COCO-3002]: no node answered in time: n1"), "{text}");
        assert!(text.contains("\n  key    k\n  cause  "), "{text}");
        assert!(text.ends_with("\n  more   coco explain COCO-3002"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let json: serde_json::Value = serde_json::from_str(&fault.text(Output::Json)).unwrap();
        assert_eq!(json["error"]["code"], "COCO-3002");
        assert_eq!(json["error"]["exit"], 6);
        assert_eq!(json["error"]["facts"]["key"], "k");
    }
}

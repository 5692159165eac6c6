//! Why a call came to nothing.

use std::{error::Error as StdError, fmt, io};

use coco_types::TxId;
use serde::Deserialize;
use thiserror::Error;

use crate::Endpoint;

/// What a node said when it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The stable name of the refusal, for example `ProposalNotFound`; empty when the answer had none.
    pub code: String,
    /// What was wrong, in the node's words; some of the body, when it was of another form.
    pub message: String,
}

impl Refusal {
    /// What an answer with this status and body says. Codes that are not known here are passed on as they are.
    #[must_use]
    pub fn read(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: Detail,
        }
        #[derive(Deserialize)]
        struct Detail {
            code: String,
            message: String,
        }
        match serde_json::from_slice(body) {
            Ok(Body { error: Detail { code, message } }) => Self { status, code, message },
            Err(_) => {
                let message =
                    String::from_utf8_lossy(body).chars().take(SHOWN_CHARACTERS_MAX).collect();
                Self { status, code: String::new(), message }
            }
        }
    }
}

/// Most characters of an answer of unknown form that are shown.
const SHOWN_CHARACTERS_MAX: usize = 200;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, message } = self;
        if code.is_empty() {
            write!(f, "status {status}: {message}")
        } else {
            write!(f, "{code}: {message}")
        }
    }
}

/// A call that was not answered, or with a refusal.
#[derive(Debug, Error)]
pub enum CallError {
    /// There is nobody to ask.
    #[error("there is no endpoint to ask")]
    NoEndpoint,
    /// A certificate cannot be used.
    #[error(transparent)]
    Trust(#[from] crate::TrustError),
    /// No connection. Nothing was sent.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// Whom.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// Whoever answers is not endorsed by the service, or TLS failed otherwise. Nothing was sent.
    #[error("{endpoint} does not prove that it is a node of the service")]
    NotTheService {
        /// Who.
        endpoint: Endpoint,
        /// What was wrong.
        source: io::Error,
    },
    /// There is no evidence for this connection. Nothing was sent.
    #[error("cannot show {endpoint} what this node runs")]
    Unshown {
        /// To whom.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// No answer in time. Nothing that changes anything was sent.
    #[error("{endpoint} did not answer in {time_ms} ms")]
    Late {
        /// Who.
        endpoint: Endpoint,
        /// For how long it was waited.
        time_ms: u128,
    },
    /// The node does not know yet what this client has seen: it lags, or has been removed.
    #[error("{endpoint} knows the ledger up to {committed} only; {seen} is committed")]
    Behind {
        /// Who.
        endpoint: Endpoint,
        /// How far it is.
        committed: TxId,
        /// What another node has said.
        seen: TxId,
    },
    /// The connection broke. Nothing that changes anything was sent.
    #[error("the connection to {endpoint} broke")]
    Broken {
        /// Whose.
        endpoint: Endpoint,
        /// How.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A request that changes something was sent and no node answered: it may be carried out, or not. To send the same bytes
    /// again does no harm.
    #[error("the request was sent to {endpoint} and nobody said what became of it")]
    OutcomeUnknown {
        /// To whom it was sent last.
        endpoint: Endpoint,
        /// What happened then.
        source: Box<Self>,
    },
    /// The node refused.
    #[error("{endpoint} refused: {refusal}")]
    Refused {
        /// Who.
        endpoint: Endpoint,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// An answer of another form than is known here.
    #[error("the answer of {endpoint} is not understood")]
    NotUnderstood {
        /// Whose.
        endpoint: Endpoint,
        /// What is odd about it.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl CallError {
    /// What the node said, if it refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether the node refused under this code.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_node_said() {
        let body = br#"{"error":{"code":"VoteNotFound","message":"no","details":[1]}}"#;
        let expected =
            Refusal { status: 404, code: "VoteNotFound".to_owned(), message: "no".to_owned() };
        assert_eq!(Refusal::read(404, body), expected);
        let other = Refusal::read(502, "bad gateway".repeat(100).as_bytes());
        assert_eq!((other.status, &*other.code), (502, ""));
        assert_eq!(other.message.chars().count(), SHOWN_CHARACTERS_MAX);
        assert_eq!(Refusal::read(500, b"\xff").message, "\u{fffd}");
    }
}

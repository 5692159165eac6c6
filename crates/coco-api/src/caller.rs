//! The shape of `GET /app/caller`: as whom the service takes whoever asks. Ours; CCF has no such call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Caller {
    /// A registered participant, by its certificate.
    User {
        /// 64 hexadecimal digits.
        id: String,
        /// What the members say of it.
        data: Value,
    },
    /// A participant by the word of its organisation, which issued its certificate.
    OrganisationUser {
        /// 64 hexadecimal digits: SHA-256 of the signed part of its certificate.
        id: String,
        /// The organisation's name.
        organisation: String,
        /// What the members say of all users of the organisation.
        data: Value,
    },
    /// A member, by its certificate.
    Member {
        /// 64 hexadecimal digits.
        id: String,
        /// `Accepted` or `Active`.
        status: String,
        /// What the members say of it.
        data: Value,
    },
    /// The bearer of a token.
    Jwt {
        /// Its subject, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Whose word it is.
        issuer: String,
        /// What the token says.
        claims: Map<String, Value>,
    },
    /// Whoever has shown nothing.
    Anyone,
}

//! Who calls: what a certificate or a token says of whoever shows it, by the tables that members filled.
//!
//! | shown | counts as |
//! |---|---|
//! | a certificate of [`USERS_CERTS`](crate::tables::USERS_CERTS) | that participant |
//! | a certificate of [`MEMBERS_CERTS`](crate::tables::MEMBERS_CERTS) | that member, active or not |
//! | another certificate, which the authority of an organisation issued | one of its users, who are participants |
//! | a token (JWT) that an issuer's key signed | whoever the issuer says |
//!
//! A certificate counts once TLS has proved that its key is held. A member *acts* by signed requests alone; that somebody
//! is a member in TLS is for reading. Whatever is shown counts within its own period, at the time that the caller of these
//! functions brings. Differences from CCF: a token must come from the issuer that members named, also where its key has no
//! constraint, and for the audience that they named, if they did; it ends with its `exp`, as RFC 7519 has it, and not a
//! second later. Organisations are ours.

mod certificate;
mod token;

use coco_types::Digest;
use serde_json::{Map, Value};

use crate::{MemberId, tables::MemberStatus};

pub use certificate::{ByCertificateError, ORGANISATIONS_MAX, by_certificate};
pub use token::{ByTokenError, KEYS_OF_AN_ID_MAX, TOKEN_BYTES_MAX, by_token};

/// Whoever calls and has shown who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Caller {
    /// A registered participant.
    User {
        /// SHA-256 of its certificate.
        id: Digest,
        /// What the members say of it.
        data: Value,
    },
    /// A user of an organisation.
    OrganisationUser {
        /// SHA-256 of the signed part of its certificate: whoever has a certificate can change the rest a little.
        id: Digest,
        /// Whose user.
        organisation: String,
        /// What the members say of all users of the organisation.
        data: Value,
    },
    /// A member.
    Member {
        /// SHA-256 of its certificate.
        id: MemberId,
        /// Whether it votes.
        status: MemberStatus,
        /// What the members say of it.
        data: Value,
    },
    /// The bearer of a token.
    Bearer {
        /// Whose word it is.
        issuer: String,
        /// What it says.
        claims: Map<String, Value>,
    },
}

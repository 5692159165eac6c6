//! The Rust SDK: call a service whose identity is pinned, and sign as a member.
//!
//! ```text
//!   MemberKey ─┐
//!   Draft ─────┴─▶ sign ─▶ Envelope ─▶ Client::submit ─▶ Answer, once it is committed
//!                                      Client::members, proposals, … ─▶ typed replies
//! ```
//!
//! A client trusts one thing: the certificate of the service, by which the certificates of its nodes are signed. It asks one
//! node after the other until one answers; which of them is the primary is the nodes' business. Everything that a member
//! signs can be sent again as it is and counts once, so what got lost is sent again.
//!
//! A node that wants to belong to the service introduces itself by [`Client::as_node`] and [`Client::join`].
//!
//! Absent: transactions of participants, receipts, the check of a node's evidence.

mod answer;
mod call;
mod client;
mod endpoint;
mod envelope;
mod error;
mod exchange;
mod member;
pub mod reply;
mod trust;

pub use answer::Answer;
pub use client::{Client, Settings};
pub use coco_api::join;
pub use coco_governance::{MemberId, Message, ProposalId};
pub use endpoint::{Endpoint, EndpointError};
pub use envelope::{Draft, Envelope, EnvelopeError};
pub use error::{CallError, Refusal};
pub use exchange::ANSWER_BYTES_MAX;
pub use member::{MemberKey, MemberKeyError};
pub use trust::{ServiceIdentity, TrustError};

/// The version of the interface under `/gov` that is spoken here.
pub const API_VERSION: &str = "2024-07-01";

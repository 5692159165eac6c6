//! What a node answered.

use coco_crypto::Certificate;
use coco_types::TxId;
use serde::de::DeserializeOwned;

use crate::{CallError, Endpoint};

/// An answer that is no refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub endpoint: Endpoint,
    /// 200 to 299, or 308.
    pub status: u16,
    /// The transaction that the answer is of, where the node said it. After a member's request it is committed.
    pub transaction: Option<TxId>,
    /// Where to ask instead; then the status is 308.
    pub location: Option<String>,
    /// When it was written by the node's clock, in seconds since 1970, where the node said it.
    pub date: Option<u64>,
    /// What the node proved itself by; nothing over plain HTTP.
    pub certificate: Option<Certificate>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`CallError::NotUnderstood`] when it is of another form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|source| CallError::NotUnderstood {
            endpoint: self.endpoint.clone(),
            source: source.into(),
        })
    }
}

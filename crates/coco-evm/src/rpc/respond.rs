//! Writes responses.

use alloy_primitives::B256;

use super::{error::RpcError, json::Json, request::Id};

/// A response with a result that `write` writes.
pub(super) fn result(
    id: &Id,
    capacity: usize,
    write: impl FnOnce(&mut Json) -> Result<(), RpcError>,
) -> Vec<u8> {
    let mut json = Json::with_capacity(capacity + RESULT_FRAME_BYTES);
    json.raw(r#"{"jsonrpc":"2.0","id":"#).raw(id.as_json()).raw(r#","result":"#);
    match write(&mut json) {
        Ok(()) => {
            json.raw("}");
            json.into_bytes()
        }
        Err(wrong) => error(id, &wrong),
    }
}

/// A response with an error.
pub(super) fn error(id: &Id, error: &RpcError) -> Vec<u8> {
    let mut json = Json::with_capacity(ERROR_FRAME_BYTES + error.message.len());
    json.raw(r#"{"jsonrpc":"2.0","id":"#)
        .raw(id.as_json())
        .raw(r#","error":{"code":"#)
        .decimal(error.code);
    json.raw(r#","message":"#).string(&error.message);
    if let Some(data) = &error.data {
        json.raw(r#","data":"#).string(data);
    }
    json.raw("}}");
    json.into_bytes()
}

/// A response with a hash.
pub(super) fn hash(id: &Id, hash: &B256) -> Vec<u8> {
    result(id, HASH_BYTES, |json| {
        json.data(hash);
        Ok(())
    })
}

/// Puts the responses to the calls of one body together.
///
/// A body that holds nothing but notifications is answered with an empty body.
#[derive(Debug)]
pub struct Responses {
    out: Vec<u8>,
    is_batch: bool,
}

impl Responses {
    /// For the calls of one body.
    #[must_use]
    pub const fn new(is_batch: bool) -> Self {
        Self { out: Vec::new(), is_batch }
    }

    /// Adds one response.
    pub fn push(&mut self, response: &[u8]) {
        if self.is_batch {
            self.out.push(if self.out.is_empty() { b'[' } else { b',' });
        }
        self.out.extend_from_slice(response);
    }

    /// Whether the responses have outgrown [`RESPONSE_BYTES_MAX`]: calls that follow are answered with
    /// [`super::Call::too_large`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.out.len() > RESPONSE_BYTES_MAX
    }

    /// The body.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.is_batch && !self.out.is_empty() {
            self.out.push(b']');
        }
        self.out
    }
}

/// Most bytes that the responses to one batch may have before the rest is refused. As go-ethereum.
pub const RESPONSE_BYTES_MAX: usize = 25 << 20;

const RESULT_FRAME_BYTES: usize = 64;
const ERROR_FRAME_BYTES: usize = 128;
const HASH_BYTES: usize = 68;

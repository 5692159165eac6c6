//! Responses, and the one table from errors to HTTP.

use coco_api::{ErrorBody, ErrorCode, TRANSACTION_ID_HEADER};
use coco_types::TxId;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

pub(crate) type Reply = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response of `content_type`.
pub(crate) fn body(
    status: StatusCode,
    content_type: HeaderValue,
    bytes: impl Into<Bytes>,
) -> Reply {
    let mut response = Response::new(Full::new(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// 200 with JSON that is ready.
pub(crate) fn json_text(text: impl Into<Bytes>) -> Reply {
    body(StatusCode::OK, JSON, text)
}

/// 200 with a value as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Reply {
    json_text(serde_json::to_vec(value).expect("our shapes have string keys and no failing parts"))
}

/// An error in the shape that every error has.
pub(crate) fn error(code: ErrorCode, message: impl Into<String>) -> Reply {
    let error = ErrorBody::new(code, message);
    let text = serde_json::to_vec(&error).expect("an error body serialises");
    body(status_of(code), JSON, text)
}

/// Names the transaction that a response speaks of, or was read at.
pub(crate) fn at(mut response: Reply, id: TxId) -> Reply {
    let value = HeaderValue::from_str(&id.to_string()).expect("digits and a dot");
    response.headers_mut().insert(HeaderName::from_static(TRANSACTION_ID_HEADER), value);
    response
}

const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::InvalidQueryParameterValue
        | ErrorCode::InvalidHeaderValue
        | ErrorCode::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorCode::ResourceNotFound
        | ErrorCode::TransactionPendingOrUnknown
        | ErrorCode::TransactionInvalid
        | ErrorCode::TransactionNotFound
        | ErrorCode::FrontendNotOpen => StatusCode::NOT_FOUND,
        ErrorCode::UnsupportedHttpVerb => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::UnsupportedContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RequestHeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::SessionCapExhausted
        | ErrorCode::PrimaryNotFound
        | ErrorCode::TooManyPendingTransactions => StatusCode::SERVICE_UNAVAILABLE,
    }
}

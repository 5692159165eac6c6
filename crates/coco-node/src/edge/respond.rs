//! Responses, and the one table from errors to HTTP.

use std::io;

use coco_api::{AuthenticationDetail, ErrorBody, ErrorCode, TRANSACTION_ID_HEADER};
use coco_governance::GovernanceError;
use coco_types::TxId;
use http_body_util::{Either, Full, channel::Channel};
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

/// The body of an answer: there as a whole, or read while it is sent.
pub(crate) type ReplyBody = Either<Full<Bytes>, Channel<Bytes, io::Error>>;
pub(crate) type Reply = Response<ReplyBody>;

/// An answer that ends a request early. In a box, since it stands in results.
#[derive(Debug)]
pub(crate) struct Refused(Box<Reply>);

impl Refused {
    /// The answer.
    pub(crate) fn reply(self) -> Reply {
        *self.0
    }
}

impl From<Reply> for Refused {
    fn from(reply: Reply) -> Self {
        Self(Box::new(reply))
    }
}

impl From<GovernanceError> for Refused {
    fn from(error: GovernanceError) -> Self {
        refused(&error).into()
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response of `content_type`.
pub(crate) fn body(
    status: StatusCode,
    content_type: HeaderValue,
    bytes: impl Into<Bytes>,
) -> Reply {
    let mut response = Response::new(Either::Left(Full::new(bytes.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

/// 200 with JavaScript.
pub(crate) fn script(text: impl Into<Bytes>) -> Reply {
    body(StatusCode::OK, HeaderValue::from_static("text/javascript"), text)
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
    error_body(&ErrorBody::new(code, message))
}

fn error_body(error: &ErrorBody) -> Reply {
    let text = serde_json::to_vec(error).expect("an error body serialises");
    body(status_of(error.error.code), JSON, text)
}

/// An error that is over soon.
pub(crate) fn later(code: ErrorCode, message: impl Into<String>) -> Reply {
    let mut response = error(code, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What a request is answered with that is not signed by somebody who may make it. `policy` is who that would be.
pub(crate) fn unauthenticated(policy: &str, message: impl Into<String>) -> Reply {
    let challenge = HeaderValue::from_static("COSE-SIGN1 realm=\"Signed request access\"");
    authentication_error(
        "this call needs the signed request of a member",
        policy,
        message,
        challenge,
    )
}

/// 401: what was needed, why `policy` was not met, and what would be.
fn authentication_error(
    needed: &str,
    policy: &str,
    message: impl Into<String>,
    challenge: HeaderValue,
) -> Reply {
    let code = ErrorCode::InvalidAuthenticationInfo;
    let mut error = ErrorBody::new(code, needed);
    error.error.details.push(AuthenticationDetail {
        auth_policy: policy.to_owned(),
        code,
        message: message.into(),
    });
    let mut response = error_body(&error);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// What whoever brings a token is answered with that does not count.
pub(crate) fn token_refused(message: impl Into<String>) -> Reply {
    let challenge = "Bearer realm=\"JWT bearer token access\", error=\"invalid_token\"";
    not_recognised("jwt", message, HeaderValue::from_static(challenge))
}

/// What whoever shows a certificate is answered with that says nothing here.
pub(crate) fn certificate_refused(message: impl Into<String>) -> Reply {
    // There is no challenge for TLS; a token would do.
    let challenge = "Bearer realm=\"JWT bearer token access\"";
    not_recognised("user_cert", message, HeaderValue::from_static(challenge))
}

fn not_recognised(policy: &str, message: impl Into<String>, challenge: HeaderValue) -> Reply {
    authentication_error("who calls is not recognised", policy, message, challenge)
}

/// What governance refuses, but for missing authentication.
pub(crate) fn refused(refused: &GovernanceError) -> Reply {
    error(code_of(refused.code), &*refused.message)
}

/// The code by which the outside knows a refusal of governance.
pub(crate) const fn code_of(code: coco_governance::ErrorCode) -> ErrorCode {
    use coco_governance::ErrorCode as Inner;
    match code {
        Inner::AuthorizationFailed => ErrorCode::AuthorizationFailed,
        Inner::InternalError => ErrorCode::InternalError,
        Inner::InvalidAuthenticationInfo => ErrorCode::InvalidAuthenticationInfo,
        Inner::InvalidCreatedAt => ErrorCode::InvalidCreatedAt,
        Inner::InvalidInput => ErrorCode::InvalidInput,
        Inner::InvalidResourceName => ErrorCode::InvalidResourceName,
        Inner::NodeNotRetiredCommitted => ErrorCode::NodeNotRetiredCommitted,
        Inner::ProposalCreatedTooLongAgo => ErrorCode::ProposalCreatedTooLongAgo,
        Inner::ProposalFailedToValidate => ErrorCode::ProposalFailedToValidate,
        Inner::ProposalNotFound => ErrorCode::ProposalNotFound,
        Inner::ProposalNotOpen => ErrorCode::ProposalNotOpen,
        Inner::ProposalReplay => ErrorCode::ProposalReplay,
        Inner::ResourceNotFound => ErrorCode::ResourceNotFound,
        Inner::ServiceNotWaitingForRecoveryShares => ErrorCode::ServiceNotWaitingForRecoveryShares,
        Inner::StateDigestMismatch => ErrorCode::StateDigestMismatch,
        Inner::VoteAlreadyExists => ErrorCode::VoteAlreadyExists,
        Inner::TooManyOpenProposals => ErrorCode::TooManyOpenProposals,
    }
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
        | ErrorCode::InvalidInput
        | ErrorCode::InvalidCreatedAt
        | ErrorCode::InvalidResourceName
        | ErrorCode::InvalidNodeState
        | ErrorCode::NodeNotRetiredCommitted
        | ErrorCode::MissingApiVersionParameter
        | ErrorCode::UnsupportedApiVersionValue
        | ErrorCode::ProposalNotOpen
        | ErrorCode::ProposalFailedToValidate
        | ErrorCode::ProposalReplay
        | ErrorCode::ProposalCreatedTooLongAgo
        | ErrorCode::TooManyOpenProposals
        | ErrorCode::StateDigestMismatch
        | ErrorCode::VoteAlreadyExists => StatusCode::BAD_REQUEST,
        ErrorCode::InvalidAuthenticationInfo | ErrorCode::InvalidQuote => StatusCode::UNAUTHORIZED,
        ErrorCode::AuthorizationFailed | ErrorCode::ServiceNotWaitingForRecoveryShares => {
            StatusCode::FORBIDDEN
        }
        ErrorCode::ResourceNotFound
        | ErrorCode::ProposalNotFound
        | ErrorCode::VoteNotFound
        | ErrorCode::BackupNotFound
        | ErrorCode::TransactionPendingOrUnknown
        | ErrorCode::TransactionInvalid
        | ErrorCode::TransactionNotFound
        | ErrorCode::FrontendNotOpen => StatusCode::NOT_FOUND,
        ErrorCode::UnsupportedHttpVerb => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::UnsupportedContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::RequestBodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RequestHeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::SessionCapExhausted
        | ErrorCode::PrimaryNotFound
        | ErrorCode::TooManyPendingTransactions
        | ErrorCode::TransactionReplicationFailed => StatusCode::SERVICE_UNAVAILABLE,
    }
}

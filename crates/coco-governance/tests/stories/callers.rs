//! Who calls: members say by votes whose certificates and tokens count, under our own constitution.

mod certificates;
mod tokens;

use coco_governance::{
    DEFAULT_CONSTITUTION, ErrorCode,
    caller::{ByCertificateError, ByTokenError, Caller, by_certificate, by_token},
    rows::Rows,
};
use serde_json::Value;

use crate::consortium::{Consortium, START, code, passes};

/// When everybody here calls.
const NOW: u64 = START + 500;

/// One member decides alone.
fn service() -> Consortium {
    Consortium::under(DEFAULT_CONSTITUTION, 1)
}

/// The constitution does not take it, and says this.
#[track_caller]
fn is_no_proposal(c: &mut Consortium, name: &str, args: &Value, expected: &str) {
    let refused = c.propose(0, name, args).unwrap_err();
    assert!(refused.message.contains(expected), "{name} {args}: {refused}");
    assert_eq!(refused.code, ErrorCode::ProposalFailedToValidate);
}

/// It is taken, and fails when it is carried out.
#[track_caller]
fn fails(c: &mut Consortium, name: &str, args: &Value, expected: &str) {
    let failed = c.pass(name, args);
    let message = failed.as_ref().map_or_else(|error| error.message.clone(), |_| String::new());
    assert!(message.contains(expected), "{name} {args}: {failed:?}");
    assert_eq!(code(failed), ErrorCode::InternalError);
}

fn certificate(c: &Consortium, der: &[u8], now: u64) -> Result<Caller, ByCertificateError> {
    by_certificate(&mut Rows::as_of(&c.store.reader().head()), der, now)
}

fn token(c: &Consortium, token: &str, now: u64) -> Result<Caller, ByTokenError> {
    by_token(&mut Rows::as_of(&c.store.reader().head()), token, now)
}

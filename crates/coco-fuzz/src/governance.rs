//! Members' signed requests, and the documents in them.
//!
//! The certificates are of members whose keys nobody has any more.

use std::sync::{LazyLock, Mutex, PoisonError};

use coco_crypto::{Certificate, cose::AttachedSign1};
use coco_governance::{Certificates, ErrorCode, Governance, MemberId, Request, Situation, tables};
use coco_kv::Store;
use coco_script::Engine;
use coco_types::{Digest, Seqno};
use serde_json::Value;

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../coco-governance/tests/vectors/", $name))
    };
}

/// All that those members ever signed.
pub(crate) const SIGNED: [&[u8]; 6] = [
    vector!("p256.ballot.cose"),
    vector!("p256.proposal.cose"),
    vector!("p384.ballot.cose"),
    vector!("p384.proposal.cose"),
    vector!("p521.ballot.cose"),
    vector!("p521.proposal.cose"),
];

static MEMBERS: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    let files: [&[u8]; 3] = [vector!("p256.pem"), vector!("p384.pem"), vector!("p521.pem")];
    let read = |file| Certificate::from_pem(str::from_utf8(file).ok()?).ok();
    files.map(|file| read(file).expect("the vectors are certificates")).into()
});

static SIGNED_DIGESTS: LazyLock<Vec<Digest>> = LazyLock::new(|| {
    let digest = |envelope| verified_digest(&Request::read(envelope).expect("it is a request"));
    SIGNED.map(|envelope| digest(envelope).expect("a member signed it")).into()
});

/// The digest of a request that one of the members has signed.
fn verified_digest(request: &Request<'_>) -> Option<Digest> {
    let verified = |member| request.clone().verify(member).ok();
    let signed = MEMBERS.iter().find_map(verified)?;
    assert_eq!(signed.signer(), request.signer());
    Some(signed.digest())
}

pub(crate) fn request(data: &[u8]) {
    let cose = AttachedSign1::decode(data);
    if let Ok(cose) = &cose {
        assert_eq!(cose.encode(), data, "a message has one encoding");
    }
    let Ok(request) = Request::read(data) else { return };
    assert!(cose.is_ok(), "a request is a message with its content");
    let id = request.signer().to_string();
    assert_eq!(id.parse().map(MemberId).ok(), Some(request.signer()), "an id is read as printed");
    if let Some(digest) = verified_digest(&request) {
        assert!(SIGNED_DIGESTS.contains(&digest), "a forged request is believed");
    }
}

/// As a proposal: the one document that can be handed in without a signature, to see what it would do. Ballots and
/// acknowledgements are read by the same reader. There is no constitution, so nothing is carried out.
pub(crate) fn document(data: &[u8]) {
    static GOVERNANCE: LazyLock<Mutex<Governance>> =
        LazyLock::new(|| Mutex::new(Governance::new(&Engine::new())));
    let store = Store::new(tables::maps(), [1, 2]);
    let situation = Situation {
        root: Digest::ZERO,
        now: 0,
        ledger_secret: Seqno(1),
        submitted_under: None,
        certificates: Certificates::Present,
    };
    let mut governance = GOVERNANCE.lock().unwrap_or_else(PoisonError::into_inner);
    let refused = governance.simulate(store.reader().begin(), data, &situation);
    let refused = refused.expect_err("there is no constitution");
    let value = serde_json::from_slice::<Value>(data);
    if refused.code == ErrorCode::InvalidInput {
        return;
    }
    let value = value.expect("what is taken is JSON");
    assert!(value.is_object(), "what is taken is an object");
    // A parser drops all but one of the members with one name.
    let text = str::from_utf8(data).expect("what is taken is text");
    assert_eq!(colons(text), members(&value), "a name occurs twice beside itself");
}

/// How many colons there are outside of strings: one for each member of an object.
fn colons(text: &str) -> usize {
    let (mut count, mut is_string, mut is_escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            b':' if !is_string => count += 1,
            _ => {}
        }
    }
    count
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

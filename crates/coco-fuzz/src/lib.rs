//! Fuzz targets: what every decoder must keep to, whatever bytes it is given.
//!
//! A target is a function of bytes. It may not panic, and [`check`] bounds the memory that it may hold at one time. The
//! workspace in `fuzz/` runs the targets under libFuzzer, from the corpora that lie there; `tests/corpora.rs` here runs
//! the same corpora as plain tests.
//!
//! What targets assert beyond not panicking: a value that was read comes back from its own encoding, and where a format
//! promises one encoding for each value, the bytes that were read are that encoding.

mod callers;
mod client;
mod consensus;
mod crypto;
mod ethereum;
mod evidence;
mod governance;
mod hostile;
mod ledger;
mod node;
mod script;
mod secrets;
mod snapshot;
mod store;

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the target, of its corpus.
    pub name: &'static str,
    /// Whose bytes it reads.
    pub from: From,
    /// Longest input that the fuzzer tries, in bytes.
    pub bytes_max: usize,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// Inputs made by hand: what is well-formed, and what is hostile in a way that mutation does not find.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Whose bytes a decoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Of anybody: clients, the host's disk, files that somebody hands to an auditor.
    Stranger,
    /// Of another node over the authenticated channel, of an operator, or out of sealed entries.
    Insider,
}

/// All targets.
pub const TARGETS: [Target; 36] = [
    stranger("bearer_token", 4 << 10, callers::bearer_token, hostile::bearer_token),
    stranger("certificate", 4 << 10, crypto::certificate, hostile::certificate),
    stranger("client_answer", 8 << 10, client::answer, hostile::client_answer),
    stranger("client_certificate", 4 << 10, callers::client_certificate, hostile::certificate),
    stranger("cose_sign1", 4 << 10, crypto::cose_sign1, hostile::cbor),
    stranger("endorsements", 4 << 10, ledger::endorsements, hostile::cbor),
    stranger("entry", 8 << 10, ledger::entry, hostile::none),
    stranger("evidence", 8 << 10, evidence::evidence, evidence::seeds),
    stranger("governance_document", 8 << 10, governance::document, hostile::governance_document),
    stranger("governance_request", 4 << 10, governance::request, hostile::governance_request),
    stranger("http_route", 8 << 10, node::http_route, hostile::http_route),
    stranger("issuer_keys", 8 << 10, callers::issuer_keys, hostile::issuer_keys),
    stranger("json_rpc", 16 << 10, ethereum::json_rpc, hostile::json_rpc),
    stranger("key_pem", 8 << 10, secrets::key_pem, hostile::key_pem),
    stranger("ledger", 32 << 10, ledger::ledger, hostile::chunk),
    stranger("log_filter", 8 << 10, ethereum::log_filter, hostile::log_filter),
    stranger("node_join", 8 << 10, node::node_join, hostile::node_join),
    stranger("raw_transaction", 4 << 10, ethereum::raw_transaction, hostile::rlp),
    stranger("receipt_cose", 4 << 10, ledger::receipt_cose, hostile::cbor),
    stranger("receipt_json", 8 << 10, ledger::receipt_json, hostile::json),
    stranger("recovery_share", 64, secrets::recovery_share, hostile::recovery_share),
    stranger("rpc_params", 8 << 10, ethereum::rpc_params, hostile::rpc_params),
    stranger("script_value", 4 << 10, script::value, hostile::script_value),
    stranger("snapshot", 16 << 10, snapshot::snapshot, hostile::snapshot),
    stranger("write_set", 4 << 10, store::write_set, hostile::write_set),
    insider("codec", 1 << 10, store::codec, hostile::none),
    insider("consensus_message", 4 << 10, consensus::message, hostile::consensus_message),
    insider("genesis", 8 << 10, ethereum::genesis, hostile::genesis),
    insider("hard_state", 64, consensus::hard_state, hostile::hard_state),
    insider("identifiers", 256, store::identifiers, hostile::identifiers),
    insider("ledger_secrets", 1 << 10, secrets::ledger_secrets, hostile::ledger_secrets),
    insider("node_config", 4 << 10, node::config, hostile::config),
    insider("peer_frame", 4 << 10, node::peer_frame, hostile::peer_frame),
    insider("snapshot_entry", 8 << 10, snapshot::snapshot_entry, hostile::snapshot),
    insider("state_image", 4 << 10, snapshot::state_image, hostile::state_image),
    insider("stored_values", 8 << 10, ethereum::stored_values, hostile::stored_values),
];

const fn stranger(
    name: &'static str,
    bytes_max: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, from: From::Stranger, bytes_max, run, seeds }
}

const fn insider(
    name: &'static str,
    bytes_max: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, from: From::Insider, bytes_max, run, seeds }
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    const ALL: &[Target] = &TARGETS;
    ALL.iter().find(|target| target.name == name)
}

/// Most memory that reading an input may hold at one time, in bytes: what libraries set up for some inputs only, and a
/// multiple of the input. What a target sets up for all of them is not counted.
const MEMORY_BYTES_MAX: usize = 4 << 20;
/// And so many bytes for each byte of the input.
const MEMORY_BYTES_PER_BYTE: usize = 256;

/// Runs a target on an input and returns the most memory that it held at one time, in bytes.
///
/// # Panics
/// When the decoder panics, does not keep what it promises, or holds more memory than an input of this length may cost:
/// a length that was believed before it was checked shows here.
pub fn check(target: &Target, input: &[u8]) -> usize {
    // Memory is counted for the whole process. Targets that ran already have set up what they need.
    static ONE_AT_A_TIME: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let mut ready = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !ready.contains(&target.name) {
        (target.run)(&[]);
        ready.push(target.name);
    }
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    (target.run)(input);
    let held = MEMORY.peak_usage().saturating_sub(before);
    let limit = MEMORY_BYTES_MAX + MEMORY_BYTES_PER_BYTE * input.len();
    assert!(
        held <= limit,
        "{} bytes of input held {held} bytes of memory, not {limit}",
        input.len()
    );
    held
}

//! JSON-RPC bodies built by hand and answers read with the least parsing.

use alloy_primitives::{B256, U64};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use crate::{args::Method, client::Connection, plan::Signed};

/// One answer; `id` says which call of a batch it belongs to.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<'a> {
    #[serde(default)]
    id: Option<u32>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// What became of one submission.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// The node took it and answered with its hash.
    Accepted,
    /// The node answered with a receipt.
    Receipt(ShortReceipt),
    /// The node refused it, with this message.
    Refused(String),
}

/// The parts of a receipt that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShortReceipt {
    pub(crate) transaction_hash: B256,
    pub(crate) status: U64,
    pub(crate) gas_used: U64,
}

impl ShortReceipt {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == U64::ONE
    }
}

/// The body that submits `group`: a single call when `batched` is false, then of exactly one transaction.
pub(crate) fn submission_body<'a>(
    method: Method,
    group: impl ExactSizeIterator<Item = &'a Signed>,
    batched: Batched,
) -> Bytes {
    let name = match method {
        Method::Async => "eth_sendRawTransaction",
        Method::Sync => "eth_sendRawTransactionSync",
    };
    let mut body = String::with_capacity(group.len() * CALL_BYTES_TYPICAL);
    if batched == Batched::Yes {
        body.push('[');
    }
    for (id, signed) in group.enumerate() {
        if id > 0 {
            body.push(',');
        }
        body.push_str(r#"{"jsonrpc":"2.0","id":"#);
        body.push_str(&id.to_string());
        body.push_str(r#","method":""#);
        body.push_str(name);
        body.push_str(r#"","params":[""#);
        body.push_str(&signed.raw);
        body.push_str(r#""]}"#);
    }
    if batched == Batched::Yes {
        body.push(']');
    }
    body.into()
}

/// Whether a body is a JSON-RPC batch; a batch of one is still a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batched {
    Yes,
    No,
}

/// Reads the answer to `count` submissions: one outcome each, by position.
pub(crate) fn submissions(body: &[u8], count: usize) -> anyhow::Result<Vec<Submission>> {
    let answers: Vec<Answer<'_>> = match body.first() {
        Some(b'[') => serde_json::from_slice(body),
        _ => serde_json::from_slice(body).map(|answer| vec![answer]),
    }
    .context("the answer is not json-rpc")?;
    // An error about the batch as a whole is every call's error.
    if let [Answer { error: Some(failure), .. }] = answers.as_slice() {
        return Ok((0..count).map(|_| Submission::Refused(failure.text())).collect());
    }
    let mut outcomes: Vec<Submission> =
        (0..count).map(|_| Submission::Refused("no answer in the batch".to_owned())).collect();
    for answer in &answers {
        let position = answer.id.and_then(|id| usize::try_from(id).ok());
        if let Some(outcome) = position.and_then(|position| outcomes.get_mut(position)) {
            *outcome = answer.submission();
        }
    }
    Ok(outcomes)
}

impl Answer<'_> {
    fn submission(&self) -> Submission {
        match (self.result, &self.error) {
            (_, Some(failure)) => Submission::Refused(failure.text()),
            (Some(result), None) if result.get().starts_with('{') => {
                match serde_json::from_str(result.get()) {
                    Ok(receipt) => Submission::Receipt(receipt),
                    Err(error) => Submission::Refused(format!("receipt not understood: {error}")),
                }
            }
            (Some(_), None) => Submission::Accepted,
            (None, None) => Submission::Refused("neither result nor error".to_owned()),
        }
    }
}

impl Failure {
    /// The message with everything that differs from one transaction to the next taken out, so that equal reasons
    /// are counted together.
    fn text(&self) -> String {
        format!("{} ({})", without_numbers(&self.message), self.code)
    }
}

/// Replaces hexadecimal words and decimal numbers by placeholders and cuts the text at a bound.
fn without_numbers(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let (word, placeholder) = if let Some(digits) = rest.strip_prefix("0x") {
            let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            (2 + length, "0x…")
        } else if first.is_ascii_digit() {
            (rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()), "#")
        } else {
            (first.len_utf8(), "")
        };
        text.push_str(if placeholder.is_empty() { &rest[..word] } else { placeholder });
        if text.len() >= MESSAGE_BYTES_MAX {
            text.push('…');
            break;
        }
        rest = &rest[word..];
    }
    text
}

/// One call whose answer is read in full.
pub(crate) async fn call<T: DeserializeOwned>(
    connection: &mut Connection,
    method: &str,
    params: Value,
) -> anyhow::Result<T> {
    let mut results = call_all(connection, vec![(method, params)]).await?;
    results.pop().context("no answer")
}

/// Several calls in one batch, answers in the same order.
pub(crate) async fn call_all<T: DeserializeOwned>(
    connection: &mut Connection,
    calls: Vec<(&str, Value)>,
) -> anyhow::Result<Vec<T>> {
    let single = calls.len() == 1;
    let bodies: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(id, (method, params))| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
        .collect();
    let body = if single { bodies[0].to_string() } else { Value::from(bodies).to_string() };
    let reply = connection.post(body.into()).await?;
    let mut answers: Vec<Answer<'_>> = match reply.first() {
        Some(b'[') => serde_json::from_slice(&reply)?,
        _ => vec![serde_json::from_slice(&reply)?],
    };
    answers.sort_by_key(|answer| answer.id);
    if answers.len() != calls.len() {
        bail!("{} answers to {} calls", answers.len(), calls.len());
    }
    answers
        .iter()
        .zip(&calls)
        .map(|(answer, (method, _))| {
            if let Some(failure) = &answer.error {
                bail!("{method}: {} ({})", failure.message, failure.code);
            }
            let text = answer.result.map_or("null", RawValue::get);
            serde_json::from_str(text)
                .with_context(|| format!("{method}: answer not understood: {text:.80}"))
        })
        .collect()
}

/// A number as JSON-RPC writes it.
pub(crate) fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

/// A signed transfer with its call around it.
const CALL_BYTES_TYPICAL: usize = 340;
/// Longer messages are not worth telling apart.
const MESSAGE_BYTES_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    #[test]
    fn bodies() {
        let signed = Signed { raw: "0x01".into(), hash: B256::ZERO, sender: Address::ZERO };
        let one = submission_body(Method::Sync, [&signed].into_iter(), Batched::No);
        let one: Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(
            one,
            json!({"jsonrpc": "2.0", "id": 0, "method": "eth_sendRawTransactionSync", "params": ["0x01"]})
        );
        let two = submission_body(Method::Async, [&signed, &signed].into_iter(), Batched::Yes);
        let two: Value = serde_json::from_slice(&two).unwrap();
        assert_eq!(two[1]["id"], 1);
        assert_eq!(two[1]["method"], "eth_sendRawTransaction");
    }

    #[test]
    fn answers_are_matched_by_id_and_gaps_are_refusals() {
        let body = br#"[{"id":2,"result":"0xab"},{"id":0,"error":{"code":-32000,"message":"nonce 7 too low, 0xAB"}}]"#;
        let outcomes = submissions(body, 3).unwrap();
        assert_eq!(outcomes[0], Submission::Refused("nonce # too low, 0x… (-32000)".to_owned()));
        assert_eq!(outcomes[1], Submission::Refused("no answer in the batch".to_owned()));
        assert_eq!(outcomes[2], Submission::Accepted);
    }

    #[test]
    fn receipts_and_whole_batch_errors() {
        let hash = format!("{:#x}", B256::repeat_byte(3));
        let body = format!(
            r#"{{"id":0,"result":{{"transactionHash":"{hash}","status":"0x0","gasUsed":"0x5208","logs":[]}}}}"#
        );
        let outcomes = submissions(body.as_bytes(), 1).unwrap();
        let [Submission::Receipt(receipt)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert!(!receipt.succeeded());
        assert_eq!(receipt.gas_used, U64::from(21_000));
        let refused =
            submissions(br#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#, 2)
                .unwrap();
        assert_eq!(refused.len(), 2);
        assert!(submissions(b"<html>", 1).is_err());
    }

    #[test]
    fn messages_are_bounded() {
        let text = without_numbers(&"é".repeat(1000));
        assert!(text.len() <= MESSAGE_BYTES_MAX + 8);
    }
}

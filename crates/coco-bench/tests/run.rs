//! The load generator against a small server that lies, drops, refuses and stalls.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use alloy_primitives::{B256, hex, keccak256};
use bytes::Bytes;
use clap::Parser;
use coco_bench::{BenchArgs, Report, report::LoadReport};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};

/// How the server treats the n-th measured submission. The first `SETUP` submissions, which fund senders, are honest.
#[derive(Debug, Clone, Copy)]
enum Treatment {
    /// Included in the next block.
    Honest,
    /// Odd ones are accepted and never included.
    DropsOdd,
    /// Every fifth is refused.
    RefusesFifth,
    /// Included with status 0.
    Reverts,
    /// The hundredth is answered half a second late, and so is everything behind it.
    StallsOnce,
    /// Every answer is the last on its connection.
    HangsUp,
}

#[derive(Debug)]
struct Chain {
    treatment: Treatment,
    submissions: usize,
    blocks: Vec<Vec<(B256, bool)>>,
}

const SETUP: usize = 11;
const STALL: Duration = Duration::from_millis(500);

impl Chain {
    async fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        let block = |value: &Value| -> Option<usize> {
            match value.as_str()? {
                "latest" => Some(self.blocks.len() - 1),
                number => usize::from_str_radix(number.trim_start_matches("0x"), 16).ok(),
            }
        };
        Ok(match method {
            "eth_chainId" => json!("0x7a69"),
            "web3_clientVersion" => json!("test/v1"),
            "eth_getTransactionCount" => json!("0x0"),
            "eth_blockNumber" => json!(format!("{:#x}", self.blocks.len() - 1)),
            "eth_getBlockByNumber" => {
                match block(&params[0]).and_then(|number| self.blocks.get(number)) {
                    None => Value::Null,
                    Some(block) => json!({
                        "gasUsed": format!("{:#x}", 21_000 * block.len()),
                        "transactions": block.iter().map(|(hash, _)| hash).collect::<Vec<_>>(),
                    }),
                }
            }
            "eth_getBlockReceipts" => {
                let block = &self.blocks[block(&params[0]).unwrap()];
                block.iter().map(|(hash, ok)| receipt(*hash, *ok)).collect()
            }
            "eth_getTransactionReceipt" => {
                let wanted: B256 = params[0].as_str().unwrap().parse().unwrap();
                let found = self.blocks.iter().flatten().find(|(hash, _)| *hash == wanted);
                found.map_or(Value::Null, |(hash, ok)| receipt(*hash, *ok))
            }
            "eth_sendRawTransaction" => json!(self.submit(params).await?),
            "eth_sendRawTransactionSync" => {
                let hash = self.submit(params).await?;
                receipt(hash, true)
            }
            other => return Err(json!({"code": -32601, "message": format!("no {other}")})),
        })
    }

    async fn submit(&mut self, params: &Value) -> Result<B256, Value> {
        let hash = keccak256(hex::decode(params[0].as_str().unwrap()).unwrap());
        let place = self.submissions.checked_sub(SETUP);
        self.submissions += 1;
        let mut ok = true;
        match (self.treatment, place) {
            (Treatment::DropsOdd, Some(place)) if place % 2 == 1 => return Ok(hash),
            (Treatment::RefusesFifth, Some(place)) if place % 5 == 0 => {
                return Err(
                    json!({"code": -32000, "message": format!("nonce too low: next {place}")}),
                );
            }
            (Treatment::Reverts, Some(_)) => ok = false,
            (Treatment::StallsOnce, Some(100)) => tokio::time::sleep(STALL).await,
            _ => {}
        }
        self.blocks.push(vec![(hash, ok)]);
        Ok(hash)
    }
}

fn receipt(hash: B256, ok: bool) -> Value {
    json!({"transactionHash": hash, "status": if ok { "0x1" } else { "0x0" }, "gasUsed": "0x5208", "logs": []})
}

async fn handle(
    chain: Arc<Mutex<Chain>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let calls: Value = serde_json::from_slice(&body).unwrap();
    let mut chain = chain.lock().await;
    let mut answers = Vec::new();
    for call in calls.as_array().cloned().unwrap_or_else(|| vec![calls.clone()]) {
        let outcome = chain.answer(call["method"].as_str().unwrap(), &call["params"]).await;
        answers.push(match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Err(error) => json!({"jsonrpc": "2.0", "id": call["id"], "error": error}),
        });
    }
    let answer = if calls.is_array() { Value::from(answers) } else { answers.remove(0) };
    Ok(Response::new(Full::new(answer.to_string().into())))
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: BenchArgs,
}

/// Runs the generator with `words` against a server of this treatment.
async fn check(treatment: Treatment, words: &str) -> LoadReport {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let chain = Arc::new(Mutex::new(Chain { treatment, submissions: 0, blocks: vec![Vec::new()] }));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let chain = Arc::clone(&chain);
            let service = service_fn(move |request| handle(Arc::clone(&chain), request));
            let mut builder = http1::Builder::new();
            builder.keep_alive(!matches!(treatment, Treatment::HangsUp));
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    let fixed =
        ["bench", "--url", &url, "--senders", "10", "--quiet-seconds", "1", "--poll-ms", "2"];
    let line = Line::parse_from(fixed.into_iter().chain(words.split_whitespace()));
    match coco_bench::run(line.bench).await.unwrap() {
        Report::Load(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_is_counted_once_in_every_mode() {
    for words in [
        "--count 100 --connections 1",
        "--count 100 --connections 4 --batch 7",
        "--count 100 --connections 4 --method sync",
        "--count 100 --connections 3 --rate 2000 --envelope legacy",
        "--count 100 --connections 4 --window 1",
    ] {
        let report = check(Treatment::Honest, words).await;
        let counts = (
            report.submitted,
            report.accepted,
            report.committed,
            report.succeeded,
            report.reverted,
        );
        assert_eq!(counts, (100, 100, 100, Some(100), Some(0)), "{words}");
        assert_eq!(report.gas_used, 2_100_000, "{words}");
        assert_eq!(report.latency.unwrap().count, 100, "{words}");
        assert!(report.errors.is_empty(), "{words}");
    }
}

#[tokio::test]
async fn acceptance_alone_counts_for_nothing() {
    let report = check(Treatment::DropsOdd, "--count 100 --connections 2").await;
    assert_eq!((report.accepted, report.committed), (100, 50));
    assert_eq!(report.latency.unwrap().count, 50);
}

#[tokio::test]
async fn refusals_are_grouped_by_their_words() {
    let report = check(Treatment::RefusesFifth, "--count 100 --connections 2 --batch 10").await;
    assert_eq!((report.submitted, report.accepted, report.committed), (100, 80, 80));
    assert_eq!(report.errors, BTreeMap::from([("nonce too low: next # (-32000)".to_owned(), 20)]));
}

#[tokio::test]
async fn reverts_are_committed_but_not_successes() {
    let report = check(Treatment::Reverts, "--count 30 --connections 2").await;
    assert_eq!((report.committed, report.succeeded, report.reverted), (30, Some(0), Some(30)));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_while_idle_is_opened_again() {
    let report = check(Treatment::HangsUp, "--count 20 --connections 1 --rate 100").await;
    assert_eq!((report.committed, report.errors.len()), (20, 0));
}

/// One stall of half a second at 200 a second delays a hundred requests that were due meanwhile. A generator that
/// measured from when it could send would see one slow request in three hundred.
#[tokio::test]
async fn a_stall_is_charged_for_every_request_it_delayed() {
    let report =
        check(Treatment::StallsOnce, "--count 300 --connections 2 --method sync --rate 200").await;
    assert_eq!(report.committed, 300);
    let latency = report.answer_latency.unwrap();
    assert!(latency.max_ms >= 450.0, "{latency:?}");
    assert!(latency.p90_ms >= 100.0, "{latency:?}");
}

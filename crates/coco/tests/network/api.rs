//! `/node` and `/app` in CCF's shapes, receipts that verify and flipped bytes that do not, forwarding, and both
//! versions of HTTP.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, bail, ensure};
use coco_ledger::{Chunk, ChunkName, SERVICE_MAP, close_chunk, open_chunk};
use coco_types::TxId;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version, body::Bytes, header::CONTENT_TYPE};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE, Response, tls_config},
    ledger::{chunks, committed_everywhere},
    program::{DOES_NOT_VERIFY, coco, errors_of, until},
    rpc::{Rpc, call_body, number},
};

const TRANSACTION_ID: &str = "x-ms-ccf-transaction-id";
const COMMIT_TIME: Duration = Duration::from_secs(5);
/// Streams open at one time on one HTTP/2 connection.
const STREAMS: usize = 50;
/// Bytes of a ledger that are flipped, one after the other.
const FLIPS: usize = 40;

fn transaction_id(response: &Response) -> anyhow::Result<TxId> {
    Ok(response.header(TRANSACTION_ID).context("no transaction id in the headers")?.parse()?)
}

fn is_id(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A GET that must succeed with a JSON object that has exactly these fields.
fn object(connection: &mut Connection, path: &str, fields: &[&str]) -> anyhow::Result<Value> {
    let response = connection.get(path)?;
    ensure!(response.status == 200, "{path}: status {}", response.status);
    ensure!(response.header("content-type") == Some("application/json"), "{path}: no JSON");
    transaction_id(&response).with_context(|| path.to_owned())?;
    let value = response.json()?;
    let found: Vec<&str> =
        value.as_object().context("an object")?.keys().map(String::as_str).collect();
    let mut expected = fields.to_vec();
    expected.sort_unstable();
    ensure!(found == expected, "{path}: has {found:?}, not {expected:?}");
    Ok(value)
}

/// A transfer by way of one node, committed; its transaction id.
fn write(network: &Network, i: usize, nonce: u64) -> anyhow::Result<TxId> {
    let transfer = network.accounts[0].transfer(nonce, Address::repeat_byte(3), U256::from(5));
    let mut connection = Connection::plain(network.addresses(i)?.development, PATIENCE)?;
    let body = call_body(1, "eth_sendRawTransaction", &json!([transfer.raw])).to_string();
    let response = connection.post_json("/?wait=committed", body.as_bytes())?;
    ensure!(response.json()?["result"] == json!(transfer.hash), "{}", response.json()?);
    transaction_id(&response)
}

#[test]
fn state_of_node_and_network() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let primary = network.await_primary(COMMIT_TIME)?;
    let written = write(&network, primary, 0)?;
    let pem = network.service_cert_pem()?;
    let mut ids = Vec::new();
    for i in 0..network.len() {
        let addresses = network.addresses(i)?;
        let mut over_tls = Connection::tls(addresses.client, &pem)?;
        let mut over_plain = Connection::plain(addresses.development, PATIENCE)?;
        for connection in [&mut over_tls, &mut over_plain] {
            node(connection, &mut ids, i, &pem)?;
            answers_without_body(connection)?;
        }
        let nodes = over_tls.get("/node/network/nodes")?.json()?;
        let nodes = nodes["nodes"].as_array().context("nodes")?.clone();
        ensure!(nodes.len() == 3);
        let flags: Vec<bool> = nodes.iter().map(|node| node["primary"] == true).collect();
        ensure!(
            flags.iter().enumerate().all(|(at, flag)| *flag == (at == primary)),
            "one primary: {flags:?}"
        );
        for node in &nodes {
            let fields: Vec<&String> = node.as_object().context("an object")?.keys().collect();
            let expected =
                ["last_written", "node_data", "node_id", "primary", "rpc_interfaces", "status"];
            ensure!(fields == expected, "{fields:?}");
            ensure!(is_id(&node["node_id"]) && node["status"] == "Trusted", "{node}");
            let interfaces = node["rpc_interfaces"].as_object().context("interfaces")?;
            ensure!(
                interfaces.values().all(|interface| interface["published_address"].is_string()),
                "{node}"
            );
            let id = node["node_id"].as_str().context("an id")?;
            ensure!(
                over_tls.get(&format!("/node/network/nodes/{id}"))?.json()? == *node,
                "a node by its id"
            );
        }
        ensure!(nodes[i]["node_id"] == ids[i], "node {i} knows itself");
        ensure!(over_tls.get("/node/network/nodes/self")?.json()?["node_id"] == ids[i]);
        ensure!(over_tls.get("/node/network/nodes/primary")?.json()?["primary"] == true);
        let unknown = over_tls.get(&format!("/node/network/nodes/{}", "0".repeat(64)))?;
        ensure!(unknown.status == 404 && unknown.error_code()? == "ResourceNotFound");
        positions(&mut over_tls, written)?;
    }
    let network_fields =
        ["service_status", "service_certificate", "current_view", "primary_id", "recovery_count"];
    let network_fields =
        [&network_fields[..], &["service_data", "current_service_create_txid"]].concat();
    let mut connection = Connection::tls(network.addresses(0)?.client, &pem)?;
    let shown = object(&mut connection, "/node/network", &network_fields)?;
    ensure!(shown["primary_id"] == ids[primary] && shown["service_status"] == "Open", "{shown}");
    ensure!(
        shown["service_certificate"] == pem.as_str() && shown["recovery_count"] == 0,
        "{shown}"
    );
    ensure!(
        shown["current_service_create_txid"].as_str().context("an id")?.parse::<TxId>()?.seqno.0
            == 1
    );
    ensure!(shown["current_view"] == written.view.0, "{shown}");
    network.finish()
}

fn node(
    connection: &mut Connection,
    ids: &mut Vec<Value>,
    i: usize,
    pem: &str,
) -> anyhow::Result<()> {
    let fields = ["node_id", "state", "last_signed_seqno", "startup_seqno", "stop_notice"];
    let state = object(connection, "/node/state", &fields)?;
    ensure!(
        is_id(&state["node_id"])
            && state["state"] == "PartOfNetwork"
            && state["stop_notice"] == false,
        "{state}"
    );
    ensure!(state["last_signed_seqno"].as_u64().is_some_and(|seqno| seqno > 4), "{state}");
    if ids.len() == i {
        ids.push(state["node_id"].clone());
    }
    let version =
        object(connection, "/node/version", &["ccf_version", "quickjs_version", "unsafe"])?;
    ensure!(version["unsafe"] == true, "the virtual platform is not safe: {version}");
    let engine = version["quickjs_version"].as_str().context("a text")?;
    ensure!(engine.split('.').count() == 3 && engine.starts_with(char::is_numeric), "{version}");
    ensure!(
        version["ccf_version"].as_str().is_some_and(|version| version.starts_with("coco-")),
        "{version}"
    );
    ensure!(connection.get("/node/network")?.json()?["service_certificate"] == pem);
    let metrics = connection.get("/metrics")?;
    ensure!(metrics.status == 200);
    let lines = parse_metrics(&String::from_utf8(metrics.body)?)?;
    ensure!(lines > 10, "only {lines} metrics");
    Ok(())
}

/// HEAD, 204 and redirects.
fn answers_without_body(connection: &mut Connection) -> anyhow::Result<()> {
    let ready = connection.get("/node/ready/app")?;
    ensure!(ready.status == 204 && ready.body.is_empty(), "ready: {}", ready.status);
    transaction_id(&ready)?;
    let head = connection.request("HEAD", "/node/state", &[], b"")?;
    ensure!(head.status == 200, "HEAD: {}", head.status);
    let primary = connection.request("HEAD", "/node/primary", &[], b"")?;
    match primary.status {
        200 => {}
        308 => ensure!(
            primary.header("location").is_some_and(|location| location.starts_with("https://"))
        ),
        other => bail!("/node/primary: {other}"),
    }
    // The connection is still in step.
    ensure!(connection.get("/node/state")?.status == 200);
    Ok(())
}

/// Commit and status of transactions.
fn positions(connection: &mut Connection, written: TxId) -> anyhow::Result<()> {
    for prefix in ["/app", "/node"] {
        let mut committed = None;
        until("the node knows the commit", COMMIT_TIME, || {
            let shown = object(connection, &format!("{prefix}/commit"), &["transaction_id"])?;
            committed = Some(shown["transaction_id"].as_str().context("an id")?.parse::<TxId>()?);
            Ok(committed.is_some_and(|id| id.seqno >= written.seqno))
        })?;
        let history = object(
            connection,
            &format!("{prefix}/commit?view_history=true"),
            &["transaction_id", "view_history"],
        )?;
        let history = history["view_history"].as_array().context("a history")?;
        let history: Vec<TxId> = history
            .iter()
            .map(|id| Ok(id.as_str().context("an id")?.parse()?))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            history
                .windows(2)
                .all(|pair| pair[0].view < pair[1].view && pair[0].seqno < pair[1].seqno),
            "{history:?}"
        );
        let since = object(
            connection,
            &format!("{prefix}/commit?view_history_since={}", written.view),
            &["transaction_id", "view_history"],
        )?;
        ensure!(since["view_history"].as_array().is_some_and(|views| views.len() == 1), "{since}");
        for (id, expected) in [
            (written.to_string(), "Committed"),
            (format!("{}.{}", written.view.0 + 1, written.seqno), "Invalid"),
            (format!("{}.{}", written.view, written.seqno.0 + 100_000), "Unknown"),
            (format!("{}.1", written.view.0 + 100), "Invalid"),
        ] {
            let shown = object(
                connection,
                &format!("{prefix}/tx?transaction_id={id}"),
                &["transaction_id", "status"],
            )?;
            ensure!(
                shown == json!({ "transaction_id": id, "status": expected }),
                "{shown}, expected {expected}"
            );
        }
        let unknown = connection.get(&format!("{prefix}/receipt?transaction_id=2.100000"))?;
        ensure!(unknown.status == 404, "a receipt of nothing: {}", unknown.status);
    }
    Ok(())
}

/// The text of metrics: lines `name{label="value"} number`, each after its type; how many.
fn parse_metrics(text: &str) -> anyhow::Result<usize> {
    ensure!(text.ends_with("# EOF\n"), "OpenMetrics ends with # EOF");
    let mut types = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            types.push(declared.split(' ').next().context("a name")?.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            value.parse::<f64>().with_context(|| line.to_owned())?;
            let name = name.split('{').next().unwrap_or(name);
            ensure!(
                types.last().is_some_and(|family| name.starts_with(family.as_str())),
                "{line} has no type"
            );
            ensure!(name.starts_with("coco_"), "{line}");
            count += 1;
        }
    }
    Ok(count)
}

#[test]
fn writes_through_a_backup() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let primary = network.await_primary(COMMIT_TIME)?;
    let (account, receiver) = (network.accounts[2].clone(), Address::repeat_byte(9));
    let pem = network.service_cert_pem()?;
    let mut nonce = 0;
    for i in (0..network.len()).filter(|i| *i != primary) {
        let mut connection = Connection::tls(network.addresses(i)?.client, &pem)?;
        // Committed when the answer comes: the same node shows it at once.
        let transfer = account.transfer(nonce, receiver, U256::from(1));
        let body = call_body(1, "eth_sendRawTransaction", &json!([transfer.raw])).to_string();
        let response = connection.post_json("/?wait=committed", body.as_bytes())?;
        ensure!(response.json()?["result"] == json!(transfer.hash), "{}", response.json()?);
        let id = transaction_id(&response)?;
        let status = connection.get(&format!("/app/tx?transaction_id={id}"))?.json()?;
        ensure!(status["status"] == "Committed", "n{i}: {status}");
        let mut rpc = Rpc::over(connection);
        let receipt = &rpc.receipts(&[transfer.hash])?[0];
        ensure!(
            receipt["status"] == "0x1",
            "n{i} does not show what it called committed: {receipt}"
        );
        nonce += 1;
        ensure!(rpc.nonces(&[account.address], "latest")? == [nonce], "n{i}: nonce {nonce}");
        ensure!(rpc.balances(&[receiver])? == [U256::from(nonce)]);

        // The same again gives the first result, on any node.
        for other in 0..network.len() {
            let mut rpc = Rpc::to(network.addresses(other)?.development)?;
            let again = rpc.call("eth_sendRawTransactionSync", &json!([transfer.raw]))?;
            ensure!(again["blockHash"] == receipt["blockHash"], "n{other}: {again}");
        }

        // With its receipt in one round trip.
        let transfer = account.transfer(nonce, receiver, U256::from(1));
        let receipt = rpc.call("eth_sendRawTransactionSync", &json!([transfer.raw, "0x1388"]))?;
        ensure!(
            receipt["transactionHash"] == json!(transfer.hash) && receipt["status"] == "0x1",
            "{receipt}"
        );
        nonce += 1;
        ensure!(rpc.block_number()? >= number(&receipt["blockNumber"])?);

        // Without waiting: the id in the header becomes committed everywhere.
        let transfer = account.transfer(nonce, receiver, U256::from(1));
        let mut connection = Connection::tls(network.addresses(i)?.client, &pem)?;
        let body = call_body(1, "eth_sendRawTransaction", &json!([transfer.raw])).to_string();
        let id = transaction_id(&connection.post_json("/", body.as_bytes())?)?;
        nonce += 1;
        for other in 0..network.len() {
            let mut connection =
                Connection::plain(network.addresses(other)?.development, PATIENCE)?;
            until("it is committed everywhere", COMMIT_TIME, || {
                let shown = connection.get(&format!("/app/tx?transaction_id={id}"))?.json()?;
                ensure!(shown["status"] != "Invalid", "{shown}");
                Ok(shown["status"] == "Committed")
            })?;
        }
    }
    network.finish()
}

/// A request that was signed by CCF's tool, by somebody who is no member here.
const SIGNED: &[u8] = include_bytes!("../../../coco-governance/tests/vectors/p256.proposal.cose");

/// Every node takes requests of members; backups have the primary say who is one.
#[test]
fn requests_of_strangers_are_refused_on_every_node() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    network.await_primary(COMMIT_TIME)?;
    let path = "/gov/members/proposals:create?api-version=2024-07-01";
    let cose = ("content-type", "application/cose");
    for i in 0..network.len() {
        let mut connection = Connection::plain(network.addresses(i)?.development, PATIENCE)?;
        let refused = connection.request("POST", path, &[cose], SIGNED)?;
        ensure!(refused.status == 401, "n{i}: {}", refused.status);
        ensure!(refused.error_code()? == "InvalidAuthenticationInfo");
        let challenge = refused.header("www-authenticate");
        ensure!(challenge == Some("COSE-SIGN1 realm=\"Signed request access\""), "{challenge:?}");
        let details = refused.json()?["error"]["details"][0].clone();
        ensure!(details["auth_policy"] == "active_member_cose_sign1", "{details}");
        ensure!(details["message"].as_str().is_some_and(|text| text.contains("is no member")));
        for (path, headers, body, status, code) in [
            (path, &[][..], SIGNED, 415, "UnsupportedContentType"),
            (path, &[cose], b"junk", 401, "InvalidAuthenticationInfo"),
            ("/gov/members/proposals:create", &[cose], SIGNED, 400, "MissingApiVersionParameter"),
            (
                "/gov/members/proposals/7:withdraw?api-version=2024-07-01",
                &[cose],
                SIGNED,
                400,
                "InvalidResourceName",
            ),
        ] {
            let answer = connection.request("POST", path, headers, body)?;
            ensure!(
                answer.status == status && answer.error_code()? == code,
                "n{i} {path}: {}",
                answer.status
            );
        }
    }
    network.finish()
}

#[test]
fn http_2_over_tls() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |_| {})?;
    network.start_all()?;
    let address = network.addresses(0)?.client;
    let pem = network.service_cert_pem()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let account = network.accounts[0].clone();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_config(&pem, &[b"h2"])?));
        let stream = connector.connect(address.ip().into(), stream).await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "HTTP/2 was not agreed on");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await?;
        let connection = tokio::spawn(connection);
        let mut requests = tokio::task::JoinSet::new();
        for nonce in 0..STREAMS {
            let mut sender = sender.clone();
            let transfer = account.transfer(nonce as u64, Address::repeat_byte(4), U256::from(1));
            let body =
                call_body(nonce, "eth_sendRawTransactionSync", &json!([transfer.raw])).to_string();
            let request = Request::post(format!("https://{address}/"))
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))?;
            requests.spawn(async move {
                let response = sender.send_request(request).await?;
                ensure!(response.version() == Version::HTTP_2 && response.status() == 200);
                ensure!(response.headers().contains_key(TRANSACTION_ID), "no transaction id");
                let body: Value =
                    serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
                ensure!(body["id"] == nonce && body["result"]["status"] == "0x1", "{body}");
                Ok(())
            });
        }
        while let Some(done) = requests.join_next().await {
            done??;
        }
        drop(sender);
        connection.await??;
        Ok(())
    })?;
    network.finish()
}

/// Runs one of the auditor's commands.
fn audit(arguments: &[&str], service_cert: &Path) -> anyhow::Result<Output> {
    let cert = service_cert.to_str().context("a path in UTF-8")?;
    coco(&[arguments, &["--service-cert", cert]].concat())
}

/// What it refuses must be refused with the exit code that is documented, and the reason must name these words.
fn refused(output: &Output, what: &str, words: &[&str]) -> anyhow::Result<()> {
    let errors = errors_of(output);
    ensure!(output.status.code() == Some(DOES_NOT_VERIFY), "{what}: {}: {errors}", output.status);
    for word in words {
        ensure!(errors.contains(word), "{what}: {errors:?} does not name {word}");
    }
    Ok(())
}

/// Flips the lowest bit of one byte of a file.
fn flip(path: &Path, at: usize) -> anyhow::Result<()> {
    let mut bytes = fs::read(path)?;
    let byte =
        bytes.get_mut(at).with_context(|| format!("{} is shorter than {at}", path.display()))?;
    *byte ^= 1;
    fs::write(path, bytes)?;
    Ok(())
}

#[test]
fn receipts_verify_and_flipped_ones_do_not() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let other = Network::service_of_another(&network)?;
    let cert = network.service_cert();
    let mut transactions: Vec<TxId> =
        (0..3).map(|nonce| write(&network, 0, nonce)).collect::<anyhow::Result<_>>()?;
    // The first entry of all, and the genesis state.
    transactions.extend(["2.1".parse::<TxId>()?, "2.3".parse()?]);
    for (i, id) in transactions.iter().enumerate() {
        let url = format!("https://{}", network.addresses(i % network.len())?.client);
        for form in ["json", "cose"] {
            let file = network.scratch().join(format!("receipt-{id}.{form}"));
            let path = file.to_str().context("a path in UTF-8")?.to_owned();
            let id = id.to_string();
            let fetched = audit(
                &["receipt", "get", &id, "--url", &url, "--form", form, "--out", &path],
                &cert,
            )?;
            ensure!(fetched.status.success(), "{id} {form}: {}", errors_of(&fetched));
            let verified = audit(&["receipt", "verify", &path], &cert)?;
            ensure!(verified.status.success(), "{id} {form}: {}", errors_of(&verified));
            let said = String::from_utf8_lossy(&verified.stdout).into_owned();
            ensure!(said.contains(&format!("transaction {id}")), "{id} {form}: {said}");
            refused(
                &audit(&["receipt", "verify", &path], &other)?,
                "under another service's certificate",
                &[],
            )?;
        }
    }
    flipped_receipts(&network, transactions[0])?;
    let beyond = format!("{}.{}", transactions[0].view, transactions[0].seqno.0 + 1_000_000);
    let early = audit(
        &["receipt", "get", &beyond, "--url", &format!("https://{}", network.addresses(0)?.client)],
        &cert,
    )?;
    ensure!(early.status.code() == Some(4), "a receipt of nothing: {}", early.status);
    ensure!(errors_of(&early).contains("TransactionPendingOrUnknown"), "{}", errors_of(&early));
    fs::remove_file(other)?;
    network.finish()
}

impl Network {
    /// The certificate of a service that has nothing to do with `network`, in a file.
    fn service_of_another(network: &Self) -> anyhow::Result<PathBuf> {
        let folder = network.scratch().join("another");
        let path = folder.to_str().context("a path in UTF-8")?;
        let dev = super::dev::Dev::start(&["--dir", path, "--nodes", "1", "--port", "0"])?;
        let cert = network.scratch().join("another_service_cert.pem");
        fs::copy(&dev.service_cert, &cert)?;
        ensure!(dev.interrupt()?.success());
        fs::remove_dir_all(folder)?;
        Ok(cert)
    }
}

/// Every part of a receipt matters: one flipped bit in it, and it is refused.
fn flipped_receipts(network: &Network, id: TxId) -> anyhow::Result<()> {
    let cert = network.service_cert();
    let json = network.scratch().join(format!("receipt-{id}.json"));
    let text = fs::read_to_string(&json)?;
    let receipt: Value = serde_json::from_str(&text)?;
    let parts = [
        receipt["signature"].as_str(),
        receipt["proof"][0]["left"].as_str().or(receipt["proof"][0]["right"].as_str()),
        receipt["leaf_components"]["write_set_digest"].as_str(),
        receipt["leaf_components"]["commit_evidence"].as_str(),
        receipt["leaf_components"]["claims_digest"].as_str(),
        receipt["node_id"].as_str(),
        receipt["cert"].as_str().and_then(|cert| cert.get(60..80)),
    ];
    let mut places: Vec<usize> = Vec::new();
    for part in parts {
        let part = part.with_context(|| format!("a part is missing in {text}"))?;
        // The PEM text has no newline at its 60th to 80th character, so it stands there as it is.
        let at = text.find(part).with_context(|| format!("{part} in {text}"))?;
        places.extend([at, at + part.len() / 2]);
    }
    let cose = network.scratch().join(format!("receipt-{id}.cose"));
    let length = fs::read(&cose)?.len();
    let cose_places: Vec<usize> =
        (0..length).step_by(length / FLIPS + 1).chain([length - 1]).collect();
    for (path, places) in [(json, places), (cose, cose_places)] {
        for at in places {
            let name = path.to_str().context("a path in UTF-8")?;
            flip(&path, at)?;
            refused(
                &audit(&["receipt", "verify", name], &cert)?,
                &format!("{name}, byte {at} flipped"),
                &[name],
            )?;
            flip(&path, at)?;
        }
        let name = path.to_str().context("a path in UTF-8")?;
        ensure!(audit(&["receipt", "verify", name], &cert)?.status.success(), "{name} as it was");
    }
    Ok(())
}

#[test]
fn flipped_ledgers_do_not_verify() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |config| config.ledger.chunk_bytes = 20_000)?;
    network.start_all()?;
    let mut last = None;
    for nonce in 0..60 {
        last = Some(write(&network, 0, nonce)?);
    }
    let last = last.context("something was written")?;
    let committed = committed_everywhere(&network)?;
    ensure!(committed.seqno >= last.seqno, "{committed} covers {last}");
    let (ledger, cert) = (network.ledger_folder(0), network.service_cert());
    let receipt = receipt_of(&network, last)?;
    network.stop_all()?;
    let folder = ledger.to_str().context("a path in UTF-8")?;
    let last_seqno = last.seqno;
    let last = last.to_string();
    let verify = || audit(&["ledger", "verify", folder, "--at-least", &last], &cert);
    let verified = verify()?;
    ensure!(verified.status.success(), "as it is: {}", errors_of(&verified));
    let shown = coco(&["ledger", "show", folder, "--limit", "10"])?;
    ensure!(
        shown.status.success()
            && String::from_utf8_lossy(&shown.stdout).contains("public:ccf.gov.nodes.info")
    );

    let chunks = chunks(&ledger)?;
    ensure!(chunks.len() > 2, "only {} chunks", chunks.len());
    refuse_flips(&chunks, committed, &verify)?;
    refuse_pieces(&chunks, &verify)?;
    // A chunk that is missing, and a ledger that ends before what the auditor was shown.
    let (name, path) = &chunks[1];
    let aside = network.scratch().join("aside");
    fs::rename(path, &aside)?;
    refused(&verify()?, &format!("{name} is missing"), &[])?;
    fs::rename(&aside, path)?;
    let beyond = format!("{}.{}", committed.view, committed.seqno.0 + 1000);
    refused(
        &audit(&["ledger", "verify", folder, "--at-least", &beyond], &cert)?,
        "a ledger that ends too early",
        &[],
    )?;
    ensure!(verify()?.status.success(), "as it was");
    // Cut at a signature entry, the ledger is a valid one; whoever kept a receipt from later knows better.
    let with_receipt = || audit(&["ledger", "verify", folder, "--receipt", &receipt], &cert);
    ensure!(with_receipt()?.status.success(), "with the receipt of its last transaction");
    for (name, path) in &chunks {
        if name.last.is_none_or(|last| last >= last_seqno) {
            fs::remove_file(path)?;
        }
    }
    let cut = audit(&["ledger", "verify", folder], &cert)?;
    ensure!(cut.status.success(), "cut at a signature: {}", errors_of(&cut));
    refused(&with_receipt()?, "a cut ledger under a later receipt", &[&receipt, "seqno"])?;
    network.finish()
}

type Verify<'a> = &'a dyn Fn() -> anyhow::Result<Output>;

/// Flips bytes of all chunks that are under a signature, one after the other.
fn refuse_flips(
    chunks: &[(ChunkName, PathBuf)],
    committed: TxId,
    verify: Verify<'_>,
) -> anyhow::Result<()> {
    for (name, path) in chunks {
        let bytes = fs::read(path)?;
        let end = usize::try_from(signed_end(&bytes, committed)?)?;
        let file = name.to_string();
        for at in (0..end).step_by(end * chunks.len() / FLIPS + 1) {
            flip(path, at)?;
            let output = verify()?;
            flip(path, at)?;
            refused_at(&output, &format!("{file}, byte {at} flipped"), name, &bytes)?;
        }
    }
    // The service's own row, which is looked at before anything is verified.
    let (name, path) = &chunks[0];
    let bytes = fs::read(path)?;
    let find = |from: usize, word: &[u8]| {
        let at = bytes[from..].windows(word.len()).position(|window| window == word);
        at.map(|at| from + at).with_context(|| format!("{name} does not have what is sought"))
    };
    let pem = find(find(0, SERVICE_MAP.as_bytes())?, b"BEGIN CERT")?;
    for at in [2, 40, 200].map(|after| pem + after) {
        flip(path, at)?;
        let output = verify()?;
        flip(path, at)?;
        refused_at(&output, &format!("byte {at} of the service's row flipped"), name, &bytes)?;
    }
    Ok(())
}

/// Puts other entries into each closed chunk, and other chunks into its place.
fn refuse_pieces(chunks: &[(ChunkName, PathBuf)], verify: Verify<'_>) -> anyhow::Result<()> {
    for (n, (name, path)) in chunks.iter().enumerate().filter(|(_, (name, _))| name.last.is_some())
    {
        let bytes = fs::read(path)?;
        let next = chunks.get(n + 1).map(|(_, path)| fs::read(path)).transpose()?;
        for (what, changed) in rearranged(&bytes, next)? {
            fs::write(path, &changed)?;
            let output = verify()?;
            fs::write(path, &bytes)?;
            refused_at(&output, &format!("{name}: {what}"), name, &changed)?;
        }
    }
    Ok(())
}

/// Refused, with the chunk, and an offset and a seqno in it.
fn refused_at(output: &Output, what: &str, name: &ChunkName, bytes: &[u8]) -> anyhow::Result<()> {
    refused(output, what, &[&format!("{name} at offset ")])?;
    let errors = errors_of(output);
    let number = |after: &str| -> anyhow::Result<u64> {
        let (_, rest) = errors.split_once(after).with_context(|| format!("{what}: {errors}"))?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        Ok(rest[..end].parse()?)
    };
    let (offset, seqno) = (number("at offset ")?, number(", seqno ")?);
    ensure!(offset <= bytes.len() as u64, "{what}: offset {offset}");
    // What is missing at the end of a chunk is the entry after it.
    let end = name.last.map_or(u64::MAX, |last| last.0 + 1);
    ensure!((name.first.0..=end).contains(&seqno), "{what}: seqno {seqno}");
    Ok(())
}

/// A closed chunk with its entries changed under a table that fits them, cut, and with the contents of the next one.
fn rearranged(bytes: &[u8], next: Option<Vec<u8>>) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let chunk = Chunk::parse(bytes)?;
    let entries: Vec<&[u8]> = chunk.entries.iter().map(|(_, entry)| entry.bytes()).collect();
    let middle = entries.len() / 2;
    let changed = |change: &dyn Fn(&mut Vec<&[u8]>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        closed(&entries)
    };
    let (at, _) = chunk.entries[middle];
    let mut all = vec![
        (
            "an entry dropped",
            changed(&|entries| {
                entries.remove(middle);
            })?,
        ),
        ("two entries swapped", changed(&|entries| entries.swap(middle - 1, middle))?),
        ("an entry doubled", changed(&|entries| entries.insert(middle, entries[middle]))?),
        ("an entry instead of another", changed(&|entries| entries[middle] = entries[middle - 1])?),
        ("cut before an entry", bytes[..usize::try_from(at)?].to_vec()),
        ("cut inside of an entry", bytes[..usize::try_from(at)? + 40].to_vec()),
        ("cut in its table", bytes[..bytes.len() - 2].to_vec()),
    ];
    all.extend(next.map(|next| ("the contents of the next chunk", next)));
    Ok(all)
}

/// A closed chunk file of these entries.
fn closed(entries: &[&[u8]]) -> anyhow::Result<Vec<u8>> {
    let (mut file, mut offsets) = (open_chunk().to_vec(), Vec::new());
    for entry in entries {
        offsets.push(u32::try_from(file.len())?);
        file.extend_from_slice(entry);
    }
    let (header, table) = close_chunk(&offsets, file.len() as u64);
    file[..header.len()].copy_from_slice(&header);
    Ok([file, table].concat())
}

/// Fetches the receipt of a transaction into a file.
fn receipt_of(network: &Network, id: TxId) -> anyhow::Result<String> {
    let file = network.scratch().join(format!("receipt-{id}.json"));
    let path = file.to_str().context("a path in UTF-8")?.to_owned();
    let (id, url) = (id.to_string(), format!("https://{}", network.addresses(0)?.client));
    let fetched =
        audit(&["receipt", "get", &id, "--url", &url, "--out", &path], &network.service_cert())?;
    ensure!(fetched.status.success(), "{id}: {}", errors_of(&fetched));
    Ok(path)
}

/// Where what is under a signature ends in a chunk: before the last signature entry, when the chunk holds the end.
fn signed_end(bytes: &[u8], committed: TxId) -> anyhow::Result<u64> {
    let chunk = Chunk::parse(bytes)?;
    let last = chunk
        .entries
        .iter()
        .rev()
        .find(|(_, entry)| entry.is_signature() && entry.tx_id().seqno >= committed.seqno);
    Ok(last.map_or(bytes.len() as u64, |(offset, _)| *offset))
}

//! A node of a new operator: it introduces itself, members trust it, it copies the ledger and votes; others leave.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use anyhow::{Context, ensure};
use coco_attest::{InsecureEvidence, ReportData};
use coco_client::{
    Client, ServiceIdentity, Settings,
    join::{Interface, JoinRequest, NodeInfoNetwork, QuoteInfo, RpcInterfaces},
};
use coco_crypto::{
    AltName, Certificate, Curve, DecryptionKey, NodeRequest, SigningKey, Validity,
    member_certificate,
};
use coco_node::config::OperatorFeature;
use coco_types::{Digest, NodeId, TxId};
use serde_json::{Value, json};

use super::{
    cluster::Network,
    http::{Connection, PATIENCE, Response},
    ledger::verify,
    members::{Desk, Member, decide},
    opening,
    program::{program, until},
    rpc::Rpc,
};

/// Time for a node to be trusted, to copy the ledger, and to vote.
const TIME: Duration = Duration::from_secs(30);

/// A process of this test, ended with it.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        let child = Command::new(program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn();
        Ok(Self(child.context("cannot run the program under test")?))
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self, time: Duration) -> anyhow::Result<ExitStatus> {
        until("it ends", time, || Ok(self.0.try_wait()?.is_some()))?;
        Ok(self.0.wait()?)
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_up(&self) -> anyhow::Result<bool> {
        Ok(Path::new("/proc").join(self.0.id().to_string()).join("exe").read_link().is_ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(crate) fn plain(network: &Network, i: usize) -> anyhow::Result<Connection> {
    Connection::plain(network.addresses(i)?.development, PATIENCE)
}

/// The nodes that vote, as one of them says.
pub(crate) fn voters(connection: &mut Connection) -> anyhow::Result<Vec<String>> {
    let answer = connection.get("/node/consensus")?.json()?;
    let details = &answer["details"];
    ensure!(details["configs"].as_array().is_some_and(|configs| configs.len() == 1), "{answer}");
    let nodes = details["configs"][0]["nodes"].as_object().context("nodes")?;
    let is_learner = |id: &str| details["learners"].get(id).is_some();
    Ok(nodes.keys().filter(|id| !is_learner(id)).cloned().collect())
}

pub(crate) fn send(network: &Network, i: usize) -> anyhow::Result<u64> {
    let mut rpc = Rpc::to(network.addresses(i)?.development)?;
    let account = &network.accounts[0];
    let nonce = rpc.nonces(&[account.address], "latest")?[0];
    let transfer = account.transfer(nonce, Address::repeat_byte(7), U256::from(1));
    rpc.call("eth_sendRawTransaction", &json!([transfer.raw]))?;
    until(
        "the transfer counts",
        TIME,
        || Ok(rpc.nonces(&[account.address], "latest")?[0] > nonce),
    )?;
    rpc.block_number()
}

/// Whether a node shows this block as its newest.
pub(crate) fn shows(
    client: SocketAddr,
    service_cert_pem: &str,
    block: u64,
) -> anyhow::Result<bool> {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
    let mut node = Connection::tls(client, service_cert_pem)?;
    let answer = node.post_json("/", call.to_string().as_bytes())?.json()?;
    Ok(answer["result"] == format!("{block:#x}"))
}

/// `coco network join`, at a backup or not.
pub(crate) fn join(
    network: &Network,
    folder: &Path,
    [client, peer]: [SocketAddr; 2],
    said: &Path,
) -> anyhow::Result<Running> {
    let service = Certificate::from_pem(&network.service_cert_pem()?)?;
    let (url, id) = (
        format!("https://{}", network.addresses(1)?.client),
        ServiceIdentity::of(&service).to_string(),
    );
    let (client, peer, wait) = (client.to_string(), peer.to_string(), TIME.as_secs().to_string());
    let folder = folder.to_str().context("UTF-8")?;
    let where_to = ["network", "join", &url, "--service-id", &id, "--dir", folder];
    let how = ["--client", &client, "--peer", &peer, "--wait", &wait];
    Running::start(&[&where_to[..], &how[..]].concat(), said)
}

#[test]
fn a_node_of_a_new_operator_joins_by_a_vote_and_another_leaves() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |config| {
        config.client.enabled_operator_features = [OperatorFeature::NodeRemove].into();
    })?;
    network.start_all()?;
    let members = ["acme", "bank"].map(|name| Member::load(network.scratch(), name));
    let [acme, bank] = members;
    let (acme, bank) = (acme?, bank?);
    let folder = network.scratch().join("n3");
    let client = free_address()?;
    let [said, moved_log] = ["join.log", "moved.log"].map(|name| network.scratch().join(name));
    // Who it is stands fixed before it asks.
    let desk = Desk::in_folder(network.scratch());
    let place = folder.to_str().context("UTF-8")?;
    let made = desk.run(&["node", "init", "--dir", place, "--output", "json"])?.json();
    let node = made["node_id"].as_str().context("an id")?.to_owned();
    desk.run(&["node", "init", "--dir", place])?.failed(5, "COCO-1003");
    // It asks, is ended, and asks again: it is one node.
    let place = [client, free_address()?];
    drop(join(&network, &folder, place, &said)?);
    let mut joining = join(&network, &folder, place, &said)?;
    until("it is pending", TIME, || {
        let nodes = plain(&network, 2)?.get("/gov/service/nodes?api-version=2024-07-01")?.json()?;
        let nodes = nodes["value"].as_array().context("a list")?.iter();
        let pending: Vec<&Value> = nodes.filter(|node| node["status"] == "Pending").collect();
        ensure!(pending.len() <= 1, "{pending:?}");
        Ok(pending.first().is_some_and(|pending| pending["nodeId"] == *node))
    })?;
    ensure!(!folder.join("node.toml").exists(), "nobody trusts it yet");
    // The ledger has where it is reached, from when it asked first.
    let moved = join(&network, &folder, [client, free_address()?], &moved_log)?.0.wait()?;
    ensure!(moved.code() == Some(5), "{}", fs::read_to_string(&moved_log)?);
    decide(
        &mut plain(&network, 0)?,
        &[&acme, &bank],
        "transition_node_to_trusted",
        &json!({ "node_id": node }),
    )?;
    until("it has its keys", TIME, || Ok(joining.0.try_wait()?.is_some()))?;
    let has_joined = joining.0.wait()?.success();
    let said = fs::read_to_string(&said)?;
    ensure!(has_joined && said.contains("platform virtual. It protects nothing"), "{said}");
    ensure!(!folder.join("newcomer.virtual-sealed").exists(), "its keys are in its identity now");

    let config = folder.join("node.toml");
    opening::offer(&config, OperatorFeature::NodeRemove)?;
    let config = config.to_str().context("UTF-8")?;
    let log = network.scratch().join("n3.log");
    let _running = Running::start(&["node", "start", "--config", config], &log)?;
    until("it votes", TIME, || Ok(voters(&mut plain(&network, 0)?)?.contains(&node)))?;
    ensure!(voters(&mut plain(&network, 0)?)?.len() == 4, "there are four");

    // Two of the first three and the newcomer are a majority of four.
    network.kill(&[2])?;
    // The newcomer may be the next primary.
    let block = send(&network, 0)?;
    let service = network.service_cert_pem()?;
    until("the newcomer shows it", TIME, || shows(client, &service, block))?;

    // The one that is gone leaves by a vote.
    let gone = network.config(2)?.nodes[2].id.clone();
    decide(&mut plain(&network, 0)?, &[&acme, &bank], "remove_node", &json!({ "node_id": gone }))?;
    until("it has left", TIME, || {
        let voters = voters(&mut plain(&network, 1)?)?;
        Ok(voters.len() == 3 && !voters.contains(&gone))
    })?;
    let of_it = remove_row(&network, &node)?;
    ensure!(of_it.status == 400 && of_it.error_code()? == "NodeNotRetiredCommitted", "it votes");
    is_removed_once(&network, &gone)?;
    send(&network, 1)?;
    network.stop_all()?;
    // An auditor finds that each step was one by the rules.
    verify(&network, 1, TxId::new(2, 4))?;
    network.finish()
}

/// What the ledger says of a node that left is there until an operator has it removed.
fn is_removed_once(network: &Network, gone: &str) -> anyhow::Result<()> {
    let is_removable = || -> anyhow::Result<bool> {
        let all = plain(network, 1)?.get("/node/network/removable_nodes")?.json()?;
        Ok(all.to_string().contains(gone))
    };
    until("nobody needs it", TIME, is_removable)?;
    let removed = remove_row(network, gone)?;
    ensure!(removed.status == 200 && removed.json()? == json!(true), "{}", removed.status);
    until("all know", TIME, || Ok(!is_removable()?))?;
    let again = remove_row(network, gone)?;
    ensure!(again.status == 404 && again.error_code()? == "ResourceNotFound", "{}", again.status);
    Ok(())
}

/// Has the primary remove what the ledger says of a node, which another one may have to name.
fn remove_row(network: &Network, node: &str) -> anyhow::Result<Response> {
    let path = format!("/node/network/nodes/{node}");
    let answer = plain(network, 0)?.request("DELETE", &path, &[], b"")?;
    let Some(primary) = answer.header("location").filter(|_| answer.status == 308) else {
        return Ok(answer);
    };
    let place = primary.strip_prefix("https://").and_then(|rest| rest.strip_suffix(&path));
    let place = place.with_context(|| primary.to_owned())?.parse()?;
    Connection::tls(place, &network.service_cert_pem()?)?.request("DELETE", &path, &[], b"")
}

/// A node of a new operator, from the time at which it asks.
struct Newcomer {
    id: String,
    config: PathBuf,
    log: PathBuf,
    client: SocketAddr,
    asks: Running,
}

impl Newcomer {
    fn asks(network: &Network, name: &str) -> anyhow::Result<Self> {
        let folder = network.scratch().join(name);
        let place = folder.to_str().context("UTF-8")?;
        let desk = Desk::in_folder(network.scratch());
        let made = desk.run(&["node", "init", "--dir", place, "--output", "json"])?.json();
        let id = made["node_id"].as_str().context("an id")?.to_owned();
        let client = free_address()?;
        let said = network.scratch().join(format!("{name}.join"));
        let asks = join(network, &folder, [client, free_address()?], &said)?;
        let log = network.scratch().join(format!("{name}.log"));
        Ok(Self { id, config: folder.join("node.toml"), log, client, asks })
    }

    fn start(&mut self) -> anyhow::Result<Running> {
        until("it has its keys", TIME, || Ok(self.asks.0.try_wait()?.is_some()))?;
        let config = self.config.to_str().context("UTF-8")?;
        Running::start(&["node", "start", "--config", config], &self.log)
    }
}

/// The nodes that only listen, as one of those that vote says.
fn learners(connection: &mut Connection) -> anyhow::Result<Vec<String>> {
    let answer = connection.get("/node/consensus")?.json()?;
    let learners = answer["details"]["learners"].as_object().context("learners")?;
    Ok(learners.keys().cloned().collect())
}

/// A read replica that is away when it likes; then two of three nodes, the primary among them, make room for two others.
#[test]
fn a_learner_is_missed_by_nobody_and_two_nodes_are_replaced_in_one_step() -> anyhow::Result<()> {
    let mut network = Network::provision(3, |_| {})?;
    network.start_all()?;
    let [acme, bank] = ["acme", "bank"].map(|name| Member::load(network.scratch(), name));
    let (acme, bank) = (acme?, bank?);
    let mut all = ["n3", "n4"].map(|name| Newcomer::asks(&network, name));
    let [first, second] = &mut all;
    let (first, second) = (first.as_mut().expect("it asks"), second.as_mut().expect("it asks"));
    let is_pending = |id: &str| -> anyhow::Result<bool> {
        let nodes = plain(&network, 2)?.get("/gov/service/nodes?api-version=2024-07-01")?.json()?;
        Ok(nodes["value"].as_array().context("a list")?.iter().any(|node| node["nodeId"] == *id))
    };
    for newcomer in [&*first, &*second] {
        until("it is pending", TIME, || is_pending(&newcomer.id))?;
    }
    let decided = |action: &str, args: &Value| {
        decide(&mut plain(&network, 2)?, &[&acme, &bank], action, args)
    };
    decided("transition_node_to_trusted", &json!({ "node_id": first.id, "learner": true }))?;
    let running = first.start()?;
    let service = network.service_cert_pem()?;
    let client = first.client;
    // It may be away, or on its way.
    let shows = |block: u64| Ok(shows(client, &service, block).unwrap_or(false));
    let block = send(&network, 2)?;
    until("the learner shows it", TIME, || shows(block))?;
    until("it listens", TIME, || Ok(learners(&mut plain(&network, 2)?)? == [first.id.clone()]))?;
    ensure!(voters(&mut plain(&network, 2)?)?.len() == 3, "and does not vote");
    // It goes home for the night. When it comes back it is another node, and listens again.
    drop(running);
    let block = send(&network, 2)?;
    let running = first.start()?;
    until("the learner has what it missed", TIME, || shows(block))?;
    until("it has its place again", TIME, || {
        let now = learners(&mut plain(&network, 2)?)?;
        Ok(now.len() == 1 && now != [first.id.clone()])
    })?;
    ensure!(voters(&mut plain(&network, 2)?)?.len() == 3, "it still does not vote");

    let leave = [0, 1].map(|i| network.config(2).map(|config| config.nodes[i].id.clone()));
    let [one, other] = leave;
    let leave = [one?, other?];
    decided("replace_nodes", &json!({ "remove": leave, "add": [first.id, second.id] }))?;
    // One of the two that come is not there yet: everything stays as it was.
    send(&network, 2)?;
    let now = voters(&mut plain(&network, 2)?)?;
    ensure!(now.len() == 3 && leave.iter().all(|id| now.contains(id)), "{now:?}");
    let _second = second.start()?;
    until("they are replaced", TIME, || {
        let Ok(now) = voters(&mut plain(&network, 2)?) else { return Ok(false) };
        Ok(now.len() == 3 && now.contains(&second.id) && !leave.iter().any(|id| now.contains(id)))
    })?;
    until("both end by themselves", TIME, || Ok(network.has_ended(0)? && network.has_ended(1)?))?;
    network.kill(&[0, 1])?;
    let block = send(&network, 2)?;
    until("a node that voted never before shows it", TIME, || shows(block))?;
    drop(running);
    network.stop_all()?;
    verify(&network, 2, TxId::new(2, 4))?;
    network.finish()
}

/// What the holder of a certificate's key says who wants to be a node: that it runs code that nobody knows, unless that is
/// changed.
pub(crate) fn join_request(data: ReportData, change: impl FnOnce(&mut Said)) -> JoinRequest {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut said = Said { code: Digest([0xab; 32]), data };
    change(&mut said);
    let quote = InsecureEvidence::new(&said.code, &said.data).encode();
    let interface = || Interface { published_address: "127.0.0.1:1".to_owned() };
    JoinRequest {
        node_info_network: NodeInfoNetwork {
            node_to_node_interface: interface(),
            rpc_interfaces: RpcInterfaces { primary_rpc_interface: interface() },
        },
        quote_info: QuoteInfo {
            format: "Insecure_Virtual".to_owned(),
            quote: STANDARD.encode(quote),
            ..QuoteInfo::default()
        },
        public_encryption_key: DecryptionKey::generate().public().pem(),
        certificate_signing_request: None,
    }
}

/// What evidence says.
pub(crate) struct Said {
    pub(crate) code: Digest,
    pub(crate) data: ReportData,
}

/// Someone who asks to be a node.
pub(crate) struct Stranger {
    key: SigningKey,
    pub(crate) certificate: Certificate,
}

impl Stranger {
    pub(crate) fn new(curve: Curve) -> anyhow::Result<Self> {
        let key = SigningKey::generate(curve);
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let certificate = member_certificate(&key, "node", validity)?;
        Ok(Self { key, certificate })
    }

    /// A request for certificates, signed by it, for these names.
    pub(crate) fn signs(&self, names: &[AltName]) -> anyhow::Result<String> {
        Ok(NodeRequest::new(&self.key, names)?.pem())
    }

    /// Asks, with what `says` makes of what the connection binds; the status it is told, or the code of a refusal.
    pub(crate) fn ask(
        &self,
        network: &Network,
        says: impl Fn(&ReportData) -> JoinRequest + Send + Sync + 'static,
    ) -> anyhow::Result<String> {
        let service = Certificate::from_pem(&network.service_cert_pem()?)?;
        let primary = network.primary()?.context("there is a primary")?;
        let endpoint = format!("https://{}", network.addresses(primary)?.client).parse()?;
        let (key, certificate) = (&self.key, &self.certificate);
        let client =
            Client::as_node(service, vec![endpoint], Settings::default(), key, certificate)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let node = certificate.key().node_id();
        match runtime.block_on(client.join(node, move |data| Ok(says(data)))) {
            Ok(response) => Ok(response.node_status),
            Err(error) => Ok(error.refusal().context("a refusal")?.code.clone()),
        }
    }
}

/// What a stranger says that runs code which nobody knows, unless that is changed.
fn says(
    change: impl Fn(&mut Said) + Send + Sync + 'static,
) -> impl Fn(&ReportData) -> JoinRequest + Send + Sync + 'static {
    move |data| join_request(*data, &change)
}

/// The same with a change of what it says besides.
fn says_also(
    change: impl Fn(&mut JoinRequest) + Send + Sync + 'static,
) -> impl Fn(&ReportData) -> JoinRequest + Send + Sync + 'static {
    move |data| {
        let mut request = join_request(*data, |_| {});
        change(&mut request);
        request
    }
}

#[test]
fn strangers_get_nothing() -> anyhow::Result<()> {
    let mut network = Network::provision(1, |_| {})?;
    network.start_all()?;
    let stranger = Stranger::new(Curve::P384)?;
    let is = |found: String, expected: &str| {
        ensure!(found == expected, "{found} instead of {expected}");
        Ok(())
    };
    // Code that members have not admitted, evidence of another key or another connection, evidence of another kind, a key of another
    // kind.
    is(stranger.ask(&network, says(|_| {}))?, "InvalidQuote")?;
    let other = says(|said| said.data.node = NodeId([0xcd; 32]));
    is(stranger.ask(&network, other)?, "InvalidQuote")?;
    let other = says_also(|request| request.quote_info.format = "AMD_SEV_SNP_v1".to_owned());
    is(stranger.ask(&network, other)?, "InvalidQuote")?;
    let weak = Stranger::new(Curve::P256)?;
    is(weak.ask(&network, says(|_| {}))?, "InvalidAuthenticationInfo")?;
    // Requests for certificates of another key, for other names, and none at all.
    let names = [AltName::Dns("n1.acme.example".to_owned())];
    let another = Stranger::new(Curve::P384)?;
    for signed in [another.signs(&[])?, stranger.signs(&names)?, "PEM".to_owned()] {
        let forged =
            says_also(move |request| request.certificate_signing_request = Some(signed.clone()));
        is(stranger.ask(&network, forged)?, "InvalidInput")?;
    }
    // Whoever shows no certificate at all.
    let mut connection =
        Connection::tls(network.addresses(0)?.client, &network.service_cert_pem()?)?;
    let service = Certificate::from_pem(&network.service_cert_pem()?)?;
    let data = connection.report_data(stranger.certificate.key().node_id(), &service)?;
    let body = serde_json::to_vec(&join_request(data, |_| {}))?;
    let answer = connection.post_json("/node/join", &body)?;
    ensure!(answer.status == 401, "{}", answer.status);
    // Once members admit the code it is known, and still gets nothing.
    let [acme, bank] = ["acme", "bank"].map(|name| Member::load(network.scratch(), name));
    let (acme, bank) = (acme?, bank?);
    let decided = |action: &str, args: &Value| {
        decide(&mut plain(&network, 0)?, &[&acme, &bank], action, args)
    };
    let code = json!({ "measurement": "ab".repeat(32) });
    decided("add_virtual_measurement", &code)?;
    is(stranger.ask(&network, says(|_| {}))?, "Pending")?;
    // What was shown on one connection proves nothing on the next: whoever saw it shows it in vain.
    let seen = Arc::new(OnceLock::new());
    let keeps = |seen: &Arc<OnceLock<ReportData>>| {
        let seen = Arc::clone(seen);
        move |data: &ReportData| join_request(*seen.get_or_init(|| *data), |_| {})
    };
    is(stranger.ask(&network, keeps(&seen))?, "Pending")?;
    is(stranger.ask(&network, keeps(&seen))?, "InvalidQuote")?;
    // Trusted, it gets the keys, but for code that nobody admits, or not any more.
    let node = stranger.certificate.key().node_id().to_string();
    decided("transition_node_to_trusted", &json!({ "node_id": node }))?;
    is(stranger.ask(&network, says(|_| {}))?, "Trusted")?;
    let other = says(|said| said.code = Digest([0xcd; 32]));
    is(stranger.ask(&network, other)?, "InvalidQuote")?;
    decided("remove_virtual_measurement", &code)?;
    is(stranger.ask(&network, says(|_| {}))?, "InvalidQuote")?;
    network.stop_all()?;
    network.finish()
}

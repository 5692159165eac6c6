//! `coco network join`: a key is shown with evidence, and trusted by members; then the node's folder is completed. Whoever stops
//! in between goes on as the same node, and a node that was quarantined comes again with its own folder.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_attest::ReportData;
use coco_client::{
    CallError, Client, Endpoint, ServiceIdentity, Settings,
    join::{
        Interface, JoinRequest, JoinResponse, NetworkInfo, NodeInfoNetwork, QuoteInfo,
        RpcInterfaces,
    },
};
use coco_crypto::{
    Certificate, Curve, NodeRequest, SecretBytes, SigningKey, Validity, member_certificate,
};
use coco_ledger::{LEDGER_SECRET_BYTES, LedgerSecret, LedgerSecrets, Period};
use coco_node::{
    address::HostPort, config::NodeAddress, identity::Identity, newcomer::Newcomer,
    platform::Platform,
};
use coco_replica::ShownEvidence;
use coco_types::Seqno;
use serde_json::json;

use super::place::PlaceArgs;
use crate::{
    codes::Code,
    fault::{Fault, chain},
    files,
    nodes::UNSAFE_PLATFORM,
    output::{Output, short},
    session::{certificate, endpoint, runtime},
    signing::now,
};

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long the certificate is valid that the node shows while it asks, in seconds.
const VALIDITY_SECONDS: u64 = 365 * 24 * 3600;

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// A node of the network, `https://host:port`
    url: String,
    /// The identity of the service, as a member told it: `sha256:` and 64 digits
    #[arg(long, value_name = "SHA256")]
    service_id: ServiceIdentity,
    #[command(flatten)]
    place: PlaceArgs,
    /// Go on from its own disk after a stop, if members have allowed that: believes the host of this machine
    #[arg(long)]
    from_disk: bool,
    /// How long to wait for the members, in seconds; for ever if left out
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// A node that asks for its place.
struct Applicant {
    keys: Newcomer,
    certificate: Certificate,
    service: Certificate,
    /// What it says, but for its evidence.
    request: JoinRequest,
    platform: Platform,
}

pub(crate) fn run(arguments: &JoinArgs, output: Output) -> Result<(), Fault> {
    let first = endpoint(&arguments.url)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let service = Client::danger_fetch_service_certificate(&first, Settings::default()).await?;
        let found = ServiceIdentity::of(&service);
        if found != arguments.service_id {
            let message = format!("the service there is {found}");
            return Err(Fault::new(Code::NotTheService, message));
        }
        eprintln!("1/4 service identity matches the pin");
        let keys = match arguments.place.node_of(&service)? {
            Some(keys) => keys,
            None => arguments.place.newcomer()?,
        };
        let applicant = Applicant::new(keys, service, arguments)?;
        let node = applicant.certificate.key().node_id().to_string();
        let is_unsafe = applicant.client(vec![first.clone()])?.version().await?.is_unsafe;
        if is_unsafe {
            eprintln!("    platform {UNSAFE_PLATFORM}");
        }
        let info = applicant.wait(first, &node, arguments.wait).await?;
        applicant.write(&info, arguments)?;
        let path = arguments.place.config_path().display().to_string();
        eprintln!("4/4 keys sealed, settings in {path}");
        let details = json!({ "node_id": node, "config": path, "unsafe": is_unsafe });
        output.print("network.join", details, || {
            format!("joined as node {}\nnext  coco node start --config {path}", short(&node))
        });
        Ok(())
    })
}

impl Applicant {
    fn new(keys: Newcomer, service: Certificate, arguments: &JoinArgs) -> Result<Self, Fault> {
        let Newcomer { key, encryption_key, .. } = &keys;
        let now = now()?;
        let validity =
            Validity { not_before: now.saturating_sub(3600), not_after: now + VALIDITY_SECONDS };
        let failed = |error: &dyn std::error::Error| Fault::new(Code::Failed, chain(error));
        let certificate =
            member_certificate(key, "node", validity).map_err(|error| failed(&error))?;
        let names = [&arguments.place.client, &arguments.place.peer].map(HostPort::alt_name);
        let asked = NodeRequest::new(key, &names).map_err(|error| failed(&error))?;
        let interface = |at: &HostPort| Interface { published_address: at.to_string() };
        let request = JoinRequest {
            node_info_network: NodeInfoNetwork {
                node_to_node_interface: interface(&arguments.place.peer),
                rpc_interfaces: RpcInterfaces {
                    primary_rpc_interface: interface(&arguments.place.client),
                },
            },
            quote_info: QuoteInfo::default(),
            public_encryption_key: encryption_key.public().pem(),
            certificate_signing_request: Some(asked.pem()),
        };
        let platform = Platform::default();
        Ok(Self { keys, certificate, service, request, platform })
    }

    /// Asks until members trust this node.
    async fn wait(
        &self,
        first: Endpoint,
        node: &str,
        wait_s: Option<u64>,
    ) -> Result<NetworkInfo, Fault> {
        let deadline = wait_s.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut answer = self.ask(&first).await?;
        eprintln!("2/4 evidence accepted, node id {node}");
        if answer.network_info.is_none() {
            eprintln!("3/4 waiting for members:  coco proposal create trust-node {node}");
        }
        loop {
            if let Some(info) = answer.network_info {
                eprintln!("3/4 trusted");
                return Ok(info);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let message = format!("members have not decided on node {node}");
                return Err(Fault::new(Code::Unreachable, message));
            }
            tokio::time::sleep(ASK_EVERY).await;
            answer = match self.ask(&first).await {
                Ok(answer) => answer,
                // A network that is busy with itself is asked again.
                Err(
                    CallError::Unreachable { .. }
                    | CallError::Late { .. }
                    | CallError::Behind { .. },
                ) => continue,
                Err(error) => return Err(error.into()),
            };
        }
    }

    /// A client of these nodes, which shows them the key of this one.
    fn client(&self, endpoints: Vec<Endpoint>) -> Result<Client, CallError> {
        let (key, certificate) = (&self.keys.key, &self.certificate);
        let service = self.service.clone();
        Ok(Client::as_node(service, endpoints, Settings::default(), key, certificate)?)
    }

    /// Asks the primary once.
    async fn ask(&self, first: &Endpoint) -> Result<JoinResponse, CallError> {
        let any = self.client(vec![first.clone()])?;
        let nodes = any.nodes().await?.nodes;
        let primary = nodes.iter().find(|node| node.primary).and_then(|node| {
            let interface = node.rpc_interfaces.values().next()?;
            format!("https://{}", interface.published_address).parse().ok()
        });
        match primary {
            Some(primary) => self.introduce(&self.client(vec![primary])?).await,
            None => self.introduce(&any).await,
        }
    }

    /// Says who this node is, with evidence for that connection.
    async fn introduce(&self, client: &Client) -> Result<JoinResponse, CallError> {
        let (platform, request) = (self.platform.clone(), self.request.clone());
        let says = move |data: &ReportData| {
            let ShownEvidence { evidence, endorsements, .. } = platform.show(data)?;
            let quote_info = QuoteInfo {
                format: evidence.platform.quote_format().to_owned(),
                quote: STANDARD.encode(&evidence.body),
                endorsements: STANDARD.encode(endorsements.encode()),
                event_log: STANDARD.encode(&evidence.log),
            };
            Ok(JoinRequest { quote_info, ..request.clone() })
        };
        client.join(self.certificate.key().node_id(), says).await
    }

    /// Writes the node's folder.
    fn write(&self, info: &NetworkInfo, arguments: &JoinArgs) -> Result<(), Fault> {
        let wrong = |what: &str| {
            Fault::new(Code::NotUnderstood, format!("the answer of the network: {what}"))
        };
        let endorsed = certificate(&info.endorsed_certificate)?;
        if endorsed.key() != self.certificate.key()
            || endorsed.verify_issued_by(&self.service).is_err()
        {
            return Err(wrong("its certificate is not of this node and by the service"));
        }
        let bytes = |text: &str| {
            STANDARD.decode(text).map(SecretBytes::new).map_err(|_| wrong("it is not base64"))
        };
        let service_key = SigningKey::from_pkcs8_der(Curve::P384, &bytes(&info.identity.priv_key)?)
            .map_err(|_| wrong("its service key is no key on P-384"))?;
        if service_key.public() != self.service.key() {
            return Err(wrong("its service key is not that of the pinned certificate"));
        }
        let mut periods = Vec::new();
        for secret in &info.ledger_secrets {
            let key = bytes(&secret.secret)?;
            let key: &[u8; LEDGER_SECRET_BYTES] =
                key.expose().try_into().map_err(|_| wrong("a ledger secret has another length"))?;
            periods.push(Period { from: Seqno(secret.seqno), secret: LedgerSecret::new(key) });
        }
        let secrets = LedgerSecrets::new(periods).map_err(|error| wrong(&error.to_string()))?;
        let Newcomer { key, encryption_key, .. } = &self.keys;
        let (encryption_key, service) = (Arc::clone(encryption_key), self.service.clone());
        let identity = Identity::new(key, endorsed, &service_key, service, encryption_key, secrets);
        let failed = |error: &dyn std::error::Error| Fault::new(Code::FileUnwritable, chain(error));
        let place = &arguments.place;
        // Whoever stopped after this goes on from here.
        let is_here = Identity::open(&place.dir).is_ok_and(|one| one.node_id == identity.node_id);
        let sealed = if is_here { identity.reseal(&place.dir) } else { identity.seal(&place.dir) };
        sealed.map_err(|error| failed(&error))?;
        let others = info.nodes.iter().map(|node| NodeAddress {
            id: node.node_id.clone(),
            peer: node.peer_address.clone(),
            client: node.client_address.clone(),
        });
        let id = self.certificate.key().node_id().to_string();
        if !place.config_path().exists() {
            place.write_config(id, others.collect(), arguments.from_disk)?;
        }
        // The settings name a sealed identity from now on; both outlast a crash before the keys go.
        files::sync_folder(&place.config_path()).map_err(|error| failed(&error))?;
        Newcomer::forget(&place.dir).map_err(|error| failed(&error))
    }
}

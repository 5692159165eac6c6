//! `coco network create`: the first node of a new network, which members govern from its first entry on. The nodes of the
//! others join it, on machines of their own.

use std::path::{Path, PathBuf};

use coco_client::ServiceIdentity;
use coco_crypto::{Certificate, EncryptionKey};
use coco_evm::genesis::{ChainConfig, Genesis};
use coco_governance::{DEFAULT_CONSTITUTION, FirstGovernance, FirstMember};
use coco_node::provision::{NetworkSpec, NodeSpec, ProvisionError, provision};
use serde_json::{Map, Value, json};

use super::place::{PlaceArgs, code_digest};
use crate::{
    codes::Code,
    commands::proposal::policy,
    fault::{Fault, chain},
    files::{self, Rights},
    output::Output,
    session::{certificate, signer_certificate},
    signing::now,
};

#[derive(Debug, clap::Args)]
#[group(id = "ledger", required = true, args = ["genesis", "chain_id"])]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// A member: what to call it, its certificate, and the public key to which its recovery share is encrypted, if it holds
    /// one (both PEM, from `coco keys new NAME --encryption`). May be given more than once
    #[arg(long, value_name = "NAME=CERT[,KEY]", required = true, value_parser = member)]
    member: Vec<Member>,
    /// How many recovery shares bring the service back; more than half of them, if it is not said
    #[arg(long, value_name = "SHARES", value_parser = clap::value_parser!(u8).range(1..=254))]
    threshold: Option<u8>,
    /// Which votes decide: majority, unanimous, one or at-least:N. The constitution and this rule itself are for all to decide
    #[arg(long, value_name = "RULE", default_value = "majority", value_parser = policy::rule)]
    policy: Value,
    /// The state that the Ethereum ledger begins with, in geth's JSON format
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The chain id of an Ethereum ledger that begins empty
    #[arg(long, value_name = "ID")]
    chain_id: Option<u64>,
    /// Let nodes go on from their own disks after a stop, and this one do so, as `coco dev` does: believes the hosts
    #[arg(long)]
    from_disk: bool,
}

/// A member as it is typed.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    certificate: PathBuf,
    encryption_key: Option<PathBuf>,
}

fn member(text: &str) -> Result<Member, String> {
    let (name, files) = text.split_once('=').ok_or("a member is NAME=CERT or NAME=CERT,KEY")?;
    let (certificate, key) =
        files.split_once(',').map_or((files, None), |(certificate, key)| (certificate, Some(key)));
    if name.is_empty() || certificate.is_empty() || key.is_some_and(str::is_empty) {
        return Err("a member is NAME=CERT or NAME=CERT,KEY".into());
    }
    Ok(Member {
        name: name.to_owned(),
        certificate: certificate.into(),
        encryption_key: key.map(PathBuf::from),
    })
}

pub(crate) fn run(arguments: &CreateArgs, output: Output) -> Result<(), Fault> {
    let place = &arguments.place;
    let cert_path = place.service_cert_path();
    place.check_free()?;
    if cert_path.exists() {
        return Err(Fault::new(Code::FileExists, cert_path.display().to_string()));
    }
    let now = now()?;
    let governance = governance(arguments)?;
    let genesis = genesis(arguments, now)?;
    let node = NodeSpec {
        folder: place.dir.clone(),
        client_address: place.client.to_string(),
        peer_address: place.peer.to_string(),
    };
    let network = provision(&NetworkSpec {
        nodes: &[node],
        code_digest: code_digest()?,
        names: &[place.client.alt_name()],
        genesis: &genesis,
        governance: Some(&governance),
        now,
    })
    .map_err(fault)?;
    let id = network.nodes.first().map(ToString::to_string).unwrap_or_default();
    place.write_config(id.clone(), Vec::new(), arguments.from_disk)?;
    // Written last: its presence says that all else is there.
    files::create(&cert_path, network.service_cert_pem.as_bytes(), Rights::Public)?;
    say(place, &certificate(&network.service_cert_pem)?, &id, output);
    Ok(())
}

fn say(place: &PlaceArgs, service: &Certificate, node: &str, output: Output) {
    let identity = ServiceIdentity::of(service).to_string();
    let paths = [place.config_path(), place.service_cert_path()];
    let [config, cert] = paths.map(|path| path.display().to_string());
    let details = json!({
        "service_identity": identity,
        "service_certificate": cert,
        "node_id": node,
        "config": config,
    });
    let client = &place.client;
    output.print("network.create", details, || {
        format!(
            "the service is {identity}\n\
             its certificate, for members and clients, is in {cert}\n\
             next  coco node start --config {config}\n      \
             each member:          coco context add NAME --url https://{client} --service-id {identity} --key FILE --cert FILE\n      \
             and then:             coco member activate\n      \
             each other operator:  coco network join https://{client} --service-id {identity} --dir DIR --client HOST:PORT --peer HOST:PORT\n      \
             members, at the end:  coco proposal create open"
        )
    });
}

/// The members with their files, and the rules that they begin with.
fn governance(arguments: &CreateArgs) -> Result<FirstGovernance, Fault> {
    let mut members = Vec::new();
    for Member { name, certificate: path, encryption_key } in &arguments.member {
        let pem = signer_certificate(&files::read_text(path)?)
            .map_err(|fault| fault.with("file", path.display().to_string()))?
            .pem();
        let key = encryption_key.as_deref().map(encryption_key_pem).transpose()?;
        members.push(FirstMember {
            certificate_pem: pem,
            encryption_key_pem: key,
            data: Some(Map::from_iter([("name".to_owned(), json!(name))])),
        });
    }
    let shares = members.iter().filter(|member| member.encryption_key_pem.is_some()).count();
    let majority = u8::try_from(shares / 2 + 1).ok().filter(|_| shares > 0);
    Ok(FirstGovernance {
        constitution: DEFAULT_CONSTITUTION.to_owned(),
        members,
        recovery_threshold: arguments.threshold.or(majority),
        restart_from_disk: arguments.from_disk,
        voting_policy: Some(policy::document(&arguments.policy, &[], None)),
    })
}

/// A key as it is in its file, once it is known to be one.
fn encryption_key_pem(path: &Path) -> Result<String, Fault> {
    let pem = files::read_text(path)?;
    let unusable = |error| Fault::new(Code::KeyUnusable, path.display().to_string()).because(error);
    match EncryptionKey::from_pem(&pem) {
        Ok(key) => Ok(key.pem()),
        Err(error) => Err(unusable(&error)),
    }
}

fn genesis(arguments: &CreateArgs, now: u64) -> Result<Genesis, Fault> {
    let Some(path) = &arguments.genesis else {
        let config = ChainConfig::new(arguments.chain_id.unwrap_or_default());
        return Ok(Genesis { timestamp: now, ..Genesis::new(config) }.with_history_contract());
    };
    Genesis::parse(&files::read_text(path)?)
        .map_err(|error| Fault::file(Code::FileUnreadable, path, &error))
}

fn fault(error: ProvisionError) -> Fault {
    let code = match &error {
        ProvisionError::File { .. } | ProvisionError::Identity(_) => Code::FileUnwritable,
        ProvisionError::Certificate(_)
        | ProvisionError::Request(_)
        | ProvisionError::Genesis(_)
        | ProvisionError::Governance(_)
        | ProvisionError::Constitution(_) => Code::Failed,
    };
    Fault::new(code, chain(&error))
}

//! `coco network show`: a network as its members have set it up.

use coco_client::{Client, reply::Node};
use coco_crypto::sha256;
use coco_governance::tables::MemberStatus;
use serde_json::json;

use crate::{
    commands::member::share_holders,
    fault::Fault,
    nodes::{UNSAFE_PLATFORM, is_unsafe},
    output::{Output, Table, short, utc},
    session::{NetworkArgs, Session, certificate},
};

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    network: NetworkArgs,
}

pub(super) fn run(arguments: &ShowArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    let service = session.ask(Client::service_info)?;
    let shown = session.service_in(&service.certificate)?;
    let members = session.ask(Client::members)?.value;
    let active = members.iter().filter(|one| one.status == MemberStatus::Active).count();
    let (holders, threshold) = (share_holders(&members).len(), service.recovery_threshold());
    let nodes = session.ask(Client::service_nodes)?.value;
    let policy = session.ask(Client::join_policy)?;
    let constitution = session.ask(Client::constitution)?.0;
    let rules = sha256(constitution.as_bytes()).to_string();
    let identity = session.client().identity().to_string();
    let until = utc(shown.validity().not_after);
    let is_unsafe = is_unsafe(&session)?;
    let details = json!({
        "network": session.name,
        "service": service,
        "service_id": identity,
        "service_certificate_until": until,
        "unsafe": is_unsafe,
        "constitution": { "sha256": rules, "bytes": constitution.len() },
        "members": members.len(),
        "active_members": active,
        "share_holders": holders,
        "join_policy": policy,
        "nodes": nodes,
    });
    output.print("network.show", details, || {
        let mut lines = Table::default();
        lines.row(["network", &format!("{}  {}", session.name, service.status)]);
        lines.row(["service", &identity]);
        lines.row(["", &format!("its certificate is valid until {until}")]);
        if is_unsafe {
            lines.row(["platform", UNSAFE_PLATFORM]);
        }
        lines.row(["recoveries", &service.recovery_count.to_string()]);
        lines.row([
            "members",
            &format!(
                "{}, {active} active; {threshold} of {holders} shares bring the service back",
                members.len()
            ),
        ]);
        lines.row(["rules", &format!("constitution sha256:{rules}, {} bytes", constitution.len())]);
        for (name, value) in service.configuration.as_object().into_iter().flatten() {
            lines.row(["", &format!("{name} {value}")]);
        }
        for (platform, code) in policy.code() {
            lines.row(["code", &format!("{platform} {code}")]);
        }
        format!("{lines}{}", nodes_table(&nodes))
    });
    Ok(())
}

/// The nodes that governance knows, those that are gone for good left out.
fn nodes_table(nodes: &[Node]) -> Table {
    let mut table = Table::with_head(["NODE", "STATUS", "CODE", "CERTIFICATE UNTIL"]);
    for node in nodes.iter().filter(|node| !node.retired_committed) {
        let until = node.certificate.as_deref().and_then(|pem| certificate(pem).ok());
        let until = until.map_or_else(|| "-".to_owned(), |one| utc(one.validity().not_after));
        table.row([short(&node.node_id), &node.status, short(node.code().unwrap_or("-")), &until]);
    }
    table
}

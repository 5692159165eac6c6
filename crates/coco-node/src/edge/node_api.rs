//! `/node` and `/metrics`: the state of this node and of its network, in CCF's shapes.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_api::{
    Attestations, Consensus, ConsensusAck, ConsensusConfiguration, ConsensusDetails, ConsensusNode,
    ErrorCode, HistoricalCache, JwtRefresh, Network, Node, NodeState, Nodes, PreviousIdentity,
    Quote, Quotes, RpcInterface, Version,
};
use coco_governance::{
    Engine, GovernanceError,
    rows::{InterfaceRow, NodeRow, QuoteRow, Rows, ServiceRow, parse},
    tables::{
        self, NODES_ATTESTATIONS, NODES_INFO, PREVIOUS_SERVICE_IDENTITY, SERVICE_CONFIG,
        SERVICE_INFO,
    },
};
use coco_kv::{MapName, Snapshot};
use coco_ledger::{CONFIGURATION_MAP, ConfigurationRow, LedgerSecrets};
use coco_replica::Attestation;
use coco_types::{NodeId, Role, Seqno};
use hyper::{StatusCode, header::HeaderValue};

use super::{
    ledger_api::invalid_query,
    parameters::{self, HOST, PORT, STATUS},
    respond::{self, Reply},
    route::{Names, Query},
    service::Service,
    table::NodeCall,
};
use crate::acks::Ack;

/// The seqno of the first entry, which created the service.
const CREATION: Seqno = Seqno(1);

/// Most nodes that one answer names. The table keeps those that are long gone.
const NODES_SHOWN_MAX: usize = coco_governance::rows::PAGE_ROWS_MAX;

/// The statuses of nodes.
const NODE_STATUSES: [&str; 3] = ["Pending", "Trusted", "Retired"];

/// Answers a GET.
pub(crate) fn answer(
    service: &Service,
    call: NodeCall,
    names: &Names<'_>,
    query: &Query<'_>,
) -> Reply {
    let answered = match call {
        NodeCall::Metrics => Ok(metrics(service)),
        NodeCall::Sessions => {
            Ok(respond::json(&service.sessions().shown(service.limits().connections_max)))
        }
        NodeCall::HistoricalCache => {
            let bytes = service.parts().history.kept_bytes() + service.rpc().cached_bytes();
            Ok(respond::json(&HistoricalCache { estimated_size: bytes as u64 }))
        }
        NodeCall::State => Ok(state(service)),
        NodeCall::Network => network(service),
        NodeCall::Nodes => nodes_asked_for(service, query),
        NodeCall::OneNode => Ok(one_node(service, names.get("nodeId"))),
        NodeCall::RemovableNodes => removable_nodes(service),
        NodeCall::Primary => Ok(primary(service)),
        NodeCall::Backup => Ok(backup(service)),
        NodeCall::Version => Ok(version()),
        NodeCall::Config => Ok(respond::json_text(service.parts().shown_config.clone())),
        NodeCall::Consensus => consensus(service),
        NodeCall::ReadyApp => Ok(ready(is_ready(service) && service.status().is_open())),
        NodeCall::ReadyGov => Ok(ready(is_ready(service))),
        NodeCall::SelfSignedCertificate => Ok(respond::json(
            &serde_json::json!({ "self_signed_certificate": service.parts().node_cert_pem }),
        )),
        NodeCall::ServiceConfiguration => configuration(&mut service.committed_rows().1),
        NodeCall::PreviousIdentity => previous_identity(&mut service.committed_rows().1),
        NodeCall::Quotes => quotes(service).map(|quotes| respond::json(&Quotes { quotes })),
        NodeCall::Attestations => {
            quotes(service).map(|attestations| respond::json(&Attestations { attestations }))
        }
        NodeCall::OwnQuote => own_quote(service),
        NodeCall::JwtRefresh => Ok(jwt_refresh(service)),
    };
    answered.unwrap_or_else(|error| respond::refused(&error))
}

fn metrics(service: &Service) -> Reply {
    service.metrics().sessions.set(service.sessions().active());
    respond::body(
        StatusCode::OK,
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        service.metrics().text(),
    )
}

fn jwt_refresh(service: &Service) -> Reply {
    let metrics = service.metrics();
    // The successes first: nobody sees more of them than attempts.
    let successes = metrics.issuer_fetches_done.get();
    let attempts = metrics.issuer_fetches.get();
    respond::json(&JwtRefresh { attempts, successes, failures: attempts - successes })
}

fn version() -> Reply {
    respond::json(&Version {
        ccf_version: concat!("coco-", env!("CARGO_PKG_VERSION")).to_owned(),
        quickjs_version: Engine::version().to_owned(),
        // The only platform of this version is the virtual one.
        is_unsafe: true,
    })
}

fn state(service: &Service) -> Reply {
    let state = service.state();
    let last_signed = state.last_signature(state.last().seqno).unwrap_or(Seqno::ZERO);
    let target = recovery_target(state.secrets()).map(|target| target.0);
    respond::json(&NodeState {
        node_id: service.node_id().to_string(),
        state: if target.is_some() { "PartOfPublicNetwork" } else { "PartOfNetwork" }.into(),
        last_signed_seqno: last_signed.0,
        startup_seqno: state.started_from().0,
        stop_notice: service.is_stopping(),
        recovery_target_seqno: target,
        // All secrets come at one time, and what is private is read before the node serves again.
        last_recovered_seqno: target.map(|_| 0),
    })
}

/// The last entry whose secret a service is without that is being recovered.
fn recovery_target(secrets: &LedgerSecrets) -> Option<Seqno> {
    let first = secrets.periods().first().filter(|_| !secrets.is_whole())?;
    Some(first.from.previous())
}

fn network(service: &Service) -> Result<Reply, GovernanceError> {
    let row: Option<ServiceRow> = service.committed_rows().1.one(SERVICE_INFO)?;
    let state = service.state();
    let service_certificate = service.certificate(row.as_ref());
    let (created, data, count) = row.map_or_else(Default::default, |row| {
        (row.current_service_create_txid, row.service_data, row.recovery_count)
    });
    Ok(respond::json(&Network {
        service_status: service.status().word().into(),
        service_certificate,
        current_view: state.view().0,
        primary_id: state.primary().map(|id| id.to_string()),
        recovery_count: count,
        service_data: data,
        current_service_create_txid: created.unwrap_or_else(|| state.tx_id(CREATION).to_string()),
    }))
}

/// The nodes that a query means. Where it names no status, they are those that take part.
fn nodes_asked_for(service: &Service, query: &Query<'_>) -> Result<Reply, GovernanceError> {
    let mut nodes = match query.get(STATUS.name) {
        None => nodes(service),
        Some(status) if NODE_STATUSES.contains(&status) => {
            written_nodes(service, |row| row.status == status)?
        }
        Some(other) => {
            let words = NODE_STATUSES.join(", ");
            return Ok(invalid_query(format!("status={other} is no status of a node: {words}")));
        }
    };
    let (host, port) = (query.get(HOST.name), query.get(PORT.name));
    let is_meant = |interface: &RpcInterface| {
        let (at, number) = interface.published_address.rsplit_once(':').unwrap_or_default();
        // An IPv6 address stands in brackets, and may be asked for without.
        let at = [at, at.trim_start_matches('[').trim_end_matches(']')];
        host.is_none_or(|host| at.contains(&host)) && port.is_none_or(|port| port == number)
    };
    if host.or(port).is_some() {
        nodes.retain(|node| node.rpc_interfaces.values().any(is_meant));
    }
    Ok(respond::json(&Nodes { nodes }))
}

fn nodes(service: &Service) -> Vec<Node> {
    let snapshot = service.committed().1;
    let primary = service.state().primary();
    let described = service.parts().nodes.all().into_iter().map(|(id, address)| Node {
        node_id: id.to_string(),
        status: "Trusted".into(),
        primary: Some(id) == primary,
        rpc_interfaces: BTreeMap::from([(
            "client".to_owned(),
            RpcInterface {
                bind_address: address.client.clone(),
                published_address: address.client,
                protocol: "tcp".into(),
            },
        )]),
        node_data: serde_json::Value::Null,
        last_written: last_written(&snapshot, &id.to_string()),
    });
    described.collect()
}

/// The entry that wrote a node's row. Who has none was named by the first.
fn last_written(snapshot: &Snapshot, node: &str) -> u64 {
    let map = snapshot.map(&MapName::from_static(NODES_INFO));
    let written = map.and_then(|map| snapshot.written(map, node.as_bytes()));
    written.unwrap_or(CREATION).0
}

fn one_node(service: &Service, asked: &str) -> Reply {
    let id = match asked {
        "self" => Some(service.node_id()),
        "primary" => service.state().primary(),
        other => match parameters::id(other, "node's id, self or primary") {
            Ok(id) => Some(NodeId(id.0)),
            Err(refused) => return refused.reply(),
        },
    };
    let id = id.map(|id| id.to_string());
    match nodes(service).into_iter().find(|node| Some(&node.node_id) == id.as_ref()) {
        Some(node) => respond::json(&node),
        None => {
            respond::error(ErrorCode::ResourceNotFound, format!("no node {asked} in this network"))
        }
    }
}

/// Whether this node can say what is committed, and is not about to end.
pub(super) fn is_ready(service: &Service) -> bool {
    !service.is_stopping() && {
        let state = service.state();
        // After a start, what was committed before is known to be only once something of this view is.
        state.primary().is_some() && state.committed().view == state.view()
    }
}

fn ready(is_ready: bool) -> Reply {
    respond::empty(if is_ready { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE })
}

fn primary(service: &Service) -> Reply {
    match service.state().primary() {
        Some(id) if id == service.node_id() => respond::empty(StatusCode::OK),
        Some(id) => way_to(service, id, "/node/primary"),
        None => respond::error(
            ErrorCode::PrimaryNotFound,
            "no primary is known at the moment; try again",
        ),
    }
}

/// The way to a path of the primary.
pub(super) fn way_to(service: &Service, primary: NodeId, path: &str) -> Reply {
    match service.parts().nodes.get(primary) {
        Some(address) => redirect(&format!("https://{}{path}", address.client)),
        None => {
            respond::error(ErrorCode::PrimaryNotFound, "the primary is not in the configuration")
        }
    }
}

fn redirect(location: &str) -> Reply {
    let mut response = respond::empty(StatusCode::PERMANENT_REDIRECT);
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(hyper::header::LOCATION, value);
    }
    response
}

/// A backup answers for itself; the primary names one.
fn backup(service: &Service) -> Reply {
    let (role, primary) = {
        let state = service.state();
        (state.role(), state.primary())
    };
    if role == Role::Backup && primary.is_some() {
        return respond::empty(StatusCode::OK);
    }
    let nodes = service.parts().nodes.all();
    let others = nodes.iter().filter(|(id, _)| *id != service.node_id() && Some(*id) != primary);
    match others.map(|(_, address)| &address.client).next() {
        Some(client) => redirect(&format!("https://{client}/node/backup")),
        None => respond::error(ErrorCode::BackupNotFound, "no other node is known"),
    }
}

/// The nodes' rows, as many as one answer has.
fn node_rows(rows: &mut Rows) -> Result<Vec<(String, NodeRow)>, GovernanceError> {
    let page = rows.page(NODES_INFO, None, NODES_SHOWN_MAX)?;
    let id = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    page.iter().map(|row| Ok((id(&row.0), parse(NODES_INFO, row)?))).collect()
}

fn removable_nodes(service: &Service) -> Result<Reply, GovernanceError> {
    let nodes = written_nodes(service, |row| row.retired_committed)?;
    Ok(respond::json(&Nodes { nodes }))
}

/// Nodes by what the ledger says of them.
fn written_nodes(
    service: &Service,
    is_meant: impl Fn(&NodeRow) -> bool,
) -> Result<Vec<Node>, GovernanceError> {
    let snapshot = service.committed().1;
    let primary = service.state().primary().map(|id| id.to_string());
    let meant =
        node_rows(&mut Rows::as_of(&snapshot))?.into_iter().filter(|(_, row)| is_meant(row));
    let nodes = meant.map(|(node_id, row)| Node {
        primary: Some(&node_id) == primary.as_ref(),
        last_written: last_written(&snapshot, &node_id),
        node_id,
        status: row.status,
        rpc_interfaces: row.rpc_interfaces.into_iter().map(interface).collect(),
        node_data: row.node_data,
    });
    Ok(nodes.collect())
}

fn interface((name, row): (String, InterfaceRow)) -> (String, RpcInterface) {
    let InterfaceRow { bind_address, published_address, .. } = row;
    (name, RpcInterface { bind_address, published_address, protocol: "tcp".to_owned() })
}

fn quotes(service: &Service) -> Result<Vec<Quote>, GovernanceError> {
    let mut rows = service.committed_rows().1;
    let nodes = node_rows(&mut rows)?;
    let trusted = nodes.into_iter().filter(|(_, row)| row.status == "Trusted");
    trusted.map(|(id, row)| quote(&mut rows, id, row)).collect()
}

fn own_quote(service: &Service) -> Result<Reply, GovernanceError> {
    let id = service.node_id().to_string();
    let mut rows = service.committed_rows().1;
    let row: Option<NodeRow> = rows.read(NODES_INFO, id.as_bytes())?;
    Ok(match row {
        Some(row) => respond::json(&quote(&mut rows, id, row)?),
        None => respond::error(
            ErrorCode::ResourceNotFound,
            "this node has no row in the committed state yet",
        ),
    })
}

/// What a node has shown last; those of the first entry have shown nothing.
fn quote(rows: &mut Rows, node_id: String, row: NodeRow) -> Result<Quote, GovernanceError> {
    let attestation = rows.get(NODES_ATTESTATIONS, node_id.as_bytes())?;
    let attestation = attestation.and_then(|row| Attestation::read(&row));
    let QuoteRow { quote, endorsements, format, uvm_endorsements } = row.quote_info;
    Ok(match attestation {
        Some(Attestation { class, measurement, shown }) => Quote {
            node_id,
            raw: STANDARD.encode(&shown.evidence.body),
            endorsements: STANDARD.encode(shown.endorsements.certificates_pem()),
            format: shown.evidence.platform.quote_format().to_owned(),
            measurement: Some(measurement),
            uvm_endorsements,
            class: Some(class),
        },
        None => Quote {
            node_id,
            raw: quote,
            endorsements,
            format,
            measurement: row.code_digest,
            uvm_endorsements,
            class: None,
        },
    })
}

fn configuration(rows: &mut Rows) -> Result<Reply, GovernanceError> {
    let row: Option<serde_json::Value> = rows.one(SERVICE_CONFIG)?;
    Ok(match row {
        Some(row) => respond::json(&row),
        None => {
            respond::error(ErrorCode::ResourceNotFound, "the members have not configured anything")
        }
    })
}

fn previous_identity(rows: &mut Rows) -> Result<Reply, GovernanceError> {
    let Some(row) = rows.get(PREVIOUS_SERVICE_IDENTITY, tables::singleton_key())? else {
        let message = "this service has never been recovered";
        return Ok(respond::error(ErrorCode::ResourceNotFound, message));
    };
    // CCF writes it as JSON; certificates elsewhere are the bytes themselves.
    let text = || String::from_utf8_lossy(&row).into_owned();
    let previous_service_identity = serde_json::from_slice(&row).unwrap_or_else(|_| text());
    Ok(respond::json(&PreviousIdentity { previous_service_identity }))
}

fn consensus(service: &Service) -> Result<Reply, GovernanceError> {
    let snapshot = service.committed().1;
    let (known, idx) = configuration_of(&snapshot);
    let addresses: BTreeMap<NodeId, String> =
        service.parts().nodes.all().into_iter().map(|(id, address)| (id, address.peer)).collect();
    let shown = |ids: &[NodeId]| {
        let node = |id: &NodeId| {
            let address = addresses.get(id).cloned().unwrap_or_default();
            (id.to_string(), ConsensusNode { address })
        };
        ids.iter().map(node).collect::<BTreeMap<_, _>>()
    };
    let all = [&known.outgoing, &known.voters].into_iter().filter(|nodes| !nodes.is_empty());
    let configs =
        all.map(|nodes| ConsensusConfiguration { idx, rid: idx, nodes: shown(nodes) }).collect();
    let ack = |ack: Ack| {
        let Ack { node, seqno, heard_ms_ago } = ack;
        (node.to_string(), ConsensusAck { last_received_ms: heard_ms_ago, seqno: seqno.0 })
    };
    let me = service.node_id();
    let row = Rows::as_of(&snapshot).read(NODES_INFO, me.to_string().as_bytes())?;
    let (membership, phase) = membership(me, &known, row.as_ref());
    let state = service.state();
    Ok(respond::json(&Consensus {
        details: ConsensusDetails {
            acks: service.peers().acks().all().into_iter().map(ack).collect(),
            configs,
            current_view: state.view().0,
            leadership_state: match state.role() {
                Role::Primary => "Leader",
                Role::Backup => "Follower",
                Role::Candidate => "Candidate",
            }
            .to_owned(),
            learners: shown(&known.learners),
            membership_state: membership.to_owned(),
            primary_id: state.primary().map(|id| id.to_string()),
            reconfiguration_type: "OneTransaction".to_owned(),
            retirement_phase: phase.map(str::to_owned),
            ticking: !service.is_stopping(),
        },
    }))
}

/// CCF's words for the part that a node takes, and for how far its retirement is.
fn membership(
    node: NodeId,
    known: &ConfigurationRow,
    row: Option<&NodeRow>,
) -> (&'static str, Option<&'static str>) {
    let votes = [&known.voters, &known.outgoing].iter().any(|ids| ids.contains(&node));
    match row.filter(|row| row.status == "Retired") {
        Some(_) if votes || known.learners.contains(&node) => {
            ("RetirementInitiated", Some("Ordered"))
        }
        Some(row) if row.retired_committed => ("Retired", Some("RetiredCommitted")),
        Some(_) => ("Retired", Some("Completed")),
        None if votes => ("Active", None),
        None => ("Learner", None),
    }
}

/// Who takes part in consensus as of the committed version, and the entry that says it; zero, if none does.
fn configuration_of(snapshot: &Snapshot) -> (ConfigurationRow, u64) {
    let map = snapshot.map(&MapName::from_static(CONFIGURATION_MAP));
    let row = map.and_then(|map| snapshot.get(map, tables::singleton_key()));
    let known = row.and_then(|row| ConfigurationRow::read(&row).ok()).unwrap_or_default();
    let written = map.and_then(|map| snapshot.written(map, tables::singleton_key()));
    (known, written.unwrap_or(Seqno::ZERO).0)
}

#[cfg(test)]
mod tests {
    use coco_ledger::{LEDGER_SECRET_BYTES, LedgerSecret, Period};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recovery_goes_as_far_as_the_first_entry_that_can_be_read() {
        let secret = || LedgerSecret::new(&[1; LEDGER_SECRET_BYTES]);
        let from = |seqno| [Period { from: Seqno(seqno), secret: secret() }];
        for (first, expected) in [(1, None), (2, Some(Seqno(1))), (20, Some(Seqno(19)))] {
            let secrets = LedgerSecrets::new(from(first)).unwrap();
            assert_eq!(recovery_target(&secrets), expected, "{first}");
        }
    }

    #[test]
    fn the_part_that_a_node_takes_has_ccfs_words() {
        let [voter, leaver, learner, gone] = [1, 2, 3, 4].map(|byte| NodeId([byte; 32]));
        let known = ConfigurationRow {
            voters: vec![voter],
            outgoing: vec![leaver],
            learners: vec![learner],
        };
        let row = |status: &str, retired_committed: bool| -> NodeRow {
            let row = json!({
                "status": status,
                "retired_committed": retired_committed,
                "quote_info": { "format": "Insecure_Virtual" },
            });
            serde_json::from_value(row).unwrap()
        };
        for (node, status, is_committed, expected) in [
            (voter, "Trusted", false, ("Active", None)),
            (leaver, "Trusted", false, ("Active", None)),
            (learner, "Trusted", false, ("Learner", None)),
            (gone, "Pending", false, ("Learner", None)),
            (leaver, "Retired", false, ("RetirementInitiated", Some("Ordered"))),
            (learner, "Retired", false, ("RetirementInitiated", Some("Ordered"))),
            (gone, "Retired", false, ("Retired", Some("Completed"))),
            (gone, "Retired", true, ("Retired", Some("RetiredCommitted"))),
        ] {
            let row = row(status, is_committed);
            assert_eq!(membership(node, &known, Some(&row)), expected, "{status} {is_committed}");
        }
        assert_eq!(membership(voter, &known, None), ("Active", None));
    }
}

//! Which node a process is when it starts.
//!
//! At its first start it is the node of its sealed identity. Later it is another one, unless its configuration says that
//! the disk may be believed: the sealed key then only proves the seat, and the key of the new node never leaves memory.
//! On the virtual platform a host can undo the first start, as it can everything; on a TEE the keys of the first start
//! are not sealed either.

use coco_consensus::{Configuration, HardState};
use coco_crypto::AltName;
use coco_governance::tables::{CONSTITUTION, ConfigurationRow, SERVICE_CONFIG, singleton_key};
use coco_kv::{MapName, Reader};
use coco_ledger::{NODES_MAP, NodeRow, read_node};
use coco_replica::Loader;
use coco_types::{NodeId, TxId};
use tracing::info;

use crate::{
    address::HostPort,
    clock::seconds_now,
    config::{NodeConfig, Restart},
    identity::Identity,
    join::Question,
    node::StartNodeError,
    provision::node_period,
};

/// The node that this process is, and the view and vote that it goes on from. There is a hard state on the disk of
/// whatever has started before. A newcomer has not, and the ledger that it copied names it in no configuration.
pub(crate) fn node_of(
    config: &NodeConfig,
    seat: &Identity,
    found: Option<HardState>,
    is_newcomer: bool,
    loader: &Loader,
) -> Result<(Identity, Option<HardState>), StartNodeError> {
    if is_newcomer {
        info!(node = %seat.node_id, "members trust this node, which comes for its place");
        return Ok((seat.clone(), None));
    }
    let from_disk = config.consensus.restart == Restart::FromDisk;
    if found.is_some() && from_disk && !may_resume(&loader.reader()) {
        return Err(StartNodeError::Configuration(
            "members have not allowed that nodes go on from their own disks, which their hosts can set back. Start it with \
             consensus.restart = \"rejoin\", so that the others give it its seat; or have members decide: coco proposal create \
             set-restart from-disk"
                .to_owned(),
        ));
    }
    if found.is_none() || from_disk {
        return Ok((seat.clone(), found));
    }
    if is_alone(config, seat.node_id, loader) {
        return Err(StartNodeError::Configuration(
            "nobody else is there to give this node its seat again: a network of one node needs consensus.restart = \
             \"from_disk\""
                .to_owned(),
        ));
    }
    let place = config.nodes.iter().find(|node| node.id == seat.node_id.to_string());
    let names: Vec<AltName> = place
        .and_then(|node| node.client.parse::<HostPort>().ok())
        .map(|address| address.alt_name())
        .into_iter()
        .collect();
    let days_max = service_configuration(&loader.reader())
        .and_then(|row| row.maximum_node_certificate_validity_days);
    let validity = node_period(seconds_now(), days_max);
    let identity = seat.new_node(&names, validity).map_err(|error| {
        StartNodeError::Configuration(format!("no certificate for a new node: {error}"))
    })?;
    info!(seat = %seat.node_id, node = %identity.node_id, "started again as a new node");
    Ok((identity, None))
}

/// Whether nodes of this service may go on from their own disks: its members have allowed it, or it has none, and nobody who
/// could. A host that sets a disk back also sets back what members have decided since: whoever allows it once trusts the
/// hosts of all nodes from then on.
fn may_resume(reader: &Reader) -> bool {
    let head = reader.head();
    let row = |table| {
        let map = head.map(&MapName::from_static(table))?;
        head.get(map, singleton_key())
    };
    if row(SERVICE_CONFIG).is_none() {
        return row(CONSTITUTION).is_none();
    }
    service_configuration(reader).is_some_and(|row| row.restart_from_disk == Some(true))
}

/// What members have decided of the service, if that can be read.
pub(crate) fn service_configuration(reader: &Reader) -> Option<ConfigurationRow> {
    let head = reader.head();
    let map = head.map(&MapName::from_static(SERVICE_CONFIG))?;
    serde_json::from_slice(&head.get(map, singleton_key())?).ok()
}

/// What the node says to get its seat, or of having gone on from its disk; nothing when its configuration does not say where
/// it is.
pub(crate) fn question(
    config: &NodeConfig,
    seat: &Identity,
    me: &Identity,
    resumed: Option<TxId>,
    votes: bool,
) -> Result<Option<Question>, StartNodeError> {
    let place = config.nodes.iter().find(|node| node.id == seat.node_id.to_string());
    let Some(place) = place else { return Ok(None) };
    let request = me.request().map_err(|error| {
        StartNodeError::Configuration(format!("no request for this node's certificates: {error}"))
    })?;
    let encryption_key = seat.encryption_key().public().pem();
    let question = Question::new(&request, &seat.node_key(), place, encryption_key);
    Ok(Some(match config.consensus.restart {
        // One that was never in the configuration comes for its first place.
        Restart::FromDisk if votes => Question { resumed, ..question },
        Restart::Rejoin | Restart::FromDisk => question,
    }))
}

/// Where the other seats are: as the configuration says, and then as the ledger does, where one is. Nodes may have come since
/// the configuration was written, and those that it names may have left.
pub(crate) fn others(config: &NodeConfig, seat: NodeId, loader: Option<&Loader>) -> Vec<String> {
    let given = config.nodes.iter().filter(|node| node.id != seat.to_string());
    let mut others: Vec<String> = given.map(|node| node.peer.clone()).collect();
    let Some(loader) = loader else { return others };
    let is_given = |id: NodeId| config.nodes.iter().any(|node| node.id == id.to_string());
    for node in configured(loader).iter().flat_map(Configuration::nodes) {
        let row = row_of(loader, node).filter(|row| row.seat != seat && !is_given(node));
        if let Some(NodeRow { peer_address, .. }) = row
            && !others.contains(&peer_address)
        {
            others.push(peer_address);
        }
    }
    others
}

/// Whether nobody else can give this node its seat: neither its configuration nor its ledger knows of another one. A node
/// that does not vote gives none.
fn is_alone(config: &NodeConfig, seat: NodeId, loader: &Loader) -> bool {
    let is_ours = |node: NodeId| row_of(loader, node).map_or(node, |row| row.seat) == seat;
    config.nodes.iter().all(|node| node.id == seat.to_string())
        && configured(loader)
            .iter()
            .flat_map(|one| one.voters.iter().chain(&one.outgoing))
            .all(|voter| is_ours(*voter))
}

/// The configurations that may be in effect; none in a ledger without one.
pub(crate) fn configured(loader: &Loader) -> Vec<Configuration> {
    let both = loader.configuration().into_iter();
    both.flat_map(|(in_effect, next)| [Some(in_effect), next.map(|(_, next)| next)])
        .flatten()
        .collect()
}

/// What the ledger says of a node.
pub(crate) fn row_of(loader: &Loader, node: NodeId) -> Option<NodeRow> {
    let head = loader.reader().head();
    let map = head.map(&MapName::from_static(NODES_MAP))?;
    read_node(node, &head.get(map, node.to_string().as_bytes())?).ok()
}

//! What the service does by itself: nodes come, take the seats of nodes before them, and leave, each step in an entry.
//!
//! The steps are those of the replica. A node that nobody knew is pending, and so is one that asks for a seat; a pending one is
//! trusted by a vote, or when it takes over a seat whose node leaves with the same entry; consensus has nobody else.

use std::{collections::BTreeMap, ops::RangeInclusive};

use coco_crypto::NodeRequest;
use coco_kv::{MapName, Transaction, WriteSetView};
use coco_types::Seqno;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    AuditFault, CONFIGURATION, SNAPSHOT_ASKED,
    act::rows,
    check_tables,
    leases::{self, Leases},
};
use crate::tables::{
    self, ENCRYPTED_SUBMITTED_SHARES, NODE_FIELDS_KEPT, NODES_ATTESTATIONS,
    NODES_ENDORSED_CERTIFICATES, NODES_INFO, NODES_LEASES, VIRTUAL_MEASUREMENTS, singleton_key,
};
use crate::{GovernanceError, recovery::is_holder};

/// Checks an entry that records no request.
pub(super) fn check(
    tx: &mut Transaction<'_>,
    writes: &WriteSetView<'_>,
    newest: Seqno,
    times: &RangeInclusive<u64>,
) -> Result<(), AuditFault> {
    let may = [
        NODES_INFO,
        NODES_LEASES,
        NODES_ATTESTATIONS,
        NODES_ENDORSED_CERTIFICATES,
        CONFIGURATION,
        ENCRYPTED_SUBMITTED_SHARES,
        SNAPSHOT_ASKED,
    ];
    check_tables(writes, &may)?;
    let nodes = Nodes::read(tx, writes)?;
    nodes.check_steps()?;
    nodes.check_certificates(writes)?;
    nodes.check_configuration(writes)?;
    leases::check(tx, writes, &nodes, newest, times)?;
    for (key, row) in rows(writes, SNAPSHOT_ASKED) {
        // Operators may ask for one: it says nothing that the ledger does not. There is room for no word beside that.
        if key != singleton_key() || row != Some(b"".as_slice()) {
            return Err(nobody_asked(SNAPSHOT_ASKED, key));
        }
    }
    for (key, row) in rows(writes, ENCRYPTED_SUBMITTED_SHARES) {
        // That they are forgotten takes nothing from anybody.
        if row.is_some() && !may_send(tx, key)? {
            return Err(nobody_asked(ENCRYPTED_SUBMITTED_SHARES, key));
        }
    }
    Ok(())
}

pub(super) fn nobody_asked(table: &str, key: &[u8]) -> AuditFault {
    let key = String::from_utf8_lossy(key).into_owned();
    AuditFault::NoRequest { table: table.to_owned(), key }
}

/// Whether a member may send its share in.
fn may_send(tx: &mut Transaction<'_>, member: &[u8]) -> Result<bool, AuditFault> {
    let status = tables::service_status(tx).map_err(AuditFault::Tables)?;
    let is_holder = is_holder(tx, member).map_err(AuditFault::Tables)?;
    Ok(status.as_deref() == Some("WaitingForRecoveryShares") && is_holder)
}

/// A row of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node(pub(super) Map<String, Value>);

impl Node {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(super) fn status(&self) -> &str {
        self.text("status").unwrap_or_default()
    }

    /// Whether the ledger says that nobody needs it any more.
    fn is_retired_committed(&self) -> bool {
        self.0.get("retired_committed") == Some(&Value::Bool(true))
    }

    /// Whether members want it to listen only.
    fn listens(&self) -> bool {
        self.0.get("learner") == Some(&Value::Bool(true))
    }

    /// Whether a new ledger secret is for it: members trust it, it takes part, or it is about to leave.
    pub(crate) fn reads_on(&self, id: &String, taking_part: &Configuration) -> bool {
        self.status() == "Trusted" || taking_part.has(id) || self.reads_until_it_has_left()
    }

    /// Whether it was removed and is still sent entries: until the configuration without it is in effect.
    fn reads_until_it_has_left(&self) -> bool {
        self.status() == "Retired"
            && !self.is_retired_committed()
            && self.text("encryption_pub_key").is_some()
    }

    /// The seat that it asked for; a node that introduced itself, and one of the first entry, has its own.
    fn asked_seat(&self) -> Option<&str> {
        self.text("seat")
    }

    pub(crate) fn seat<'a>(&'a self, id: &'a str) -> &'a str {
        self.asked_seat().unwrap_or(id)
    }

    /// Checks that it signed its request for certificates itself. Nodes of before made none.
    pub(super) fn check_request(&self, id: &str) -> Result<(), &'static str> {
        if !self.0.contains_key("certificate_signing_request") {
            return Ok(());
        }
        let request = self.text("certificate_signing_request").map(NodeRequest::from_pem);
        let is_its_own = request
            .and_then(Result::ok)
            .is_some_and(|request| request.key().node_id().to_string() == id);
        if is_its_own { Ok(()) } else { Err("its request for certificates is not signed by it") }
    }

    /// Whether it is the same node, trusted now in the place of another, and all else that changed was said of that one. Programs
    /// of before did not keep what members say of a node for themselves.
    fn becomes(&self, after: &Self, from: &Self) -> bool {
        let is = |of: &Self, field: &str| after.0.get(field) == of.0.get(field);
        self.differs_in(after, &[&["status"][..], &NODE_FIELDS_KEPT].concat())
            && is(from, "successors")
            && (is(self, "node_data") || is(from, "node_data"))
    }

    /// Whether it is another only in these fields.
    fn differs_in(&self, other: &Self, fields: &[&str]) -> bool {
        let without = |node: &Self| {
            let mut rest = node.0.clone();
            rest.retain(|field, _| !fields.contains(&field.as_str()));
            rest
        };
        without(self) == without(other)
    }
}

/// The row of [`CONFIGURATION`].
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Configuration {
    voters: Vec<String>,
    outgoing: Vec<String>,
    learners: Vec<String>,
}

impl Configuration {
    /// The one in force; nobody's, if there is none.
    pub(crate) fn of(tx: &mut Transaction<'_>) -> Self {
        let map = tx.map(&MapName::from_static(CONFIGURATION));
        let row = map.and_then(|map| tx.get(map, singleton_key()));
        row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default()
    }

    /// Whether one node votes, and nobody else takes part.
    pub(super) fn is_only(&self, node: &str) -> bool {
        matches!(&self.voters[..], [voter] if voter == node)
            && self.outgoing.is_empty()
            && self.learners.is_empty()
    }

    pub(crate) fn has(&self, node: &String) -> bool {
        [&self.voters, &self.outgoing, &self.learners].into_iter().any(|all| all.contains(node))
    }
}

/// All nodes that ever were.
pub(crate) fn all_nodes(
    tx: &mut Transaction<'_>,
) -> Result<BTreeMap<String, Node>, GovernanceError> {
    let mut nodes = BTreeMap::new();
    for (key, row) in tables::rows(tx, NODES_INFO)? {
        let node = tables::parse(NODES_INFO, &key, &row)?;
        nodes.insert(String::from_utf8_lossy(&key).into_owned(), Node(node));
    }
    Ok(nodes)
}

/// Checks that nobody needs the row of a node: it has left, and so has each of these nodes that is in its seat.
pub(crate) fn check_unneeded(
    id: &str,
    row: &Node,
    nodes: &BTreeMap<String, Node>,
) -> Result<(), &'static str> {
    let has_left = |node: &Node| node.status() == "Retired" && node.is_retired_committed();
    if !has_left(row) {
        return Err("it is not retired, or not yet known to be by all");
    }
    let mut in_its_seat =
        nodes.iter().filter(|(other, node)| *other != id && node.seat(other) == id);
    if in_its_seat.all(|(_, node)| has_left(node)) {
        Ok(())
    } else {
        Err("another node has its seat, and has not left")
    }
}

/// What the service writes of a node that it lets in again with new evidence.
const SHOWN_FIELDS: [&str; 7] = [
    "status",
    "certificate_signing_request",
    "code_digest",
    "quote_info",
    "encryption_pub_key",
    "node_to_node_interface",
    "rpc_interfaces",
];

/// The nodes before an entry and after it.
pub(super) struct Nodes {
    before: BTreeMap<String, Node>,
    after: BTreeMap<String, Node>,
    /// Those with a row in the entry.
    changed: Vec<String>,
    /// Those whose rows the entry removes.
    removed: Vec<String>,
    configuration: Configuration,
    /// The configuration that the entry carries, if it does.
    next: Option<Configuration>,
    /// What members admitted, if they ever did.
    measurements: Vec<Box<[u8]>>,
    leases: Leases,
}

impl Nodes {
    fn read(tx: &mut Transaction<'_>, writes: &WriteSetView<'_>) -> Result<Self, AuditFault> {
        let before = all_nodes(tx).map_err(AuditFault::Tables)?;
        let (mut after, mut changed, mut removed) = (before.clone(), Vec::new(), Vec::new());
        for (key, row) in rows(writes, NODES_INFO) {
            let id = String::from_utf8_lossy(key).into_owned();
            let Some(row) = row else {
                after.remove(&id);
                removed.push(id);
                continue;
            };
            let row = serde_json::from_slice(row);
            let row = row.map_err(|_| step(&id, "its row is no row of a node"))?;
            after.insert(id.clone(), Node(row));
            changed.push(id);
        }
        let measurements = tables::rows(tx, VIRTUAL_MEASUREMENTS).map_err(AuditFault::Tables)?;
        let measurements = measurements.into_iter().map(|(key, _)| key).collect();
        let configuration = Configuration::of(tx);
        let next = rows(writes, CONFIGURATION).next().and_then(|(_, row)| row);
        let next = next.and_then(|row| serde_json::from_slice(row).ok());
        let leases = Leases::read(tx, writes)?;
        Ok(Self { before, after, changed, removed, configuration, next, measurements, leases })
    }

    fn check_steps(&self) -> Result<(), AuditFault> {
        for id in &self.removed {
            let before = self.before.get(id).ok_or_else(|| step(id, "there is no such node"))?;
            check_unneeded(id, before, &self.after).map_err(|reason| step(id, reason))?;
        }
        self.changed.iter().try_for_each(|id| {
            self.check_step(id, self.before.get(id), &self.after[id])
                .map_err(|reason| step(id, reason))
        })
    }

    fn check_step(
        &self,
        id: &str,
        before: Option<&Node>,
        after: &Node,
    ) -> Result<(), &'static str> {
        let Some(before) = before else { return self.check_newcomer(id, after) };
        let seat = after.seat(id);
        match (before.status(), after.status()) {
            ("Pending" | "Trusted", "Trusted") if seat == id && self.leases.begins(seat) => {
                return self.check_let_in_again(id, before, after);
            }
            ("Trusted" | "Retired", "Pending") if seat == id && self.is_quarantined(seat) => {
                return self.check_quarantined(id, before, after);
            }
            ("Trusted", "Retired") if seat != id && self.is_quarantined(seat) => {}
            ("Pending", "Trusted") => {
                let from = self.passes_on(seat).filter(|_| before.asked_seat().is_some());
                let from =
                    from.ok_or("nobody voted for it, and it takes over from no trusted node")?;
                return if before.becomes(after, from) {
                    Ok(())
                } else {
                    Err("more of its row changes than its status, and what was said of its seat")
                };
            }
            ("Trusted", "Retired") => {
                let votes = self.configuration.voters.iter().any(|voter| voter == id);
                let is_succeeded = self.steps(seat, Some("Pending"), "Trusted");
                let is_replaced = self.is_replaced(before);
                if !is_succeeded && !is_replaced && (votes || !self.steps(seat, None, "Pending")) {
                    return Err("nobody voted to remove it, and no node takes over from it");
                }
            }
            ("Pending", "Retired") if before.asked_seat().is_some() => {}
            ("Retired", "Retired") => {
                return if after.is_retired_committed()
                    && before.differs_in(after, &["retired_committed"])
                {
                    Ok(())
                } else {
                    Err("it is retired, and its row changes")
                };
            }
            _ => return Err("no node becomes that without a vote"),
        }
        if before.differs_in(after, &["status"]) {
            Ok(())
        } else {
            Err("more of its row changes than its status")
        }
    }

    /// Whether the lease of a seat has ended, and nobody of it takes part any more.
    fn is_quarantined(&self, seat: &str) -> bool {
        let takes_part =
            |(id, node): (&String, &Node)| node.seat(id) == seat && self.configuration.has(id);
        self.leases.has_ended(seat) && !self.before.iter().any(takes_part)
    }

    /// The row of a seat whose node is quarantined: what members said of a node that came in it stays.
    fn check_quarantined(&self, id: &str, before: &Node, after: &Node) -> Result<(), &'static str> {
        if before.status() == "Trusted" {
            return if before.differs_in(after, &["status"]) {
                Ok(())
            } else {
                Err("more of its row changes than its status")
            };
        }
        let from = self.passes_on(id).ok_or("no trusted node of its seat is quarantined")?;
        let is_kept = |field: &str| after.0.get(field) == from.0.get(field);
        let changes = [&["status", "retired_committed"][..], &NODE_FIELDS_KEPT].concat();
        let is_so = before.differs_in(after, &changes)
            && after.0.get("retired_committed") == Some(&Value::Bool(false))
            && NODE_FIELDS_KEPT.into_iter().all(is_kept);
        if is_so { Ok(()) } else { Err("its row is not what its quarantine makes of it") }
    }

    fn check_let_in_again(
        &self,
        id: &str,
        before: &Node,
        after: &Node,
    ) -> Result<(), &'static str> {
        after.check_request(id)?;
        if !self.admits(after) {
            return Err("members have not admitted its code");
        }
        if before.differs_in(after, &SHOWN_FIELDS) {
            Ok(())
        } else {
            Err("more of its row changes than what it showed")
        }
    }

    /// Whether members admitted the code of a node.
    fn admits(&self, node: &Node) -> bool {
        let code = node.text("code_digest").unwrap_or_default();
        self.measurements.iter().any(|admitted| **admitted == *code.as_bytes())
    }

    /// Whether members trust a node of a seat before the entry.
    pub(super) fn is_trusted(&self, seat: &str) -> bool {
        let mut of_seat = self.before.iter().filter(|(id, node)| node.seat(id) == seat);
        of_seat.any(|(_, node)| node.status() == "Trusted")
    }

    /// Whether nobody of a seat takes part after the entry.
    pub(super) fn has_no_place(&self, seat: &str) -> bool {
        let next = self.next.as_ref().unwrap_or(&self.configuration);
        let leaves = |node: &String| next.voters.contains(node) || next.learners.contains(node);
        !self.before.iter().any(|(id, node)| node.seat(id) == seat && leaves(id))
    }

    pub(super) const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Whether all nodes of a seat were removed, and the entry says of one that nobody needs it any more.
    pub(super) fn has_left(&self, seat: &str) -> bool {
        let of_seat = |id: &str| self.after[id].seat(id) == seat;
        let is_gone = |id: &&String| self.after[*id].is_retired_committed() && of_seat(id);
        let mut rows = self.after.iter().filter(|(id, _)| of_seat(id));
        rows.all(|(_, node)| node.status() == "Retired")
            && self.changed.iter().any(|id| is_gone(&id))
    }

    /// Whether a seat comes back without a vote, and is to get one again.
    fn is_let_back(&self, seat: &str) -> bool {
        self.after.get(seat).is_some_and(|node| node.status() == "Pending" && !node.listens())
    }

    /// Whether the entry says of the node of a seat that it is trusted.
    pub(super) fn is_let_in_again(&self, seat: &str) -> bool {
        self.changed.iter().any(|id| id == seat && self.after[id].status() == "Trusted")
    }

    fn check_newcomer(&self, id: &str, node: &Node) -> Result<(), &'static str> {
        if node.status() != "Pending" {
            return Err("it was never pending");
        }
        node.check_request(id)?;
        if self.leases.was_there(id) {
            return Err("members removed it while it was quarantined");
        }
        let mut said = NODE_FIELDS_KEPT.into_iter().chain(["learner"]);
        if said.any(|field| node.0.contains_key(field)) {
            return Err("its row has what only members say of a node");
        }
        let code = node.text("code_digest").unwrap_or_default();
        let is_admitted = self.admits(node);
        let Some(seat) = node.asked_seat() else {
            return if is_admitted { Ok(()) } else { Err("members have not admitted its code") };
        };
        // A node that members trust has its seat before it listens.
        let has_seat = |id: &String, node: &Node| {
            node.seat(id) == seat
                && (self.configuration.has(id) || id == seat && node.status() == "Trusted")
        };
        let mut occupants = self.before.iter().filter(|(id, node)| has_seat(id, node)).peekable();
        if occupants.peek().is_none() {
            return Err("nobody has the seat that it asks for");
        }
        let is_same = occupants.all(|(_, other)| other.text("code_digest") == Some(code));
        if is_admitted || (self.measurements.is_empty() && is_same) {
            Ok(())
        } else {
            Err("members have not admitted its code")
        }
    }

    /// The node of a seat, trusted until now, that another one takes over from in this entry.
    fn passes_on(&self, seat: &str) -> Option<&Node> {
        self.before.get(self.who_steps(seat, Some("Trusted"), "Retired")?)
    }

    /// Whether members named others whose votes a node makes room for, and all of those that are trusted vote from this entry on.
    fn is_replaced(&self, node: &Node) -> bool {
        let successors = node.0.get("successors").and_then(Value::as_array);
        let seats = successors.into_iter().flatten().filter_map(Value::as_str);
        let next = self.next.as_ref().unwrap_or(&self.configuration);
        // Whether a seat votes whose node members trust, and not to listen only.
        let votes = |seat: &str| {
            let of_seat = self.after.iter().filter(|(id, node)| node.seat(id) == seat);
            let trusted: Vec<_> =
                of_seat.filter(|(_, node)| node.status() == "Trusted" && !node.listens()).collect();
            // One that is quarantined is waited for.
            (!trusted.is_empty() || self.leases.has_ended(seat) && self.is_let_back(seat))
                .then(|| trusted.iter().any(|(id, _)| next.voters.contains(id)))
        };
        let mut trusted = seats.filter_map(votes).peekable();
        trusted.peek().is_some() && trusted.all(|votes| votes)
    }

    /// Whether a node of a seat makes that step in this entry.
    fn steps(&self, seat: &str, from: Option<&str>, to: &str) -> bool {
        self.who_steps(seat, from, to).is_some()
    }

    /// The first node of a seat that makes that step.
    fn who_steps(&self, seat: &str, from: Option<&str>, to: &str) -> Option<&String> {
        self.changed.iter().find(|id| {
            let (before, after) = (self.before.get(*id), &self.after[*id]);
            after.seat(id) == seat && before.map(Node::status) == from && after.status() == to
        })
    }

    /// Nodes whose certificates the service may renew.
    fn check_certificates(&self, writes: &WriteSetView<'_>) -> Result<(), AuditFault> {
        for (key, row) in rows(writes, NODES_ENDORSED_CERTIFICATES) {
            let id = String::from_utf8_lossy(key).into_owned();
            let node = self.after.get(&id);
            let is_pending =
                |node: &Node| node.status() == "Pending" && node.asked_seat().is_some();
            let may_have = node.is_some_and(|node| node.status() == "Trusted" || is_pending(node));
            let is_right = if row.is_some() { may_have } else { self.removed.contains(&id) };
            if !is_right {
                return Err(step(&id, "its certificate changes, and it is no node of the service"));
            }
        }
        Ok(())
    }

    /// Nobody votes whom members did not trust, and nobody listens who has no place.
    fn check_configuration(&self, writes: &WriteSetView<'_>) -> Result<(), AuditFault> {
        let Some((_, row)) = rows(writes, CONFIGURATION).next() else { return Ok(()) };
        let wrong = |node: &str, reason: &str| AuditFault::Configuration {
            node: node.to_owned(),
            reason: reason.to_owned(),
        };
        let next = row.and(self.next.as_ref()).ok_or_else(|| wrong("nobody", "cannot be read"))?;
        let now = &self.configuration;
        let status = |id: &String| self.after.get(id).map(Node::status);
        for voter in &next.voters {
            if status(voter) != Some("Trusted") && !now.voters.contains(voter) {
                return Err(wrong(voter, "members do not trust it to vote"));
            }
            let seat = self.after.get(voter).map_or(voter.as_str(), |node| node.seat(voter));
            let mut of_seat = self.after.iter().filter(|(id, node)| node.seat(id) == seat);
            let listens = of_seat.any(|(_, node)| node.listens());
            if listens && !now.voters.contains(voter) {
                return Err(wrong(voter, "members want it to listen only"));
            }
        }
        for learner in next.learners.iter().filter(|learner| !now.has(learner)) {
            let asked = self.after.get(learner).and_then(Node::asked_seat);
            if status(learner) != Some("Trusted")
                && (status(learner) != Some("Pending") || asked.is_none())
            {
                return Err(wrong(learner, "members do not trust it, nor has it a seat"));
            }
        }
        match next.outgoing.iter().find(|node| !now.has(node)) {
            Some(node) => Err(wrong(node, "it did not vote before")),
            None => Ok(()),
        }
    }
}

fn step(node: &str, reason: &str) -> AuditFault {
    AuditFault::Node { node: node.to_owned(), reason: reason.to_owned() }
}

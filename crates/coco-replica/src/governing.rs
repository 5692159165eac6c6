//! Members' requests: carried out beside the replica, committed by it.
//!
//! A request runs scripts and may take seconds, and the replica never waits. So it hands out a [`GovernTask`]: a
//! transaction on the newest version, which another thread carries out while the replica goes on. What comes back is
//! committed only if nothing that it read was written meanwhile; else it is done again. There is one at a time, in the
//! order of arrival.
//!
//! What a constitution asks the node for is done here: opening the service is a write of the same transaction, a new
//! chunk and a snapshot follow the entry. Nodes that members trust or remove are followed up step by step; see
//! `membership.rs`.

use std::collections::VecDeque;

use bytes::Bytes;
use coco_adapter::Ticket;
use coco_crypto::{Certificate, SHARING_SEED_BYTES};
use coco_governance::{
    Effect, ErrorCode, Governance, GovernanceError, Handled, Occasion, Route, SecretFrom,
    Situation, has_recovery_members, share, tables,
};
use coco_kv::{Changes, CommitError, MapName, Transaction, Value, WriteSet};
use coco_ledger::{LedgerSecrets, NODES_MAP, ServiceStatus, read_node, singleton_key};
use coco_types::{Digest, NodeId, Role, Seqno, TxId, limits::ENTRY_BYTES_MAX};

use crate::{
    effects::Effects,
    load::AppendKind,
    replica::{Replica, StepError},
};

/// Most requests of members that wait. Each may hold a megabyte.
pub const GOVERN_WAITING_MAX: usize = 64;
/// How often one is carried out when others' entries changed what it read.
pub const GOVERN_TRIES_MAX: u32 = 8;

/// `one key -> nothing`: written by an entry that asks for a snapshot, so that all nodes make one.
pub const SNAPSHOT_ASKED_MAP: &str = "public:coco.internal.snapshot_asked";

/// A member's request, with the call that it came with.
#[derive(Clone)]
pub struct GovernRequest {
    /// The call.
    pub route: Route,
    /// What was signed, with its signature.
    pub envelope: Bytes,
}

impl std::fmt::Debug for GovernRequest {
    /// Without the envelope: it may hold a share.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GovernRequest").field("route", &self.route).finish_non_exhaustive()
    }
}

/// What becomes of a member's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GovernReply {
    /// Done by this entry, which is not committed yet; or found to be done already, as of this entry.
    Done {
        /// The entry.
        id: TxId,
        /// The answer, for when it is committed.
        reply: coco_governance::Reply,
    },
    /// Refused; nothing of it remains.
    Refused(GovernanceError),
    /// This node is not primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<NodeId>),
    /// Too many wait, or what it reads changes all the time.
    Busy,
}

/// A request to be carried out on another thread.
pub struct GovernTask {
    ticket: Ticket,
    request: GovernRequest,
    transaction: Transaction<'static>,
    situation: Situation,
    secrets: LedgerSecrets,
}

/// A request that was carried out, for the replica to commit.
#[derive(Debug)]
pub struct Governed {
    ticket: Ticket,
    result: Result<Prepared, GovernanceError>,
}

/// What a request amounts to.
struct Prepared {
    base: Seqno,
    changes: Changes,
    reply: coco_governance::Reply,
    chunk: bool,
}

impl std::fmt::Debug for GovernTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ticket, route) = (&self.ticket, &self.request.route);
        f.debug_struct("GovernTask").field("ticket", ticket).field("route", route).finish()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("base", &self.base).finish_non_exhaustive()
    }
}

impl GovernTask {
    /// Carries it out. Takes up to some seconds. `seed` is drawn for this call and serves once: recovery shares may be dealt
    /// with it, so it is as secret as the ledger secret.
    pub fn run(self, governance: &mut Governance, seed: &[u8; SHARING_SEED_BYTES]) -> Governed {
        let Self { ticket, request, transaction, situation, secrets } = self;
        let base = transaction.version();
        let handled = governance.handle(transaction, request.route, &request.envelope, &situation);
        let result = handled.and_then(|handled| prepare(handled, base, &secrets, seed));
        Governed { ticket, result }
    }
}

/// Does what the constitution asked the node for, as far as it is writes.
fn prepare(
    handled: Handled<'static>,
    base: Seqno,
    secrets: &LedgerSecrets,
    seed: &[u8; SHARING_SEED_BYTES],
) -> Result<Prepared, GovernanceError> {
    let newest = secrets.newest();
    let Handled { mut transaction, reply, effects } = handled;
    let mut chunk = false;
    for effect in effects {
        match effect {
            Effect::OpenService { previous, next } => {
                let opens = open_service(&mut transaction, previous.as_deref(), &next)?;
                if opens && has_recovery_members(&mut transaction)? {
                    let newest = SecretFrom { from: newest.from, secret: newest.secret.secret() };
                    let occasion = Occasion::Opening { newest, previous: None };
                    share(&mut transaction, &occasion, seed)?;
                }
            }
            Effect::ChunkLedger => chunk = true,
            Effect::Snapshot => {
                let map = MapName::from_static(SNAPSHOT_ASKED_MAP);
                let map = transaction.map(&map).expect("the loader registered this map");
                transaction.put(map, singleton_key(), Vec::new());
            }
            Effect::RefreshRecoveryShares => {
                let newest = newest.secret.secret();
                share(&mut transaction, &Occasion::Refresh { newest }, seed)?;
            }
            Effect::RekeyLedger | Effect::Recovered(_) => {
                return Err(refused("new ledger secrets and recoveries are not offered yet"));
            }
        }
    }
    let changes = transaction.finish();
    check_size(changes.write_set())?;
    check_nodes(changes.write_set())?;
    Ok(Prepared { base, changes, reply, chunk })
}

/// Checks that the writes fit an entry, with room for what else is in one.
fn check_size(writes: &WriteSet) -> Result<(), GovernanceError> {
    let of_row = |(_, key, row): (&MapName, &[u8], Option<&Value>)| {
        ROW_BYTES + key.len() + row.map_or(0, |row| row.len())
    };
    let bytes: usize = writes.iter().map(of_row).sum();
    if bytes <= WRITES_BYTES_MAX {
        return Ok(());
    }
    Err(refused(format!(
        "the request would write {bytes} bytes, and {WRITES_BYTES_MAX} fit an entry"
    )))
}

/// Most bytes that a request writes, rows and their framing.
const WRITES_BYTES_MAX: usize = ENTRY_BYTES_MAX - (64 << 10);
/// Framing of a row, at least what it is.
const ROW_BYTES: usize = 32;

/// Checks that what a constitution writes about nodes can be read: consensus goes by it.
fn check_nodes(writes: &WriteSet) -> Result<(), GovernanceError> {
    for (map, key, row) in writes.iter() {
        let Some(row) = row.filter(|_| map.as_str() == NODES_MAP) else { continue };
        let node: Option<NodeId> = str::from_utf8(key).ok().and_then(|key| key.parse().ok());
        if node.is_none_or(|node| read_node(node, row).is_err()) {
            let key = String::from_utf8_lossy(key);
            return Err(refused(format!("the row {key:?} of {NODES_MAP} would be of no node")));
        }
    }
    Ok(())
}

/// Opens the service that members mean, and no other; whether it was not open before.
fn open_service(
    tx: &mut Transaction<'_>,
    previous: Option<&[u8]>,
    next: &[u8],
) -> Result<bool, GovernanceError> {
    let map = tx.map(&MapName::from_static(tables::SERVICE_INFO));
    let map = map.expect("governance's tables are in the schema");
    let row = tx.get(map, singleton_key()).ok_or_else(|| refused("there is no service yet"))?;
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&row)
        .map_err(|error| refused(format!("the row of the service cannot be read: {error}")))?;
    let read = |pem: &[u8]| {
        str::from_utf8(pem)
            .ok()
            .and_then(|pem| Certificate::from_pem(pem).ok())
            .map(|cert| cert.digest())
    };
    let ours = row.get("cert").and_then(|cert| read(cert.as_str()?.as_bytes()));
    if ours.is_none() || read(next) != ours {
        return Err(refused("next_service_identity is not the certificate of this service"));
    }
    let status: Option<ServiceStatus> =
        row.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    match status {
        Some(ServiceStatus::Open) => return Ok(false),
        Some(ServiceStatus::Opening) if previous.is_none() => {}
        Some(ServiceStatus::Opening) => {
            return Err(refused(
                "there was no service before this one: leave previous_service_identity out",
            ));
        }
        Some(ServiceStatus::Recovering | ServiceStatus::WaitingForRecoveryShares) | None => {
            return Err(refused(format!("a service that is {status:?} cannot be opened")));
        }
    }
    row.insert("status".to_owned(), serde_json::json!(ServiceStatus::Open));
    let row = serde_json::to_vec(&row).expect("what was JSON is JSON");
    tx.put(map, singleton_key(), row);
    Ok(true)
}

fn refused(message: impl Into<String>) -> GovernanceError {
    GovernanceError::new(ErrorCode::InternalError, message)
}

/// The requests of members that a primary has.
#[derive(Debug, Default)]
pub(crate) struct Governing {
    waiting: VecDeque<(Ticket, GovernRequest)>,
    running: Option<Running>,
    /// The next signature ends its chunk.
    pub(crate) chunk_asked: bool,
}

/// The one that is carried out.
#[derive(Debug)]
struct Running {
    ticket: Ticket,
    request: GovernRequest,
    tries: u32,
    /// What it amounts to, while no entry can be made.
    prepared: Option<Prepared>,
}

impl Governing {
    /// Whoever waits, when this node is primary no more.
    pub(crate) fn abandon(&mut self) -> Vec<Ticket> {
        self.chunk_asked = false;
        let running = self.running.take().map(|running| running.ticket);
        running.into_iter().chain(self.waiting.drain(..).map(|(ticket, _)| ticket)).collect()
    }
}

impl Replica {
    pub(crate) fn govern(
        &mut self,
        ticket: Ticket,
        request: GovernRequest,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        if self.engine.role() != Role::Primary {
            let reply = GovernReply::NotPrimary(self.engine.primary());
            effects.governed.push((ticket, reply));
        } else if self.governing.waiting.len() >= GOVERN_WAITING_MAX {
            effects.governed.push((ticket, GovernReply::Busy));
        } else {
            self.governing.waiting.push_back((ticket, request));
        }
        self.advance_governing(effects)
    }

    /// Takes what another thread has carried out.
    pub(crate) fn take_governed(
        &mut self,
        governed: Governed,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let Governed { ticket, result } = governed;
        let is_awaited = |running: &mut Running| running.ticket == ticket;
        let Some(mut running) = self.governing.running.take_if(is_awaited) else {
            // Its caller was told that this node is primary no more.
            return Ok(());
        };
        match result {
            Ok(prepared) => {
                running.prepared = Some(prepared);
                self.governing.running = Some(running);
            }
            Err(error) => effects.governed.push((ticket, GovernReply::Refused(error))),
        }
        self.advance_governing(effects)
    }

    /// Commits what is prepared and begins what waits, as far as entries can be made now.
    pub(crate) fn advance_governing(&mut self, effects: &mut Effects) -> Result<(), StepError> {
        if self.governing.running.as_ref().is_some_and(|running| running.prepared.is_some()) {
            let Some(id) = self.next_tx_id().filter(|_| self.has_room()) else { return Ok(()) };
            let mut running = self.governing.running.take().expect("it is there");
            let prepared = running.prepared.take().expect("it is there");
            self.commit_governed(id, running, prepared, effects)?;
        }
        if self.governing.running.is_none()
            && self.next_tx_id().is_some()
            && let Some((ticket, request)) = self.governing.waiting.pop_front()
        {
            self.begin_governing(Running { ticket, request, tries: 0, prepared: None }, effects);
        }
        Ok(())
    }

    fn begin_governing(&mut self, running: Running, effects: &mut Effects) {
        let transaction = self.core.store.reader().begin();
        let root = {
            let state = self.core.state.read();
            let size = transaction.version().0 + 1;
            state.tree().root_at(size).expect("store and tree stand at the same position")
        };
        let now = self.block_time_ms() / 1000;
        let situation = Situation { root, now, ledger_secret: Seqno(1), submitted_under: None };
        effects.govern = Some(GovernTask {
            ticket: running.ticket,
            request: running.request.clone(),
            transaction,
            situation,
            secrets: self.core.secrets.clone(),
        });
        self.governing.running = Some(running);
    }

    fn commit_governed(
        &mut self,
        id: TxId,
        mut running: Running,
        prepared: Prepared,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let Prepared { base, changes, reply, chunk } = prepared;
        if changes.write_set().is_empty() {
            let id = self.core.state.read().tx_id(base);
            effects.governed.push((running.ticket, GovernReply::Done { id, reply }));
            return Ok(());
        }
        match self.core.store.commit(id.seqno, changes) {
            Ok(writes) => {
                self.note_governed(id, &writes, chunk);
                self.propose(id, &writes, &Digest::ZERO, AppendKind::PLAIN)?;
                effects.governed.push((running.ticket, GovernReply::Done { id, reply }));
            }
            Err(CommitError::Conflict { .. } | CommitError::RolledBack { .. })
                if running.tries + 1 < GOVERN_TRIES_MAX =>
            {
                running.tries += 1;
                self.begin_governing(running, effects);
            }
            Err(CommitError::Conflict { .. } | CommitError::RolledBack { .. }) => {
                effects.governed.push((running.ticket, GovernReply::Busy));
            }
            Err(error @ (CommitError::KeyTooLong { .. } | CommitError::OutOfOrder { .. })) => {
                let refusal = refused(format!("the changes cannot be written: {error}"));
                effects.governed.push((running.ticket, GovernReply::Refused(refusal)));
            }
        }
        Ok(())
    }

    fn note_governed(&mut self, id: TxId, writes: &WriteSet, chunk: bool) {
        self.governing.chunk_asked |= chunk;
        let touches = |name: &str| writes.map_names().any(|map| map.as_str() == name);
        self.nodes_changed |= touches(NODES_MAP);
        if touches(SNAPSHOT_ASKED_MAP) {
            self.core.note_snapshot_asked(id.seqno);
        }
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::{EntryFlags, LedgerSecret, seal};

    use super::*;

    #[test]
    fn what_a_request_may_write_fits_an_entry() {
        let map = MapName::from_static(NODES_MAP);
        let secret = LedgerSecret::new(&[7; 32]);
        for (bytes, fits) in
            [(WRITES_BYTES_MAX - ROW_BYTES - 1, true), (WRITES_BYTES_MAX - ROW_BYTES, false)]
        {
            let mut writes = WriteSet::new();
            writes.insert(&map, b"k", vec![b'v'; bytes]);
            assert_eq!(check_size(&writes).is_ok(), fits, "{bytes}");
            let sealed = seal(&secret, TxId::new(2, 9), EntryFlags::NONE, &Digest::ZERO, &writes);
            assert!(sealed.is_ok(), "there is room for more");
        }
        let mut writes = WriteSet::new();
        for key in 0..(WRITES_BYTES_MAX / ROW_BYTES) as u64 {
            writes.insert(&map, &key.to_le_bytes(), Vec::new());
        }
        assert!(check_size(&writes).is_err(), "rows cost something, too");
    }
}

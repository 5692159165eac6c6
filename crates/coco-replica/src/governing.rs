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

mod asked;
mod service;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use coco_adapter::Ticket;
use coco_crypto::{SHARING_SEED_BYTES, SecretBytes, SharedSecret, hmac_sha256};
use coco_governance::{
    Certificates, Effect, Governance, GovernanceError, Handled, Occasion, Reply, Route, SecretFrom,
    Situation, forget_submitted_shares, has_recovery_members, is_secret_outside, newest_secret,
    remove_retired_node, share, tables, take_issuer_keys,
};
use coco_kv::{Changes, CommitError, MapName, Transaction, Value, WriteSet};
use coco_ledger::{
    LedgerSecrets, NODES_MAP, PERIODS_MAX, Period, SERVICE_MAP, ServiceStatus, read_node,
    singleton_key,
};
use coco_types::{Digest, NodeId, Role, Seqno, TxId, limits::ENTRY_BYTES_MAX};

pub(crate) use self::asked::Asked;
use self::service::{is_of_recovery, open_service, service_row, set_status, status_of};
use crate::{
    effects::Effects,
    load::{AppendKind, LoadError},
    node_cipher::NodeCipher,
    periods::{
        NODE_SECRETS_MAP, SECRET_SINCE_MAP, begin_period, find, is_over_age, keep_previous,
        put_since, refused, unwind,
    },
    replica::{Replica, StepError},
};

/// Most requests of members that wait. Each may hold a megabyte.
pub const GOVERN_WAITING_MAX: usize = 64;
/// Most of them that one member signed, so that none keeps the others from governing.
pub const GOVERN_WAITING_BY_MEMBER_MAX: usize = 8;
/// How often the age of the ledger secret is looked at, in milliseconds.
pub const SECRET_LOOK_MS: u64 = 10_000;
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
        reply: Reply,
    },
    /// Refused; nothing of it remains.
    Refused(GovernanceError),
    /// This node is not primary; the one it knows of, if any, may be asked.
    NotPrimary(Option<NodeId>),
    /// Too many wait, or what it reads changes all the time.
    Busy,
}

/// What a primary does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// It makes a snapshot of its own, where its ledger begins with one of the service that was lost: for nodes that join.
    OwnSnapshot,
    /// It opens a service whose secrets are all back. Refused, it tries again after each request of a member that is carried
    /// out: nothing else changes what it reads.
    EndOfRecovery,
    /// It gives the ledger another secret, because of the age of the one that it has, or of who has it. Refused, it tries again after
    /// [`SECRET_LOOK_MS`].
    NextSecret,
}

/// Something to be carried out on another thread.
pub struct GovernTask {
    asked: Asked,
    transaction: Transaction<'static>,
    situation: Situation,
    secrets: Secrets,
}

/// What is known of the ledger's secrets.
struct Secrets {
    known: LedgerSecrets,
    /// Where the last period begins whose secret is not known, in a recovery.
    unread_from: Seqno,
    cipher: Arc<dyn NodeCipher>,
    /// The time, in seconds since 1970.
    now: u64,
}

impl Secrets {
    /// Encrypts shares to members.
    fn encrypts(&self) -> impl Fn(&str, &SecretBytes) -> Result<Vec<u8>, String> {
        |key_pem, share| self.cipher.encrypt(key_pem, share).map_err(|error| error.0)
    }
}

/// What was carried out, for the replica to commit.
#[derive(Debug)]
pub struct Governed {
    ticket: Option<Ticket>,
    result: Result<Prepared, GovernanceError>,
}

/// What a request amounts to.
struct Prepared {
    base: Seqno,
    changes: Changes,
    reply: Reply,
    chunk: bool,
    /// All secrets of a ledger, when members have given them back.
    recovered: Option<LedgerSecrets>,
}

impl std::fmt::Debug for GovernTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GovernTask").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("base", &self.base).finish_non_exhaustive()
    }
}

impl GovernTask {
    /// Has scripts that ask for a new certificate of the service get it from here.
    #[must_use]
    pub fn with_certificates(mut self, certificates: Certificates) -> Self {
        self.situation.certificates = certificates;
        self
    }

    /// Carries it out. Takes up to some seconds. `seed` is drawn for this call and serves once: recovery shares may be dealt
    /// with it, and a ledger secret made of it, so it is as secret as those.
    pub fn run(self, governance: &mut Governance, seed: &[u8; SHARING_SEED_BYTES]) -> Governed {
        let Self { asked, transaction, situation, secrets } = self;
        let (ticket, base) = (asked.ticket(), transaction.version());
        let result = match asked {
            Asked::Member(_, GovernRequest { route, envelope }) => governance
                .handle(transaction, route, &envelope, &situation)
                .and_then(|handled| prepare(handled, base, &secrets, seed)),
            Asked::IssuerKeys(_, keys) => written(transaction, |tx| take_issuer_keys(tx, &keys)),
            Asked::Snapshot(_) | Asked::OwnSnapshot => {
                written(transaction, |tx| ask_snapshot(tx, &secrets))
            }
            Asked::RemoveNode(_, node) => written(transaction, |tx| remove_retired_node(tx, node)),
            Asked::EndOfRecovery => end_recovery(transaction, &secrets, seed),
            Asked::NextSecret => next_secret(transaction, &secrets, seed),
        };
        Governed { ticket, result }
    }
}

/// Writes something, if it has to be written at all, and nothing else follows from it.
fn written(
    mut transaction: Transaction<'static>,
    write: impl FnOnce(&mut Transaction<'static>) -> Result<(), GovernanceError>,
) -> Result<Prepared, GovernanceError> {
    let base = transaction.version();
    write(&mut transaction)?;
    Prepared::of(transaction, base, Reply::Done)
}

/// Writes that a snapshot is asked for, of the entry after which all nodes make one.
fn ask_snapshot(tx: &mut Transaction<'_>, secrets: &Secrets) -> Result<(), GovernanceError> {
    let status = service_row(tx).ok().as_ref().and_then(status_of);
    if !secrets.known.is_whole() || status.is_some_and(is_of_recovery) {
        return Err(refused("half a state makes no snapshot: the service is being recovered"));
    }
    let map = find(tx, SNAPSHOT_ASKED_MAP)?;
    tx.put(map, singleton_key(), Vec::new());
    Ok(())
}

/// Does what the constitution asked the node for, as far as it is writes.
fn prepare(
    handled: Handled<'static>,
    base: Seqno,
    secrets: &Secrets,
    seed: &[u8; SHARING_SEED_BYTES],
) -> Result<Prepared, GovernanceError> {
    let Handled { mut transaction, reply, effects } = handled;
    let (mut chunk, mut recovered) = (false, None);
    let (mut opens, mut rekeys, mut refreshes) = (false, false, false);
    for effect in effects {
        match effect {
            Effect::OpenService { previous, next } => {
                opens |= open_service(&mut transaction, previous.as_deref(), &next)?;
            }
            Effect::ChunkLedger => chunk = true,
            Effect::Snapshot => ask_snapshot(&mut transaction, secrets)?,
            Effect::RefreshRecoveryShares => refreshes = true,
            Effect::RekeyLedger => rekeys = true,
            Effect::Recovered(key) => {
                recovered = Some(all_secrets(&mut transaction, secrets, &key)?);
            }
        }
    }
    deal(&mut transaction, secrets, seed, Dealt { opens, rekeys, refreshes })?;
    let prepared = Prepared::of(transaction, base, reply)?;
    Ok(Prepared { chunk, recovered, ..prepared })
}

impl Prepared {
    fn of(
        transaction: Transaction<'static>,
        base: Seqno,
        reply: Reply,
    ) -> Result<Self, GovernanceError> {
        let changes = transaction.finish();
        check_size(changes.write_set())?;
        check_nodes(changes.write_set())?;
        Ok(Self { base, changes, reply, chunk: false, recovered: None })
    }
}

/// Why shares are dealt.
#[derive(Clone, Copy)]
struct Dealt {
    opens: bool,
    rekeys: bool,
    refreshes: bool,
}

/// Deals shares, once whatever the reasons are, and makes another ledger secret if that is one.
fn deal(
    tx: &mut Transaction<'_>,
    secrets: &Secrets,
    seed: &[u8; SHARING_SEED_BYTES],
    Dealt { opens, rekeys, refreshes }: Dealt,
) -> Result<(), GovernanceError> {
    if (rekeys || refreshes) && !secrets.known.is_whole() {
        return Err(refused("the service is being recovered: its past secrets are not there yet"));
    }
    if opens && rekeys {
        return Err(refused("a service opens first, and gets another ledger secret then"));
    }
    if rekeys {
        check_rekey(tx, secrets)?;
    }
    let newest = secrets.known.newest();
    let from = |period: &Period| period.from;
    if opens || rekeys {
        put_since(tx, secrets.now)?;
    }
    if rekeys {
        let next = SecretBytes::new(hmac_sha256(seed, NEXT_SECRET_LABEL).0.to_vec());
        begin_period(tx, &*secrets.cipher, &next, newest)?;
        if has_recovery_members(tx)? {
            let previous = SecretFrom { from: from(newest), secret: newest.secret.secret() };
            share(
                tx,
                &Occasion::Rekey { next: &next, previous },
                &sharing_seed(seed),
                &secrets.encrypts(),
            )?;
        }
    } else if opens {
        if has_recovery_members(tx)? {
            let newest = SecretFrom { from: from(newest), secret: newest.secret.secret() };
            share(
                tx,
                &Occasion::Opening { newest, previous: None },
                &sharing_seed(seed),
                &secrets.encrypts(),
            )?;
        }
    } else if refreshes {
        let newest = newest.secret.secret();
        share(tx, &Occasion::Refresh { newest }, &sharing_seed(seed), &secrets.encrypts())?;
    }
    Ok(())
}

/// Checks that the ledger may have another secret. As in CCF not before its service is open: what ends a recovery, and what
/// opens a service for the first time, says of the newest secret that it is the service's first.
fn check_rekey(tx: &mut Transaction<'_>, secrets: &Secrets) -> Result<(), GovernanceError> {
    if status_of(&service_row(tx)?) != Some(ServiceStatus::Open) {
        return Err(refused(
            "the service is not open: open it, or end its recovery, before its ledger gets another secret",
        ));
    }
    if !secrets.known.may_rekey() {
        return Err(refused(format!(
            "the ledger has had {} secrets, and what is left to {PERIODS_MAX} is kept for recoveries: it keeps the one it has",
            secrets.known.periods().len()
        )));
    }
    Ok(())
}

/// One seed gives a ledger secret and a sharing; neither says anything of the other.
fn sharing_seed(seed: &[u8; SHARING_SEED_BYTES]) -> [u8; SHARING_SEED_BYTES] {
    hmac_sha256(seed, SHARING_LABEL).0
}

const NEXT_SECRET_LABEL: &[u8] = b"Coco next ledger secret";
const SHARING_LABEL: &[u8] = b"Coco recovery shares";

/// All secrets of the ledger that is being recovered, from the key that members' shares gave, and its own.
fn all_secrets(
    tx: &mut Transaction<'_>,
    secrets: &Secrets,
    key: &SharedSecret,
) -> Result<LedgerSecrets, GovernanceError> {
    let newest = newest_secret(tx, key)?;
    let past = unwind(tx, secrets.unread_from, &newest)?;
    let all = past.into_iter().chain(secrets.known.periods().iter().cloned());
    LedgerSecrets::new(all).map_err(|error| refused(error.to_string()))
}

/// Opens a service whose secrets are all back: its own secret is shared from here on, and the one before kept under it.
fn end_recovery(
    mut transaction: Transaction<'static>,
    secrets: &Secrets,
    seed: &[u8; SHARING_SEED_BYTES],
) -> Result<Prepared, GovernanceError> {
    let (base, tx) = (transaction.version(), &mut transaction);
    let [.., previous, newest] = secrets.known.periods() else {
        return Err(refused("a recovered ledger has two secrets at least"));
    };
    set_status(tx, ServiceStatus::Open)?;
    put_since(tx, secrets.now)?;
    forget_submitted_shares(tx)?;
    keep_previous(tx, newest.secret.secret(), previous)?;
    if has_recovery_members(tx)? {
        let from = |period: &Period| (period.from, period.secret.clone());
        let ((from, secret), (previous_from, previous)) = (from(newest), from(previous));
        let occasion = Occasion::Opening {
            newest: SecretFrom { from, secret: secret.secret() },
            previous: Some(SecretFrom { from: previous_from, secret: previous.secret() }),
        };
        share(tx, &occasion, &sharing_seed(seed), &secrets.encrypts())?;
    }
    Prepared::of(transaction, base, Reply::Done)
}

/// Gives the ledger another secret if the one that it has is still too old, or a node has it that is quarantined.
fn next_secret(
    mut transaction: Transaction<'static>,
    secrets: &Secrets,
    seed: &[u8; SHARING_SEED_BYTES],
) -> Result<Prepared, GovernanceError> {
    let (base, tx) = (transaction.version(), &mut transaction);
    let mut row = |map| -> Result<Option<Value>, GovernanceError> {
        let map = find(tx, map)?;
        Ok(tx.get(map, singleton_key()))
    };
    let (configuration, since) = (row(tables::SERVICE_CONFIG)?, row(SECRET_SINCE_MAP)?);
    if is_over_age(configuration.as_deref(), since.as_deref(), secrets.now)
        || is_secret_outside(tx, secrets.known.newest().from)?
    {
        let why = Dealt { opens: false, rekeys: true, refreshes: false };
        deal(&mut transaction, secrets, seed, why)?;
    }
    Prepared::of(transaction, base, Reply::Done)
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

/// The requests of members that a primary has.
#[derive(Debug, Default)]
pub(crate) struct Governing {
    waiting: VecDeque<Asked>,
    running: Option<Running>,
    /// The next signature ends its chunk.
    pub(crate) chunk_asked: bool,
    /// Whether a recovery is to be ended has not been looked at since this node is primary, or since a member's request.
    pub(crate) may_end_recovery: bool,
    /// When the age of the ledger secret is looked at again, by the monotonic clock.
    pub(crate) next_look_ms: u64,
    /// All secrets, and the entry with which members have given them back.
    pub(crate) recovered: Option<(Seqno, LedgerSecrets)>,
}

/// The one that is carried out.
#[derive(Debug)]
struct Running {
    asked: Asked,
    tries: u32,
    /// What it amounts to, while no entry can be made.
    prepared: Option<Prepared>,
}

impl Governing {
    /// How many requests wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether one more may wait.
    fn has_place(&self, asked: &Asked) -> bool {
        if self.waiting.len() < GOVERN_WAITING_BY_MEMBER_MAX {
            return true;
        }
        let signer = asked.signer();
        let own = self.waiting.iter().filter(|other| signer.is_some() && other.signer() == signer);
        self.waiting.len() < GOVERN_WAITING_MAX && own.count() < GOVERN_WAITING_BY_MEMBER_MAX
    }

    /// Whoever waits, when this node is primary no more.
    pub(crate) fn abandon(&mut self) -> Vec<Ticket> {
        self.chunk_asked = false;
        self.recovered = None;
        let running = self.running.take().and_then(|running| running.asked.ticket());
        let waiting = self.waiting.drain(..).filter_map(|asked| asked.ticket());
        running.into_iter().chain(waiting).collect()
    }
}

impl Replica {
    /// Has what somebody asks for carried out, after what waits already.
    pub(crate) fn take_asked(
        &mut self,
        ticket: Ticket,
        asked: Asked,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        if self.engine.role() != Role::Primary {
            let reply = GovernReply::NotPrimary(self.engine.primary());
            effects.governed.push((ticket, reply));
        } else if !self.governing.has_place(&asked) {
            effects.governed.push((ticket, GovernReply::Busy));
        } else {
            self.governing.waiting.push_back(asked);
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
        let is_awaited = |running: &mut Running| running.asked.ticket() == ticket;
        let Some(mut running) = self.governing.running.take_if(is_awaited) else {
            // Its caller was told that this node is primary no more.
            return Ok(());
        };
        match result {
            Ok(prepared) => {
                running.prepared = Some(prepared);
                self.governing.running = Some(running);
            }
            Err(error) => refuse(&running.asked, error, effects),
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
        if self.governing.running.is_none() && self.next_tx_id().is_some() {
            let asked = if std::mem::take(&mut self.governing.may_end_recovery)
                && self.is_recovery_over()
            {
                Some(Asked::EndOfRecovery)
            } else if self.is_secret_over_age() {
                // Looked at seldom, and before what waits: members who ask for ever do not keep an old secret in use.
                Some(Asked::NextSecret)
            } else if self.owes_own_snapshot() {
                Some(Asked::OwnSnapshot)
            } else {
                self.governing.waiting.pop_front()
            };
            if let Some(asked) = asked {
                self.begin_governing(Running { asked, tries: 0, prepared: None }, effects);
            }
        }
        Ok(())
    }

    /// Whether all secrets of a recovered ledger are here, and the service does not say so yet.
    fn is_recovery_over(&self) -> bool {
        self.service_status() == Some(ServiceStatus::WaitingForRecoveryShares)
            && self.core.state.read().secrets.is_whole()
    }

    /// Whether the service is being recovered: also when its secrets are all back, and it does not say so yet.
    pub(crate) fn is_recovering(&self) -> bool {
        self.service_status().is_some_and(is_of_recovery)
    }

    fn service_status(&self) -> Option<ServiceStatus> {
        coco_ledger::service_status(&self.newest(SERVICE_MAP, singleton_key())?)
    }

    /// Whether the ledger is to have another secret by now, and may have it. Looked at once in [`SECRET_LOOK_MS`].
    fn is_secret_over_age(&mut self) -> bool {
        let now = self.now_mono_ms();
        if now < self.governing.next_look_ms {
            return false;
        }
        self.governing.next_look_ms = now + SECRET_LOOK_MS;
        // What would be refused, for as long as it takes members to see to it, is not begun.
        let may_rekey = self.core.state.read().secrets.may_rekey();
        if !may_rekey || self.service_status() != Some(ServiceStatus::Open) {
            return false;
        }
        let row = |table| self.newest(table, singleton_key());
        let (configuration, since) = (row(tables::SERVICE_CONFIG), row(SECRET_SINCE_MAP));
        let now_s = self.block_time_ms() / 1000;
        is_over_age(configuration.as_deref(), since.as_deref(), now_s) || self.is_secret_outside()
    }

    fn is_secret_outside(&self) -> bool {
        let newest = self.core.state.read().secrets.newest().from;
        is_secret_outside(&mut self.core.store.reader().begin(), newest).unwrap_or_default()
    }

    fn begin_governing(&mut self, running: Running, effects: &mut Effects) {
        let transaction = self.core.store.reader().begin();
        let (root, known) = {
            let state = self.core.state.read();
            let size = transaction.version().0 + 1;
            let root =
                state.tree().root_at(size).expect("store and tree stand at the same position");
            (root, state.secrets.clone())
        };
        let now = self.block_time_ms() / 1000;
        let newest = known.newest();
        // Shares are sent in as long as secrets are missing.
        let submitted_under = (!known.is_whole()).then(|| newest.secret.secret().clone());
        // Whoever runs the task may have the service's key.
        let certificates = Certificates::None;
        let situation =
            Situation { root, now, ledger_secret: newest.from, submitted_under, certificates };
        let cipher = Arc::clone(&self.core.cipher);
        let secrets = Secrets { unread_from: self.core.unread_from, cipher, known, now };
        let asked = running.asked.clone();
        effects.govern = Some(GovernTask { asked, transaction, situation, secrets });
        self.governing.running = Some(running);
    }

    fn commit_governed(
        &mut self,
        id: TxId,
        mut running: Running,
        prepared: Prepared,
        effects: &mut Effects,
    ) -> Result<(), StepError> {
        let Prepared { base, changes, reply, chunk, recovered } = prepared;
        let ticket = running.asked.ticket();
        if changes.write_set().is_empty() {
            let id = self.core.state.read().tx_id(base);
            answer(ticket, GovernReply::Done { id, reply }, effects);
            return Ok(());
        }
        match self.core.store.commit(id.seqno, changes) {
            Ok(writes) => {
                self.note_governed(id, &writes, chunk);
                // It may mend what the end of a recovery was refused for.
                self.governing.may_end_recovery |= matches!(running.asked, Asked::Member(..));
                self.propose(id, &writes, &Digest::ZERO, AppendKind::PLAIN)?;
                let map = MapName::from_static(NODE_SECRETS_MAP);
                if let Some(row) = writes.get(&map, singleton_key()) {
                    let taken = self.core.take_period(id.seqno, row);
                    taken.map_err(|source| LoadError::Period { id, source })?;
                }
                self.governing.recovered = recovered
                    .map(|secrets| (id.seqno, secrets))
                    .or(self.governing.recovered.take());
                answer(ticket, GovernReply::Done { id, reply }, effects);
            }
            Err(CommitError::Conflict { .. } | CommitError::RolledBack { .. })
                if running.tries + 1 < GOVERN_TRIES_MAX =>
            {
                running.tries += 1;
                self.begin_governing(running, effects);
            }
            Err(CommitError::Conflict { .. } | CommitError::RolledBack { .. }) => {
                self.governing.may_end_recovery |= matches!(running.asked, Asked::EndOfRecovery);
                answer(ticket, GovernReply::Busy, effects);
            }
            Err(error @ (CommitError::KeyTooLong { .. } | CommitError::OutOfOrder { .. })) => {
                let refusal = refused(format!("the changes cannot be written: {error}"));
                refuse(&running.asked, refusal, effects);
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

/// Answers whoever asked.
fn answer(ticket: Option<Ticket>, reply: GovernReply, effects: &mut Effects) {
    effects.governed.extend(ticket.map(|ticket| (ticket, reply)));
}

/// Says no to whoever asked, and to the log if nobody did.
fn refuse(asked: &Asked, error: GovernanceError, effects: &mut Effects) {
    effects.refused.extend(asked.unasked().map(|what| (what, error.clone())));
    answer(asked.ticket(), GovernReply::Refused(error), effects);
}

#[cfg(test)]
mod tests {
    use coco_kv::{MapKind, MapSpec, Store};
    use coco_ledger::{EntryFlags, LedgerSecret, seal};

    use super::*;
    use crate::Keyring;

    /// At the bound every primary would stop at the entry that it made.
    #[test]
    fn a_ledger_keeps_its_secret_when_the_periods_left_are_for_recoveries() {
        let map = MapName::from_static(SERVICE_MAP);
        let mut store = Store::new(vec![MapSpec::new(map.clone(), MapKind::Ordered)], [1, 2]);
        let mut set = WriteSet::new();
        set.insert(&map, singleton_key(), br#"{"status":"Open"}"#.to_vec());
        store.apply(Seqno(1), &set).expect("it has the map");
        let reader = store.reader();
        let secret = LedgerSecret::new(&[7; 32]);
        let Keyring { secrets: known, cipher } = secret.clone().into();
        let mut secrets = Secrets { known, unread_from: Seqno(1), cipher, now: 0 };
        while secrets.known.may_rekey() {
            assert_eq!(check_rekey(&mut reader.begin(), &secrets), Ok(()));
            let from = secrets.known.newest().from.next();
            secrets.known.append(from, secret.clone()).expect("periods are left");
        }
        let refusal = check_rekey(&mut reader.begin(), &secrets).expect_err("they are used up");
        assert!(refusal.message.contains("kept for recoveries"), "{refusal}");
    }

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

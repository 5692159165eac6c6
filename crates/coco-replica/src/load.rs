//! Entries into store, tree and positions: once from disk at start-up, and one by one on a backup.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use coco_adapter::Outside;
use coco_consensus::{Configuration, ConfigurationError, HardState, LogEntry};
use coco_kv::{
    ApplyError, Domain, MapKind, MapName, MapSpec, RestoreError, StateImage, Store, WriteSet,
};
use coco_ledger::{
    CONFIGURATION_MAP, COSE_SIGNATURES_MAP, ConfigurationRow, EntryFlags, EntryView, IN_EFFECT_MAP,
    LedgerSecret, MembershipError, OpenEntry, OpenEntryError, ParseSignatureError, SIGNATURES_MAP,
    SealError, SignatureRecord, SnapshotEvidence, TREE_MAP, VerifiedSnapshot, read_in_effect, seal,
    singleton_key,
};
use coco_types::{Digest, Seqno, TxId, View, codec::DecodeError};
use parking_lot::RwLock;
use thiserror::Error;

use crate::{
    governing::SNAPSHOT_ASKED_MAP,
    ledger_state::{LedgerState, SharedLedgerState},
    membership::from_row,
    node_cipher::{Keyring, NodeCipher},
    outside::{OUTSIDE_MAP, SINGLETON, decode_outside, outside_map},
    periods::{self, NODE_SECRETS_MAP, NodeSecrets, ReadPeriodError, period_maps},
    snapshots::{Evidence, Marks, snapshot_maps},
};

/// Why an entry could not be taken into the ledger's state. All of these mean that the bytes are not what a correct
/// primary with our ledger secret wrote: the node must stop.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not an entry.
    #[error("entry at seqno {seqno} is malformed")]
    Entry {
        /// Where it stands.
        seqno: Seqno,
        /// The cause.
        source: DecodeError,
    },
    /// Not sealed under our secret.
    #[error("entry {id} does not open")]
    Open {
        /// The entry.
        id: TxId,
        /// The cause.
        source: OpenEntryError,
    },
    /// The entry names another position than the one where it stands.
    #[error("entry at seqno {seqno} says that it is {found}, after {last}")]
    Position {
        /// Where it stands.
        seqno: Seqno,
        /// What it says.
        found: TxId,
        /// The entry before it.
        last: TxId,
    },
    /// Its write set does not decode.
    #[error("the write set of {id} does not decode")]
    WriteSet {
        /// The entry.
        id: TxId,
        /// The cause.
        source: DecodeError,
    },
    /// The store refused it.
    #[error("the write set of {id} cannot be applied")]
    Apply {
        /// The entry.
        id: TxId,
        /// The cause.
        source: ApplyError,
    },
    /// A signature entry without a readable signature.
    #[error("signature entry {id} holds no readable signature")]
    Signature {
        /// The entry.
        id: TxId,
        /// The cause.
        source: ParseSignatureError,
    },
    /// It carries a configuration that cannot be read.
    #[error("the configuration in {id} cannot be read")]
    Configuration {
        /// The entry.
        id: TxId,
        /// The cause.
        source: MembershipError,
    },
    /// It carries a configuration that may not follow the one before.
    #[error("the configuration in {id} may not follow the one before it")]
    ConfigurationOrder {
        /// The entry.
        id: TxId,
    },
    /// The signed root is not the root of our tree.
    #[error("signature entry {id} signs root {signed}, our tree has {ours}")]
    Root {
        /// The entry.
        id: TxId,
        /// Root in the entry.
        signed: Digest,
        /// Root of our tree.
        ours: Digest,
    },
    /// The secret of the period that it begins is not to be had.
    #[error("the ledger secret that {id} names cannot be read")]
    Period {
        /// The entry.
        id: TxId,
        /// The cause.
        source: ReadPeriodError,
    },
    /// The entry where a snapshot has its evidence says nothing of it.
    #[error("the snapshot has its evidence in {id}, and {found} there says nothing of it")]
    Evidence {
        /// Where the evidence should be.
        id: TxId,
        /// The entry that is there.
        found: TxId,
    },
}

/// Why a snapshot makes no state.
#[derive(Debug, Error)]
pub enum RestoreSnapshotError {
    /// Not sealed under our secret.
    #[error("the private part does not open")]
    Open(#[from] SealError),
    /// The secret that it is sealed under is not to be had.
    #[error("its ledger secret cannot be read")]
    Period(#[from] ReadPeriodError),
    /// The private image is malformed.
    #[error("the private part is malformed")]
    Image(#[from] DecodeError),
    /// The images do not fit our maps.
    #[error("the state does not fit")]
    Store(#[from] RestoreError),
    /// The configuration in effect cannot be read.
    #[error("its configuration cannot be read")]
    Membership(#[from] MembershipError),
    /// The configuration in effect is none.
    #[error("its configuration is of no network")]
    Configuration(#[from] ConfigurationError),
}

/// An entry as it stands in the ledger file, and whether its chunk ends with it.
pub(crate) type Framed = (Bytes, bool);

/// Store, tree, positions and secrets, always at the same seqno.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) state: Arc<RwLock<LedgerState>>,
    pub(crate) cipher: Arc<dyn NodeCipher>,
    /// Where the last period begins whose secret this node has not, as long as it has only those of a recovery.
    pub(crate) unread_from: Seqno,
    /// Whether it begins with a snapshot that a service before this one stands by.
    pub(crate) begins_with_another: bool,
    /// The largest block time in the ledger, so that time never runs backwards across primaries.
    pub(crate) time_ms: u64,
    /// The largest block time of the entries that are in the ledger now, and of the committed ones.
    ledger_time_ms: u64,
    committed_time_ms: u64,
    pub(crate) evidence: Evidence,
    /// Bytes of entries since the last chunk end.
    pub(crate) chunk_bytes: u64,
    uncommitted: VecDeque<Uncommitted>,
    uncommitted_bytes: u64,
    /// Those among them that are no signatures.
    uncommitted_batches: usize,
    outside: MapName,
    configuration_map: MapName,
    snapshot_asked_map: MapName,
    node_secrets_map: MapName,
    /// Entries that ask for a snapshot, ascending: those above the committed position, and one before them.
    snapshots_asked: VecDeque<Seqno>,
    /// The last three configurations of the ledger: only the newest may have to be rolled back, or be one that is not in
    /// effect yet; and whether the one before it changed who votes can be asked again after that.
    configurations: VecDeque<Noted>,
    in_effect_map: MapName,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("last", &self.last()).finish_non_exhaustive()
    }
}

/// A configuration of the ledger.
#[derive(Debug)]
struct Noted {
    /// Its entry.
    at: Seqno,
    configuration: Configuration,
    /// The entry that says that it is in effect.
    in_effect: Option<Seqno>,
}

/// What is remembered of an entry until it is committed or rolled back.
#[derive(Debug)]
struct Uncommitted {
    seqno: Seqno,
    bytes: u64,
    /// [`Core::chunk_bytes`] before it.
    chunk_bytes_before: u64,
    /// [`Core::ledger_time_ms`] with it.
    ledger_time_ms: u64,
    signed_at_s: Option<u64>,
}

impl Core {
    fn new(cipher: Arc<dyn NodeCipher>, store: Store, state: LedgerState, marks: Marks) -> Self {
        let Marks { chunk_bytes, time_ms } = marks;
        Self {
            store,
            state: Arc::new(RwLock::new(state)),
            cipher,
            unread_from: Seqno(1),
            begins_with_another: false,
            time_ms,
            ledger_time_ms: time_ms,
            committed_time_ms: time_ms,
            evidence: Evidence::default(),
            chunk_bytes,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            uncommitted_batches: 0,
            outside: MapName::from_static(OUTSIDE_MAP),
            configuration_map: MapName::from_static(CONFIGURATION_MAP),
            snapshot_asked_map: MapName::from_static(SNAPSHOT_ASKED_MAP),
            node_secrets_map: MapName::from_static(NODE_SECRETS_MAP),
            snapshots_asked: VecDeque::new(),
            configurations: VecDeque::new(),
            in_effect_map: MapName::from_static(IN_EFFECT_MAP),
        }
    }

    /// What the entry at `seqno` is sealed under.
    pub(crate) fn secret_at(&self, seqno: Seqno) -> LedgerSecret {
        self.state.read().secrets.at(seqno).clone()
    }

    /// Takes the secret of the period that an entry begins, which store and tree hold already.
    pub(crate) fn take_period(&mut self, at: Seqno, row: &[u8]) -> Result<(), ReadPeriodError> {
        let row = NodeSecrets::read(row)?;
        let from = row.from(at);
        let mut state = self.state.write();
        if !state.secrets.knows(from) {
            self.unread_from = from;
            return Ok(());
        }
        // Given with the others, by who knew that it is committed.
        if state.secrets.periods().iter().any(|period| period.from == from) {
            return Ok(());
        }
        let secret = row.open(&*self.cipher).ok_or(ReadPeriodError::NotForThisNode { from })?;
        Ok(state.secrets.append(from, secret)?)
    }

    /// Notes that this entry asks for a snapshot.
    pub(crate) fn note_snapshot_asked(&mut self, at: Seqno) {
        self.snapshots_asked.push_back(at);
    }

    /// Whether a snapshot was asked for since the signature entry at `previous`.
    pub(crate) fn is_snapshot_asked(&self, previous: Seqno) -> bool {
        self.snapshots_asked.back().is_some_and(|at| *at > previous)
    }

    /// The newest signature entry up to `to` of which a snapshot was asked for.
    pub(crate) fn snapshot_asked(&self, state: &LedgerState, to: Seqno) -> Option<Seqno> {
        let signatures = self.snapshots_asked.iter().rev();
        signatures.filter_map(|at| state.covering_signature(*at)).find(|signature| *signature <= to)
    }

    /// Notes the configuration of an entry that is about to be taken.
    fn check_configuration(&self, id: TxId, row: &[u8]) -> Result<Configuration, LoadError> {
        let row = ConfigurationRow::read(row)
            .map_err(|source| LoadError::Configuration { id, source })?;
        let next = from_row(row);
        let follows = match self.configurations.back() {
            Some(now) => now.configuration.may_become(&next),
            None => next.check().is_ok(),
        };
        if follows { Ok(next) } else { Err(LoadError::ConfigurationOrder { id }) }
    }

    /// Notes the configuration that an entry carries.
    pub(crate) fn note_configuration(&mut self, at: Seqno, next: Configuration) {
        if self.configurations.len() == CONFIGURATIONS_KEPT {
            self.configurations.pop_front();
        }
        self.configurations.push_back(Noted { at, configuration: next, in_effect: None });
    }

    /// Notes that this entry says which configuration is in effect.
    pub(crate) fn note_in_effect(&mut self, at: Seqno, configuration: Seqno) {
        if let Some(newest) =
            self.configurations.back_mut().filter(|newest| newest.at == configuration)
        {
            newest.in_effect = Some(at);
        }
    }

    /// Whether the newest configuration changed who votes, and no entry after it says yet that it is in effect.
    pub(crate) fn has_unsaid_configuration(&self) -> bool {
        self.in_effect().is_none() && self.has_changed_voters()
    }

    /// Whether everybody who starts counts by the newest configuration, whoever is lost: what says that it is in effect, if
    /// anything has to, is committed.
    pub(crate) fn is_configuration_settled(&self) -> bool {
        let committed = self.state.read().committed;
        self.in_effect().is_some_and(|at| at <= committed) || !self.has_changed_voters()
    }

    /// The entry that says that the newest configuration is in effect.
    fn in_effect(&self) -> Option<Seqno> {
        self.configurations.back()?.in_effect
    }

    /// The configuration before the newest.
    fn configuration_before(&self) -> Option<&Noted> {
        self.configurations.iter().rev().nth(1)
    }

    /// Whether others voted under the configuration before the newest.
    fn has_changed_voters(&self) -> bool {
        match (self.configuration_before(), self.newest_configuration()) {
            (Some(Noted { configuration: before, .. }), Some(now)) => {
                before.voters != now.voters || before.outgoing != now.outgoing
            }
            _ => false,
        }
    }

    /// The entry of the newest configuration.
    pub(crate) fn newest_configuration_at(&self) -> Option<Seqno> {
        self.configurations.back().map(|newest| newest.at)
    }

    /// The newest configuration of the ledger.
    pub(crate) fn newest_configuration(&self) -> Option<&Configuration> {
        self.configurations.back().map(|newest| &newest.configuration)
    }

    /// The configuration that this entry carries, if it is the newest that does.
    pub(crate) fn configuration_at(&self, seqno: Seqno) -> Option<&Configuration> {
        let Noted { at, configuration, .. } = self.configurations.back()?;
        (*at == seqno).then_some(configuration)
    }

    pub(crate) fn last(&self) -> TxId {
        self.state.read().last()
    }

    /// Notes an entry that store and sealing have taken.
    pub(crate) fn append(&mut self, id: TxId, leaf: Digest, bytes: usize, kind: AppendKind) {
        let bytes = bytes as u64;
        let chunk_bytes_before = self.chunk_bytes;
        self.chunk_bytes = if kind.chunk_ends { 0 } else { chunk_bytes_before + bytes };
        self.uncommitted.push_back(Uncommitted {
            seqno: id.seqno,
            bytes,
            chunk_bytes_before,
            ledger_time_ms: self.ledger_time_ms,
            signed_at_s: kind.signed_at_s,
        });
        self.uncommitted_bytes += bytes;
        self.uncommitted_batches += usize::from(kind.signed_at_s.is_none());
        self.state.write().append(id, leaf, kind.signed_at_s.is_some());
        assert_eq!(self.store.version(), id.seqno, "store and tree stand at the same position");
    }

    /// Takes an entry that this node did not make. Empty data is the opening entry of a view, whose bytes every node
    /// derives for itself.
    pub(crate) fn take(&mut self, entry: &LogEntry) -> Result<Framed, LoadError> {
        let id = entry.tx_id;
        let last = self.last();
        if id.seqno != last.seqno.next() || id.view < last.view || id.view > View::MAX {
            return Err(LoadError::Position { seqno: last.seqno.next(), found: id, last });
        }
        if entry.data.is_empty() {
            self.take_opening(id)
        } else {
            self.take_sealed(id, &entry.data)
        }
    }

    fn take_opening(&mut self, id: TxId) -> Result<Framed, LoadError> {
        let empty = WriteSet::default();
        let secret = self.secret_at(id.seqno);
        let sealed = seal(&secret, id, EntryFlags::NONE, &Digest::ZERO, &empty)
            .expect("an empty write set fits an entry");
        self.store.apply(id.seqno, &empty).map_err(|source| LoadError::Apply { id, source })?;
        self.append(id, sealed.leaf, sealed.bytes.len(), AppendKind::PLAIN);
        Ok((sealed.bytes, false))
    }

    fn take_sealed(&mut self, id: TxId, bytes: &Bytes) -> Result<Framed, LoadError> {
        let entry = EntryView::parse(bytes)
            .map_err(|source| LoadError::Entry { seqno: id.seqno, source })?;
        if entry.tx_id() != id {
            return Err(LoadError::Position {
                seqno: id.seqno,
                found: entry.tx_id(),
                last: self.last(),
            });
        }
        let secrets = self.state.read().secrets.clone();
        let open = if secrets.knows(id.seqno) {
            Some(secrets.open(&entry).map_err(|source| LoadError::Open { id, source })?)
        } else {
            // A service that is being recovered has what everybody may read.
            None
        };
        let writes = open.as_ref().map_or_else(|| entry.public_writes(), OpenEntry::writes);
        let writes = writes.map_err(|source| LoadError::WriteSet { id, source })?;
        let record =
            SignatureRecord::read(&entry).map_err(|source| LoadError::Signature { id, source })?;
        if let Some(record) = &record {
            let ours = self.state.read().tree.root();
            if record.root != ours {
                return Err(LoadError::Root { id, signed: record.root, ours });
            }
        }
        if let Some(outside) =
            writes.get(&self.outside, &SINGLETON).and_then(|bytes| decode_outside(bytes).ok())
        {
            self.note_time(&outside);
        }
        let period = writes.get(&self.node_secrets_map, singleton_key());
        if period.is_some_and(|row| periods::begins_with(row, id.seqno)) {
            // A recovery: nobody of before has a say.
            self.configurations.clear();
        }
        let configuration = writes
            .get(&self.configuration_map, singleton_key())
            .map(|row| self.check_configuration(id, row))
            .transpose()?;
        let in_effect = writes.get(&self.in_effect_map, singleton_key()).map(read_in_effect);
        let in_effect =
            in_effect.transpose().map_err(|source| LoadError::Configuration { id, source })?;
        if let Some(evidence) = SnapshotEvidence::read(&writes)
            && evidence.digest == *entry.claims()
        {
            self.evidence.append(id, evidence);
        }
        if writes.get(&self.snapshot_asked_map, singleton_key()).is_some() {
            self.note_snapshot_asked(id.seqno);
        }
        self.store
            .apply_view(id.seqno, &writes)
            .map_err(|source| LoadError::Apply { id, source })?;
        let chunk_ends = entry.flags().contains(EntryFlags::CHUNK_AFTER);
        self.append(
            id,
            entry.leaf(),
            bytes.len(),
            AppendKind { signed_at_s: record.map(|record| record.issued_at_s), chunk_ends },
        );
        if let Some(next) = configuration {
            self.note_configuration(id.seqno, next);
        }
        if let Some(of) = in_effect {
            self.note_in_effect(id.seqno, of);
        }
        if let Some(row) = period {
            self.take_period(id.seqno, row).map_err(|source| LoadError::Period { id, source })?;
        }
        Ok((bytes.clone(), chunk_ends))
    }

    pub(crate) fn note_time(&mut self, outside: &Outside) {
        self.time_ms = self.time_ms.max(outside.time_ms);
        self.ledger_time_ms = self.ledger_time_ms.max(outside.time_ms);
    }

    /// The marks as of an entry that is not committed yet.
    pub(crate) fn marks_at(&self, seqno: Seqno) -> Marks {
        let at = self.uncommitted.partition_point(|entry| entry.seqno <= seqno);
        let chunk_bytes =
            self.uncommitted.get(at).map_or(self.chunk_bytes, |next| next.chunk_bytes_before);
        let entry = at.checked_sub(1).and_then(|at| self.uncommitted.get(at));
        let time_ms = entry.map_or(self.committed_time_ms, |entry| entry.ledger_time_ms);
        Marks { chunk_bytes, time_ms }
    }

    /// Bytes of entries above the committed position.
    pub(crate) const fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    pub(crate) fn uncommitted_entries(&self) -> usize {
        self.uncommitted.len()
    }

    /// Entries above the committed position that are no signatures.
    pub(crate) const fn uncommitted_batches(&self) -> usize {
        self.uncommitted_batches
    }

    /// Store, tree, positions, secrets and chunk count back to `to`, which is not below what is committed.
    pub(crate) fn rollback(&mut self, to: Seqno) {
        self.state.write().truncate(to);
        self.store.rollback(to).expect("nothing above the committed position was compacted");
        while let Some(entry) = self.uncommitted.pop_back_if(|entry| entry.seqno > to) {
            self.chunk_bytes = entry.chunk_bytes_before;
            self.settled(&entry);
        }
        self.ledger_time_ms =
            self.uncommitted.back().map_or(self.committed_time_ms, |entry| entry.ledger_time_ms);
        self.evidence.rollback(to);
        while self.snapshots_asked.pop_back_if(|at| *at > to).is_some() {}
        self.configurations.pop_back_if(|noted| noted.at > to);
        for noted in &mut self.configurations {
            noted.in_effect.take_if(|at| *at > to);
        }
    }

    /// Marks everything up to `to` as committed and lets go of versions older than `retained` entries before it, or of more
    /// where they have large values.
    pub(crate) fn commit(&mut self, to: Seqno, retained: u64) {
        let mut signed_at_s = 0;
        while let Some(entry) = self.uncommitted.pop_front_if(|entry| entry.seqno <= to) {
            self.committed_time_ms = entry.ledger_time_ms;
            signed_at_s = signed_at_s.max(entry.signed_at_s.unwrap_or(0));
            self.settled(&entry);
        }
        self.state.write().commit(to, signed_at_s.max(self.committed_time_ms / 1000));
        while self.snapshots_asked.get(1).is_some_and(|next| *next <= to) {
            self.snapshots_asked.pop_front();
        }
        let oldest = Seqno(to.0.saturating_sub(retained));
        self.store.compact(oldest.max(self.store.oldest_within(PAST_BYTES_MAX, to)));
    }

    fn settled(&mut self, entry: &Uncommitted) {
        self.uncommitted_bytes -= entry.bytes;
        self.uncommitted_batches -= usize::from(entry.signed_at_s.is_none());
    }
}

/// How many bytes large values of the past have together that are kept for versions that can still be read: a proposal may
/// have a megabyte, and the slot of each member's last request as well.
pub const PAST_BYTES_MAX: usize = 4 << 20;

/// See [`Core::configurations`].
const CONFIGURATIONS_KEPT: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendKind {
    /// For a signature, the second since 1970 that it names.
    pub(crate) signed_at_s: Option<u64>,
    pub(crate) chunk_ends: bool,
}

impl AppendKind {
    pub(crate) const PLAIN: Self = Self { signed_at_s: None, chunk_ends: false };
}

/// Builds a replica's state from its own ledger, entry by entry, or from a snapshot and the entries after it.
#[derive(Debug)]
pub struct Loader {
    pub(crate) core: Core,
    /// The evidence of the snapshot that was begun from, until the ledger has shown it.
    awaited: Option<(TxId, SnapshotEvidence)>,
    recent: VecDeque<LogEntry>,
    recent_bytes: usize,
    retained: u64,
}

/// The maps of the adapter, of governance, and of the ledger itself.
fn with_own_maps(mut schema: Vec<MapSpec>) -> Vec<MapSpec> {
    schema.push(outside_map());
    schema.extend(
        [SIGNATURES_MAP, COSE_SIGNATURES_MAP, TREE_MAP]
            .map(|name| MapSpec { name: MapName::from_static(name), kind: MapKind::LedgerOnly }),
    );
    schema.extend(snapshot_maps());
    schema.extend(period_maps());
    schema.extend(coco_governance::tables::maps());
    let asked = MapName::from_static(SNAPSHOT_ASKED_MAP);
    schema.push(MapSpec::new(asked, MapKind::LedgerOnly));
    schema
}

/// The configuration of a snapshot, and its entry. Whatever is in a snapshot is committed, so it is in effect: those
/// before it are never asked for again.
fn configuration_of(
    public: &StateImage<'_>,
) -> Result<Option<(Seqno, Configuration)>, RestoreSnapshotError> {
    let Some(map) = public.map(CONFIGURATION_MAP) else { return Ok(None) };
    let Some((_, at, row)) = map.iter().find(|(key, ..)| *key == singleton_key()) else {
        return Ok(None);
    };
    let configuration = from_row(ConfigurationRow::read(row)?);
    configuration.check()?;
    Ok(Some((at, configuration)))
}

/// How many bytes of the newest entries the loader hands to the engine, so that a lagging node can be served without
/// reading the disk.
pub const RECENT_BYTES_MAX: usize = 16 << 20;

impl Loader {
    /// An empty ledger under the secrets of `keyring`, with the maps of the adapter. `index_key` keys the fingerprints of history
    /// maps; `retained` is how many entries below the committed one stay readable.
    #[must_use]
    pub fn new(
        keyring: impl Into<Keyring>,
        schema: Vec<MapSpec>,
        index_key: [u64; 2],
        retained: u64,
    ) -> Self {
        let store = Store::new(with_own_maps(schema), index_key);
        let marks = Marks { chunk_bytes: 0, time_ms: 0 };
        let Keyring { secrets, cipher } = keyring.into();
        Self::of(Core::new(cipher, store, LedgerState::new(secrets), marks), retained)
    }

    const fn of(core: Core, retained: u64) -> Self {
        Self { core, awaited: None, recent: VecDeque::new(), recent_bytes: 0, retained }
    }

    /// The ledger up to a snapshot, which goes on with the entry after it. The first entries must show the snapshot's
    /// evidence: see [`Loader::awaited`]. A service that is being recovered and has no secret of it takes what everybody may read.
    ///
    /// # Errors
    /// [`RestoreSnapshotError`] when the snapshot is not one of this ledger.
    pub fn from_snapshot(
        keyring: impl Into<Keyring>,
        schema: Vec<MapSpec>,
        retained: u64,
        snapshot: VerifiedSnapshot<'_>,
    ) -> Result<Self, RestoreSnapshotError> {
        let at = snapshot.tx_id().seqno;
        let Keyring { secrets, cipher } = keyring.into();
        let secrets = periods::of_image(secrets, &*cipher, snapshot.public())?;
        let schema = with_own_maps(schema);
        let (store, marks) = if secrets.knows(at) {
            let private = snapshot.open(secrets.at(at))?;
            let private = StateImage::parse(&private, Domain::Private, at)?;
            (Store::restore(schema, at, snapshot.public(), &private)?, Marks::read(&private)?)
        } else {
            let index_key = secrets.index_key();
            let store = Store::restore_public(schema, at, snapshot.public(), index_key)?;
            (store, Marks { chunk_bytes: 0, time_ms: 0 })
        };
        let unread_from = periods::newest_of_image(snapshot.public())?;
        let configuration = configuration_of(snapshot.public())?;
        let awaited = SnapshotEvidence { seqno: at, digest: snapshot.digest() };
        let awaited = Some((snapshot.evidence(), awaited));
        let (views, tree, signatures) = snapshot.into_positions();
        let began = LedgerState::from_snapshot(secrets, at, marks.time_ms / 1000);
        let state = LedgerState { tree, signatures, views, ..began };
        let mut core = Core::new(cipher, store, state, marks);
        core.unread_from = unread_from.unwrap_or(core.unread_from);
        if let Some((at, configuration)) = configuration {
            core.note_configuration(at, configuration);
        }
        Ok(Self { awaited, ..Self::of(core, retained) })
    }

    /// The entry that must still come, because a snapshot has its evidence there. A ledger that ends before it has lost
    /// what was committed.
    #[must_use]
    pub fn awaited(&self) -> Option<TxId> {
        self.awaited.map(|(id, _)| id)
    }

    /// Takes the next entry. `committed` says that it is known to be committed (its chunk file is).
    ///
    /// # Errors
    /// [`LoadError`] when the entry does not follow the one before, does not open, or signs another tree.
    pub fn push(&mut self, bytes: Bytes, committed: bool) -> Result<(), LoadError> {
        let seqno = self.core.last().seqno.next();
        let tx_id =
            EntryView::parse(&bytes).map_err(|source| LoadError::Entry { seqno, source })?.tx_id();
        let entry = LogEntry { tx_id, data: bytes };
        self.core.take(&entry)?;
        if let Some(awaited) = self.awaited.take_if(|(id, _)| id.seqno <= seqno)
            && self.core.evidence.last() != Some(awaited)
        {
            return Err(LoadError::Evidence { id: awaited.0, found: tx_id });
        }
        if committed && self.core.state.read().signatures.last() == Some(&seqno) {
            self.commit(seqno);
        }
        self.recent_bytes += entry.data.len();
        self.recent.push_back(entry);
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.data.len();
        }
        Ok(())
    }

    /// Takes in that an entry is committed, as another node says. Nothing, if this is no entry of the ledger.
    pub fn note_committed(&mut self, id: TxId) {
        let signed = {
            let state = self.core.state.read();
            let signed = state.last_signature(id.seqno).filter(|_| state.has(id));
            signed.filter(|signed| *signed > state.committed().seqno)
        };
        if let Some(signed) = signed {
            self.commit(signed);
        }
    }

    fn commit(&mut self, signed: Seqno) {
        self.core.commit(signed, self.retained);
        // Snapshots of before are complete, or never will be.
        drop(self.core.evidence.commit(signed));
    }

    /// The last entry taken.
    #[must_use]
    pub fn last(&self) -> TxId {
        self.core.last()
    }

    /// The positions so far, for the engine's start and for readers.
    #[must_use]
    pub fn state(&self) -> SharedLedgerState {
        SharedLedgerState(Arc::clone(&self.core.state))
    }

    /// Reads the store as loaded so far.
    #[must_use]
    pub fn reader(&self) -> coco_kv::Reader {
        self.core.store.reader()
    }

    /// The hard state to start the engine with, given the one that was found on disk, if any. Entries of a newer view may
    /// have reached the disk just before the hard state that came with them was lost. They prove that the view has a
    /// primary; and a vote of this node in it, which would have gone out only after it was durable, was never given.
    #[must_use]
    pub fn hard_state(&self, found: Option<HardState>) -> HardState {
        let view = self.last().view;
        found.filter(|found| found.view >= view).unwrap_or(HardState { view, vote: None })
    }

    /// The newest configuration that is known to be in effect, and the one after it that may not be: a primary adds one
    /// only when the one before is committed, and may say of one that it is in effect. Nothing when the ledger names none.
    #[must_use]
    pub fn configuration(&self) -> Option<(Configuration, Option<(Seqno, Configuration)>)> {
        let newest = self.core.configurations.back()?;
        let (at, configuration) = (newest.at, newest.configuration.clone());
        let committed = self.core.state.read().committed;
        match self.core.configuration_before() {
            Some(before) if at > committed && newest.in_effect.is_none() => {
                Some((before.configuration.clone(), Some((at, configuration))))
            }
            Some(_) | None => Some((configuration, None)),
        }
    }

    /// The newest entries, for the engine's window.
    pub fn take_recent(&mut self) -> Vec<LogEntry> {
        self.recent_bytes = 0;
        std::mem::take(&mut self.recent).into()
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::LedgerSecret;
    use coco_types::NodeId;

    use super::*;

    #[test]
    fn a_configuration_that_is_rolled_back_leaves_the_one_before_as_it_was() {
        let of = |nodes: &[u8]| Configuration::of(nodes.iter().map(|n| NodeId([*n; 32])).collect());
        for said in [false, true] {
            let secret = LedgerSecret::new(&[7; 32]);
            let Loader { mut core, .. } = Loader::new(secret, Vec::new(), [1, 2], 16);
            for seqno in 1..=5 {
                core.take(&LogEntry { tx_id: TxId::new(2, seqno), data: Bytes::new() })
                    .expect("an opening entry is made here");
            }
            core.note_configuration(Seqno(1), of(&[1]));
            core.note_configuration(Seqno(2), of(&[1, 2]));
            if said {
                core.note_in_effect(Seqno(3), Seqno(2));
            }
            core.note_configuration(Seqno(4), of(&[1, 2, 3]));
            assert!(core.has_unsaid_configuration());
            core.rollback(Seqno(3));
            assert_eq!(core.newest_configuration(), Some(&of(&[1, 2])));
            assert_eq!(core.has_unsaid_configuration(), !said);
            core.rollback(Seqno(2));
            assert!(core.has_unsaid_configuration(), "what said so is gone");
        }
    }
}

//! Re-executes how a service was governed, from the public ledger alone.
//!
//! ```text
//!   entry ─┬─ records a member's request ─▶ carried out again on the tables before it, by the constitution in them:
//!          │                                what it writes is what the entry has, row by row
//!          ├─ the founding ───────────────▶ members who have acted in nothing yet, and a constitution that loads
//!          ├─ the service's own ──────────▶ the steps of nodes that need no vote, another ledger secret when the one that it
//!          │                                has is too old, keys of issuers that members want to be fetched, and the
//!          │                                beginning and end of a recovery, each by its rule
//!          └─ anything else in a table of governance is a fault: nobody asked for it
//! ```
//!
//! Believed are the entries, which somebody has verified against the service's signatures: see `coco_ledger::Verifier`.
//! Not believed is that the service followed the rules when it made them. So the first act that the rules of its time did
//! not allow is named, with who signed it.
//!
//! What the ledger does not say, and what is done about it:
//!
//! - *On which version a request was carried out.* It may be some entries before the one that records it. What it read had
//!   not changed until then, so the tables just before the entry do. The root is the one that the entry itself names, in a
//!   proposal's id or a state digest, if the ledger had it since the act before; else that just before the entry. A
//!   constitution that writes the root elsewhere can be blamed for another root than that.
//! - *When.* A proposal says when it was taken, and one that is over its deadline is dropped with the deadline as the reason. So
//!   an act is carried out again at the time that its entry says, or at the least that it can have been; the signatures
//!   before the entry and over it say what that may be, but for what clocks are apart.
//! - *Secrets.* Shares cannot be dealt again without them. Who was given one, how many are needed, and that the row has
//!   its form is checked; that a share is good only its holder can tell.
//! - *A request to send a share in*, which must not be recorded. That its row is of a holder, at the right time, is checked.

mod act;
mod disaster;
mod fault;
mod founding;
mod issuers;
mod leases;
mod nodes;
mod secrets;

use std::{fmt, ops::RangeInclusive};

use coco_kv::{
    MapImage, MapKind, MapName, MapSpec, StateImage, Store, Transaction, WriteSet, WriteSetView,
};
use coco_script::Engine;
use coco_types::{Digest, Seqno, TxId, View};

pub use act::Act;
pub use fault::{AuditError, AuditFault};

use crate::{
    Governance, Message,
    tables::{
        self, COSE_HISTORY, MEMBERS_INFO, MemberRow, MemberStatus, ProposalState, SERVICE_INFO,
        TABLES, singleton_key,
    },
};
use disaster::Periods;
pub(crate) use nodes::{Configuration, all_nodes, check_unneeded};
pub(crate) use secrets::NodeSecrets;
use secrets::{NODE_SECRETS, PAST_SECRETS, SECRET_SINCE};

/// How many entries a request may lie behind the one that records it: those of many seconds under full load.
pub const ROOT_LAG_MAX: u64 = 1 << 16;

/// How far the clocks of nodes may be apart, in seconds: an act may be so much newer than the signature over it, and older than
/// those before it.
pub const CLOCKS_APART_MAX_S: u64 = 300;

/// Follows a ledger, entry by entry.
pub struct Audit {
    /// The tables. Its versions are of its own count.
    store: Store,
    governance: Governance,
    /// The last entry.
    at: Seqno,
    /// There are members, or the time to be founded with some is over.
    is_founded: bool,
    /// The last entry that recorded a request.
    last_act: Seqno,
    /// From which entries on the ledger secrets are used.
    periods: Periods,
    /// The latest time of a signature so far, and of one before this entry: nodes' time does not fall behind their ledger's,
    /// whatever their clocks say.
    latest_s: u64,
    before_s: u64,
    /// How far the clocks of nodes may be apart, in seconds.
    clocks_apart_s: u64,
    acts: Acts,
}

/// An entry, as it was verified.
#[derive(Clone, Copy)]
pub struct AuditedEntry<'a> {
    /// Its place.
    pub tx_id: TxId,
    /// What it writes for all to read.
    pub writes: &'a WriteSetView<'a>,
    /// The time of the signature over it, in seconds since 1970.
    pub signed_at_s: u64,
    /// The root over the ledger up to an entry.
    pub root: &'a dyn Fn(Seqno) -> Option<Digest>,
}

/// What members and service did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// Requests that were carried out again.
    pub requests: u64,
    /// Of them, proposals.
    pub proposals: u64,
    /// Of them, ballots.
    pub ballots: u64,
    /// Proposals that were accepted, and so changed something.
    pub accepted: u64,
    /// Entries that the service made by itself.
    pub own: u64,
}

/// What governance came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// What was done.
    pub acts: Acts,
    /// How many members there are at the end.
    pub members: usize,
    /// How many of them are active.
    pub active: usize,
}

impl Audit {
    /// Begins before the first entry.
    ///
    /// # Panics
    /// Never: what is loaded here is part of the program.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        Self {
            store: Store::new(schema(), INDEX_KEY),
            governance: Governance::new(engine),
            at: Seqno::ZERO,
            is_founded: false,
            last_act: Seqno::ZERO,
            periods: Periods { newest: Seqno(1), previous: None },
            latest_s: 0,
            before_s: 0,
            clocks_apart_s: CLOCKS_APART_MAX_S,
            acts: Acts::default(),
        }
    }

    /// Begins after the entry of a snapshot, with the public state in it. What happened until then is not looked at.
    ///
    /// # Errors
    /// [`AuditError`] when a row cannot be read.
    ///
    /// # Panics
    /// Never: an image holds checked names.
    pub fn from_state(
        engine: &Engine,
        at: Seqno,
        public: &StateImage<'_>,
    ) -> Result<Self, AuditError> {
        let mut audit = Self { at, is_founded: true, ..Self::new(engine) };
        let mut writes = WriteSet::new();
        for map in public.maps().iter().filter(|map| !LEDGER_ONLY.contains(&map.name())) {
            let name = MapName::new(map.name()).expect("an image holds checked names");
            map.iter().for_each(|(key, _, value)| writes.insert(&name, key, value));
        }
        let applied = audit.store.apply(audit.store.version().next(), &writes);
        applied.map_err(|error| audit.failed(AuditFault::Apply(error)))?;
        let rows = |table| public.map(table).into_iter().flat_map(MapImage::iter);
        audit.last_act = rows(COSE_HISTORY).map(|(_, at, _)| at).max().unwrap_or_default();
        for (_, written, row) in rows(NODE_SECRETS) {
            audit.note_period(row, written)?;
        }
        let past = rows(PAST_SECRETS)
            .filter_map(|(key, ..)| Some(u64::from_be_bytes(key.try_into().ok()?)));
        audit.periods.previous = past.max().map(Seqno);
        Ok(audit)
    }

    /// The same with clocks of nodes that may be further apart than [`CLOCKS_APART_MAX_S`]: for a ledger of nodes whose clocks
    /// were wrong. What the ledger says of times is worth less then.
    #[must_use]
    pub fn with_clocks_apart(self, seconds: u64) -> Self {
        Self { clocks_apart_s: seconds, ..self }
    }

    /// Takes the next entry, and tells what a member did with it.
    ///
    /// # Errors
    /// [`AuditError`] when it should not be there. The audit is of no further use then.
    pub fn entry(&mut self, entry: &AuditedEntry<'_>) -> Result<Option<Act>, AuditError> {
        let expected = self.at.next();
        self.at = entry.tx_id.seqno;
        if self.at != expected {
            return Err(self.failed(AuditFault::Order { expected }));
        }
        if entry.signed_at_s > self.latest_s {
            self.before_s = self.latest_s;
            self.latest_s = entry.signed_at_s;
        }
        let is_governed = entry.writes.iter().any(|(map, ..)| is_governed(map));
        let act = if is_governed { self.governed(entry)? } else { None };
        let version = self.store.version().next();
        let applied = self.store.apply_view(version, entry.writes);
        applied.map_err(|error| self.failed(AuditFault::Apply(error)))?;
        self.store.compact(version);
        Ok(act)
    }

    /// What governance came to, as of the last entry.
    ///
    /// # Errors
    /// [`AuditError`] when a row of a member cannot be read.
    pub fn report(&self) -> Result<AuditReport, AuditError> {
        let failed = |error| self.failed(AuditFault::Tables(error));
        let rows = tables::rows(&mut self.begin(), MEMBERS_INFO).map_err(failed)?;
        let mut active = 0;
        for (key, row) in &rows {
            let row: MemberRow = tables::parse(MEMBERS_INFO, key, row).map_err(failed)?;
            active += usize::from(row.status == MemberStatus::Active);
        }
        Ok(AuditReport { acts: self.acts, members: rows.len(), active })
    }

    fn governed(&mut self, entry: &AuditedEntry<'_>) -> Result<Option<Act>, AuditError> {
        let mut done = None;
        if entry.writes.maps().iter().any(|map| map.name() == COSE_HISTORY) {
            let act = self.act(entry)?;
            self.count(&act);
            self.last_act = self.at;
            done = Some(act);
        } else if !self.is_founded && entry.tx_id.view == View::GENESIS {
            let founded = founding::check(&self.governance, entry.writes);
            self.is_founded = founded.map_err(|fault| self.failed(fault))?;
        } else {
            let touches = |name| entry.writes.maps().iter().any(|map| map.name() == name);
            let (tx, newest) = (&mut self.begin(), self.periods.newest);
            let checked = if touches(SERVICE_INFO) {
                disaster::check(tx, entry, self.periods, &self.times())
            } else if touches(NODE_SECRETS) {
                secrets::check_replaced(tx, entry.writes, newest, &self.times())
            } else if touches(tables::JWT_KEYS) {
                issuers::check(tx, entry.writes)
            } else {
                nodes::check(tx, entry.writes, newest, &self.times())
            };
            checked.map_err(|fault| self.failed(fault))?;
            self.acts.own += 1;
        }
        let secrets = MapName::from_static(NODE_SECRETS);
        if let Some(row) = entry.writes.get(&secrets, singleton_key()) {
            self.note_period(row, self.at)?;
        }
        Ok(done)
    }

    /// When the last entry may have been made, in seconds since 1970.
    #[must_use]
    pub fn times(&self) -> RangeInclusive<u64> {
        let from = self.before_s.saturating_sub(self.clocks_apart_s);
        from..=self.latest_s.saturating_add(self.clocks_apart_s)
    }

    /// Takes in that another ledger secret begins to be used.
    fn note_period(&mut self, row: &[u8], written: Seqno) -> Result<(), AuditError> {
        let row = NodeSecrets::read(row).map_err(|fault| self.failed(fault))?;
        self.periods = Periods { newest: row.begins(written), previous: Some(self.periods.newest) };
        Ok(())
    }

    /// An error at the last entry, which nobody in particular is to blame for.
    fn failed(&self, fault: AuditFault) -> AuditError {
        AuditError { seqno: self.at, member: None, proposal: None, fault: Box::new(fault) }
    }

    fn count(&mut self, act: &Act) {
        let acts = &mut self.acts;
        acts.requests += 1;
        acts.proposals += u64::from(act.message == Message::Proposal);
        acts.ballots += u64::from(matches!(act.message, Message::Ballot(_)));
        acts.accepted += u64::from(act.state == Some(ProposalState::Accepted));
    }

    fn begin(&self) -> Transaction<'static> {
        self.store.reader().begin()
    }
}

/// Whether members have a say in what is written to a table.
fn is_governed(table: &str) -> bool {
    tables::is_of_governance(table)
        || TABLES.contains(&table)
        || [CONFIGURATION, NODE_SECRETS, PAST_SECRETS, SECRET_SINCE, SNAPSHOT_ASKED]
            .contains(&table)
}

/// Checks that an entry which nobody asked for touches no other tables that members have a say in.
fn check_tables(writes: &WriteSetView<'_>, may: &[&str]) -> Result<(), AuditFault> {
    let mut governed = writes.iter().filter(|(table, ..)| is_governed(table));
    match governed.find(|(table, ..)| !may.contains(table)) {
        Some((table, key, _)) => Err(nodes::nobody_asked(table, key)),
        None => Ok(()),
    }
}

/// The tables of a node's store that scripts can ask for. Those that are not listed become tables in ranges, as they do
/// there.
fn schema() -> Vec<MapSpec> {
    let mut schema = tables::maps();
    let spec = |name| MapSpec::new(MapName::from_static(name), MapKind::LedgerOnly);
    schema.extend(LEDGER_ONLY.map(spec));
    schema
}

/// `one key -> JSON`: who takes part in consensus. The ledger's own crate writes it.
const CONFIGURATION: &str = "public:coco.internal.configuration";
/// `one key -> nothing`: written by an entry that asks for a snapshot. The replica's own crate writes it.
const SNAPSHOT_ASKED: &str = "public:coco.internal.snapshot_asked";

/// What nodes keep no rows of in memory.
const LEDGER_ONLY: [&str; 5] = [
    tables::SIGNATURES,
    "public:ccf.internal.cose_signatures",
    "public:ccf.internal.tree",
    "public:coco.snapshot.positions",
    SNAPSHOT_ASKED,
];

/// Fingerprints of history tables are keyed with it, and there are none here.
const INDEX_KEY: [u64; 2] = [0; 2];

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, acts) = (self.at, &self.acts);
        f.debug_struct("Audit").field("at", &at).field("acts", acts).finish_non_exhaustive()
    }
}

impl fmt::Debug for AuditedEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedEntry").field("tx_id", &self.tx_id).finish_non_exhaustive()
    }
}

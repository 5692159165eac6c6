//! What nodes have shown, and who believes it.
//!
//! A node shows evidence when it introduces itself, when it asks for a seat, and again before its lease is over. The primary appraises
//! it by what members admit as of its newest entry, and writes it down in the same entry as what follows from it: the evidence, what
//! its maker says of it, what it binds, and the time. With that everybody comes to the same: each backup appraises it again before it
//! takes the entry, and auditors do years later.
//!
//! A backup that does not believe what a primary wrote down stops, as after any other entry that no correct primary writes. What is
//! committed already, others have believed, and their program may have been another: it is taken as it is.
//!
//! In a service without members nobody admits anything. There a node must run what runs in its seat already.

use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_attest::{
    AppraisalPolicy, AppraiseEvidenceError, Attested, Endorsements, Evidence, InsecureEvidence,
    InsecurePolicy, Manifests, NodeClaims, PlatformId, ReportData, TrustClass, appraise, verify,
};
use coco_consensus::LogEntry;
use coco_governance::{
    LeaseRow,
    tables::{COSE_HISTORY, NODES_ATTESTATIONS, NODES_LEASES, SERVICE_INFO, VIRTUAL_MEASUREMENTS},
};
use coco_kv::{MapImage, MapName, MapView, StateImage, WriteSet, WriteSetView};
use coco_ledger::{EntryView, GenesisNode, NODES_MAP};
use coco_planted::Bug;
use coco_types::{Digest, NodeId, TxId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::replica::Replica;

/// What a node shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownEvidence {
    /// It.
    pub evidence: Evidence,
    /// What its maker says of it.
    pub endorsements: Endorsements,
    /// What it binds beside the node's key: [`ReportData::transcript`].
    pub transcript: Digest,
}

impl ShownEvidence {
    /// What a node of the virtual platform shows that runs this program.
    #[must_use]
    pub fn insecure(code: &Digest, data: &ReportData) -> Self {
        let evidence = InsecureEvidence::new(code, data).encode();
        Self {
            evidence: Evidence::new(PlatformId::Insecure, evidence),
            endorsements: Endorsements::default(),
            transcript: data.transcript,
        }
    }

    /// What a node of the virtual platform shows on no channel that runs what it says.
    #[must_use]
    pub fn insecure_of(node: &GenesisNode) -> Self {
        Self::insecure(&node.code_digest, &ReportData::on_no_channel(node.node_id))
    }

    /// What evidence of a processor binds, whatever it should.
    fn data(&self) -> Result<ReportData, AppraiseEvidenceError> {
        let facts = verify(&self.evidence, &self.endorsements, 0)?;
        let (node, transcript) = facts.bound().split_at(facts.bound().len() / 2);
        let bytes = |half: &[u8]| half.try_into().unwrap_or_default();
        Ok(ReportData { node: NodeId(bytes(node)), transcript: Digest(bytes(transcript)) })
    }

    /// Whether it is what a node of a known platform shows, whom members want or not.
    ///
    /// # Errors
    /// [`AppraiseEvidenceError`] with the first thing that is wrong.
    pub fn appraise(
        &self,
        node: NodeId,
        now_s: u64,
        policy: &AppraisalPolicy,
    ) -> Result<Attested<NodeClaims>, AppraiseEvidenceError> {
        let data = ReportData { node, transcript: self.transcript };
        appraise(&self.evidence, &self.endorsements, now_s, policy, &data)
    }
}

/// A row of [`NODES_ATTESTATIONS`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    platform: String,
    class: String,
    measurement: String,
    /// Seconds since 1970, by the ledger.
    appraised_at: u64,
    /// The newest entry by whose state it was appraised.
    policy_version: u64,
    transcript: String,
    evidence: String,
    endorsements: String,
}

impl Row {
    fn shown(&self) -> Result<ShownEvidence, AttestationRowError> {
        let part = AttestationRowError::Part;
        let bytes = |text: &str, name| STANDARD.decode(text).map_err(|_| part(name));
        let evidence = Evidence::decode(&bytes(&self.evidence, "evidence")?);
        let endorsements = Endorsements::decode(&bytes(&self.endorsements, "endorsements")?);
        Ok(ShownEvidence {
            evidence: evidence.map_err(|_| part("evidence"))?,
            endorsements: endorsements.map_err(|_| part("endorsements"))?,
            transcript: self.transcript.parse().map_err(|_| part("transcript"))?,
        })
    }
}

/// What a row of [`NODES_ATTESTATIONS`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The class of its platform, by its name.
    pub class: String,
    /// What the node runs.
    pub measurement: String,
    /// What it has shown.
    pub shown: ShownEvidence,
}

impl Attestation {
    /// Reads a row, which is not appraised; nothing when it cannot be read.
    #[must_use]
    pub fn read(row: &[u8]) -> Option<Self> {
        let row: Row = serde_json::from_slice(row).ok()?;
        let shown = row.shown().ok()?;
        Some(Self { class: row.class, measurement: row.measurement, shown })
    }
}

/// A row of [`NODES_ATTESTATIONS`] that is not believed.
#[derive(Debug, Error)]
pub enum AttestationRowError {
    /// Not the JSON that is written there.
    #[error("it is not what a primary writes")]
    Json(#[source] serde_json::Error),
    /// A part of it is not what it should be.
    #[error("its {0} cannot be read")]
    Part(&'static str),
    /// It is of no node.
    #[error("it is of no node")]
    Node,
    /// What the node showed is not believed.
    #[error("what the node showed is not believed")]
    Appraise(#[source] AppraiseEvidenceError),
    /// The node has this code without having shown it.
    #[error("it names code that the node has not shown")]
    Unshown,
    /// Its lease goes on without anybody of its seat having shown anything.
    #[error("its lease is renewed, and nobody of its seat has shown anything")]
    UnshownLease,
    /// What was found is not what is found now.
    #[error("it says something else of the node than its evidence does")]
    Other,
}

/// An entry that says of a node what this one does not believe.
#[derive(Debug, Error)]
#[error("what the primary says in {id} that node {node} has shown")]
pub struct AttestationError {
    /// The entry.
    pub id: TxId,
    /// The node, as the row names it.
    pub node: String,
    /// Why it is not believed.
    #[source]
    pub source: AttestationRowError,
}

fn row(shown: &ShownEvidence, attested: &Attested<NodeClaims>, now_s: u64) -> Row {
    let NodeClaims { platform, class, measurement, .. } = attested.claims();
    Row {
        platform: platform.name().to_owned(),
        class: class.name().to_owned(),
        measurement: measurement.clone(),
        appraised_at: now_s,
        policy_version: attested.policy_version(),
        transcript: shown.transcript.to_string(),
        evidence: STANDARD.encode(shown.evidence.encode()),
        endorsements: STANDARD.encode(shown.endorsements.encode()),
    }
}

/// Appraises again what a row says, by this policy, and tells the node's code; `times` are when that
/// can have been.
fn check_row(
    key: &[u8],
    row: &[u8],
    policy: &AppraisalPolicy,
    times: &RangeInclusive<u64>,
) -> Result<Digest, AttestationRowError> {
    let node = id_of(key).ok_or(AttestationRowError::Node)?;
    let found: Row = serde_json::from_slice(row).map_err(AttestationRowError::Json)?;
    let attested = found.shown()?.appraise(node, found.appraised_at, policy);
    let attested = attested.map_err(AttestationRowError::Appraise)?;
    let is_same = found.platform == attested.claims().platform.name()
        && found.class == attested.claims().class.name()
        && found.measurement == attested.claims().measurement
        && found.policy_version == attested.policy_version()
        && times.contains(&found.appraised_at);
    if is_same { Ok(attested.claims().code) } else { Err(AttestationRowError::Other) }
}

impl Replica {
    /// Whether what a node shows is believed. In a service without members, it has to run one of the programs `running`.
    pub(crate) fn appraise(
        &self,
        node: NodeId,
        shown: &ShownEvidence,
        running: &[Digest],
    ) -> Result<Attested<NodeClaims>, AppraiseEvidenceError> {
        let now_s = self.block_time_ms() / 1000;
        let policy = self.appraisal_policy().unwrap_or_else(|| only(running));
        if coco_planted::is(Bug::BelieveAnyEvidence)
            && let Ok(data) = shown.data()
        {
            return appraise(&shown.evidence, &shown.endorsements, now_s, &policy, &data);
        }
        shown.appraise(node, now_s, &policy)
    }

    /// Puts down what a node has shown, as of now.
    pub(crate) fn put_shown(
        &self,
        writes: &mut WriteSet,
        shown: &ShownEvidence,
        attested: &Attested<NodeClaims>,
    ) {
        let row = row(shown, attested, self.block_time_ms() / 1000);
        let row = serde_json::to_vec(&row).expect("text and numbers have a JSON form");
        let node = attested.claims().node.to_string();
        writes.insert(&MapName::from_static(NODES_ATTESTATIONS), node.as_bytes(), row);
    }

    /// What members admit; nothing when the service has none who could.
    fn appraisal_policy(&self) -> Option<AppraisalPolicy> {
        let head = self.core.store.reader().head();
        let map = head.map(&MapName::from_static(VIRTUAL_MEASUREMENTS))?;
        let rows = head.range(map, &[], None, usize::MAX).into_iter();
        let virtual_measurements = rows.map(|(key, _)| key.to_vec()).collect();
        let manifests = Manifests { virtual_measurements };
        (!manifests.is_empty()).then(|| manifests.policy(self.core.last().seqno.0))
    }

    /// Appraises again what an entry says that nodes have shown, before it is taken. Others have done so for what this node knows to be
    /// committed; what whoever sent it calls so now is its word only.
    pub(crate) fn check_attestations(&self, entry: &LogEntry) -> Result<(), AttestationError> {
        if entry.tx_id.seqno <= self.core.state.read().committed {
            return Ok(());
        }
        // An entry that cannot be read says nothing, and is refused where it is taken.
        let Ok(view) = EntryView::parse(&entry.data) else { return Ok(()) };
        let Ok(writes) = view.public_writes() else { return Ok(()) };
        if !says_of_nodes(&writes) {
            return Ok(());
        }
        let Some(policy) = self.appraisal_policy() else { return Ok(()) };
        let node = |key: &[u8]| node_of(key, &self.newest(NODES_MAP, key)?);
        let lease = |seat: &[u8]| LeaseRow::read(&self.newest(NODES_LEASES, seat)?);
        // Others' clocks may be ahead of this node's.
        let times = self.core.marks_at(self.core.last().seqno).time_ms / 1000..=u64::MAX;
        check_entry(&writes, &Before { policy, times, node: &node, lease: &lease })
            .map_err(|(node, source)| AttestationError { id: entry.tx_id, node, source })
    }
}

/// Whether there is something to check.
fn says_of_nodes(writes: &WriteSetView<'_>) -> bool {
    let maps = [NODES_ATTESTATIONS, NODES_MAP, NODES_LEASES];
    writes.maps().iter().any(|map| maps.contains(&map.name()))
}

/// What is known before an entry.
struct Before<'a> {
    /// What members admit.
    policy: AppraisalPolicy,
    /// When it may have been appraised, in seconds since 1970.
    times: RangeInclusive<u64>,
    /// What is known of a node, by the key of its row.
    node: &'a dyn Fn(&[u8]) -> Option<Known>,
    /// The lease of a seat, by the key of its row.
    lease: &'a dyn Fn(&[u8]) -> Option<LeaseRow>,
}

/// What a node's row says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    code: Digest,
    seat: NodeId,
}

/// Checks what an entry says that nodes have shown, that no node has other code than it has shown, and that no lease goes on without.
/// Members may say of nodes what they like, and the first node of a recovered service has nobody to show anything to: whether an entry
/// is members' or begins a recovery, the audit of governance says.
fn check_entry(
    writes: &WriteSetView<'_>,
    before: &Before<'_>,
) -> Result<(), (String, AttestationRowError)> {
    let rows = |name: &'static str| {
        let maps = writes.maps().iter().filter(move |map| map.name() == name);
        maps.flat_map(|map| map.iter().filter_map(|(key, row)| Some((key, row?))))
    };
    let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let is_asked = |map: &MapView<'_>| [COSE_HISTORY, SERVICE_INFO].contains(&map.name());
    if writes.maps().iter().any(is_asked) {
        return Ok(());
    }
    let mut shown = BTreeMap::new();
    for (key, row) in rows(NODES_ATTESTATIONS) {
        let code = check_row(key, row, &before.policy, &before.times);
        shown.insert(key, code.map_err(|error| (text(key), error))?);
    }
    for (key, row) in rows(NODES_MAP) {
        let code = node_of(key, row).map(|node| node.code);
        let known = || (before.node)(key).map(|node| node.code);
        if code.is_none() || code != shown.get(key).copied().or_else(known) {
            return Err((text(key), AttestationRowError::Unshown));
        }
    }
    let leases = writes.maps().iter().filter(|map| map.name() == NODES_LEASES);
    for (key, row) in leases.flat_map(MapView::iter) {
        let seat = id_of(key);
        let is_of_seat = |node: &[u8]| (before.node)(node).map(|node| node.seat) == seat;
        let goes_on = match row.and_then(LeaseRow::read) {
            Some(is) => is_renewed((before.lease)(key), is),
            // Without a row that can be read the next one would begin by itself.
            None => true,
        };
        if goes_on && !shown.keys().any(|node| is_of_seat(node)) {
            return Err((text(key), AttestationRowError::UnshownLease));
        }
    }
    Ok(())
}

/// Whether a lease goes on longer than before, or once more after it had ended. The first one begins by itself, and so does one whose
/// time was set by a clock that was ahead.
fn is_renewed(was: Option<LeaseRow>, is: LeaseRow) -> bool {
    let Some(was) = was else { return false };
    is.ended_at.is_none() && (was.ended_at.is_some() || is.renewed_at > was.renewed_at)
}

/// The node or the seat that a key names.
fn id_of(key: &[u8]) -> Option<NodeId> {
    str::from_utf8(key).ok()?.parse().ok()
}

/// What a node's row says.
fn node_of(key: &[u8], row: &[u8]) -> Option<Known> {
    #[derive(Deserialize)]
    struct Said {
        code_digest: String,
        seat: Option<String>,
    }
    let said: Said = serde_json::from_slice(row).ok()?;
    let seat = said.seat.map_or_else(|| id_of(key), |seat| seat.parse().ok())?;
    Some(Known { code: said.code_digest.parse().ok()?, seat })
}

/// Appraises again what a verified ledger says that nodes have shown, entry by entry.
#[derive(Debug, Default)]
pub struct AttestationAudit {
    manifests: Manifests,
    /// What is known of each node, by the key of its row.
    nodes: BTreeMap<Vec<u8>, Known>,
    /// The leases, by the keys of their seats.
    leases: BTreeMap<Vec<u8>, LeaseRow>,
    /// How many were appraised.
    appraised: u64,
}

impl AttestationAudit {
    /// Begins after an entry that has left this state. [`AttestationAudit::default`] begins before the first.
    #[must_use]
    pub fn from_state(public: &StateImage<'_>) -> Self {
        let mut audit = Self::default();
        let rows = |map| public.map(map).into_iter();
        for (key, _, row) in rows(NODES_MAP).flat_map(MapImage::iter) {
            audit.note_node(key, Some(row));
        }
        for (key, _, row) in rows(NODES_LEASES).flat_map(MapImage::iter) {
            audit.note_lease(key, Some(row));
        }
        for (key, ..) in rows(VIRTUAL_MEASUREMENTS).flat_map(MapImage::iter) {
            audit.manifests.virtual_measurements.push(key.to_vec());
        }
        audit
    }

    /// Takes the next entry, and when it may have been made: [`Audit::times`](coco_governance::Audit::times).
    ///
    /// # Errors
    /// [`AttestationError`] when a node has not shown what it says.
    pub fn entry(
        &mut self,
        id: TxId,
        writes: &WriteSetView<'_>,
        times: RangeInclusive<u64>,
    ) -> Result<(), AttestationError> {
        if says_of_nodes(writes) && !self.manifests.is_empty() {
            let policy = self.manifests.policy(id.seqno.0.saturating_sub(1));
            let node = |key: &[u8]| self.nodes.get(key).cloned();
            let lease = |seat: &[u8]| self.leases.get(seat).copied();
            let before = Before { policy, times, node: &node, lease: &lease };
            check_entry(writes, &before).map_err(|(node, source)| AttestationError {
                id,
                node,
                source,
            })?;
        }
        for (map, key, row) in writes.iter() {
            match map {
                NODES_MAP => self.note_node(key, row),
                NODES_LEASES => self.note_lease(key, row),
                NODES_ATTESTATIONS => self.appraised += u64::from(row.is_some()),
                VIRTUAL_MEASUREMENTS => {
                    self.manifests.virtual_measurements.retain(|other| other != key);
                    let admitted = row.map(|_| key.to_vec());
                    self.manifests.virtual_measurements.extend(admitted);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How much evidence was appraised.
    #[must_use]
    pub const fn appraised(&self) -> u64 {
        self.appraised
    }

    fn note_node(&mut self, key: &[u8], row: Option<&[u8]>) {
        match row.and_then(|row| node_of(key, row)) {
            Some(node) => drop(self.nodes.insert(key.to_vec(), node)),
            None => drop(self.nodes.remove(key)),
        }
    }

    fn note_lease(&mut self, seat: &[u8], row: Option<&[u8]>) {
        match row.and_then(LeaseRow::read) {
            Some(lease) => drop(self.leases.insert(seat.to_vec(), lease)),
            None => drop(self.leases.remove(seat)),
        }
    }
}

/// The node as its evidence has it.
pub(crate) fn as_attested(node: &GenesisNode, attested: &Attested<NodeClaims>) -> GenesisNode {
    let NodeClaims { platform, code, .. } = attested.claims();
    let quote_format = platform.quote_format().to_owned();
    GenesisNode { quote_format, code_digest: *code, ..node.clone() }
}

/// Admits these programs of the virtual platform.
fn only(running: &[Digest]) -> AppraisalPolicy {
    let code = running.iter().copied().collect();
    AppraisalPolicy {
        class_min: TrustClass::Insecure,
        insecure: Some(InsecurePolicy { code }),
        ..AppraisalPolicy::none(0)
    }
}

#[cfg(test)]
mod tests;

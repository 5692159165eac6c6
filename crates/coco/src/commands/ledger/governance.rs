//! `coco ledger verify --governance`: whether members and service kept the rules, act by act.

use anyhow::anyhow;
use coco_governance::{Act, Audit, AuditError, AuditReport, AuditedEntry, Engine};
use coco_ledger::{Chunk, ChunkName, SignatureRecord, VerifiedSnapshot, Verifier};
use coco_replica::AttestationAudit;
use coco_types::Seqno;

use super::damaged;
use crate::Failure;

/// Goes through what a verifier has believed.
pub(super) struct GovernanceAudit {
    audit: Audit,
    attestations: AttestationAudit,
    next: Seqno,
    /// Acts of members whose id begins so are kept.
    whose: Option<String>,
    acts: Vec<Act>,
}

impl GovernanceAudit {
    /// Begins before the first entry.
    pub(super) fn new() -> Self {
        Self::of(Audit::new(&Engine::new()), AttestationAudit::default(), Seqno(1))
    }

    fn of(audit: Audit, attestations: AttestationAudit, next: Seqno) -> Self {
        Self { audit, attestations, next, whose: None, acts: Vec::new() }
    }

    /// Keeps what members did whose id begins so.
    pub(super) fn keeping(self, whose: String) -> Self {
        Self { whose: Some(whose), ..self }
    }

    /// Begins after the entry of a snapshot.
    pub(super) fn from_snapshot(
        file: &str,
        snapshot: &VerifiedSnapshot<'_>,
    ) -> Result<Self, Failure> {
        let at = snapshot.tx_id().seqno;
        let audit = Audit::from_state(&Engine::new(), at, snapshot.public());
        let audit = audit.map_err(|error| wrong(error, file.to_owned()))?;
        let attestations = AttestationAudit::from_state(snapshot.public());
        Ok(Self::of(audit, attestations, at.next()))
    }

    /// Takes a chunk that the verifier has just taken. What no signature covers is left out: nobody vouches for it.
    pub(super) fn chunk(
        &mut self,
        verifier: &Verifier,
        name: ChunkName,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let chunk = Chunk::parse(bytes).map_err(|error| damaged(name, &error))?;
        let mut entries = Vec::new();
        let mut signed_at_s = None;
        // The signature over an entry is the next one.
        for (offset, entry) in chunk.entries.iter().rev() {
            if let Some(signed_at_s) = signed_at_s {
                entries.push((*offset, entry, signed_at_s));
            }
            let record = SignatureRecord::read(entry).map_err(|error| damaged(name, &error))?;
            if let Some(record) = record {
                if signed_at_s.is_none() {
                    entries.push((*offset, entry, record.issued_at_s));
                }
                signed_at_s = Some(record.issued_at_s);
            }
        }
        for (offset, entry, signed_at_s) in entries.into_iter().rev() {
            let tx_id = entry.tx_id();
            if tx_id.seqno < self.next {
                continue;
            }
            let writes = entry.public_writes().map_err(|error| damaged(name, &error))?;
            let root = &|upto| verifier.root(upto);
            let audited = AuditedEntry { tx_id, writes: &writes, signed_at_s, root };
            let act = self.audit.entry(&audited);
            let place = || format!("{name} at offset {offset}");
            let act = act.map_err(|error| wrong(error, place()))?;
            let shown = self.attestations.entry(tx_id, &writes, self.audit.times());
            shown.map_err(|error| {
                Failure::DoesNotVerify(anyhow::Error::new(error).context(place()))
            })?;
            let whose = self.whose.as_deref();
            let is_kept =
                |act: &Act| whose.is_some_and(|begin| act.member.to_string().starts_with(begin));
            self.acts.extend(act.filter(is_kept));
            self.next = tx_id.seqno.next();
        }
        Ok(())
    }

    /// The acts that were kept, in the ledger's order; nothing, where none were to be.
    pub(super) fn acts(&self) -> Option<&[Act]> {
        self.whose.is_some().then_some(&self.acts)
    }

    /// What governance came to.
    pub(super) fn report(&self) -> Result<AuditReport, Failure> {
        self.audit.report().map_err(|error| wrong(error, "at the end".to_owned()))
    }
}

fn wrong(error: AuditError, place: String) -> Failure {
    Failure::DoesNotVerify(anyhow!(error).context(place))
}

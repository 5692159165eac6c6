//! `coco proposal show`: what it would change, who voted, and what a ballot would be bound to.

use coco_client::{
    Client, ProposalId,
    reply::{Actions, Member, Proposal},
};
use coco_crypto::sha256;
use coco_governance::tables::{MemberStatus, ProposalState};
use coco_types::Digest;
use serde_json::json;

use super::{changes, deadline, document, missing, recovered::Recovered};
use crate::{
    fault::Fault,
    output::{Output, plain, short, utc},
    session::{Session, call_member},
    signing::now,
};

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The proposal's id, or its first digits
    proposal: String,
}

/// A proposal with all that is known of it.
pub(super) struct Shown {
    pub(super) proposal: Proposal,
    pub(super) document: Actions,
    /// SHA-256 of the document as its proposer signed it.
    pub(super) digest: Digest,
    pub(super) members: Vec<Member>,
    /// What it opens, if it is a service that was recovered.
    pub(super) recovered: Option<Recovered>,
}

impl Shown {
    pub(super) fn fetch(session: &Session, id: ProposalId) -> Result<Self, Fault> {
        let found = session.ask(|client| client.proposal(id));
        let proposal = found.map_err(|fault| missing(fault, id))?;
        let bytes = session.ask(|client| client.document(id))?;
        let members = session.ask(Client::members)?.value;
        let document = document::parse(&bytes)?;
        // What was decided is not held against what is there now.
        let recovered = match proposal.proposal_state {
            ProposalState::Open => Recovered::fetch(session, &document.actions),
            _ => None,
        };
        Ok(Self { proposal, document, digest: sha256(&bytes), members, recovered })
    }

    /// What it would change, a line each.
    pub(super) fn changes(&self, session: &Session) -> Vec<String> {
        let mut lines = changes::lines(&self.document, Some(session.client().identity()));
        lines.extend(self.recovered.iter().flat_map(Recovered::lines));
        lines
    }

    /// Who voted, and, once it is decided, how.
    fn votes(&self) -> Vec<String> {
        let entitled = self.members.iter().filter(|member| member.status == MemberStatus::Active);
        let ids = entitled.map(|member| &member.member_id);
        let gone = self
            .proposal
            .ballot_submitters
            .iter()
            .filter(|id| !self.members.iter().any(|member| member.member_id == **id));
        ids.chain(gone)
            .map(|id| {
                let votes = self.proposal.final_votes.as_ref();
                let failures = self.proposal.vote_failures.as_ref();
                let has_voted = self.proposal.ballot_submitters.contains(id);
                let how = match (votes.and_then(|votes| votes.get(id)), has_voted) {
                    (Some(true), _) => "approves",
                    (Some(false), _) => "rejects",
                    (None, true) if failures.is_some_and(|failed| failed.contains_key(id)) => {
                        "ballot failed"
                    }
                    (None, true) => "voted",
                    (None, false) => "-",
                };
                format!("{} {how}", call_member(&self.members, id))
            })
            .collect()
    }
}

pub(super) fn run(session: &Session, arguments: &ShowArgs, output: Output) -> Result<(), Fault> {
    let shown = Shown::fetch(session, session.find_proposal(&arguments.proposal)?)?;
    let changes = shown.changes(session);
    let digest = format!("sha256:{}", shown.digest);
    let now = now()?;
    let members = json!({
        "proposal": shown.proposal, "actions": shown.document.actions, "changes": changes,
        "document_digest": digest, "recovered": shown.recovered.as_ref().map(Recovered::json),
    });
    output.print("proposal.show", members, || {
        let Shown { proposal, members, .. } = &shown;
        let mut text = format!(
            "Proposal {}  {:?}\n  id        {}\n  by        {} (sha256:{})\n",
            short(&proposal.proposal_id),
            proposal.proposal_state,
            plain(&proposal.proposal_id),
            plain(&call_member(members, &proposal.proposer_id)),
            plain(&proposal.proposer_id),
        );
        for (i, line) in changes.iter().enumerate() {
            text.push_str(&format!("  {:<9} {line}\n", if i == 0 { "changes" } else { "" }));
        }
        for (i, line) in shown.votes().iter().enumerate() {
            text.push_str(&format!("  {:<9} {}\n", if i == 0 { "votes" } else { "" }, plain(line)));
        }
        if let Some(failure) = &proposal.failure {
            let word = if proposal.proposal_state == ProposalState::Dropped {
                "reason"
            } else {
                "failure"
            };
            text.push_str(&format!("  {word:<9} {}\n", plain(&failure.reason)));
        }
        if let Some(words) = deadline::in_words(proposal, now) {
            let at = utc(proposal.expires_at.unwrap_or_default());
            text.push_str(&format!("  expires   {words} ({at})\n"));
        }
        text.push_str(&format!("  document  {digest}\n"));
        if proposal.proposal_state == ProposalState::Open {
            let id = short(&proposal.proposal_id);
            text.push_str(&format!("Next: coco proposal vote {id} --approve, or --reject\n"));
        }
        text
    });
    Ok(())
}

//! `/gov`, writing: a member's signed request, carried out by the primary and answered once it is committed.
//!
//! A lost primary may take the request with it, or only the answer. It is then sent again, which does no harm: a
//! withdrawal, an acknowledgement or a share says the same twice. A proposal that stands is refused as one that was
//! submitted before, and a ballot that has decided its proposal as one that comes too late. Then this node looks up what
//! the first one came to, and answers with that.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use coco_api::ErrorCode;
use coco_governance::{
    Governance, GovernanceError, MemberId, ProposalId, ProposalView, Request, Route,
    rows::Rows,
    tables::{self, ProposalRow, ProposalState},
};
use coco_replica::GovernRequest;
use coco_types::{NodeId, Role, TxId, TxStatus};
use hyper::{
    StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
};
use parking_lot::Mutex;

use super::{
    parameters,
    respond::{self, Refused, Reply},
    route::Names,
    service::Service,
    submit::{PRIMARY_TIME, RETRY},
    table::{Body, GovernanceWrite, Row, Who},
};
use crate::{
    disk::in_full,
    govern::{Answer, ENVELOPE_BYTES_MAX, Question},
};

/// Most requests of members that one node has under way. Each may hold a megabyte.
const REQUESTS_MAX: usize = 64;
/// Most of them that one member signed, or nobody whom this node knows.
const REQUESTS_BY_MEMBER_MAX: usize = 8;

/// Places for the requests that are under way, some for each member, so that none keeps the others from governing. Whoever is
/// no member as far as this node knows may be one at the primary, and has those that are left for all such together.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeMap<Option<MemberId>, usize>>);

/// A place for a request that this member has signed, until it is dropped.
#[derive(Debug)]
struct Place<'a> {
    places: &'a Places,
    of: Option<MemberId>,
}

impl Places {
    fn take(&self, of: Option<MemberId>) -> Option<Place<'_>> {
        let mut taken = self.0.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&of).copied().unwrap_or_default();
        if all >= REQUESTS_MAX || own >= REQUESTS_BY_MEMBER_MAX {
            return None;
        }
        taken.insert(of, own + 1);
        Some(Place { places: self, of })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        match taken.get_mut(&self.of) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                taken.remove(&self.of);
            }
        }
    }
}

/// How often a request is sent before the client is told to.
const TRIES_MAX: usize = 8;

/// How long a forwarded request waits for its answer: scripts take their time, and others are before it.
const FORWARD_TIME: Duration = Duration::from_secs(20);

/// What becomes of a request.
enum Outcome {
    /// It is committed, in this entry.
    Committed(TxId, Option<Bytes>),
    /// It is in this entry, which was not committed in time.
    Pending(TxId),
    Refused(GovernanceError),
    Busy,
    NoPrimary,
}

/// One attempt.
enum Attempt {
    Answered(Answer),
    /// The primary did not answer: what it did is unknown.
    Lost,
    NoPrimary,
}

/// Answers a call that carries a member's request.
pub(crate) async fn write(
    service: &Arc<Service>,
    row: &Row,
    write: GovernanceWrite,
    names: &Names<'_>,
    request: hyper::Request<Incoming>,
) -> Reply {
    match take(service, row, write, names, request).await {
        Ok(question) => answer(service, row, question).await,
        Err(refused) => refused.reply(),
    }
}

/// Reads a request, and refuses what no node could take.
async fn take(
    service: &Service,
    row: &Row,
    write: GovernanceWrite,
    names: &Names<'_>,
    request: hyper::Request<Incoming>,
) -> Result<Question, Refused> {
    let member = || parameters::id(names.get("memberId"), "member's id").map(MemberId);
    let proposal = || parameters::id(names.get("proposalId"), "proposal's id").map(ProposalId);
    let route = match write {
        GovernanceWrite::CreateProposal => Route::CreateProposal,
        GovernanceWrite::WithdrawProposal => Route::WithdrawProposal(proposal()?),
        GovernanceWrite::SubmitBallot => {
            Route::SubmitBallot { proposal: proposal()?, member: member()? }
        }
        GovernanceWrite::UpdateStateDigest => Route::UpdateStateDigest(member()?),
        GovernanceWrite::Acknowledge => Route::Acknowledge(member()?),
        GovernanceWrite::SubmitRecoveryShare => Route::SubmitRecoveryShare(member()?),
    };
    check_content_type(row, &request)?;
    let envelope = service.body(request, ENVELOPE_BYTES_MAX).await?;
    let signed = Request::read(&envelope)
        .map_err(|error| respond::unauthenticated(policy(row.who), in_full(&error)))?;
    // CCF has this code for the calls about digests and shares, and does not call it a lack of authentication.
    if let Route::UpdateStateDigest(member)
    | Route::Acknowledge(member)
    | Route::SubmitRecoveryShare(member) = route
        && member != signed.signer()
    {
        let message = format!("the call names the member {member}, and {} signed", signed.signer());
        let mut refused = respond::error(ErrorCode::InvalidAuthenticationInfo, message);
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refused.into());
    }
    Ok(Question { route, envelope })
}

/// Checks that a request's body is what its call takes.
pub(crate) fn check_content_type<B>(row: &Row, request: &hyper::Request<B>) -> Result<(), Refused> {
    let expected = match row.body {
        Body::Signed(_) => "application/cose",
        Body::Proposal | Body::Node => "application/json",
        Body::Nothing | Body::JsonRpc => return Ok(()),
    };
    let found = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let found = found.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let message = format!("this call takes the content type {expected}");
    Err(respond::error(ErrorCode::UnsupportedContentType, message).into())
}

/// CCF's name of those who may make a call.
const fn policy(who: Who) -> &'static str {
    match who {
        Who::ActiveMember => "active_member_cose_sign1",
        Who::Member | Who::Anyone | Who::Recognised | Who::Node => "member_cose_sign1",
    }
}

async fn answer(service: &Arc<Service>, row: &Row, question: Question) -> Reply {
    match service.govern(question).await {
        Outcome::Committed(id, Some(json)) => respond::at(respond::json_text(json), id),
        Outcome::Committed(id, None) => respond::at(respond::empty(StatusCode::NO_CONTENT), id),
        Outcome::Pending(id) => {
            let message = format!(
                "the request is in entry {id}, which is not committed yet: ask for its status"
            );
            respond::at(respond::later(ErrorCode::TransactionReplicationFailed, message), id)
        }
        Outcome::Refused(error) if is_unauthenticated(&error) => {
            respond::unauthenticated(policy(row.who), error.message)
        }
        Outcome::Refused(error) => respond::refused(&error),
        Outcome::Busy => respond::later(
            ErrorCode::TooManyPendingTransactions,
            "too many requests of members wait, or of this one; try again",
        ),
        Outcome::NoPrimary => respond::later(
            ErrorCode::PrimaryNotFound,
            "no primary could be reached; send the request again",
        ),
    }
}

fn is_unauthenticated(error: &GovernanceError) -> bool {
    error.code == coco_governance::ErrorCode::InvalidAuthenticationInfo
}

impl Service {
    /// Has a request carried out, wherever the primary is, and waits for its commit.
    async fn govern(self: &Arc<Self>, question: Question) -> Outcome {
        let Some(place) = self.governing().take(self.signer_of(&question)) else {
            return Outcome::Busy;
        };
        let deadline = Instant::now() + Duration::from_millis(self.limits().request_timeout_ms);
        let search_until = || deadline.min(Instant::now() + PRIMARY_TIME);
        let (mut until, mut tries, mut may_stand) = (search_until(), 0, false);
        while tries < TRIES_MAX {
            let began = Instant::now();
            match self.attempt_to_govern(&place, &question, until, deadline).await {
                Attempt::Answered(Answer::Done { id, json }) => {
                    match self.decided(id, deadline).await {
                        TxStatus::Committed => return Outcome::Committed(id, json),
                        TxStatus::Pending => return Outcome::Pending(id),
                        // The entry is gone, as far as this node knows.
                        TxStatus::Invalid | TxStatus::Unknown => {}
                    }
                    (until, tries, may_stand) = (search_until(), tries + 1, true);
                }
                Attempt::Answered(Answer::Refused(error)) => {
                    let first = if may_stand && may_be_its_own_doing(question.route, &error) {
                        self.first_of(&question, deadline).await
                    } else {
                        None
                    };
                    return match first {
                        Some((id, json)) => Outcome::Committed(id, Some(json)),
                        None => Outcome::Refused(error),
                    };
                }
                Attempt::Answered(Answer::Busy) => return Outcome::Busy,
                // What took a while was sent, and another primary is looked for anew.
                Attempt::Lost if began.elapsed() > RETRY => {
                    (until, tries, may_stand) = (search_until(), tries + 1, true);
                }
                Attempt::Lost | Attempt::Answered(Answer::NotPrimary(_)) => {
                    if Instant::now() >= until {
                        return Outcome::NoPrimary;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Attempt::NoPrimary => return Outcome::NoPrimary,
            }
        }
        Outcome::NoPrimary
    }

    /// Asks the primary once, as soon as one is known.
    async fn attempt_to_govern(
        &self,
        place: &Place<'_>,
        question: &Question,
        until: Instant,
        deadline: Instant,
    ) -> Attempt {
        loop {
            let (role, primary) = {
                let state = self.state();
                (state.role(), state.primary())
            };
            match (role, primary) {
                (Role::Primary, _) => {
                    return Attempt::Answered(self.govern_here(place, question.clone()).await);
                }
                (Role::Backup | Role::Candidate, Some(primary)) if primary != self.node_id() => {
                    return self.forward_to_govern(primary, question, deadline).await;
                }
                (Role::Backup | Role::Candidate, _) => {}
            }
            if Instant::now() >= until {
                return Attempt::NoPrimary;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn forward_to_govern(
        &self,
        primary: NodeId,
        question: &Question,
        deadline: Instant,
    ) -> Attempt {
        let time = FORWARD_TIME.min(deadline.saturating_duration_since(Instant::now()));
        let answer = tokio::select! {
            answer = self.peers().forward_to_govern(primary, question, time) => answer,
            () = self.deposed(primary) => None,
        };
        answer.map_or(Attempt::Lost, Attempt::Answered)
    }

    /// Has this node's replica carry a request out, if a member has signed it: the replica does one after another, and
    /// nobody else's get so far.
    async fn govern_here(&self, place: &Place<'_>, question: Question) -> Answer {
        // Who was nobody's when it came may be a member's by now.
        if place.of.is_none()
            && let Err(error) = self.authenticate(&question)
        {
            return Answer::Refused(error);
        }
        let Question { route, envelope } = question;
        match self.inbox().govern(GovernRequest { route, envelope }).await {
            Ok(reply) => reply.into(),
            // This node stops.
            Err(_) => Answer::NotPrimary(None),
        }
    }

    /// A request that a backup forwarded.
    pub(super) async fn govern_forwarded(&self, question: Question) -> Answer {
        match self.governing().take(self.signer_of(&question)) {
            Some(place) if self.state().role() == Role::Primary => {
                self.govern_here(&place, question).await
            }
            Some(_) => Answer::NotPrimary(None),
            None => Answer::Busy,
        }
    }

    /// The member who has signed a request, as far as this node knows.
    fn signer_of(&self, question: &Question) -> Option<MemberId> {
        self.authenticate(question).ok()
    }

    /// Costs one signature.
    fn authenticate(&self, question: &Question) -> Result<MemberId, GovernanceError> {
        let mut transaction = self.parts().reader.begin();
        Governance::authenticate(&mut transaction, &question.envelope)
    }

    /// What a request came to that was carried out before, once this node knows that it is committed. Nothing, when that
    /// was another one.
    async fn first_of(&self, question: &Question, deadline: Instant) -> Option<(TxId, Bytes)> {
        let request = Request::read(&question.envelope).ok()?;
        loop {
            let (at, mut rows) = self.committed_rows();
            match look_up(question.route, &request, &mut rows).ok()? {
                Found::This(view) => return Some((at, serde_json::to_vec(&view).ok()?.into())),
                Found::Another => return None,
                Found::NotYet if Instant::now() >= deadline => return None,
                Found::NotYet => {}
            }
            drop(rows);
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether a request may be refused because it was carried out before.
const fn may_be_its_own_doing(route: Route, error: &GovernanceError) -> bool {
    use coco_governance::ErrorCode;
    matches!(
        (route, error.code),
        (Route::CreateProposal, ErrorCode::ProposalReplay)
            | (Route::SubmitBallot { .. }, ErrorCode::ProposalNotOpen)
    )
}

/// What the committed rows say of a request that was carried out before.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// This is what it came to.
    This(Box<ProposalView>),
    /// It was another one.
    Another,
    /// It is not committed yet.
    NotYet,
}

fn look_up(route: Route, request: &Request<'_>, rows: &mut Rows) -> Result<Found, GovernanceError> {
    let id = match route {
        Route::CreateProposal => match rows.proposal_of(request)? {
            Some(id) => id,
            None => return Ok(Found::NotYet),
        },
        Route::SubmitBallot { proposal, .. } => proposal,
        Route::WithdrawProposal(_)
        | Route::UpdateStateDigest(_)
        | Route::Acknowledge(_)
        | Route::SubmitRecoveryShare(_) => return Ok(Found::Another),
    };
    let row: Option<ProposalRow> = rows.read(tables::PROPOSALS_INFO, &id.key())?;
    // Decided, and forgotten since: nobody can say any more how.
    let Some(row) = row else { return Ok(Found::Another) };
    if let Route::SubmitBallot { member, .. } = route {
        if row.state == ProposalState::Open {
            return Ok(Found::NotYet);
        }
        if row.ballots.get(&member.to_string()) != ballot_of(request).as_ref() {
            return Ok(Found::Another);
        }
    }
    Ok(Found::This(Box::new(ProposalView::new(id, row))))
}

fn ballot_of(request: &Request<'_>) -> Option<String> {
    let content: serde_json::Value = serde_json::from_slice(request.content()).ok()?;
    content.get("ballot")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use coco_governance::{Message, Reply};
    use serde_json::json;

    use super::{
        super::fixture::{Fixture, YES},
        *,
    };

    const NOW: u64 = 1_700_000_000;

    fn found(fixture: &Fixture, route: Route, envelope: &[u8]) -> Found {
        let mut rows = Rows::as_of(&fixture.store.reader().head());
        look_up(route, &Request::read(envelope).unwrap(), &mut rows).unwrap()
    }

    #[test]
    fn a_proposal_whose_answer_was_lost_is_found() {
        let mut fixture = Fixture::new();
        let content = br#"{"actions":[{"name":"trigger_snapshot"}]}"#;
        let sign = |fixture: &Fixture, at| fixture.members[0].sign(Message::Proposal, at, content);
        let (sent, other) = (sign(&fixture, NOW), sign(&fixture, NOW + 1));
        let route = Route::CreateProposal;
        assert_eq!(found(&fixture, route, &sent), Found::NotYet);
        let Reply::Proposal(view) = fixture.send(route, &sent) else { panic!() };
        assert_eq!(found(&fixture, route, &sent), Found::This(view));
        assert_eq!(found(&fixture, route, &other), Found::NotYet);
    }

    #[test]
    fn a_ballot_that_decided_is_found_and_no_other_one() {
        let mut fixture = Fixture::with(3);
        let made = fixture.propose("trigger_snapshot", &json!({}));
        let proposal: ProposalId = made.proposal_id.parse().unwrap();
        let ballot = |fixture: &Fixture, by: usize, text: &str| {
            let content = json!({ "ballot": text }).to_string();
            let signer = &fixture.members[by];
            let envelope = signer.sign(Message::Ballot(proposal), NOW, content.as_bytes());
            (Route::SubmitBallot { proposal, member: signer.member() }, envelope)
        };
        let (route, sent) = ballot(&fixture, 1, YES);
        fixture.vote(0, &made);
        assert_eq!(found(&fixture, route, &sent), Found::NotYet);
        let decided = fixture.vote(1, &made);
        assert_eq!(found(&fixture, route, &sent), Found::This(Box::new(decided)));
        let (route, other) = ballot(&fixture, 1, "export function vote () { return false; }");
        assert_eq!(found(&fixture, route, &other), Found::Another);
        let (route, late) = ballot(&fixture, 2, YES);
        assert_eq!(found(&fixture, route, &late), Found::Another);
        fixture.pass("trigger_ledger_chunk", &json!({}));
        assert_eq!(found(&fixture, route, &sent), Found::Another, "it is forgotten");
    }

    #[test]
    fn only_what_it_may_have_done_itself_is_looked_up() {
        use coco_governance::ErrorCode;
        let id = ProposalId(coco_types::Digest([1; 32]));
        let member = MemberId(coco_types::Digest([2; 32]));
        let ballot = Route::SubmitBallot { proposal: id, member };
        for (route, code, expected) in [
            (Route::CreateProposal, ErrorCode::ProposalReplay, true),
            (Route::CreateProposal, ErrorCode::ProposalFailedToValidate, false),
            (ballot, ErrorCode::ProposalNotOpen, true),
            (ballot, ErrorCode::VoteAlreadyExists, false),
            (Route::WithdrawProposal(id), ErrorCode::ProposalNotOpen, false),
        ] {
            let error = GovernanceError::new(code, "so it is");
            assert_eq!(may_be_its_own_doing(route, &error), expected, "{route:?} {code:?}");
        }
    }

    #[test]
    fn each_member_has_places_of_its_own() {
        let member = |n: u8| Some(MemberId(coco_types::Digest([n; 32])));
        let places = Places::default();
        let mut taken: Vec<_> =
            (0..REQUESTS_BY_MEMBER_MAX).map(|_| places.take(member(1))).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(places.take(member(1)).is_none(), "it has its share");
        assert!(places.take(member(2)).is_some());
        assert!(places.take(None).is_some());
        taken.pop();
        assert!(places.take(member(1)).is_some(), "a place is given back");
        let full: Vec<_> = (0..u8::MAX).map_while(|n| places.take(member(n))).collect();
        assert_eq!(full.len() + taken.len(), REQUESTS_MAX);
        drop((taken, full));
        assert!(places.0.lock().is_empty());
    }
}

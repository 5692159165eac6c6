//! What members do to bring their service back, and what they do wrong.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use coco_crypto::{Certificate, RecoveryShare};
use coco_governance::{
    ErrorCode, MemberId, Message, ProposalId, Reply, Route,
    tables::{self, ProposalState},
};
use coco_kv::MapName;
use coco_ledger::{EntryView, LedgerSecrets, ServiceStatus, singleton_key};
use coco_replica::{GovernRequest, RecoverSecrets};
use serde_json::{Value, json};

use super::reborn::{Reborn, Refused};
use crate::{
    dice::Dice,
    marks::Marks,
    members::{SHARES, decrypted, id, signed},
    private::Private,
};

/// How often members begin again with what a crash came between.
const TRIES: u64 = 50;
/// How long members wait to see that nothing happens, in ticks.
const NOTHING_TICKS: u32 = 30;

/// Members at work on one service, while other operators may begin some of the same ledger.
pub(super) struct Recovering<'a> {
    pub(super) node: &'a mut Reborn,
    pub(super) rivals: &'a mut [Reborn],
    /// Those who are members, and those who were.
    pub(super) are: &'a mut Vec<usize>,
    pub(super) were: &'a mut Vec<usize>,
    pub(super) dice: &'a mut Dice,
    pub(super) marks: &'a mut Marks,
    pub(super) private: &'a Private,
}

impl Recovering<'_> {
    /// Opens the service that members mean, and gives its secrets back; whether it could. It cannot where `are_lost` says that too
    /// few shares are left.
    ///
    /// # Panics
    /// When it does not come back, or anything wrong has an effect.
    pub(super) fn bring_back(
        &mut self,
        previous: &Certificate,
        before: &[Bytes],
        are_lost: bool,
    ) -> bool {
        self.open(previous);
        self.do_wrong(before);
        self.send_shares(before, are_lost);
        if are_lost {
            self.marks.reach("too many shares were lost, and the public ledger was left");
            return false;
        }
        self.node.wait("it opens", |node| node.status() == Some(ServiceStatus::Open));
        for rival in &*self.rivals {
            assert_eq!(rival.status(), Some(ServiceStatus::Recovering), "members meant the other");
            let is_whole = rival.replica().state().read().secrets().is_whole();
            assert!(!is_whole, "members gave the other one the secrets of before");
        }
        true
    }

    /// Opens the service that members mean: it waits for shares from then on.
    ///
    /// # Panics
    /// When it cannot be opened, its node runs code that members have not admitted, or anything wrong has an effect.
    pub(super) fn open(&mut self, previous: &Certificate) {
        self.node.wait_to_lead();
        assert_eq!(self.node.status(), Some(ServiceStatus::Recovering));
        assert!(self.node.runs_admitted_code(), "members look at the code before they open");
        let first = self.are[0];
        let early = self.send_share(first, &self.share(first));
        assert!(
            is_refused(&early, ErrorCode::ServiceNotWaitingForRecoveryShares),
            "a share came before its time: {early:?}"
        );
        self.marks.reach("a share was sent before the service was opened, and refused");
        let service = self.service_pem();
        if self.dice.per_mille(300) {
            let _failed = self.decide(OPEN, &opening(&service, &service));
            let _failed = self.decide(OPEN, &opening(&previous.pem(), &previous.pem()));
            assert_eq!(self.node.status(), Some(ServiceStatus::Recovering), "not this service");
        }
        let opened = self.decide(OPEN, &opening(&previous.pem(), &service));
        opened.expect("members may open their service");
        assert_eq!(self.node.status(), Some(ServiceStatus::WaitingForRecoveryShares));
    }

    /// Goes no further than too few shares: members look, or open the service, or send all shares but one.
    pub(super) fn bring_back_in_part(&mut self, previous: &Certificate) {
        let shares = self.dice.one_of(&[None, Some(0), Some(usize::from(SHARES) - 1)]);
        let Some(shares) = shares else { return self.node.wait_to_lead() };
        self.open(previous);
        for member in self.are.clone().into_iter().take(shares) {
            let sent = self.send_share(member, &self.share(member));
            assert!(sent.is_ok(), "a share is not taken: {sent:?}");
        }
        assert_eq!(self.node.status(), Some(ServiceStatus::WaitingForRecoveryShares));
    }

    /// Members leave a service closed: its node runs code that they have not admitted, which all can read. One of them does not
    /// look, votes for it and sends a share.
    ///
    /// # Panics
    /// When nobody can read it, the service opens, or its node gets a secret of before.
    pub(super) fn leave_closed(&mut self, previous: &Certificate) {
        self.node.wait_to_lead();
        assert!(!self.node.runs_admitted_code(), "what it runs was never admitted");
        let careless = self.are[self.dice.place(self.are.len())];
        let args = opening(&previous.pem(), &self.service_pem());
        let state = self.settle(OPEN, &args, |member| member == careless);
        assert!(matches!(state, Ok(ProposalState::Rejected)), "one vote opens nothing: {state:?}");
        let sent = self.send_share(careless, &self.share(careless));
        assert!(
            is_refused(&sent, ErrorCode::ServiceNotWaitingForRecoveryShares),
            "a share for a service that members leave closed: {sent:?}"
        );
        assert_eq!(self.node.status(), Some(ServiceStatus::Recovering));
        let is_whole = self.node.replica().state().read().secrets().is_whole();
        assert!(!is_whole, "a node of other code has the secrets of before");
        self.marks.reach(
            "members left a recovery closed whose node runs code that they had not admitted",
        );
    }

    fn service_pem(&self) -> String {
        self.node.keys.certificate().expect("it is real").pem()
    }

    /// Members remove one of them.
    pub(super) fn remove_one(&mut self) {
        let gone = self.are[self.dice.place(self.are.len())];
        let args = json!({ "member_id": id(gone).to_string() });
        self.decide("remove_member", &args).expect("the others suffice");
        self.are.retain(|member| *member != gone);
        self.were.push(gone);
    }

    /// A member's share of the last sharing, as the node hands it out.
    fn share(&self, member: usize) -> Vec<u8> {
        let encrypted = self.node.encrypted_share(&id(member).to_string()).expect("it has one");
        let share = opened(member, &encrypted);
        self.private.add(&share);
        share
    }

    fn send_share(&mut self, member: usize, share: &[u8]) -> Result<Reply, Refused> {
        let content = json!({ "share": STANDARD.encode(share) }).to_string();
        let route = Route::SubmitRecoveryShare(id(member));
        self.ask(&signed(member, route, Message::RecoveryShare, &content, self.node.now_s()))
    }

    /// Asks the node that members mean. The others hear the same.
    fn ask(&mut self, request: &GovernRequest) -> Result<Reply, Refused> {
        for rival in &mut *self.rivals {
            let _heard: Result<Reply, Refused> = rival.ask(request);
        }
        self.node.ask(request)
    }

    /// Sends what is no share, or somebody else's, or an older one.
    fn do_wrong(&mut self, before: &[Bytes]) {
        let at = self.dice.place(self.are.len());
        let (member, other) = (self.are[at], self.are[(at + 1) % self.are.len()]);
        let mut wrong = self.share(member);
        let at = self.dice.between(4, wrong.len() as u64 - 1);
        wrong[usize::try_from(at).expect("a share is short")] ^= 1;
        let mut wrongs = vec![
            (wrong, "a wrong share was refused"),
            (self.share(other), "another member's share was refused"),
        ];
        if let Some(older) = older_share(before, member) {
            self.private.add(&older);
            wrongs.push((older, "an older share was refused"));
        }
        for (share, mark) in wrongs {
            let refused = self.send_share(member, &share);
            assert!(is_refused(&refused, ErrorCode::InvalidInput), "{mark}: {refused:?}");
            self.marks.reach(mark);
        }
        for gone in self.were.clone() {
            let older = older_share(before, gone).expect("it had one");
            let refused = self.send_share(gone, &older);
            assert!(refused.is_err(), "n{gone} is no member: {refused:?}");
            self.marks.reach("a share of a member that had left was refused");
        }
        assert_eq!(self.node.status(), Some(ServiceStatus::WaitingForRecoveryShares));
    }

    /// Sends shares, until there are enough of them; all but one where the others are lost.
    fn send_shares(&mut self, before: &[Bytes], are_lost: bool) {
        let (first, count) = (self.dice.place(self.are.len()), self.are.len());
        let enough: Vec<usize> =
            (0..usize::from(SHARES)).map(|at| self.are[(first + at) % count]).collect();
        let shares: Vec<Vec<u8>> = enough.iter().map(|member| self.share(*member)).collect();
        let offline = secrets_of(before, &shares);
        for (sent, (member, share)) in enough.iter().zip(&shares).enumerate() {
            if sent + 1 == shares.len() {
                if are_lost {
                    return;
                }
                self.send_last(*member, share);
                continue;
            }
            for _ in 0..2 {
                match self.send_share(*member, share) {
                    Ok(Reply::RecoveryProgress(progress)) => {
                        assert_eq!(progress.submitted_count, sent + 1, "each counts once");
                    }
                    other => panic!("a share is not taken: {other:?}"),
                }
                self.marks.reach("a share that was sent twice counted once");
            }
            for _ in 0..NOTHING_TICKS {
                self.node.tick();
            }
            assert_eq!(self.node.status(), Some(ServiceStatus::WaitingForRecoveryShares));
            self.marks.reach("too few shares gave nothing");
        }
        let state = self.node.replica().state();
        let state = state.read();
        let came_back = state.secrets().periods().iter();
        let came_back: Vec<_> = came_back.collect();
        // And the one of the service that came back.
        let is_one_more = came_back.len() == offline.periods().len() + 1;
        let same = is_one_more
            && came_back.into_iter().zip(offline.periods()).all(|(here, there)| {
                here.from == there.from
                    && here.secret.secret().expose() == there.secret.secret().expose()
            });
        assert!(same, "shares give a node what they give without one");
        self.marks.reach_if(offline.periods().len() > 1, "a ledger with several secrets came back");
    }

    /// Sends the share that is enough; again, when the node loses what it gave before it was sealed.
    fn send_last(&mut self, member: usize, share: &[u8]) {
        for _ in 0..TRIES {
            let sent = self.send_share(member, share);
            // The answer may come when all is over.
            let is_over = is_refused(&sent, ErrorCode::ServiceNotWaitingForRecoveryShares);
            assert!(sent.is_ok() || is_over, "the last share: {sent:?}");
            if self.node.replica().state().read().secrets().is_whole() {
                return;
            }
        }
        panic!("all shares are there, and the secrets are not");
    }

    /// Has members decide on something, as often as it takes.
    ///
    /// # Errors
    /// What it is refused with, when it is to be carried out.
    pub(super) fn decide(&mut self, name: &str, args: &Value) -> Result<(), Refused> {
        match self.settle(name, args, |_| true)? {
            ProposalState::Accepted => Ok(()),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// Has members vote on something, each as it approves, as often as it takes; what became of it.
    fn settle(
        &mut self,
        name: &str,
        args: &Value,
        approves: impl Fn(usize) -> bool,
    ) -> Result<ProposalState, Refused> {
        let content = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        for attempt in 0..TRIES {
            let at = self.node.now_s() + attempt;
            let by = self.are[self.dice.place(self.are.len())];
            let request = signed(by, Route::CreateProposal, Message::Proposal, &content, at);
            let proposal = match self.ask(&request) {
                Ok(Reply::Proposal(view)) => view.proposal_id.parse().expect("an id"),
                Ok(other) => panic!("{name} is answered {other:?}"),
                Err(error) if Reborn::is_replay(&error) => continue,
                Err(error) => return Err(error),
            };
            if let Some(state) = self.vote(proposal, &approves)? {
                return Ok(state);
            }
        }
        panic!("{name} is never decided");
    }

    /// Members vote, until it is decided. Nothing, when a crash took the proposal first.
    fn vote(
        &mut self,
        proposal: ProposalId,
        approves: impl Fn(usize) -> bool,
    ) -> Result<Option<ProposalState>, Refused> {
        for member in self.are.clone() {
            let state = self.node.row(tables::PROPOSALS_INFO, proposal.to_string().as_bytes());
            let Some(state) = state else { return Ok(None) };
            if state["state"] != "Open" {
                break;
            }
            let vote = approves(member);
            let ballot =
                format!("export function vote (proposal, proposerId) {{ return {vote}; }}");
            let content = json!({ "ballot": ballot }).to_string();
            let route = Route::SubmitBallot { proposal, member: id(member) };
            let message = Message::Ballot(proposal);
            let request = signed(member, route, message, &content, self.node.now_s());
            match self.ask(&request) {
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.code,
                        ErrorCode::VoteAlreadyExists
                            | ErrorCode::ProposalNotOpen
                            | ErrorCode::ProposalNotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        let row = self.node.row(tables::PROPOSALS_INFO, proposal.to_string().as_bytes());
        Ok(row.and_then(|row| serde_json::from_value(row["state"].clone()).ok()))
    }
}

/// What members decide on who open a service.
const OPEN: &str = "transition_service_to_open";

fn opening(previous: &str, next: &str) -> Value {
    json!({ "previous_service_identity": previous, "next_service_identity": next })
}

fn is_refused(reply: &Result<Reply, Refused>, code: ErrorCode) -> bool {
    reply.as_ref().is_err_and(|error| error.code == code)
}

fn opened(member: usize, encrypted: &str) -> Vec<u8> {
    let encrypted = STANDARD.decode(encrypted).expect("base64");
    decrypted(member, &encrypted).expect("it is the member's").expose().to_vec()
}

/// The first share that a member was given, if there was another sharing after it.
fn older_share(ledger: &[Bytes], member: usize) -> Option<Vec<u8>> {
    let map = MapName::from_static(tables::RECOVERY_SHARES);
    let name: MemberId = id(member);
    let mut sharings = 0;
    let mut shares = ledger.iter().filter_map(|entry| {
        let entry = EntryView::parse(entry).expect("ledgers hold entries");
        let writes = entry.public_writes().expect("writes can be read");
        let row: Value = serde_json::from_slice(writes.get(&map, singleton_key())?).expect("a row");
        sharings += 1;
        let encrypted = row["encrypted_shares"][name.to_string()].as_str()?;
        Some(opened(member, encrypted))
    });
    let first = shares.next();
    shares.for_each(drop);
    first.filter(|_| sharings > 1)
}

/// What shares give whoever has the ledger's public entries, and no node.
fn secrets_of(ledger: &[Bytes], shares: &[Vec<u8>]) -> LedgerSecrets {
    let mut read = RecoverSecrets::new();
    for entry in ledger {
        let entry = EntryView::parse(entry).expect("ledgers hold entries");
        read.entry(&entry).expect("it is one of a ledger");
    }
    let decode = |share: &Vec<u8>| RecoveryShare::decode(share).expect("it is a share");
    let shares: Vec<RecoveryShare> = shares.iter().map(decode).collect();
    read.of_shares(&shares).expect("there are enough of them")
}

//! Recovery drills: all nodes are lost at once, in the middle of everything, and members bring their service back from what is
//! left: from the disks that an operator finds, or from a copy that somebody made while a node wrote.
//!
//! ```text
//!   a world under faults ─▶ all power goes ─▶ copies: each is read, and is whole or says why not
//!        the furthest one ─▶ a service that begins anew ─▶ members open it, and send shares ─▶ it goes on
//!                        ├─▶ another operator's, which members do not mean
//!                        ├─▶ one whose node runs other code, which they leave closed
//!                        └─▶ one that is lost before it opens
//! ```
//!
//! Each seed draws which copies there are, what is done wrong on the way, and when the power goes again. What was committed
//! comes back if a disk is left that has it; a receipt shows where it does not.

mod copies;
mod members;
mod other_code;
mod reborn;
mod unopened;

use std::mem;

use bytes::Bytes;
use coco_crypto::{Certificate, sha256};
use coco_evm::state;
use coco_ledger::{GenesisNode, LedgerSecret, LedgerSecrets, ServiceStatus};
use coco_replica::{Loader, NewService, Settings};
use coco_types::{Digest, Seqno};
use serde_json::json;

use self::{
    copies::{Best, Copies, From},
    members::Recovering,
    other_code::ADMITTED,
    reborn::Reborn,
};
use crate::{
    audit,
    check::image,
    dice::Dice,
    ethereum::{self, Model, Seen, VALUE_MAX},
    folder::{Faults, SimFolder},
    genesis::{DoubleCipher, Keys, START_S, node_record},
    machine::{Down, SNAPSHOT_FOLDER, in_full},
    marks::Marks,
    members::{MEMBERS, SHARES},
    periods,
    plan::{Micros, Plan, Restart},
    private::Private,
    world::{Report, World},
};

/// States that a hundred drills must reach, each of them.
pub const REQUIRED: [&str; 32] = [
    "a service came back from a snapshot and its tail",
    "a service came back from the disks of all its nodes",
    "a service came back from the disks of some of its nodes",
    "a service came back from a copy that was made before",
    "everything that was committed came back",
    "something that was committed was in no copy that could be used",
    "a copy lacked what a receipt proves, and was refused",
    "a damaged copy was refused",
    "a copy that does not begin with the first entry was refused",
    "the power went while a ledger was copied for a recovery",
    "the power went in the middle of a recovery",
    "the power went while a service that came back was loaded",
    "the power went before the secrets that came back were sealed",
    "a share was sent before the service was opened, and refused",
    "a wrong share was refused",
    "another member's share was refused",
    "an older share was refused",
    "a share that was sent twice counted once",
    "a share of a member that had left was refused",
    "too few shares gave nothing",
    "too many shares were lost, and the public ledger was left",
    "members opened one of two recoveries",
    "a service that had been recovered was recovered again",
    "a ledger with several secrets came back",
    "a service that came back got another secret",
    "members left a recovery closed whose node runs code that they had not admitted",
    "a service came back beside one whose node runs code that members had not admitted",
    "a node of other code got neither a place nor a secret in a service that came back",
    "a node of admitted code waited for members in a service that came back",
    "a recovery that was never opened was refused as the service that was lost",
    "a recovery was lost before it opened and came back from the copy of before",
    "a recovery was lost before it opened and came back from what it left",
];

/// What the dice of drills begin with, beside the seed.
const DRILL_DICE: u64 = 0x4452_494c_4c5f_5f5f;
/// And those of what is kept of a ledger.
const TAIL_DICE: u64 = 0x5441_494c_5f5f_5f5f;
/// Of a thousand drills, so many are of ledgers whose first chunks nobody has kept.
const TAILS: u64 = 300;
/// Most nodes of a network that is lost.
const NODES_MAX: usize = 5;
/// Most transfers that clients begin before.
const TRANSFERS_BEFORE: u64 = 60;
/// How many they send after each recovery.
const TRANSFERS: u64 = 6;

/// Makes the drill of a seed.
///
/// # Panics
/// When anything does not hold that must: the seed repeats it.
#[must_use]
pub fn drill(seed: u64) -> Report {
    let mut dice = Dice::new(seed.rotate_left(24) ^ DRILL_DICE);
    let mut dice_of_world = Dice::new(seed);
    let plan = plan(&mut dice_of_world, &mut dice);
    let backup_us = dice.between(1, plan.safety_us / 1_000_000) * 1_000_000;
    let remains = World::perish(seed, plan.clone(), dice_of_world, backup_us);
    let service = remains.keys.certificate().expect("its keys are real").clone();
    let mut drill = Drill {
        seed,
        plan: plan_after(plan),
        marks: remains.marks.clone(),
        begun: remains.begun,
        time: remains.time,
        clients: remains.clients,
        private: remains.private.clone(),
        services: vec![service],
        done: remains.done,
        receipts: 0,
        ledger: remains.committed.clone(),
        are: (0..MEMBERS).collect(),
        were: Vec::new(),
        dice,
    };
    let mut copies = Copies::of_nodes(&remains, &mut drill.dice);
    let mut tail_dice = Dice::new(seed.rotate_left(24) ^ TAIL_DICE);
    if tail_dice.per_mille(TAILS) {
        copies.leave_tails(&mut tail_dice);
    }
    let back = drill.bring_back(&copies, (&remains.keys, 1, &remains.committed));
    if let Some(mut first) = back.filter(|_| drill.dice.per_mille(300)) {
        let before = first.node.machine.ledger.clone();
        first.node.machine.go_down(Down::Dark, &mut drill.dice);
        let copies = Copies::of_one(&first.node);
        let _again: Option<Back> =
            drill.bring_back(&copies, (&first.node.keys, first.began, &before));
    }
    let ledger = &drill.ledger;
    let digest = ledger
        .iter()
        .fold(remains.digest, |digest, entry| sha256(&[&digest[..], entry].concat()).0);
    Report {
        digest,
        committed: drill.done,
        entries: ledger.len(),
        audited: drill.receipts,
        states: 0,
        reads: 0,
        time_us: drill.time,
        faults: remains.faults.iter().map(|(fault, acts)| (fault.name(), *acts)).collect(),
        marks: drill.marks,
    }
}

/// What a seed decides of the world that is lost. Members have shares there, and no clock jumps: what a member signs would be
/// of another time.
fn plan(dice_of_world: &mut Dice, dice: &mut Dice) -> Plan {
    let mut plan = Plan::draw(dice_of_world);
    plan.draw_snapshots(dice);
    plan.draw_hosts(dice);
    plan.draw_density(dice);
    (plan.faults.clock, plan.faults.drift) = (None, None);
    let safety_us = dice.between(3, 10) * 1_000_000;
    Plan {
        nodes: plan.nodes.min(NODES_MAX),
        transfers: plan.transfers.min(TRANSFERS_BEFORE),
        govern_us: Some(dice.one_of(&[200_000, 1_000_000])),
        governed_us: dice.one_of(&[300, 5_000]),
        rekeys: dice.one_of(&[0, 200, 500]),
        has_shares: true,
        real_keys: true,
        is_reckless: false,
        safety_us,
        ..plan
    }
}

/// The same for a service that comes back with one node, which goes on from its own disk.
fn plan_after(plan: Plan) -> Plan {
    Plan {
        nodes: 1,
        newcomers: 0,
        removals: 0,
        restart: Restart::FromDisk,
        settings: Settings { snapshot_entries: 0, ..plan.settings },
        ..plan
    }
}

/// What goes on through all recoveries of a seed.
struct Drill {
    seed: u64,
    plan: Plan,
    dice: Dice,
    marks: Marks,
    private: Private,
    time: Micros,
    clients: usize,
    /// How many transfers clients have begun.
    begun: u64,
    /// How many of them they know to be committed.
    done: usize,
    /// How many receipts were held against copies.
    receipts: usize,
    /// The services that followed one another.
    services: Vec<Certificate>,
    /// What there is in the end.
    ledger: Vec<Bytes>,
    /// Who is a member, and who was.
    are: Vec<usize>,
    were: Vec<usize>,
}

/// A service that came back.
struct Back {
    node: Reborn,
    /// Its first entry.
    began: u64,
}

impl Drill {
    /// Brings the service back whose entries from one on these were. Nothing, when there is no copy to begin from.
    fn bring_back(
        &mut self,
        copies: &Copies,
        (keys, from, committed): (&Keys, u64, &[Bytes]),
    ) -> Option<Back> {
        let previous = self.services.last().expect("one was lost").clone();
        let best = self.read(copies, &previous, (keys, from, committed))?;
        let is_whole = best.entries.starts_with(committed);
        let (best, unopened) = self.lose_one_unopened(best, &previous);
        let other = self.begin_with_other_code(&best, &previous);
        let began = best.entries.len() as u64 + 1;
        let generation = self.services.len();
        let mut node = self.begin(&best, &format!(" after {generation}"), ADMITTED);
        let is_rivalled = self.dice.per_mille(300);
        let mut rivals: Vec<Reborn> = is_rivalled
            .then(|| self.begin(&best, &format!(" beside {generation}"), ADMITTED))
            .into_iter()
            .collect();
        node.fragile = self.dice.one_of(&[0, 5, 30]);
        self.services.push(node.keys.certificate().expect("it is real").clone());
        for node in rivals.iter_mut().chain([&mut node]) {
            node.start();
        }
        let is_beside_other = other.is_some();
        rivals.extend(other);
        let are_lost = self.dice.per_mille(100);
        let mut members = self.members(&mut node, &mut rivals);
        let is_back = members.bring_back(&previous, &best.entries, are_lost);
        if !is_back {
            node.come_to_rest();
            self.judge_public(&node);
            self.ledger.clone_from(&node.machine.ledger);
            return None;
        }
        self.note_back(copies.from, is_whole, best.reach.snapshot.is_some());
        unopened.into_iter().for_each(|mark| self.marks.reach(mark));
        self.marks.reach_if(is_rivalled, "members opened one of two recoveries");
        self.marks.reach_if(
            is_beside_other,
            "a service came back beside one whose node runs code that members had not admitted",
        );
        self.meet_other_code(&mut node);
        self.go_on(&mut node);
        self.judge(&node);
        self.ledger.clone_from(&node.machine.ledger);
        Some(Back { node, began })
    }

    /// The furthest copy, as whoever brings the service back finds it. With all disks there it has everything that was committed.
    fn read(
        &mut self,
        copies: &Copies,
        previous: &Certificate,
        (keys, from, committed): (&Keys, u64, &[Bytes]),
    ) -> Option<Best> {
        let at = Seqno(self.dice.between(from, committed.len() as u64));
        let receipt = audit::receipt(keys, committed, &periods::of_ledger(committed), at);
        self.receipts += 1;
        let is_wanted = self.dice.per_mille(500);
        let marks = &mut self.marks;
        let best = copies.best(previous, committed, (at, &receipt, is_wanted), marks)?;
        let is_complete = matches!(copies.from, From::AllDisks | From::OnlyDisk);
        // A disk that had everything may be one that nobody can begin from.
        let is_complete = is_complete && !copies.may_lack(Seqno(committed.len() as u64));
        assert!(
            best.entries.starts_with(committed) || !is_complete,
            "something that was committed is gone with all disks left"
        );
        Some(best)
    }

    /// Notes from what the service came back, and how much of it.
    fn note_back(&mut self, from: From, is_whole: bool, is_tail: bool) {
        self.marks.reach(match from {
            From::AllDisks => "a service came back from the disks of all its nodes",
            From::OnlyDisk => "a service that had been recovered was recovered again",
            From::SomeDisks => "a service came back from the disks of some of its nodes",
            From::Backup => "a service came back from a copy that was made before",
        });
        self.marks.reach(match is_whole {
            true => "everything that was committed came back",
            false => "something that was committed was in no copy that could be used",
        });
        self.marks.reach_if(is_tail, "a service came back from a snapshot and its tail");
        let is_again = is_tail && from == From::OnlyDisk;
        self.marks.reach_if(is_again, "a service came back twice from one snapshot");
    }

    /// Does what not all drills do, so many of a thousand, on dice of its own: everything else draws as it would without it.
    fn aside<T>(
        &mut self,
        (word, per_mille): (u64, u64),
        act: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let word = word ^ self.services.len() as u64;
        let mut dice = Dice::new(self.seed.rotate_left(24) ^ word);
        if !dice.per_mille(per_mille) {
            return None;
        }
        let kept = mem::replace(&mut self.dice, dice);
        let came = act(self);
        self.dice = kept;
        Some(came)
    }

    /// Members at work on a node, while other operators have some of the same ledger.
    fn members<'a>(&'a mut self, node: &'a mut Reborn, rivals: &'a mut [Reborn]) -> Recovering<'a> {
        Recovering {
            node,
            rivals,
            are: &mut self.are,
            were: &mut self.were,
            dice: &mut self.dice,
            marks: &mut self.marks,
            private: &self.private,
        }
    }

    /// The files of a node with which the service begins anew, and which runs this code. The power may go while they are made;
    /// then they are made again.
    fn begin(&mut self, best: &Best, word: &str, code_digest: Digest) -> Reborn {
        let keys = Keys::real_of(self.seed, 1, word);
        let secret = LedgerSecret::new(&self.dice.bytes());
        self.private.add(secret.secret().expose());
        let signer = keys.signer(0);
        let service = NewService {
            certificate: keys.certificate().expect("it is real"),
            node: &GenesisNode { code_digest, ..node_record(signer.as_ref(), 0) },
            signer: signer.as_ref(),
            cipher: &DoubleCipher::new(0),
            secret: &secret,
            now: START_S + self.time / 1_000_000,
        };
        loop {
            let folder = SimFolder::default();
            folder.watch(&self.private);
            let operations_left = self.dice.per_mille(300).then(|| self.dice.below(20));
            folder.set_faults(Faults { operations_left, ..Faults::default() });
            let snapshots = folder.folder(SNAPSHOT_FOLDER);
            match best.reach.recover((&folder, &snapshots), state::schema(), &service) {
                Ok(given) => {
                    // It is durable: nothing of it goes with the power.
                    folder.set_faults(Faults::default());
                    folder.lose_power(&mut self.dice);
                    let entries = best.all_entries(&folder);
                    assert!(entries.starts_with(&best.entries), "it begins with what there was");
                    let dice = Dice::new(self.dice.bits());
                    let (plan, private) = (self.plan.clone(), self.private.clone());
                    let files = (folder, entries, given);
                    return Reborn::new((keys, plan), files, (self.time, dice), private);
                }
                Err(error) => {
                    let is_dark = folder.faults().is_dark();
                    assert!(is_dark, "it does not begin: {}", in_full(&error));
                    self.marks.reach("the power went while a ledger was copied for a recovery");
                }
            }
        }
    }

    /// Clients and members go on with a service that came back.
    fn go_on(&mut self, node: &mut Reborn) {
        let mut nonces: Vec<u64> =
            (0..self.clients).map(|client| self.seen(node, client).nonce).collect();
        for _ in 0..TRANSFERS {
            let client = self.dice.place(self.clients);
            let to = ethereum::account(self.dice.place(self.clients));
            self.begun += 1;
            let value = self.dice.between(1, VALUE_MAX);
            let marker = self.private.marker(b't', self.begun);
            node.send(&ethereum::transfer(client, nonces[client], (to, value), marker));
            nonces[client] += 1;
            self.done += 1;
        }
        if self.dice.per_mille(700) {
            let removes = self.dice.per_mille(600) && self.are.len() > usize::from(SHARES);
            let mut members = self.members(node, &mut []);
            let secrets = |node: &Reborn| node.replica().state().read().secrets().periods().len();
            let before = secrets(members.node);
            if removes {
                members.remove_one();
            } else {
                members.decide("trigger_ledger_rekey", &json!({})).expect("the service is open");
            }
            assert!(secrets(members.node) > before, "the ledger got another secret");
            self.marks.reach("a service that came back got another secret");
        }
        node.come_to_rest();
        self.time = node.time;
        self.marks.merge(&node.marks);
    }

    fn seen(&self, node: &Reborn, client: usize) -> Seen {
        let replica = node.replica();
        let at = replica.state().read().committed().seqno;
        let account = ethereum::account(client);
        ethereum::look(&replica.reader(), at, account).expect("the last state is kept")
    }

    /// Holds the whole ledger against the rules, and the node's state against it.
    fn judge(&self, node: &Reborn) {
        let ledger = &node.machine.ledger;
        let secrets = periods::of_ledger(ledger);
        let held = node.replica().state().read().secrets().encode();
        assert!(held.expose() == secrets.encode().expose(), "it has the ledger's secrets");
        secrets.periods().iter().for_each(|period| {
            self.private.add(period.secret.secret().expose());
        });
        let mut model = Model::new(self.clients);
        for entry in ledger {
            self.private.shown(entry);
            model.take(entry, &secrets);
        }
        assert!(model.is_whole(self.clients), "money was made or lost");
        assert!(is_of_ledger(node, secrets.clone()), "it lives in another state than its ledger's");
        for client in 0..self.clients {
            let seen = self.seen(node, client);
            assert_eq!(seen, model.expect(seen.seqno, seen.account), "it holds what was written");
        }
        audit::check(&self.services, ledger, Some(&secrets));
        audit::check_governance(ledger);
    }

    /// Holds what everybody can read against the rules: more there is not, when too many shares are lost.
    fn judge_public(&self, node: &Reborn) {
        assert_eq!(node.status(), Some(ServiceStatus::WaitingForRecoveryShares));
        self.audit_public(&self.services, node);
    }

    /// A node with which the service begins anew beside the one that members mean. It has started, and its power may go.
    fn begin_aside(&mut self, best: &Best, word: &str, code_digest: Digest) -> Reborn {
        let mut node = self.begin(best, word, code_digest);
        node.fragile = self.dice.one_of(&[0, 5, 30]);
        node.start();
        node
    }

    /// Audits the ledger of a service that is none of those that members opened, once it is at rest.
    fn audit_beside(&self, node: &mut Reborn) {
        node.come_to_rest();
        let own = node.keys.certificate().expect("it is real").clone();
        self.audit_public(&[&self.services[..], &[own]].concat(), node);
    }

    /// Audits the ledger of the last of these services, as who has no secret of it.
    fn audit_public(&self, services: &[Certificate], node: &Reborn) {
        let ledger = &node.machine.ledger;
        ledger.iter().for_each(|entry| self.private.shown(entry));
        audit::check(services, ledger, None);
        audit::check_governance(ledger);
    }
}

/// Whether a node lives in the state that its ledger makes from the first entry on.
fn is_of_ledger(node: &Reborn, secrets: LedgerSecrets) -> bool {
    let index_key = secrets.index_key();
    let mut loader = Loader::new(secrets, state::schema(), index_key, 0);
    for entry in &node.machine.ledger {
        loader.push(entry.clone(), false).expect("entries of a ledger can be loaded");
    }
    image(&loader.reader().head()) == image(&node.replica().reader().head())
}

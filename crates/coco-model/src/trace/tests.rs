//! Traces written by hand: one that is taken, and for each rule one that is not.

use super::*;

const A: NodeId = NodeId([1; 32]);
const B: NodeId = NodeId([2; 32]);
const C: NodeId = NodeId([3; 32]);
/// Not in the first configuration.
const D: NodeId = NodeId([4; 32]);

/// The view of the first entries.
const FIRST: u64 = 2;

fn entry(view: u64, seqno: u64, kind: EntryKind) -> TracedEntry {
    TracedEntry { tx_id: TxId::new(view, seqno), kind }
}

fn opening(view: u64, seqno: u64) -> TracedEntry {
    entry(view, seqno, EntryKind::Opening)
}

fn plain(view: u64, seqno: u64) -> TracedEntry {
    entry(view, seqno, EntryKind::Plain)
}

fn signature(view: u64, seqno: u64) -> TracedEntry {
    entry(view, seqno, EntryKind::Signature)
}

fn change(view: u64, seqno: u64, voters: &[NodeId], learners: &[NodeId]) -> TracedEntry {
    let members = Members { voters: voters.to_vec(), learners: learners.to_vec() };
    entry(view, seqno, EntryKind::Reconfigure(members))
}

fn first() -> Vec<TracedEntry> {
    vec![plain(FIRST, 1), signature(FIRST, 2)]
}

fn started(view: u64, vote: Option<NodeId>, more: &[TracedEntry], committed: u64) -> Event {
    let log = [first().as_slice(), more].concat();
    Event::Started(Started { view: View(view), vote, log, committed: Seqno(committed) })
}

fn step(view: u64, role: Role) -> Stepped {
    Stepped {
        view: View(view),
        role,
        ballot: None,
        truncate_to: None,
        append: Vec::new(),
        committed: None,
        token: None,
    }
}

fn stands(view: u64, me: NodeId) -> Event {
    let ballot = Some((View(view), Some(me)));
    Event::Stepped(Stepped { ballot, token: Some(view * 100), ..step(view, Role::Candidate) })
}

fn votes(view: u64, candidate: NodeId) -> Event {
    let ballot = Some((View(view), Some(candidate)));
    Event::Stepped(Stepped { ballot, token: Some(view * 100), ..step(view, Role::Backup) })
}

fn enters(view: u64) -> Event {
    let ballot = Some((View(view), None));
    Event::Stepped(Stepped { ballot, token: Some(view * 100), ..step(view, Role::Backup) })
}

fn proposes(view: u64, entries: &[TracedEntry]) -> Event {
    let append = entries.to_vec();
    let token = Some(view * 100 + entries.last().map_or(0, |entry| entry.tx_id.seqno.0));
    Event::Stepped(Stepped { append, token, ..step(view, Role::Primary) })
}

fn takes(view: u64, entries: &[TracedEntry]) -> Event {
    let append = entries.to_vec();
    let token = Some(view * 100 + entries.last().map_or(0, |entry| entry.tx_id.seqno.0));
    Event::Stepped(Stepped { append, token, ..step(view, Role::Backup) })
}

fn cuts(view: u64, to: u64, entries: &[TracedEntry]) -> Event {
    let Event::Stepped(stepped) = takes(view, entries) else { unreachable!("it is a step") };
    Event::Stepped(Stepped { truncate_to: Some(Seqno(to)), ..stepped })
}

fn commits(view: u64, role: Role, to: u64) -> Event {
    Event::Stepped(Stepped { committed: Some(Seqno(to)), ..step(view, role) })
}

/// Everything that any step handed out so far.
const ALL: Event = Event::Persisted(u64::MAX);

type Trace = Vec<(NodeId, Event)>;

fn start() -> Trace {
    [A, B, C].map(|node| (node, started(FIRST, None, &[], 2))).to_vec()
}

/// A is primary of view 3 by the vote of B, and has opened it.
fn elected() -> Trace {
    let mut trace = start();
    trace.extend([
        (A, stands(3, A)),
        (A, ALL),
        (B, votes(3, A)),
        (B, ALL),
        (A, proposes(3, &[opening(3, 3)])),
        (A, ALL),
    ]);
    trace
}

/// B has the opening entry too, and A has committed it.
fn open() -> Trace {
    let mut trace = elected();
    trace.extend([
        (B, takes(3, &[opening(3, 3)])),
        (B, ALL),
        (A, Event::Acknowledged(B, Seqno(3))),
        (A, commits(3, Role::Primary, 3)),
    ]);
    trace
}

/// D is a learner, and the joint change of C for D is committed on A, which is in the joint state.
fn joint() -> Trace {
    let change_1 = change(3, 4, &[A, B, C], &[D]);
    let change_2 = change(3, 5, &[A, B, D], &[]);
    let mut trace = open();
    trace.extend([
        (A, proposes(3, std::slice::from_ref(&change_1))),
        (A, ALL),
        (B, takes(3, std::slice::from_ref(&change_1))),
        (B, ALL),
        (A, commits(3, Role::Primary, 4)),
        (D, started(FIRST, None, &[], 2)),
        (D, enters(3)),
        (D, takes(3, &[opening(3, 3), change_1])),
        (A, proposes(3, std::slice::from_ref(&change_2))),
        (A, ALL),
        (B, takes(3, &[change_2])),
        (B, ALL),
        (A, commits(3, Role::Primary, 5)),
    ]);
    trace
}

fn run(trace: &[(NodeId, Event)]) -> Result<(), Rule> {
    let mut checker = Checker::new(&[A, B, C], &first());
    let mut taken = trace.iter().map(|(node, event)| checker.take(*node, event));
    taken.try_for_each(|taken| taken).map_err(|rejection| rejection.rule)
}

/// All but the last event are taken; the last one breaks this rule.
fn expect(mut before: Trace, more: &[(NodeId, Event)], rule: Rule) {
    before.extend_from_slice(more);
    let (_, all_but_last) = before.split_last().expect("there is an event");
    assert_eq!(run(all_but_last), Ok(()), "before the last event");
    assert_eq!(run(&before), Err(rule));
}

fn accept(mut before: Trace, more: &[(NodeId, Event)]) {
    before.extend_from_slice(more);
    assert_eq!(run(&before), Ok(()));
}

#[test]
fn a_view_from_its_election_to_a_final_entry() {
    let next = [plain(3, 4), signature(3, 5)];
    accept(
        open(),
        &[
            (A, Event::Final(Seqno(2))),
            (A, proposes(3, &next)),
            (B, takes(3, &next)),
            (A, ALL),
            (B, ALL),
            (A, commits(3, Role::Primary, 5)),
            (A, Event::Final(Seqno(5))),
            (B, commits(3, Role::Backup, 5)),
            (B, Event::Final(Seqno(5))),
        ],
    );
}

#[test]
fn a_conflict_is_cut_and_replaced() {
    let lost = plain(3, 4);
    accept(
        open(),
        &[
            (A, proposes(3, &[lost])),
            (B, stands(4, B)),
            (B, ALL),
            (C, votes(4, B)),
            (C, ALL),
            (B, proposes(4, &[opening(4, 4)])),
            (A, enters(4)),
            (A, cuts(4, 3, &[opening(4, 4)])),
        ],
    );
}

#[test]
fn an_acknowledgement_may_leave_after_a_vote() {
    accept(
        elected(),
        &[
            (B, takes(3, &[opening(3, 3)])),
            (B, stands(4, B)),
            (B, ALL),
            (A, Event::Acknowledged(B, Seqno(3))),
        ],
    );
}

#[test]
fn a_voter_is_replaced_and_its_successor_counts() {
    let leave = entry(3, 6, EntryKind::Leave);
    let after = plain(3, 7);
    let joint_now = Members { voters: vec![A, B, D], learners: vec![] };
    accept(
        joint(),
        &[
            (A, Event::Applied(joint_now.clone(), Some(vec![A, B, C]))),
            (A, proposes(3, std::slice::from_ref(&leave))),
            (A, ALL),
            (B, takes(3, std::slice::from_ref(&leave))),
            (B, ALL),
            (A, commits(3, Role::Primary, 6)),
            (A, Event::Applied(joint_now, None)),
            (A, proposes(3, std::slice::from_ref(&after))),
            (A, ALL),
            (D, takes(3, &[change(3, 5, &[A, B, D], &[]), leave, after])),
            (D, ALL),
            (A, commits(3, Role::Primary, 7)),
        ],
    );
}

#[test]
fn a_network_of_one_elects_itself_and_waits_for_its_disk() {
    let mut checker = Checker::new(&[A], &first());
    let won = Stepped { ballot: Some((View(3), Some(A))), ..step(3, Role::Primary) };
    let won = Stepped { append: vec![opening(3, 3)], token: Some(1), ..won };
    let (begins, won) = (started(FIRST, None, &[], 2), Event::Stepped(won));
    // A crash takes the view with it, and it is won again.
    for event in [begins.clone(), won.clone(), begins, won] {
        assert_eq!(checker.take(A, &event), Ok(()));
    }
    let early = checker.take(A, &proposes(3, &[plain(3, 4)]));
    assert_eq!(early.map_err(|rejection| rejection.rule), Err(Rule::TooEarly(View(3))));
}

#[test]
fn nobody_acts_before_it_has_started() {
    expect(vec![], &[(A, stands(3, A))], Rule::NotStarted);
    expect(vec![], &[(D, stands(3, D))], Rule::NotStarted);
}

#[test]
fn a_start_keeps_what_was_durable() {
    let (durable, found) = (View(3), View(2));
    expect(elected(), &[(B, started(2, None, &[], 2))], Rule::ForgetsBallot { durable, found });
    let found = View(3);
    expect(elected(), &[(B, started(3, None, &[], 2))], Rule::ForgetsBallot { durable, found });
    let back = started(3, Some(A), &[], 2);
    expect(open(), &[(B, back)], Rule::ForgetsEntries { kept: 2, durable: 3 });
    accept(open(), &[(B, started(3, Some(A), &[opening(3, 3)], 2))]);
}

#[test]
fn a_start_may_drop_what_contradicts_a_commit() {
    let opens = [opening(4, 4)];
    let mut trace = open();
    trace.extend([
        (A, proposes(3, &[plain(3, 4), plain(3, 5)])),
        (A, ALL),
        (B, stands(4, B)),
        (B, ALL),
        (C, votes(4, B)),
        (C, ALL),
        (B, proposes(4, &opens)),
        (B, ALL),
        (C, takes(4, &[opening(3, 3), opening(4, 4)])),
        (C, ALL),
        (B, Event::Acknowledged(C, Seqno(4))),
    ]);
    let less = (A, started(3, Some(A), &[opening(3, 3)], 2));
    let forgets = Rule::ForgetsEntries { kept: 3, durable: 5 };
    expect(trace.clone(), std::slice::from_ref(&less), forgets);
    accept(trace, &[(B, commits(4, Role::Primary, 4)), less]);
}

#[test]
fn a_start_invents_nothing() {
    let invented = started(3, Some(A), &[plain(3, 3)], 2);
    expect(elected(), &[(B, invented)], Rule::Unmade(TxId::new(3, 3)));
    let opened = [opening(3, 3)];
    let back = started(3, Some(A), &opened, 3);
    expect(elected(), &[(A, back)], Rule::Commits { to: 3, known: 2 });
    expect(open(), &[(D, started(3, Some(A), &opened, 2))], Rule::HasVoted);
}

#[test]
fn a_ballot_only_grows() {
    let ballot = |own, next| Rule::Ballot { own: View(own), next: View(next) };
    expect(elected(), &[(B, votes(3, C))], ballot(3, 3));
    expect(elected(), &[(B, enters(2))], ballot(3, 2));
    let acts = (C, takes(3, &[opening(3, 3)]));
    expect(elected(), &[acts], Rule::View { view: View(3), ballot: View(2) });
}

#[test]
fn a_vote_goes_to_who_stands_and_has_no_less() {
    expect(start(), &[(B, votes(3, A))], Rule::VotesForNobody(View(3)));
    let (candidate, own) = (TxId::new(2, 2), TxId::new(3, 3));
    let shorter = [(C, stands(4, C)), (B, votes(4, C))];
    expect(open(), &shorter, Rule::VotesForShorter { candidate, own });
}

#[test]
fn only_voters_stand() {
    let stands = [(D, started(FIRST, None, &[], 2)), (D, stands(3, D))];
    expect(start(), &stands, Rule::NoVoter(View(3)));
}

#[test]
fn a_primary_has_durable_votes_of_a_quorum() {
    let wins = (A, proposes(3, &[opening(3, 3)]));
    let alone = [(A, stands(3, A)), (A, ALL), wins.clone()];
    expect(start(), &alone, Rule::NoQuorum(View(3)));
    let not_durable = [(A, stands(3, A)), (A, ALL), (B, votes(3, A)), wins.clone()];
    expect(start(), &not_durable, Rule::NoQuorum(View(3)));
    let own_not_durable = [(A, stands(3, A)), (B, votes(3, A)), (B, ALL), wins];
    expect(start(), &own_not_durable, Rule::NoQuorum(View(3)));
}

#[test]
fn the_joint_state_needs_both_majorities() {
    let wins = (A, proposes(4, &[opening(4, 6)]));
    let votes_of =
        |voter| [(A, stands(4, A)), (A, ALL), (voter, votes(4, A)), (voter, ALL), wins.clone()];
    // A and C are a majority of the old voters, and A alone is none of the new ones.
    expect(joint(), &votes_of(C), Rule::NoQuorum(View(4)));
    expect(joint(), &votes_of(D), Rule::NoQuorum(View(4)));
    accept(joint(), &votes_of(B));
}

#[test]
fn a_view_has_one_primary_in_one_life() {
    let again = [
        (A, started(3, Some(A), &[opening(3, 3)], 2)),
        (A, Event::Stepped(step(3, Role::Primary))),
    ];
    expect(elected(), &again, Rule::SecondPrimary(View(3)));
}

#[test]
fn a_primary_adds_to_its_own_view() {
    let adds = |found| Rule::Adds { view: View(3), found };
    expect(elected(), &[(A, proposes(3, &[plain(2, 4)]))], adds(TxId::new(2, 4)));
    expect(elected(), &[(A, proposes(3, &[opening(3, 4)]))], adds(TxId::new(3, 4)));
    let gap = Rule::Position { expected: 4, found: TxId::new(3, 5) };
    expect(elected(), &[(A, proposes(3, &[plain(3, 5)]))], gap);
    let unopened =
        [(A, stands(3, A)), (A, ALL), (B, votes(3, A)), (B, ALL), (A, proposes(3, &[plain(3, 3)]))];
    expect(start(), &unopened, adds(TxId::new(3, 3)));
}

#[test]
fn a_backup_takes_what_its_primary_has() {
    let takes_of = |entries: &[TracedEntry]| [(C, enters(3)), (C, takes(3, entries))];
    expect(start(), &takes_of(&[opening(3, 3)]), Rule::NoPrimary(View(3)));
    expect(elected(), &takes_of(&[signature(3, 3)]), Rule::Takes(TxId::new(3, 3)));
    let beyond = takes_of(&[opening(3, 3), plain(3, 4)]);
    expect(elected(), &beyond, Rule::Takes(TxId::new(3, 4)));
}

#[test]
fn only_conflicts_above_the_committed_position_are_cut() {
    let cut = |to, conflicts| Rule::Cuts { to, committed: 2, conflicts };
    expect(open(), &[(B, cuts(3, 2, &[opening(3, 3)]))], cut(2, false));
    expect(open(), &[(B, cuts(3, 1, &[opening(3, 2)]))], cut(1, true));
    let own = Stepped { truncate_to: Some(Seqno(2)), ..step(3, Role::Primary) };
    expect(elected(), &[(A, Event::Stepped(own))], cut(2, false));
}

#[test]
fn a_commit_is_on_the_disks_of_a_quorum() {
    let commits_3 = (A, commits(3, Role::Primary, 3));
    let refused = || Rule::Commits { to: 3, known: 2 };
    expect(elected(), std::slice::from_ref(&commits_3), refused());
    let not_durable = [(B, takes(3, &[opening(3, 3)])), commits_3];
    expect(elected(), &not_durable, refused());
    let backup = [(B, takes(3, &[opening(3, 3)])), (B, ALL), (B, commits(3, Role::Backup, 3))];
    expect(elected(), &backup, refused());
    let beyond = (A, commits(3, Role::Primary, 4));
    expect(open(), &[beyond], Rule::Commits { to: 4, known: 3 });
}

/// Figure 8 of the Raft paper: C and A have an entry of view 3, and C, primary of view 4, counts it.
#[test]
fn a_commit_ends_with_an_entry_of_the_own_view() {
    let opened = opening(3, 3);
    let trace = [
        (C, enters(3)),
        (C, takes(3, std::slice::from_ref(&opened))),
        (C, stands(4, C)),
        (C, ALL),
        (B, votes(4, C)),
        (B, ALL),
        (C, proposes(4, &[opening(4, 4)])),
        (B, takes(4, &[opened])),
        (B, ALL),
        (C, commits(4, Role::Primary, 3)),
    ];
    expect(elected(), &trace, Rule::Commits { to: 3, known: 2 });
}

#[test]
fn nobody_commits_another_entry() {
    let other = opening(4, 3);
    let trace = [
        (C, stands(4, C)),
        (C, ALL),
        (B, votes(4, C)),
        (B, ALL),
        (C, proposes(4, std::slice::from_ref(&other))),
        (C, ALL),
        (B, takes(4, &[other])),
        (B, ALL),
        (C, commits(4, Role::Primary, 3)),
        (A, commits(3, Role::Primary, 3)),
    ];
    expect(elected(), &trace, Rule::Disagrees(3));
    expect(open(), &[(A, commits(3, Role::Primary, 2))], Rule::Disagrees(3));
    let lost = started(3, Some(A), &[opening(3, 3)], 4);
    expect(open(), &[(B, lost)], Rule::Commits { to: 4, known: 3 });
}

#[test]
fn a_primary_counts_on_what_is_on_a_disk() {
    let counts = (A, Event::Acknowledged(B, Seqno(3)));
    let refused = || Rule::Acknowledged { said: 3, durable: 2 };
    expect(elected(), std::slice::from_ref(&counts), refused());
    expect(elected(), &[(B, takes(3, &[opening(3, 3)])), counts], refused());
}

#[test]
fn one_change_of_the_configuration_at_a_time() {
    let promote = |seqno| change(3, seqno, &[A, B, C, D], &[]);
    let early = [(A, proposes(3, &[promote(4)]))];
    expect(elected(), &early, Rule::Changes(TxId::new(3, 4)));
    let two = [(A, proposes(3, &[promote(4), change(3, 5, &[A, B, C], &[])]))];
    expect(open(), &two, Rule::Changes(TxId::new(3, 5)));
    expect(joint(), &[(A, proposes(3, &[promote(6)]))], Rule::Changes(TxId::new(3, 6)));
    let leave = |seqno| entry(3, seqno, EntryKind::Leave);
    expect(open(), &[(A, proposes(3, &[leave(4)]))], Rule::Changes(TxId::new(3, 4)));
    let twice = [(A, proposes(3, &[leave(6), leave(7)]))];
    expect(joint(), &twice, Rule::Changes(TxId::new(3, 7)));
}

#[test]
fn a_configuration_counts_from_its_commit_on() {
    let now = |voters: &[NodeId]| Members { voters: voters.to_vec(), learners: vec![] };
    expect(joint(), &[(A, Event::Applied(now(&[A, B, D]), None))], Rule::Applies);
    // B has the change and does not know that it is committed.
    let early = Event::Applied(now(&[A, B, D]), Some(vec![A, B, C]));
    expect(joint(), &[(B, early)], Rule::Applies);
}

#[test]
fn a_start_counts_by_what_the_log_implies() {
    let leave = entry(3, 6, EntryKind::Leave);
    let log = [opening(3, 3), change(3, 4, &[A, B, C], &[D]), change(3, 5, &[A, B, D], &[])];
    let now = Members { voters: vec![A, B, D], learners: vec![] };
    let trace = [
        (A, proposes(3, std::slice::from_ref(&leave))),
        (B, takes(3, std::slice::from_ref(&leave))),
        (B, ALL),
        (B, started(3, Some(A), &[log.as_slice(), &[leave]].concat(), 2)),
        (B, Event::Applied(now, Some(vec![A, B, C]))),
    ];
    accept(joint(), &trace);
    let mut forgets = trace.to_vec();
    forgets[4].1 = Event::Applied(Members { voters: vec![A, B, C], learners: vec![] }, None);
    expect(joint(), &forgets, Rule::Applies);
}

#[test]
fn a_start_counts_by_what_the_log_says_to_be_in_effect() {
    let leave = entry(3, 6, EntryKind::Leave);
    let said = entry(3, 7, EntryKind::InEffect);
    let early = [(A, proposes(3, &[leave.clone(), said.clone()]))];
    expect(joint(), &early, Rule::Changes(TxId::new(3, 7)));
    expect(
        joint(),
        &[(A, proposes(3, &[entry(3, 6, EntryKind::InEffect)]))],
        Rule::Changes(TxId::new(3, 6)),
    );
    let log = [opening(3, 3), change(3, 4, &[A, B, C], &[D]), change(3, 5, &[A, B, D], &[])];
    let now = || Members { voters: vec![A, B, D], learners: vec![] };
    let mut trace = vec![
        (A, proposes(3, std::slice::from_ref(&leave))),
        (B, takes(3, std::slice::from_ref(&leave))),
        (D, takes(3, &[log[2].clone(), leave.clone()])),
        (A, ALL),
        (B, ALL),
        (D, ALL),
        (A, Event::Acknowledged(B, Seqno(6))),
        (A, Event::Acknowledged(D, Seqno(6))),
        (A, commits(3, Role::Primary, 6)),
        (A, proposes(3, std::slice::from_ref(&said))),
        (B, takes(3, std::slice::from_ref(&said))),
        (B, ALL),
        (B, started(3, Some(A), &[log.as_slice(), &[leave, said]].concat(), 2)),
        (B, Event::Applied(now(), None)),
    ];
    accept(joint(), &trace);
    *trace.last_mut().expect("it has events") = (B, Event::Applied(now(), Some(vec![A, B, C])));
    expect(joint(), &trace, Rule::Applies);
}

#[test]
fn what_is_final_is_signed() {
    let said = (A, Event::Final(Seqno(3)));
    expect(open(), &[said], Rule::Final { said: 3, signed: 2 });
}

#[test]
fn identities_have_a_maximum() {
    let mut checker = Checker::new(&[], &first());
    let node = |number: u16| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_le_bytes());
        NodeId(id)
    };
    let most = u16::try_from(IDENTITIES_MAX).expect("a small number");
    for number in 0..most {
        assert_eq!(checker.take(node(number), &started(FIRST, None, &[], 2)), Ok(()));
    }
    let over = checker.take(node(most), &started(FIRST, None, &[], 2));
    assert_eq!(over.map_err(|rejection| rejection.rule), Err(Rule::Identities));
}

//! What only a test beside the code can see: refusals at the start, refusals of messages, and a peer that sends any
//! well-formed message at all.

use ::raft::{Error, GetEntriesContext, Storage as _, StorageError};
use proptest::prelude::*;

use super::{
    codec::{VoteAnswer, VoteRequest, WireEntry, tests::messages},
    *,
};
use crate::{ConfigurationError, Fetch, FetchId, Timing};

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn log(last: u64) -> Vec<LogEntry> {
    (1..=last)
        .map(|seqno| LogEntry { tx_id: TxId::new(2, seqno), data: Bytes::from_static(b"genesis") })
        .collect()
}

fn start(nodes: u8) -> Start {
    Start {
        me: node(1),
        configuration: Configuration::of((1..=nodes).map(node).collect()),
        pending: None,
        hard_state: HardState { view: View(2), vote: None },
        views: vec![(Seqno(1), View(2))],
        last: Seqno(4),
        committed: Seqno(2),
        recent: log(4),
        timing: Timing { heartbeat_ticks: 2, election_ticks_min: 10, election_ticks_max: 19 },
        seed: 1,
        limits: Limits::default(),
    }
}

fn refusal(change: impl FnOnce(&mut Start)) -> Option<StartError> {
    let mut start = start(3);
    change(&mut start);
    RaftEngine::new(start).err()
}

#[test]
fn a_start_that_contradicts_itself_is_refused() {
    assert_eq!(refusal(|_| ()), None);
    assert_eq!(refusal(|start| start.recent.clear()), None);
    assert_eq!(refusal(|start| drop(start.recent.remove(0))), None);
    let configuration = |error| Some(StartError::Configuration(error));
    let no_voter = configuration(ConfigurationError::NoVoter);
    assert_eq!(refusal(|start| start.configuration.voters.clear()), no_voter);
    assert_eq!(refusal(|start| start.me = node(9)), None);
    let waits = |at, voters: &[u8]| {
        let next = Configuration::of(voters.iter().copied().map(node).collect());
        refusal(|start| start.pending = Some((Seqno(at), next)))
    };
    assert_eq!(waits(4, &[1, 2]), None);
    assert_eq!(waits(5, &[1, 2]), Some(StartError::Pending(Seqno(5))));
    assert_eq!(waits(4, &[1]), Some(StartError::Pending(Seqno(4))));
    assert_eq!(refusal(|start| start.timing.election_ticks_max = 10), None);
    for wrong in [
        |timing: &mut Timing| timing.heartbeat_ticks = 0,
        |timing: &mut Timing| timing.heartbeat_ticks = 10,
        |timing: &mut Timing| timing.election_ticks_max = 9,
        |timing: &mut Timing| timing.election_ticks_max = u32::MAX,
    ] {
        assert!(matches!(refusal(|start| wrong(&mut start.timing)), Some(StartError::Timing(_))));
    }
    assert!(matches!(refusal(|start| start.limits.message_bytes = 0), Some(StartError::Limits(_))));
    assert!(matches!(
        refusal(|start| start.limits.message_bytes = 1 << 20),
        Some(StartError::Limits(_))
    ));
    assert!(matches!(
        refusal(|start| start.committed = Seqno(5)),
        Some(StartError::Positions { .. })
    ));
    assert!(matches!(refusal(|start| start.last = Seqno(0)), Some(StartError::Positions { .. })));
    assert_eq!(refusal(|start| start.views.clear()), Some(StartError::Views { run: 0 }));
    assert_eq!(
        refusal(|start| start.views.push((Seqno(3), View(3)))),
        Some(StartError::Views { run: 1 })
    );
    assert_eq!(refusal(|start| start.views[0].0 = Seqno(2)), Some(StartError::Views { run: 0 }));
    let recent = StartError::Recent { expected: TxId::new(2, 4), found: TxId::new(2, 3) };
    assert_eq!(refusal(|start| drop(start.recent.pop())), Some(recent));
    assert_eq!(refusal(|start| start.hard_state.vote = Some(node(9))), None);
}

#[test]
fn the_entry_limit_holds_for_proposals() {
    let mut engine = RaftEngine::new(start(1)).expect("a good start");
    assert!(matches!(engine.propose(Bytes::from_static(b"x")), Err(ProposeError::NotOpened)));
    assert_eq!(engine.next_tx_id(), None);
    engine.poll();
    assert_eq!(engine.next_tx_id(), Some(TxId::new(3, 6)));
    assert!(matches!(engine.propose(Bytes::new()), Err(ProposeError::Empty)));
    let data = Bytes::from(vec![7; ENTRY_BYTES_MAX + 1]);
    let refused = ProposeError::TooLarge { bytes: ENTRY_BYTES_MAX + 1, limit: ENTRY_BYTES_MAX };
    assert_eq!(engine.propose(data.clone()), Err(refused));
    assert_eq!(engine.propose(data.slice(1..)), Ok(TxId::new(3, 6)));
    assert_eq!(engine.propose(data.slice(2..)), Ok(TxId::new(3, 7)));
}

#[test]
fn the_data_of_a_proposal_is_never_copied() {
    let mut engine = RaftEngine::new(start(1)).expect("a good start");
    engine.poll();
    let data = Bytes::from(vec![7; 1000]);
    engine.propose(data.clone()).expect("it is open");
    let output = engine.poll();
    assert_eq!(output.append[0].data.as_ptr(), data.as_ptr());
    assert_eq!(engine.storage().data(6).expect("in memory").as_ptr(), data.as_ptr());
}

#[test]
fn positions_that_no_peer_can_know_are_refused() {
    let mut engine = RaftEngine::new(start(3)).expect("a good start");
    let mut receive =
        |view, body| engine.receive(node(2), &Message { view: View(view), body }.encode());
    let missing = ReceiveError::Missing { said: Seqno(5), last: Seqno(4) };
    assert_eq!(receive(2, Body::Heartbeat { commit: Seqno(5) }), Err(missing));
    assert_eq!(receive(2, Body::Heartbeat { commit: Seqno(4) }), Ok(()));
    assert_eq!(engine.committed(), Seqno(4));
    let heartbeat = Message { view: View(2), body: Body::Heartbeat { commit: Seqno(4) } }.encode();
    assert_eq!(engine.receive(node(1), &heartbeat), Err(ReceiveError::Sender(node(1))));
    assert_eq!(
        engine.receive(NodeId([0; 32]), &heartbeat),
        Err(ReceiveError::Sender(NodeId([0; 32])))
    );
    assert!(matches!(
        engine.receive(node(2), &heartbeat.slice(1..)),
        Err(ReceiveError::Malformed(_))
    ));
}

#[test]
fn whoever_speaks_is_heard_however_many_have_spoken_before() {
    let mut engine = RaftEngine::new(start(3)).expect("a good start");
    let say = |body| Message { view: View(2), body }.encode();
    let heartbeat = say(Body::Heartbeat { commit: Seqno(2) });
    engine.receive(node(2), &heartbeat).expect("it leads");
    let seen = say(Body::HeartbeatSeen { commit: Seqno(2) });
    for n in 0..2 * KNOWN_MAX {
        let mut id = [0xff; 32];
        id[..4].copy_from_slice(&u32::try_from(n).expect("small").to_be_bytes());
        engine.receive(NodeId(id), &seen).expect("a node of the network");
        assert!(engine.known.len() < KNOWN_MAX);
    }
    assert_eq!(engine.primary(), Some(node(2)));
    engine.receive(node(3), &heartbeat).expect_err("the primary is another");
    engine.campaign();
    let asked: BTreeSet<NodeId> = engine.poll().send.into_iter().map(|(to, _)| to).collect();
    assert_eq!(asked, BTreeSet::from([2, 3].map(node)), "whoever votes is never forgotten");
}

#[test]
fn a_vote_counts_only_for_a_request_that_was_sent() {
    let mut engine = RaftEngine::new(start(3)).expect("a good start");
    let mut receive = |from, view, body| {
        let message = Message { view: View(view), body }.encode();
        engine.receive(node(from), &message).map(|()| engine.role())
    };
    // An entry that is not on disk when the election begins.
    let entries = vec![WireEntry { view: View(2), data: Bytes::from_static(b"a") }];
    let append = Body::Append { previous: TxId::new(2, 4), commit: Seqno(2), entries };
    assert_eq!(receive(2, 2, append), Ok(Role::Backup));
    assert_eq!(receive(2, 2, Body::TakeOver), Ok(Role::Candidate));
    let vote = |granted| Body::Voted(VoteAnswer { granted, commit: TxId::default() });
    assert_eq!(receive(2, 3, vote(true)), Err(ReceiveError::Unasked));
    assert_eq!(receive(2, 3, vote(false)), Ok(Role::Candidate));
    let output = engine.poll();
    assert_eq!((output.append.len(), output.send.len()), (1, 0));
    engine.persisted(output.persist.expect("an entry and a vote"));
    // The acknowledgement of the entry and the two requests.
    assert_eq!(engine.poll().send.len(), 3);
    let vote = Message { view: View(3), body: vote(true) }.encode();
    engine.receive(node(3), &vote).expect("it was asked for");
    assert_eq!(engine.role(), Role::Primary);
}

/// Makes the first of the nodes a candidate of view 3, whose requests are on their way.
fn candidate(start: Start) -> RaftEngine {
    let mut engine = RaftEngine::new(start).expect("a good start");
    let take_over = Message { view: View(2), body: Body::TakeOver };
    engine.receive(node(2), &take_over.encode()).expect("of the primary");
    let output = engine.poll();
    engine.persisted(output.persist.expect("its own vote"));
    engine.poll();
    assert_eq!(engine.role(), Role::Candidate);
    engine
}

fn answer(engine: &mut RaftEngine, from: u8, granted: bool, commit: TxId) {
    let body = Body::Voted(VoteAnswer { granted, commit });
    let vote = Message { view: View(3), body }.encode();
    engine.receive(node(from), &vote).expect("it was asked for");
}

/// The others count by a configuration without it; it hears so with the votes.
#[test]
fn a_candidate_that_learns_that_it_has_left_is_none_any_more() {
    let mut start = start(4);
    start.pending = Some((Seqno(4), Configuration::of([2, 3, 4].map(node).to_vec())));
    let mut engine = candidate(start);
    answer(&mut engine, 2, false, TxId::new(2, 4));
    assert_eq!(engine.configuration().voters.len(), 3);
    for from in [3, 4] {
        answer(&mut engine, from, true, TxId::default());
    }
    assert_eq!((engine.role(), engine.primary()), (Role::Backup, None));
}

/// Who was heard of does not depend on when the primary last checked that it has a quorum.
#[test]
fn a_primary_knows_who_is_silent_once_it_has_led_for_long_enough() {
    let mut engine = candidate(start(3));
    answer(&mut engine, 2, true, TxId::default());
    assert_eq!(engine.role(), Role::Primary);
    for tick in 0..40 {
        let seen = Message { view: View(3), body: Body::HeartbeatSeen { commit: Seqno(2) } };
        if tick % 2 == 0 {
            engine.receive(node(2), &seen.encode()).expect("it is heard");
        }
        let found: Vec<_> = engine.progress().iter().map(|p| (p.active, p.silent)).collect();
        let silent = (false, tick >= 10);
        assert_eq!(found, [(true, false), (true, false), silent], "after {tick} ticks");
        engine.tick();
    }
}

/// It may be one that was removed, and has its own ideas of what is committed.
#[test]
fn nobody_but_the_primary_says_what_is_committed() {
    let mut engine = RaftEngine::new(start(3)).expect("a good start");
    let heartbeat = |commit| {
        Message { view: View(2), body: Body::Heartbeat { commit: Seqno(commit) } }.encode()
    };
    engine.receive(node(2), &heartbeat(2)).expect("it leads");
    let other = ReceiveError::OtherPrimary { said: node(9), primary: node(2) };
    assert_eq!(engine.receive(node(9), &heartbeat(5)), Err(other));
}

#[test]
fn what_was_overwritten_since_a_fetch_is_not_sent() {
    let Start { views, last, limits, .. } = start(3);
    let mut storage =
        LogStorage::new(::raft::RaftState::default(), &views, last, Vec::new(), limits);
    let ask = |storage: &LogStorage| {
        storage.entries(2, 5, None, GetEntriesContext::empty(true)).map(|found| found.len())
    };
    let later = Error::Store(StorageError::LogTemporarilyUnavailable);
    assert_eq!(ask(&storage), Err(later));
    assert!(ask(&storage).is_err());
    let fetch =
        Fetch { id: FetchId(0), from: Seqno(2), to: Seqno(4), bytes_max: limits.message_bytes };
    assert_eq!(storage.take_fetches(), [fetch], "asked for once, however often it is wanted");
    storage.truncate(3);
    storage.append(TxId::new(3, 4), Bytes::from_static(b"new"));
    assert_eq!(
        storage.put_fetched(FetchId(0), log(4).split_off(1)),
        Some((2, 4)),
        "entry 2.4 is void"
    );
    assert_eq!(ask(&storage), Ok(2));
    storage.drop_fetched();
    assert!(ask(&storage).is_err());
    assert_eq!(
        storage.put_fetched(FetchId(1), log(3).split_off(2)),
        None,
        "an answer that begins too late"
    );
    assert_eq!(storage.put_fetched(FetchId(7), log(3).split_off(1)), None, "never asked for");
}

/// A proposal that no poll has handed out yet.
fn proposed() -> (RaftEngine, TxId) {
    let mut engine = candidate(start(3));
    answer(&mut engine, 2, true, TxId::default());
    engine.poll();
    let id = engine.propose(Bytes::from_static(b"mine")).expect("it is open");
    (engine, id)
}

/// An append that names the places of what was proposed, at a node that has not yet told anybody.
#[test]
fn a_message_before_the_poll_leaves_a_proposal_as_it_was() {
    for view in [2, 4] {
        let (mut engine, id) = proposed();
        let entries = vec![WireEntry { view: View(2), data: Bytes::from_static(b"other") }; 2];
        let append = Body::Append { previous: TxId::new(2, 4), commit: Seqno(2), entries };
        let append = Message { view: View(view), body: append };
        engine.receive(node(2), &append.encode()).expect("well-formed");
        let output = engine.poll();
        let data: Vec<&[u8]> = output.append.iter().map(|entry| &*entry.data).collect();
        if view == 2 {
            assert_eq!((output.append[0].tx_id, data), (id, vec![&b"mine"[..]]));
        } else {
            assert_eq!(output.truncate_to, Some(Seqno(4)));
            assert_eq!(data, [b"other"; 2]);
        }
    }
}

/// Somebody goes on to speak to a node whose disk hangs.
#[test]
fn what_waits_for_a_disk_that_hangs_has_a_bound() {
    let mut engine = RaftEngine::new(start(3)).expect("a good start");
    let entries = vec![WireEntry { view: View(2), data: Bytes::from_static(b"a") }];
    let append = Body::Append { previous: TxId::new(2, 4), commit: Seqno(2), entries };
    let mut say = |from, body| {
        let message = Message { view: View(2), body }.encode();
        engine.receive(node(from), &message).expect("well-formed");
        let output = engine.poll();
        (output.persist, output.send.len(), engine.status().messages_held)
    };
    let (token, sent, held) = say(2, append.clone());
    assert_eq!((sent, held), (0, 1));
    for commit in 0..10_000 {
        let (_, sent, held) = say(2, Body::Heartbeat { commit: Seqno(2 + commit % 3) });
        // One answer for each entry that is learned to be committed; else the newest stands for those before.
        assert!(sent == 0 && held <= 4, "{sent} sent, {held} held");
    }
    let before = say(2, append.clone()).2;
    assert_eq!(say(2, append).2, before, "nor is anything said twice");
    for view in 3..10_000 {
        let last = TxId::new(2, 9);
        let request = VoteRequest { last, commit: TxId::default(), by_transfer: true };
        let message = Message { view: View(view), body: Body::PreVote(request) }.encode();
        engine.receive(node(3), &message).expect("well-formed");
        assert!(engine.status().messages_held <= 4 + held::MESSAGES_MAX);
    }
    engine.persisted(token.expect("an entry"));
    let said: Vec<_> = engine.poll().send.iter().map(|(_, said)| said.clone()).collect();
    let seen = Message { view: View(2), body: Body::HeartbeatSeen { commit: Seqno(4) } }.encode();
    assert_eq!(said.iter().filter(|said| **said == seen).count(), 1);
    assert_eq!(engine.status().messages_held, 0);
}

/// Alone it needs nobody's vote, and its own log may be on its way to the disk.
#[test]
fn a_sole_voter_stands_when_all_it_has_is_on_its_disk() {
    let ways: [fn(&mut RaftEngine); 4] = [
        RaftEngine::campaign,
        |engine| (0..100).for_each(|_| engine.tick()),
        |engine| {
            let take_over = Message { view: View(4), body: Body::TakeOver }.encode();
            engine.receive(node(2), &take_over).expect_err("not now");
        },
        |engine| {
            let refused = Body::PreVoted(VoteAnswer { granted: false, commit: TxId::default() });
            let refused = Message { view: View(4), body: refused }.encode();
            engine.receive(node(2), &refused).expect_err("never asked");
        },
    ];
    for way in ways {
        let mut engine = RaftEngine::new(start(1)).expect("a good start");
        let output = engine.poll();
        engine.persisted(output.persist.expect("its opening entry"));
        let entries = vec![WireEntry { view: View(4), data: Bytes::from_static(b"a") }];
        let append = Body::Append { previous: TxId::new(3, 5), commit: Seqno(2), entries };
        let append = Message { view: View(4), body: append };
        engine.receive(node(2), &append.encode()).expect("it was a voter once");
        way(&mut engine);
        assert_eq!(engine.role(), Role::Backup);
        let output = engine.poll();
        engine.persisted(output.persist.expect("an entry and a view"));
        engine.campaign();
        assert_eq!(engine.role(), Role::Primary);
    }
}

#[test]
fn only_who_votes_stands_for_election() {
    let outside = |start: &mut Start| start.me = node(9);
    let learner = |start: &mut Start| {
        start.configuration = Configuration::of(vec![node(2)]);
        start.configuration.learners.push(node(1));
    };
    for change in [outside as fn(&mut Start), learner] {
        let mut start = start(3);
        change(&mut start);
        let mut engine = RaftEngine::new(start).expect("a good start");
        engine.poll();
        engine.campaign();
        assert_eq!((engine.role(), engine.poll().send.len()), (Role::Backup, 0));
    }
}

/// A long ledger of one view, of which little is at hand.
fn long(committed: u64) -> Start {
    let last = Seqno(5_000_000);
    Start { last, committed: Seqno(committed), recent: Vec::new(), ..start(3) }
}

/// How many positions the crate asks about for one message.
fn asked(engine: &mut RaftEngine, view: u64, body: Body) -> (u64, Result<(), ReceiveError>) {
    let before = engine.storage().asked.get();
    let message = Message { view: View(view), body }.encode();
    let taken = engine.receive(node(2), &message);
    (engine.storage().asked.get() - before, taken)
}

#[test]
fn nobody_makes_a_node_walk_back_through_its_log() {
    let hint = TxId::new(1, 5_000_000);
    let mut primary = candidate(long(5_000_000));
    answer(&mut primary, 2, true, TxId::default());
    let refused = Body::Refused { previous: Seqno(5_000_000), hint, commit: Seqno(2) };
    let (steps, taken) = asked(&mut primary, 3, refused);
    assert_eq!(taken, Ok(()));
    assert!(steps < 100, "{steps}");

    let append = Body::Append { previous: hint, commit: Seqno(2), entries: Vec::new() };
    let mut backup = RaftEngine::new(long(4_999_999)).expect("a good start");
    let (steps, taken) = asked(&mut backup, 2, append.clone());
    let committed = TxId::new(2, 4_999_999);
    assert_eq!(taken, Err(ReceiveError::Contradicts { previous: hint, committed }));
    assert!(steps < 100, "{steps}");
    assert_eq!(asked(&mut backup, 1, append).1, Ok(()), "an older view is answered");
}

/// The position is the one that the crate would find by itself.
#[test]
fn the_end_of_the_views_up_to_one_is_found() {
    let Start { last, limits, .. } = start(3);
    let views = [(Seqno(1), View(2)), (Seqno(3), View(5))];
    let storage = LogStorage::new(::raft::RaftState::default(), &views, last, Vec::new(), limits);
    for seqno in 0..=4 {
        for view in 1..7 {
            let slow = (0..=seqno).rev().find(|at| storage.view_at(*at).unwrap_or(0) <= view);
            assert_eq!(Some(storage.last_up_to(seqno, view)), slow, "{view}.{seqno}");
        }
    }
}

/// There is an end of views, and no election after it.
#[test]
fn a_stranger_leads_nobody_into_a_view_that_is_far_away() {
    let mut start = start(3);
    start.pending = Some((Seqno(4), Configuration::of([1, 2, 3, 4].map(node).to_vec())));
    let mut engine = RaftEngine::new(start).expect("a good start");
    let mut say = |from, view: u64| {
        let body = Body::Heartbeat { commit: Seqno(2) };
        let message = Message { view: View(view), body }.encode();
        engine.receive(node(from), &message).map(|()| engine.view().0)
    };
    let limit = 2 + far_view::VIEWS_AHEAD_MAX;
    let far = |said| Err(ReceiveError::FarView { said: View(said), limit: View(limit) });
    assert_eq!(say(9, View::MAX.0), far(View::MAX.0));
    assert_eq!(say(9, limit - 1), Ok(limit - 1));
    assert_eq!(say(9, limit), Ok(limit));
    assert_eq!(say(9, limit + 1), far(limit + 1), "nothing of a newer view is committed");
    assert_eq!(say(4, limit + 1), Ok(limit + 1));
    assert_eq!(say(2, 2 * limit), Ok(2 * limit));
    assert_eq!(
        say(9, 2 * limit),
        Err(ReceiveError::OtherPrimary { said: node(9), primary: node(2) })
    );
}

#[derive(Clone, Debug)]
enum Event {
    Message(u8, Message),
    Tick(u8),
    Campaign,
    Poll,
    Persisted,
    Propose,
    Transfer(u8),
    Fetched(u64, u64, bool),
    Unreachable(u8),
}

fn events() -> impl Strategy<Value = Event> {
    // Messages near the state of the engine reach further than any.
    let near = (0..4u64, messages()).prop_map(|(view, mut message)| {
        let mut newest = 0;
        if let Body::Append { entries, previous, .. } = &message.body {
            newest = entries.last().map_or(previous.view.0, |entry| entry.view.0);
        }
        message.view = View((2 + view).max(newest));
        message
    });
    prop_oneof![
        4 => (2..4u8, messages()).prop_map(|(from, message)| Event::Message(from, message)),
        12 => (2..4u8, near).prop_map(|(from, message)| Event::Message(from, message)),
        3 => (1..30u8).prop_map(Event::Tick),
        2 => Just(Event::Campaign),
        4 => Just(Event::Poll),
        4 => Just(Event::Persisted),
        2 => Just(Event::Propose),
        1 => (0..5u8).prop_map(Event::Transfer),
        1 => (0..4u64, 0..9u64, any::<bool>()).prop_map(|(id, from, good)| Event::Fetched(id, from, good)),
        1 => (0..5u8).prop_map(Event::Unreachable),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn no_well_formed_message_makes_the_engine_panic(
        events in prop::collection::vec(events(), 1..60), recent in 0..3usize,
    ) {
        let mut start = start(3);
        start.recent.drain(..recent * 2);
        start.limits.window_bytes = 100;
        let mut engine = RaftEngine::new(start).expect("a good start");
        let mut token = None;
        for event in events {
            match event {
                Event::Message(from, message) => drop(engine.receive(node(from), &message.encode())),
                Event::Tick(ticks) => (0..ticks).for_each(|_| engine.tick()),
                Event::Campaign => engine.campaign(),
                Event::Poll => token = engine.poll().persist.or(token),
                Event::Persisted => token.into_iter().for_each(|token| engine.persisted(token)),
                Event::Propose => drop(engine.propose(Bytes::from_static(b"data"))),
                Event::Transfer(to) => drop(engine.transfer_to(node(to))),
                Event::Fetched(id, from, true) => engine.fetched(FetchId(id), Ok(log(9).split_off(usize::try_from(from)?))),
                Event::Fetched(id, from, false) => {
                    let why = if from == 0 { FetchFailed::Archived } else { FetchFailed::Unreadable };
                    engine.fetched(FetchId(id), Err(why));
                }
                Event::Unreachable(peer) => engine.unreachable(node(peer)),
            }
        }
    }
}

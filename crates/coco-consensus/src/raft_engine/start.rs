//! From what a node knows at its start to an engine, after checking that it can be true.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
};

use ::raft::{
    Config, RaftState, RawNode,
    eraftpb::{ConfState, HardState as RaftHardState},
};
use coco_types::{
    NodeId, Seqno, TxId, View,
    limits::{ENTRY_BYTES_MAX, PEER_MESSAGE_BYTES_MAX},
};

use super::{RaftEngine, Timeouts, codec, contacts::Contacts, storage::LogStorage};
use crate::{Output, Start, StartError, configuration::raft_id};

pub(super) fn engine(start: Start) -> Result<RaftEngine, StartError> {
    check_configuration(&start)?;
    check_timing(&start)?;
    check_limits(&start)?;
    check_log(&start)?;

    let Start { hard_state, last, committed, timing, limits, .. } = start;
    let mut durable = RaftHardState::default();
    let vote = hard_state.vote.map_or(0, raft_id);
    (durable.term, durable.vote, durable.commit) = (hard_state.view.0, vote, committed.0);
    let ids = |nodes: &[NodeId]| nodes.iter().copied().map(raft_id).collect();
    let conf_state = ConfState {
        voters: ids(&start.configuration.voters),
        voters_outgoing: ids(&start.configuration.outgoing),
        learners: ids(&start.configuration.learners),
        ..ConfState::default()
    };
    let initial = RaftState { hard_state: durable, conf_state };
    let me = raft_id(start.me);
    let storage = LogStorage::new(initial, &start.views, last, start.recent, limits);
    let min = ticks(timing.election_ticks_min);
    let config = Config {
        id: me,
        election_tick: min,
        heartbeat_tick: ticks(timing.heartbeat_ticks),
        min_election_tick: min,
        max_election_tick: ticks(timing.election_ticks_max) + 1,
        applied: committed.0,
        max_size_per_msg: limits.message_bytes as u64,
        max_inflight_msgs: limits.inflight_messages,
        check_quorum: true,
        pre_vote: true,
        ..Config::new(me)
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let node = RawNode::new(&config, storage, &logger).expect("the start was checked");
    let choices = u64::from(timing.election_ticks_max - timing.election_ticks_min) + 1;
    let mut engine = RaftEngine {
        me: start.me,
        known: BTreeMap::new(),
        configuration: start.configuration,
        pending: None,
        limits,
        node,
        timeouts: Timeouts::new(start.seed, min, choices),
        contacts: Contacts::new(u64::from(timing.election_ticks_min)),
        output: Output::default(),
        polled_last: last.0,
        polled_commit: committed.0,
        polled_role: None,
        polled_token: 0,
        hard_state,
        staged: BTreeMap::new(),
        held: VecDeque::new(),
        uncommitted: VecDeque::new(),
        uncommitted_bytes: 0,
    };
    engine.get_to_know(hard_state.vote);
    engine.get_to_know(engine.configuration.nodes().collect::<Vec<_>>());
    if let Some((at, next)) = start.pending {
        engine.expect_configuration(at, next);
    }
    engine.drain();
    Ok(engine)
}

fn check_configuration(start: &Start) -> Result<(), StartError> {
    start.configuration.check().map_err(StartError::Configuration)?;
    if let Some((at, next)) = &start.pending
        && (*at > start.last || !start.configuration.may_become(next))
    {
        return Err(StartError::Pending(*at));
    }
    Ok(())
}

fn check_timing(start: &Start) -> Result<(), StartError> {
    let timing = start.timing;
    let ascending = timing.heartbeat_ticks < timing.election_ticks_min
        && timing.election_ticks_min <= timing.election_ticks_max;
    let right = NonZeroU32::new(timing.heartbeat_ticks).is_some()
        && ascending
        && timing.election_ticks_max < TICKS_MAX;
    if right { Ok(()) } else { Err(StartError::Timing(timing)) }
}

fn check_limits(start: &Start) -> Result<(), StartError> {
    let limits = start.limits;
    let some =
        limits.message_bytes > 0 && limits.inflight_messages > 0 && limits.uncommitted_bytes > 0;
    // A new entry of any size may join a message that is otherwise full.
    let room = PEER_MESSAGE_BYTES_MAX
        - ENTRY_BYTES_MAX
        - codec::FIXED_BYTES_MAX
        - codec::WIRE_ENTRY_BYTES_MIN;
    if some && limits.message_bytes <= room { Ok(()) } else { Err(StartError::Limits(limits)) }
}

fn check_log(start: &Start) -> Result<(), StartError> {
    let Start { hard_state, last, committed, .. } = *start;
    let view = hard_state.view;
    if last == Seqno::ZERO || committed > last || view > View::MAX {
        return Err(StartError::Positions { last, committed, view });
    }
    let mut before: Option<(Seqno, View)> = None;
    for (run, (seqno, run_view)) in start.views.iter().enumerate() {
        let ascends = before.map_or(*seqno == Seqno(1) && *run_view > View(0), |(s, v)| {
            *seqno > s && *run_view > v
        });
        if !ascends || *seqno > last || *run_view > view {
            return Err(StartError::Views { run });
        }
        before = Some((*seqno, *run_view));
    }
    if before.is_none() {
        return Err(StartError::Views { run: 0 });
    }
    let view_of = |seqno: u64| {
        let run = start.views.partition_point(|(first, _)| first.0 <= seqno);
        run.checked_sub(1).and_then(|run| start.views.get(run)).map_or(View(0), |(_, view)| *view)
    };
    for (entry, back) in start.recent.iter().rev().zip(0..) {
        let seqno = last.0.saturating_sub(back);
        let expected = TxId { view: view_of(seqno), seqno: Seqno(seqno) };
        if seqno == 0 || entry.tx_id != expected {
            return Err(StartError::Recent { expected, found: entry.tx_id });
        }
    }
    Ok(())
}

fn ticks(ticks: u32) -> usize {
    usize::try_from(ticks).expect("a u32 fits a usize on every platform that has room for a node")
}

/// Longer than anybody waits for an election, and far from overflow.
const TICKS_MAX: u32 = 1 << 24;

use std::{collections::BTreeMap, time::Duration};

use coco_client::reply::{ConsensusConfiguration, ConsensusDetails, ConsensusNode, NodeState};

use super::{super::Level, *};
use crate::{codes::Code, fault::Fault};

const VOTERS: [&str; 3] = ["aaaa", "bbbb", "cccc"];

/// A node that follows the first of the voters, all in view 2.
fn said(id: &str) -> Said {
    let nodes: BTreeMap<String, ConsensusNode> = VOTERS
        .iter()
        .map(|id| ((*id).to_owned(), ConsensusNode { address: String::new() }))
        .collect();
    Said {
        state: NodeState {
            node_id: id.to_owned(),
            state: "PartOfNetwork".to_owned(),
            last_signed_seqno: 0,
            startup_seqno: 0,
            stop_notice: false,
            recovery_target_seqno: None,
            last_recovered_seqno: None,
        },
        consensus: ConsensusDetails {
            acks: BTreeMap::new(),
            configs: vec![ConsensusConfiguration { nodes, ..ConsensusConfiguration::default() }],
            current_view: 2,
            leadership_state: "Follower".to_owned(),
            learners: BTreeMap::new(),
            membership_state: "Active".to_owned(),
            primary_id: Some(VOTERS[0].to_owned()),
            reconfiguration_type: "OneTransaction".to_owned(),
            retirement_phase: None,
            ticking: true,
        },
        commit: "2.5000".parse().ok(),
        certificate: None,
        clock_ahead_s: Some(0),
        took: Duration::from_millis(3),
        metrics: String::new(),
    }
}

/// The first so many voters, each changed by a function.
fn voters(count: usize, change: impl Fn(usize, &mut Said)) -> Vec<Asked> {
    let nodes = VOTERS.iter().take(count).enumerate().map(|(i, id)| {
        let mut said = said(id);
        change(i, &mut said);
        Asked { id: (*id).to_owned(), address: format!("{id}:1"), said: Ok(said) }
    });
    nodes.collect()
}

fn pairs(asked: &[Asked]) -> Vec<(&Asked, &Said)> {
    asked.iter().filter_map(|node| Some((node, node.said.as_ref().ok()?))).collect()
}

#[test]
fn nodes_that_agree_are_well() {
    let asked = voters(3, |_, _| {});
    let said = pairs(&asked);
    for check in [primary(&said), quorum(&said), lag(&said), clocks(&said), disks(&said)] {
        assert_eq!(check.level, Level::Ok, "{check:?}");
    }
    assert!(asked.iter().all(|node| silent(node).is_none()));
}

#[test]
fn nodes_that_name_other_primaries_are_named() {
    let asked = voters(3, |i, said| {
        if i == 2 {
            said.consensus.primary_id = None;
        }
    });
    let check = primary(&pairs(&asked));
    assert_eq!(check.level, Level::Failure);
    assert_eq!(check.found, "aaaa names aaaa, bbbb names aaaa, cccc names none");
}

#[test]
fn a_quorum_is_counted_among_voters_that_answer() {
    for (count, level) in
        [(3, Level::Ok), (2, Level::Warning), (1, Level::Failure), (0, Level::Failure)]
    {
        let asked = voters(count, |_, _| {});
        let check = quorum(&pairs(&asked));
        assert_eq!(check.level, level, "{count}: {check:?}");
    }
    // While one configuration replaces another, each needs its own.
    let asked = voters(3, |_, said| {
        let alone = BTreeMap::from([("dddd".to_owned(), ConsensusNode { address: String::new() })]);
        said.consensus
            .configs
            .push(ConsensusConfiguration { nodes: alone, ..ConsensusConfiguration::default() });
    });
    assert_eq!(quorum(&pairs(&asked)).level, Level::Failure);
}

#[test]
fn what_lags_and_what_is_off_is_named() {
    let asked = voters(3, |i, said| {
        if i == 1 {
            said.commit = "2.3999".parse().ok();
            said.clock_ahead_s = Some(-3);
            said.metrics = "coco_fsync_seconds_bucket{le=\"0.0001\"} 0\n\
                            coco_fsync_seconds_bucket{le=\"0.1024\"} 5\n\
                            coco_fsync_seconds_bucket{le=\"+Inf\"} 5\n"
                .to_owned();
        }
    });
    let said = pairs(&asked);
    let check = lag(&said);
    assert_eq!((check.level, &*check.found), (Level::Warning, "bbbb lags by 1001 entries"));
    let check = clocks(&said);
    assert_eq!((check.level, &*check.found), (Level::Warning, "bbbb is -3 s from this machine's"));
    let check = disks(&said);
    assert_eq!(check.level, Level::Warning);
    assert!(check.found.contains("102.4 ms, on bbbb"), "{}", check.found);
}

#[test]
fn a_node_without_an_answer_and_one_that_is_another_are_named() {
    let [mut node] = <[Asked; 1]>::try_from(voters(1, |_, _| {})).unwrap();
    node.id = "eeee".to_owned();
    assert_eq!(silent(&node).unwrap().level, Level::Warning);
    node.said = Err(Fault::new(Code::Unreachable, "aaaa:1"));
    let check = silent(&node).unwrap();
    assert_eq!(check.level, Level::Failure);
    assert!(check.found.contains("no node can be reached"), "{}", check.found);
}

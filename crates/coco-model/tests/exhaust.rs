//! Faults that the model must notice: a model that never fails proves nothing.

use coco_model::{
    Outcome, exhaust,
    model::{Bounds, Changes, Fault, Network, Returns},
};

/// Small enough for each test to take seconds.
const PLAIN: Bounds = Bounds {
    views: 3,
    log: 4,
    clients: 1,
    signatures: 0,
    changes: Changes { learners: 0, singles: 0, swaps: 0 },
    crashes: 0,
    returns: Returns::AsItself,
};
const SWAP: Bounds =
    Bounds { clients: 0, changes: Changes { learners: 0, singles: 0, swaps: 1 }, ..PLAIN };

/// Teaches nodes a fault, and expects this promise to be broken.
fn expect_broken(bounds: Bounds, fault: Fault, promises: &[&str]) {
    let outcome = exhaust(Network::with_fault(bounds, fault), 1);
    expect(&outcome, promises);
}

fn expect(outcome: &Outcome, promises: &[&str]) {
    let names: Vec<&str> = outcome.broken.iter().map(|(name, _)| *name).collect();
    assert!(promises.iter().any(|promise| outcome.has_broken(promise)), "broken: {names:?}");
}

const TWO_PRIMARIES: &str = "one primary in a view";
const LOST: &str = "a newer primary has all that is committed";
const DISAGREE: &str = "nodes agree on what is committed";
const CUT: &str = "nothing committed is cut";
const FINAL: &str = "what is final is signed, and final everywhere";

#[test]
fn sound_nodes_keep_their_promises() {
    for bounds in [PLAIN, Bounds { crashes: 1, ..PLAIN }] {
        let outcome = exhaust(Network::sound(bounds), 1);
        assert!(outcome.is_sound(), "{outcome:?}");
    }
}

#[test]
fn acknowledging_before_the_disk_has_it_loses_commits() {
    let bounds = Bounds { crashes: 1, ..PLAIN };
    expect_broken(bounds, Fault::AcknowledgeBeforeDurable, &[LOST, DISAGREE, CUT]);
}

/// Figure 8 of the Raft paper.
#[test]
fn counting_entries_of_earlier_views_loses_commits() {
    let bounds = Bounds { views: 5, log: 3, clients: 0, ..PLAIN };
    expect_broken(bounds, Fault::CommitEarlierView, &[LOST, DISAGREE, CUT]);
}

#[test]
fn voting_twice_makes_two_primaries() {
    expect_broken(PLAIN, Fault::VoteTwice, &[TWO_PRIMARIES]);
}

#[test]
fn voting_for_shorter_logs_loses_commits() {
    expect_broken(PLAIN, Fault::VoteForShorterLog, &[LOST, DISAGREE, CUT]);
}

#[test]
fn committing_what_was_not_compared_makes_nodes_disagree() {
    expect_broken(PLAIN, Fault::CommitUnverified, &[DISAGREE]);
}

#[test]
fn counting_old_voters_only_makes_two_networks() {
    expect_broken(SWAP, Fault::CountOldVotersOnly, &[TWO_PRIMARIES, LOST, DISAGREE]);
}

#[test]
fn changing_the_configuration_twice_at_a_time_loses_commits() {
    let changes = Changes { learners: 0, singles: 2, swaps: 0 };
    let bounds = Bounds { changes, ..SWAP };
    expect_broken(bounds, Fault::ChangeWhilePending, &[TWO_PRIMARIES, LOST, DISAGREE, CUT]);
}

#[test]
fn forgetting_the_configuration_in_a_crash_makes_two_networks() {
    let bounds = Bounds { crashes: 1, ..SWAP };
    expect_broken(bounds, Fault::ForgetConfiguration, &[TWO_PRIMARIES, LOST, DISAGREE]);
}

#[test]
fn saying_too_early_that_a_configuration_is_in_effect_cuts_commits() {
    let changes = Changes { learners: 0, singles: 1, swaps: 0 };
    let bounds = Bounds { crashes: 1, changes, ..SWAP };
    expect_broken(bounds, Fault::SayPending, &[CUT, LOST, DISAGREE]);
}

#[test]
fn calling_final_what_is_not_signed_is_noticed() {
    expect_broken(PLAIN, Fault::CommitUnsigned, &[FINAL]);
}

#[test]
fn a_disk_that_was_set_back_loses_commits_when_its_node_returns_as_itself() {
    let bounds = Bounds { crashes: 1, returns: Returns::RolledBack, ..PLAIN };
    let outcome = exhaust(Network::sound(bounds), 1);
    expect(&outcome, &[LOST, DISAGREE, TWO_PRIMARIES]);
}

#[test]
fn a_disk_that_was_set_back_harms_nobody_when_its_node_returns_as_another() {
    let bounds = Bounds { crashes: 1, log: 5, returns: Returns::AsAnother, ..PLAIN };
    let bounds =
        Bounds { clients: 0, changes: Changes { learners: 1, singles: 0, swaps: 1 }, ..bounds };
    let outcome = exhaust(Network::sound(bounds), 1);
    assert!(outcome.is_sound(), "{outcome:?}");
}

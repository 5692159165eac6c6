//! Runs that may fail, with a log of what happened.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use crate::{
    Planted, Report,
    log::{Log, Recorder},
    world::run_in,
};

/// Makes the run of a seed, which may fail, and notes what happens in it and what it fails with.
///
/// # Panics
/// When this build cannot plant the bug.
#[must_use]
pub fn run_recorded(seed: u64, planted: Option<Planted>) -> (Option<Report>, Log) {
    let (recorder, log) = Recorder::new(seed, planted.map(Planted::name));
    // The world that was left in the middle of a step is not looked at again; the log is complete after every event.
    let outcome = catch_unwind(AssertUnwindSafe(|| run_in(seed, planted, recorder)));
    let mut log = Rc::into_inner(log).expect("the run is over").into_inner();
    log.header.failure = outcome.as_ref().err().map(|why| what_was_said(why.as_ref()));
    (outcome.ok(), log)
}

/// What a panic said.
#[must_use]
pub fn what_was_said(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

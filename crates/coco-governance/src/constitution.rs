//! The rules as a script: what `validate`, `resolve`, `apply` and ballots are called with, and what they may take.

use std::collections::BTreeMap;

use coco_kv::Transaction;
use coco_script::{Call, Engine, Image, Limits, Outcome, ScriptError, Source, Value};

use crate::{
    Effect, ErrorCode, GovernanceError, ProposalId, Situation,
    outside::{Access, Outside},
    tables::{self, CONSTITUTION, Failure, ProposalState, singleton_key},
};

/// What a call of the constitution may take.
pub const CONSTITUTION_LIMITS: Limits = Limits::GOVERNANCE;

/// What a ballot may take: a twentieth of the fuel of a constitution, some tenths of a second at the most.
pub const BALLOT_LIMITS: Limits = Limits { fuel: 1_000_000, ..Limits::GOVERNANCE };

/// Fuel of all ballots of one count together, beside what they have to read the proposal with. With more than twenty of them,
/// each has an equal part of it, so that the time of a count has a bound and nobody's ballot takes from another's.
pub const BALLOTS_FUEL_MAX: u64 = 20_000_000;

/// Fuel that a ballot has for each byte of the proposal. To take its digest takes two to four units a byte.
pub const READING_FUEL_PER_BYTE: u64 = 5;

/// Fuel that all ballots of one count together have to read the proposal with: what 48 of them need for the largest one, or 254 for
/// 200 KB. With more of either, each has an equal part. So a count takes [`BALLOTS_FUEL_MAX`] and this at the most, about half a
/// minute.
pub const READING_FUEL_MAX: u64 = 256_000_000;

/// What loading a constitution may take. To compile 50 KB takes a million units of fuel, and at its top level a constitution
/// has little to do.
pub const LOADING_LIMITS: Limits = Limits { fuel: 8_000_000, ..Limits::GOVERNANCE };

/// Longest constitution, in bytes. CCF's own sample has about 50 KB.
pub const CONSTITUTION_BYTES_MAX: usize = 128 << 10;

/// Why a text cannot be a constitution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConstitutionError {
    /// Too long.
    #[error("the constitution has {found} bytes, at most {CONSTITUTION_BYTES_MAX} are taken")]
    Long {
        /// Bytes given.
        found: usize,
    },
    /// It does not run.
    #[error("the constitution cannot be loaded: {0}")]
    Script(#[source] ScriptError),
    /// A function is not there.
    #[error("the constitution exports no function {0}")]
    Missing(&'static str),
}

/// A realm with the `ccf` object, to begin from.
#[derive(Clone, Debug)]
pub(crate) struct Prelude(Image);

/// A constitution that is ready to be called.
#[derive(Clone, Debug)]
pub(crate) struct Constitution {
    pub(crate) text: String,
    image: Image,
}

/// What the ballots of a proposal said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) votes: BTreeMap<String, bool>,
    pub(crate) failures: BTreeMap<String, Failure>,
}

/// A run over a transaction.
pub(crate) struct Run<'a, 's> {
    pub(crate) tx: &'a mut Transaction<'s>,
    pub(crate) situation: &'a Situation,
    pub(crate) prelude: &'a Prelude,
}

impl Prelude {
    pub(crate) fn new(engine: &Engine) -> Self {
        let prelude = Source { name: "ccf", text: include_str!("prelude.js") };
        let image = Image::new(engine, &CONSTITUTION_LIMITS, &[prelude], &[]);
        Self(image.expect("the prelude is part of this program and loads"))
    }

    /// Loads a constitution.
    pub(crate) fn load(&self, text: &str) -> Result<Constitution, ConstitutionError> {
        if text.len() > CONSTITUTION_BYTES_MAX {
            return Err(ConstitutionError::Long { found: text.len() });
        }
        let source = Source { name: MODULE, text };
        let image = self.0.extend(&LOADING_LIMITS, &[source]);
        let image = image.map_err(ConstitutionError::Script)?;
        let exports = image.exports(&LOADING_LIMITS, &[], MODULE);
        let exports = exports.map_err(ConstitutionError::Script)?;
        for function in ["validate", "resolve", "apply"] {
            let is_there = |export: &coco_script::Export| {
                export.name == function && export.parameters.is_some()
            };
            if !exports.iter().any(is_there) {
                return Err(ConstitutionError::Missing(function));
            }
        }
        Ok(Constitution { text: text.to_owned(), image })
    }
}

/// The text of the constitution in force.
pub(crate) fn text_in_force(tx: &mut Transaction<'_>) -> Result<String, GovernanceError> {
    let text = tables::read(tx, CONSTITUTION, singleton_key())?;
    text.ok_or_else(|| GovernanceError::new(ErrorCode::InternalError, "there is no constitution"))
}

impl Run<'_, '_> {
    /// Whether the constitution takes a proposal.
    pub(crate) fn validate(
        &mut self,
        constitution: &Constitution,
        proposal: &str,
    ) -> Result<(), GovernanceError> {
        let wrong = |message| Err(GovernanceError::new(ErrorCode::InternalError, message));
        let arguments = [Value::text(proposal)];
        let (outcome, _) = self.call(constitution, "validate", &arguments, Access::Read);
        let verdict = match outcome.result {
            Ok(verdict @ Value::Record(_)) => verdict,
            Ok(_) => return wrong("validate() returned no object".to_owned()),
            Err(error) => return wrong(format!("validate() failed: {error}")),
        };
        if verdict.member("valid") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        let description = match verdict.member("description") {
            Some(Value::Text(description)) => description.as_str(),
            _ => "",
        };
        let message = format!("the proposal failed to validate: {description}");
        Err(GovernanceError::new(ErrorCode::ProposalFailedToValidate, message))
    }

    /// Runs each ballot by itself, in a realm that knows nothing of the constitution. Members who sent the same text have one run:
    /// a ballot does not know whose it is.
    pub(crate) fn count(
        &mut self,
        ballots: &[(&str, &str)],
        proposal: &str,
        proposer: &str,
    ) -> Result<Tally, GovernanceError> {
        let mut members = BTreeMap::<&str, Vec<&str>>::new();
        for (member, ballot) in ballots {
            members.entry(ballot).or_default().push(member);
        }
        let limits = Limits { fuel: ballot_fuel(members.len(), proposal.len()), ..BALLOT_LIMITS };
        let arguments = [Value::text(proposal), Value::text(proposer)];
        let mut tally = Tally::default();
        for (ballot, members) in members {
            let source = Source { name: "ballot", text: ballot };
            let call = Call { module: "ballot", function: "vote", arguments: &arguments };
            let mut outside = Outside::new(self.tx, self.situation, self.prelude, Access::Vote);
            let outcome = self.prelude.0.run(&limits, &[source], call, &mut outside);
            let members = members.into_iter().map(str::to_owned);
            match outcome.result {
                Ok(vote) => {
                    let vote = vote == Value::Bool(true);
                    tally.votes.extend(members.map(|member| (member, vote)));
                }
                // Not the ballot's doing: nobody's vote may be lost by it.
                Err(error @ ScriptError::Broken(_)) => {
                    return Err(GovernanceError::new(ErrorCode::InternalError, error.to_string()));
                }
                Err(error) => {
                    tally.failures.extend(members.map(|member| (member, failure(&error))));
                }
            }
        }
        Ok(tally)
    }

    /// What the votes amount to: open, accepted or rejected.
    pub(crate) fn resolve(
        &mut self,
        constitution: &Constitution,
        proposal: &str,
        proposer: &str,
        tally: &Tally,
        id: ProposalId,
    ) -> Result<ProposalState, GovernanceError> {
        let vote = |(member, vote): (&String, &bool)| {
            Value::Record(vec![
                ("member_id".to_owned(), Value::text(member)),
                ("vote".to_owned(), Value::Bool(*vote)),
            ])
        };
        let votes = Value::List(tally.votes.iter().map(vote).collect());
        let arguments =
            [Value::text(proposal), Value::text(proposer), votes, Value::text(&id.to_string())];
        let (outcome, _) = self.call(constitution, "resolve", &arguments, Access::Read);
        let wrong = |message| Err(GovernanceError::new(ErrorCode::InternalError, message));
        match outcome.result {
            Ok(Value::Text(state)) => match &*state {
                "Open" => Ok(ProposalState::Open),
                "Accepted" => Ok(ProposalState::Accepted),
                "Rejected" => Ok(ProposalState::Rejected),
                _ => {
                    let state: String = state.chars().take(80).collect();
                    wrong(format!("resolve() returned {state:?}, which is no decision"))
                }
            },
            Ok(_) => wrong("resolve() returned no text".to_owned()),
            Err(error) => wrong(format!("failed to resolve(): {error}")),
        }
    }

    /// Carries a proposal out.
    pub(crate) fn apply(
        &mut self,
        constitution: &Constitution,
        proposal: &str,
        id: ProposalId,
    ) -> Result<Vec<Effect>, GovernanceError> {
        let arguments = [Value::text(proposal), Value::text(&id.to_string())];
        let (outcome, effects) = self.call(constitution, "apply", &arguments, Access::Write);
        match outcome.result {
            Ok(_) => Ok(effects),
            Err(error) => {
                let message = format!("failed to apply(): {error}");
                Err(GovernanceError::new(ErrorCode::InternalError, message))
            }
        }
    }

    fn call(
        &mut self,
        constitution: &Constitution,
        function: &str,
        arguments: &[Value],
        access: Access,
    ) -> (Outcome, Vec<Effect>) {
        let call = Call { module: MODULE, function, arguments };
        let mut outside = Outside::new(self.tx, self.situation, self.prelude, access);
        let outcome = constitution.image.run(&CONSTITUTION_LIMITS, &[], call, &mut outside);
        (outcome, outside.effects)
    }
}

/// What each of so many different ballots may take, on a proposal of this length.
fn ballot_fuel(ballots: usize, proposal_bytes: usize) -> u64 {
    let share = |most: u64| most / (ballots as u64).max(1);
    let reading = (proposal_bytes as u64).saturating_mul(READING_FUEL_PER_BYTE);
    BALLOT_LIMITS.fuel.min(share(BALLOTS_FUEL_MAX)) + reading.min(share(READING_FUEL_MAX))
}

fn failure(error: &ScriptError) -> Failure {
    let trace = if let ScriptError::Syntax(exception) | ScriptError::Exception(exception) = error {
        Some(exception.stack.clone()).filter(|stack| !stack.is_empty())
    } else {
        None
    };
    Failure { reason: cut(&error.to_string()), trace: trace.map(|trace| cut(&trace)) }
}

/// The beginning of a text that a script may have chosen.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(FAILURE_BYTES_MAX);
    text[..end].to_owned()
}

/// Longest text of a failed ballot that is kept, in bytes: there may be one for each member in a row.
const FAILURE_BYTES_MAX: usize = 1024;

/// The constitution's name among modules.
const MODULE: &str = "constitution";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_of_ballots_has_a_bound_for_one_and_for_all() {
        let megabyte = 1 << 20;
        let reading = READING_FUEL_PER_BYTE * (1 << 20);
        for (ballots, bytes, expected) in [
            (0, 0, 1_000_000),
            (1, 0, 1_000_000),
            (20, 0, 1_000_000),
            (21, 0, 952_380),
            (1, megabyte, 1_000_000 + reading),
            (48, megabyte, 416_666 + reading),
            (49, megabyte, 408_163 + 5_224_489),
            (254, 200_000, 78_740 + 1_000_000),
            (254, megabyte, 78_740 + 1_007_874),
            (1, usize::MAX, 1_000_000 + READING_FUEL_MAX),
        ] {
            let fuel = ballot_fuel(ballots, bytes);
            assert_eq!(fuel, expected, "{ballots} ballots, {bytes} bytes");
            assert!(fuel * ballots as u64 <= BALLOTS_FUEL_MAX + READING_FUEL_MAX || ballots == 0);
        }
    }
}

//! `coco doctor`: what is wrong with a network, or soon will be, and what to do about it.

mod machine;
mod network;
mod people;

use std::path::PathBuf;

use coco_crypto::Validity;
use serde_json::{Value, json};

use crate::{
    codes::Code,
    fault::Fault,
    nodes::ask_each,
    output::{Output, Table},
    session::{KeyArgs, NetworkArgs, Session},
    signing::now,
};

/// From when on before its end a certificate is spoken of, in seconds: 14 days.
const CERTIFICATE_LEFT_S: u64 = 14 * 24 * 3600;

/// What may be behind a disk that is slow.
const SLOW_DISK: &str =
    "a disk that other programs use as well, or one without a cache that outlasts power";

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// The configuration of a node of this machine: its settings, its folder and its disk are looked at as well
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at this machine alone, and ask no network
    #[arg(long, requires = "config")]
    offline: bool,
}

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warning,
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    level: Level,
    /// What was looked at, in a word.
    name: &'static str,
    /// What was found.
    found: String,
    /// What to do; empty where nothing is to be done.
    next: String,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warn",
            Self::Failure => "FAIL",
        }
    }
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, name, found: found.into(), next: String::new() }
    }

    fn warning(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Warning, name, found: found.into(), next: next.into() }
    }

    fn failure(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Failure, name, found: found.into(), next: next.into() }
    }

    /// What an error says.
    fn fault(name: &'static str, fault: &Fault) -> Self {
        Self::failure(name, fault.to_string(), fault.step())
    }

    fn json(&self) -> Value {
        let Self { level, name, found, next } = self;
        json!({ "level": level.word(), "name": name, "found": found, "next": next })
    }
}

pub(crate) fn run(arguments: &DoctorArgs, output: Output) -> Result<(), Fault> {
    let mut checks = Vec::new();
    if let Some(path) = &arguments.config {
        checks.extend(machine::look(path));
    }
    if !arguments.offline {
        match Session::open(&arguments.network) {
            Ok(session) => checks.extend(look(&session, &arguments.keys)?),
            Err(fault) => checks.push(Check::fault("network", &fault)),
        }
    }
    let count = |level: Level| checks.iter().filter(|check| check.level == level).count();
    let (warnings, failures) = (count(Level::Warning), count(Level::Failure));
    let details: Vec<Value> = checks.iter().map(Check::json).collect();
    let details = json!({ "checks": details, "warnings": warnings, "failures": failures });
    output.print("doctor", details, || {
        let mut table = Table::default();
        for check in &checks {
            table.row([check.level.word(), check.name, &check.found]);
            if !check.next.is_empty() {
                table.row(["", "", &format!("next: {}", check.next)]);
            }
        }
        format!("{table}{}, {}", counted(warnings, "warning"), counted(failures, "failure"))
    });
    match failures {
        0 => Ok(()),
        _ => Err(Fault::new(Code::Unhealthy, counted(failures, "failure"))),
    }
}

/// Asks a network.
fn look(session: &Session, keys: &KeyArgs) -> Result<Vec<Check>, Fault> {
    let now = now()?;
    let asked = match ask_each(session) {
        Ok(asked) => asked,
        Err(fault) => return Ok(vec![Check::fault("network", &fault)]),
    };
    let mut checks = network::look(session, &asked, now);
    checks.extend(people::look(session, keys, now));
    Ok(checks)
}

/// How it stands with a certificate of this period. One that is valid for weeks only is not spoken of all the time.
fn until(name: &'static str, whose: &str, validity: Validity, now: u64, next: &str) -> Check {
    let Validity { not_before, not_after } = validity;
    let soon = CERTIFICATE_LEFT_S.min(not_after.saturating_sub(not_before) / 4);
    match not_after.checked_sub(now) {
        None => Check::failure(name, format!("{whose} has ended"), next),
        Some(left) if left < soon => {
            Check::warning(name, format!("{whose} ends in {}", crate::output::span(left)), next)
        }
        Some(left) => {
            Check::ok(name, format!("{whose} is valid for {}", crate::output::span(left)))
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_spoken_of_before_it_ends() {
        let now: u64 = 1_800_000_000;
        for (days, left, level) in [
            (365, -1, Level::Failure),
            (365, 0, Level::Warning),
            (365, CERTIFICATE_LEFT_S.cast_signed() - 1, Level::Warning),
            (365, CERTIFICATE_LEFT_S.cast_signed(), Level::Ok),
            // Its node renews it when ten days are left.
            (30, 8 * 24 * 3600, Level::Ok),
            (30, 7 * 24 * 3600, Level::Warning),
        ] {
            let not_after = now.saturating_add_signed(left);
            let validity = Validity { not_before: not_after - days * 24 * 3600, not_after };
            let check = until("certificate", "it", validity, now, "renew it");
            assert_eq!(check.level, level, "{check:?}");
            assert_eq!(check.next.is_empty(), level == Level::Ok);
        }
    }
}

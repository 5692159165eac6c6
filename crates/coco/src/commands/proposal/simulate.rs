//! `coco proposal simulate`: what a proposal would change, were it accepted now.

use std::path::Path;

use coco_client::reply::{Simulated, Write};
use serde_json::{Value, json};

use super::{document, missing};
use crate::{
    codes::Code,
    fault::Fault,
    output::{Output, plain},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// A document in a file, or a proposal's id or its first digits
    proposal: String,
}

/// Longest value that is shown in full, in characters.
const SHOWN_CHARACTERS_MAX: usize = 200;

pub(super) fn run(
    session: &Session,
    arguments: &SimulateArgs,
    output: Output,
) -> Result<(), Fault> {
    let path = Path::new(&arguments.proposal);
    let bytes = if path == Path::new("-") || path.is_file() {
        document::read(path)?.0
    } else {
        let id = session.find_proposal(&arguments.proposal)?;
        session.ask(|client| client.document(id)).map_err(|fault| missing(fault, id))?
    };
    let simulated = simulate(session, &bytes)?;
    let members = json!({ "writes": simulated.writes, "effects": simulated.effects });
    output.print("proposal.simulate", members, || text(&simulated));
    Ok(())
}

/// Asks the node what a document would change.
pub(super) fn simulate(session: &Session, bytes: &[u8]) -> Result<Simulated, Fault> {
    session.ask(|client| client.simulate(bytes)).map_err(|fault| match fault.code() {
        Code::NotFound => Fault::new(Code::GovernanceAbsent, fault.to_string()),
        _ => fault,
    })
}

fn text(simulated: &Simulated) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    };
    let cut = |text: String| {
        let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
        if shown.len() < text.len() {
            shown.push_str(&format!("... ({} bytes)", text.len()));
        }
        shown
    };
    let mut text = String::new();
    for Write { table, key, value } in &simulated.writes {
        let (table, key) = (plain(table), word(key));
        match value {
            Value::Null => text.push_str(&format!("- {table} {key}\n")),
            value => text.push_str(&format!("~ {table} {key} = {}\n", cut(word(value)))),
        }
    }
    for effect in &simulated.effects {
        text.push_str(&format!("! {}\n", plain(effect)));
    }
    if text.is_empty() { "it would change nothing".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_effects_stand_on_lines_of_their_own() {
        let write = |value: Value| Write { table: "t".into(), key: "k".into(), value };
        let simulated = Simulated {
            writes: vec![
                write(json!({ "a": 1 })),
                write(Value::Null),
                write("x\n".into()),
                write("y".repeat(300).into()),
            ],
            effects: vec!["RekeyLedger".into()],
        };
        let long = format!("{}... (300 bytes)", "y".repeat(200));
        let expected = format!(
            "~ t k = {{\"a\":1}}\n- t k\n~ t k = x\\u{{a}}\n~ t k = {long}\n! RekeyLedger\n"
        );
        assert_eq!(text(&simulated), expected);
        let nothing = Simulated { writes: Vec::new(), effects: Vec::new() };
        assert_eq!(text(&nothing), "it would change nothing");
    }
}

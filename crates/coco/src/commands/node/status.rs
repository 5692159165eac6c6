//! `coco node status`: what each node says of itself.

use serde_json::{Value, json};

use crate::{
    codes::Code,
    fault::Fault,
    nodes::{Asked, ask_each},
    output::{Output, Table, plain, short, utc},
    session::{NetworkArgs, Session},
};

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// One node, by its id or the first digits; all if left out
    node: Option<String>,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(super) fn run(arguments: &StatusArgs, output: Output) -> Result<(), Fault> {
    let session = Session::open(&arguments.network)?;
    let one = arguments.node.as_deref().map(|text| session.find_node(text)).transpose()?;
    let one = one.map(|id| id.to_string());
    let mut asked = ask_each(&session)?;
    asked.retain(|node| one.as_ref().is_none_or(|id| *id == node.id));
    if let Some(id) = one.filter(|_| asked.is_empty()) {
        return Err(Fault::new(Code::NodeNotFound, id));
    }
    let details: Vec<Value> = asked.iter().map(shown).collect();
    output.print("node.status", json!({ "nodes": details }), || table(&asked));
    Ok(())
}

fn shown(node: &Asked) -> Value {
    let Asked { id, address, said } = node;
    match said {
        Ok(said) => json!({
            "node_id": id,
            "address": address,
            "state": said.state,
            "consensus": said.consensus,
            "commit": said.commit.map(|commit| commit.to_string()),
            "certificate_until": said.certificate.as_ref().map(|one| utc(one.validity().not_after)),
            "clock_ahead_s": said.clock_ahead_s,
            "answered_in_ms": said.took.as_millis(),
        }),
        Err(fault) => json!({ "node_id": id, "address": address, "error": fault.to_string() }),
    }
}

fn table(asked: &[Asked]) -> String {
    let mut table = Table::with_head([
        "NODE",
        "ADDRESS",
        "ROLE",
        "VIEW",
        "COMMITTED",
        "CERTIFICATE UNTIL",
        "ANSWERED IN",
    ]);
    for Asked { id, address, said } in asked {
        let (id, address) = (short(id), address.as_str());
        match said {
            Ok(said) => {
                let commit =
                    said.commit.map_or_else(|| "-".to_owned(), |commit| commit.to_string());
                let until = said.certificate.as_ref().map(|one| utc(one.validity().not_after));
                table.row([
                    id,
                    address,
                    &said.role(),
                    &said.consensus.current_view.to_string(),
                    &commit,
                    until.as_deref().unwrap_or("-"),
                    &format!("{} ms", said.took.as_millis()),
                ]);
            }
            Err(_) => table.row([id, address, "no answer", "", "", "", ""]),
        }
    }
    let mut text = table.to_string();
    for Asked { id, said, .. } in asked {
        if let Err(fault) = said {
            text.push_str(&format!("{}: {}\n", short(id), plain(&fault.to_string())));
        }
    }
    text
}

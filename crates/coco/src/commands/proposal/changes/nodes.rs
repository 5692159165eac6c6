//! What a proposal would change of nodes.

use serde_json::Value;

use super::{
    args::{Args, json, shown},
    certificate,
};

/// The lines of an action about nodes; nothing, if it is none.
pub(super) fn lines(name: &str, args: &Args<'_>) -> Option<Vec<String>> {
    let line = match name {
        "transition_node_to_trusted" => {
            let how = match args.present("learner") {
                None | Some(Value::Bool(false)) => String::new(),
                Some(Value::Bool(true)) => ", without a vote".to_owned(),
                Some(other) => format!(", learner {}", json(other)),
            };
            format!("+ trusted node   {}{how}", args.text("node_id"))
        }
        "promote_learner" => format!("~ node           {} gets a vote", args.text("node_id")),
        "remove_node" => format!("- node           {}", args.text("node_id")),
        "replace_nodes" => return Some(replacement(args)),
        "add_virtual_measurement" => format!("+ node code      {}", args.text("measurement")),
        "remove_virtual_measurement" => format!("- node code      {}", args.text("measurement")),
        "set_node_certificate_validity" => {
            format!("~ node           {} {}", args.text("node_id"), certificate(args))
        }
        "set_all_nodes_certificate_validity" => {
            format!("~ nodes          all that are trusted: {}", certificate(args))
        }
        "set_node_data" => {
            format!("~ node           {} data {}", args.text("node_id"), args.json("node_data"))
        }
        _ => return None,
    };
    Some(vec![line])
}

/// Who comes, and who leaves once they are ready.
fn replacement(args: &Args<'_>) -> Vec<String> {
    let ids = |name| args.array(name).unwrap_or_default().iter().map(shown);
    let come = ids("add").map(|id| format!("+ trusted node   {id}"));
    let leave = ids("remove").map(|id| format!("- node           {id}, when those above can vote"));
    let lines: Vec<String> = come.chain(leave).collect();
    if lines.is_empty() {
        vec!["~ nodes          nobody comes or leaves".to_owned()]
    } else {
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replacement_names_everybody_who_comes_and_leaves() {
        let args = json!({ "remove": ["aa", "bb"], "add": ["cc"] });
        let expected = [
            "+ trusted node   cc",
            "- node           aa, when those above can vote",
            "- node           bb, when those above can vote",
        ];
        assert_eq!(lines("replace_nodes", &Args::of(&args)).unwrap(), expected);
        let learner = json!({ "node_id": "cc", "learner": true });
        let line = lines("transition_node_to_trusted", &Args::of(&learner)).unwrap();
        assert_eq!(line, ["+ trusted node   cc, without a vote"]);
        let validity = json!({ "node_id": "cc", "valid_from": "20261231235959Z" });
        let line = lines("set_node_certificate_validity", &Args::of(&validity)).unwrap();
        let expected = "a new certificate from 20261231235959Z on, for as long as members allow";
        assert_eq!(line, [format!("~ node           cc {expected}")]);
        let line = lines("set_all_nodes_certificate_validity", &Args::of(&validity)).unwrap();
        assert_eq!(line, [format!("~ nodes          all that are trusted: {expected}")]);
        assert_eq!(lines("set_member", &Args::of(&args)), None);
    }
}

//! What a proposal would change of nodes.

use serde_json::Value;

use super::{certificate, json};

/// The lines of an action about nodes; nothing, if it is none.
pub(super) fn lines(name: &str, args: &Value) -> Option<Vec<String>> {
    let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or("?");
    let line = match name {
        "transition_node_to_trusted" => {
            let listens = args.get("learner") == Some(&Value::Bool(true));
            let how = if listens { ", without a vote" } else { "" };
            format!("+ trusted node   {}{how}", text("node_id"))
        }
        "promote_learner" => format!("~ node           {} gets a vote", text("node_id")),
        "remove_node" => format!("- node           {}", text("node_id")),
        "replace_nodes" => return Some(replacement(args)),
        "add_virtual_measurement" => format!("+ node code      {}", text("measurement")),
        "remove_virtual_measurement" => format!("- node code      {}", text("measurement")),
        "set_node_certificate_validity" => {
            format!("~ node           {} {}", text("node_id"), certificate(args))
        }
        "set_all_nodes_certificate_validity" => {
            format!("~ nodes          all that are trusted: {}", certificate(args))
        }
        "set_node_data" => {
            format!("~ node           {} data {}", text("node_id"), json(&args["node_data"]))
        }
        _ => return None,
    };
    Some(vec![line])
}

/// Who comes, and who leaves once they are ready.
fn replacement(args: &Value) -> Vec<String> {
    let ids = |name: &str| {
        let ids = args.get(name).and_then(Value::as_array).into_iter().flatten();
        ids.map(|id| id.as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
    };
    let come = ids("add").into_iter().map(|id| format!("+ trusted node   {id}"));
    let leave = ids("remove").into_iter();
    let leave = leave.map(|id| format!("- node           {id}, when those above can vote"));
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
        assert_eq!(lines("replace_nodes", &args).unwrap(), expected);
        let learner = json!({ "node_id": "cc", "learner": true });
        let line = lines("transition_node_to_trusted", &learner).unwrap();
        assert_eq!(line, ["+ trusted node   cc, without a vote"]);
        let validity = json!({ "node_id": "cc", "valid_from": "20261231235959Z" });
        let line = lines("set_node_certificate_validity", &validity).unwrap();
        let expected = "a new certificate from 20261231235959Z on, for as long as members allow";
        assert_eq!(line, [format!("~ node           cc {expected}")]);
        let line = lines("set_all_nodes_certificate_validity", &validity).unwrap();
        assert_eq!(line, [format!("~ nodes          all that are trusted: {expected}")]);
        assert_eq!(lines("set_member", &args), None);
    }
}

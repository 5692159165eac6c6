//! Rules of the voting policy, as they are typed.

use serde_json::{Value, json};

/// Reads a rule: `majority`, `unanimous`, `one` or `at-least:N`.
pub(super) fn rule(text: &str) -> Result<Value, String> {
    match (text, text.strip_prefix("at-least:")) {
        ("majority" | "unanimous" | "one", _) => Ok(json!({ "rule": text })),
        (_, Some(count)) => {
            let members: u8 =
                count.parse().map_err(|_| format!("{count:?} is no number from 1 to 254"))?;
            Ok(json!({ "rule": "at_least", "members": members }))
        }
        _ => {
            Err("a rule is majority, unanimous, one or at-least:N; others are written in a file"
                .into())
        }
    }
}

/// Reads a rule for one action: `ACTION=RULE`.
pub(super) fn rule_of_action(text: &str) -> Result<(String, Value), String> {
    let (action, text) = text.split_once('=').ok_or("a rule for an action is ACTION=RULE")?;
    Ok((action.to_owned(), rule(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_words() {
        for (text, expected) in [
            ("majority", Some(json!({ "rule": "majority" }))),
            ("at-least:3", Some(json!({ "rule": "at_least", "members": 3 }))),
            ("at-least:x", None),
            ("most", None),
        ] {
            assert_eq!(rule(text).ok(), expected, "{text}");
        }
        assert_eq!(rule_of_action("a=one"), Ok(("a".to_owned(), json!({ "rule": "one" }))));
        assert!(rule_of_action("one").is_err());
    }
}

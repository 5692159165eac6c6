//! Rules of the voting policy, as they are typed.

use serde_json::{Map, Value, json};

/// What all decide on, unless a rule says otherwise: whoever can change these can change everything.
const FOR_ALL: [&str; 2] = ["set_constitution", "set_voting_policy"];
/// Seconds of a day.
const DAY_S: u32 = 24 * 3600;

/// Reads a rule: `majority`, `unanimous`, `one` or `at-least:N`.
pub(crate) fn rule(text: &str) -> Result<Value, String> {
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

/// Reads a rule for one action: `ACTION=RULE`, where a rule may be `automatic:N` and `automatic:N:RULE` as well.
pub(super) fn rule_of_action(text: &str) -> Result<(String, Value), String> {
    let (action, text) = text.split_once('=').ok_or("a rule for an action is ACTION=RULE")?;
    let rule = match text.strip_prefix("automatic:") {
        Some(limit) => automatic(limit)?,
        None => rule(text)?,
    };
    Ok((action.to_owned(), rule))
}

/// A policy as the default constitution reads it.
pub(crate) fn document(
    default: &Value,
    rules: &[(String, Value)],
    expire_days: Option<u16>,
) -> Value {
    let for_all = FOR_ALL.map(|action| (action.to_owned(), json!({ "rule": "unanimous" })));
    let actions: Map<String, Value> = for_all.into_iter().chain(rules.iter().cloned()).collect();
    let mut policy = json!({ "default": default, "actions": actions });
    if let Some(days) = expire_days {
        policy["proposals_expire_after_s"] = json!(u32::from(days) * DAY_S);
    }
    policy
}

/// Reads `N` or `N:RULE`: how often a member decides alone, and what holds for more.
fn automatic(text: &str) -> Result<Value, String> {
    let (count, otherwise) = match text.split_once(':') {
        Some((count, otherwise)) => (count, Some(rule(otherwise)?)),
        None => (text, None),
    };
    let count: u8 = count
        .parse()
        .ok()
        .filter(|count| (1..=AUTOMATIC_MAX).contains(count))
        .ok_or_else(|| format!("{count:?} is no number from 1 to {AUTOMATIC_MAX}"))?;
    Ok(match otherwise {
        Some(rule) => json!({ "rule": "automatic", "per_member": count, "otherwise": rule }),
        None => json!({ "rule": "automatic", "per_member": count }),
    })
}

/// How often a member decides alone at most, as the constitution has it.
const AUTOMATIC_MAX: u8 = 100;

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

    #[test]
    fn what_decides_on_the_rules_stays_with_all_unless_it_is_said() {
        let [all, one] = ["unanimous", "one"].map(|rule| json!({ "rule": rule }));
        let said = document(&one, &[("set_user".to_owned(), one.clone())], Some(2));
        let expected = json!({
            "default": one,
            "actions": { "set_constitution": all, "set_voting_policy": all, "set_user": one },
            "proposals_expire_after_s": 172_800,
        });
        assert_eq!(said, expected);
        let said = document(&one, &[("set_voting_policy".to_owned(), one.clone())], None);
        assert_eq!(said["actions"]["set_voting_policy"], one);
        assert_eq!(said.get("proposals_expire_after_s"), None);
    }

    #[test]
    fn what_a_member_decides_alone_is_for_one_action() {
        for (text, expected) in [
            ("automatic:2", Some(json!({ "rule": "automatic", "per_member": 2 }))),
            (
                "automatic:100:at-least:3",
                Some(json!({
                    "rule": "automatic", "per_member": 100,
                    "otherwise": { "rule": "at_least", "members": 3 },
                })),
            ),
            ("automatic", None),
            ("automatic:", None),
            ("automatic:0", None),
            ("automatic:101", None),
            ("automatic:2:automatic:2", None),
        ] {
            let read = rule_of_action(&format!("a={text}"));
            assert_eq!(read.ok().map(|(_, rule)| rule), expected, "{text}");
        }
        assert!(rule("automatic:2").is_err());
    }
}

//! The constitution: what it can reach, what it cannot, and how it is replaced.

use coco_governance::{ErrorCode, Message, tables};
use serde_json::json;

use crate::consortium::{CONSTITUTION, Consortium, YES, code, state};

#[test]
fn a_new_constitution_drops_open_proposals() {
    let mut c = Consortium::new(3);
    let open = c.propose(1, "set_note", &json!({ "text": "old" })).unwrap();
    c.vote(1, &open, YES).unwrap();
    let strict = CONSTITUTION.replace("yes * 2 > active", "yes === active");
    assert_ne!(strict, CONSTITUTION);
    let end = c.pass("set_constitution", &json!({ "constitution": strict })).unwrap();
    assert_eq!(state(&end), "Accepted");
    assert_eq!(c.kept_state(&open).as_deref(), Some("Dropped"));
    assert_eq!(code(c.vote(2, &open, YES)), ErrorCode::ProposalNotOpen);
    // From now on all must agree.
    let made = c.propose(0, "set_note", &json!({ "text": "new" })).unwrap();
    for (by, expected) in [(0, "Open"), (1, "Open"), (2, "Accepted")] {
        assert_eq!(state(&c.vote(by, &made, YES).unwrap()), expected);
    }
    assert_eq!(c.kept_state(&open), None, "it left with the next decision");
}

#[test]
fn a_constitution_that_does_not_load_is_not_taken() {
    for wrong in [
        "",
        "not JavaScript",
        "export function validate() {} export function apply() {}",
        "export const validate = 1; export function resolve() {} export function apply() {}",
        "for (;;);",
        &format!("{CONSTITUTION}{}", " ".repeat(coco_governance::CONSTITUTION_BYTES_MAX)),
    ] {
        let mut c = Consortium::new(1);
        let args = json!({ "constitution": wrong });
        let shown = &wrong[..wrong.len().min(80)];
        let error = c.pass("set_constitution", &args).unwrap_err();
        assert_eq!(error.code, ErrorCode::InternalError, "{shown}");
        assert!(error.message.starts_with("failed to apply(): the constitution"), "{error}");
        let error = c.propose(0, "check_constitution", &args).unwrap_err();
        assert_eq!(error.code, ErrorCode::ProposalFailedToValidate, "{shown}");
        let kept = c.json(tables::CONSTITUTION, tables::singleton_key()).unwrap();
        assert_eq!(kept, json!(CONSTITUTION));
    }
    let mut c = Consortium::new(1);
    let args = json!({ "constitution": CONSTITUTION });
    assert!(c.propose(0, "check_constitution", &args).is_ok());
}

#[test]
fn the_longest_constitution_is_taken() {
    // Of code, which costs more to load than a comment does.
    let mut text = CONSTITUTION.to_owned();
    let filler = "function filler(one, two) { return [one, two].map((each) => each * 2); }\n";
    for i in 0.. {
        let line = filler.replacen("filler", &format!("filler{i}"), 1);
        if text.len() + line.len() > coco_governance::CONSTITUTION_BYTES_MAX {
            break;
        }
        text += &line;
    }
    for (more, ok) in [(coco_governance::CONSTITUTION_BYTES_MAX - text.len(), true), (1, false)] {
        text += &" ".repeat(more);
        let mut c = Consortium::new(1);
        let end = c.pass("set_constitution", &json!({ "constitution": text }));
        assert_eq!(end.is_ok(), ok, "{} bytes: {end:?}", text.len());
    }
}

#[test]
fn constitutions_are_checked_a_few_at_a_time() {
    let mut c = Consortium::new(1);
    let max = usize::try_from(coco_governance::CONSTITUTIONS_CHECKED_MAX).unwrap();
    for (count, ok) in [(max, true), (max + 1, false)] {
        let action =
            json!({ "name": "check_constitution", "args": { "constitution": CONSTITUTION } });
        let content = json!({ "actions": vec![action; count] }).to_string();
        let envelope = c.members[0].sign(Message::Proposal, c.now, content.as_bytes());
        let sent = c.send(coco_governance::Route::CreateProposal, &envelope);
        assert_eq!(sent.is_ok(), ok, "{count}: {sent:?}");
    }
}

#[test]
fn a_constitution_reaches_what_it_may() {
    for what in ["lists", "digests", "certificates"] {
        let mut c = Consortium::new(2);
        let end = c.pass("run", &json!({ "what": what }));
        assert_eq!(end.as_ref().map(state), Ok("Accepted".to_owned()), "{what}: {end:?}");
    }
}

#[test]
fn a_constitution_reaches_nothing_else() {
    for (what, expected) in [
        ("private_table", "governance sees public tables only"),
        ("write_internal", "governance writes to its own tables only"),
        ("write_application", "governance writes to its own tables only"),
        ("unknown_table", "the service has no such table"),
        ("long_key", "a key has 4097 bytes; it may have 4096"),
        ("much", "one proposal writes at most 8388608 bytes"),
        ("loop", "fuel"),
        ("allocate", "memory"),
        ("no_value", "value must be an ArrayBuffer"),
        ("network_key", "the service has no certificate to renew"),
        ("effects", "one proposal has at most 64 effects"),
    ] {
        let mut c = Consortium::new(1);
        let before = c.store.reader().version();
        let error = c.pass("run", &json!({ "what": what })).unwrap_err();
        assert_eq!(error.code, ErrorCode::InternalError, "{what}");
        assert!(error.message.contains(expected), "{what}: {error}");
        assert_eq!(
            c.store.reader().version().0,
            before.0 + 1,
            "{what}: the proposal alone is there"
        );
        assert!(c.effects.is_empty());
    }
}

#[test]
fn what_validate_and_resolve_must_not_return() {
    let with = |validate: &str, resolve: &str| {
        format!(
            "export function validate(input) {{ {validate} }} \
             export function resolve(proposal, proposer, votes) {{ {resolve} }} \
             export function apply() {{}}"
        )
    };
    let valid = "return { valid: true };";
    for (validate, resolve, code, expected) in [
        ("", "", ErrorCode::InternalError, "validate() returned no object"),
        ("return true;", "", ErrorCode::InternalError, "validate() returned no object"),
        ("return { valid: 1 };", "", ErrorCode::ProposalFailedToValidate, "failed to validate"),
        ("throw new Error('x');", "", ErrorCode::InternalError, "validate() failed: Error: x"),
        (valid, "", ErrorCode::InternalError, "resolve() returned no text"),
        (valid, "return 'Withdrawn';", ErrorCode::InternalError, "\"Withdrawn\""),
        (valid, "throw new Error('x');", ErrorCode::InternalError, "resolve(): Error: x"),
        (
            valid,
            "ccf.kv['public:ccf.gov.roles'].set(new ArrayBuffer(8), new ArrayBuffer(8));",
            ErrorCode::InternalError,
            "nothing can be written here",
        ),
    ] {
        let mut c = Consortium::under(&with(validate, resolve), 1);
        let error = c.propose(0, "anything", &json!({})).unwrap_err();
        assert_eq!(error.code, code, "{validate} {resolve}");
        assert!(error.message.contains(expected), "{error}");
        assert_eq!(c.store.reader().version().0, 1, "nothing remains");
    }
    // A proposal may be decided as soon as it is made.
    let mut c = Consortium::under(&with(valid, "return 'Accepted';"), 1);
    assert_eq!(state(&c.propose(0, "anything", &json!({})).unwrap()), "Accepted");
}

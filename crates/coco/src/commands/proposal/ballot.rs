//! Ballots: scripts that say how a member votes.
//!
//! An approving ballot names the SHA-256 of the document that its member saw, and counts for that document alone. So a node
//! that shows another document than the one it has gets no vote for it.

use coco_types::Digest;
use serde_json::{Value, json};

use crate::output::plain;

/// How a member votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Approve,
    Reject,
}

/// Longest reason, in characters: ballots stand together in one row of a table.
pub(super) const REASON_CHARACTERS_MAX: usize = 1_000;

/// The script of a ballot on the document with this digest.
pub(super) fn script(choice: Choice, reason: Option<&str>, document: &Digest) -> String {
    // JSON has no line ends that JavaScript would take for the end of the comment, once these two are written otherwise.
    let reason = reason.map(|reason| {
        let text = Value::from(reason).to_string();
        let text = text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
        format!("// reason: {text}\n")
    });
    let vote = match choice {
        Choice::Approve => format!(
            "export function vote (rawProposal, proposerId) {{\n  \
               const digest = new Uint8Array(ccf.crypto.digest(\"SHA-256\", ccf.strToBuf(rawProposal)));\n  \
               const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, \"0\")).join(\"\");\n  \
               if (found !== \"{document}\") throw new Error(`this is the document ${{found}}`);\n  \
               return true;\n}}\n"
        ),
        Choice::Reject => {
            "export function vote (rawProposal, proposerId) { return false; }\n".to_owned()
        }
    };
    reason.unwrap_or_default() + &vote
}

/// The content of the request.
pub(super) fn content(script: &str) -> Vec<u8> {
    json!({ "ballot": script }).to_string().into_bytes()
}

/// The lines of a ballot in a request, for whoever signs it.
pub(super) fn lines(content: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(content).unwrap_or_default();
    match value.get("ballot").and_then(Value::as_str) {
        Some(script) => script.lines().map(plain).collect(),
        None => vec![plain(&String::from_utf8_lossy(content))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_in_its_comment() {
        let reason = "a\nexport function vote() { return true; }\r\u{2028}\u{2029}*/\"";
        let script = script(Choice::Reject, Some(reason), &Digest([1; 32]));
        let breaks = ['\n', '\r', '\u{2028}', '\u{2029}'];
        let mut lines = script.split(breaks);
        assert!(lines.next().unwrap().starts_with("// reason: \""), "{script}");
        let vote = "export function vote (rawProposal, proposerId) { return false; }";
        assert_eq!(lines.collect::<Vec<_>>(), [vote, ""]);
    }

    #[test]
    fn a_request_shows_its_script() {
        let script = script(Choice::Approve, None, &Digest([0xab; 32]));
        let shown = lines(&content(&script));
        assert_eq!(shown.join("\n") + "\n", script);
        assert!(script.contains(&format!("\"{}\"", "ab".repeat(32))));
        assert_eq!(lines(b"\x1b"), ["\\u{1b}"]);
    }
}

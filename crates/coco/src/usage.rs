//! Command lines that are not understood: the same kind of error as any other.

use std::ffi::OsString;

use clap::{
    ValueEnum as _,
    error::{ContextKind, ErrorKind},
};

use crate::{codes::Code, fault::Fault, output::Output};

/// The variable that says how results and errors are printed.
pub(crate) const OUTPUT: &str = "COCO_OUTPUT";

/// How errors are to be printed: what is typed, before what the environment says. The rest of the line need not be understood.
pub(crate) fn output(
    arguments: impl Iterator<Item = OsString>,
    environment: Option<OsString>,
) -> Output {
    let environment = environment.and_then(|told| told.into_string().ok());
    let (mut told, mut is_next) = (environment, false);
    for argument in arguments.take_while(|argument| argument != "--") {
        let text = argument.to_string_lossy();
        if is_next {
            told = Some(text.into_owned());
            is_next = false;
        } else if let Some(value) = text.strip_prefix("--output=") {
            told = Some(value.to_owned());
        } else {
            is_next = text == "--output";
        }
    }
    told.and_then(|told| Output::from_str(&told, false).ok()).unwrap_or_default()
}

/// The error; nothing where help or the version was asked for.
pub(crate) fn fault(error: &clap::Error) -> Option<Fault> {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        _ => {}
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // What follows is said in our own way.
    let ends = ["\n\nUsage:", "\n\nFor more information", "\n\n  tip:"];
    let end = ends.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    let message: Vec<&str> = text[..end].split_whitespace().collect();
    let mut fault = Fault::new(Code::Usage, message.join(" "));
    for line in text.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            fault = fault.with("tip", tip);
        }
    }
    if let Some(usage) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let words: Vec<&str> = usage.split_whitespace().collect();
        let words = words.join(" ");
        fault = fault.with("usage", words.strip_prefix("Usage: ").unwrap_or(&words));
    }
    Some(fault)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Arguments;

    fn refused(words: &[&str]) -> Option<Fault> {
        fault(&Arguments::try_parse_from(words).unwrap_err())
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_an_error_with_a_code() {
        for (words, expected) in [
            (&["coco", "no-such"][..], "unrecognized subcommand 'no-such'"),
            (&["coco", "status", "--colour"], "unexpected argument '--colour' found"),
            (&["coco", "member", "show"], "required arguments were not provided: <MEMBER>"),
            (&["coco", "status", "--timeout", "0"], "invalid value '0' for '--timeout <SECONDS>'"),
        ] {
            let fault = refused(words).unwrap();
            let text = fault.text(Output::Table);
            assert!(text.starts_with("error[COCO-1006]: ") && text.contains(expected), "{text}");
            assert!(!text.contains("\\u{") && text.contains("\n  next   "), "{text}");
            let json: serde_json::Value = serde_json::from_str(&fault.text(Output::Json)).unwrap();
            assert_eq!(json["error"]["exit"], 2);
        }
        for asked in [
            &["coco", "--help"][..],
            &["coco", "status", "--help"],
            &["coco", "--version"],
            &["coco"],
        ] {
            assert!(refused(asked).is_none(), "{asked:?}");
        }
    }

    #[test]
    fn errors_are_printed_as_the_line_says_that_is_not_understood() {
        let of = |words: &[&str], told: Option<&str>| {
            output(words.iter().map(OsString::from), told.map(OsString::from))
        };
        for (words, told, expected) in [
            (&["coco", "no-such"][..], None, Output::Table),
            (&["coco", "no-such"], Some("json"), Output::Json),
            (&["coco", "no-such"], Some("xml"), Output::Table),
            (&["coco", "--output", "json", "no-such"], None, Output::Json),
            (&["coco", "no-such", "--output=json"], None, Output::Json),
            (&["coco", "no-such", "--output=table"], Some("json"), Output::Table),
            (&["coco", "no-such", "--", "--output", "json"], None, Output::Table),
            (&["coco", "no-such", "--output"], None, Output::Table),
        ] {
            assert_eq!(of(words, told), expected, "{words:?} {told:?}");
        }
    }
}

//! What a path or a query may say: names, what they look like, and how they are read.

use coco_api::ErrorCode;
use coco_types::Digest;

use super::{
    respond::{self, Refused},
    route::Query,
    table::Versions,
};

/// Most items that one answer lists, and as many as it lists when nobody asks for fewer.
pub const LIMIT_MAX: usize = coco_governance::rows::PAGE_ROWS_MAX;

/// The versions of the interface, the newest last. The first is a preview.
pub const API_VERSIONS: [&str; 2] = ["2023-06-01-preview", "2024-07-01"];

/// What a query may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it looks like.
    pub form: Form,
    /// Whether the call is refused without it.
    pub is_required: bool,
}

/// What a parameter looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of [`API_VERSIONS`].
    ApiVersion,
    /// 1 to [`LIMIT_MAX`].
    Limit,
    /// Whatever is listed by.
    Text,
    /// A view.
    View,
    /// The number of an entry.
    Seqno,
    /// `true` or `false`.
    Truth,
    /// `<view>.<seqno>`.
    TransactionId,
    /// 64 hexadecimal digits.
    Id,
    /// This word.
    Word(&'static str),
}

pub(super) const API_VERSION: Parameter = Parameter {
    name: "api-version",
    about: "The version of this interface",
    form: Form::ApiVersion,
    is_required: true,
};
pub(super) const LIMIT: Parameter = Parameter {
    name: "limit",
    about: "Most items of the answer; a link to the next ones is in it when there are more",
    form: Form::Limit,
    is_required: false,
};
pub(super) const AFTER: Parameter = Parameter {
    name: "after",
    about: "The id after which the list goes on",
    form: Form::Text,
    is_required: false,
};
pub(super) const CASE: Parameter = Parameter {
    name: "case",
    about: "Whether members are spelled as they were set",
    form: Form::Word("original"),
    is_required: false,
};
pub(super) const TRANSACTION_ID: Parameter = Parameter {
    name: "transaction_id",
    about: "The transaction",
    form: Form::TransactionId,
    is_required: true,
};
pub(super) const SINCE: Parameter = Parameter {
    name: "since",
    about: "The entry after which it must be",
    form: Form::Seqno,
    is_required: false,
};
pub(super) const SINCE_ENTRY: Parameter =
    Parameter { about: "The entry that it must hold", is_required: true, ..SINCE };
pub(super) const HOST: Parameter = Parameter {
    name: "host",
    about: "The host, by its name or address, at which one of its interfaces is reached",
    form: Form::Text,
    is_required: false,
};
pub(super) const PORT: Parameter = Parameter {
    name: "port",
    about: "The port at which one of its interfaces is reached",
    form: Form::Text,
    is_required: false,
};
pub(super) const STATUS: Parameter = Parameter {
    name: "status",
    about: "Pending, Trusted or Retired; without it, the nodes that take part",
    form: Form::Text,
    is_required: false,
};
pub(super) const VIEW_HISTORY: &[Parameter] = &[
    Parameter {
        name: "view_history",
        about: "Whether to name the first transaction of each view",
        form: Form::Truth,
        is_required: false,
    },
    Parameter {
        name: "view_history_since",
        about: "The view from which on to name them",
        form: Form::View,
        is_required: false,
    },
];

/// What the parts of a path that vary are called, and what they look like.
pub(super) fn path_form(name: &str) -> Form {
    match name {
        "memberId" | "proposalId" | "userId" => Form::Id,
        "transactionId" => Form::TransactionId,
        // A node's id may also be the word `self` or `primary`.
        _ => Form::Text,
    }
}

/// Checks that a query names a version that the call has.
pub(super) fn check_version(versions: Versions, query: &Query<'_>) -> Result<(), Refused> {
    let supported = match versions {
        Versions::Unversioned => return Ok(()),
        Versions::All => &API_VERSIONS[..],
        Versions::Stable => &API_VERSIONS[1..],
    };
    let listed = supported.join(", ");
    match query.get(API_VERSION.name) {
        Some(found) if supported.contains(&found) => Ok(()),
        Some(found) => {
            let found: String = found.chars().take(SHOWN_CHARS_MAX).collect();
            let message = format!("the api-version {found:?} is not one of {listed}");
            Err(respond::error(ErrorCode::UnsupportedApiVersionValue, message).into())
        }
        None => {
            let message = format!("the query needs api-version= with one of {listed}");
            Err(respond::error(ErrorCode::MissingApiVersionParameter, message).into())
        }
    }
}

/// Reads an id: 64 lower-case hexadecimal digits, and nothing else.
pub(super) fn id(text: &str, what: &str) -> Result<Digest, Refused> {
    let digest = text.parse::<Digest>().ok().filter(|digest| digest.to_string() == text);
    digest.ok_or_else(|| {
        let text: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        let message = format!("{text:?} is no {what}: an id has 64 lower-case hexadecimal digits");
        respond::error(ErrorCode::InvalidResourceName, message).into()
    })
}

/// Text in which bytes may stand as `%` and two hexadecimal digits. Nothing, when it is none.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

/// Text as it can stand in a query.
pub(super) fn percent_encoded(text: &[u8]) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    encoded
}

/// Most characters of somebody's words that an error repeats.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let lower = "ab".repeat(32);
        assert_eq!(id(&lower, "member").map(|id| id.to_string()).ok(), Some(lower.clone()));
        let long = format!("{lower}0");
        for wrong in [lower.to_uppercase().as_str(), &lower[1..], &long, "", "self"] {
            assert_eq!(
                id(wrong, "member").map_err(|refused| refused.reply().status().as_u16()),
                Err(400)
            );
        }
    }

    #[test]
    fn names_come_back_from_a_query() {
        for text in ["/lib/a b.js", "x", "ä%20&=", ""] {
            let encoded = percent_encoded(text.as_bytes());
            assert!(encoded.bytes().all(|byte| !b"/ &=?#".contains(&byte)), "{encoded}");
            assert_eq!(percent_decoded(&encoded).as_deref(), Some(text));
        }
        for wrong in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_version_must_be_named_and_known() {
        let code = |versions, query: &str| {
            let query = Query::parse(query).expect("a query");
            check_version(versions, &query).err().map(|refused| refused.reply().status().as_u16())
        };
        for (versions, query, refused) in [
            (Versions::Unversioned, "", false),
            (Versions::All, "", true),
            (Versions::All, "api-version=2024-07-01", false),
            (Versions::All, "api-version=2023-06-01-preview", false),
            (Versions::All, "api-version=2024-07-02", true),
            (Versions::Stable, "api-version=2024-07-01", false),
            (Versions::Stable, "api-version=2023-06-01-preview", true),
        ] {
            assert_eq!(code(versions, query), refused.then_some(400), "{versions:?} {query}");
        }
    }
}

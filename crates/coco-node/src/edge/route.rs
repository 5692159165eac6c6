//! Reading what a request asks for: from method, path and query to who answers. Pure functions of a stranger's bytes.

use coco_types::TxId;
use hyper::Method;

/// Longest query string that is read, in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// JSON-RPC, in the body.
    Ethereum,
    /// A browser's question before its first request to JSON-RPC.
    Preflight,
    /// `/node`, `/app` and `/metrics`.
    Ledger,
    /// The path answers to other methods.
    NotAllowed {
        /// Which.
        allow: &'static str,
    },
    /// There is nothing at this path.
    Nothing,
    /// The query is longer than [`QUERY_BYTES_MAX`].
    LongQuery,
}

/// Decides who answers. Paths are compared as they came: nothing is decoded, joined or shortened, so a path has one
/// spelling.
#[must_use]
pub fn route(method: &Method, path: &str, query: &str) -> Route {
    if query.len() > QUERY_BYTES_MAX {
        return Route::LongQuery;
    }
    if matches!(path, "/" | "/eth") {
        return match *method {
            Method::POST => Route::Ethereum,
            Method::OPTIONS => Route::Preflight,
            _ => Route::NotAllowed { allow: "POST, OPTIONS" },
        };
    }
    if !knows(path) {
        return Route::Nothing;
    }
    match *method {
        Method::GET | Method::HEAD => Route::Ledger,
        _ => Route::NotAllowed { allow: "GET, HEAD" },
    }
}

fn knows(path: &str) -> bool {
    matches!(path, "/metrics")
        || path.strip_prefix("/node/").is_some_and(|rest| {
            matches!(
                rest,
                "state"
                    | "network"
                    | "network/nodes"
                    | "version"
                    | "ready/app"
                    | "primary"
                    | "self_signed_certificate"
            ) || common(rest)
                || rest.starts_with("network/nodes/")
        })
        || path.strip_prefix("/app/").is_some_and(common)
}

fn common(rest: &str) -> bool {
    matches!(rest, "commit" | "tx" | "receipt" | "receipt/cose")
}

/// A query string, split. None of our parameters needs percent-encoding, so none is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a>(Vec<(&'a str, &'a str)>);

/// A query that is not of the form `name=value&name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query is not of the form name=value&name=value")]
pub struct ParseQueryError;

impl<'a> Query<'a> {
    /// Splits the text after the question mark.
    ///
    /// # Errors
    /// [`ParseQueryError`] when a part has no `=`.
    pub fn parse(text: &'a str) -> Result<Self, ParseQueryError> {
        let parts = text.split('&').filter(|part| !part.is_empty());
        parts
            .map(|part| part.split_once('=').ok_or(ParseQueryError))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The value of the first part with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The transaction that the query names.
    ///
    /// # Errors
    /// The message of the answer to a query without one.
    pub fn transaction_id(&self) -> Result<TxId, String> {
        let Some(text) = self.get("transaction_id") else {
            return Err("the query needs transaction_id=<view>.<seqno>, for example 2.18".into());
        };
        text.parse().map_err(|error: coco_types::ParseIdError| error.to_string())
    }
}

/// Whether a write is answered only after its commit: the value of `wait` in its query.
///
/// # Errors
/// The message of the answer to a query that has no meaning.
pub fn waits_for_commit(query: &str) -> Result<bool, String> {
    let query =
        Query::parse(query).map_err(|_| "the query is not of the form name=value".to_owned())?;
    match query.get("wait") {
        None => Ok(false),
        Some("committed") => Ok(true),
        Some(other) => {
            Err(format!("wait={other} has no meaning: leave it out, or say wait=committed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_follows_from_method_and_path() {
        for (method, path, expected) in [
            (Method::POST, "/", Route::Ethereum),
            (Method::POST, "/eth", Route::Ethereum),
            (Method::OPTIONS, "/", Route::Preflight),
            (Method::GET, "/", Route::NotAllowed { allow: "POST, OPTIONS" }),
            (Method::GET, "/app/tx", Route::Ledger),
            (Method::HEAD, "/node/network/nodes/self", Route::Ledger),
            (Method::POST, "/app/tx", Route::NotAllowed { allow: "GET, HEAD" }),
            (Method::GET, "//app/tx", Route::Nothing),
            (Method::GET, "/app/%74x", Route::Nothing),
            (Method::GET, "/app/../node/state", Route::Nothing),
            (Method::GET, "", Route::Nothing),
        ] {
            assert_eq!(route(&method, path, ""), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_query_has_a_limit() {
        for (bytes, expected) in [
            (QUERY_BYTES_MAX - 1, Route::Ledger),
            (QUERY_BYTES_MAX, Route::Ledger),
            (QUERY_BYTES_MAX + 1, Route::LongQuery),
        ] {
            assert_eq!(route(&Method::GET, "/app/tx", &"a".repeat(bytes)), expected, "{bytes}");
        }
    }
}

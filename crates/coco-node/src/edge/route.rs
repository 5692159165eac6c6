//! Reading what a request asks for: from method, path and query to who answers. Pure functions of a stranger's bytes.

use coco_types::TxId;
use hyper::Method;

use super::table::{ROWS, Row, Verb};

/// Longest query string that is read, in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;

/// Who answers a request.
#[derive(Debug)]
pub enum Route<'p> {
    /// A row of the table.
    Found(&'static Row, Names<'p>),
    /// The path answers to other methods.
    NotAllowed {
        /// Which.
        allow: String,
    },
    /// There is nothing at this path.
    Nothing,
    /// The query is longer than [`QUERY_BYTES_MAX`].
    LongQuery,
}

/// The parts of a path that vary, by the names that the table gives them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names<'p>(Vec<(&'static str, &'p str)>);

impl<'p> Names<'p> {
    /// The part of that name; empty when the path has none.
    #[must_use]
    pub fn get(&self, name: &str) -> &'p str {
        self.0.iter().find(|(found, _)| *found == name).map_or("", |(_, text)| text)
    }
}

/// Decides who answers. Paths are compared as they came: nothing is decoded, joined or shortened, so a path has one
/// spelling.
#[must_use]
pub fn route<'p>(method: &Method, path: &'p str, query: &str) -> Route<'p> {
    if query.len() > QUERY_BYTES_MAX {
        return Route::LongQuery;
    }
    let mut allow: Vec<&str> = Vec::new();
    for row in ROWS {
        let Some(names) = names(row.path, path) else { continue };
        let methods = methods(row.verb);
        if methods.contains(&method.as_str()) {
            return Route::Found(row, names);
        }
        allow.extend(methods);
    }
    if allow.is_empty() { Route::Nothing } else { Route::NotAllowed { allow: allow.join(", ") } }
}

const fn methods(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Get => &["GET", "HEAD"],
        Verb::Post => &["POST"],
        Verb::Delete => &["DELETE"],
        Verb::Options => &["OPTIONS"],
    }
}

/// Fits a path into a pattern.
fn names<'p>(pattern: &'static str, path: &'p str) -> Option<Names<'p>> {
    let mut names = Names::default();
    let mut parts = path.split('/');
    for expected in pattern.split('/') {
        let part = parts.next()?;
        match expected.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            None if part == expected => {}
            None => return None,
            Some((name, action)) => {
                let text = part.strip_suffix(action)?;
                // A colon begins the name of an action, so that no id swallows one.
                if text.is_empty() || text.contains(':') {
                    return None;
                }
                names.0.push((name, text));
            }
        }
    }
    parts.next().is_none().then_some(names)
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

    fn found(method: &Method, path: &str) -> String {
        match route(method, path, "") {
            Route::Found(row, _) => row.path.to_owned(),
            Route::NotAllowed { allow } => format!("allow {allow}"),
            Route::Nothing => "nothing".to_owned(),
            Route::LongQuery => "long".to_owned(),
        }
    }

    #[test]
    fn who_answers_follows_from_method_and_path() {
        for (method, path, expected) in [
            (Method::POST, "/", "/"),
            (Method::POST, "/eth", "/eth"),
            (Method::OPTIONS, "/", "/"),
            (Method::GET, "/", "allow POST, OPTIONS"),
            (Method::GET, "/app/tx", "/app/tx"),
            (Method::HEAD, "/node/network/nodes/self", "/node/network/nodes/{nodeId}"),
            (Method::POST, "/app/tx", "allow GET, HEAD"),
            (Method::GET, "//app/tx", "nothing"),
            (Method::GET, "/app/tx/", "nothing"),
            (Method::GET, "/app/%74x", "nothing"),
            (Method::GET, "/app/../node/state", "nothing"),
            (Method::GET, "", "nothing"),
            (Method::GET, "/gov/members/proposals", "/gov/members/proposals"),
            (Method::POST, "/gov/members/proposals", "allow GET, HEAD"),
            (Method::GET, "/gov/members/proposals:create", "allow POST"),
            (Method::POST, "/gov/members/proposals/a", "allow GET, HEAD"),
            (
                Method::POST,
                "/gov/members/proposals/a:withdraw",
                "/gov/members/proposals/{proposalId}:withdraw",
            ),
            (Method::GET, "/gov/members/proposals/a:withdraw", "allow POST"),
            (Method::GET, "/gov/members/proposals/a:dance", "nothing"),
            (Method::GET, "/gov/members/proposals/", "nothing"),
            (
                Method::POST,
                "/gov/members/proposals/a/ballots/b:submit",
                "/gov/members/proposals/{proposalId}/ballots/{memberId}:submit",
            ),
            (Method::GET, "/gov/service/transactions/commit", "/gov/service/transactions/commit"),
            (
                Method::GET,
                "/gov/service/transactions/2.7",
                "/gov/service/transactions/{transactionId}",
            ),
        ] {
            assert_eq!(found(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn every_row_is_found_under_its_own_path() {
        for row in ROWS {
            let method = Method::from_bytes(methods(row.verb)[0].as_bytes()).expect("a method");
            assert_eq!(found(&method, row.path), row.path);
        }
    }

    #[test]
    fn the_parts_of_a_path_have_names() {
        let path = "/gov/members/proposals/p/ballots/m:submit";
        let Route::Found(_, names) = route(&Method::POST, path, "") else { panic!() };
        assert_eq!(
            [names.get("proposalId"), names.get("memberId"), names.get("x")],
            ["p", "m", ""]
        );
    }

    #[test]
    fn a_query_has_a_limit() {
        for (bytes, is_found) in
            [(QUERY_BYTES_MAX - 1, true), (QUERY_BYTES_MAX, true), (QUERY_BYTES_MAX + 1, false)]
        {
            let query = "a".repeat(bytes);
            let route = route(&Method::GET, "/app/tx", &query);
            assert_eq!(matches!(route, Route::Found(..)), is_found, "{bytes}");
        }
    }
}

//! Connections of clients, counted by the interface that they came in at: what `/node/metrics` shows.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use coco_api::{InterfaceSessions, NodeMetrics, SessionErrors, SessionMetrics};
use hyper::StatusCode;

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// HTTPS.
    Client,
    /// Plain HTTP on a loopback address.
    Development,
}

impl Interface {
    const ALL: [Self; 2] = [Self::Client, Self::Development];

    /// What it is called in a node's configuration.
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Development => "development_http",
        }
    }
}

/// All connections of one node since its start.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: Open,
    client: Counts,
    development: Counts,
}

/// How many are open, and were at most.
#[derive(Debug, Default)]
struct Open {
    active: AtomicU64,
    peak: AtomicU64,
}

/// Those of one interface, and how often one of them brought what is no request.
#[derive(Debug, Default)]
struct Counts {
    listens: AtomicBool,
    open: Open,
    parsing: AtomicU64,
    header_too_large: AtomicU64,
    payload_too_large: AtomicU64,
}

impl Open {
    fn begin(&self) {
        let active = self.active.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(active, Ordering::Relaxed);
    }

    fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are open, and were at most: never more than at most.
    fn shown(&self) -> (u64, u64) {
        let active = self.active.load(Ordering::Relaxed);
        (active, self.peak.load(Ordering::Relaxed).max(active))
    }
}

impl Sessions {
    const fn of(&self, interface: Interface) -> &Counts {
        match interface {
            Interface::Client => &self.client,
            Interface::Development => &self.development,
        }
    }

    /// Says that the node listens at an interface, which is shown from then on.
    pub(crate) fn listen(&self, interface: Interface) {
        self.of(interface).listens.store(true, Ordering::Relaxed);
    }

    /// Counts a connection as long as what is given lives.
    pub(crate) fn begin(self: &Arc<Self>, interface: Interface) -> Session {
        self.all.begin();
        self.of(interface).open.begin();
        Session { sessions: Arc::clone(self), interface }
    }

    /// How many are open.
    pub(crate) fn active(&self) -> i64 {
        self.all.active.load(Ordering::Relaxed).try_into().unwrap_or(i64::MAX)
    }

    /// As clients see them. One limit holds over all interfaces, and one more connection is closed at once: it is CCF's
    /// `hard_cap`, and since nobody is refused before, its `soft_cap`, too.
    pub(crate) fn shown(&self, connections_max: usize) -> NodeMetrics {
        let cap = connections_max as u64;
        let listens = |interface: &Interface| self.of(*interface).listens.load(Ordering::Relaxed);
        let interfaces = Interface::ALL.into_iter().filter(listens);
        let interfaces = interfaces
            .map(|interface| (interface.name().to_owned(), self.of(interface).shown(cap)))
            .collect();
        let (active, peak) = self.all.shown();
        NodeMetrics { sessions: SessionMetrics { active, peak, interfaces } }
    }
}

impl Counts {
    fn shown(&self, cap: u64) -> InterfaceSessions {
        let (active, peak) = self.open.shown();
        let count = |errors: &AtomicU64| errors.load(Ordering::Relaxed);
        InterfaceSessions {
            active,
            peak,
            soft_cap: cap,
            hard_cap: cap,
            errors: SessionErrors {
                parsing: count(&self.parsing),
                request_header_too_large: count(&self.header_too_large),
                request_payload_too_large: count(&self.payload_too_large),
            },
        }
    }
}

/// One connection. It is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    sessions: Arc<Sessions>,
    interface: Interface,
}

impl Session {
    fn counts(&self) -> &Counts {
        self.sessions.of(self.interface)
    }

    /// Counts a request whose body was refused for its size, if this is its answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            self.counts().payload_too_large.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that ended because of what came in on it. HTTP/2 answers headers that are too large by itself,
    /// and its connections go on: those are not counted.
    pub(crate) fn failed(&self, error: &(dyn Error + 'static)) {
        let Some(error) = error.downcast_ref::<hyper::Error>() else { return };
        let errors = if error.is_parse_too_large() {
            &self.counts().header_too_large
        } else if error.is_parse() {
            &self.counts().parsing
        } else {
            return;
        };
        errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.counts().open.end();
        self.sessions.all.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_no_longer_open_and_stays_in_the_peak() {
        let sessions = Arc::new(Sessions::default());
        sessions.listen(Interface::Client);
        let first = sessions.begin(Interface::Client);
        let second = sessions.begin(Interface::Development);
        drop(first);
        first_alone(&sessions.shown(9));
        second.answered(StatusCode::OK);
        second.answered(StatusCode::PAYLOAD_TOO_LARGE);
        drop(second);
        sessions.listen(Interface::Development);
        let shown = sessions.shown(9).sessions;
        assert_eq!((shown.active, shown.peak), (0, 2));
        let development = &shown.interfaces["development_http"];
        assert_eq!((development.active, development.peak), (0, 1));
        assert_eq!(development.errors.request_payload_too_large, 1);
    }

    fn first_alone(shown: &NodeMetrics) {
        let shown = &shown.sessions;
        assert_eq!((shown.active, shown.peak), (1, 2));
        assert_eq!(shown.interfaces.len(), 1, "one where nobody listens is not shown");
        let client = &shown.interfaces["client"];
        assert_eq!((client.active, client.peak, client.hard_cap), (0, 1, 9));
    }
}

//! What a node counts, as Prometheus text.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of the request counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// HTTP status code.
    pub status: u16,
}

/// All counters of one node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Transactions executed here as primary.
    pub executed: Counter,
    /// Entries handed to the disk.
    pub entries: Counter,
    /// Last committed seqno.
    pub committed: Gauge,
    /// Seqno of the newest complete snapshot of this run.
    pub snapshot: Gauge,
    /// Current view.
    pub view: Gauge,
    /// One on the primary, zero elsewhere.
    pub is_primary: Gauge,
    /// Seconds that one group of writes took to become durable.
    pub fsync_seconds: Histogram,
    /// Bytes of ledger written.
    pub ledger_bytes: Counter,
    /// Bytes sent to peers before encryption.
    pub peer_bytes_sent: Counter,
    /// HTTP responses by status.
    pub responses: Family<StatusLabel, Counter>,
    /// Client connections open now.
    pub sessions: Gauge,
    /// How often keys of issuers of tokens were fetched.
    pub issuer_fetches: Counter,
    /// How often that succeeded.
    pub issuer_fetches_done: Counter,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("coco");
        let metrics = Self::unregistered();
        registry.register(
            "transactions_executed",
            "Transactions executed here as primary",
            metrics.executed.clone(),
        );
        registry.register(
            "entries_written",
            "Ledger entries handed to the disk",
            metrics.entries.clone(),
        );
        registry.register(
            "committed_seqno",
            "Position of the last committed entry",
            metrics.committed.clone(),
        );
        registry.register(
            "snapshot_seqno",
            "Position of the newest complete snapshot of this run",
            metrics.snapshot.clone(),
        );
        registry.register("view", "Current view", metrics.view.clone());
        registry.register(
            "is_primary",
            "One on the primary, zero elsewhere",
            metrics.is_primary.clone(),
        );
        registry.register_with_unit(
            "fsync",
            "Time for one group of writes to become durable",
            Unit::Seconds,
            metrics.fsync_seconds.clone(),
        );
        registry.register_with_unit(
            "ledger_written",
            "Ledger written",
            Unit::Bytes,
            metrics.ledger_bytes.clone(),
        );
        registry.register_with_unit(
            "peer_sent",
            "Sent to peers",
            Unit::Bytes,
            metrics.peer_bytes_sent.clone(),
        );
        registry.register("http_responses", "HTTP responses by status", metrics.responses.clone());
        registry.register(
            "issuer_fetches",
            "How often keys of issuers of tokens were fetched",
            metrics.issuer_fetches.clone(),
        );
        registry.register(
            "issuer_fetches_done",
            "How often that succeeded",
            metrics.issuer_fetches_done.clone(),
        );
        registry.register("sessions", "Client connections open now", metrics.sessions.clone());
        Self { registry, ..metrics }
    }

    fn unregistered() -> Self {
        Self {
            executed: Counter::default(),
            entries: Counter::default(),
            committed: Gauge::default(),
            snapshot: Gauge::default(),
            view: Gauge::default(),
            is_primary: Gauge::default(),
            fsync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            ledger_bytes: Counter::default(),
            peer_bytes_sent: Counter::default(),
            responses: Family::default(),
            sessions: Gauge::default(),
            issuer_fetches: Counter::default(),
            issuer_fetches_done: Counter::default(),
            registry: Registry::default(),
        }
    }

    /// The text that Prometheus reads.
    ///
    /// # Panics
    /// Never: writing to a string does not fail.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

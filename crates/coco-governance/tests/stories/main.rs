//! Stories of a consortium, told through the one public function.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod acknowledge;
mod arguments;
mod audit;
mod automatic;
mod ballots;
mod callers;
mod ccf_constitution;
mod consortium;
mod constitutions;
mod default_constitution;
mod expiry;
mod life;
mod node_requests;
mod recovery;
mod replays;
mod requests;
mod rotation;
mod routes;
mod stolen_key;
mod strict_rules;

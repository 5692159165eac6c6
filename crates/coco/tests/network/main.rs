//! Whole networks: real node processes, real sockets, real files, and what can happen to them.
//!
//! | file | what it shows |
//! |---|---|
//! | `faults.rs` | nothing that was acknowledged is lost when processes are killed or frozen |
//! | `rejoin.rs` | a node that starts again is another, gets its seat, and a disk that was set back harms nobody |
//! | `restart.rs` | a network that was stopped resumes with everything that was committed |
//! | `snapshots.rs` | nodes start from snapshots, bear archived chunks below them, and refuse damaged ones |
//! | `bad_input.rs` | no input stops a node, and each gets a clear answer or a closed connection |
//! | `api.rs` | `/node`, `/app`, receipts, forwarding and both versions of HTTP |
//! | `authorization.rs` | who may make which call: the statement, and the matrix made from it |
//! | `callers.rs` | who calls is recognised by certificates, organisations and tokens, as members voted |
//! | `ccf.rs` | a network under CCF's sample constitution, where that can be obtained |
//! | `disclosure.rs` | members read private entries offline, with shares enough and an accepted request |
//! | `figures.rs` | measurements of governance, run by hand |
//! | `governance.rs` | members govern at any node, also when the primary dies and when scripts burn |
//! | `downgrade.rs` | an older TLS is refused on every port |
//! | `issuers.rs` | the keys of an issuer of tokens are fetched from it, by the certificates that members gave it |
//! | `names.rs` | nodes that are reached by names, and listen elsewhere |
//! | `newcomers.rs` | a node of a new operator joins by a vote, another leaves, strangers get nothing |
//! | `node_calls.rs` | operators watch a node over HTTP, and have it do something |
//! | `operators.rs` | what is wrong with a network is said, and how it and its nodes are set up |
//! | `tutorial.rs` | the commands of the page on governing do what it says |
//! | `replay.rs` | real signed transactions of the public chain |
//!
//! The other files are what these stand on. Networks are started one after the other, in all processes of a test run,
//! since they measure time. `COCO_BIN` names another program than the one that was just built.

#![expect(clippy::print_stdout, reason = "the tests report what they measured")]

mod accounts;
mod api;
mod authorization;
mod bad_input;
mod callers;
mod ccf;
mod cluster;
mod copies;
mod dev;
mod disclosure;
mod downgrade;
mod downloads;
#[path = "../members/ended.rs"]
mod ended;
mod faults;
mod figures;
mod governance;
mod http;
mod identities;
mod issuers;
mod leases;
mod ledger;
mod load;
mod members;
mod model;
mod names;
mod newcomers;
mod node_calls;
mod opening;
mod operators;
mod program;
mod recovery;
mod rejoin;
mod renewal;
mod replay;
mod restart;
mod rpc;
mod snapshots;
mod tutorial;

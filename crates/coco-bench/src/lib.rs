//! The load generator behind `coco bench`: signed transactions in, counts and latencies out.
//!
//! It talks plain HTTP/1.1 JSON-RPC to any Ethereum node, so that other programs can be measured by the same ruler.
//! Three rules keep the figures honest:
//!
//! - A transaction counts as committed when a block read back from the node names its hash and the node answers for
//!   its receipt. Acceptance of the submission counts for nothing.
//! - In an open loop (`--rate`) latency runs from the moment a request was *due*, not from when a connection became
//!   free, so a stalled server is charged for every request it delayed.
//! - Signing happens before the clock starts, and the generator's own processor time is reported next to the
//!   server's.
//!
//! [`run()`] is the program; [`mainnet::prepare`] turns recorded public blocks into a genesis and a file of raw
//! transactions. There is no TLS here: point it at a loopback address.

pub mod args;
mod client;
mod load;
pub mod mainnet;
mod plan;
mod process;
pub mod recover;
pub mod report;
mod rpc;
mod run;
pub mod sign;
mod watch;
mod workload;

pub use args::BenchArgs;
pub use plan::Signed;
pub use report::Report;
pub use run::run;

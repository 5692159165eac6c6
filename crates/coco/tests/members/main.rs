//! Members at the command line: the program itself, against a service that decides by the real rules and is no network.
//!
//! | file | what it shows |
//! |---|---|
//! | `life.rs` | a member is proposed, voted in, and becomes active; proposals are withdrawn, watched and refused |
//! | `elsewhere.rs` | requests that are signed where no network is, printed, lost, and sent twice |
//! | `trust.rs` | a wrong service, a node that lies, a key that others can read |
//! | `keys.rs` | files of keys, and CCF's tools' |
//! | `entropy.rs` | keys where the host says what is random |
//! | `device.rs` | keys in devices, by PKCS #11 |
//! | `auditor.rs` | a ledger that a service wrote against its rules |
//! | `words.rs` | exit codes, errors and JSON |

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod auditor;
mod desk;
mod device;
mod elsewhere;
mod ended;
mod entropy;
mod keys;
mod life;
mod service;
mod trust;
mod words;

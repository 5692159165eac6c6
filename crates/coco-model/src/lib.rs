//! Consensus held against a model.
//!
//! Floor 3, and a tool of tests: nothing that ships leans on it.
//!
//! - [`rules`]: what a node may do, each rule a plain function. Written from the protocol, without the engine's code.
//! - [`model`]: a few nodes that do all that the rules allow, in every order, and sometimes break one.
//! - [`trace`]: holds what real nodes do against the same rules.
//! - [`exhaust()`]: looks at everything they can do, and says which promise was broken.
//!
//! The program `coco-model` exhausts the bounds that have names; `cargo xtask model` runs it.

mod exhaust;
pub mod model;
pub mod rules;
pub mod trace;

pub use exhaust::{Outcome, exhaust};

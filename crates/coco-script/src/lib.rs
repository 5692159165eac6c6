//! Runs JavaScript that cannot harm whoever runs it.
//!
//! The engine is QuickJS-NG, compiled to WebAssembly, in an interpreter written in Rust. What a script does happens in a
//! memory of its own, and whatever it makes of the engine's C code, it stays there. Each instruction costs fuel, inside
//! built-in functions as well; memory has a hard limit; so has nesting. The same sources, arguments and answers of the host
//! give the same result for the same fuel on every machine.
//!
//! ```text
//!   Engine::new ─▶ Engine ── Image::new(preludes, modules) ─▶ Image ── Image::run(modules, call, host) ─▶ Outcome
//!   once a process                a frozen realm, as memory              as often as wanted, each from that memory
//! ```
//!
//! Sources are ES modules that may import one another by name. A *prelude* is a script that runs before all modules and
//! makes the globals that they see; the one way out is its function `host(operation, ...arguments)`, which becomes
//! [`Host::call`]. After the preludes `host` is gone, and the global object and all that can be reached from it is frozen,
//! except for proxies and what only they or closures lead to, which a prelude freezes itself, and for elements of typed arrays. On frozen prototypes, members
//! that programs do override (such as `name` of errors) can still be assigned on objects of one's own.
//!
//! Of what ECMAScript has, these are missing or altered: `Math.random`; `Date.now`, `Date()` and `new Date()` without
//! arguments (what takes a time stays, in UTC); `eval` and functions from text; `WeakRef` and `FinalizationRegistry`;
//! `Atomics`; timers and everything of browsers, except for a `console` with `log`, `debug`, `info`, `warn` and
//! `error`. `import()` finds the modules that the run was given and no others. A rejected promise
//! that nobody waits for goes unnoticed.
//!
//! Absent: a way to go on with a realm after a run, clocks, entropy, files, threads.

mod engine;
mod error;
mod fuel;
mod image;
mod instance;
mod json;
mod limits;
mod outside;
mod value;

pub use engine::Engine;
pub use error::{Exception, HostError, Place, ScriptError};
pub use image::{Call, Export, Image, Outcome, Source};
pub use limits::{Limits, STACK_BYTES};
pub use outside::{Host, NoHost};
pub use value::{DEPTH_MAX, NoValue, Value};

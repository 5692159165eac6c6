//! The compiled engine.

use std::{fmt, sync::Arc};

use wasmi::{CompilationMode, Config, Module};

use crate::{
    fuel,
    limits::{CALLS_MAX, REGISTERS_BYTES_MAX},
};

/// The guest: QuickJS-NG and what connects it, as WebAssembly. See `build.rs`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// A JavaScript engine, ready to make realms. Made once for a process; clones share what it holds.
#[derive(Clone)]
pub struct Engine(Arc<Compiled>);

struct Compiled {
    engine: wasmi::Engine,
    module: Module,
}

impl Engine {
    /// Translates the engine for the interpreter, which takes some tens of milliseconds.
    ///
    /// # Panics
    ///
    /// If the engine that was built into this program is no WebAssembly.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is too slow to come about by itself")]
    pub fn new() -> Self {
        let mut config = Config::default();
        config
            .consume_fuel(true)
            .operator_cost(fuel::cost())
            // Lazy translation is paid for with fuel by whoever comes first, and so would make runs differ.
            .compilation_mode(CompilationMode::Eager)
            .ignore_custom_sections(true)
            .wasm_multi_memory(false)
            .wasm_tail_call(false)
            .set_max_recursion_depth(CALLS_MAX)
            .set_max_stack_height(REGISTERS_BYTES_MAX);
        let engine = wasmi::Engine::new(&config);
        let module = Module::new(&engine, GUEST).expect("the build made this module");
        Self(Arc::new(Compiled { engine, module }))
    }

    /// The engine's code, for digests: results and fuel are a function of it, of sources and of arguments.
    #[must_use]
    pub const fn code() -> &'static [u8] {
        GUEST
    }

    /// The version of QuickJS-NG that was compiled.
    #[must_use]
    pub const fn version() -> &'static str {
        env!("QUICKJS_VERSION")
    }

    pub(crate) fn engine(&self) -> &wasmi::Engine {
        &self.0.engine
    }

    pub(crate) fn module(&self) -> &Module {
        &self.0.module
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

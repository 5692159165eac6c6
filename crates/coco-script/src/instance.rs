//! One guest at work: the calls that the host makes to it.

use wasmi::{Memory, Store, TrapCode, WasmParams, WasmResults};

use crate::{
    Engine, Exception, Limits, ScriptError, Value,
    limits::STACK_BYTES,
    outside::{Host, Outside},
};

/// A guest with its memory. What a failed call leaves behind is undefined, so nothing is asked of it afterwards.
pub(crate) struct Instance<'h> {
    store: Store<Outside<'h>>,
    instance: wasmi::Instance,
    memory: Memory,
    limits: Limits,
}

impl<'h> Instance<'h> {
    /// A guest in which nothing has happened.
    pub(crate) fn new(
        engine: &Engine,
        limits: Limits,
        host: Option<&'h mut dyn Host>,
    ) -> Result<Self, ScriptError> {
        let mut store = Store::new(engine.engine(), Outside::new(&limits, host));
        store.limiter(|outside| &mut outside.memory);
        store.set_fuel(limits.fuel).map_err(|error| broken(&error))?;
        let mut imports = Vec::new();
        for import in engine.module().imports() {
            let known = match import.module() {
                "coco" => Outside::import(&mut store, import.name()),
                _ => None,
            };
            imports.push(known.ok_or_else(|| {
                ScriptError::Broken(format!("the guest imports {}", import.name()))
            })?);
        }
        let instance = wasmi::Instance::new(&mut store, engine.module(), &imports);
        let instance = match instance {
            Ok(instance) => instance,
            Err(_) if store.data().memory.denied => {
                return Err(ScriptError::OutOfMemory { bytes: limits.memory_bytes });
            }
            Err(error) => return Err(broken(&error)),
        };
        let memory = instance
            .get_memory(&store, "memory")
            .ok_or_else(|| ScriptError::Broken("the guest has no memory".into()))?;
        Ok(Self { store, instance, memory, limits })
    }

    /// Starts the engine with an empty realm.
    pub(crate) fn begin(&mut self) -> Result<(), ScriptError> {
        self.call::<_, ()>("_initialize", ())?;
        match self.call("begin", STACK_BYTES)? {
            DONE => self.call("limit", self.limits.value_bytes),
            _ => Err(self.out_of_memory()),
        }
    }

    /// Lets values of the limit's size pass. An image may have been made under another limit.
    pub(crate) fn limit(&mut self) -> Result<(), ScriptError> {
        self.call("limit", self.limits.value_bytes)
    }

    /// Runs a script in the global scope.
    pub(crate) fn script(&mut self, name: &str, source: &str) -> Result<(), ScriptError> {
        let (name, text, length) = self.source(name, source)?;
        let outcome = self.call("script", (name, text, length))?;
        self.done(outcome)
    }

    /// Makes a module known.
    pub(crate) fn add(&mut self, name: &str, source: &str) -> Result<(), ScriptError> {
        let (name, text, length) = self.source(name, source)?;
        match self.call("add", (name, text, length))? {
            DONE => Ok(()),
            _ => Err(self.out_of_memory()),
        }
    }

    /// Evaluates a module that is known, and what it imports.
    pub(crate) fn evaluate(&mut self, name: &str) -> Result<(), ScriptError> {
        let name = self.put(name.as_bytes())?;
        let outcome = self.call("evaluate", name)?;
        self.done(outcome)
    }

    /// What an evaluated module exports, as a record: numbers of parameters for functions.
    pub(crate) fn exports(&mut self, name: &str) -> Result<Value, ScriptError> {
        let name = self.put(name.as_bytes())?;
        let outcome = self.call("exports", name)?;
        self.done(outcome)?;
        self.output()
    }

    /// Calls a function of an evaluated module.
    pub(crate) fn apply(
        &mut self,
        module: &str,
        function: &str,
        arguments: &[Value],
    ) -> Result<Value, ScriptError> {
        let encoded = Value::encode_list(arguments);
        let length = u32::try_from(encoded.len()).map_err(|_| ScriptError::Arguments)?;
        if length > self.limits.value_bytes {
            return Err(ScriptError::Arguments);
        }
        let (name, export) = (self.put(module.as_bytes())?, self.put(function.as_bytes())?);
        let encoded = self.put(&encoded)?;
        let outcome: i32 = self.call("apply", (name, export, encoded, length))?;
        if outcome == NO_FUNCTION {
            let (module, function) = (module.to_owned(), function.to_owned());
            return Err(ScriptError::NoFunction { module, function });
        }
        self.done(outcome)?;
        self.output()
    }

    /// The fuel that is used so far.
    pub(crate) fn fuel_used(&self) -> u64 {
        let left = self.store.get_fuel().expect("the engine counts fuel");
        self.limits.fuel.saturating_sub(left)
    }

    /// All memory. It never shrinks.
    pub(crate) fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Grows the memory to a number of bytes, and lays pieces over it.
    pub(crate) fn overlay<'p>(
        &mut self,
        bytes: usize,
        pieces: impl IntoIterator<Item = (usize, &'p [u8])>,
    ) -> Result<(), ScriptError> {
        let pages = bytes.saturating_sub(self.memory().len()).div_ceil(PAGE_BYTES);
        if self.memory.grow(&mut self.store, pages as u64).is_err() {
            return Err(self.out_of_memory());
        }
        let memory = self.memory.data_mut(&mut self.store);
        for (at, piece) in pieces {
            memory[at..at + piece.len()].copy_from_slice(piece);
        }
        Ok(())
    }

    /// Whether the stack is where it is between calls.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.stack_pointer() == Some(STACK_TOP)
    }

    /// The lines that the script wrote.
    pub(crate) fn into_log(self) -> Vec<String> {
        self.store.into_data().log
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        parameters: P,
    ) -> Result<R, ScriptError> {
        let function = self.instance.get_typed_func::<P, R>(&self.store, name);
        let function = function.map_err(|error| broken(&error))?;
        function.call(&mut self.store, parameters).map_err(|error| self.trapped(&error))
    }

    /// Why the guest came to an end within a call.
    fn trapped(&mut self, error: &wasmi::Error) -> ScriptError {
        if let Some(reason) = self.store.data_mut().stopped.take() {
            return ScriptError::Stopped(reason);
        }
        match error.as_trap_code() {
            Some(TrapCode::OutOfFuel) => ScriptError::OutOfFuel { fuel: self.limits.fuel },
            Some(TrapCode::StackOverflow) => ScriptError::TooDeep,
            // The stack lies at the bottom of the memory: whoever grows it further leaves the memory.
            Some(TrapCode::MemoryOutOfBounds) if self.is_stack_used_up() => ScriptError::TooDeep,
            // Where memory is short the engine may find itself in a state that it thinks impossible, and gives up.
            _ if self.store.data().memory.denied => self.out_of_memory(),
            _ => broken(error),
        }
    }

    fn stack_pointer(&self) -> Option<u32> {
        let global = self.instance.get_global(&self.store, "__stack_pointer")?;
        global.get(&self.store).i32().map(i32::cast_unsigned)
    }

    fn is_stack_used_up(&self) -> bool {
        self.stack_pointer().is_some_and(|at| !(STACK_TOP - STACK_BYTES..=STACK_TOP).contains(&at))
    }

    fn out_of_memory(&self) -> ScriptError {
        ScriptError::OutOfMemory { bytes: self.limits.memory_bytes }
    }

    fn source(&mut self, name: &str, source: &str) -> Result<(u32, u32, u32), ScriptError> {
        let length = u32::try_from(source.len()).map_err(|_| self.out_of_memory())?;
        Ok((self.put(name.as_bytes())?, self.put(source.as_bytes())?, length))
    }

    /// Copies bytes and a zero byte into the guest.
    fn put(&mut self, bytes: &[u8]) -> Result<u32, ScriptError> {
        let size = u32::try_from(bytes.len()).ok().and_then(|length| length.checked_add(1));
        let size = size.ok_or_else(|| self.out_of_memory())?;
        let at: u32 = self.call("allocate", size)?;
        if at == 0 {
            return Err(self.out_of_memory());
        }
        let outside = || ScriptError::Broken("the guest allocated what it does not have".into());
        let range = range(at, size).ok_or_else(outside)?;
        let memory = self.memory.data_mut(&mut self.store);
        let place = memory.get_mut(range).ok_or_else(outside)?;
        let (last, all) = place.split_last_mut().expect("the size is one at least");
        all.copy_from_slice(bytes);
        *last = 0;
        Ok(at)
    }

    fn output_bytes(&mut self) -> Result<&[u8], ScriptError> {
        let (at, length): (u32, u32) = (self.call("output", ())?, self.call("output_length", ())?);
        let bytes = range(at, length).and_then(|range| self.memory().get(range));
        bytes.ok_or_else(|| ScriptError::Broken("the guest's output is not in its memory".into()))
    }

    fn output(&mut self) -> Result<Value, ScriptError> {
        let decoded = Value::decode(self.output_bytes()?);
        decoded.map_err(|_| ScriptError::Broken("the guest's output is no value".into()))
    }

    fn done(&mut self, outcome: i32) -> Result<(), ScriptError> {
        match outcome {
            DONE => Ok(()),
            UNSETTLED => Err(ScriptError::Unsettled),
            THREW | MALFORMED | RESULT_REFUSED => {
                let exception = self.exception()?;
                Err(self.threw(outcome, exception))
            }
            _ => Err(ScriptError::Broken(format!("the guest answers {outcome}"))),
        }
    }

    fn threw(&self, outcome: i32, exception: Exception) -> ScriptError {
        let Exception { name, message, .. } = &exception;
        // What the engine itself throws. A script that throws the same has nothing of it.
        match (name.as_str(), message.as_str()) {
            // Nothing at all is thrown if there was no memory for an error.
            ("InternalError", "out of memory") | ("", "null") if self.is_memory_denied() => {
                self.out_of_memory()
            }
            ("RangeError", "Maximum call stack size exceeded") => ScriptError::TooDeep,
            _ if outcome == MALFORMED => ScriptError::Syntax(exception),
            _ if outcome == RESULT_REFUSED => ScriptError::Result(exception),
            _ => ScriptError::Exception(exception),
        }
    }

    fn is_memory_denied(&self) -> bool {
        self.store.data().memory.denied
    }

    fn exception(&mut self) -> Result<Exception, ScriptError> {
        let text = |value: Value| match value {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        };
        let Value::List(parts) = self.output()? else {
            return Err(ScriptError::Broken("the guest threw no list".into()));
        };
        let texts: Option<Vec<String>> = parts.into_iter().map(text).collect();
        let [name, message, stack] = texts
            .and_then(|texts| <[String; 3]>::try_from(texts).ok())
            .ok_or_else(|| ScriptError::Broken("the guest threw another list".into()))?;
        Ok(Exception { name, message, stack })
    }
}

fn range(at: u32, length: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(at).ok()?;
    Some(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn broken(error: &wasmi::Error) -> ScriptError {
    ScriptError::Broken(error.to_string())
}

// What the guest answers. As in `guest/guest.c`.
const DONE: i32 = 0;
const THREW: i32 = 1;
const MALFORMED: i32 = 2;
const RESULT_REFUSED: i32 = 3;
const NO_FUNCTION: i32 = 4;
const UNSETTLED: i32 = 5;

/// A page of WebAssembly.
const PAGE_BYTES: usize = 64 * 1024;

/// Where the stack begins. As in `build.rs`. What lies between the engine's limit and the end of the memory is for code
/// that does not ask for the limit.
const STACK_TOP: u32 = 1_310_720;

//! Realms that are made once and used often.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{DEPTH_MAX, Engine, Limits, ScriptError, Value, instance::Instance, outside::Host};

/// A source with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// By this name modules import one another, and stacks name their lines. Without zero bytes.
    pub name: &'a str,
    /// The JavaScript.
    pub text: &'a str,
}

/// A function to call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The name of the module that exports it.
    pub module: &'a str,
    /// Its name.
    pub function: &'a str,
    /// What it is given.
    pub arguments: &'a [Value],
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the function returned.
    pub result: Result<Value, ScriptError>,
    /// The fuel that the run took.
    pub fuel: u64,
    /// The memory that it held at its most, in bytes.
    pub memory_bytes: usize,
    /// What the script wrote to its console, a line each, up to the limit.
    pub log: Vec<String>,
}

/// What a module exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The name.
    pub name: String,
    /// For a function, how many parameters it names before the first with a default.
    pub parameters: Option<u32>,
}

/// A realm in which preludes ran, everything shared was frozen, and modules were evaluated: the memory of an engine, to
/// begin runs from. Runs do not see one another. Clones share the memory.
#[derive(Clone)]
pub struct Image {
    engine: Engine,
    memory: Arc<Memory>,
}

/// The memory of a guest, as far as it differs from that of a new one.
struct Memory {
    /// All of it.
    bytes: usize,
    pieces: Vec<(usize, Box<[u8]>)>,
    /// The modules that are known in it.
    modules: BTreeSet<String>,
    fuel: u64,
}

impl Image {
    /// Makes a realm, runs the preludes in it as scripts, freezes all that can be reached from the global object, and
    /// evaluates the modules in their order. The host cannot be asked meanwhile; preludes find it under the global name
    /// `host`, which is gone when they are done.
    ///
    /// # Errors
    ///
    /// Why a prelude or a module could not be evaluated. A call to the host is [`ScriptError::Stopped`].
    ///
    /// # Panics
    ///
    /// If the guest left its stack in disorder, which no script can bring about.
    pub fn new(
        engine: &Engine,
        limits: &Limits,
        preludes: &[Source<'_>],
        modules: &[Source<'_>],
    ) -> Result<Self, ScriptError> {
        let mut instance = Instance::new(engine, *limits, None)?;
        let fresh = instance.memory().to_vec();
        instance.begin()?;
        instance.script(REALM.name, REALM.text)?;
        for prelude in preludes {
            check_name(prelude.name)?;
            instance.script(prelude.name, prelude.text)?;
        }
        instance.script(FREEZE.name, FREEZE.text)?;
        Self::take(engine, instance, &fresh, BTreeSet::new(), modules)
    }

    /// Makes an image that goes on from this one with further modules, which are evaluated in their order. The host cannot be
    /// asked meanwhile. The fuel of such an image is what the modules took.
    ///
    /// # Errors
    ///
    /// Why a module could not be evaluated.
    ///
    /// # Panics
    ///
    /// As [`Image::new`].
    pub fn extend(&self, limits: &Limits, modules: &[Source<'_>]) -> Result<Self, ScriptError> {
        let fresh = Instance::new(&self.engine, *limits, None)?.memory().to_vec();
        let instance = self.restore(limits, None)?;
        Self::take(&self.engine, instance, &fresh, self.memory.modules.clone(), modules)
    }

    /// Evaluates modules and takes the memory.
    fn take(
        engine: &Engine,
        mut instance: Instance<'_>,
        fresh: &[u8],
        mut known: BTreeSet<String>,
        modules: &[Source<'_>],
    ) -> Result<Self, ScriptError> {
        add(&mut instance, &mut known, modules)?;
        for module in modules {
            instance.evaluate(module.name)?;
        }
        assert!(instance.is_at_rest(), "between calls the guest's stack is empty");
        let memory = Memory {
            bytes: instance.memory().len(),
            pieces: difference(fresh, instance.memory()),
            modules: known,
            fuel: instance.fuel_used(),
        };
        Ok(Self { engine: engine.clone(), memory: Arc::new(memory) })
    }

    /// The fuel that it took to make.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.memory.fuel
    }

    /// The memory that each run begins with, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.bytes
    }

    /// Makes further modules known, evaluates that of the call unless the image has, and calls the function. A promise that
    /// it returns is waited for, as far as anything is left to do.
    pub fn run(
        &self,
        limits: &Limits,
        modules: &[Source<'_>],
        call: Call<'_>,
        host: &mut dyn Host,
    ) -> Outcome {
        match self.restore(limits, Some(host)) {
            Ok(mut instance) => {
                let result = self.enter(&mut instance, modules, call);
                Outcome {
                    result,
                    fuel: instance.fuel_used(),
                    memory_bytes: instance.memory().len(),
                    log: instance.into_log(),
                }
            }
            Err(error) => Outcome { result: Err(error), fuel: 0, memory_bytes: 0, log: Vec::new() },
        }
    }

    /// What a module exports once it is evaluated, in the order of names. The host cannot be asked meanwhile.
    ///
    /// # Errors
    ///
    /// Why it could not be evaluated.
    pub fn exports(
        &self,
        limits: &Limits,
        modules: &[Source<'_>],
        module: &str,
    ) -> Result<Vec<Export>, ScriptError> {
        let mut instance = self.restore(limits, None)?;
        self.ready(&mut instance, modules, module)?;
        let Value::Record(members) = instance.exports(module)? else {
            return Err(ScriptError::Broken("the guest's exports are no record".into()));
        };
        Ok(members.into_iter().map(export).collect())
    }

    fn enter(
        &self,
        instance: &mut Instance<'_>,
        modules: &[Source<'_>],
        call: Call<'_>,
    ) -> Result<Value, ScriptError> {
        // The list of arguments is a value, too.
        if !call.arguments.iter().all(|argument| argument.nests_within(DEPTH_MAX - 1)) {
            return Err(ScriptError::Arguments);
        }
        if call.function.contains('\0') {
            let (module, function) = (call.module.to_owned(), call.function.to_owned());
            return Err(ScriptError::NoFunction { module, function });
        }
        self.ready(instance, modules, call.module)?;
        instance.apply(call.module, call.function, call.arguments)
    }

    /// Evaluates a module, if the image has not.
    fn ready(
        &self,
        instance: &mut Instance<'_>,
        modules: &[Source<'_>],
        module: &str,
    ) -> Result<(), ScriptError> {
        let mut known = self.memory.modules.clone();
        add(instance, &mut known, modules)?;
        if !known.contains(module) {
            return Err(ScriptError::NoModule { name: module.to_owned() });
        }
        if self.memory.modules.contains(module) { Ok(()) } else { instance.evaluate(module) }
    }

    fn restore<'h>(
        &self,
        limits: &Limits,
        host: Option<&'h mut dyn Host>,
    ) -> Result<Instance<'h>, ScriptError> {
        let mut instance = Instance::new(&self.engine, *limits, host)?;
        let pieces = self.memory.pieces.iter().map(|(at, piece)| (*at, &**piece));
        instance.overlay(self.memory.bytes, pieces)?;
        instance.limit()?;
        Ok(instance)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory { bytes, modules, fuel, .. } = &*self.memory;
        f.debug_struct("Image")
            .field("bytes", bytes)
            .field("modules", modules)
            .field("fuel", fuel)
            .finish_non_exhaustive()
    }
}

fn add(
    instance: &mut Instance<'_>,
    known: &mut BTreeSet<String>,
    modules: &[Source<'_>],
) -> Result<(), ScriptError> {
    for module in modules {
        check_name(module.name)?;
        if !known.insert(module.name.to_owned()) {
            return Err(ScriptError::Name { name: module.name.to_owned() });
        }
        instance.add(module.name, module.text)?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ScriptError> {
    if name.contains('\0') || [REALM.name, FREEZE.name].contains(&name) {
        return Err(ScriptError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn export((name, value): (String, Value)) -> Export {
    let parameters = match value {
        // A function may call its length whatever it likes.
        Value::Number(count) if count.fract() == 0.0 && (0.0..=MOST).contains(&count) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a whole number of this range"
            )]
            Some(count as u32)
        }
        Value::Number(_) => Some(u32::MAX),
        _ => None,
    };
    Export { name, parameters }
}

/// The blocks of `now` that differ from `fresh`, which ends earlier and goes on with zeros.
fn difference(fresh: &[u8], now: &[u8]) -> Vec<(usize, Box<[u8]>)> {
    let mut pieces = Vec::new();
    for (i, block) in now.chunks(BLOCK_BYTES).enumerate() {
        let at = i * BLOCK_BYTES;
        let same = match fresh.get(at..at + block.len()) {
            Some(before) => before == block,
            None => block.iter().all(|byte| *byte == 0),
        };
        if !same {
            pieces.push((at, block.into()));
        }
    }
    pieces
}

/// Memory is compared in blocks of this size. It divides WebAssembly's pages.
const BLOCK_BYTES: usize = 4096;

/// The largest number of parameters that is told apart.
const MOST: f64 = u32::MAX as f64;

/// The engine's own scripts, see there.
const REALM: Source<'_> = Source { name: "coco:realm", text: include_str!("../guest/realm.js") };
const FREEZE: Source<'_> = Source { name: "coco:freeze", text: include_str!("../guest/freeze.js") };

//! What the guest can ask for: the four functions that it imports.

use wasmi::{Caller, Error, Extern, Func, ResourceLimiter, Store};

use crate::{
    HostError, Limits, Value, json,
    limits::{HOST_BYTES_PER_FUEL, HOST_CALL_FUEL, JSON_BYTES_PER_FUEL, LOG_LINE_BYTES_MAX},
    value::DEPTH_MAX,
};

/// What scripts can reach outside of themselves.
///
/// A prelude calls it as `host(operation, ...arguments)` and builds on it what scripts see.
pub trait Host {
    /// Carries an operation out.
    ///
    /// # Errors
    ///
    /// A refusal, which the script learns of, or the end of the run.
    fn call(&mut self, operation: &str, arguments: &[Value]) -> Result<Value, HostError>;
}

/// A host that does nothing: for scripts that only compute.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn call(&mut self, operation: &str, _arguments: &[Value]) -> Result<Value, HostError> {
        Err(HostError::Refused(format!("there is no operation {operation:?}")))
    }
}

/// What the host's side of one run holds.
pub(crate) struct Outside<'h> {
    /// None while an image is made.
    pub(crate) host: Option<&'h mut dyn Host>,
    pub(crate) memory: MemoryLimit,
    pub(crate) log: Vec<String>,
    /// Why the run was ended, if it was.
    pub(crate) stopped: Option<String>,
    log_bytes_left: usize,
    value_bytes_max: usize,
    reply: Vec<u8>,
}

/// How large the memory of the guest may grow.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    bytes_max: usize,
    /// Whether more was asked for.
    pub(crate) denied: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, wasmi_core::LimiterError> {
        let granted = desired <= self.bytes_max;
        self.denied |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, wasmi_core::LimiterError> {
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

impl<'h> Outside<'h> {
    pub(crate) fn new(limits: &Limits, host: Option<&'h mut dyn Host>) -> Self {
        let bytes = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            host,
            memory: MemoryLimit { bytes_max: bytes(limits.memory_bytes), denied: false },
            log: Vec::new(),
            stopped: None,
            log_bytes_left: bytes(limits.log_bytes),
            value_bytes_max: bytes(limits.value_bytes),
            reply: Vec::new(),
        }
    }

    /// The function that the guest imports under a name of the module `coco`.
    pub(crate) fn import(store: &mut Store<Self>, name: &str) -> Option<Extern> {
        let function = match name {
            "call" => Func::wrap(store, call),
            "take" => Func::wrap(store, take),
            "log" => Func::wrap(store, log),
            "json" => Func::wrap(store, parse_json),
            _ => return None,
        };
        Some(function.into())
    }

    fn answer(&mut self, operation: &str, arguments: &[u8]) -> Result<i32, Error> {
        let Ok(Value::List(arguments)) = Value::decode(arguments) else {
            return Err(Error::new("the guest's arguments are no list"));
        };
        let Some(host) = &mut self.host else {
            return Err(self.stop("what is outside cannot be asked while an image is made".into()));
        };
        let refusal = match host.call(operation, &arguments) {
            Ok(value) if value.nests_within(DEPTH_MAX) => {
                self.reply.clear();
                value.encode(&mut self.reply);
                if self.reply.len() <= self.value_bytes_max {
                    return positive(self.reply.len());
                }
                format!("the answer to {operation:?} is larger than what may enter the script")
            }
            Ok(_) => format!("the answer to {operation:?} nests too deep"),
            Err(HostError::Refused(message)) => message,
            Err(HostError::Stop(reason)) => return Err(self.stop(reason)),
        };
        self.reply = refusal.into_bytes();
        Ok(-1 - positive(self.reply.len())?)
    }

    fn stop(&mut self, reason: String) -> Error {
        self.stopped = Some(reason);
        Error::new("stopped")
    }
}

fn positive(length: usize) -> Result<i32, Error> {
    i32::try_from(length).map_err(|_| Error::new("larger than the guest's memory"))
}

/// Takes fuel, or what is left and the run with it.
fn charge(caller: &mut Caller<'_, Outside<'_>>, fuel: u64) -> Result<(), Error> {
    let left = caller.get_fuel()?;
    caller.set_fuel(left.saturating_sub(fuel))?;
    if left < fuel { Err(wasmi::TrapCode::OutOfFuel.into()) } else { Ok(()) }
}

fn charge_bytes(caller: &mut Caller<'_, Outside<'_>>, length: u32) -> Result<(), Error> {
    charge(caller, u64::from(length) / HOST_BYTES_PER_FUEL)
}

fn read(caller: &mut Caller<'_, Outside<'_>>, at: u32, length: u32) -> Result<Vec<u8>, Error> {
    charge_bytes(caller, length)?;
    let memory = memory(caller)?;
    let range = || {
        let start = usize::try_from(at).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        memory.data(&*caller).get(start..end)
    };
    Ok(range().ok_or_else(|| Error::new("the guest points outside of its memory"))?.to_vec())
}

fn memory(caller: &Caller<'_, Outside<'_>>) -> Result<wasmi::Memory, Error> {
    let export = caller.get_export("memory").and_then(Extern::into_memory);
    export.ok_or_else(|| Error::new("the guest has no memory"))
}

fn call(
    mut caller: Caller<'_, Outside<'_>>,
    operation: u32,
    operation_length: u32,
    arguments: u32,
    arguments_length: u32,
) -> Result<i32, Error> {
    charge(&mut caller, HOST_CALL_FUEL)?;
    let operation = read(&mut caller, operation, operation_length)?;
    let arguments = read(&mut caller, arguments, arguments_length)?;
    let operation = String::from_utf8_lossy(&operation);
    caller.data_mut().answer(&operation, &arguments)
}

fn take(mut caller: Caller<'_, Outside<'_>>, to: u32) -> Result<(), Error> {
    let reply = std::mem::take(&mut caller.data_mut().reply);
    charge(&mut caller, reply.len() as u64 / HOST_BYTES_PER_FUEL)?;
    let to = usize::try_from(to).map_err(|_| Error::new("no such place"))?;
    memory(&caller)?.write(&mut caller, to, &reply)?;
    Ok(())
}

/// Takes JSON apart for the guest: how long the value is that it may take, or -1 if it is for the engine to read.
fn parse_json(
    mut caller: Caller<'_, Outside<'_>>,
    text: u32,
    bytes: u32,
    is_wide: u32,
) -> Result<i32, Error> {
    charge(&mut caller, HOST_CALL_FUEL + u64::from(bytes) / JSON_BYTES_PER_FUEL)?;
    let text = read(&mut caller, text, bytes)?;
    let outside = caller.data_mut();
    let parsed = if is_wide == 0 {
        json::encode(&text, outside.value_bytes_max)
    } else {
        let units = text.as_chunks::<2>().0.iter().copied().map(u16::from_le_bytes);
        json::encode(&units.collect::<Vec<u16>>(), outside.value_bytes_max)
    };
    let Some(encoded) = parsed else { return Ok(-1) };
    outside.reply = encoded;
    positive(outside.reply.len())
}

fn log(mut caller: Caller<'_, Outside<'_>>, text: u32, length: u32) -> Result<(), Error> {
    charge(&mut caller, HOST_CALL_FUEL)?;
    let line = read(&mut caller, text, length.min(LOG_LINE_BYTES_MAX))?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let outside = caller.data_mut();
    // A line counts for one byte at least, so that empty ones come to an end, too.
    let cost = line.len().max(1);
    match outside.log_bytes_left.checked_sub(cost) {
        Some(left) => {
            outside.log_bytes_left = left;
            outside.log.push(line);
        }
        None => outside.log_bytes_left = 0,
    }
    Ok(())
}

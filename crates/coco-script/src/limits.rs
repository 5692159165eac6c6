//! What a run may use.

/// The stack of the engine, in bytes. What JavaScript, regular expressions and the parser nest lies on it; beyond it, the
/// engine throws a `RangeError`. 1 MiB, as CCF has it: enough for some thousand calls in one another. It is part of an
/// image and no limit of a run.
pub const STACK_BYTES: u32 = 1024 * 1024;

/// The deepest nesting of calls in the engine's own code. It is a second fence, for nesting that uses none of that stack.
pub(crate) const CALLS_MAX: usize = 20_000;

/// What those calls may hold in registers, in bytes.
pub(crate) const REGISTERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The fuel that a call to the host costs, beside what the script pays to make it: ten microseconds of work, which is more than a look into a
/// store takes.
/// So fuel also bounds what scripts have others do.
pub(crate) const HOST_CALL_FUEL: u64 = 100;

/// So many bytes that a host reads or gives cost one unit of fuel.
pub(crate) const HOST_BYTES_PER_FUEL: u64 = 64;

/// So many bytes of JSON that are read outside cost one unit of fuel.
pub(crate) const JSON_BYTES_PER_FUEL: u64 = 16;

/// The longest line of a log, in bytes. What is longer is cut.
pub(crate) const LOG_LINE_BYTES_MAX: u32 = 1024;

/// What one run of a script may use. Each limit ends the run in an error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the engine, whether they work for the script's own code or in what is built in: functions of the engine
    /// entered, passes of its loops, arms of its branches. A step of a script takes two or three. Copying and calls
    /// to the host are counted as well. Beyond it: [`OutOfFuel`](crate::ScriptError::OutOfFuel).
    pub fuel: u64,
    /// All memory of the engine, in bytes: the script's objects, its source, the stack ([`STACK_BYTES`]) and what the engine
    /// itself holds, about 2 MiB together before the script begins. Whole pages of 64 KiB. The interpreter has up to 32 MiB of registers beside it,
    /// if calls nest deep. Beyond it a script meets an exception that it may
    /// catch, and a run that ends by it [`OutOfMemory`](crate::ScriptError::OutOfMemory).
    pub memory_bytes: u32,
    /// The largest value that passes between script and host in one piece, encoded, in bytes: a result, or the arguments of
    /// a call to the host. Beyond it the script meets an exception, or the run ends in
    /// [`Result`](crate::ScriptError::Result).
    pub value_bytes: u32,
    /// What the log keeps, in bytes. Further lines are dropped.
    pub log_bytes: u32,
}

impl Limits {
    /// The limits for a constitution and for ballots.
    ///
    /// * Fuel: 20 million, some seconds of one core at the most. To compile a constitution of 50 KB takes a million, to call it some
    ///   thousands.
    /// * Memory: 64 MiB. CCF gives scripts 100 MB of heap; a proposal is at most 1 MB.
    /// * Values: 4 MiB, four times the largest proposal.
    /// * Log: 16 KiB.
    pub const GOVERNANCE: Self = Self {
        fuel: 20_000_000,
        memory_bytes: 64 * 1024 * 1024,
        value_bytes: 4 * 1024 * 1024,
        log_bytes: 16 * 1024,
    };
}

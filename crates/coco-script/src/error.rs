//! Why a run did not end in a result.

use std::fmt;

/// A run that has no result. All of them are the script's doing, or the limits', except for
/// [`Broken`](Self::Broken): the engine itself is never harmed by a run, and the next one begins anew.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScriptError {
    /// A source is not JavaScript, or something that it imports is not there.
    #[error("not JavaScript: {0}")]
    Syntax(Exception),
    /// The script threw, and nobody caught it.
    #[error("{0}")]
    Exception(Exception),
    /// The fuel is used up.
    #[error("the script took more than {fuel} units of fuel")]
    OutOfFuel {
        /// What it had.
        fuel: u64,
    },
    /// The memory is used up.
    #[error("the script needs more than {bytes} bytes of memory")]
    OutOfMemory {
        /// What it had.
        bytes: u32,
    },
    /// Calls, or what is parsed or walked through, nest too deep.
    #[error("the script nests too deep")]
    TooDeep,
    /// The result has no form outside, or is too large.
    #[error("the result cannot leave the script: {0}")]
    Result(Exception),
    /// A promise is open, and nothing could settle it.
    #[error("the script waits for what never comes")]
    Unsettled,
    /// No source has this name.
    #[error("there is no module {name:?}")]
    NoModule {
        /// The name.
        name: String,
    },
    /// The module exports no function of this name.
    #[error("the module {module:?} exports no function {function:?}")]
    NoFunction {
        /// The module.
        module: String,
        /// The name.
        function: String,
    },
    /// A name of a module holds a zero byte, is given twice, or is that of an engine's own source.
    #[error("a module cannot be called {name:?}")]
    Name {
        /// The name.
        name: String,
    },
    /// What was handed in nests deeper than [`DEPTH_MAX`](crate::DEPTH_MAX), or is larger than the limit of values.
    #[error("the arguments nest too deep or are too large")]
    Arguments,
    /// The host ended the run.
    #[error("the host ended the script: {0}")]
    Stopped(String),
    /// The engine met what it should not. Only this run is lost.
    #[error("the script engine failed: {0}")]
    Broken(String),
}

/// What was thrown. All texts are the script's to choose, of bounded length, and not to be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// What kind of error it is, such as `TypeError`. Empty if it is none. At most 256 bytes.
    pub name: String,
    /// What it says. At most 4096 bytes.
    pub message: String,
    /// The calls that led there, innermost first, a line each. At most 8192 bytes.
    pub stack: String,
}

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The module's name.
    pub module: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
}

impl Exception {
    /// Where it was thrown, if the stack says so.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.stack.lines().find_map(place)
    }
}

/// The place in a line such as `    at f (module.js:3:5)` or `    at module.js:3:5`.
fn place(line: &str) -> Option<Place> {
    let place = line.trim().strip_prefix("at ")?;
    let place = match place.rsplit_once(" (") {
        Some((_, inner)) => inner.strip_suffix(')')?,
        None => place,
    };
    let (rest, column) = place.rsplit_once(':')?;
    let (module, line) = rest.rsplit_once(':')?;
    Some(Place {
        module: module.to_owned(),
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.is_empty(), self.message.is_empty()) {
            (true, true) => write!(f, "an exception without a text")?,
            (true, false) => write!(f, "{}", self.message)?,
            (false, true) => write!(f, "{}", self.name)?,
            (false, false) => write!(f, "{}: {}", self.name, self.message)?,
        }
        if let Some(Place { module, line, column }) = self.place() {
            write!(f, " ({module}:{line}:{column})")?;
        }
        Ok(())
    }
}

/// A host's answer to a call that it does not carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The script is told, by an exception with this message that it may catch.
    #[error("{0}")]
    Refused(String),
    /// The run ends at once, in [`ScriptError::Stopped`] with this reason.
    #[error("{0}")]
    Stop(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_a_stack() {
        let of = |stack: &str| Exception { stack: stack.into(), ..Exception::default() }.place();
        let place = |line, column| Some(Place { module: "a.js".into(), line, column });
        for (stack, expected) in [
            ("    at f (a.js:12:5)\n    at g (b.js:1:1)\n", place(12, 5)),
            ("    at a.js:3:4\n", place(3, 4)),
            ("    at map (native)\n    at f (a.js:1:2)\n", place(1, 2)),
            ("    at f (a.js:x:2)\n", None),
            ("at", None),
            ("", None),
        ] {
            assert_eq!(of(stack), expected, "{stack:?}");
        }
    }
}

//! Scripts that mean harm. Each ends in the error that fits, within its fuel and memory, and the next run is none the worse.

mod corpus;
mod scripts;

use coco_script::{Image, Limits, NoHost, ScriptError, Source, Value};
use scripts::{LIMITS, body, engine, image, run_in};

/// How a bad run may end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Fuel,
    Memory,
    Deep,
    /// An exception of the engine that says what is too much.
    Exception,
    Result,
}

fn end(error: &ScriptError) -> Option<End> {
    Some(match error {
        ScriptError::OutOfFuel { .. } => End::Fuel,
        ScriptError::OutOfMemory { .. } => End::Memory,
        ScriptError::TooDeep => End::Deep,
        ScriptError::Exception(_) => End::Exception,
        ScriptError::Result(_) => End::Result,
        _ => return None,
    })
}

fn ends(text: &str, expected: &[End]) {
    let text = if text.contains("export ") {
        text.to_owned()
    } else {
        format!("export function f() {{ {text} }}")
    };
    let outcome = run_in(image(), &LIMITS, &text, &mut NoHost);
    let Err(error) = &outcome.result else { panic!("{text}: {outcome:?}") };
    let shown = &text[..text.len().min(200)];
    assert!(end(error).is_some_and(|end| expected.contains(&end)), "{shown}: {error:?}");
    assert!(outcome.fuel <= LIMITS.fuel, "{shown}: {outcome:?}");
    assert!(outcome.memory_bytes <= LIMITS.memory_bytes as usize, "{shown}");
    assert_eq!(body("return 1 + 1"), Ok(Value::Number(2.0)), "the next run is none the worse");
}

#[test]
fn endless_loops() {
    for text in corpus::ENDLESS {
        ends(text, &[End::Fuel, End::Deep, End::Result]);
    }
}

#[test]
fn work_inside_of_what_is_built_in() {
    for text in corpus::HARD_WORK {
        ends(text, &[End::Fuel, End::Memory, End::Exception]);
    }
}

#[test]
fn memory_bombs() {
    for text in corpus::MEMORY {
        ends(text, &[End::Memory, End::Exception, End::Fuel]);
    }
}

#[test]
fn memory_that_is_refused_can_be_caught_and_is_not_the_end() {
    let text = "try { new ArrayBuffer(2 ** 29); } catch (e) { return e.message; }";
    assert_eq!(body(text), Ok(Value::text("out of memory")));
    let text = "for (;;) try { const a = []; for (;;) a.push(new ArrayBuffer(1e5)); } catch {}";
    ends(text, &[End::Fuel]);
}

#[test]
fn nesting() {
    for text in corpus::CALLS_TOO_DEEP {
        ends(text, &[End::Deep]);
    }
    for text in corpus::VALUES_TOO_DEEP {
        ends(text, &[End::Deep, End::Exception, End::Fuel, End::Memory, End::Result]);
    }
}

#[test]
fn nesting_in_a_source() {
    let n = 100_000;
    for (open, middle, close) in [
        ("[", "", "]"),
        ("(", "1", ")"),
        ("{", "", "}"),
        ("!", "1", ""),
        ("a=>", "1", ""),
        ("[...", "a", "]"),
        ("`${", "1", "}`"),
    ] {
        let text =
            format!("export const f = () => 1; {}{middle}{};", open.repeat(n), close.repeat(n));
        let limits = Limits { fuel: 5_000_000, ..LIMITS };
        let result = run_in(image(), &limits, &text, &mut NoHost).result;
        let bounded = matches!(
            result,
            Err(ScriptError::TooDeep
                | ScriptError::Syntax(_)
                | ScriptError::OutOfMemory { .. }
                | ScriptError::OutOfFuel { .. })
        );
        assert!(bounded, "{open}: {result:?}");
    }
}

#[test]
fn results_that_cannot_leave() {
    for text in corpus::RESULTS {
        ends(text, &[End::Result]);
    }
    for text in corpus::RESULTS_THAT_THROW {
        ends(text, &[End::Exception]);
    }
    assert_eq!(
        body(
            "return Object.assign(() => 1, { toJSON: 1 }) && { valueOf() { return 7; } }.valueOf()"
        ),
        Ok(Value::Number(7.0))
    );
}

#[test]
fn exceptions_that_throw_while_they_are_told() {
    for text in corpus::EXCEPTIONS {
        ends(text, &[End::Exception]);
    }
    let Err(ScriptError::Exception(long)) = body("throw new Error('é'.repeat(1e5));") else {
        panic!("it threw")
    };
    assert_eq!(long.message, "é".repeat(2048));
}

#[test]
fn what_is_shared_is_frozen() {
    for text in corpus::FROZEN {
        let result = body(text);
        let Err(ScriptError::Exception(exception)) = &result else { panic!("{text}: {result:?}") };
        assert_eq!(exception.name, "TypeError", "{text}: {exception:?}");
    }
    let text = "const o = {}; o.toString = () => 'mine'; const e = new Error(); e.name = 'Mine'; e.message = 'm'; class E extends Error { constructor() { super('q'); this.name = 'E'; } } return `${o} ${e} ${new E()}`;";
    assert_eq!(body(text), Ok(Value::text("mine Mine: m E: q")));
}

#[test]
fn what_differs_from_run_to_run_is_not_there() {
    for (text, expected) in [
        ("return typeof Math.random", "undefined"),
        ("return typeof Date.now", "undefined"),
        ("return typeof eval", "undefined"),
        (
            "return typeof WeakRef + typeof FinalizationRegistry + typeof Atomics",
            "undefinedundefinedundefined",
        ),
        (
            "return typeof setTimeout + typeof performance + typeof process",
            "undefinedundefinedundefined",
        ),
        ("return new Date(0).toISOString()", "1970-01-01T00:00:00.000Z"),
        (
            "return '' + new Date(86400000).getTimezoneOffset() + new Date(86400000).getHours()",
            "00",
        ),
        ("return new Date(2020, 0, 1).toISOString()", "2020-01-01T00:00:00.000Z"),
        (
            "return '' + (new Date(0) instanceof Date) + (Date.prototype.constructor === Date)",
            "truetrue",
        ),
        ("return '' + ((() => 1) instanceof Function)", "true"),
    ] {
        assert_eq!(body(text), Ok(Value::text(expected)), "{text}");
    }
    for text in corpus::NOT_THERE {
        let result = body(text);
        let Err(ScriptError::Exception(exception)) = &result else { panic!("{text}: {result:?}") };
        assert_eq!(exception.name, "TypeError", "{text}: {exception:?}");
    }
}

#[test]
fn limits_hold_at_their_edges() {
    let text = "export const f = () => 1;";
    let used = run_in(image(), &LIMITS, text, &mut NoHost);
    for (fuel, enough) in [(used.fuel - 1, false), (used.fuel, true), (used.fuel + 1, true)] {
        let outcome = run_in(image(), &Limits { fuel, ..LIMITS }, text, &mut NoHost);
        assert_eq!(outcome.result.is_ok(), enough, "{fuel} {outcome:?}");
    }
    let bytes = u32::try_from(used.memory_bytes).expect("it is small");
    for (memory_bytes, enough) in [(bytes - 1, false), (bytes, true), (bytes + 1, true), (0, false)]
    {
        let outcome = run_in(image(), &Limits { memory_bytes, ..LIMITS }, text, &mut NoHost);
        assert_eq!(outcome.result.is_ok(), enough, "{memory_bytes} {outcome:?}");
        assert!(enough || outcome.result == Err(ScriptError::OutOfMemory { bytes: memory_bytes }));
    }
    // A value of a text is five bytes more.
    for (length, enough) in [(65_530, true), (65_531, true), (65_532, false)] {
        let result = body(&format!("return 'x'.repeat({length})"));
        assert_eq!(result.is_ok(), enough, "{length}");
    }
}

#[test]
fn an_image_is_made_within_limits() {
    for (text, expected) in [
        ("for (;;);", End::Fuel),
        ("const a = []; for (;;) a.push(new ArrayBuffer(1e5));", End::Memory),
        ("const f = () => f(); f();", End::Deep),
    ] {
        let limits = Limits { fuel: 3_000_000, ..LIMITS };
        let made = Image::new(engine(), &limits, &[], &[Source { name: "a.js", text }]);
        let error = made.expect_err("it does not end");
        assert_eq!(end(&error), Some(expected), "{text}: {error:?}");
    }
}

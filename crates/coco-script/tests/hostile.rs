//! Scripts that mean harm. Each ends in the error that fits, within its fuel and memory, and the next run is none the worse.

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
    for text in [
        "for (;;);",
        "while (true) { try { throw 1; } catch {} finally { continue; } }",
        "const f = () => { for (;;); }; return { get a() { return f(); } };",
        "const p = () => Promise.resolve().then(p); return p();",
        "function* g() { for (;;) yield; } for (const x of g());",
        "for (const x of { [Symbol.iterator]: () => ({ next: () => ({}) }) });",
        "return Object.keys(new Proxy({}, { ownKeys() { for (;;); } }));",
        "return JSON.stringify(new Proxy([], { get: (o, k) => k === 'length' ? 1e6 : new Proxy([], { get: () => 9 }) }));",
        "return { get a() { return { get a() { for (;;); } }; } };",
        "const a = { toString() { for (;;); } }; console.log(a);",
        "throw { get message() { for (;;); } };",
        "let o = {}; Object.setPrototypeOf(o, new Proxy({}, { getPrototypeOf: () => o, get: (t, k, r) => r[k] })); return o.x;",
        "for (;;); export const f = 1;",
    ] {
        ends(text, &[End::Fuel, End::Deep, End::Result]);
    }
}

#[test]
fn work_inside_of_what_is_built_in() {
    for text in [
        "return Array.prototype.join.call({ length: 2 ** 31 }, '');",
        "return Array.prototype.indexOf.call({ length: 2 ** 52 }, 1);",
        "return [].concat.call([], ...Array(1000).fill(Array(2 ** 31)));",
        "return Array.prototype.sort.call(new Proxy({ length: 2 ** 31 }, { has: () => true, get: (o, k) => k === 'length' ? 2 ** 31 : 1 }));",
        "return Array.from({ length: 2 ** 31 }).length;",
        "return 'x'.repeat(1e6).split('').length;",
        "return /^(a+)+$/.test('a'.repeat(40) + '!');",
        "return /(x+x+)+y/.test('x'.repeat(40));",
        "return /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(40));",
        "let n = 3n; for (;;) n = n * n;",
        "return (2n ** 1000000n).toString();",
        "return '\\u0041'.repeat(4e5).normalize('NFKD').toLowerCase().localeCompare('z'.repeat(4e5));",
        "return JSON.parse('[' + '1,'.repeat(5e5) + '1]').length;",
        "return new Uint8Array(4e6).fill(1).sort().reduce((a, b) => a + b);",
    ] {
        ends(text, &[End::Fuel, End::Memory, End::Exception]);
    }
}

#[test]
fn memory_bombs() {
    for text in [
        "let s = 'ab'; for (;;) s += s;",
        "const a = []; for (;;) a.push('x'.repeat(1000) + a.length);",
        "const a = []; for (;;) a.push(new ArrayBuffer(100000));",
        "return new ArrayBuffer(2 ** 30).byteLength;",
        "return new Uint8Array(2 ** 31 - 1).length;",
        "const m = new Map(); for (;;) m.set({}, new Array(1000).fill(0));",
        "const s = new Set(); for (let i = 0;; i++) s.add('k' + 'x'.repeat(500) + i);",
        "let f = () => 0; for (;;) { const g = f, a = new Array(500).fill(0); f = () => [g, a]; }",
        "let o = {}; for (;;) o = { o, a: 'x'.repeat(2000) };",
        "return Array(2 ** 25).fill('x').length;",
        "return 'x'.repeat(2 ** 28).length;",
        "return 'x'.padEnd(2 ** 29, 'y');",
        "const a = [1]; for (;;) a.push(...a);",
        "return (1n << 100000000n) + 1n;",
        "return JSON.stringify(Array(1000).fill('x'.repeat(10000)));",
        "return Symbol('x'.repeat(2 ** 27)).description;",
    ] {
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
    for text in [
        "const f = () => f() + 1; return f();",
        "const f = () => [1].map(f); return f();",
        "class A { get a() { return this.a; } } return new A().a;",
        "const o = { toString() { return '' + this; } }; return '' + o;",
        "const p = new Proxy({}, { get: (t, k, r) => r[k] }); return p.x;",
        "let f = () => 1; for (let i = 0; i < 8000; i++) { const g = f; f = () => g(); } return f();",
        "const f = (s) => s.replace(/a/, () => f(s)); return f('a');",
        "const f = (...a) => f.apply(null, a); return f(1, 2, 3);",
    ] {
        ends(text, &[End::Deep]);
    }
    for text in [
        "return JSON.parse('['.repeat(100000));",
        "return JSON.parse('{\"a\":'.repeat(10000) + '1' + '}'.repeat(10000));",
        "let o = {}; for (let i = 0; i < 10000; i++) o = { o }; return JSON.stringify(o);",
        "let a = []; for (let i = 0; i < 10000; i++) a = [a]; return '' + a;",
        "return new RegExp('('.repeat(50000) + ')'.repeat(50000));",
        "return new RegExp('(?:'.repeat(20000) + 'a' + ')*'.repeat(20000)).test('a');",
        "let o = null; for (let i = 0; i < 10000; i++) o = Object.create(o); return o.x.y;",
        "let p = {}; for (let i = 0; i < 10000; i++) p = new Proxy(p, {}); return p.x.y;",
    ] {
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
    for text in [
        "const a = []; a.push(a); return a;",
        "const o = {}; o.o = o; return o;",
        "let o = {}; for (let i = 0; i < 65; i++) o = [o]; return o;",
        "return 'x'.repeat(70000);",
        "return new Uint8Array(70000);",
        "return new Array(4e9);",
        "return new Array(1e5).fill(0);",
        "return () => 1;",
        "return { f() {} };",
        "return Symbol();",
        "return 10n;",
        "return '\\ud800';",
        "return { ['\\udfff']: 1 };",
        "return new Float64Array(1);",
        "return new Proxy({}, {});",
        "return [new Proxy([], { get: () => 1 })];",
    ] {
        ends(text, &[End::Result]);
    }
    for text in [
        "return { get a() { throw new Error('got'); } };",
        "return [0].map(() => ({ get a() { throw new Error('got'); } }));",
        "return Object.defineProperty([0], 0, { get() { throw new Error('got'); } });",
    ] {
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
    for text in [
        "throw { get message() { throw 1; }, get stack() { throw 2; }, get name() { throw 3; } };",
        "throw { toString() { throw this; } };",
        "throw { toString() { for (;;); } };",
        "throw Symbol('x');",
        "throw new Proxy({}, { get() { throw 1; } });",
        "throw Object.create(null);",
        "throw undefined;",
        "const e = new Error('x'); Object.defineProperty(e, 'stack', { value: 1 }); throw e;",
        "throw new Error('\\ud800'.repeat(10000));",
        "throw 'x'.repeat(1e5);",
    ] {
        ends(text, &[End::Exception]);
    }
    let Err(ScriptError::Exception(long)) = body("throw new Error('é'.repeat(1e5));") else {
        panic!("it threw")
    };
    assert_eq!(long.message, "é".repeat(2048));
}

#[test]
fn what_is_shared_is_frozen() {
    for text in [
        "Object.prototype.x = 1;",
        "Array.prototype.push = () => 1;",
        "globalThis.x = 1;",
        "JSON.parse = () => 1;",
        "console.log = 1;",
        "Map.prototype.get.call.x = 1;",
        "(function* () {}).prototype.__proto__.next = 1;",
        "[][Symbol.iterator]().__proto__.next = () => ({ done: true });",
        "Object.defineProperty(Function.prototype, 'call', { value: 1 });",
        "Object.setPrototypeOf(Array.prototype, null);",
        "delete Object.prototype.toString;",
        "Object.prototype.toString = 1;",
        "Error.prototype.name = 'x';",
        "({}).__proto__.x = 1;",
        "Reflect.getPrototypeOf(async () => 1).x = 1;",
        "Uint8Array.__proto__.prototype.x = 1;",
        "RegExp.prototype.exec = () => null;",
        "Promise.prototype.then = 1;",
        "Error.prepareStackTrace = () => 1;",
        "Error.stackTraceLimit = 0;",
        "Error.captureStackTrace({});",
    ] {
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
    for text in [
        "return new Date()",
        "return Date()",
        "return Reflect.construct(Date, [])",
        "return new Date(0).constructor()",
        "return Function('return 1')()",
        "return (() => 1).constructor('return 1')()",
        "return (function* () {}).constructor('yield 1')()",
        "return (async () => 1).constructor('return 1')()",
        "class A extends Function {} return new A('return 1')()",
    ] {
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

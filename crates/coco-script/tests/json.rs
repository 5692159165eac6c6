//! `JSON.parse` of long texts, which are read outside of the engine, against the engine's own.

mod scripts;

use coco_script::{Image, NoHost, Outcome, Source, Value};
use scripts::{LIMITS, body, engine, run_in};

/// Makes texts long without another meaning.
const LONG: &str = "const long = (text) => text + ' '.repeat(300);";

fn of(text: &str) -> Result<Value, coco_script::ScriptError> {
    body(&format!("{LONG} {text}"))
}

/// Texts, as source of JavaScript, of all that JSON has.
const TEXTS: [&str; 31] = [
    "'null'",
    "'[true, false, null]'",
    "'\\t\\n\\r {}\\n'",
    "'[[], {}, [[[]]], \"\"]'",
    "'[0, -0, 1, -1, 0.1, 1e3, 1E+3, 1e-7, 1e400, -1e400, 5e-324, 1e-400, 9007199254740993]'",
    "'[123456789012345678901234567890, 0.30000000000000004, 2147483648, -2147483649]'",
    "'{\"a\":1,\"b\":{\"a\":2},\"a\":3}'",
    "'{\"b\":1,\"2\":1,\"a\":1,\"1\":1,\"01\":1,\"-1\":1,\"4294967295\":1,\"\":1}'",
    "'{\"__proto__\":{\"x\":1},\"constructor\":2,\"toString\":3,\"length\":4}'",
    "'{\"__proto__\":null,\"x\":1}'",
    "'[\"\\\\u0000\\\\b\\\\t\\\\n\\\\f\\\\r\\\\\"\\\\\\\\\\\\/\\\\u00E9\\\\u00e9\"]'",
    "'[\"\\\\ud83d\\\\ude00\",\"\\\\ud83d\",\"\\\\ude00\\\\ud83d\",\"\\\\u20ac\"]'",
    "'{\"\\\\u00e9\":1,\"\\u00e9\":2,\"\\u00c3\\u00a9\":3,\"\\u20ac\":4,\"\\\\u20ac\":5}'",
    "'[\"\\u00e9\\u00ff\\u0080\\u007f\"]'",
    "'[\"\\u20ac\\ud83d\\ude00\",\"a\"]'",
    "'[\"\\ud83d\",\"\\udc00\\u20ac\"]'",
    "'[\"\\u2028\\u2029\\ufeff\"]'",
    "'x'",
    "''",
    "'[1,]'",
    "'{\"a\":1,}'",
    "'[1] 2'",
    "'{a:1}'",
    "\"['a']\"",
    "'\"\\n\"'",
    "'[01]'",
    "'[1.]'",
    "'[\"\\\\x41\"]'",
    "'\\ufeff[]'",
    "'\\u00a0[]'",
    "'[NaN]'",
];

#[test]
fn a_long_text_means_what_the_engine_makes_of_it() {
    // With a function that changes nothing, the engine reads the text itself.
    let script = "const outcome = (read) => { try { return shown(read()); } catch (e) { return [e.name, e.message]; } };
        const shown = (value) => typeof value === 'object' && value !== null
            ? [Array.isArray(value), Object.getPrototypeOf(value) === (Array.isArray(value) ? Array : Object).prototype,
                ...Reflect.ownKeys(value).flatMap((key) => [units(key), shown(value[key])])]
            : typeof value === 'string' ? units(value) : Object.is(value, -0) ? '-0' : String(value);
        const units = (text) => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)).join();
        const ours = outcome(() => JSON.parse(text)), engines = outcome(() => JSON.parse(text, (_, value) => value));
        return JSON.stringify(ours) === JSON.stringify(engines) ? 'same' : JSON.stringify([ours, engines]);";
    for text in TEXTS {
        for text in [format!("long({text})"), text.to_owned()] {
            assert_eq!(
                of(&format!("const text = {text}; {script}")),
                Ok(Value::text("same")),
                "{text}"
            );
        }
    }
}

#[test]
fn what_is_read_can_be_used_as_any_other_value() {
    for (text, expected) in [
        ("return JSON.parse(long('{\"a\":[1,2,3]}')).a.map((n) => n + 1).join();", "2,3,4"),
        (
            "const o = JSON.parse(long('{\"n\":\"x\"}')); o.n += 'y'; o.m = 1; delete o.n; return JSON.stringify(o);",
            "{\"m\":1}",
        ),
        (
            "return JSON.parse(long('[\"a\"]').padStart(400)).concat(['b'])[0] + JSON.parse.name + JSON.parse.length;",
            "aparse2",
        ),
        ("return JSON.stringify(JSON.parse({ toString: () => long('[1]') }));", "[1]"),
        (
            "return JSON.stringify(JSON.parse(long('[1,2]'), (k, v) => typeof v === 'number' ? v * 2 : v));",
            "[2,4]",
        ),
        ("const text = '[' + '\"é\",'.repeat(200) + '1]'; return JSON.parse(text)[199];", "é"),
        ("const text = '[' + '\"€\",'.repeat(200) + '1]'; return JSON.parse(text)[199];", "€"),
        ("const text = 'x' + '[7]'.padEnd(400); return String(JSON.parse(text.slice(1))[0]);", "7"),
        ("try { JSON.parse(Symbol.iterator); } catch (e) { return e.name; }", "TypeError"),
        (
            "return JSON.stringify(Object.getOwnPropertyDescriptor(JSON.parse(long('{\"a\":1}')), 'a'));",
            "{\"value\":1,\"writable\":true,\"enumerable\":true,\"configurable\":true}",
        ),
    ] {
        assert_eq!(of(text), Ok(Value::text(expected)), "{text}");
    }
}

#[test]
fn nesting_ends_as_it_does_in_the_engine() {
    for depth in [50, 70, 200] {
        let text = format!(
            "const t = '['.repeat({depth}) + ']'.repeat({depth}); return JSON.stringify(JSON.parse(long(t))) === t;"
        );
        assert_eq!(of(&text), Ok(Value::Bool(true)), "{depth}");
    }
    let deep = "return JSON.parse('['.repeat(20000) + ']'.repeat(20000)).length;";
    assert_eq!(of(deep), Err(coco_script::ScriptError::TooDeep));
}

fn outcome(text: &str) -> Outcome {
    let image = Image::new(engine(), &LIMITS_TO_MAKE, &[], &[]).expect("the realm can be made");
    run_in(&image, &LIMITS, text, &mut NoHost)
}

const LIMITS_TO_MAKE: coco_script::Limits = coco_script::Limits::GOVERNANCE;

#[test]
fn what_is_read_outside_is_paid_for() {
    let of = |count: usize| {
        let text = format!(
            "const text = '[\"' + 'x'.repeat({count}) + '\"]'; export function f() {{ return JSON.parse(text)[0].length; }}"
        );
        let outcome = outcome(&text);
        assert_eq!(outcome.result, Ok(Value::Number(count as f64)));
        outcome.fuel
    };
    let (short, long) = (of(8_000), of(40_000));
    assert!(long - short >= 32_000 / 16, "{short} {long}");
    assert_eq!(of(40_000), long, "it is the same each time");
}

#[test]
fn while_an_image_is_made_it_works_as_well() {
    let text = "const read = JSON.parse('[\"' + 'x'.repeat(1000) + '\"]'); export function f() { return read[0].length; }";
    let source = Source { name: "a.js", text };
    let image = Image::new(engine(), &LIMITS_TO_MAKE, &[], &[source]).expect("it loads");
    let call = coco_script::Call { module: "a.js", function: "f", arguments: &[] };
    assert_eq!(image.run(&LIMITS, &[], call, &mut NoHost).result, Ok(Value::Number(1000.0)));
}

#[test]
fn texts_become_buffers_of_utf_8() {
    let prelude = Source { name: "prelude", text: "globalThis.toBuffer = host.strToBuf;" };
    let image =
        Image::new(engine(), &LIMITS_TO_MAKE, &[prelude], &[]).expect("the realm can be made");
    let of = |text: &str| {
        let text = format!("export function f() {{ return toBuffer({text}); }}");
        run_in(&image, &LIMITS, &text, &mut NoHost).result
    };
    for (text, expected) in [
        ("''", ""),
        ("'plain'", "plain"),
        ("'0123456789'.slice(1, 9)", "12345678"),
        ("'x'.repeat(1000) + 'y'", &*("x".repeat(1000) + "y")),
        ("'1234567\\u00e9'", "1234567é"),
        ("'12345678\\u00ff'", "12345678ÿ"),
        ("'\\u20ac\\ud83d\\ude00'", "€😀"),
        ("'€12345678'.slice(1)", "12345678"),
    ] {
        assert_eq!(of(text), Ok(Value::Bytes(expected.as_bytes().to_vec())), "{text}");
    }
    for (text, message) in [
        ("", "argument must be a string"),
        ("7", "argument must be a string"),
        ("'\\ud83d'", "the text holds half of a surrogate pair"),
        ("'a\\udc00b'", "the text holds half of a surrogate pair"),
    ] {
        let Err(coco_script::ScriptError::Exception(found)) = of(text) else { panic!("{text}") };
        assert_eq!((&*found.name, &*found.message), ("TypeError", message), "{text}");
    }
}

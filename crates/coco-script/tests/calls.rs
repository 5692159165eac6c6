//! Ordinary scripts do what they say.

mod scripts;

use coco_script::{
    Call, Engine, Exception, Export, Host, HostError, Image, Limits, NoHost, Place, ScriptError,
    Source, Value,
};
use scripts::{LIMITS, body, engine, image, run_in};

#[test]
fn values_pass_both_ways() {
    let text = "export const f = (...all) => [...all, new Uint8Array([1, 2]).subarray(1), new ArrayBuffer(0)];";
    let arguments = [
        Value::Undefined,
        Value::Null,
        Value::Bool(true),
        Value::Number(1.5),
        Value::Number(-7.0),
        Value::text("é\u{10FFFF}\0"),
        Value::Bytes(vec![0, 255]),
        Value::List(vec![Value::Record(vec![("__proto__".into(), Value::Number(3.0))])]),
    ];
    let call = Call { module: "a.js", function: "f", arguments: &arguments };
    let outcome = image().run(&LIMITS, &[Source { name: "a.js", text }], call, &mut NoHost);
    let mut expected = arguments.to_vec();
    expected.extend([Value::Bytes(vec![2]), Value::Bytes(Vec::new())]);
    assert_eq!(outcome.result, Ok(Value::List(expected)));
}

#[test]
fn arguments_have_limits() {
    let call = |value: Value| {
        let source = Source { name: "a.js", text: "export const f = () => 1;" };
        let call = Call { module: "a.js", function: "f", arguments: &[value] };
        image().run(&LIMITS, &[source], call, &mut NoHost).result
    };
    let deep = |n: usize| (0..n).fold(Value::Null, |value, _| Value::List(vec![value]));
    for (depth, fits) in [(62, true), (63, true), (64, false)] {
        assert_eq!(call(deep(depth)).is_ok(), fits, "{depth}");
    }
    // The list of arguments and the head of the buffer take five bytes each.
    for (less, fits) in [(11, true), (10, true), (9, false)] {
        let length = LIMITS.value_bytes as usize - less;
        assert_eq!(call(Value::Bytes(vec![0; length])).is_ok(), fits, "{less}");
    }
    assert_eq!(call(deep(64)), Err(ScriptError::Arguments));
}

#[test]
fn modules_import_one_another_and_only_one_another() {
    let main = Source {
        name: "lib/a.js",
        text: "import { g } from './b.js'; import * as c from 'c'; export const f = async () => g + c.h + (await import('c')).h;",
    };
    let others = [
        Source { name: "lib/b.js", text: "export const g = 1;" },
        Source { name: "c", text: "export let h = await Promise.resolve(2);" },
    ];
    let call = Call { module: "lib/a.js", function: "f", arguments: &[] };
    let run = |modules: &[Source<'_>]| image().run(&LIMITS, modules, call, &mut NoHost).result;
    assert_eq!(run(&[main, others[0], others[1]]), Ok(Value::Number(5.0)));
    let Err(ScriptError::Syntax(exception)) = run(&[main, others[0]]) else {
        panic!("it imports what is not there")
    };
    assert_eq!(exception.message, "there is no module c");
    assert_eq!(run(&others), Err(ScriptError::NoModule { name: "lib/a.js".into() }));
    for name in ["a\0", "coco:realm"] {
        let modules = [Source { name, text: "" }];
        assert_eq!(run(&modules), Err(ScriptError::Name { name: name.into() }));
    }
    let twice = run(&[main, main]);
    assert_eq!(twice, Err(ScriptError::Name { name: "lib/a.js".into() }));
}

#[test]
fn what_is_not_exported_cannot_be_called() {
    for (text, expected) in [("export const f = 1;", false), ("function f() {}", false)] {
        let result = run_in(image(), &LIMITS, text, &mut NoHost).result;
        let missing = ScriptError::NoFunction { module: "a.js".into(), function: "f".into() };
        assert_eq!(result == Err(missing), !expected, "{text}");
    }
}

#[test]
fn exceptions_say_where() {
    for (text, name, message, line, column) in [
        ("export function f() {\n  throw new TypeError('no');\n}", "TypeError", "no", 2, 22),
        ("export const f = () =>\n missing;", "ReferenceError", "missing is not defined", 2, 2),
    ] {
        let result = run_in(image(), &LIMITS, text, &mut NoHost).result;
        let Err(ScriptError::Exception(exception)) = result else { panic!("{result:?}") };
        assert_eq!((&*exception.name, &*exception.message), (name, message));
        let place = exception.place().expect("the stack names places");
        assert_eq!((&*place.module, place.line), ("a.js", line), "{exception:?} {column}");
    }
    let result = body("throw 'just text'");
    let thrown = Exception { message: "just text".into(), ..Exception::default() };
    assert_eq!(result, Err(ScriptError::Exception(thrown)));
}

#[test]
fn syntax_errors_say_where() {
    for (text, line) in
        [("export function f( {", 1), ("let a = 1;\nlet b = ;", 2), ("let a; let a;", 1)]
    {
        let result = run_in(image(), &LIMITS, text, &mut NoHost).result;
        let Err(ScriptError::Syntax(exception)) = result else { panic!("{text}: {result:?}") };
        let place: Option<Place> = exception.place();
        let place = place.unwrap_or_else(|| panic!("{text}: {exception:?}"));
        assert_eq!((&*exception.name, &*place.module, place.line), ("SyntaxError", "a.js", line));
    }
}

#[test]
fn promises_are_settled_before_a_run_ends() {
    let result = |text| run_in(image(), &LIMITS, text, &mut NoHost).result;
    assert_eq!(
        result("export async function f() { await null; return 1; }"),
        Ok(Value::Number(1.0))
    );
    assert_eq!(
        result("export const f = () => new Promise(() => {});"),
        Err(ScriptError::Unsettled)
    );
    assert_eq!(
        result("await new Promise(() => {}); export const f = 1;"),
        Err(ScriptError::Unsettled)
    );
    let rejected = result("export async function f() { throw new Error('late'); }");
    let Err(ScriptError::Exception(exception)) = rejected else { panic!("{rejected:?}") };
    assert_eq!(exception.message, "late");
}

/// Answers `add`, refuses `refuse` and ends at `stop`.
struct Three(u32);

impl Host for Three {
    fn call(&mut self, operation: &str, arguments: &[Value]) -> Result<Value, HostError> {
        self.0 += 1;
        match (operation, arguments) {
            ("add", [Value::Number(a), Value::Number(b)]) => Ok(Value::Number(a + b)),
            ("large", []) => Ok(Value::Bytes(vec![0; LIMITS.value_bytes as usize])),
            ("stop", _) => Err(HostError::Stop("enough".into())),
            _ => Err(HostError::Refused(format!("no {operation}"))),
        }
    }
}

fn with_host() -> Image {
    let prelude = Source {
        name: "prelude.js",
        text: "{ const call = host; globalThis.ask = (...all) => call(...all); }",
    };
    Image::new(engine(), &Limits::GOVERNANCE, &[prelude], &[]).expect("the prelude runs")
}

#[test]
fn the_host_answers_refuses_and_ends() {
    let image = with_host();
    let ask = |body: &str| {
        let text = format!("export function f() {{ {body} }}");
        run_in(&image, &LIMITS, &text, &mut Three(0)).result
    };
    assert_eq!(ask("return ask('add', 1, 2)"), Ok(Value::Number(3.0)));
    assert_eq!(ask("return typeof host"), Ok(Value::text("undefined")));
    assert_eq!(ask("try { ask('no'); } catch (e) { return e.message; }"), Ok(Value::text("no no")));
    assert_eq!(
        ask("try { ask('stop'); } catch {} return 1;"),
        Err(ScriptError::Stopped("enough".into()))
    );
    let large = ask("try { ask('large'); } catch (e) { return e.message; }");
    assert!(matches!(&large, Ok(Value::Text(text)) if text.contains("larger")), "{large:?}");
    for refused in
        ["() => 1", "Symbol()", "1n", "'\\ud800'", "new Uint16Array(1)", "'x'.repeat(70000)"]
    {
        let text = format!("try {{ ask('add', {refused}); }} catch (e) {{ return e.name; }}");
        let result = ask(&text);
        assert!(
            matches!(&result, Ok(Value::Text(name)) if name == "TypeError" || name == "RangeError"),
            "{refused}: {result:?}"
        );
    }
}

#[test]
fn the_host_cannot_be_asked_while_an_image_is_made() {
    let prelude = Source { name: "prelude.js", text: "host('add', 1, 2)" };
    let made = Image::new(engine(), &Limits::GOVERNANCE, &[prelude], &[]);
    assert!(matches!(made, Err(ScriptError::Stopped(_))), "{made:?}");
}

#[test]
fn calls_to_the_host_cost_fuel() {
    let image = with_host();
    let mut host = Three(0);
    let text = "export function f() { for (;;) ask('add', 1, 2); }";
    let outcome = run_in(&image, &LIMITS, text, &mut host);
    assert_eq!(outcome.result, Err(ScriptError::OutOfFuel { fuel: LIMITS.fuel }));
    assert_eq!(outcome.fuel, LIMITS.fuel);
    assert!((1_000..10_000).contains(&host.0), "{}", host.0);
}

#[test]
fn the_console_is_kept_up_to_its_limit() {
    let log = |body: &str| {
        let text = format!("export function f() {{ {body} }}");
        run_in(image(), &LIMITS, &text, &mut NoHost).log
    };
    assert_eq!(log("console.log('a', 1, [2, 3]); console.warn('é')"), ["a 1 2,3", "é"]);
    assert_eq!(log("for (let i = 0; i < 300; i++) console.info('12345678')").len(), 128);
    assert_eq!(log("console.log('x'.repeat(5000))"), ["x".repeat(1024)]);
    assert_eq!(log("console.log('kept'); throw 1"), ["kept"]);
}

#[test]
fn modules_in_an_image_are_evaluated_once() {
    let source = Source { name: "a.js", text: "let n = 0; export const f = () => ++n;" };
    let image = Image::new(engine(), &LIMITS, &[], &[source]);
    // The realm alone takes more than what tests may use.
    assert!(matches!(image, Err(ScriptError::OutOfFuel { .. })), "{image:?}");
    let image = Image::new(engine(), &Limits::GOVERNANCE, &[], &[source]).expect("it loads");
    let call = Call { module: "a.js", function: "f", arguments: &[] };
    for _ in 0..2 {
        let outcome = image.run(&LIMITS, &[], call, &mut NoHost);
        assert_eq!(outcome.result, Ok(Value::Number(1.0)), "each run begins from the image");
    }
}

#[test]
fn threads_share_an_image() {
    let text = "export const f = () => 0 / 0;";
    let run = || run_in(image(), &LIMITS, text, &mut NoHost);
    let outcomes = std::thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.map(|thread| thread.join().expect("it does not panic"))
    });
    assert_eq!(outcomes[0].fuel, outcomes[1].fuel);
    let is_nan = |value: &Value| matches!(value, Value::Number(number) if number.is_nan());
    assert!(outcomes.iter().all(|outcome| outcome.result.as_ref().is_ok_and(is_nan)));
}

#[test]
fn an_image_goes_on_from_another() {
    let b = Source { name: "b.js", text: "export let n = 1; export const more = () => ++n;" };
    let a = Source {
        name: "a.js",
        text: "import { n, more } from 'b.js'; more(); export const f = () => n;",
    };
    let first = image().extend(&LIMITS, &[b]).expect("it loads");
    let second = first.extend(&LIMITS, &[a]).expect("it imports what is there");
    let call = |module, function| Call { module, function, arguments: &[] };
    let run = |image: &Image, call| image.run(&LIMITS, &[], call, &mut NoHost).result;
    assert_eq!(run(&second, call("a.js", "f")), Ok(Value::Number(2.0)));
    assert_eq!(run(&first, call("b.js", "more")), Ok(Value::Number(2.0)), "it stays as it was");
    assert!(matches!(run(&first, call("a.js", "f")), Err(ScriptError::NoModule { .. })));
    assert!(matches!(second.extend(&LIMITS, &[a]), Err(ScriptError::Name { .. })));
    let looping = Source { name: "c.js", text: "for (;;);" };
    let extended = second.extend(&LIMITS, &[looping]);
    assert!(matches!(extended, Err(ScriptError::OutOfFuel { .. })), "{extended:?}");
}

#[test]
fn exports_are_named() {
    let text = "export function b(x, y) {} export const a = 1; export default (x, y = 1) => 1;";
    let found = image().exports(&LIMITS, &[Source { name: "a.js", text }], "a.js");
    let export = |name: &str, parameters| Export { name: name.into(), parameters };
    assert_eq!(
        found,
        Ok(vec![export("a", None), export("b", Some(2)), export("default", Some(1))])
    );
}

#[test]
fn the_same_script_takes_the_same_fuel_everywhere() {
    let text = "export function f() { const m = new Map(); for (let i = 0; i < 100; i++) m.set({}, [i, Math.sin(i)]); return JSON.stringify([...m.values()]); }";
    let other = Image::new(&Engine::new(), &Limits::GOVERNANCE, &[], &[]).expect("another realm");
    let outcomes: Vec<_> =
        [image(), image(), &other].map(|image| run_in(image, &LIMITS, text, &mut NoHost)).into();
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
    assert_eq!(image().fuel(), other.fuel());
}

#[test]
fn a_step_of_a_script_costs_a_few_units() {
    let fuel = |n: u32| {
        let text = format!(
            "export function f() {{ let n = 0; for (let i = 0; i < {n}; i++) n += i; return n; }}"
        );
        run_in(image(), &LIMITS, &text, &mut NoHost).fuel
    };
    let each = (fuel(2_000) - fuel(1_000)) / 1_000;
    assert!((5..30).contains(&each), "{each}");
}

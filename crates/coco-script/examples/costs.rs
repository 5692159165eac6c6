//! What the engine costs: `cargo run --release -p coco-script --example script-costs`.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::time::{Duration, Instant};

use coco_script::{Call, Engine, Image, Limits, NoHost, Outcome, ScriptError, Source, Value};

/// Runs of which the fastest and the middle one are shown.
const RUNS: usize = 21;

fn main() {
    println!("engine: {} bytes of WebAssembly", Engine::code().len());
    let (engine, took) = timed(Engine::new);
    println!("translate the engine: {took:.1?}");
    let constitution = constitution();
    println!("constitution: {} bytes", constitution.len());
    let source = Source { name: "constitution.js", text: &constitution };

    let limits = Limits::GOVERNANCE;
    let make = || Image::new(&engine, &limits, &[], &[]);
    let empty = image("image, empty", make);
    let loaded =
        image("image that goes on with the constitution", || empty.extend(&limits, &[source]));

    let input = Value::text(r#"{"actions":[{"name":"action_7","args":{"id":"a","data":{}}}]}"#);
    let arguments = [input];
    let call = Call { module: "constitution.js", function: "validate", arguments: &arguments };
    run(&loaded, "call, constitution in the image", &[], call);
    run(&empty, "call, constitution compiled for it", &[source], call);

    let ballot = Source { name: "ballot.js", text: "export function vote() { return true; }" };
    let vote = Call { module: "ballot.js", function: "vote", arguments: &arguments };
    run(&empty, "a ballot", &[ballot], vote);

    for (name, text) in [
        ("loop of a million steps", "let n = 0; for (let i = 0; i < 1e6; i++) n += i; return n;"),
        ("fib(20)", "const f = (n) => n < 2 ? n : f(n - 1) + f(n - 2); return f(20);"),
        (
            "sort of 20,000 numbers",
            "const a = []; for (let i = 0; i < 2e4; i++) a.push(i * 7919 % 20011); a.sort((x, y) => x - y); return a[5];",
        ),
        ("text of a million characters, searched", "return 'ab'.repeat(5e5).indexOf('ba!');"),
        (
            "a regular expression that goes back and forth",
            "return /^(a+)+$/.test('a'.repeat(18) + '!');",
        ),
        (
            "JSON there and back, 2,000 members",
            "const o = {}; for (let i = 0; i < 2000; i++) o['k' + i] = [i, 'v' + i]; return JSON.stringify(JSON.parse(JSON.stringify(o))).length;",
        ),
        (
            "products of large integers",
            "let n = 3n; for (let i = 0; i < 14; i++) n *= n; return String(n).length;",
        ),
    ] {
        let text = format!("export function f() {{ {text} }}");
        let source = Source { name: "work.js", text: &text };
        let call = Call { module: "work.js", function: "f", arguments: &[] };
        run(&empty, name, &[source], call);
    }
}

/// About 60 KB in the shape of a constitution: a table of actions, each with a function that checks and one that applies.
fn constitution() -> String {
    let mut text = String::from(
        "const actions = new Map();\n\
         function check(value, type, name) {\n  if (typeof value !== type) throw new Error(`${name} must be a ${type}`);\n}\n",
    );
    for i in 0..100 {
        text.push_str(&format!(
            "actions.set(\"action_{i}\", {{\n\
               validate(args) {{\n    check(args.id, \"string\", \"id\");\n    check(args.data, \"object\", \"data\");\n\
                 for (const key of Object.keys(args.data)) {{\n\
                   if (!/^[a-z_]+$/.test(key)) {{\n        throw new Error(`unknown member ${{key}} of action_{i}`);\n      }}\n    }}\n  }},\n\
               apply(args, proposalId) {{\n    const key = args.id + \":\" + proposalId;\n\
                 const known = ccf.kv[\"public:ccf.gov.table_{i}\"].get(key);\n\
                 if (known === undefined) {{\n      ccf.kv[\"public:ccf.gov.table_{i}\"].set(key, JSON.stringify(args.data));\n    }}\n  }},\n}});\n",
        ));
    }
    text.push_str(
        "export function validate(input) {\n  const proposal = JSON.parse(input);\n  const errors = [];\n\
           for (const [position, action] of proposal.actions.entries()) {\n\
             const known = actions.get(action.name);\n\
             if (!known) { errors.push(`${action.name}: no such action`); continue; }\n\
             try { known.validate(action.args); } catch (e) { errors.push(`${position}: ${e.message}`); }\n  }\n\
           return { valid: errors.length === 0, description: errors.join(\", \") };\n}\n",
    );
    text
}

fn image(name: &str, make: impl Fn() -> Result<Image, ScriptError>) -> Image {
    let mut times = Vec::new();
    let mut made = None;
    for _ in 0..RUNS {
        let (image, took) = timed(|| make().expect("it loads"));
        times.push(took);
        made = Some(image);
    }
    let image = made.expect("it was made");
    show(name, &mut times, image.fuel(), image.memory_bytes());
    image
}

fn run(image: &Image, name: &str, modules: &[Source<'_>], call: Call<'_>) {
    let limits = Limits { fuel: 1_000_000_000, ..Limits::GOVERNANCE };
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..RUNS {
        let (outcome, took) = timed(|| image.run(&limits, modules, call, &mut NoHost));
        times.push(took);
        last = Some(outcome);
    }
    let Outcome { result, fuel, memory_bytes, .. } = last.expect("it ran");
    show(name, &mut times, fuel, memory_bytes);
    println!("    {result:?}");
}

fn show(name: &str, times: &mut [Duration], fuel: u64, memory_bytes: usize) {
    times.sort();
    let (least, middle) = (times[0], times[times.len() / 2]);
    let rate = fuel as f64 / middle.as_secs_f64() / 1e6;
    println!(
        "{name}: {middle:.2?} (least {least:.2?}), {fuel} units of fuel ({rate:.0} million a second), {memory_bytes} bytes"
    );
}

/// The time that a longer piece of work takes of a core. The time that passes for a short one, and where the system does
/// not tell.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let (start, used) = (Instant::now(), of_a_core());
    let result = work();
    let passed = start.elapsed();
    // The system counts in ticks of some milliseconds.
    let took = of_a_core().zip(used).map(|(after, before)| after.saturating_sub(before));
    (result, took.filter(|_| passed > Duration::from_millis(20)).unwrap_or(passed))
}

/// What this thread has had of a core so far.
fn of_a_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

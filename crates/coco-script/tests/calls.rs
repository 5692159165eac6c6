//! Ordinary scripts do what they say.

use coco_script::{Call, Engine, Image, Limits, NoHost, Source, Value};

#[test]
fn a_function_is_called() {
    let engine = Engine::new();
    let source = Source { name: "a.js", text: "export function f(a, b) { return a + b; }" };
    let image = Image::new(&engine, &Limits::GOVERNANCE, &[], &[source]).expect("an image");
    let arguments = [Value::Number(1.0), Value::Number(1.0)];
    let call = Call { module: "a.js", function: "f", arguments: &arguments };
    let outcome = image.run(&Limits::GOVERNANCE, &[], call, &mut NoHost);
    println!("{image:?} {outcome:?}");
    assert_eq!(outcome.result, Ok(Value::Number(2.0)));
}

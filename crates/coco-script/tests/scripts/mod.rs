//! What the tests share: one engine, one image, and scripts of one module called `a.js`.

use std::sync::OnceLock;

use coco_script::{Call, Engine, Host, Image, Limits, NoHost, Outcome, ScriptError, Source, Value};

/// Tests run in the development profile, where the engine is slow: enough for what is right, and soon over for the rest.
pub(crate) const LIMITS: Limits = Limits {
    fuel: 1_000_000,
    memory_bytes: 8 * 1024 * 1024,
    value_bytes: 64 * 1024,
    log_bytes: 1024,
};

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::new)
}

/// A realm without preludes and modules.
pub(crate) fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        Image::new(engine(), &Limits::GOVERNANCE, &[], &[]).expect("the realm can be made")
    })
}

/// Calls the function `f` of the module.
pub(crate) fn run_in(image: &Image, limits: &Limits, text: &str, host: &mut dyn Host) -> Outcome {
    let source = Source { name: "a.js", text };
    let call = Call { module: "a.js", function: "f", arguments: &[] };
    image.run(limits, &[source], call, host)
}

/// What a function with this body comes to.
pub(crate) fn body(text: &str) -> Result<Value, ScriptError> {
    let text = format!("export function f() {{ {text} }}");
    run_in(image(), &LIMITS, &text, &mut NoHost).result
}

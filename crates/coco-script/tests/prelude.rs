//! A prelude in the manner of CCF's `ccf` object, over the one primitive: shows that the interface carries it.

use std::{collections::BTreeMap, sync::OnceLock};

use coco_script::{
    Call, Engine, Host, HostError, Image, Limits, Outcome, ScriptError, Source, Value,
};

const PRELUDE: &str = r#"
(() => {
    "use strict";
    const ask = host;
    const maps = Object.create(null);
    const bytes = (value, what) => {
        if (!(value instanceof ArrayBuffer)) throw new TypeError(`${what} must be an ArrayBuffer`);
        return value;
    };
    class KvMap {
        #name;
        constructor(name) { this.#name = name; }
        get(key) { return ask("get", this.#name, bytes(key, "key")); }
        has(key) { return ask("has", this.#name, bytes(key, "key")); }
        set(key, value) { ask("set", this.#name, bytes(key, "key"), bytes(value, "value")); return this; }
        delete(key) { return ask("delete", this.#name, bytes(key, "key")); }
        clear() { ask("clear", this.#name); }
        get size() { return ask("size", this.#name); }
        forEach(callback) {
            for (const [key, value] of ask("entries", this.#name)) callback(value, key, this);
        }
    }
    const refuse = () => { throw new TypeError("ccf.kv is read-only"); };
    // Nothing but the proxy leads to these, and what is behind a proxy is not frozen by the engine.
    Object.freeze(KvMap.prototype);
    const kv = new Proxy(Object.create(null), {
        get(_, name) {
            if (typeof name !== "string") return undefined;
            return maps[name] ??= Object.freeze(new KvMap(name));
        },
        set: refuse, defineProperty: refuse, deleteProperty: refuse, setPrototypeOf: refuse, preventExtensions: refuse,
    });
    const { strToBuf } = host;
    const bufToStr = (buffer) => ask("bufToStr", bytes(buffer, "argument"));
    globalThis.ccf = {
        kv, strToBuf, bufToStr,
        jsonCompatibleToBuf: (value) => strToBuf(JSON.stringify(value)),
        bufToJsonCompatible: (buffer) => JSON.parse(bufToStr(buffer)),
    };
})();
"#;

const CONSTITUTION: &str = r#"
const members = () => ccf.kv["public:ccf.gov.members.info"];
export function validate(input) {
    const { actions } = JSON.parse(input);
    const unknown = actions.filter(({ name }) => name !== "set_member_data");
    return { valid: unknown.length === 0, description: unknown.map(({ name }) => `${name}: no such action`).join(", ") };
}
export function resolve(proposal, proposerId, votes) {
    let active = 0;
    members().forEach((value) => { if (ccf.bufToJsonCompatible(value).status === "Active") active++; });
    return votes.filter(({ vote }) => vote).length * 2 > active ? "Accepted" : "Open";
}
export function apply(proposal, proposalId) {
    for (const { args } of JSON.parse(proposal).actions) {
        const key = ccf.strToBuf(args.member_id);
        if (!members().has(key)) throw new Error(`${args.member_id} is no member`);
        const info = ccf.bufToJsonCompatible(members().get(key));
        info.member_data = args.member_data;
        members().set(key, ccf.jsonCompatibleToBuf(info));
    }
}
"#;

#[derive(Default)]
struct Store(BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Host for Store {
    fn call(&mut self, operation: &str, arguments: &[Value]) -> Result<Value, HostError> {
        let refused = || HostError::Refused(format!("{operation}: not these arguments"));
        Ok(match (operation, arguments) {
            ("bufToStr", [Value::Bytes(bytes)]) => {
                Value::Text(String::from_utf8(bytes.clone()).map_err(|_| refused())?)
            }
            (_, [Value::Text(map), rest @ ..]) => {
                let map = self.0.entry(map.clone()).or_default();
                match (operation, rest) {
                    ("get", [Value::Bytes(key)]) => {
                        map.get(key).cloned().map_or(Value::Undefined, Value::Bytes)
                    }
                    ("has", [Value::Bytes(key)]) => Value::Bool(map.contains_key(key)),
                    ("set", [Value::Bytes(key), Value::Bytes(value)]) => {
                        map.insert(key.clone(), value.clone());
                        Value::Undefined
                    }
                    ("delete", [Value::Bytes(key)]) => Value::Bool(map.remove(key).is_some()),
                    #[expect(clippy::cast_precision_loss, reason = "a test's map is small")]
                    ("size", []) => Value::Number(map.len() as f64),
                    ("entries", []) => {
                        let pair = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                            Value::List(vec![
                                Value::Bytes(key.clone()),
                                Value::Bytes(value.clone()),
                            ])
                        };
                        Value::List(map.iter().map(pair).collect())
                    }
                    _ => return Err(refused()),
                }
            }
            _ => return Err(refused()),
        })
    }
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let prelude = Source { name: "ccf.js", text: PRELUDE };
        let constitution = Source { name: "constitution.js", text: CONSTITUTION };
        Image::new(&Engine::new(), &Limits::GOVERNANCE, &[prelude], &[constitution])
            .expect("both load")
    })
}

fn members() -> Store {
    let mut store = Store::default();
    let map = store.0.entry("public:ccf.gov.members.info".into()).or_default();
    for (id, status) in [("m0", "Active"), ("m1", "Active"), ("m2", "Accepted")] {
        map.insert(id.into(), format!(r#"{{"status":"{status}"}}"#).into_bytes());
    }
    store
}

fn call(function: &str, arguments: &[Value], store: &mut Store) -> Outcome {
    let call = Call { module: "constitution.js", function, arguments };
    image().run(&Limits::GOVERNANCE, &[], call, store)
}

const PROPOSAL: &str =
    r#"{"actions":[{"name":"set_member_data","args":{"member_id":"m1","member_data":{"a":"é"}}}]}"#;

#[test]
fn a_proposal_is_validated_resolved_and_applied() {
    let mut store = members();
    let validated = call("validate", &[Value::text(PROPOSAL)], &mut store).result;
    let validated = validated.expect("it validates");
    assert_eq!(validated.member("valid"), Some(&Value::Bool(true)));
    let vote = |id: &str, vote| {
        Value::Record(vec![
            ("member_id".into(), Value::text(id)),
            ("vote".into(), Value::Bool(vote)),
        ])
    };
    for (votes, expected) in [
        (vec![vote("m0", true)], "Open"),
        (vec![vote("m0", true), vote("m1", false)], "Open"),
        (vec![vote("m0", true), vote("m1", true)], "Accepted"),
    ] {
        let arguments = [Value::text(PROPOSAL), Value::text("m0"), Value::List(votes)];
        assert_eq!(call("resolve", &arguments, &mut store).result, Ok(Value::text(expected)));
    }
    let applied = call("apply", &[Value::text(PROPOSAL), Value::text("id")], &mut store);
    assert_eq!(applied.result, Ok(Value::Undefined));
    let stored = &store.0["public:ccf.gov.members.info"][b"m1".as_slice()];
    assert_eq!(stored, r#"{"status":"Active","member_data":{"a":"é"}}"#.as_bytes());
}

#[test]
fn a_ballot_reads_the_store_but_not_the_constitution() {
    let ballot = |body: &str| {
        let text = format!("export function vote (rawProposal, proposerId) {{ {body} }}");
        let call = Call {
            module: "ballot.js",
            function: "vote",
            arguments: &[Value::text(PROPOSAL), Value::text("m0")],
        };
        let source = Source { name: "ballot.js", text: &text };
        image().run(&Limits::GOVERNANCE, &[source], call, &mut members()).result
    };
    for (body, expected) in [
        ("return proposerId === 'm0' && JSON.parse(rawProposal).actions.length === 1", true),
        ("return ccf.kv['public:ccf.gov.members.info'].size === 3", true),
        (
            "const m = ccf.kv['public:ccf.gov.members.info']; return m.delete(ccf.strToBuf('m2')) && !m.delete(ccf.strToBuf('m2'))",
            true,
        ),
        ("return ccf.kv.x.get(ccf.strToBuf('k')) === undefined", true),
        ("return typeof resolve !== 'undefined'", false),
    ] {
        assert_eq!(ballot(body), Ok(Value::Bool(expected)), "{body}");
    }
    for body in [
        "ccf.kv.x = 1",
        "ccf.kv = 1",
        "ccf.strToBuf = 1",
        "delete ccf.kv.x",
        "Object.defineProperty(ccf.kv, 'x', { value: 1 })",
        "ccf.kv.x.get = 1",
        "Object.getPrototypeOf(ccf.kv.x).get = 1",
        "ccf.kv.x.get('text')",
        "ccf.bufToStr(new Uint8Array([255]).buffer)",
    ] {
        let result = ballot(body);
        assert!(matches!(result, Err(ScriptError::Exception(_))), "{body}: {result:?}");
    }
}

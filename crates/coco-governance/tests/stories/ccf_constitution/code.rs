//! Which code runs: applications in JavaScript, and what nodes may run. Most of it has no meaning here yet, and is written as CCF has
//! it.

use coco_crypto::sha256;
use coco_governance::tables;
use serde_json::{Value, json};

use super::Stage;

const BYTECODE: &str = "public:ccf.gov.modules_quickjs_bytecode";
const BYTECODE_VERSION: &str = "public:ccf.gov.modules_quickjs_version";
const FLUSH: &str = "public:ccf.gov.interpreter.flush";
const RUNTIME_OPTIONS: &str = "public:ccf.gov.js_runtime_options";
const JOIN_POLICY: &str = "public:ccf.gov.nodes.node_join_policy";

fn endpoint(module: &str) -> Value {
    json!({
        "js_module": module, "js_function": "f", "mode": "readwrite", "forwarding_required": "always",
        "authn_policies": ["jwt", { "all_of": ["user_cert", "member_cert"] }], "openapi": {},
        "redirection_strategy": "to_primary",
    })
}

fn bundle(endpoint: &Value) -> Value {
    json!({ "bundle": {
        "modules": [{ "name": "a.js", "module": "export function f () {}" }, { "name": "b.js", "module": "" }],
        "metadata": { "endpoints": { "/x": { "post": endpoint } } },
    } })
}

pub(super) fn set_js_app(stage: &mut Stage) {
    let name = "set_js_app";
    for (table, key) in
        [(tables::MODULES, "/old.js"), (tables::ENDPOINTS, "GET /old"), (BYTECODE, "/old.js")]
    {
        stage.put(table, key.as_bytes(), json!({}));
    }
    stage.accepts(name, &bundle(&endpoint("a.js")));
    let source = stage.text(tables::MODULES, b"/a.js");
    assert_eq!(source.as_deref(), Some("export function f () {}"));
    assert_eq!(stage.text(tables::MODULES, b"/b.js").as_deref(), Some(""));
    assert_eq!(stage.json(tables::ENDPOINTS, b"POST /x"), Some(endpoint("/a.js")));
    assert_eq!(stage.json(FLUSH, tables::singleton_key()), Some(json!(true)));
    assert_eq!(stage.text(tables::MODULES, b"/old.js"), None);
    assert_eq!(stage.text(tables::ENDPOINTS, b"GET /old"), None);
    let mut without = bundle(&endpoint("b.js"));
    without["disable_bytecode_cache"] = json!(true);
    stage.accepts(name, &without);
    assert_eq!(stage.text(BYTECODE, b"/old.js"), None);

    stage.refuses(name, &json!({}), "bundle must be of type object");
    stage.refuses(name, &bundle(&endpoint("c.js")), "module 'c.js' not found");
    for (field, value, why) in [
        ("mode", json!("fast"), "must be one of"),
        ("forwarding_required", json!("x"), "must be one of"),
        ("redirection_strategy", json!("x"), "must be one of"),
        ("js_function", json!(1), "must be of type string"),
        ("authn_policies", json!([1]), "must be of type string or object"),
        ("authn_policies", json!([{ "all_of": [1] }]), "must be of type string"),
        ("authn_policies", json!("jwt"), "must be an array"),
        ("openapi_hidden", json!("x"), "must be of type boolean"),
    ] {
        let mut wrong = endpoint("a.js");
        wrong[field] = value;
        stage.refuses(name, &bundle(&wrong), why);
    }
}

pub(super) fn remove_js_app(stage: &mut Stage) {
    stage.accepts("set_js_app", &bundle(&endpoint("a.js")));
    stage.put(BYTECODE, b"/a.js", json!("x"));
    stage.put(BYTECODE_VERSION, tables::singleton_key(), json!("x"));
    stage.accepts("remove_js_app", &json!({}));
    for (table, key) in [
        (tables::MODULES, &b"/a.js"[..]),
        (tables::ENDPOINTS, b"POST /x"),
        (BYTECODE, b"/a.js"),
        (BYTECODE_VERSION, tables::singleton_key()),
        (FLUSH, tables::singleton_key()),
    ] {
        assert_eq!(stage.text(table, key), None, "{table}");
    }
}

pub(super) fn set_js_runtime_options(stage: &mut Stage) {
    let name = "set_js_runtime_options";
    let all = json!({
        "max_heap_bytes": 1 << 20, "max_stack_bytes": 4096, "max_execution_time_ms": 500,
        "log_exception_details": true, "return_exception_details": null, "max_cached_interpreters": 3,
    });
    stage.accepts(name, &all);
    assert_eq!(stage.json(RUNTIME_OPTIONS, tables::singleton_key()), Some(all.clone()));
    for (field, value, why) in [
        ("max_heap_bytes", json!(null), "must be an integer"),
        ("max_stack_bytes", json!(0.5), "must be an integer"),
        ("log_exception_details", json!(1), "must be of type boolean"),
        ("max_cached_interpreters", json!("x"), "must be an integer"),
    ] {
        let mut wrong = all.clone();
        wrong[field] = value;
        stage.refuses(name, &wrong, why);
    }
}

/// There is no such cache: nothing is written.
pub(super) fn refresh_js_app_bytecode_cache(stage: &mut Stage) {
    stage.put(tables::MODULES, b"/a.js", json!("export {}"));
    stage.accepts("refresh_js_app_bytecode_cache", &json!({}));
    assert_eq!(stage.text(BYTECODE, b"/a.js"), None);
    assert_eq!(stage.text(BYTECODE_VERSION, tables::singleton_key()), None);
}

/// Code of one kind may join, and may not any more.
fn admits(stage: &mut Stage, name: &str, field: &str, table: &'static str) {
    let code = "0f".repeat(32);
    stage.accepts_and_drops(name, &json!({ field: code }));
    assert_eq!(stage.json(table, code.as_bytes()), Some(json!("AllowedToJoin")));
    stage.refuses(name, &json!({ field: 1 }), "must be of type string");
}

fn revokes(stage: &mut Stage, name: &str, field: &str, table: &'static str) {
    let code = "0f".repeat(32);
    stage.put(table, code.as_bytes(), json!({}));
    for _ in 0..2 {
        stage.accepts(name, &json!({ field: code }));
        assert_eq!(stage.text(table, code.as_bytes()), None);
    }
    stage.refuses(name, &json!({}), "must be of type string");
}

pub(super) fn add_node_code(stage: &mut Stage) {
    admits(stage, "add_node_code", "code_id", tables::NODES_CODE_IDS);
}

pub(super) fn remove_node_code(stage: &mut Stage) {
    revokes(stage, "remove_node_code", "code_id", tables::NODES_CODE_IDS);
}

pub(super) fn add_snp_measurement(stage: &mut Stage) {
    admits(stage, "add_snp_measurement", "measurement", tables::SNP_MEASUREMENTS);
}

pub(super) fn remove_snp_measurement(stage: &mut Stage) {
    revokes(stage, "remove_snp_measurement", "measurement", tables::SNP_MEASUREMENTS);
}

pub(super) fn add_virtual_measurement(stage: &mut Stage) {
    admits(stage, "add_virtual_measurement", "measurement", tables::VIRTUAL_MEASUREMENTS);
}

pub(super) fn remove_virtual_measurement(stage: &mut Stage) {
    revokes(stage, "remove_virtual_measurement", "measurement", tables::VIRTUAL_MEASUREMENTS);
}

pub(super) fn remove_snp_host_data(stage: &mut Stage) {
    revokes(stage, "remove_snp_host_data", "host_data", tables::SNP_HOST_DATA);
}

pub(super) fn remove_virtual_host_data(stage: &mut Stage) {
    revokes(stage, "remove_virtual_host_data", "host_data", tables::VIRTUAL_HOST_DATA);
}

pub(super) fn add_virtual_host_data(stage: &mut Stage) {
    let name = "add_virtual_host_data";
    stage.accepts_and_drops(name, &json!({ "host_data": "0a", "metadata": "m" }));
    assert_eq!(stage.json(tables::VIRTUAL_HOST_DATA, b"0a"), Some(json!("m")));
    stage.refuses(name, &json!({ "host_data": "0a" }), "must be of type string");
}

pub(super) fn add_snp_host_data(stage: &mut Stage) {
    let name = "add_snp_host_data";
    let policy = "package policy\n\nallow := true";
    let digest = sha256(policy.as_bytes()).to_string();
    let args =
        |digest: &str, policy: &str| json!({ "host_data": digest, "security_policy": policy });
    stage.accepts_and_drops(name, &args(&digest, policy));
    assert_eq!(stage.json(tables::SNP_HOST_DATA, digest.as_bytes()), Some(json!(policy)));
    let any = "ab".repeat(32);
    stage.accepts(name, &args(&any, ""));
    assert_eq!(stage.json(tables::SNP_HOST_DATA, any.as_bytes()), Some(json!("")));
    stage.refuses(name, &args(&any, policy), "does not match digest");
    stage.refuses(name, &args("zz", policy), "Hex string invalid");
    stage.refuses(name, &args("abc", policy), "Hex string invalid");
    stage.refuses(name, &json!({ "host_data": any }), "must be of type string");
}

/// Who endorses utility VMs, for what, and from which version on.
const ENDORSER: &str = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1";

fn endorsers(stage: &Stage) -> Option<Value> {
    stage.json(tables::SNP_UVM_ENDORSEMENTS, ENDORSER.as_bytes())
}

pub(super) fn add_snp_uvm_endorsement(stage: &mut Stage) {
    let name = "add_snp_uvm_endorsement";
    let args = |feed: &str, svn: Value| json!({ "did": ENDORSER, "feed": feed, "svn": svn });
    stage.accepts_and_drops(name, &args("one", json!("100")));
    stage.accepts(name, &args("two", json!("1")));
    stage.accepts(name, &args("one", json!("101")));
    let both = json!({ "one": { "svn": "101" }, "two": { "svn": "1" } });
    assert_eq!(endorsers(stage), Some(both));
    stage.refuses(name, &args("one", json!(1)), "must be of type string");
}

pub(super) fn remove_snp_uvm_endorsement(stage: &mut Stage) {
    let name = "remove_snp_uvm_endorsement";
    let both = json!({ "one": { "svn": "101" }, "two": { "svn": "1" } });
    stage.put(tables::SNP_UVM_ENDORSEMENTS, ENDORSER.as_bytes(), both);
    let args = |feed: &str| json!({ "did": ENDORSER, "feed": feed });
    stage.accepts(name, &args("one"));
    assert_eq!(endorsers(stage), Some(json!({ "two": { "svn": "1" } })));
    stage.accepts(name, &args("two"));
    assert_eq!(endorsers(stage), None);
    stage.accepts(name, &args("two"));
    stage.refuses(name, &json!({ "did": ENDORSER }), "must be of type string");
}

const MILAN: &str = "00a00f11";

fn least(stage: &Stage, processor: &str) -> Option<Value> {
    stage.json(tables::SNP_TCB_VERSIONS, processor.as_bytes())
}

fn tcb() -> Value {
    json!({ "boot_loader": 5, "tee": 0, "snp": 28, "microcode": 211 })
}

/// An action whose argument is the parts of a TCB version.
fn sets_tcb(stage: &mut Stage, name: &str) {
    let args = |cpuid: &str, tcb: Value| json!({ "cpuid": cpuid, "tcb_version": tcb });
    stage.accepts_and_drops(name, &args(MILAN, tcb()));
    let mut without = tcb();
    without["snp"] = Value::Null;
    stage.refuses(name, &args(MILAN, without), "tcb_version.snp must be of type number");
    stage.refuses(name, &args(MILAN, json!("x")), "must be of type object");
    stage.refuses(name, &args("00a00f1g", tcb()), "Hex string invalid");
    stage.refuses(name, &args("00a", tcb()), "Hex string invalid");
}

pub(super) fn add_snp_tcb_version(stage: &mut Stage) {
    sets_tcb(stage, "add_snp_tcb_version");
    assert_eq!(least(stage, &MILAN.to_uppercase()), Some(tcb()));
}

pub(super) fn remove_snp_tcb_version(stage: &mut Stage) {
    let name = "remove_snp_tcb_version";
    for processor in [MILAN.to_owned(), MILAN.to_uppercase()] {
        stage.put(tables::SNP_TCB_VERSIONS, processor.as_bytes(), tcb());
    }
    stage.accepts(name, &json!({ "cpuid": MILAN }));
    assert_eq!(least(stage, MILAN), None);
    assert_eq!(least(stage, &MILAN.to_uppercase()), None);
    stage.fails(name, &json!({ "cpuid": MILAN }), "CPUID not found");
    stage.refuses(name, &json!({}), "must be of type string");
}

pub(super) fn set_snp_minimum_tcb_version(stage: &mut Stage) {
    let name = "set_snp_minimum_tcb_version";
    sets_tcb(stage, name);
    assert_eq!(least(stage, MILAN), Some(tcb()));
    let upper = json!({ "cpuid": MILAN.to_uppercase(), "tcb_version": tcb() });
    stage.refuses(name, &upper, "must be a lowercase hex string");
}

pub(super) fn set_snp_minimum_tcb_version_hex(stage: &mut Stage) {
    let name = "set_snp_minimum_tcb_version_hex";
    let args = |cpuid: &str, tcb: &str| json!({ "cpuid": cpuid, "tcb_version": tcb });
    // The pair that CCF's own tests have.
    let hex = "d31c000000000005";
    let mut milan = tcb();
    milan["hexstring"] = json!(hex);
    for processor in [MILAN, "00a10f11"] {
        stage.accepts_and_drops(name, &args(processor, hex));
        assert_eq!(least(stage, processor), Some(milan.clone()));
    }
    let hex = "6f00000003020104";
    stage.accepts(name, &args("00b00f11", hex));
    let turin = json!({
        "hexstring": hex, "fmc": 4, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 111,
    });
    assert_eq!(least(stage, "00b00f11"), Some(turin));
    stage.fails(name, &args("00000000", hex), "no processor whose TCB versions are known");
    stage.refuses(name, &args(MILAN, "00"), "exactly 8 bytes");
    stage.refuses(name, &args(MILAN, "D31C000000000005"), "must be a lowercase hex string");
    stage.refuses(name, &args("00", hex), "exactly 4 bytes");
}

pub(super) fn remove_snp_minimum_tcb_version(stage: &mut Stage) {
    let name = "remove_snp_minimum_tcb_version";
    stage.put(tables::SNP_TCB_VERSIONS, MILAN.as_bytes(), tcb());
    stage.accepts(name, &json!({ "cpuid": MILAN }));
    assert_eq!(least(stage, MILAN), None);
    stage.fails(name, &json!({ "cpuid": MILAN }), "not found");
    stage.refuses(name, &json!({ "cpuid": "x" }), "Hex string invalid");
}

pub(super) fn set_node_join_policy(stage: &mut Stage) {
    let name = "set_node_join_policy";
    let policy = "export function apply (leaves) { return true; }";
    stage.accepts(name, &json!({ "policy": policy }));
    assert_eq!(stage.text(JOIN_POLICY, tables::singleton_key()).as_deref(), Some(policy));
    stage.refuses(name, &json!({}), "must be of type string");
}

pub(super) fn remove_node_join_policy(stage: &mut Stage) {
    stage.put(JOIN_POLICY, tables::singleton_key(), json!("x"));
    stage.accepts("remove_node_join_policy", &json!({}));
    assert_eq!(stage.text(JOIN_POLICY, tables::singleton_key()), None);
}

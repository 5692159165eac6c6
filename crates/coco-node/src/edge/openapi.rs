//! The documents about the calls, in `OpenAPI` 3.0: made from the table of routes, and from `schemas.json`, which says
//! what bodies look like.

use std::{collections::BTreeSet, sync::OnceLock};

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::{
    parameters::{API_VERSIONS, Form, LIMIT_MAX, Parameter, path_form},
    table::{Answer, Body, Frontend, ROWS, Row, Verb, Who},
};

/// The document about the calls below a prefix.
///
/// # Panics
/// Never: what it is made of is part of this program.
#[must_use]
pub fn document(frontend: Frontend) -> Bytes {
    static DOCUMENTS: [OnceLock<Bytes>; 3] = [const { OnceLock::new() }; 3];
    let [app, node, gov] = &DOCUMENTS;
    let document = match frontend {
        Frontend::App => app,
        Frontend::Node => node,
        Frontend::Gov => gov,
    };
    document.get_or_init(|| make(frontend).to_string().into()).clone()
}

fn make(frontend: Frontend) -> Value {
    let mut paths = Map::new();
    for row in ROWS.iter().filter(|row| row.frontend() == Some(frontend)) {
        let path = &row.path[frontend.prefix().len()..];
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[method(row.verb)] = operation(row);
    }
    let paths = Value::Object(paths);
    let schemas: Map<String, Value> =
        serde_json::from_str(SCHEMAS).expect("the schemas are part of this program");
    let used = used_schemas(&paths, &schemas);
    let schemas: Map<String, Value> =
        schemas.into_iter().filter(|(name, _)| used.contains(name)).collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": format!("Coco {}", frontend.prefix()),
            "description": about(frontend),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": frontend.prefix() }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Error": {
                "description": "What was wrong",
                "content": { "application/json": { "schema": reference("Error") } },
            } },
            "securitySchemes": { TOKEN: {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "A token under RS256 or ES256, of an issuer that members have admitted",
            }, MEMBER: {
                "type": "http",
                "scheme": "cose_sign1",
                "description": "A COSE_Sign1 message, signed by a member, whose protected headers name the message \
                                type, the time, and the proposal where there is one",
            } },
        },
    })
}

fn about(frontend: Frontend) -> &'static str {
    match frontend {
        Frontend::App => "Who calls, where transactions stand, and receipts for them",
        Frontend::Node => "A node and its network",
        Frontend::Gov => "What members decide, and what they have decided",
    }
}

fn operation(row: &Row) -> Value {
    let in_path = row.path.split('/').filter_map(|part| part.strip_prefix('{')?.split_once('}'));
    let in_path = in_path.map(|(name, _)| {
        json!({
            "name": name, "in": "path", "required": true, "schema": schema_of(path_form(name)),
        })
    });
    let in_query = row.query.iter().map(|parameter| {
        let Parameter { name, about, form, is_required } = parameter;
        json!({
            "name": name, "in": "query", "required": is_required, "description": about,
            "schema": schema_of(*form),
        })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut operation = json!({
        "summary": row.summary,
        "operationId": operation_id(row),
        "parameters": parameters,
        "responses": responses(row),
    });
    let bytes = json!({ "type": "string", "format": "binary" });
    match row.body {
        Body::Nothing | Body::JsonRpc => {}
        Body::Signed(message) => {
            let description = format!("A signed request with the message type {message}");
            operation["requestBody"] = json!({
                "required": true, "description": description,
                "content": { "application/cose": { "schema": bytes } },
            });
        }
        Body::Proposal | Body::Node => {
            let schema = if row.body == Body::Node { "JoinRequest" } else { "ProposalActions" };
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": reference(schema) } },
            });
        }
    }
    match row.who {
        Who::Anyone | Who::Node => {}
        Who::Member | Who::ActiveMember => operation["security"] = json!([{ MEMBER: [] }]),
        // This version of OpenAPI has no word for certificates in TLS.
        Who::Recognised => operation["security"] = json!([{}, { TOKEN: [] }]),
    }
    operation
}

fn responses(row: &Row) -> Value {
    let body = |kind: &str, schema: Value| json!({ "description": "Done", "content": { kind: { "schema": schema } } });
    let empty = |description: &str| json!({ "description": description });
    let way = empty("The primary does it: see location");
    let text = json!({ "type": "string" });
    let mut responses = match row.answer {
        Answer::Json(schema) => json!({ "200": body("application/json", reference(schema)) }),
        Answer::JsonOrNothing(schema) => json!({
            "200": body("application/json", reference(schema)), "204": empty("Nothing is known of it"),
        }),
        Answer::Script => json!({ "200": body("text/javascript", text) }),
        Answer::Cose => {
            let bytes = json!({ "type": "string", "format": "binary" });
            json!({ "200": body("application/cose", bytes) })
        }
        Answer::CoseList => {
            let bytes = json!({ "type": "string", "format": "binary" });
            json!({ "200": body("application/cbor", bytes) })
        }
        Answer::Metrics => json!({ "200": body("application/openmetrics-text", text) }),
        Answer::Nothing => json!({ "204": empty("Done") }),
        Answer::Redirect => {
            json!({ "200": empty("It is"), "308": empty("Another node is: see location") })
        }
        Answer::JsonOrWay(schema) => {
            json!({ "200": body("application/json", reference(schema)), "308": way })
        }
        Answer::NothingOrWay => {
            json!({ "204": empty("Done"), "308": way })
        }
        Answer::WayToFile => json!({ "308": empty("See location") }),
        Answer::File => {
            let bytes = json!({ "type": "string", "format": "binary" });
            let mut part = body("application/octet-stream", bytes);
            let whole = part.clone();
            part["description"] = json!("The range that was asked for");
            json!({ "200": whole, "206": part, "304": empty("The client has it"), "416": empty("There are no such bytes") })
        }
        Answer::Readiness => json!({ "204": empty("Ready"), "503": empty("Not ready") }),
    };
    responses["default"] = json!({ "$ref": "#/components/responses/Error" });
    responses
}

/// A name of the operation that no other one has: its method and path in letters, and a number where another spelling of the
/// path comes before.
fn operation_id(row: &Row) -> String {
    let id = operation_letters(row);
    let before = ROWS.iter().take_while(|other| !std::ptr::eq(*other, row));
    match before.filter(|other| operation_letters(other) == id).count() {
        0 => id,
        others => format!("{id}{}", others + 1),
    }
}

fn operation_letters(row: &Row) -> String {
    let words =
        row.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    words.fold(method(row.verb).to_owned(), |id, word| id + &word)
}

const fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Delete => "delete",
        Verb::Options => "options",
    }
}

fn schema_of(form: Form) -> Value {
    match form {
        Form::ApiVersion => json!({ "type": "string", "enum": API_VERSIONS }),
        Form::Limit => {
            json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX })
        }
        Form::Text => json!({ "type": "string" }),
        Form::View | Form::Seqno => json!({ "type": "integer", "minimum": 0 }),
        Form::Truth => json!({ "type": "boolean" }),
        Form::TransactionId => reference("TransactionId"),
        Form::Id => reference("Id"),
        Form::Word(word) => json!({ "type": "string", "enum": [word] }),
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("{SCHEMA_PREFIX}{schema}") })
}

/// The schemas that the calls name, those that these name, and so on.
fn used_schemas(paths: &Value, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut open = named(paths);
    open.push("Error".to_owned());
    while let Some(name) = open.pop() {
        if let Some(schema) = schemas.get(&name)
            && used.insert(name)
        {
            open.extend(named(schema));
        }
    }
    used
}

fn named(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let direct = members.get("$ref").and_then(Value::as_str);
            let direct = direct.and_then(|name| name.strip_prefix(SCHEMA_PREFIX));
            direct.map(str::to_owned).into_iter().chain(members.values().flat_map(named)).collect()
        }
        Value::Array(items) => items.iter().flat_map(named).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

pub(super) const SCHEMAS: &str = include_str!("schemas.json");
const SCHEMA_PREFIX: &str = "#/components/schemas/";
const MEMBER: &str = "member_cose_sign1";
const TOKEN: &str = "jwt";

#[cfg(test)]
mod tests {
    use super::*;

    fn document_of(frontend: Frontend) -> Value {
        serde_json::from_slice(&document(frontend)).expect("JSON")
    }

    #[test]
    fn every_row_below_a_prefix_is_in_its_document_and_no_other_call() {
        for frontend in Frontend::ALL {
            let document = document_of(frontend);
            let paths = document["paths"].as_object().expect("paths");
            let mut found = BTreeSet::new();
            for (path, operations) in paths {
                for method in operations.as_object().expect("operations").keys() {
                    found.insert(format!("{method} {}{path}", frontend.prefix()));
                }
            }
            let rows = ROWS.iter().filter(|row| row.frontend() == Some(frontend));
            let expected: BTreeSet<_> =
                rows.map(|row| format!("{} {}", method(row.verb), row.path)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn names_of_operations_and_references_hold() {
        for frontend in Frontend::ALL {
            let document = document_of(frontend);
            let rows: Vec<_> = ROWS.iter().filter(|row| row.frontend() == Some(frontend)).collect();
            let ids: BTreeSet<_> = rows.iter().map(|row| operation_id(row)).collect();
            assert_eq!(ids.len(), rows.len(), "no two operations have one name");
            for name in named(&document) {
                assert!(document["components"]["schemas"][&name].is_object(), "{name}");
            }
        }
    }

    #[test]
    fn every_schema_is_used() {
        let all: Map<String, Value> = serde_json::from_str(SCHEMAS).expect("JSON");
        let used: BTreeSet<String> = Frontend::ALL
            .into_iter()
            .flat_map(|frontend| {
                let document = document_of(frontend);
                let schemas = document["components"]["schemas"].as_object().expect("schemas");
                schemas.keys().cloned().collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(all.keys().cloned().collect::<BTreeSet<_>>(), used);
    }

    #[test]
    fn members_sign_what_only_they_may_do() {
        let document = document_of(Frontend::Gov);
        let operation = &document["paths"]["/members/proposals:create"]["post"];
        assert_eq!(operation["security"], json!([{ "member_cose_sign1": [] }]));
        assert!(operation["requestBody"]["content"]["application/cose"].is_object());
        let version = &operation["parameters"][0];
        assert_eq!((&version["name"], &version["required"]), (&json!("api-version"), &json!(true)));
        let open = &document["paths"]["/service/members/{memberId}"]["get"];
        assert!(open.get("security").is_none());
        assert_eq!(open["parameters"][0]["in"], "path");
    }
}

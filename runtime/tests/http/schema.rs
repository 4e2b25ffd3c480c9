//! Holds answers against the OpenAPI document: as much of JSON Schema as it uses, and an error for
//! what it does not.

use std::sync::LazyLock;

use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../src/http/openapi.json")).expect("JSON")
});

/// Every operation: method, path, and what the document says of it.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(|(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// The names that the query of an operation may have.
pub(crate) fn query_names(operation: &'static Value) -> Vec<&'static str> {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let resolved = parameters.iter().map(|parameter| match parameter["$ref"].as_str() {
        Some(name) => DOCUMENT.pointer(&name[1..]).expect("a parameter of the document"),
        None => parameter,
    });
    let queries = resolved.filter(|parameter| parameter["in"] == "query");
    queries.map(|parameter| parameter["name"].as_str().expect("a name")).collect()
}

/// A way to say who one is.
pub(crate) fn security_scheme(name: &str) -> &'static Value {
    &DOCUMENT["components"]["securitySchemes"][name]
}

/// The document's name for a path.
pub(crate) fn template_of(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or("");
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.keys().map(String::as_str).find(|template| is_like(template, path))
}

/// Fails unless the document allows this answer.
#[track_caller]
pub(crate) fn check_answer(method: &str, path: &str, status: u16, text: &str, json: &Value) {
    let path = path.split('?').next().unwrap_or("");
    let Some(methods) = DOCUMENT["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .find_map(|(template, methods)| is_like(template, path).then_some(methods))
    else {
        assert!(matches!(status, 401 | 404), "{path} is not in the document: {status} {text}");
        return check("Fault", json);
    };
    let operation = &methods[method.to_lowercase()];
    if operation.is_null() {
        assert!(matches!(status, 401 | 405), "{method} {path} is not in the document: {status}");
        return check("Fault", json);
    }
    let answer = &operation["responses"][status.to_string()];
    assert!(!answer.is_null(), "{method} {path} may not answer {status}: {text}");
    let schema = &answer["content"]["application/json"]["schema"];
    if !schema.is_null() {
        assert!(!json.is_null(), "{method} {path}: not JSON: {text}");
        let faults = faults(schema, json, "");
        assert!(faults.is_empty(), "{method} {path} {status}: {faults:?} in {json}");
    }
}

/// Fails unless the document names this header for this answer.
#[track_caller]
pub(crate) fn check_header(method: &str, path: &str, status: u16, name: &str) {
    let template = template_of(path).expect("a path of the document");
    let operation = &DOCUMENT["paths"][template][method.to_lowercase()];
    let header = &operation["responses"][status.to_string()]["headers"][name];
    assert!(!header.is_null(), "{method} {path} may not answer {status} with {name}");
}

/// Fails unless the value is what the schema of this name says.
#[track_caller]
pub(crate) fn check(name: &str, json: &Value) {
    let faults = faults(&DOCUMENT["components"]["schemas"][name], json, "");
    assert!(faults.is_empty(), "{name}: {faults:?} in {json}");
}

fn is_like(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(path)
            .all(|(one, other)| one.starts_with('{') && !other.is_empty() || *one == other)
}

fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let object = schema.as_object().expect("a schema");
    for (word, rule) in object {
        match word.as_str() {
            "$ref" => {
                let name = rule.as_str().and_then(|path| path.rsplit('/').next());
                let named = &DOCUMENT["components"]["schemas"][name.expect("a name")];
                found.extend(faults(named, value, at));
            }
            "type" if !is_type(rule, value) => found.push(format!("{at} is not {rule}")),
            "enum" if !rule.as_array().expect("values").contains(value) => {
                found.push(format!("{at} is none of {rule}"));
            }
            "minimum" if value.is_number() && value.as_i64() < rule.as_i64() => {
                found.push(format!("{at} < {rule}"));
            }
            "maximum" if value.is_number() && value.as_i64() > rule.as_i64() => {
                found.push(format!("{at} > {rule}"));
            }
            "anyOf" => {
                let ways = rule.as_array().expect("schemas");
                if !ways.iter().any(|way| faults(way, value, at).is_empty()) {
                    found.push(format!("{at} is none of {} ways", ways.len()));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(rule, item, &format!("{at}[{index}]")));
                }
            }
            "required" => {
                for name in rule.as_array().expect("names") {
                    let name = name.as_str().expect("a name");
                    if value.get(name).is_none() {
                        found.push(format!("{at}.{name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(rule) => found.extend(faults(rule, item, &format!("{at}.{name}"))),
                        None if object["additionalProperties"] == false => {
                            found.push(format!("{at}.{name} is too much"));
                        }
                        None => {}
                    }
                }
            }
            "type"
            | "enum"
            | "minimum"
            | "maximum"
            | "additionalProperties"
            | "description"
            | "default"
            | "maxLength" => {}
            other => panic!("the document uses {other}, which this test does not know"),
        }
    }
    found
}

fn is_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        other => panic!("the type {other:?}"),
    };
    rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
}

#[test]
fn what_the_document_does_not_allow_is_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": ["integer", "null"], "minimum": 1}},
    });
    for (value, fine) in [
        (serde_json::json!({"a": 1}), true),
        (serde_json::json!({"a": null}), true),
        (serde_json::json!({"a": 0}), false),
        (serde_json::json!({"a": "1"}), false),
        (serde_json::json!({}), false),
        (serde_json::json!({"a": 1, "b": 1}), false),
        (serde_json::json!([]), false),
    ] {
        assert_eq!(faults(&schema, &value, "").is_empty(), fine, "{value}");
    }
}

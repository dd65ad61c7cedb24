//! The types of the answer: which fields there are, and how a value of MLflow's REST wire is given for each.

use super::query::Field;
use graphql_parser::schema::{Definition, Type, TypeDefinition};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The types by name, each with its fields by name.
#[derive(Debug)]
pub(super) struct Schema(BTreeMap<String, BTreeMap<String, Shape>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Switch,
    /// A float; what is no number is null.
    Number,
    /// A whole number as text, since JavaScript has no room for 64 bits.
    Long,
    Object(String),
    List(Box<Shape>),
}

/// The schema, whose text is part of the program.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(include_str!("schema.graphql")));

impl Shape {
    fn of(declared: &Type<'_, String>) -> Self {
        match declared {
            Type::NonNullType(inner) => Self::of(inner),
            Type::ListType(inner) => Self::List(Box::new(Self::of(inner))),
            Type::NamedType(name) => match name.as_str() {
                "String" => Self::Text,
                "Boolean" => Self::Switch,
                "Float" => Self::Number,
                "Long" => Self::Long,
                other => Self::Object(other.to_owned()),
            },
        }
    }

    fn object(&self) -> Option<&str> {
        match self {
            Self::Object(name) => Some(name),
            Self::List(inner) => inner.object(),
            _ => None,
        }
    }
}

impl Schema {
    fn read(text: &str) -> Self {
        // The text is a part of the program; a test reads it.
        let document = graphql_parser::parse_schema::<String>(text).ok();
        let mut types = BTreeMap::new();
        for definition in document.into_iter().flat_map(|d| d.definitions) {
            if let Definition::TypeDefinition(TypeDefinition::Object(object)) = definition {
                let fields = object.fields.iter().map(|f| (f.name.clone(), Shape::of(&f.field_type)));
                types.insert(object.name, fields.collect());
            }
        }
        Self(types)
    }

    fn field(&self, of: &str, name: &str) -> Option<&Shape> {
        self.0.get(of)?.get(name)
    }

    /// Whether a type has what is asked of it.
    pub(super) fn check(&self, of: &str, fields: &[Field]) -> Result<(), String> {
        for field in fields.iter().filter(|f| f.name != "__typename") {
            let shape = self
                .field(of, &field.name)
                .ok_or_else(|| format!("Cannot query field '{}' on type '{of}'.", field.name))?;
            match (shape.object(), field.fields.is_empty()) {
                (Some(object), false) => self.check(object, &field.fields)?,
                (None, true) => {}
                (Some(_), true) => {
                    return Err(format!("Field '{}' must have a selection of subfields.", field.name));
                }
                (None, false) => {
                    return Err(format!("Field '{}' must not have a selection of subfields.", field.name));
                }
            }
        }
        Ok(())
    }

    /// What is asked of a root field, out of what the REST wire answers.
    pub(super) fn answer(&self, root: &str, field: &Field, wire: &Json) -> Json {
        self.field(root, &field.name).map_or(Json::Null, |shape| self.shown(shape, field, wire))
    }

    /// A value that is missing is given as protobuf has it.
    fn shown(&self, shape: &Shape, field: &Field, wire: &Json) -> Json {
        match shape {
            Shape::Text => json!(wire.as_str().unwrap_or_default()),
            Shape::Switch => json!(wire.as_bool().unwrap_or_default()),
            Shape::Number => json!(wire.as_f64()),
            Shape::Long => json!(wire.as_i64().unwrap_or_default().to_string()),
            Shape::List(inner) => {
                wire.as_array().into_iter().flatten().map(|item| self.shown(inner, field, item)).collect()
            }
            Shape::Object(name) if name == "ApiError" => Json::Null,
            Shape::Object(name) => self.object(name, &field.fields, wire),
        }
    }

    fn object(&self, name: &str, fields: &[Field], wire: &Json) -> Json {
        let mut out = Map::new();
        for field in fields {
            let value = match (field.name.as_str(), self.field(name, &field.name)) {
                ("__typename", _) => json!(format!("Mlflow{name}")),
                (_, Some(shape)) => self.shown(shape, field, &wire[snake_case(&field.name)]),
                (_, None) => Json::Null,
            };
            out.insert(field.key.clone(), value);
        }
        Json::Object(out)
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::query::Query;
    use super::*;

    fn asked(text: &str) -> Vec<Field> {
        Query::read(text, None, &Map::new()).unwrap().fields
    }

    #[test]
    fn every_type_that_is_named_is_declared() {
        assert!(SCHEMA.0.len() > 20);
        for shape in SCHEMA.0.values().flat_map(BTreeMap::values) {
            assert!(shape.object().is_none_or(|name| SCHEMA.0.contains_key(name)), "{shape:?}");
        }
    }

    #[test]
    fn values_are_given_as_the_pages_expect_them() {
        let fields = asked(
            "{ mlflowGetRun { run { info { runId startTime endTime } outputs { modelOutputs { step } }
               data { metrics { k: key value step } } } apiError { code } } }",
        );
        SCHEMA.check("Query", &fields).unwrap();
        let metrics =
            json!([{ "key": "a", "value": 1.5, "step": 3 }, { "key": "b", "value": "NaN", "step": 0 }]);
        let wire =
            json!({ "run": { "info": { "run_id": "r", "start_time": 5 }, "data": { "metrics": metrics } } });
        let shown = SCHEMA.answer("Query", &fields[0], &wire);
        let metrics =
            json!([{ "k": "a", "value": 1.5, "step": "3" }, { "k": "b", "value": null, "step": "0" }]);
        let run = json!({
            "info": { "runId": "r", "startTime": "5", "endTime": "0" }, "outputs": { "modelOutputs": [] },
            "data": { "metrics": metrics },
        });
        assert_eq!(shown, json!({ "run": run, "apiError": null }));
    }

    #[test]
    fn what_a_type_has_not_is_refused() {
        let refused = |text| SCHEMA.check("Query", &asked(text)).unwrap_err();
        assert_eq!(refused("{ nothing }"), "Cannot query field 'nothing' on type 'Query'.");
        assert!(refused("{ test }").contains("must have a selection"));
        assert!(refused("{ test { output { x } } }").contains("must not have a selection"));
    }
}

//! A query as a tree of fields: its operation chosen, fragments put in place, variables filled in, and refused when it
//! is larger than MLflow allows.

use graphql_parser::query::{
    Definition, Directive, Document, Field as Asked, FragmentDefinition, OperationDefinition, Selection,
    SelectionSet, Value,
};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};

const MOST_ROOT_FIELDS: usize = 10;
const MOST_ALIASES: usize = 10;
const DEEPEST: usize = 10;
const MOST_SELECTIONS: usize = 1000;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) is_mutation: bool,
    pub(super) fields: Vec<Field>,
}

/// One field with what is asked of it.
#[derive(Debug)]
pub(super) struct Field {
    /// What it is called in the answer.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) arguments: Map<String, Json>,
    pub(super) fields: Vec<Field>,
}

impl Field {
    /// Whether a field of this name is asked for anywhere below.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name || field.asks_for(name))
    }
}

type Fragments<'d> = BTreeMap<&'d str, &'d FragmentDefinition<'d, String>>;

impl Query {
    /// Reads a query; the refusal is for whoever wrote it.
    pub(super) fn read(
        text: &str,
        operation: Option<&str>,
        variables: &Map<String, Json>,
    ) -> Result<Self, String> {
        let document: Document<'_, String> =
            graphql_parser::parse_query(text).map_err(|e| format!("Syntax Error: {e}"))?;
        let fragments = document.definitions.iter().filter_map(|definition| match definition {
            Definition::Fragment(fragment) => Some((fragment.name.as_str(), fragment)),
            Definition::Operation(_) => None,
        });
        let fragments: Fragments<'_> = fragments.collect();
        let chosen = choose(&document, operation)?;
        let variables = with_defaults(chosen.defaults, variables);
        let mut reading = Reading { fragments, variables, selections: 0, aliases: 0 };
        let fields = reading.fields(chosen.selection, 1)?;
        if fields.len() > MOST_ROOT_FIELDS {
            return Err(too_many(fields.len(), MOST_ROOT_FIELDS, "root fields"));
        }
        if reading.aliases > MOST_ALIASES {
            return Err(too_many(reading.aliases, MOST_ALIASES, "aliases"));
        }
        Ok(Self { is_mutation: chosen.is_mutation, fields })
    }
}

fn too_many(count: usize, most: usize, what: &str) -> String {
    format!("GraphQL queries should have at most {most} {what}, got {count} {what}.")
}

struct Chosen<'d> {
    is_mutation: bool,
    selection: &'d SelectionSet<'d, String>,
    defaults: &'d [graphql_parser::query::VariableDefinition<'d, String>],
}

fn choose<'d>(document: &'d Document<'d, String>, name: Option<&str>) -> Result<Chosen<'d>, String> {
    let mut found = Vec::new();
    for definition in &document.definitions {
        let Definition::Operation(operation) = definition else { continue };
        let (own, is_mutation, selection, defaults) = match operation {
            OperationDefinition::SelectionSet(selection) => (None, false, selection, &[][..]),
            OperationDefinition::Query(q) => {
                (q.name.as_deref(), false, &q.selection_set, &q.variable_definitions[..])
            }
            OperationDefinition::Mutation(m) => {
                (m.name.as_deref(), true, &m.selection_set, &m.variable_definitions[..])
            }
            OperationDefinition::Subscription(_) => continue,
        };
        if name.is_none() || own == name {
            found.push(Chosen { is_mutation, selection, defaults });
        }
    }
    match (found.pop(), found.is_empty(), name) {
        (Some(one), true, _) => Ok(one),
        (None, _, Some(name)) => Err(format!("Unknown operation named '{name}'.")),
        (None, _, None) => Err("Must provide an operation.".to_owned()),
        (Some(_), false, _) => {
            Err("Must provide operation name if query contains multiple operations.".to_owned())
        }
    }
}

fn with_defaults(
    definitions: &[graphql_parser::query::VariableDefinition<'_, String>],
    given: &Map<String, Json>,
) -> Map<String, Json> {
    let mut out = given.clone();
    for definition in definitions {
        if let Some(default) = &definition.default_value {
            out.entry(definition.name.clone()).or_insert_with(|| value(default, &Map::new()));
        }
    }
    out
}

/// A value as JSON; a variable that is not given is null.
fn value(of: &Value<'_, String>, variables: &Map<String, Json>) -> Json {
    match of {
        Value::Variable(name) => variables.get(name).cloned().unwrap_or_default(),
        Value::Int(number) => json!(number.as_i64()),
        Value::Float(number) => json!(number),
        Value::String(text) | Value::Enum(text) => json!(text),
        Value::Boolean(on) => json!(on),
        Value::Null => Json::Null,
        Value::List(list) => list.iter().map(|v| value(v, variables)).collect(),
        Value::Object(map) => {
            Json::Object(map.iter().map(|(k, v)| (k.clone(), value(v, variables))).collect())
        }
    }
}

struct Reading<'d> {
    fragments: Fragments<'d>,
    variables: Map<String, Json>,
    selections: usize,
    /// The most aliases of one level.
    aliases: usize,
}

impl<'d> Reading<'d> {
    fn fields(&mut self, of: &'d SelectionSet<'d, String>, depth: usize) -> Result<Vec<Field>, String> {
        if depth > DEEPEST {
            return Err(format!("Query exceeds maximum depth of {DEEPEST}"));
        }
        let level = self.level(of);
        let aliases = level.iter().filter(|field| field.alias.is_some()).count();
        self.aliases = self.aliases.max(aliases);
        let mut out = Vec::with_capacity(level.len());
        for asked in level {
            self.selections += 1;
            if self.selections > MOST_SELECTIONS {
                return Err(format!("Query exceeds maximum total selections of {MOST_SELECTIONS}"));
            }
            let arguments =
                asked.arguments.iter().map(|(k, v)| (k.clone(), value(v, &self.variables))).collect();
            let fields = match asked.selection_set.items.is_empty() {
                true => Vec::new(),
                false => self.fields(&asked.selection_set, depth + 1)?,
            };
            let key = asked.alias.clone().unwrap_or_else(|| asked.name.clone());
            out.push(Field { key, name: asked.name.clone(), arguments, fields });
        }
        Ok(out)
    }

    /// The fields of one level; fragments are put in place, each once.
    fn level(&self, of: &'d SelectionSet<'d, String>) -> Vec<&'d Asked<'d, String>> {
        let (mut out, mut used) = (Vec::new(), BTreeSet::new());
        let mut waiting: Vec<&'d Selection<'d, String>> = of.items.iter().rev().collect();
        while let Some(selection) = waiting.pop() {
            match selection {
                Selection::Field(field) if self.included(&field.directives) => out.push(field),
                Selection::InlineFragment(inline) if self.included(&inline.directives) => {
                    waiting.extend(inline.selection_set.items.iter().rev());
                }
                Selection::FragmentSpread(spread)
                    if self.included(&spread.directives) && used.insert(&spread.fragment_name) =>
                {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()) {
                        waiting.extend(fragment.selection_set.items.iter().rev());
                    }
                }
                _ => {}
            }
        }
        out
    }

    /// What `@include` and `@skip` say.
    fn included(&self, directives: &[Directive<'_, String>]) -> bool {
        let says = |name: &str, when: bool| {
            let directive = directives.iter().find(|d| d.name == name);
            let condition = directive.and_then(|d| d.arguments.iter().find(|(key, _)| key == "if"));
            condition.is_some_and(|(_, v)| value(v, &self.variables) == json!(when))
        };
        !says("skip", true) && !says("include", false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Query, String> {
        Query::read(text, None, &Map::new())
    }

    fn shape(fields: &[Field]) -> String {
        let one = |f: &Field| match f.fields.is_empty() {
            true => f.key.clone(),
            false => format!("{} {{ {} }}", f.key, shape(&f.fields)),
        };
        fields.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fragments_are_put_in_place() {
        let query = read("query Q { a { ...F } } fragment F on X { b ... on X { c: d } ...F }").unwrap();
        assert_eq!(shape(&query.fields), "a { b c }");
    }

    #[test]
    fn variables_and_directives_are_followed() {
        let text = "query Q($id: String, $n: Int = 2, $on: Boolean) {
            a(input: {id: $id, n: $n, list: [1, \"x\"]}) { b @include(if: $on) c @skip(if: true) d } }";
        let variables = Map::from_iter([("id".to_owned(), json!("7")), ("on".to_owned(), json!(false))]);
        let query = Query::read(text, Some("Q"), &variables).unwrap();
        assert_eq!(shape(&query.fields), "a { d }");
        let expected = json!({ "id": "7", "n": 2, "list": [1, "x"] });
        assert_eq!(query.fields[0].arguments["input"], expected);
    }

    #[test]
    fn operations_are_chosen_by_name() {
        let two = "query A { a } mutation B { b }";
        let named = |name| Query::read(two, name, &Map::new()).map(|q| (q.is_mutation, shape(&q.fields)));
        assert_eq!(named(Some("B")), Ok((true, "b".to_owned())));
        assert!(named(None).unwrap_err().contains("multiple operations"));
        assert_eq!(named(Some("C")).unwrap_err(), "Unknown operation named 'C'.");
        assert!(read("query {").unwrap_err().starts_with("Syntax Error"));
    }

    #[test]
    fn queries_that_are_too_large_are_refused() {
        let many = |n: usize, f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<Vec<_>>().join(" ");
        let refused = |text: &str| read(text).unwrap_err();
        let roots = many(12, &|i| format!("f{i}: a"));
        assert!(refused(&format!("{{ {roots} }}")).contains("at most 10 root fields, got 12"));
        assert!(refused(&format!("{{ a {{ {roots} }} }}")).contains("at most 10 aliases, got 12"));
        let wide = many(1002, &|i| format!("f{i}"));
        assert!(refused(&format!("{{ a {{ {wide} }} }}")).contains("total selections of 1000"));
        let deep = format!("{} x {}", "{ a ".repeat(12), "}".repeat(12));
        assert_eq!(refused(&deep), "Query exceeds maximum depth of 10");
        let circle = "{ ...F } fragment F on X { a { ...F } }";
        assert_eq!(refused(circle), "Query exceeds maximum depth of 10");
        assert!(read(&"{a".repeat(100_000)).is_err());
    }
}

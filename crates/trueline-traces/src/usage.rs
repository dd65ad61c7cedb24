//! Tokens and cost of a whole trace from those of its spans. A span that tells of usage tells of its children's too, so
//! what lies below one that was counted is not counted again; the order in which spans came does not matter.

use crate::value::Value;
use std::collections::{BTreeMap, HashMap};

/// The tokens that are counted, in MLflow's order.
pub(crate) const TOKENS: [&str; 6] = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
];
/// Those that a total always has.
const TOKENS_ALWAYS: usize = 3;
/// The costs that are counted, in US dollars.
pub(crate) const COSTS: [&str; 3] = ["input_cost", "output_cost", "total_cost"];

/// What a span tells of one thing.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) told: Option<Value>,
}

impl Node {
    /// Reads the JSON of an attribute; only a map tells something.
    pub(crate) fn new(id: &str, parent: Option<&str>, json: Option<&str>) -> Self {
        let told = json.and_then(|json| match Value::parse(json)? {
            Value::Text(text) => Value::parse(&text),
            other => Some(other),
        });
        let told = told.filter(|value| matches!(value, Value::Map(_)));
        Self { id: id.to_owned(), parent: parent.map(ToOwned::to_owned), told }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Real(real) if real.is_finite() => Some(*real),
        Value::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

/// A whole number that fits 64 bits.
pub(crate) fn count(value: &Value) -> Option<i64> {
    match value {
        Value::Int(int) => Some(*int),
        other => number(other).filter(|n| n.fract() == 0.0 && n.abs() < 9.2e18).map(|n| n as i64),
    }
}

/// A finite number.
pub(crate) fn amount(value: &Value) -> Option<f64> {
    number(value)
}

fn sum(nodes: &[Node], keys: &[&'static str], always: usize) -> Option<BTreeMap<&'static str, f64>> {
    let by_id: HashMap<&str, &Node> = nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut children: HashMap<&str, Vec<&Node>> = HashMap::new();
    let mut open: Vec<&Node> = Vec::new();
    for node in nodes {
        match node.parent.as_deref().filter(|parent| by_id.contains_key(parent)) {
            Some(parent) => children.entry(parent).or_default().push(node),
            None => open.push(node),
        }
    }
    let mut totals: BTreeMap<&'static str, f64> = keys[..always].iter().map(|key| (*key, 0.0)).collect();
    let mut any = false;
    while let Some(node) = open.pop() {
        match &node.told {
            Some(told) => {
                any = true;
                for key in keys {
                    if let Some(number) = told.get(key).and_then(number) {
                        *totals.entry(key).or_default() += number;
                    }
                }
            }
            None => open.extend(children.remove(node.id.as_str()).unwrap_or_default()),
        }
    }
    any.then_some(totals)
}

/// The tokens of a trace.
pub(crate) fn tokens(nodes: &[Node]) -> Option<[Option<i64>; 6]> {
    let totals = sum(nodes, &TOKENS, TOKENS_ALWAYS)?;
    Some(TOKENS.map(|key| totals.get(key).and_then(|total| count(&Value::Real(*total)))))
}

/// The cost of a trace.
pub(crate) fn cost(nodes: &[Node]) -> Option<[Option<f64>; 3]> {
    let totals = sum(nodes, &COSTS, COSTS.len())?;
    Some(COSTS.map(|key| totals.get(key).copied().filter(|total| total.is_finite())))
}

/// The numbers of one span's or trace's JSON; none where it does not tell.
pub(crate) fn read<T, const N: usize>(
    json: &str,
    keys: [&'static str; N],
    number: impl Fn(&Value) -> Option<T>,
) -> [Option<T>; N] {
    let told = Value::parse(json).unwrap_or_default();
    keys.map(|key| told.get(key).and_then(&number))
}

/// The JSON that MLflow's clients read such numbers from; none if there are none.
pub(crate) fn written<T: Copy, const N: usize>(
    numbers: &[Option<T>; N],
    keys: [&'static str; N],
    value: impl Fn(T) -> Value,
) -> Option<String> {
    let told: Vec<(String, Value)> =
        keys.iter().zip(numbers).filter_map(|(key, n)| n.map(|n| ((*key).to_owned(), value(n)))).collect();
    (!told.is_empty()).then(|| Value::Map(told).to_json())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(id: &str, parent: Option<&str>, input: Option<i64>) -> Node {
        let json = input
            .map(|n| format!(r#"{{"input_tokens": {n}, "output_tokens": 1, "total_tokens": {}}}"#, n + 1));
        Node::new(id, parent, json.as_deref())
    }

    fn input(nodes: &[Node]) -> Option<i64> {
        tokens(nodes).and_then(|t| t[0])
    }

    #[test]
    fn what_a_parent_tells_holds_its_children() {
        let nodes = [node("a", None, None), node("b", Some("a"), Some(10)), node("c", Some("b"), Some(4))];
        assert_eq!(input(&nodes), Some(10));
        let nodes = [node("a", None, None), node("b", Some("a"), Some(10)), node("c", Some("a"), Some(4))];
        assert_eq!(input(&nodes), Some(14));
    }

    #[test]
    fn a_span_whose_parent_is_not_there_counts_for_itself() {
        assert_eq!(input(&[node("b", Some("gone"), Some(3))]), Some(3));
        assert_eq!(input(&[node("b", None, None)]), None);
    }

    #[test]
    fn the_cache_is_told_of_only_where_it_was_used() {
        let usage = Node::new("a", None, Some(r#"{"input_tokens": 1, "cache_read_input_tokens": 2}"#));
        let totals = tokens(&[usage]).unwrap();
        let json = written(&totals, TOKENS, Value::Int).unwrap();
        assert_eq!(
            json,
            r#"{"input_tokens": 1, "output_tokens": 0, "total_tokens": 0, "cache_read_input_tokens": 2}"#
        );
    }

    #[test]
    fn spans_that_are_each_other_s_parents_do_not_hang() {
        assert_eq!(input(&[node("a", Some("b"), Some(1)), node("b", Some("a"), Some(1))]), None);
    }

    proptest! {
        #[test]
        fn the_order_of_spans_does_not_matter(
            parents in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(0_i64..100)), 1..20),
            seed in any::<u64>(),
        ) {
            let id = |i: usize| format!("s{i}");
            let nodes: Vec<Node> = parents
                .iter()
                .enumerate()
                .map(|(i, (parent, told))| {
                    let parent = (i > 0).then(|| id(parent.index(i)));
                    node(&id(i), parent.as_deref(), *told)
                })
                .collect();
            let mut mixed = nodes.clone();
            let mut state = seed;
            for i in (1..mixed.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                mixed.swap(i, (state >> 33) as usize % (i + 1));
            }
            prop_assert_eq!(tokens(&nodes), tokens(&mixed));
        }
    }
}

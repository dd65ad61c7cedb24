//! Conventions of other tracers: how their attributes say what MLflow's say — a span's type, inputs and outputs, tokens,
//! model and tools. What MLflow's own attributes say already stays.

mod table;

use crate::span::{Attributes, SpanEvent, attribute, keys, unquoted};
use crate::usage;
use crate::value::Value;
use table::{CONVENTIONS, Convention};

/// Whether a name is `pattern`, in which `#` stands for digits.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('#') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            after.len() < rest.len() && matches(tail, after)
        }),
    }
}

/// The first attribute that says something.
fn first<'a>(attributes: &'a Attributes, names: &[&str]) -> Option<&'a str> {
    let says = |json: &&str| Value::parse(json).is_none_or(|value| !value.is_falsy());
    names.iter().copied().filter(|name| !name.is_empty()).find_map(|name| {
        let named = attributes.iter().filter(|(key, _)| matches(name, key));
        named.map(|(_, json)| json.as_str()).find(says)
    })
}

fn asked(attributes: &Attributes, names: impl Fn(&Convention) -> &[&'static str]) -> Option<&str> {
    CONVENTIONS.iter().find_map(|convention| first(attributes, names(convention)))
}

fn kind(attributes: &Attributes) -> Option<&'static str> {
    CONVENTIONS.iter().find_map(|convention| {
        convention.kind.iter().find_map(|name| {
            let told = unquoted(first(attributes, &[*name])?);
            convention.kinds.iter().find(|(word, _)| *word == told).map(|(_, kind)| *kind)
        })
    })
}

fn tokens(attributes: &Attributes) -> Option<String> {
    CONVENTIONS.iter().find_map(|convention| {
        let count = |names: &[&str]| {
            let json = names.iter().find_map(|name| attribute(attributes, name))?;
            usage::count(&Value::parse(&unquoted(json)).unwrap_or_default())
        };
        let (input, output) = (count(convention.input_tokens), count(convention.output_tokens));
        let both = || input.zip(output).map(|(input, output)| input.saturating_add(output));
        let total = count(convention.total_tokens).or_else(both);
        if [input, output, total].iter().all(Option::is_none) {
            return None;
        }
        let cached = count(convention.cache_read);
        let created = count(convention.cache_creation);
        usage::written(&[input, output, total, cached, created, None], usage::TOKENS, Value::Int)
    })
}

fn model(attributes: &Attributes) -> Option<String> {
    let told = asked(attributes, |c| c.models).map(unquoted);
    let within = |key: &str| {
        let json = attribute(attributes, key)?;
        let value = Value::parse(json)?;
        Some(value.get("model")?.as_text()?.to_owned())
    };
    told.or_else(|| within(keys::INPUTS)).or_else(|| within(keys::OUTPUTS)).filter(|model| !model.is_empty())
}

/// Events that hold what was asked or answered: one that holds all of it, or one for each message.
struct Said {
    whole: (&'static str, &'static str),
    /// Names of events, and the roles of their messages unless they name one.
    messages: &'static [(&'static str, &'static str)],
}

const ASKED: Said = Said {
    whole: ("gen_ai.content.prompt", "gen_ai.prompt"),
    messages: &[
        ("gen_ai.system.message", "system"),
        ("gen_ai.user.message", "user"),
        ("gen_ai.assistant.message", "assistant"),
    ],
};
const ANSWERED: Said = Said {
    whole: ("gen_ai.content.completion", "gen_ai.completion"),
    messages: &[("gen_ai.choice", "assistant")],
};

/// What events say was asked or answered, as JSON.
fn said(events: &[SpanEvent], said: &Said) -> Option<String> {
    let told = |event: &SpanEvent, key: &str| {
        let value = event.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        value.filter(|value| !value.is_falsy())
    };
    let (name, key) = said.whole;
    if let Some(whole) = events.iter().filter(|event| event.name == name).find_map(|event| told(event, key)) {
        return Some(crate::span::kept(&whole));
    }
    let read = |value: Value| match value.as_text().and_then(Value::parse) {
        Some(parsed) => parsed,
        None => value,
    };
    let message = |event: &SpanEvent| {
        let (_, role) = said.messages.iter().find(|(name, _)| *name == event.name)?;
        let content = read(told(event, "content")?);
        let role = match said.messages {
            [_] => told(event, "role").map_or_else(|| Value::Text((*role).to_owned()), read),
            _ => Value::Text((*role).to_owned()),
        };
        Some(Value::Map(vec![("role".to_owned(), role), ("content".to_owned(), content)]))
    };
    let messages: Vec<Value> = events.iter().filter_map(message).collect();
    (!messages.is_empty()).then(|| Value::List(messages).to_json())
}

/// Adds what MLflow's attributes would say.
pub(crate) fn translate(attributes: &mut Attributes, events: &[SpanEvent]) {
    if let Some(kind) = kind(attributes) {
        let told = attribute(attributes, keys::KIND).map(unquoted);
        if told.is_none_or(|told| told.is_empty() || told == "UNKNOWN" || told == "null") {
            attributes.retain(|(key, _)| key != keys::KIND);
            attributes.push((keys::KIND.to_owned(), quoted(kind)));
        }
    }
    add(attributes, keys::INPUTS, |a| {
        asked(a, |c| c.inputs).map(ToOwned::to_owned).or_else(|| said(events, &ASKED))
    });
    add(attributes, keys::OUTPUTS, |a| {
        asked(a, |c| c.outputs).map(ToOwned::to_owned).or_else(|| said(events, &ANSWERED))
    });
    add(attributes, keys::USAGE, tokens);
    add(attributes, keys::TOOLS, |a| asked(a, |c| std::slice::from_ref(&c.tools)).map(ToOwned::to_owned));
    add(attributes, keys::MODEL, |a| model(a).map(|model| quoted(&model)));
    add(attributes, keys::PROVIDER, |a| {
        asked(a, |c| std::slice::from_ref(&c.provider)).map(|provider| quoted(&unquoted(provider)))
    });
}

fn add(attributes: &mut Attributes, key: &str, told: impl Fn(&Attributes) -> Option<String>) {
    if attribute(attributes, key).is_none()
        && let Some(json) = told(attributes)
    {
        attributes.push((key.to_owned(), json));
    }
}

pub(crate) fn quoted(text: &str) -> String {
    Value::Text(text.to_owned()).to_json()
}

/// Programs that name themselves on the root span, as MLflow lists them; any other name stays with the resource.
const KNOWN_SERVICES: [&str; 5] = ["claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code"];

/// The name of a known program that made the spans.
pub(crate) fn known_service(resource: &[(String, Value)]) -> Option<&str> {
    let told = resource.iter().find(|(key, _)| key == keys::SERVICE)?.1.as_text()?;
    KNOWN_SERVICES.contains(&told).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(list: &[(&str, &str)]) -> Attributes {
        let mut attributes: Attributes =
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        translate(&mut attributes, &[]);
        attributes
    }

    #[test]
    fn openinference_is_understood() {
        let told = translated(&[
            ("openinference.span.kind", "\"LLM\""),
            ("llm.token_count.prompt", "3"),
            ("llm.token_count.completion", "\"4\""),
            ("input.value", "\"hi\""),
            ("llm.model_name", "\"m1\""),
        ]);
        assert_eq!(attribute(&told, keys::KIND), Some("\"LLM\""));
        assert_eq!(attribute(&told, keys::INPUTS), Some("\"hi\""));
        assert_eq!(attribute(&told, keys::MODEL), Some("\"m1\""));
        let usage = r#"{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}"#;
        assert_eq!(attribute(&told, keys::USAGE), Some(usage));
    }

    #[test]
    fn generative_ai_conventions_are_understood() {
        let told = translated(&[
            ("gen_ai.operation.name", "\"chat\""),
            ("gen_ai.usage.input_tokens", "1"),
            ("gen_ai.usage.cache_creation.input_tokens", "9"),
            ("gen_ai.provider.name", "\"p\""),
        ]);
        assert_eq!(attribute(&told, keys::KIND), Some("\"CHAT_MODEL\""));
        assert_eq!(attribute(&told, keys::PROVIDER), Some("\"p\""));
        let usage = r#"{"input_tokens": 1, "cache_creation_input_tokens": 9}"#;
        assert_eq!(attribute(&told, keys::USAGE), Some(usage));
    }

    #[test]
    fn a_number_in_a_name_is_any_number() {
        let told =
            translated(&[("gen_ai.prompt.0.content", "\"\""), ("gen_ai.prompt.12.content", "\"second\"")]);
        assert_eq!(attribute(&told, keys::INPUTS), Some("\"second\""));
        assert!(!matches("a.#.b", "a.x.b"));
        assert!(!matches("a.#.b", "a..b"));
    }

    #[test]
    fn what_mlflow_says_stays() {
        let told = translated(&[
            (keys::KIND, "\"TOOL\""),
            ("openinference.span.kind", "\"LLM\""),
            (keys::INPUTS, "1"),
            ("input.value", "2"),
        ]);
        assert_eq!(attribute(&told, keys::KIND), Some("\"TOOL\""));
        assert_eq!(attribute(&told, keys::INPUTS), Some("1"));
    }

    #[test]
    fn messages_may_come_as_events() {
        let event = |name: &str, list: &[(&str, &str)]| SpanEvent {
            name: name.to_owned(),
            time_unix_nano: 0,
            attributes: list.iter().map(|(k, v)| ((*k).to_owned(), Value::Text((*v).to_owned()))).collect(),
        };
        let events = [
            event("gen_ai.system.message", &[("content", "be brief")]),
            event("gen_ai.user.message", &[("content", "[1]")]),
            event("gen_ai.choice", &[("content", "yes"), ("role", "model")]),
        ];
        let mut told = Attributes::new();
        translate(&mut told, &events);
        let asked = r#"[{"role": "system", "content": "be brief"}, {"role": "user", "content": [1]}]"#;
        assert_eq!(attribute(&told, keys::INPUTS), Some(asked));
        assert_eq!(attribute(&told, keys::OUTPUTS), Some(r#"[{"role": "model", "content": "yes"}]"#));
        let mut told = Attributes::new();
        translate(&mut told, &[event("gen_ai.content.prompt", &[("gen_ai.prompt", "why")])]);
        assert_eq!(attribute(&told, keys::INPUTS), Some("\"why\""));
    }

    #[test]
    fn the_model_may_stand_in_the_inputs() {
        let told = translated(&[(keys::INPUTS, r#"{"model": "m2", "messages": []}"#)]);
        assert_eq!(attribute(&told, keys::MODEL), Some("\"m2\""));
    }
}

//! Conventions of other tracers: how their attributes say what MLflow's say — a span's type, inputs and outputs, tokens,
//! model and tools. What MLflow's own attributes say already stays.

use crate::span::{Attributes, attribute, keys, unquoted};
use crate::usage;
use crate::value::Value;

/// The attributes of one convention; an empty word or list says that it has none.
struct Convention {
    kind: &'static str,
    kinds: &'static [(&'static str, &'static str)],
    input_tokens: &'static str,
    output_tokens: &'static str,
    total_tokens: &'static str,
    cache_read: &'static str,
    cache_creation: &'static [&'static str],
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
    models: &'static [&'static str],
    provider: &'static str,
    tools: &'static str,
}

const NONE: Convention = Convention {
    kind: "",
    kinds: &[],
    input_tokens: "",
    output_tokens: "",
    total_tokens: "",
    cache_read: "",
    cache_creation: &[],
    inputs: &[],
    outputs: &[],
    models: &[],
    provider: "",
    tools: "",
};

/// In the order in which they are asked. A `#` in a name stands for a number.
static CONVENTIONS: [Convention; 5] = [
    // OpenInference.
    Convention {
        kind: "openinference.span.kind",
        kinds: &[
            ("TOOL", "TOOL"),
            ("CHAIN", "CHAIN"),
            ("LLM", "LLM"),
            ("RETRIEVER", "RETRIEVER"),
            ("EMBEDDING", "EMBEDDING"),
            ("AGENT", "AGENT"),
            ("RERANKER", "RERANKER"),
            ("UNKNOWN", "UNKNOWN"),
            ("GUARDRAIL", "GUARDRAIL"),
            ("EVALUATOR", "EVALUATOR"),
        ],
        input_tokens: "llm.token_count.prompt",
        output_tokens: "llm.token_count.completion",
        total_tokens: "llm.token_count.total",
        cache_read: "llm.token_count.prompt_details.cache_read",
        cache_creation: &["llm.token_count.prompt_details.cache_write"],
        inputs: &["input.value"],
        outputs: &["output.value"],
        models: &[
            "llm.response.model_name",
            "llm.model_name",
            "llm.request.model_name",
            "embedding.model_name",
        ],
        provider: "llm.provider",
        ..NONE
    },
    // OpenTelemetry's semantic conventions for generative AI.
    Convention {
        kind: "gen_ai.operation.name",
        kinds: &[
            ("chat", "CHAT_MODEL"),
            ("create_agent", "AGENT"),
            ("embeddings", "EMBEDDING"),
            ("execute_tool", "TOOL"),
            ("generate_content", "LLM"),
            ("invoke_agent", "AGENT"),
            ("text_completion", "LLM"),
            ("response", "LLM"),
        ],
        input_tokens: "gen_ai.usage.input_tokens",
        output_tokens: "gen_ai.usage.output_tokens",
        cache_read: "gen_ai.usage.cache_read.input_tokens",
        cache_creation: &[
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
        ],
        inputs: &["gen_ai.input.messages", "gen_ai.tool.call.arguments"],
        outputs: &["gen_ai.output.messages", "gen_ai.tool.call.result"],
        models: &["gen_ai.response.model", "gen_ai.request.model"],
        provider: "gen_ai.provider.name",
        tools: "gen_ai.tool.definitions",
        ..NONE
    },
    // Traceloop.
    Convention {
        kind: "traceloop.span.kind",
        kinds: &[
            ("workflow", "WORKFLOW"),
            ("task", "TASK"),
            ("agent", "AGENT"),
            ("tool", "TOOL"),
            ("unknown", "UNKNOWN"),
        ],
        input_tokens: "gen_ai.usage.prompt_tokens",
        output_tokens: "gen_ai.usage.completion_tokens",
        total_tokens: "llm.usage.total_tokens",
        inputs: &[
            "traceloop.entity.input",
            "gen_ai.prompt.#.content",
            "gen_ai.completion.#.tool_calls.#.arguments",
        ],
        outputs: &["traceloop.entity.output", "gen_ai.completion.#.content"],
        provider: "gen_ai.system",
        ..NONE
    },
    // Google's agent kit, beside OpenTelemetry's.
    Convention {
        inputs: &["gcp.vertex.agent.llm_request", "gcp.vertex.agent.tool_call_args"],
        outputs: &["gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_response"],
        ..NONE
    },
    // Vercel's.
    Convention {
        kind: "ai.operationId",
        kinds: &[
            ("ai.generateText", "LLM"),
            ("ai.generateText.doGenerate", "LLM"),
            ("ai.toolCall", "TOOL"),
            ("ai.streamText", "LLM"),
            ("ai.streamText.doStream", "LLM"),
            ("ai.generateObject", "LLM"),
            ("ai.generateObject.doGenerate", "LLM"),
            ("ai.streamObject", "LLM"),
            ("ai.streamObject.doStream", "LLM"),
            ("ai.embed", "EMBEDDING"),
            ("ai.embed.doEmbed", "EMBEDDING"),
            ("ai.embedMany", "EMBEDDING"),
        ],
        inputs: &["ai.prompt", "ai.toolCall.args", "ai.value", "ai.values"],
        outputs: &[
            "ai.response.text",
            "ai.toolCall.result",
            "ai.response.object",
            "ai.embedding",
            "ai.embeddings",
        ],
        ..NONE
    },
];

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
        let told = unquoted(first(attributes, &[convention.kind])?);
        convention.kinds.iter().find(|(word, _)| *word == told).map(|(_, kind)| *kind)
    })
}

fn tokens(attributes: &Attributes) -> Option<String> {
    CONVENTIONS.iter().find_map(|convention| {
        let count = |name: &str| {
            let json = attribute(attributes, name)?;
            usage::count(&Value::parse(&unquoted(json)).unwrap_or_default())
        };
        let (input, output) = (count(convention.input_tokens), count(convention.output_tokens));
        let both = || input.zip(output).map(|(input, output)| input.saturating_add(output));
        let total = count(convention.total_tokens).or_else(both);
        if [input, output, total].iter().all(Option::is_none) {
            return None;
        }
        let cached = count(convention.cache_read);
        let created = convention.cache_creation.iter().find_map(|name| count(name));
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

/// Adds what MLflow's attributes would say.
pub(crate) fn translate(attributes: &mut Attributes) {
    if let Some(kind) = kind(attributes) {
        let told = attribute(attributes, keys::KIND).map(unquoted);
        if told.is_none_or(|told| told.is_empty() || told == "UNKNOWN" || told == "null") {
            attributes.retain(|(key, _)| key != keys::KIND);
            attributes.push((keys::KIND.to_owned(), quoted(kind)));
        }
    }
    add(attributes, keys::INPUTS, |a| asked(a, |c| c.inputs).map(ToOwned::to_owned));
    add(attributes, keys::OUTPUTS, |a| asked(a, |c| c.outputs).map(ToOwned::to_owned));
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
        translate(&mut attributes);
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
    fn the_model_may_stand_in_the_inputs() {
        let told = translated(&[(keys::INPUTS, r#"{"model": "m2", "messages": []}"#)]);
        assert_eq!(attribute(&told, keys::MODEL), Some("\"m2\""));
    }
}

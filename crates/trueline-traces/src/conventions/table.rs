//! The conventions that are known, as a table: which attribute says what.

/// The attributes of one convention; an empty word or list says that it has none.
pub(super) struct Convention {
    pub(super) kind: &'static [&'static str],
    pub(super) kinds: &'static [(&'static str, &'static str)],
    pub(super) input_tokens: &'static [&'static str],
    pub(super) output_tokens: &'static [&'static str],
    pub(super) total_tokens: &'static [&'static str],
    pub(super) cache_read: &'static [&'static str],
    pub(super) cache_creation: &'static [&'static str],
    pub(super) inputs: &'static [&'static str],
    pub(super) outputs: &'static [&'static str],
    pub(super) models: &'static [&'static str],
    pub(super) provider: &'static str,
    pub(super) tools: &'static str,
}

const NONE: Convention = Convention {
    kind: &[],
    kinds: &[],
    input_tokens: &[],
    output_tokens: &[],
    total_tokens: &[],
    cache_read: &[],
    cache_creation: &[],
    inputs: &[],
    outputs: &[],
    models: &[],
    provider: "",
    tools: "",
};

/// In the order in which they are asked. A `#` in a name stands for a number.
pub(super) static CONVENTIONS: [Convention; 9] = [
    // OpenInference.
    Convention {
        kind: &["openinference.span.kind"],
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
        input_tokens: &["llm.token_count.prompt"],
        output_tokens: &["llm.token_count.completion"],
        total_tokens: &["llm.token_count.total"],
        cache_read: &["llm.token_count.prompt_details.cache_read"],
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
        kind: &["gen_ai.operation.name"],
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
        input_tokens: &["gen_ai.usage.input_tokens"],
        output_tokens: &["gen_ai.usage.output_tokens"],
        cache_read: &["gen_ai.usage.cache_read.input_tokens"],
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
        kind: &["traceloop.span.kind"],
        kinds: &[
            ("workflow", "WORKFLOW"),
            ("task", "TASK"),
            ("agent", "AGENT"),
            ("tool", "TOOL"),
            ("unknown", "UNKNOWN"),
        ],
        input_tokens: &["gen_ai.usage.prompt_tokens"],
        output_tokens: &["gen_ai.usage.completion_tokens"],
        total_tokens: &["llm.usage.total_tokens"],
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
        kind: &["ai.operationId"],
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
    // VoltAgent.
    Convention {
        kind: &["span.type", "entity.type"],
        kinds: &[("agent", "AGENT"), ("llm", "LLM"), ("tool", "TOOL"), ("memory", "MEMORY")],
        input_tokens: &["usage.prompt_tokens", "llm.usage.prompt_tokens"],
        output_tokens: &["usage.completion_tokens", "llm.usage.completion_tokens"],
        total_tokens: &["usage.total_tokens", "llm.usage.total_tokens"],
        inputs: &["agent.messages", "llm.messages", "input"],
        outputs: &["output"],
        ..NONE
    },
    // LiveKit, beside OpenTelemetry's.
    Convention {
        inputs: &["lk.user_input", "lk.user_transcript", "lk.chat_ctx", "lk.input_text"],
        outputs: &["lk.response.text", "lk.response.function_calls"],
        ..NONE
    },
    // Laminar, beside OpenTelemetry's.
    Convention {
        kind: &["lmnr.span.type"],
        kinds: &[
            ("LLM", "LLM"),
            ("TOOL", "TOOL"),
            ("DEFAULT", "CHAIN"),
            ("PIPELINE", "CHAIN"),
            ("EXECUTOR", "AGENT"),
            ("EVALUATOR", "EVALUATOR"),
            ("HUMAN_EVALUATOR", "EVALUATOR"),
            ("EVALUATION", "EVALUATOR"),
            ("CACHED", "LLM"),
        ],
        inputs: &["lmnr.span.input"],
        outputs: &["lmnr.span.output"],
        ..NONE
    },
    // Langfuse.
    Convention {
        kind: &["langfuse.observation.type"],
        kinds: &[
            ("generation", "LLM"),
            ("embedding", "EMBEDDING"),
            ("tool", "TOOL"),
            ("retriever", "RETRIEVER"),
            ("agent", "AGENT"),
            ("chain", "CHAIN"),
            ("evaluator", "EVALUATOR"),
            ("guardrail", "GUARDRAIL"),
            ("span", "UNKNOWN"),
        ],
        inputs: &["langfuse.observation.input"],
        outputs: &["langfuse.observation.output"],
        ..NONE
    },
];

//! What may be searched, per kind of thing, as tables. The parser reads these and knows no kind by name.

use super::Kind;
use crate::{Entity, Op};

/// The words before the dot that MLflow knows, and what it says of others.
pub(super) struct Prefixes {
    pub(super) words: &'static [(&'static str, Entity)],
    /// The list as MLflow prints it.
    pub(super) told: Told,
    /// Whether `` `tags`.k `` is `tags.k`.
    pub(super) unquote: bool,
}

/// How the unknown prefix is refused.
pub(super) enum Told {
    /// `Invalid entity type 'x'. Valid values are …`
    Values(&'static str),
    /// `Invalid entity type 'x'. Valid entity types are …`
    Types(&'static str),
    /// `Invalid identifier token 'x' specified`
    Token,
}

/// When quotes come off a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unquote {
    /// Before it is looked up among the attributes.
    First,
    /// After: a quoted attribute is unknown.
    Last,
    /// Never.
    Never,
}

/// What an attribute may be compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Numeric attributes take numbers only, others strings only.
    ByKey,
    /// No attribute takes a number.
    None,
    /// Any attribute takes a string; numeric ones take numbers too.
    Also,
}

/// Which attributes take a list, and how MLflow refuses the others.
pub(super) enum Lists {
    All,
    /// `Only ['run_id'] attributes support comparison …`, sorted.
    Only(&'static [&'static str]),
    /// `Only attributes in {…} supports comparison …`.
    Among(&'static [&'static str]),
}

/// Which fields may be asked for absence.
pub(super) enum Nulls {
    All,
    TagsAndParams,
    Tags,
    /// None, and the search in whose name that is said.
    None(&'static str),
}

/// How the store that takes the parsed clauses refuses an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// `Invalid comparator '…' not one of '{…}'`.
    Runs,
    /// As `Runs`, with words of its own for spans, assessments and issues.
    Traces,
    /// `Invalid comparator for string attribute: …`, after what `Runs` refuses.
    Experiments,
    /// `Invalid comparator for string attribute: …`.
    Evaluation,
    /// `Invalid comparator for attribute: …`.
    Registry,
}

/// The grammar of one kind.
pub(super) struct Rules {
    pub(super) prefixes: Prefixes,
    pub(super) unquote: Unquote,
    pub(super) attributes: &'static [&'static str],
    pub(super) orders: &'static [&'static str],
    pub(super) numeric: &'static [&'static str],
    pub(super) numbers: Numbers,
    pub(super) lists: Lists,
    pub(super) nulls: Nulls,
    /// Whether refused clauses are quoted in the message.
    pub(super) quotes_clauses: bool,
    /// Whether `timestamp`, the name of an SQL type, may stand on the left.
    pub(super) timestamp: bool,
    pub(super) store: Store,
    pub(super) tag_ops: &'static [Op],
    pub(super) param_ops: &'static [Op],
    pub(super) text_ops: &'static [Op],
}

pub(super) const NUMBER_OPS: &[Op] = &[Op::Gt, Op::Ge, Op::Ne, Op::Eq, Op::Lt, Op::Le];
pub(super) const LIKE_OPS: &[Op] = &[Op::Ne, Op::Eq, Op::Like, Op::ILike];
pub(super) const LIKE_NULL_OPS: &[Op] = &[Op::Ne, Op::Eq, Op::Like, Op::ILike, Op::IsNull, Op::IsNotNull];
pub(super) const LIST_OPS: &[Op] = &[Op::Ne, Op::Eq, Op::Like, Op::ILike, Op::In, Op::NotIn];
pub(super) const TRACE_TAG_OPS: &[Op] =
    &[Op::Ne, Op::Eq, Op::Like, Op::ILike, Op::RLike, Op::IsNull, Op::IsNotNull];
pub(super) const TRACE_TEXT_OPS: &[Op] = &[Op::Ne, Op::Eq, Op::In, Op::NotIn, Op::Like, Op::ILike, Op::RLike];
pub(super) const SPAN_CONTENT_OPS: &[Op] = &[Op::Like, Op::ILike];
pub(super) const ASSESSMENT_OPS: &[Op] = &[
    Op::Ne,
    Op::Eq,
    Op::Gt,
    Op::Ge,
    Op::Lt,
    Op::Le,
    Op::Like,
    Op::ILike,
    Op::RLike,
    Op::IsNull,
    Op::IsNotNull,
];
pub(super) const ISSUE_OPS: &[Op] = &[Op::Eq];

/// The keys of a dataset input.
pub(super) const DATASET_KEYS: &[&str] = &["context", "digest", "name"];

const RUN_PREFIXES: Prefixes = Prefixes {
    words: &[
        ("metric", Entity::Metric),
        ("metrics", Entity::Metric),
        ("parameter", Entity::Param),
        ("parameters", Entity::Param),
        ("param", Entity::Param),
        ("params", Entity::Param),
        ("tag", Entity::Tag),
        ("tags", Entity::Tag),
        ("attribute", Entity::Attribute),
        ("attr", Entity::Attribute),
        ("attributes", Entity::Attribute),
        ("run", Entity::Attribute),
        ("dataset", Entity::Dataset),
        ("datasets", Entity::Dataset),
    ],
    told: Told::Values("['metric', 'parameter', 'tag', 'attribute', 'dataset']"),
    unquote: true,
};

/// Experiments; also what registry searches may be ordered by.
pub(super) const EXPERIMENT_PREFIXES: Prefixes = Prefixes {
    words: &[
        ("attribute", Entity::Attribute),
        ("attributes", Entity::Attribute),
        ("tag", Entity::Tag),
        ("tags", Entity::Tag),
    ],
    told: Told::Types("('attribute', 'attributes', 'tag', 'tags')"),
    unquote: false,
};

const REGISTRY_PREFIXES: Prefixes = Prefixes {
    words: &[("attribute", Entity::Attribute), ("tag", Entity::Tag), ("tags", Entity::Tag)],
    told: Told::Types("('attribute', 'tag', 'tags')"),
    unquote: false,
};

const TRACE_PREFIXES: Prefixes = Prefixes {
    words: &[
        ("attribute", Entity::Attribute),
        ("attributes", Entity::Attribute),
        ("trace", Entity::Attribute),
        ("tag", Entity::Tag),
        ("tags", Entity::Tag),
        ("request_metadata", Entity::RequestMetadata),
        ("metadata", Entity::RequestMetadata),
        ("span", Entity::Span),
        ("feedback", Entity::Feedback),
        ("expectation", Entity::Expectation),
        ("issue", Entity::Issue),
    ],
    told: Told::Values(
        "{'attribute', 'attributes', 'expectation', 'feedback', 'issue', 'metadata', 'request_metadata', 'span', \
         'tag', 'tags', 'trace'}",
    ),
    unquote: true,
};

const EVALUATION_PREFIXES: Prefixes =
    Prefixes { words: &[("tags", Entity::Tag)], told: Told::Token, unquote: false };

static RUNS: Rules = Rules {
    prefixes: RUN_PREFIXES,
    unquote: Unquote::First,
    attributes: &[
        "Created",
        "Run Name",
        "Run name",
        "artifact_uri",
        "created",
        "end_time",
        "run name",
        "run_id",
        "run_name",
        "start_time",
        "status",
        "user_id",
    ],
    orders: &[
        "Created",
        "artifact_uri",
        "created",
        "end_time",
        "run_id",
        "run_name",
        "start_time",
        "status",
        "user_id",
    ],
    numeric: &["start_time", "end_time", "created", "Created"],
    numbers: Numbers::ByKey,
    lists: Lists::Only(&["run_id"]),
    nulls: Nulls::TagsAndParams,
    quotes_clauses: true,
    timestamp: false,
    store: Store::Runs,
    tag_ops: LIKE_NULL_OPS,
    param_ops: LIKE_NULL_OPS,
    text_ops: LIST_OPS,
};

static EXPERIMENTS: Rules = Rules {
    prefixes: EXPERIMENT_PREFIXES,
    unquote: Unquote::First,
    attributes: &["creation_time", "experiment_id", "last_update_time", "name"],
    orders: &["creation_time", "experiment_id", "last_update_time", "name"],
    numeric: &["creation_time", "last_update_time"],
    numbers: Numbers::ByKey,
    lists: Lists::Only(&["experiment_id"]),
    nulls: Nulls::Tags,
    quotes_clauses: false,
    timestamp: false,
    store: Store::Experiments,
    tag_ops: LIKE_NULL_OPS,
    param_ops: &[],
    text_ops: LIST_OPS,
};

static REGISTERED_MODELS: Rules = Rules {
    prefixes: REGISTRY_PREFIXES,
    unquote: Unquote::Last,
    attributes: &["name"],
    orders: &["creation_timestamp", "last_updated_timestamp", "name"],
    numeric: &[],
    numbers: Numbers::None,
    lists: Lists::Only(&["name"]),
    nulls: Nulls::None("registered model"),
    quotes_clauses: false,
    timestamp: false,
    store: Store::Registry,
    tag_ops: LIKE_OPS,
    param_ops: &[],
    text_ops: LIST_OPS,
};

static MODEL_VERSIONS: Rules = Rules {
    prefixes: REGISTRY_PREFIXES,
    unquote: Unquote::Last,
    attributes: &["name", "run_id", "source_path", "version_number"],
    orders: &["creation_timestamp", "last_updated_timestamp", "name", "version_number"],
    numeric: &["creation_timestamp", "last_updated_timestamp", "version_number"],
    numbers: Numbers::Also,
    lists: Lists::Only(&["name", "run_id"]),
    nulls: Nulls::None("model version"),
    quotes_clauses: false,
    timestamp: false,
    store: Store::Registry,
    tag_ops: LIKE_OPS,
    param_ops: &[],
    text_ops: LIST_OPS,
};

static TRACES: Rules = Rules {
    prefixes: TRACE_PREFIXES,
    unquote: Unquote::First,
    attributes: &[
        "client_request_id",
        "end_time",
        "end_time_ms",
        "execution_time",
        "execution_time_ms",
        "name",
        "prompt",
        "request_id",
        "run_id",
        "status",
        "text",
        "timestamp",
        "timestamp_ms",
    ],
    orders: &[
        "end_time",
        "end_time_ms",
        "execution_time",
        "execution_time_ms",
        "experiment_id",
        "name",
        "request_id",
        "run_id",
        "status",
        "timestamp",
        "timestamp_ms",
    ],
    numeric: &["end_time", "end_time_ms", "execution_time", "execution_time_ms", "timestamp", "timestamp_ms"],
    numbers: Numbers::Also,
    lists: Lists::Among(&["client_request_id", "name", "request_id", "run_id", "status"]),
    nulls: Nulls::All,
    quotes_clauses: true,
    timestamp: true,
    store: Store::Traces,
    tag_ops: TRACE_TAG_OPS,
    param_ops: &[],
    text_ops: TRACE_TEXT_OPS,
};

static LOGGED_MODELS: Rules = Rules {
    prefixes: RUN_PREFIXES,
    unquote: Unquote::First,
    attributes: LOGGED_MODEL_KEYS,
    orders: LOGGED_MODEL_KEYS,
    numeric: &["creation_time", "creation_timestamp", "last_updated_time", "last_updated_timestamp"],
    numbers: Numbers::ByKey,
    lists: Lists::All,
    nulls: Nulls::TagsAndParams,
    quotes_clauses: true,
    timestamp: false,
    store: Store::Runs,
    tag_ops: LIKE_OPS,
    param_ops: LIKE_OPS,
    text_ops: LIST_OPS,
};

const LOGGED_MODEL_KEYS: &[&str] = &[
    "creation_time",
    "creation_timestamp",
    "last_updated_time",
    "last_updated_timestamp",
    "model_id",
    "model_type",
    "name",
    "source_run_id",
    "status",
];

static EVALUATION_DATASETS: Rules = Rules {
    prefixes: EVALUATION_PREFIXES,
    unquote: Unquote::Never,
    attributes: &["created_by", "created_time", "last_update_time", "last_updated_by", "name"],
    orders: &["created_time", "last_update_time", "name"],
    numeric: &["created_time", "last_update_time"],
    numbers: Numbers::ByKey,
    lists: Lists::Only(&["name"]),
    nulls: Nulls::TagsAndParams,
    quotes_clauses: false,
    timestamp: false,
    store: Store::Evaluation,
    tag_ops: LIKE_OPS,
    param_ops: &[],
    text_ops: &[Op::Ne, Op::Eq, Op::Like, Op::ILike, Op::In],
};

/// The grammar of a kind.
pub(super) fn rules(kind: Kind) -> &'static Rules {
    match kind {
        Kind::Runs => &RUNS,
        Kind::Experiments => &EXPERIMENTS,
        Kind::RegisteredModels => &REGISTERED_MODELS,
        Kind::ModelVersions => &MODEL_VERSIONS,
        Kind::Traces => &TRACES,
        Kind::LoggedModels => &LOGGED_MODELS,
        Kind::EvaluationDatasets => &EVALUATION_DATASETS,
    }
}

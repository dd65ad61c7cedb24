//! A pipeline as `trueline.yaml` declares it, and the rules that it must keep. Which step waits for which is the graph's
//! matter.

use crate::graph::Graph;
use crate::{PipelineError, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const MOST_STEPS: usize = 200;
const MOST_PATHS: usize = 200;
const MOST_TRIGGERS: usize = 50;
const MOST_RETRIES: u32 = 10;
const SHORTEST_TIMEOUT: Span = Span::seconds(1);
const LONGEST_TIMEOUT: Span = Span::seconds(7 * 86_400);
const LONGEST_RETRY_WAIT: Span = Span::seconds(3_600);

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Command {
    /// A line for `sh -c`.
    Line(String),
    /// A program and its arguments, taken as they are.
    Words(Vec<String>),
}

impl Command {
    /// The program and its arguments.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Line(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
            Self::Words(words) => words.clone(),
        }
    }

    /// The words of it, to find the files that it names.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Line(line) => line.split_whitespace().collect(),
            Self::Words(words) => words.iter().map(String::as_str).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.words().first().is_none_or(|word| word.is_empty())
    }
}

fn default_timeout() -> Span {
    Span::seconds(3_600)
}

fn default_retry_wait() -> Span {
    Span::seconds(1)
}

/// One step: a command with what it reads and makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Its name, unique in the pipeline: lower-case letters, digits, inner hyphens.
    pub name: String,
    /// What it runs, in the project's folder. `${param}` stands for a param of the pipeline.
    pub command: Command,
    /// Files and folders that it reads, relative to the project's folder. Files that the command names are inputs too.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// Files and folders that it makes.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Steps that must have ended well before it; the steps that make its inputs need not be named.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Variables of its environment. `${param}` stands for a param of the pipeline.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables that are passed on from the server's environment: secrets. They are not part of the step's hash.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// How long an attempt may take before it is ended.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How often it is tried again after it failed.
    #[serde(default)]
    pub retries: u32,
    /// How long to wait before the first retry; each further wait is twice as long.
    #[serde(default = "default_retry_wait")]
    pub retry_wait: Span,
    /// Whether it may be skipped when nothing that it depends on has changed.
    #[serde(default = "yes")]
    pub cache: bool,
}

fn yes() -> bool {
    true
}

/// What kind of event a trigger waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// An alert begins to fire.
    Alert,
    /// Any event of the ledger.
    Event,
    /// Nothing: a person starts it.
    Manual,
}

/// By which clock a cooldown runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The time that the event tells of (`event_time` or `event_time_ms` in its payload), else when it was recorded.
    Event,
    /// The server's clock.
    #[default]
    Wall,
}

/// What starts a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerSpec {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// What it waits for.
    pub kind: TriggerKind,
    /// Of an alert: the monitor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// Of an alert: the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of an event: its action, such as `version.registered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Of an event: the id of its resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How long after a start nothing more is started by it.
    #[serde(default)]
    pub cooldown: Span,
    /// By which clock the cooldown runs.
    #[serde(default)]
    pub clock: Clock,
    /// Params taken from the event's payload: a JSON pointer such as `/window/end` for each.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// A DAG of steps with what starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// Its name, unique in the project: lower-case letters, digits, inner hyphens.
    pub name: String,
    /// The experiment that the runs of its steps belong to; the pipeline's name when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Params with their defaults; a run may give others.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The steps.
    pub steps: Vec<StepSpec>,
    /// What starts it by itself.
    #[serde(default)]
    pub triggers: Vec<TriggerSpec>,
}

fn invalid(message: String) -> PipelineError {
    PipelineError::Invalid(message)
}

fn check_name(what: &str, name: &str) -> Result<(), PipelineError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = name.starts_with(plain) && name.ends_with(plain);
    if name.len() <= 63 && ends && name.chars().all(|c| plain(c) || c == '-') {
        return Ok(());
    }
    Err(invalid(format!(
        "`{name}` can't name a {what}: use 1 to 63 lower-case letters, digits and inner hyphens"
    )))
}

/// A path inside the project's folder: relative, without a step out of it.
fn check_path(step: &str, path: &str) -> Result<(), PipelineError> {
    let bad = |why: &str| Err(invalid(format!("step `{step}`: the path `{path}` {why}")));
    if path.is_empty() || path.contains('\0') {
        return bad("is empty or holds a zero byte");
    }
    if path.starts_with('/') || path.contains('\\') {
        return bad("is not relative to the project's folder");
    }
    if path.split('/').any(|part| part == "..") {
        return bad("leaves the project's folder");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return bad("is not in its shortest form: leave out `.`, `//` and a slash at the end");
    }
    if path.split('/').next() == Some(".git") {
        return bad("lies in the folder of git");
    }
    Ok(())
}

fn check_variable(step: &str, name: &str) -> Result<(), PipelineError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(word) {
        return Err(invalid(format!("step `{step}`: `{name}` can't name a variable")));
    }
    // The token of the `trueline` command is the declarer's to give.
    let own = name.starts_with("TRUELINE_") && name != "TRUELINE_TOKEN";
    if own || name.starts_with("MLFLOW_RUN") || name == "MLFLOW_TRACKING_URI" {
        return Err(invalid(format!("step `{step}`: the variable {name} is set by Trueline itself")));
    }
    Ok(())
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), PipelineError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid(format!("two {what} are called `{name}`")));
        }
    }
    Ok(())
}

impl StepSpec {
    fn check(&self, params: &BTreeMap<String, String>) -> Result<(), PipelineError> {
        check_name("step", &self.name)?;
        let name = &self.name;
        if self.command.is_empty() {
            return Err(invalid(format!("step `{name}` has no command")));
        }
        if self.inputs.len() + self.outputs.len() > MOST_PATHS {
            return Err(invalid(format!("step `{name}` names more than {MOST_PATHS} paths: name folders")));
        }
        self.inputs.iter().chain(&self.outputs).try_for_each(|path| check_path(name, path))?;
        self.environment.keys().chain(&self.secrets).try_for_each(|v| check_variable(name, v))?;
        if self.timeout < SHORTEST_TIMEOUT || self.timeout > LONGEST_TIMEOUT {
            return Err(invalid(format!(
                "step `{name}`: a timeout of {} is not between {SHORTEST_TIMEOUT} and {LONGEST_TIMEOUT}",
                self.timeout
            )));
        }
        if self.retries > MOST_RETRIES {
            return Err(invalid(format!(
                "step `{name}`: at most {MOST_RETRIES} retries, not {}",
                self.retries
            )));
        }
        if self.retry_wait > LONGEST_RETRY_WAIT {
            return Err(invalid(format!("step `{name}`: a retry waits at most {LONGEST_RETRY_WAIT}")));
        }
        self.resolved(params).map(drop)
    }

    /// Its command and environment with the params filled in.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] for a param that there is not.
    pub fn resolved(
        &self,
        params: &BTreeMap<String, String>,
    ) -> Result<(Command, BTreeMap<String, String>), PipelineError> {
        let fill =
            |text: &String| fill(text, params).map_err(|e| invalid(format!("step `{}`: {e}", self.name)));
        let command = match &self.command {
            Command::Line(line) => Command::Line(fill(line)?),
            Command::Words(words) => Command::Words(words.iter().map(fill).collect::<Result<_, _>>()?),
        };
        let environment: Result<BTreeMap<_, _>, PipelineError> =
            self.environment.iter().map(|(name, value)| Ok((name.clone(), fill(value)?))).collect();
        Ok((command, environment?))
    }
}

/// Puts params into `${…}`; what starts with a capital letter is left to the shell.
fn fill(text: &str, params: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let Some(end) = from.find('}') else { break };
        out.push_str(before);
        let name = &from[2..end];
        let ours = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match params.get(name) {
            Some(value) if ours => out.push_str(value),
            None if ours => return Err(format!("there is no param `{name}`; declare it under `params`")),
            _ => out.push_str(&from[..=end]),
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

impl TriggerSpec {
    fn check(&self, params: &BTreeMap<String, String>) -> Result<(), PipelineError> {
        check_name("trigger", &self.name)?;
        let name = &self.name;
        let needless = match self.kind {
            TriggerKind::Alert => self.action.is_some() || self.resource.is_some(),
            TriggerKind::Event => self.monitor.is_some() || self.endpoint.is_some(),
            TriggerKind::Manual => true,
        };
        match self.kind {
            TriggerKind::Event if self.action.is_none() => {
                return Err(invalid(format!("trigger `{name}` waits for an event: name its `action`")));
            }
            TriggerKind::Alert | TriggerKind::Event if needless => {
                return Err(invalid(format!(
                    "trigger `{name}`: `monitor` and `endpoint` belong to an alert, `action` and `resource` to an event"
                )));
            }
            _ => {}
        }
        // Otherwise a pipeline could start itself for ever.
        if self.action.as_ref().is_some_and(|a| a.starts_with("pipeline.") || a.starts_with("task.")) {
            return Err(invalid(format!(
                "trigger `{name}`: events of pipelines and tasks can't start a pipeline; put the steps into one"
            )));
        }
        for (param, pointer) in &self.params {
            if !params.contains_key(param) {
                return Err(invalid(format!("trigger `{name}`: the pipeline has no param `{param}`")));
            }
            if !pointer.starts_with('/') {
                return Err(invalid(format!(
                    "trigger `{name}`: `{pointer}` is no JSON pointer; write /like/this"
                )));
            }
        }
        Ok(())
    }
}

impl PipelineSpec {
    /// Checks all rules and answers which step waits for which.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`], naming what is wrong.
    pub fn check(&self) -> Result<Graph, PipelineError> {
        check_name("pipeline", &self.name)?;
        if self.steps.is_empty() || self.steps.len() > MOST_STEPS {
            return Err(invalid(format!("pipeline `{}` needs 1 to {MOST_STEPS} steps", self.name)));
        }
        if self.triggers.len() > MOST_TRIGGERS {
            return Err(invalid(format!("pipeline `{}` has more than {MOST_TRIGGERS} triggers", self.name)));
        }
        unique("steps", self.steps.iter().map(|s| &s.name))?;
        unique("triggers", self.triggers.iter().map(|t| &t.name))?;
        self.steps.iter().try_for_each(|s| s.check(&self.params))?;
        self.triggers.iter().try_for_each(|t| t.check(&self.params))?;
        Graph::of(&self.steps)
    }

    /// The hash that is the version: of everything declared, in one spelling.
    #[must_use]
    pub fn version(&self) -> String {
        let canonical = serde_json::to_string(self).unwrap_or_default();
        hex::encode(Sha256::digest(canonical.as_bytes()))
    }

    /// A step by name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&StepSpec> {
        self.steps.iter().find(|s| s.name == name)
    }

    /// The params of a run: the defaults, and what was given instead.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] for a param that there is not.
    pub fn params_with(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, PipelineError> {
        if let Some(unknown) = given.keys().find(|name| !self.params.contains_key(*name)) {
            let known: Vec<&str> = self.params.keys().map(String::as_str).collect();
            return Err(invalid(format!(
                "pipeline `{}` has no param `{unknown}`; it has: {}",
                self.name,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        }
        let mut params = self.params.clone();
        params.extend(given.clone());
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> Result<PipelineSpec, PipelineError> {
        let spec: PipelineSpec =
            serde_saphyr::from_str(yaml).map_err(|e| PipelineError::Invalid(e.to_string()))?;
        spec.check().map(|_| spec)
    }

    fn refusal(steps: &str) -> String {
        spec(&format!("name: p\nparams: {{day: '1'}}\nsteps:\n{steps}")).unwrap_err().to_string()
    }

    #[test]
    fn a_declaration_with_all_its_parts_is_read() {
        let spec = spec(
            "
name: retrain
params: {day: '2013-04-01'}
steps:
  - name: prepare
    command: python prepare.py --until ${day}
    outputs: [train.csv]
    environment: {DAY: '${day}'}
    timeout: 10m
    retries: 2
  - name: train
    command: [python, train.py]
    inputs: [train.csv]
triggers:
  - {name: drift, kind: alert, monitor: psi, cooldown: 7d, clock: event, params: {day: /window/end}}
",
        )
        .unwrap();
        let (command, environment) = spec.steps[0].resolved(&spec.params).unwrap();
        assert_eq!(command, Command::Line("python prepare.py --until 2013-04-01".to_owned()));
        assert_eq!(environment["DAY"], "2013-04-01");
        assert_eq!(spec.steps[0].timeout, Span::seconds(600));
        assert_eq!(spec.triggers[0].clock, Clock::Event);
    }

    #[test]
    fn the_version_follows_the_content_and_not_the_spelling() {
        let a = spec("name: p\nsteps:\n  - {name: a, command: x, timeout: 60s}").unwrap();
        let b = spec("steps:\n  - command: x\n    timeout: 1m\n    name: a\nname: p").unwrap();
        let c = spec("name: p\nsteps:\n  - {name: a, command: z, timeout: 60s}").unwrap();
        assert_eq!(a.version(), b.version());
        assert_ne!(a.version(), c.version());
    }

    #[test]
    fn a_broken_rule_is_named() {
        for (steps, told) in [
            ("  - {name: a, command: x}\n  - {name: a, command: z}", "two steps are called `a`"),
            ("  - {name: A, command: x}", "can't name a step"),
            ("  - {name: a, command: ''}", "has no command"),
            ("  - {name: a, command: x, inputs: [../secret]}", "leaves the project's folder"),
            ("  - {name: a, command: x, inputs: [d/../../secret]}", "leaves the project's folder"),
            ("  - {name: a, command: x, outputs: [/etc/passwd]}", "is not relative"),
            ("  - {name: a, command: x, outputs: [.git/config]}", "folder of git"),
            ("  - {name: a, command: x, timeout: 500ms}", "not between 1s and 7d"),
            ("  - {name: a, command: x, timeout: 8d}", "not between 1s and 7d"),
            ("  - {name: a, command: x, retries: 11}", "at most 10 retries"),
            ("  - {name: a, command: 'x ${night}'}", "there is no param `night`"),
            ("  - {name: a, command: x, environment: {TRUELINE_RUN_ID: '1'}}", "set by Trueline itself"),
            ("  - {name: a, command: x, needs: [b]}", "needs `b`, which is no step"),
            ("  - {name: a, command: x, colour: red}", "colour"),
        ] {
            let refusal = refusal(steps);
            assert!(refusal.contains(told), "{steps}: {refusal}");
        }
    }

    #[test]
    fn a_pipeline_cannot_be_started_by_its_own_events() {
        let yaml = "name: p\nsteps: [{name: a, command: x}]\ntriggers: [{name: t, kind: event, action: pipeline.run.succeeded}]";
        assert!(spec(yaml).unwrap_err().to_string().contains("can't start a pipeline"));
    }

    #[test]
    fn a_shell_keeps_its_own_variables() {
        let params = BTreeMap::from([("day".to_owned(), "1".to_owned())]);
        assert_eq!(fill("${HOME}/${day} ${", &params).unwrap(), "${HOME}/1 ${");
        assert_eq!(fill("$day", &params).unwrap(), "$day");
        assert_eq!(fill("${day:-2}", &params).unwrap(), "${day:-2}");
    }
}

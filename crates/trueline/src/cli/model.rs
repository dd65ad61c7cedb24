//! `trueline model`, `trueline gate`, `trueline approve`, `trueline reject`: what stands between a version and its release.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::io::Read;

#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Show a model, or where a version stands: its gates with their numbers and its approvals
    Show {
        /// `<model>` or `<model>/<version>`
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// What a model's versions must pass before a protected alias or an endpoint takes one
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Declare the policy; approvals that were given under another one count no more
    Set {
        /// The model's name
        model: String,
        /// YAML or JSON; `-` for standard input
        file: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the policy
    Show {
        /// The model's name
        model: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Subcommand)]
pub(crate) enum GateCommand {
    /// Judge a version by its model's gates; ends with status 1 when one does not pass
    Run {
        /// `<model>/<version>`
        version: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Args)]
pub(crate) struct DecisionArgs {
    /// `<model>/<version>`
    version: String,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    decision: DecisionArgs,
    /// Take your decision on the version back instead
    #[arg(long, conflicts_with = "comment")]
    withdraw: bool,
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The path of a version in the API.
fn path_of(version: &str) -> anyhow::Result<String> {
    let Some((model, number)) = version.rsplit_once('/').filter(|(m, n)| !m.is_empty() && !n.is_empty())
    else {
        bail!("`{version}` names no version: write <model>/<version>, for example flight-delay/3");
    };
    Ok(format!("/api/v1/models/{}/versions/{}", encoded(model), encoded(number)))
}

pub(crate) fn model(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Show { name, connection } if name.contains('/') => show_version(&name, &connection),
        ModelCommand::Show { name, connection } => show_model(&name, &connection),
        ModelCommand::Policy(PolicyCommand::Set { model, file, connection }) => {
            let policy = read_policy(&file)?;
            let path = format!("/api/v1/models/{}/policy", encoded(&model));
            let declared = Client::new(&connection).send("PUT", &path, &policy)?;
            if connection.json {
                table::json(&declared);
            } else {
                table::note(format!("Declared the release policy of {model}."));
                show_policy(&declared);
            }
            Ok(())
        }
        ModelCommand::Policy(PolicyCommand::Show { model, connection }) => {
            let policy =
                Client::new(&connection).get(&format!("/api/v1/models/{}/policy", encoded(&model)))?;
            if connection.json {
                table::json(&policy);
            } else {
                show_policy(&policy);
            }
            Ok(())
        }
    }
}

pub(super) fn read_policy(file: &str) -> anyhow::Result<Value> {
    let text = match file {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("can't read standard input")?;
            text
        }
        path => std::fs::read_to_string(path).with_context(|| format!("can't read {path}"))?,
    };
    serde_saphyr::from_str(&text).with_context(|| format!("{file} is neither YAML nor JSON"))
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn show_policy(declared: &Value) {
    let (policy, asks) = (&declared["policy"], &declared["asks"]);
    let approvals = &policy["approvals"];
    let aliases: Vec<&str> = list(policy, "protected_aliases").iter().filter_map(Value::as_str).collect();
    table::line(format!("protected aliases  {}", aliases.join(", ")));
    table::line(format!("champion           @{}", table::cell(policy, "champion_alias")));
    table::line(format!(
        "approvals          {} by a {}, for {} days",
        table::cell(approvals, "required"),
        table::cell(approvals, "role"),
        table::cell(approvals, "valid_days")
    ));
    let gate = |g: &Value| {
        let name = table::cell(g, "name");
        vec![name.clone(), table::cell(asks, &name)]
    };
    let gates: Vec<Vec<String>> = list(policy, "gates").iter().map(gate).collect();
    if !gates.is_empty() {
        table::line("");
        table::rows(&["GATE", "ASKS FOR"], &gates);
    }
}

fn show_model(name: &str, connection: &Connection) -> anyhow::Result<()> {
    let model = Client::new(connection).get(&format!("/api/v1/models/{}", encoded(name)))?;
    if connection.json {
        table::json(&model);
        return Ok(());
    }
    table::line(format!("newest version     {}", table::cell(&model, "newest_version")));
    let aliases: Vec<String> = list(&model, "aliases")
        .iter()
        .map(|a| format!("@{} → {}", table::cell(a, "alias"), table::cell(a, "version")))
        .collect();
    table::line(format!(
        "aliases            {}",
        if aliases.is_empty() { "–".to_owned() } else { aliases.join(", ") }
    ));
    match &model["policy"] {
        Value::Null => table::note(format!(
            "No release policy: every alias takes any version. Declare one with `trueline model policy set {name} <file>`."
        )),
        policy => show_policy(policy),
    }
    Ok(())
}

fn show_version(version: &str, connection: &Connection) -> anyhow::Result<()> {
    let state = Client::new(connection).get(&format!("{}/release", path_of(version)?))?;
    if connection.json {
        table::json(&state);
        return Ok(());
    }
    let missing: Vec<&str> = list(&state, "missing").iter().filter_map(Value::as_str).collect();
    match (&state["policy"], missing.as_slice()) {
        (Value::Null, _) => table::line("releasable  yes: no release policy is declared for this model"),
        (_, []) => table::line("releasable  yes"),
        (_, some) => table::line(format!("releasable  no, because {}", some.join("; "))),
    }
    table::line(format!("manifest    {}", table::cell(&state, "manifest_digest")));
    show_gates(list(&state, "gates"), "state", "reason");
    let decisions: Vec<Vec<String>> = list(&state, "approvals").iter().map(decision_row).collect();
    if !decisions.is_empty() {
        table::line("");
        table::rows(&["BY", "DECISION", "COUNTS", "UNTIL", "COMMENT"], &decisions);
    }
    for advice in list(&state, "advice").iter().filter_map(Value::as_str) {
        table::note(format!("next: {advice}"));
    }
    Ok(())
}

fn decision_row(decision: &Value) -> Vec<String> {
    let counts = match decision["because"].as_str() {
        Some(why) => format!("no: {why}"),
        None => "yes".to_owned(),
    };
    let cell = |field: &str| table::cell(decision, field);
    vec![cell("approver"), cell("decision"), counts, cell("expires_at"), cell("comment")]
}

fn show_gates(gates: &[Value], state: &str, reason: &str) {
    if gates.is_empty() {
        return;
    }
    let name =
        |g: &Value| if g["gate"].is_string() { table::cell(g, "gate") } else { table::cell(g, "name") };
    let row = |g: &Value| vec![name(g), table::cell(g, state).replace('_', " "), table::cell(g, reason)];
    table::line("");
    table::rows(&["GATE", "STATE", "WHY"], &gates.iter().map(row).collect::<Vec<_>>());
}

pub(crate) fn gate(command: GateCommand) -> anyhow::Result<()> {
    let GateCommand::Run { version, connection } = command;
    let path = format!("{}/gate-runs", path_of(&version)?);
    let run = Client::new(&connection).send("POST", &path, &json!({}))?;
    if connection.json {
        table::json(&run);
    } else {
        table::note(format!("Judged {version}, run {}.", table::cell(&run, "run")));
        show_gates(list(&run, "results"), "outcome", "reason");
    }
    let open = list(&run, "results").iter().filter(|r| r["outcome"] != "passed").count();
    if open > 0 {
        bail!("{open} of {} gates did not pass", list(&run, "results").len());
    }
    Ok(())
}

fn decide(args: &DecisionArgs, decision: &str) -> anyhow::Result<()> {
    let path = format!("{}/approvals", path_of(&args.version)?);
    let body = json!({ "decision": decision, "comment": args.comment });
    let made = Client::new(&args.connection).send("POST", &path, &body)?;
    if args.connection.json {
        table::json(&made);
    } else {
        let manifest = table::cell(&made, "manifest_digest");
        table::note(format!(
            "{} {decision} {}, manifest {manifest}.",
            table::cell(&made, "approver"),
            args.version
        ));
    }
    Ok(())
}

pub(crate) fn approve(args: &ApproveArgs) -> anyhow::Result<()> {
    if !args.withdraw {
        return decide(&args.decision, "approved");
    }
    let path = format!("{}/approvals", path_of(&args.decision.version)?);
    Client::new(&args.decision.connection).send("DELETE", &path, &json!({}))?;
    table::note(format!("Took your decision on {} back.", args.decision.version));
    Ok(())
}

pub(crate) fn reject(args: &DecisionArgs) -> anyhow::Result<()> {
    decide(args, "rejected")
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_version_is_named_by_model_and_number() {
        assert_eq!(path_of("flight delay/3").unwrap(), "/api/v1/models/flight%20delay/versions/3");
        for bad in ["flight-delay", "/3", "flight-delay/"] {
            assert!(path_of(bad).unwrap_err().to_string().contains("<model>/<version>"), "{bad}");
        }
    }
}

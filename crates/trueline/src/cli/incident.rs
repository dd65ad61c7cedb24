//! `trueline incident`: what fired together, and what was done about it.

use super::client::Client;
use super::{Connection, table};
use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

/// Alerts that a line of a story names.
const NAMED: usize = 4;

#[derive(Subcommand)]
pub(crate) enum IncidentCommand {
    /// List incidents, newest first
    List(Connection),
    /// Show an incident and its story
    Show {
        /// Id of the incident
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Note down what you have found out or done
    Note {
        /// Id of the incident
        id: String,
        /// What to note
        text: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End an incident, once none of its alerts fires any more
    Resolve {
        /// Id of the incident
        id: String,
        /// Why, for the ledger
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(crate) fn incident(command: IncidentCommand) -> anyhow::Result<()> {
    let tell = |connection: &Connection, incident: &Value| {
        if connection.json {
            table::json(incident);
        } else {
            let cell = |field: &str| table::cell(incident, field);
            table::note(format!("incident {} is {}", cell("id"), cell("state")));
        }
    };
    match command {
        IncidentCommand::List(connection) => {
            let all = Client::new(&connection).get("/api/v1/incidents")?;
            let fields = ["id", "endpoint", "state", "firing", "opened_at", "resolved_at"];
            return table::list(&connection, &all, "incidents", &fields);
        }
        IncidentCommand::Show { id, connection } => {
            let incident = Client::new(&connection).get(&format!("/api/v1/incidents/{id}"))?;
            return show(&connection, &incident);
        }
        IncidentCommand::Note { id, text, connection } => {
            let path = format!("/api/v1/incidents/{id}/notes");
            tell(&connection, &Client::new(&connection).send("POST", &path, &json!({ "text": text }))?);
        }
        IncidentCommand::Resolve { id, reason, connection } => {
            let path = format!("/api/v1/incidents/{id}/resolution");
            tell(&connection, &Client::new(&connection).send("PUT", &path, &json!({ "reason": reason }))?);
        }
    }
    Ok(())
}

fn show(connection: &Connection, incident: &Value) -> anyhow::Result<()> {
    if connection.json {
        table::json(incident);
        return Ok(());
    }
    let cell = |field: &str| table::cell(incident, field);
    let state = cell("state");
    table::line(format!(
        "incident {} of endpoint {}, {state} since {}",
        cell("id"),
        cell("endpoint"),
        cell("opened_at")
    ));
    table::line("");
    let story = incident["timeline"].as_array().context("the server told no story")?;
    // What one look at a window did to many alerts is one line.
    let as_one = |a: &Value, b: &Value| {
        (&a["kind"], &a["at"], &a["body"]["state"]) == (&b["kind"], &b["at"], &b["body"]["state"])
            && a["kind"] == "alert"
    };
    let row =
        |lines: &[Value]| vec![table::cell(&lines[0], "at"), table::cell(&lines[0], "actor"), words(lines)];
    let rows: Vec<Vec<String>> = story.chunk_by(as_one).map(row).collect();
    table::rows(&["AT", "WHO", "WHAT"], &rows);
    Ok(())
}

/// Lines of a story that happened as one, in words.
fn words(lines: &[Value]) -> String {
    let (kind, body) = (&lines[0]["kind"], &lines[0]["body"]);
    let because = |reason: &Value| {
        reason.as_str().filter(|r| !r.is_empty()).map_or_else(String::new, |r| format!(": {r}"))
    };
    match kind.as_str() {
        Some("alert") => {
            let one = |line: &Value| {
                let subject = table::cell(&line["body"], "subject");
                match &line["body"]["value"] {
                    Value::Null => subject,
                    _ => format!("{subject} {}", table::cell(&line["body"], "value")),
                }
            };
            let named: Vec<String> = lines.iter().take(NAMED).map(one).collect();
            let more = match lines.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{}: {}{more}", table::cell(body, "state"), named.join(", "))
        }
        Some("action") => format!("{}{}", table::cell(body, "action"), because(&body["details"]["reason"])),
        Some("note") => table::cell(body, "text"),
        _ => format!("{}{}", table::cell(&lines[0], "kind"), because(&body["reason"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_alerts_of_one_look_are_one_line_of_the_story() {
        let alert = |subject: &str, value: Value| json!({ "kind": "alert", "at": "t", "body": { "state": "firing", "subject": subject, "value": value } });
        let lines: Vec<Value> = ["a", "b", "c", "d", "e", "f"].map(|s| alert(s, json!(0.123_456))).into();
        assert_eq!(words(&lines), "firing: a 0.1235, b 0.1235, c 0.1235, d 0.1235 and 2 more");
        assert_eq!(words(&[alert("psi:temp", Value::Null)]), "firing: psi:temp");
        let action = json!({ "kind": "action", "body": { "action": "endpoint.deployed", "details": { "reason": "why" } } });
        assert_eq!(words(&[action]), "endpoint.deployed: why");
        assert_eq!(words(&[json!({ "kind": "resolved", "body": { "reason": "" } })]), "resolved");
    }
}

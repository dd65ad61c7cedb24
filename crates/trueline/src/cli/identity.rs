//! `trueline project`, `trueline user`, `trueline token`.

use super::client::Client;
use super::{Connection, table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project
    Add {
        /// Its name: lower-case letters, digits and hyphens
        name: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// List the projects that you may see
    List(Connection),
}

#[derive(Args)]
pub(crate) struct RoleArgs {
    /// The user's name
    name: String,
    /// viewer, contributor, reviewer, admin or auditor; may be given more than once
    #[arg(long)]
    role: Vec<String>,
    /// Give the roles in this project only, instead of the whole server
    #[arg(long)]
    only_in: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user with roles; the first must be an admin
    Add(RoleArgs),
    /// Give a user more roles
    Grant(RoleArgs),
    /// Take roles from a user
    Revoke(RoleArgs),
    /// List users with their roles
    List(Connection),
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a user; it is shown once
    Create {
        /// The user's name
        user: String,
        /// What the token is for
        #[arg(long, default_value = "")]
        label: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End a token
    Revoke {
        /// The token's id
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// List tokens without their secrets
    List(Connection),
}

/// Prints a list of objects, as a table or as JSON.
fn show(connection: &Connection, answer: &Value, list: &str, fields: &[&str]) {
    if connection.json {
        return table::json(answer);
    }
    let items = answer[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let heading: Vec<String> = fields.iter().map(|f| f.to_uppercase().replace('_', " ")).collect();
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| fields.iter().map(|f| field(item, f)).collect()).collect();
    table::rows(&heading, &rows);
}

fn field(item: &Value, name: &str) -> String {
    if name != "roles" {
        return table::cell(item, name);
    }
    let role = |grant: &Value| match grant["project"].as_str() {
        Some(project) => format!("{} in {project}", table::cell(grant, "role")),
        None => table::cell(grant, "role"),
    };
    let roles = item["roles"].as_array().map(|list| list.iter().map(role).collect::<Vec<_>>());
    roles.unwrap_or_default().join(", ")
}

pub(crate) fn project(command: ProjectCommand) -> anyhow::Result<()> {
    match command {
        ProjectCommand::Add { name, connection } => {
            let made = Client::new(&connection).send("POST", "/api/v1/projects", &json!({ "name": name }))?;
            if connection.json {
                table::json(&made);
                return Ok(());
            }
            table::note(format!("Made project {name}. Point an MLflow client at it:"));
            table::line(format!("export MLFLOW_TRACKING_URI={}/projects/{name}", connection.url));
        }
        ProjectCommand::List(connection) => {
            let answer = Client::new(&connection).get("/api/v1/projects")?;
            show(&connection, &answer, "projects", &["name", "id", "created_at"]);
        }
    }
    Ok(())
}

fn grants(args: &RoleArgs) -> Vec<Value> {
    args.role.iter().map(|role| json!({ "role": role, "project": args.only_in })).collect()
}

pub(crate) fn user(command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add(args) => {
            let body = json!({ "name": args.name, "roles": grants(&args) });
            let made = Client::new(&args.connection).send("POST", "/api/v1/users", &body)?;
            if args.connection.json {
                table::json(&made);
            } else if let Some(token) = made["token"].as_str() {
                table::note(format!(
                    "Made user {}. From now on this server needs a token. Keep this one: it is not shown again. Use it as \
                     MLFLOW_TRACKING_TOKEN and TRUELINE_TOKEN.",
                    args.name
                ));
                table::line(token);
            } else {
                table::note(format!("Made user {}. Now: trueline token create {}", args.name, args.name));
            }
        }
        UserCommand::Grant(args) => change_roles("POST", &args)?,
        UserCommand::Revoke(args) => change_roles("DELETE", &args)?,
        UserCommand::List(connection) => {
            let answer = Client::new(&connection).get("/api/v1/users")?;
            show(&connection, &answer, "users", &["name", "roles", "created_at"]);
        }
    }
    Ok(())
}

fn change_roles(method: &str, args: &RoleArgs) -> anyhow::Result<()> {
    anyhow::ensure!(!args.role.is_empty(), "name at least one role with --role");
    let client = Client::new(&args.connection);
    for grant in grants(args) {
        client.send(method, &format!("/api/v1/users/{}/roles", args.name), &grant)?;
    }
    Ok(())
}

pub(crate) fn token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { user, label, connection } => {
            let path = format!("/api/v1/users/{user}/tokens");
            let made = Client::new(&connection).send("POST", &path, &json!({ "label": label }))?;
            if connection.json {
                table::json(&made);
                return Ok(());
            }
            table::note(
                "Keep this token: it is not shown again. Use it as MLFLOW_TRACKING_TOKEN and TRUELINE_TOKEN.",
            );
            table::line(table::cell(&made, "token"));
        }
        TokenCommand::Revoke { id, connection } => {
            Client::new(&connection).send("DELETE", &format!("/api/v1/tokens/{id}"), &json!({}))?;
        }
        TokenCommand::List(connection) => {
            let answer = Client::new(&connection).get("/api/v1/tokens")?;
            show(&connection, &answer, "tokens", &["id", "user", "label", "created_at", "revoked_at"]);
        }
    }
    Ok(())
}

//! The command line. Tables for people, `--json` for programs; data on standard output, the rest on standard error;
//! 0 done, 1 refused or failed, 2 usage.

mod apply;
mod bandit;
mod client;
mod data;
mod endpoint;
mod export;
mod export_mlflow;
mod features;
mod fetch_bucket;
mod fetch_model;
mod gc;
mod identity;
mod import;
mod incident;
mod ledger;
mod model;
mod model_memory;
mod monitor;
mod pipeline;
mod prediction;
mod progress;
mod query;
mod rehearse;
mod replay;
mod reproduce;
mod rollout;
mod rollout_parts;
mod run;
mod runtimes;
mod serve;
mod server;
mod table;
mod trace;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(
    name = "trueline",
    version,
    about = "Trueline takes a model from training code to production and keeps it true there.",
    after_help = "Start with:  trueline server\nThen point your training code at it:  export \
                  MLFLOW_TRACKING_URI=http://127.0.0.1:5700"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Server(server::ServerArgs),
    /// Serve one model and nothing else, as in a container
    Serve(serve::ServeArgs),
    /// Run a command as a captured run: commit, changes, environment, seeds, inputs
    Run(run::RunArgs),
    /// Datasets: add versions of files, list and show them
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Features: declare views, join training sets, load and read the online store
    #[command(subcommand)]
    Features(features::FeaturesCommand),
    /// Models: what their versions must pass, and where one stands
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Gates: what machines check before a version is released
    #[command(subcommand)]
    Gate(model::GateCommand),
    /// Approve a version that you are not an author of
    Approve(model::ApproveArgs),
    /// Reject a version that you are not an author of
    Reject(model::DecisionArgs),
    /// Read, export and verify the ledger
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Endpoints: what answers predictions
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Rollouts: a version takes over an endpoint in steps, judged by statistics
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Bandits: an endpoint's traffic goes where the rewards are
    #[command(subcommand)]
    Bandit(bandit::BanditCommand),
    /// Return an endpoint to the versions that answered before, at once
    Rollback(endpoint::RollbackArgs),
    /// Make everything so as trueline.yaml declares it; a second time it changes nothing
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change
    Plan(apply::PlanArgs),
    /// Pipelines: started, followed, cancelled
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
    /// Run a captured run again and compare what it logs, step by step
    Reproduce(reproduce::ReproduceArgs),
    /// Keep one attempt of a step: the server starts this by itself
    #[command(hide = true)]
    StepKeeper {
        /// The attempt's folder
        folder: std::path::PathBuf,
    },
    /// Monitors: rules over windows of predictions
    #[command(subcommand)]
    Monitor(monitor::MonitorCommand),
    /// Alerts: rules that are broken
    #[command(subcommand)]
    Alert(monitor::AlertCommand),
    /// Incidents: what fired together, and what was done about it
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    /// Send a table's rows through an endpoint as if it were their time, with features and labels as they became known
    Replay(Box<replay::ReplayArgs>),
    /// Predictions: what endpoints were asked and answered
    #[command(subcommand)]
    Prediction(prediction::PredictionCommand),
    /// Tell how a prediction came about: route, version, run, code, data
    Trace(trace::TraceArgs),
    /// Ask the log of predictions in SQL: tables `predictions` and `labels`
    Query(query::QueryArgs),
    /// Bring in what another tool keeps, into the data directory of a server that is stopped
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Hand a project over to another tool, out of the data directory of a server that is stopped
    #[command(subcommand)]
    Export(export_mlflow::ExportCommand),
    /// Delete for good what was deleted long ago, and collect bytes that nothing refers to
    Gc(gc::GcArgs),
    /// Projects: tenancy boundaries
    #[command(subcommand)]
    Project(identity::ProjectCommand),
    /// Users and their roles
    #[command(subcommand)]
    User(identity::UserCommand),
    /// Tokens of users
    #[command(subcommand)]
    Token(identity::TokenCommand),
}

/// Which server a command talks to, and how it answers.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// Address of the server
    #[arg(long, env = "TRUELINE_URL", default_value = "http://127.0.0.1:5700", global = true)]
    pub(crate) url: String,
    /// Project to work in
    #[arg(long, env = "TRUELINE_PROJECT", default_value = "default", global = true)]
    pub(crate) project: String,
    /// Token that says who you are
    #[arg(long, env = "TRUELINE_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Parses the command line and runs it.
#[must_use]
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

/// Parses these arguments, the program's name first, and runs what they say. Wrong ones end the process.
#[must_use]
pub fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let began = Instant::now();
    let cli = Cli::parse_from(arguments);
    let done = match cli.command {
        Command::Server(args) => server::run(args, began),
        Command::Serve(args) => serve::run(args, began),
        Command::Run(args) => return run::run(args),
        Command::Data(command) => data::run(command),
        Command::Features(command) => features::run(command),
        Command::Model(command) => model::model(command),
        Command::Gate(command) => model::gate(command),
        Command::Approve(args) => model::approve(&args),
        Command::Reject(args) => model::reject(&args),
        Command::Ledger(command) => ledger::run(command),
        Command::Endpoint(command) => endpoint::run(command),
        Command::Rollout(command) => rollout::run(command),
        Command::Bandit(command) => bandit::run(command),
        Command::Rollback(args) => endpoint::roll_back(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Plan(args) => apply::plan(&args),
        Command::Pipeline(command) => return pipeline::run(command),
        Command::Reproduce(args) => return reproduce::run(&args),
        Command::StepKeeper { folder } => trueline_pipelines::executor::keep(&folder).map_err(Into::into),
        Command::Monitor(command) => monitor::monitor(command),
        Command::Alert(command) => monitor::alert(command),
        Command::Incident(command) => incident::incident(command),
        Command::Replay(args) => replay::run(&args),
        Command::Prediction(command) => prediction::run(command),
        Command::Trace(args) => trace::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Import(command) => import::run(command),
        Command::Export(command) => export_mlflow::run(command),
        Command::Gc(args) => gc::run(&args),
        Command::Project(command) => identity::project(command),
        Command::User(command) => identity::user(command),
        Command::Token(command) => identity::token(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::Path;

    /// The commands that the files below a folder tell of: in quotes, or in the backticks of a message or a text.
    fn told(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                // Samples of pages and scripts of tests tell nobody.
                if !path.ends_with("tests") {
                    told(&path, found);
                }
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for quote in ['"', '`'] {
                let opening = format!("{quote}trueline ");
                let after = text.split(&opening).skip(1);
                found.extend(after.filter_map(|rest| Some(rest.split_once(quote)?.0.to_owned())));
            }
        }
    }

    /// Why the program would not take it, as far as its words and flags go.
    fn refused(command: &str) -> Option<String> {
        let mut at = Cli::command();
        // What follows `--` is another program's; what follows a placeholder depends on what stands for it.
        let own = |word: &&str| *word != "--" && !word.contains('{');
        for word in command.split_whitespace().take_while(own) {
            if let Some(flag) = word.strip_prefix("--") {
                if !at.get_arguments().any(|a| a.get_long() == Some(flag)) {
                    return Some(format!("`{command}`: there is no --{flag}"));
                }
            } else if at.has_subcommands() {
                let Some(next) = at.find_subcommand(word) else {
                    return Some(format!("`{command}`: there is no `{word}`"));
                };
                at = next.clone();
            }
        }
        None
    }

    #[test]
    fn the_program_takes_every_command_that_pages_messages_and_docs_tell_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut commands = Vec::new();
        for folder in ["crates", "docs", "examples"] {
            told(&root.join(folder), &mut commands);
        }
        assert!(commands.len() > 100, "{commands:?}");
        let refused: Vec<String> = commands.iter().filter_map(|c| refused(c)).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }

    #[test]
    fn commands_that_are_not_there_are_found() {
        for wrong in ["alias set m champion 1", "token create --user ann", "search x"] {
            assert!(refused(wrong).is_some(), "{wrong}");
        }
        assert_eq!(refused("run --experiment flights -- python train.py --until now"), None);
    }
}

//! The command line. Tables for people, `--json` for programs; data on standard output, the rest on standard error;
//! 0 done, 1 refused or failed, 2 usage.

mod apply;
mod client;
mod data;
mod endpoint;
mod export;
mod features;
mod identity;
mod incident;
mod ledger;
mod model;
mod monitor;
mod pipeline;
mod replay;
mod reproduce;
mod rollout;
mod run;
mod server;
mod table;
mod trace;

use clap::{Args, Parser, Subcommand};
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
    /// Tell how a prediction came about: route, version, run, code, data
    Trace(trace::TraceArgs),
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
pub(crate) fn run() -> ExitCode {
    let began = Instant::now();
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Server(args) => server::run(args, began),
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
        Command::Trace(args) => trace::run(&args),
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

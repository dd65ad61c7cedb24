//! `trueline plan` and `trueline apply`: everything that `trueline.yaml` declares, compared with what there is, and made so.
//! Each kind of thing has an applier of its own; a new kind is a field of [`File`] and a line in [`appliers`].

mod endpoints;
mod features;
mod models;
mod monitors;
mod pipelines;

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

/// What `trueline.yaml` may hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// The file of the entities and feature views, beside this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<PathBuf>,
    /// Models with what their versions must pass before they are released.
    pub(crate) models: Vec<models::ModelSpec>,
    /// Endpoints: what answers predictions. Which versions answer is deployed, not declared.
    pub(crate) endpoints: Vec<endpoints::EndpointSpec>,
    /// Monitors: what watches the endpoints.
    pub(crate) monitors: Vec<monitors::MonitorDeclaration>,
    /// Pipelines with their steps and triggers.
    pub(crate) pipelines: Vec<trueline_pipelines::PipelineSpec>,
}

/// What would be done, or was, to one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// It is missing.
    Create,
    /// It is another than declared.
    Change,
    /// It is as declared.
    Keep,
}

/// Makes a thing as it is declared.
type Make<'a> = Box<dyn Fn(&Client) -> anyhow::Result<()> + 'a>;

/// One declared thing compared with what there is.
pub(crate) struct Change<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) act: Act,
    /// What differs, for people.
    pub(crate) why: String,
    /// Makes it as declared; only called when it is not.
    pub(crate) make: Make<'a>,
}

impl<'a> Change<'a> {
    /// Of a thing that is as declared, or does not exist yet.
    fn of(
        kind: &'static str,
        name: &str,
        is_so: bool,
        make: impl Fn(&Client) -> anyhow::Result<()> + 'a,
    ) -> Self {
        let (act, why) = if is_so { (Act::Keep, "") } else { (Act::Create, "it does not exist yet") };
        Self { kind, name: name.to_owned(), act, why: why.to_owned(), make: Box::new(make) }
    }
}

/// Where a declaration stands.
pub(crate) struct Place<'a> {
    /// The folder of the file, absolute.
    pub(crate) folder: &'a Path,
}

/// Compares all things of one kind.
type Applier = for<'a> fn(&'a File, &Place<'a>, &Client) -> anyhow::Result<Vec<Change<'a>>>;

/// The kinds, in the order in which they are made: what is referred to comes first.
fn appliers() -> [Applier; 5] {
    [features::compare, models::compare, endpoints::compare, monitors::compare, pipelines::compare]
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    /// The declaration
    #[arg(short, long, default_value = "trueline.yaml")]
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

fn read(path: &Path) -> anyhow::Result<(File, PathBuf)> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("can't read {shown}"))?.len();
    if size > LARGEST_FILE {
        bail!(
            "{shown} is larger than {} MiB: a declaration names things, data belongs elsewhere",
            LARGEST_FILE >> 20
        );
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {shown}"))?;
    let file: File = serde_saphyr::from_str(&text).map_err(|e| anyhow::anyhow!("{shown}: {e}"))?;
    let folder = path.canonicalize()?.parent().map(Path::to_owned).unwrap_or_default();
    Ok((file, folder))
}

pub(crate) fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    go(args, true)
}

pub(crate) fn apply(args: &ApplyArgs) -> anyhow::Result<()> {
    go(&args.plan, args.dry_run)
}

fn go(args: &PlanArgs, dry: bool) -> anyhow::Result<()> {
    let (file, folder) = read(&args.file)?;
    let client = Client::new(&args.connection);
    let place = Place { folder: &folder };
    let mut changes = Vec::new();
    // All is compared before anything is made, so that a mistake at the end of the file leaves nothing half done.
    for compare in appliers() {
        changes.extend(compare(&file, &place, &client)?);
    }
    let mut made = 0;
    for change in changes.iter().filter(|c| c.act != Act::Keep) {
        if !dry {
            (change.make)(&client).with_context(|| format!("{} `{}`", change.kind, change.name))?;
        }
        made += 1;
    }
    tell(&args.connection, &changes, made, dry);
    Ok(())
}

fn tell(connection: &Connection, changes: &[Change<'_>], made: usize, dry: bool) {
    if connection.json {
        let one = |c: &Change<'_>| json!({ "kind": c.kind, "name": c.name, "act": c.act, "why": c.why });
        let all: Vec<_> = changes.iter().map(one).collect();
        table::json(&json!({ "changes": all, "changed": if dry { 0 } else { made }, "would_change": made }));
        return;
    }
    let word = |act: Act| match (act, dry) {
        (Act::Create, false) => "created",
        (Act::Create, true) => "create",
        (Act::Change, false) => "changed",
        (Act::Change, true) => "change",
        (Act::Keep, _) => "as declared",
    };
    let row = |c: &Change<'_>| vec![c.kind.to_owned(), c.name.clone(), word(c.act).to_owned(), c.why.clone()];
    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    table::rows(&["KIND", "NAME", "WHAT", "WHY"], &rows);
    table::note(match (made, dry) {
        (0, _) => "nothing to change: everything is as declared".to_owned(),
        (n, true) => format!("{n} to change; `trueline apply` does it"),
        (n, false) => format!("{n} changed"),
    });
}

#[cfg(test)]
mod tests {
    use super::File;
    use std::path::Path;

    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/trueline.schema.json");
        let mut schema = schemars::schema_for!(File);
        schema.insert("title".to_owned(), "trueline.yaml".into());
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("TRUELINE_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == text,
            "docs/trueline.schema.json is out of date: run this test once with TRUELINE_WRITE_SCHEMA=1"
        );
    }

    #[test]
    fn an_unknown_word_is_refused_by_name() {
        let refused = serde_saphyr::from_str::<File>("endpoint: []").unwrap_err().to_string();
        assert!(refused.contains("endpoint"), "{refused}");
    }
}

//! Models, one model with its versions and aliases, one version with what was frozen for it.

use super::{DecisionForm, Pager, PolicyCard, Release};
use crate::links::ViewUrl;
use crate::parts::{Badge, Lineage, Pair, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// An alias and the version that it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasRow {
    /// The alias: `champion`.
    pub alias: String,
    /// The version.
    pub version: String,
}

/// A model in one line.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Its newest version; none while it has none.
    pub latest: Option<String>,
    /// Its aliases.
    pub aliases: Vec<AliasRow>,
    /// When it or one of its versions was changed last.
    pub updated_at: Timestamp,
}

/// All models. The view reads `q` (in the name), `sort` (`name`, `updated_at`) and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "models.html")]
pub struct ModelsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// The models.
    pub models: Vec<ModelRow>,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// A version in one line.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Its number.
    pub version: String,
    /// Its state: ready, pending, failed.
    pub state: Badge,
    /// Whether gates and approvals let it go; none without a policy.
    pub release: Option<Badge>,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
    /// The run that made it.
    pub run: Option<Reference>,
    /// The size of its frozen files.
    pub size: Option<u64>,
    /// The digest of its manifest; none before it is frozen.
    pub digest: Option<String>,
    /// Who registered it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// One model. The view reads `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "model.html")]
pub struct ModelPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Its aliases.
    pub aliases: Vec<AliasRow>,
    /// Its versions, newest first.
    pub versions: Vec<VersionRow>,
    /// What its versions must pass; none when nothing was declared.
    pub policy: Option<PolicyCard>,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// A file as it was frozen.
#[derive(Clone, Debug)]
pub struct FrozenFile {
    /// Its path within the version.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, hexadecimal.
    pub sha256: String,
}

/// What was frozen for a version: what gates judge, people approve and endpoints run.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The digest of the whole.
    pub digest: String,
    /// The size of all files.
    pub size: u64,
    /// The files, by path.
    pub files: Vec<FrozenFile>,
}

impl Manifest {
    pub(crate) fn counted_files(&self) -> String {
        crate::format::counted(self.files.len() as u64, "file")
    }
}

/// A column or a tensor of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; may be empty for a lone tensor.
    pub name: String,
    /// Its type: `double`, `tensor(float32, [-1, 28, 28])`.
    pub kind: String,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What a model takes and gives.
#[derive(Clone, Debug, Default)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<Field>,
    /// What it gives.
    pub outputs: Vec<Field>,
    /// What can be set for each call.
    pub params: Vec<Field>,
}

impl Signature {
    pub(crate) fn parts(&self) -> Vec<(&'static str, &[Field])> {
        [("Inputs", &*self.inputs), ("Outputs", &self.outputs), ("Params", &self.params)]
            .into_iter()
            .filter(|(_, fields)| !fields.is_empty())
            .collect()
    }
}

/// One version of a model.
#[derive(Clone, Debug, Template)]
#[template(path = "version.html")]
pub struct VersionPage {
    /// What all pages share.
    pub shell: Shell,
    /// The model's name.
    pub model: String,
    /// The version's number.
    pub version: String,
    /// Its state.
    pub state: Badge,
    /// Why it has this state, when there is something to say; may be empty.
    pub state_reason: String,
    /// Whether the run's artifacts were written to after the version was frozen.
    pub diverged: bool,
    /// What is said of it; may be empty.
    pub description: String,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
    /// Who registered it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The run that made it.
    pub run: Option<Reference>,
    /// The flavours that can load it: `sklearn`, `python_function`.
    pub flavours: Vec<String>,
    /// What was frozen; none before that.
    pub manifest: Option<Manifest>,
    /// What it takes and gives, when recorded.
    pub signature: Option<Signature>,
    /// Where it stands before its release; none when its model has no policy.
    pub release: Option<Release>,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}

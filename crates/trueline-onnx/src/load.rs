//! From a file's bytes to the first session and what the model says of itself.

use crate::error::LoadError;
use crate::library::Library;
use crate::outline::{Outline, Slot};
use crate::rewrite::{read_weights, rewrite};
use crate::session::{Made, Recipe, Shared};
use crate::types::TensorInfo;
use crate::weights::{self, shareable};
use crate::zipmap::{self, ZipMap};
use ort::session::builder::PrepackedWeights;
use ort::value::Outlet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a model says of itself besides its inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// The version of ONNX's file format.
    pub ir_version: u64,
    /// The sets of operators that it needs: domain (empty for ONNX's own) and version.
    pub opsets: Vec<(String, u64)>,
    /// The program that wrote it.
    pub producer: String,
    /// That program's version.
    pub producer_version: String,
    /// The graph's name.
    pub graph: String,
    /// What was written about it.
    pub description: String,
    /// What else was noted in it.
    pub metadata: BTreeMap<String, String>,
}

/// What a file became.
pub(crate) struct Loaded {
    pub(crate) recipe: Recipe,
    pub(crate) first: Made,
    pub(crate) info: ModelInfo,
    pub(crate) inputs: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
}

/// Where a model comes from, and how it will be run.
pub(crate) struct Source {
    pub(crate) library: &'static Library,
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Where the files lie that it names; `None` when it came without any.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) threads: usize,
    /// Whether there may be several sessions, so that sharing pays.
    pub(crate) several: bool,
}

/// Loads a model.
pub(crate) fn load(source: &Source) -> Result<Loaded, LoadError> {
    let outline = Outline::read(&source.bytes)
        .map_err(|at| LoadError::Damaged { problem: format!("the field at byte {} can't be read", at.0) })?;
    if outline.graph.place.is_empty() {
        return Err(LoadError::Damaged { problem: "it has no graph".to_owned() });
    }
    check_files(source, &outline)?;
    let zipmaps = zipmap::find(&outline);
    let (mut recipe, first) = make(source, &outline, &zipmaps)?;
    if !source.several {
        recipe.bytes = Arc::default();
    }
    let refused = |name, found| LoadError::Input { name, found };
    let inputs = tensors(first.session.inputs(), &outline.graph.inputs, refused)?;
    let refused = |name, found: String| match found.contains("Map") {
        true => LoadError::Dictionaries { name, found },
        false => LoadError::Output { name, found },
    };
    let mut outputs = tensors(first.session.outputs(), &outline.graph.outputs, refused)?;
    for output in &mut outputs {
        let zipmap = zipmaps.iter().find(|zipmap| zipmap.output == output.name.as_bytes());
        output.classes = zipmap.map(|zipmap| zipmap.classes.clone());
    }
    Ok(Loaded { recipe, first, info: info(outline), inputs, outputs })
}

/// Makes the first session: of a file that was changed as far as that is of use, and if the library does not like it so, of
/// one that was changed less.
fn make(source: &Source, outline: &Outline<'_>, zipmaps: &[ZipMap<'_>]) -> Result<(Recipe, Made), LoadError> {
    let shared = if source.several { shareable(&outline.graph) } else { Vec::new() };
    let mut attempts = vec![(zipmaps, shared.as_slice())];
    if !shared.is_empty() {
        attempts.push((zipmaps, &[]));
    }
    if !zipmaps.is_empty() {
        attempts.push((&[], &[]));
    }
    let mut refused = None;
    for (zipmaps, shared) in attempts {
        let weights = read_weights(outline, shared, source.folder.as_deref())?;
        let recipe = Recipe {
            library: source.library,
            bytes: rewrite(&source.bytes, outline, zipmaps, shared)
                .map_or_else(|| Arc::clone(&source.bytes), Arc::new),
            folder: source.folder.clone(),
            threads: source.threads,
            shared: (!shared.is_empty()).then(|| Shared { weights, prepared: PrepackedWeights::new() }),
        };
        match recipe.make() {
            Ok(made) => return Ok((recipe, made)),
            Err(error) => refused = Some(error),
        }
    }
    // What is said of the file as it came is said of what its maker knows.
    Err(refused.unwrap_or_else(|| LoadError::Refused { reason: "nothing was tried".to_owned() }))
}

/// Whether the files that the model names are there, each beside it.
fn check_files(source: &Source, outline: &Outline<'_>) -> Result<(), LoadError> {
    for file in outline.graph.initializers.iter().filter_map(|i| i.external.as_ref()) {
        let Some(folder) = &source.folder else {
            let reason = "the model came without other files; load it from its folder".to_owned();
            return Err(LoadError::External { file: file.location.clone(), reason });
        };
        weights::file_of(&file.location, folder)?;
    }
    Ok(())
}

fn tensors(
    outlets: &[Outlet],
    slots: &[Slot<'_>],
    refused: impl Fn(String, String) -> LoadError,
) -> Result<Vec<TensorInfo>, LoadError> {
    let tensor = |outlet: &Outlet| {
        let unranked = slots.iter().any(|slot| slot.unranked && slot.name == outlet.name().as_bytes());
        TensorInfo::of(outlet, unranked).map_err(|found| refused(outlet.name().to_owned(), found))
    };
    outlets.iter().map(tensor).collect()
}

fn info(outline: Outline<'_>) -> ModelInfo {
    ModelInfo {
        ir_version: outline.ir_version,
        opsets: outline.opsets,
        producer: outline.producer,
        producer_version: outline.producer_version,
        graph: outline.graph.name,
        description: outline.description,
        metadata: outline.metadata.into_iter().collect(),
    }
}

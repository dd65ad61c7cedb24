//! From the text of a model file to a `Model`: the header, the trees, and what follows them; checks that they agree.
//! Single trees are proven in `tree`, objectives are read in `objective`; nothing here scores.

use crate::document::shorten;
use crate::error::LoadError;

use super::forest::Forest;
use super::model::{FeatureInfo, Model, Version};
use super::objective::read_objective;
use super::text::{Lines, Section, words};
use super::trailer::Trailer;
use super::tree::{KEYS, Tree};

pub(super) const PYTHON_RUNTIME: &str = "serve it with the Python runtime";
/// Most outputs per row. Bounds what a caller allocates per row on the word of a file.
const MAX_OUTPUTS: usize = 1 << 16;
/// Most features, for columns and indices of terms are kept in 31 bits.
const MAX_FEATURES: usize = 1 << 28;
const HEADER_KEYS: [&str; 11] = [
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "average_output",
    "feature_names",
    "monotone_constraints",
    "feature_infos",
    "tree_sizes",
];

/// Reads a model from the bytes of its file.
pub(super) fn load(bytes: &[u8]) -> Result<Model, LoadError> {
    check_first_bytes(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|error| LoadError::Syntax {
        offset: error.valid_up_to(),
        problem: "it is not UTF-8 there".into(),
    })?;
    let mut lines = Lines::new(text);
    let header = read_header(&mut lines)?;
    let version = read_version(&header)?;
    let num_class = header.count("num_class", 1..=MAX_OUTPUTS)?;
    check_trees_per_iteration(&header, num_class)?;
    let num_feature = header.count("max_feature_idx", 0..=MAX_FEATURES - 1)? + 1;
    let (objective, link) = read_objective(header.find("objective"), num_class)?;
    let feature_names = list(&header, "feature_names", num_feature)?;
    let feature_infos = list(&header, "feature_infos", num_feature)?;
    let feature_infos =
        feature_infos.iter().map(|info| read_info(&header, info)).collect::<Result<_, _>>()?;
    let trees = read_trees(&mut lines, &header, num_feature)?;
    if !trees.len().is_multiple_of(num_class) {
        return Err(LoadError::Inconsistent {
            path: "num_class".into(),
            problem: format!("{} trees do not divide into rounds of {num_class}", trees.len()),
        });
    }
    let forest = Forest::plant(&trees, num_class).ok_or_else(|| LoadError::Unsupported {
        what: "a model of more than 2^32 nodes".into(),
        remedy: PYTHON_RUNTIME,
    })?;
    let Trailer { parameters, categories } = Trailer::read(&mut lines)?;
    let mut model = Model {
        forest,
        version,
        objective,
        link,
        num_feature,
        num_class,
        averages: header.find("average_output").is_some(),
        feature_names: feature_names.into_iter().map(str::to_owned).collect(),
        feature_infos,
        categories,
        categorical_features: Vec::new(),
        parameters,
    };
    model.categorical_features = super::trailer::match_categories(&model);
    Ok(model)
}

fn check_first_bytes(bytes: &[u8]) -> Result<(), LoadError> {
    let other = |found| {
        Err(LoadError::NotAModel {
            wanted: "a LightGBM model in text form",
            found,
            remedy: "save it with `Booster.save_model(\"model.txt\")`",
        })
    };
    match bytes {
        [b't', b'r', b'e', b'e', b'\n' | b'\r', ..] => Ok(()),
        [] => other("the file is empty"),
        [b'{', b'L' | b'}', ..] => other("it looks like an XGBoost model in UBJSON"),
        [b'{', ..] => {
            other("it is JSON, as `Booster.dump_model` writes it, which LightGBM itself cannot read")
        }
        [0x80, 2..=5, ..] => other("it looks like a Python pickle"),
        [0x1f, 0x8b, ..] => other("it is compressed with gzip"),
        [b'P', b'K', 3, 4, ..] => other("it is a zip archive"),
        _ if b"tree\r\n".starts_with(bytes) || b"tree\n".starts_with(bytes) => {
            Err(LoadError::Truncated { offset: bytes.len(), inside: "the header" })
        }
        _ => other("its first line is not `tree`"),
    }
}

/// The lines up to the first tree.
fn read_header<'a>(lines: &mut Lines<'a>) -> Result<Section<'a>, LoadError> {
    let mut header = Section::new(String::new());
    lines.next();
    while let Some(line) = lines.peek() {
        if line.starts_with("Tree=") || line == END_OF_TREES {
            return Ok(header);
        }
        if !line.is_empty() {
            header.push(line, &HEADER_KEYS)?;
        }
        lines.next();
    }
    Err(LoadError::Truncated { offset: lines.offset(), inside: "the header" })
}

const END_OF_TREES: &str = "end of trees";

fn read_version(header: &Section<'_>) -> Result<Version, LoadError> {
    match header.get("version")? {
        "v3" => Ok(Version::V3),
        "v4" => Ok(Version::V4),
        other => Err(LoadError::Unsupported {
            what: format!("version `{}` of LightGBM's text format", shorten(other)),
            remedy: "load it with LightGBM 4 (`Booster(model_file=…)`), save it again, and compare its scores",
        }),
    }
}

/// Absent in old files; it never differs from the number of classes in those that LightGBM writes.
fn check_trees_per_iteration(header: &Section<'_>, num_class: usize) -> Result<(), LoadError> {
    const KEY: &str = "num_tree_per_iteration";
    if header.find(KEY).is_none() || header.count(KEY, 1..=MAX_OUTPUTS)? == num_class {
        return Ok(());
    }
    Err(LoadError::Inconsistent { path: KEY.into(), problem: format!("the model has {num_class} classes") })
}

fn list<'a>(header: &Section<'a>, key: &str, expected: usize) -> Result<Vec<&'a str>, LoadError> {
    let items: Vec<&str> = words(header.get(key)?).collect();
    if items.len() != expected {
        return Err(LoadError::Length { path: key.into(), expected, found: items.len() });
    }
    Ok(items)
}

/// `none`, `[least:greatest]`, or categories set apart by colons.
fn read_info(header: &Section<'_>, text: &str) -> Result<FeatureInfo, LoadError> {
    let bad = || header.bad("feature_infos", text);
    if text == "none" {
        return Ok(FeatureInfo::Unused);
    }
    if let Some(range) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (least, greatest) = range.split_once(':').ok_or_else(bad)?;
        let number = |text: &str| text.parse().map_err(|_| bad());
        return Ok(FeatureInfo::Range(number(least)?, number(greatest)?));
    }
    let codes = text.split(':').map(|code| code.parse().map_err(|_| bad()));
    Ok(FeatureInfo::Categories(codes.collect::<Result<_, _>>()?))
}

/// All trees, up to and with the line after them.
fn read_trees(
    lines: &mut Lines<'_>,
    header: &Section<'_>,
    num_feature: usize,
) -> Result<Vec<Tree>, LoadError> {
    let sizes: Option<Vec<usize>> = match header.find("tree_sizes") {
        Some(text) => Some(header.numbers("tree_sizes", words(text).count())?),
        None => None,
    };
    let mut begins = lines.offset();
    let mut trees = Vec::new();
    loop {
        let offset = lines.offset();
        let truncated = || LoadError::Truncated { offset, inside: "the trees" };
        let line = lines.next().ok_or_else(truncated)?;
        if line.is_empty() {
            continue;
        }
        if line == END_OF_TREES {
            break;
        }
        let id = trees.len();
        if line.strip_prefix("Tree=").and_then(|number| number.parse().ok()) != Some(id) {
            return Err(LoadError::Syntax {
                offset,
                problem: format!("`Tree={id}` or `{END_OF_TREES}` should stand there"),
            });
        }
        if let Some(sizes) = &sizes {
            // LightGBM finds trees by these sizes alone; a file where they are wrong would not load there.
            if begins != offset || id >= sizes.len() {
                return Err(sizes_are_wrong(id));
            }
            begins = offset.saturating_add(sizes[id]);
        }
        let mut section = Section::new(format!("Tree={id}"));
        loop {
            match lines
                .next()
                .ok_or_else(|| LoadError::Truncated { offset: lines.offset(), inside: "a tree" })?
            {
                "" => break,
                line => section.push(line, &KEYS)?,
            }
        }
        trees.push(Tree::read(&section, id, num_feature)?);
    }
    if sizes.is_some_and(|sizes| sizes.len() != trees.len()) {
        return Err(sizes_are_wrong(trees.len()));
    }
    if trees.is_empty() {
        return Err(LoadError::Unsupported {
            what: "a model without trees".into(),
            remedy: "train it for at least one round",
        });
    }
    Ok(trees)
}

fn sizes_are_wrong(id: usize) -> LoadError {
    LoadError::Inconsistent {
        path: "tree_sizes".into(),
        problem: format!(
            "tree {id} does not stand where it says; the file was edited, or its line ends were converted: copy it \
             again as binary"
        ),
    }
}

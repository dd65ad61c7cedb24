//! From the bytes of a model file to a `Model`: tells the format, reads the learner, checks that its parts agree.
//! Single trees are proven in `tree`; nothing here scores.

use crate::document::{At, Value, shorten};
use crate::error::LoadError;
use crate::forest::{Forest, MAX_FEATURES, Planted};
use crate::model::{Booster, Categories, FeatureType, Model};
use crate::objective::Objective;
use crate::tree::TreeArrays;
use crate::{json, ubjson};

/// Most outputs per row. Bounds what a caller allocates per row on the word of a file.
const MAX_OUTPUTS: usize = 1 << 16;
const PYTHON_RUNTIME: &str = "serve it with the Python runtime";

/// Reads a model from the bytes of its file.
pub(crate) fn load(bytes: &[u8]) -> Result<Model, LoadError> {
    let document = read_document(bytes)?;
    let root = At::root(&document);
    let learner = root.get("learner")?;
    let objective = read_objective(&learner)?;
    let booster_at = learner.get("gradient_booster")?;
    let (booster, gbtree) = read_booster(&booster_at)?;
    // `gbtree` borrows its path from `booster_at`; dart nests the trees one level deeper.
    let model = gbtree.get("model")?;
    let param = read_param(&learner, objective)?;
    let features = read_features(&learner, param.num_feature)?;
    let num_trees = check_tree_count(&model)?;
    let groups = read_groups(&model, num_trees, param.outputs)?;
    let iteration_indptr = read_iterations(&model, num_trees, &groups)?;
    let weights = match booster {
        Booster::Gbtree => None,
        Booster::Dart => Some(read_weights(&booster_at, num_trees)?),
    };
    let forest = plant(&model, &param, &groups, weights.as_deref())?;
    Ok(Model {
        forest,
        booster,
        objective,
        num_feature: param.num_feature,
        num_class: param.num_class,
        outputs: param.outputs,
        intercept: param.intercept,
        iteration_indptr,
        feature_names: features.0,
        feature_types: features.1,
        categories: read_categories(&model, param.num_feature)?,
        best_iteration: read_best_iteration(&learner)?,
        written_by: read_version(&root)?,
    })
}

/// Tells JSON from UBJSON by the second byte, as XGBoost does, and other files by their first ones.
fn read_document(bytes: &[u8]) -> Result<Value, LoadError> {
    let other = |found| {
        Err(LoadError::NotAModel {
            wanted: "an XGBoost model in JSON or UBJSON",
            found,
            remedy: "save it with `Booster.save_model(\"model.ubj\")`",
        })
    };
    match bytes {
        [] => other("the file is empty"),
        [b'{', b'L' | b'}', ..] => ubjson::read(bytes),
        [b'{' | b' ' | b'\t' | b'\n' | b'\r', ..] => json::read(bytes),
        [0x80, 2..=5, ..] => other("it looks like a Python pickle"),
        [0x1f, 0x8b, ..] => other("it is compressed with gzip"),
        [b'P', b'K', 3, 4, ..] => other("it is a zip archive"),
        [b'b', b'i', b'n', b'f', ..] | [b'b', b's', b'6', b'4', ..] => {
            other("it is XGBoost's old binary format, which XGBoost itself dropped in 3.1")
        }
        [b't', b'r', b'e', b'e', b'\n' | b'\r', ..] => other("it looks like a LightGBM text model"),
        _ => other("its first bytes are unknown"),
    }
}

fn read_version(root: &At<'_, '_>) -> Result<Option<[u32; 3]>, LoadError> {
    let Some(version) = root.find("version")? else { return Ok(None) };
    let parts = version.ints()?;
    let wrong = || LoadError::Inconsistent {
        path: "version".into(),
        problem: "it is not three small numbers".into(),
    };
    let parts: &[i64; 3] = parts.try_into().map_err(|_| wrong())?;
    let mut out = [0; 3];
    for (out, part) in out.iter_mut().zip(parts) {
        *out = u32::try_from(*part).map_err(|_| wrong())?;
    }
    Ok(Some(out))
}

fn read_objective(learner: &At<'_, '_>) -> Result<Objective, LoadError> {
    let objective = learner.get("objective")?;
    let name = objective.get("name")?.text()?;
    Objective::from_name(name).ok_or_else(|| LoadError::Unsupported {
        what: format!("the objective `{}`", shorten(name)),
        remedy: PYTHON_RUNTIME,
    })
}

/// The kind of booster, and the part that holds its trees.
fn read_booster<'v, 's>(booster: &'s At<'v, 's>) -> Result<(Booster, At<'v, 's>), LoadError> {
    match booster.get("name")?.text()? {
        "gbtree" => Ok((Booster::Gbtree, *booster)),
        "dart" => Ok((Booster::Dart, booster.get("gbtree")?)),
        "gblinear" => Err(LoadError::Unsupported {
            what: "the booster `gblinear` (a linear model, no trees)".into(),
            remedy: PYTHON_RUNTIME,
        }),
        other => Err(LoadError::Unsupported {
            what: format!("the booster `{}`", shorten(other)),
            remedy: PYTHON_RUNTIME,
        }),
    }
}

/// `learner_model_param`, checked.
struct Param {
    num_feature: usize,
    num_class: usize,
    outputs: usize,
    /// Margins before the first tree, one per output.
    intercept: Vec<f32>,
}

fn bounded(at: &At<'_, '_>, range: std::ops::RangeInclusive<usize>) -> Result<usize, LoadError> {
    let value = at.text_int()?;
    usize::try_from(value)
        .ok()
        .filter(|v| range.contains(v))
        .ok_or_else(|| LoadError::BadNumber { path: at.path(), text: value.to_string() })
}

fn read_param(learner: &At<'_, '_>, objective: Objective) -> Result<Param, LoadError> {
    let param = learner.get("learner_model_param")?;
    let num_feature = bounded(&param.get("num_feature")?, 1..=MAX_FEATURES)?;
    let num_class = bounded(&param.get("num_class")?, 0..=MAX_OUTPUTS)?;
    let num_target = match param.find("num_target")? {
        Some(num_target) => bounded(&num_target, 1..=MAX_OUTPUTS)?,
        None => 1,
    };
    if num_class > 1 && num_target > 1 {
        return Err(LoadError::Unsupported {
            what: "a model of several classes and several targets".into(),
            remedy: PYTHON_RUNTIME,
        });
    }
    if matches!(objective, Objective::Softprob | Objective::Softmax) {
        let objective = learner.get("objective")?;
        let classes = objective.get("softmax_multiclass_param")?;
        let classes = classes.get("num_class")?;
        if bounded(&classes, 1..=MAX_OUTPUTS)? != num_class {
            return Err(LoadError::Inconsistent {
                path: classes.path(),
                problem: format!("the learner has {num_class} classes"),
            });
        }
    }
    let outputs = num_class.max(num_target);
    let intercept = read_intercept(&param.get("base_score")?, objective, outputs)?;
    Ok(Param { num_feature, num_class, outputs, intercept })
}

/// `base_score` is a string: `"5E-1"` until XGBoost 3.0, `"[5E-1]"` or one number per output since 3.1.
fn read_intercept(at: &At<'_, '_>, objective: Objective, outputs: usize) -> Result<Vec<f32>, LoadError> {
    let text = at.text()?;
    let bad = || LoadError::BadNumber { path: at.path(), text: shorten(text) };
    let list = text.trim();
    let list = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(list);
    let mut margins = Vec::new();
    for number in list.split(',') {
        let value: f32 = number.trim().parse().map_err(|_| bad())?;
        if !value.is_finite() {
            return Err(bad());
        }
        let margin = objective.intercept_margin(value).map_err(|rule| LoadError::Inconsistent {
            path: at.path(),
            problem: format!("for {} the intercept {value} {rule}", objective.name()),
        })?;
        margins.push(margin);
    }
    if margins.len() == 1 {
        margins.resize(outputs, margins[0]);
    }
    if margins.len() != outputs {
        return Err(LoadError::Length { path: at.path(), expected: outputs, found: margins.len() });
    }
    Ok(margins)
}

type Features = (Option<Vec<String>>, Option<Vec<FeatureType>>);

fn read_features(learner: &At<'_, '_>, num_feature: usize) -> Result<Features, LoadError> {
    let list = |key: &str| -> Result<Option<Vec<String>>, LoadError> {
        let Some(at) = learner.find(key)? else { return Ok(None) };
        let texts = at.items()?.map(|item| item.text().map(str::to_owned)).collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            return Ok(None);
        }
        if texts.len() != num_feature {
            return Err(LoadError::Length { path: at.path(), expected: num_feature, found: texts.len() });
        }
        Ok(Some(texts))
    };
    let types = list("feature_types")?.map(|types| {
        let parse = |name: &String| {
            FeatureType::from_name(name).ok_or_else(|| LoadError::Unsupported {
                what: format!("the feature type `{}`", shorten(name)),
                remedy: PYTHON_RUNTIME,
            })
        };
        types.iter().map(parse).collect::<Result<Vec<_>, _>>()
    });
    Ok((list("feature_names")?, types.transpose()?))
}

fn check_tree_count(model: &At<'_, '_>) -> Result<usize, LoadError> {
    let trees = model.get("trees")?;
    let found = trees.len()?;
    let param = model.get("gbtree_model_param")?;
    let num_trees = param.get("num_trees")?;
    let expected = bounded(&num_trees, 0..=usize::MAX)?;
    if expected != found {
        return Err(LoadError::Length { path: trees.path(), expected, found });
    }
    if found == 0 {
        // The intercept of such a file is a stand-in, which XGBoost itself takes for a margin or for a probability
        // depending on how it came about.
        return Err(LoadError::Unsupported {
            what: "a model without trees".into(),
            remedy: "train it for at least one round",
        });
    }
    Ok(found)
}

/// Which output each tree adds to.
fn read_groups(model: &At<'_, '_>, num_trees: usize, outputs: usize) -> Result<Vec<u32>, LoadError> {
    let tree_info = model.get("tree_info")?;
    let groups = tree_info.ints()?;
    if groups.len() != num_trees {
        return Err(LoadError::Length { path: tree_info.path(), expected: num_trees, found: groups.len() });
    }
    let check = |&group: &i64| {
        u32::try_from(group).ok().filter(|&g| (g as usize) < outputs).ok_or_else(|| LoadError::Inconsistent {
            path: tree_info.path(),
            problem: format!("output {group} of a model with {outputs}"),
        })
    };
    groups.iter().map(check).collect()
}

/// First tree of each boosting round, and the number of trees at the end. Older files lack the array; then every
/// round has `num_parallel_tree` trees per output, as XGBoost's `MakeIndptr` has it.
fn read_iterations(model: &At<'_, '_>, num_trees: usize, groups: &[u32]) -> Result<Vec<usize>, LoadError> {
    let Some(at) = model.find("iteration_indptr")? else {
        let param = model.get("gbtree_model_param")?;
        let parallel = match param.find("num_parallel_tree")? {
            Some(parallel) => bounded(&parallel, 0..=num_trees.max(1))?.max(1),
            None => 1,
        };
        let outputs = groups.iter().max().map_or(1, |&g| g as usize + 1);
        let per_round = parallel * outputs;
        if !num_trees.is_multiple_of(per_round) {
            return Err(LoadError::Inconsistent {
                path: param.path(),
                problem: format!("{num_trees} trees do not divide into rounds of {per_round}"),
            });
        }
        return Ok((0..=num_trees / per_round).map(|round| round * per_round).collect());
    };
    let indptr = at.ints()?;
    let rises = indptr.windows(2).all(|pair| pair[0] <= pair[1]);
    if !rises || indptr.first() != Some(&0) || indptr.last() != i64::try_from(num_trees).ok().as_ref() {
        return Err(LoadError::Inconsistent {
            path: at.path(),
            problem: format!("it must rise from 0 to the number of trees, {num_trees}"),
        });
    }
    Ok(indptr.iter().map(|&i| i as usize).collect())
}

fn read_weights(booster: &At<'_, '_>, num_trees: usize) -> Result<Vec<f32>, LoadError> {
    let at = booster.get("weight_drop")?;
    let weights = at.floats()?;
    if weights.len() != num_trees {
        return Err(LoadError::Length { path: at.path(), expected: num_trees, found: weights.len() });
    }
    if let Some(weight) = weights.iter().find(|w| !w.is_finite()) {
        return Err(LoadError::Inconsistent { path: at.path(), problem: format!("a tree weighs {weight}") });
    }
    Ok(weights.into_owned())
}

/// Proves all trees and lays them out. A tree stands at the place its `id` names.
fn plant(
    model: &At<'_, '_>,
    param: &Param,
    groups: &[u32],
    weights: Option<&[f32]>,
) -> Result<Forest, LoadError> {
    let trees = model.get("trees")?;
    let mut places: Vec<Option<usize>> = vec![None; groups.len()];
    for (index, tree) in trees.items()?.enumerate() {
        let at = tree.get("id")?;
        let id = at.int()?;
        let place =
            usize::try_from(id).ok().and_then(|id| places.get_mut(id)).filter(|place| place.is_none());
        let place = place.ok_or_else(|| LoadError::Inconsistent {
            path: at.path(),
            problem: format!("the id {id} is taken or beyond the number of trees"),
        })?;
        *place = Some(index);
    }
    let items: Vec<At<'_, '_>> = trees.items()?.collect();
    let ordered = places.iter().flatten().filter_map(|&index| items.get(index));
    let mut planted = Vec::with_capacity(groups.len());
    for (id, (tree, &group)) in ordered.zip(groups).enumerate() {
        let base = param.intercept[group as usize];
        let weight = weights.map(|weights| weights[id]);
        // XGBoost 3.2 adds a dart tree as `((base + leaf) - base) * weight`, each step rounded to f32
        // (`Dart::InplacePredict`). All but the sum is known now.
        let leaf = move |value: f32| match weight {
            None => value,
            Some(weight) => ((base + value) - base) * weight,
        };
        let tree = TreeArrays::read(tree, id, param.intercept.len())?.breadth_first(id, param.num_feature)?;
        if weight.is_some() && !tree.vectors.is_empty() {
            return Err(LoadError::Unsupported {
                what: "a multi-output tree in a dart booster, which XGBoost does not make".into(),
                remedy: PYTHON_RUNTIME,
            });
        }
        planted.push(Planted { tree, group, leaf });
    }
    let vectors = planted.iter().filter(|planted| !planted.tree.vectors.is_empty()).count();
    if vectors != 0 && vectors != planted.len() {
        return Err(LoadError::Inconsistent {
            path: trees.path(),
            problem: format!("{vectors} of {} trees have several outputs", planted.len()),
        });
    }
    Ok(Forest::plant(&planted, param.num_feature))
}

/// `cats`, since XGBoost 3.1: the categories of the data frame that the model was trained on.
fn read_categories(model: &At<'_, '_>, num_feature: usize) -> Result<Vec<Option<Categories>>, LoadError> {
    let Some(cats) = model.find("cats")? else { return Ok(Vec::new()) };
    let enc = cats.get("enc")?;
    let columns =
        enc.items()?.map(|column| read_column_categories(&column)).collect::<Result<Vec<_>, _>>()?;
    if columns.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    if columns.len() != num_feature {
        return Err(LoadError::Length { path: enc.path(), expected: num_feature, found: columns.len() });
    }
    Ok(columns)
}

fn read_column_categories(column: &At<'_, '_>) -> Result<Option<Categories>, LoadError> {
    let values = column.get("values")?;
    let Some(offsets) = column.find("offsets")? else {
        return Ok(Some(Categories::Numbers(values.ints()?.to_vec())));
    };
    if offsets.len()? == 0 {
        return Ok(None);
    }
    let wrong = || LoadError::Inconsistent {
        path: offsets.path(),
        problem: "it does not divide `values` into names".into(),
    };
    let offsets = offsets.ints()?;
    // Bytes of all names, one after the other, written as signed integers.
    let bytes: Vec<u8> = values.ints()?.iter().map(|&b| b as u8).collect();
    if !bytes.is_ascii() {
        return Ok(Some(Categories::Unknown(offsets.len() - 1)));
    }
    let mut names = Vec::with_capacity(offsets.len() - 1);
    let mut begin = 0;
    for &end in &offsets[1..] {
        let end = usize::try_from(end).map_err(|_| wrong())?;
        let name = bytes.get(begin..end).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(wrong)?;
        names.push(name.to_owned());
        begin = end;
    }
    Ok(Some(Categories::Names(names)))
}

/// The attribute that early stopping leaves behind.
fn read_best_iteration(learner: &At<'_, '_>) -> Result<Option<usize>, LoadError> {
    let Some(attributes) = learner.find("attributes")? else { return Ok(None) };
    match attributes.find("best_iteration")? {
        Some(at) => bounded(&at, 0..=usize::MAX).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;

//! What follows the trees: importances (not kept), parameters, and the categories of the data frame.

use crate::document::shorten;
use crate::error::LoadError;

use super::model::{Category, FeatureInfo, Model};
use super::text::Lines;

const PANDAS: &str = "pandas_categorical:";

/// The end of a file.
#[derive(Debug, Default)]
pub(super) struct Trailer {
    pub(super) parameters: Vec<(String, String)>,
    pub(super) categories: Vec<Vec<Category>>,
}

impl Trailer {
    /// Reads the lines after the trees.
    pub(super) fn read(lines: &mut Lines<'_>) -> Result<Self, LoadError> {
        let mut trailer = Self::default();
        let mut last = "";
        while let Some(line) = lines.next() {
            match line {
                "" => continue,
                "parameters:" => trailer.read_parameters(lines)?,
                _ => {}
            }
            last = line;
        }
        // The Python package writes this line, as the last one; the C library ignores it.
        if let Some(json) = last.trim().strip_prefix(PANDAS) {
            trailer.categories = read_categories(json)?;
        }
        Ok(trailer)
    }

    /// Lines like `[learning_rate: 0.1]`, up to `end of parameters`.
    fn read_parameters(&mut self, lines: &mut Lines<'_>) -> Result<(), LoadError> {
        const INSIDE: &str = "the parameters";
        loop {
            let offset = lines.offset();
            match lines.next().ok_or(LoadError::Truncated { offset, inside: INSIDE })? {
                "end of parameters" => return Ok(()),
                line => {
                    let pair = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
                    if let Some((key, value)) = pair.and_then(|pair| pair.split_once(": ")) {
                        self.parameters.push((key.to_owned(), value.to_owned()));
                    }
                }
            }
        }
    }
}

fn read_categories(json: &str) -> Result<Vec<Vec<Category>>, LoadError> {
    let wrong = |problem: String| LoadError::Inconsistent { path: "pandas_categorical".into(), problem };
    let lists: Option<Vec<Vec<serde_json::Value>>> =
        serde_json::from_str(json).map_err(|error| wrong(format!("it is not a list of lists: {error}")))?;
    let category = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Ok(Category::Text(text)),
        serde_json::Value::Bool(truth) => Ok(Category::Bool(truth)),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Category::Int(whole)),
            (None, Some(other)) => Ok(Category::Float(other)),
            (None, None) => Err(wrong(format!("{number} is out of range"))),
        },
        other => Err(wrong(format!("{} is no category", shorten(&other.to_string())))),
    };
    let list = |values: Vec<serde_json::Value>| values.into_iter().map(category).collect();
    lists.unwrap_or_default().into_iter().map(list).collect()
}

/// The features that the lists of categories belong to, in their order; none when that cannot be told.
pub(super) fn match_categories(model: &Model) -> Vec<usize> {
    let named = model.parameters.iter().find(|(key, _)| key == "categorical_feature");
    let Some((_, named)) = named else { return Vec::new() };
    let Ok(mut features) =
        named.split(',').map(|number| number.trim().parse()).collect::<Result<Vec<usize>, _>>()
    else {
        return Vec::new();
    };
    features.sort_unstable();
    let fits = |(feature, list): (&usize, &Vec<Category>)| match model.feature_infos.get(*feature) {
        Some(FeatureInfo::Categories(codes)) => codes.iter().all(|&code| code < list.len() as i64),
        Some(FeatureInfo::Unused) => true,
        _ => false,
    };
    if features.len() == model.categories.len() && features.iter().zip(&model.categories).all(fits) {
        features
    } else {
        Vec::new()
    }
}

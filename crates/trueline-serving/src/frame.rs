//! The input of a prediction. A face makes it from its wire; the signature turns it into what the model takes.

use serde_json::{Map, Value as Json};
use trueline_tensors::{Tensor, Values};

/// As what the values of a request came. A model that nobody told the signature of is given them as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A table whose columns have names.
    Table,
    /// A table whose columns have numbers, from 0 on.
    Numbered,
    /// Arrays by name, which need not be columns of one table.
    Arrays,
    /// One array without a name.
    Array,
    /// A dictionary that is the model's own matter, as applications of language models send it: one row, a value each.
    Document,
}

/// What came with a request: columns of a table, arrays by name, one array, or a document. All have the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    columns: Vec<Tensor>,
    rows: usize,
    origin: Origin,
    params: Option<Map<String, Json>>,
}

impl Frame {
    /// Of named columns, which must have one length.
    ///
    /// # Errors
    /// A sentence that says which column differs.
    pub fn named(columns: Vec<Tensor>) -> Result<Self, String> {
        let rows = columns.first().map_or(0, Tensor::rows);
        if let Some(odd) = columns.iter().find(|c| c.rows() != rows) {
            let first = columns[0].name();
            return Err(format!(
                "column '{}' has {} values, column '{first}' has {rows}",
                odd.name(),
                odd.rows()
            ));
        }
        Ok(Self { columns, rows, origin: Origin::Table, params: None })
    }

    /// Of one array, whose first dimension is the rows.
    #[must_use]
    pub fn array(array: Tensor) -> Self {
        let rows = array.rows();
        Self { columns: vec![array], rows, origin: Origin::Array, params: None }
    }

    /// Its columns as arrays by name, which is what they came as.
    #[must_use]
    pub fn into_arrays(self) -> Self {
        let origin = if self.origin == Origin::Table { Origin::Arrays } else { self.origin };
        Self { origin, ..self }
    }

    /// Of the columns of a table that have no names; they are called by their numbers.
    ///
    /// # Errors
    /// As [`Frame::named`].
    pub fn numbered(columns: impl IntoIterator<Item = Values>) -> Result<Self, String> {
        let column = |(i, values): (usize, Values)| Tensor::column(i.to_string(), values);
        let columns = columns.into_iter().enumerate().map(column).collect();
        Ok(Self { origin: Origin::Numbered, ..Self::named(columns)? })
    }

    /// Of a dictionary that is the model's own matter.
    #[must_use]
    pub fn document(fields: Map<String, Json>) -> Self {
        let columns = fields.into_iter().map(|(name, value)| Tensor::column(name, Values::Json(vec![value])));
        Self { columns: columns.collect(), rows: 1, origin: Origin::Document, params: None }
    }

    /// As what it came.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The same, with other values: those that a signature makes of them.
    pub(crate) fn made_into(&self, columns: Vec<Tensor>) -> Self {
        Self { columns, ..self.clone() }
    }

    /// This input with more columns; one that it has already gives way. An array has no columns to be joined by others.
    #[must_use]
    pub fn with(&self, more: &[Tensor]) -> Self {
        let kept = self.columns.iter().filter(|c| more.iter().all(|m| m.name() != c.name()));
        let columns = kept.chain(more).cloned().collect();
        Self { columns, rows: self.rows, origin: self.origin, params: self.params.clone() }
    }

    /// This input with MLflow's `params` for the model.
    #[must_use]
    pub fn with_params(self, params: Option<Map<String, Json>>) -> Self {
        Self { params, ..self }
    }

    /// Whether a model may be asked by both at once: columns of the same names, types and further dimensions, in the same
    /// form and order, with the same params. A document is a request of its own.
    pub(crate) fn joins(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| {
            a.name() == b.name()
                && a.shape()[1..] == b.shape()[1..]
                && a.values().data_type() == b.values().data_type()
        };
        self.origin == other.origin
            && self.origin != Origin::Document
            && self.params == other.params
            && self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(alike)
    }

    /// Puts the rows of another behind these, if it is one that [`Frame::joins`] this one.
    ///
    /// # Errors
    /// A sentence that says what differs.
    pub(crate) fn append(&mut self, other: Self) -> Result<(), String> {
        if !self.joins(&other) {
            return Err("requests with other columns or params can't be answered together".to_owned());
        }
        for (own, more) in self.columns.iter_mut().zip(other.columns) {
            own.append(more).map_err(|odd| format!("column '{}' is of another type or shape", odd.name()))?;
        }
        self.rows += other.rows;
        Ok(())
    }

    /// The rows from `begin` to before `end`, of which there must be so many.
    pub(crate) fn slice(&self, begin: usize, end: usize) -> Self {
        Self {
            columns: self.columns.iter().map(|c| c.slice(begin, end)).collect(),
            rows: end - begin,
            origin: self.origin,
            params: self.params.clone(),
        }
    }

    /// MLflow's `params` for the model.
    #[must_use]
    pub fn params(&self) -> Option<&Map<String, Json>> {
        self.params.as_ref()
    }

    /// The columns or arrays, in their order.
    #[must_use]
    pub fn columns(&self) -> &[Tensor] {
        &self.columns
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Tensor> {
        self.columns.iter().find(|c| self.is_named() && c.name() == name)
    }

    /// The names of its columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().filter(|_| self.is_named()).map(|c| c.name().to_owned()).collect()
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many values a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.iter().map(Tensor::width).sum()
    }

    /// Whether its columns have names of their own.
    #[must_use]
    pub fn is_named(&self) -> bool {
        matches!(self.origin, Origin::Table | Origin::Arrays | Origin::Document)
    }

    /// The first row's value of a column; null without the column, or where it has no single value for a row.
    #[must_use]
    pub fn first_of(&self, name: &str) -> Json {
        let column = self.column(name).filter(|column| column.width() == 1 && column.rows() > 0);
        column.map_or(Json::Null, |column| column.values().json(0))
    }

    /// The values of a column that has one for each row; none of one that has several.
    #[must_use]
    pub fn cells_of(&self, column: usize) -> Option<Cells<'_>> {
        let tensor = self.columns.get(column).filter(|t| t.width() == 1)?;
        Some(Cells { tensor, place: None, at: 0 })
    }

    /// Its values column by column as a row has them, each with its name: an array's are named by their place.
    pub fn cells(&self) -> impl Iterator<Item = Cells<'_>> {
        self.columns.iter().flat_map(move |tensor| {
            (0..tensor.width()).map(move |at| Cells {
                tensor,
                place: (self.origin == Origin::Array || tensor.width() != 1).then_some(at),
                at,
            })
        })
    }
}

/// One value of each row: a column, or one place of an array's rows.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'f> {
    tensor: &'f Tensor,
    place: Option<usize>,
    at: usize,
}

impl<'f> Cells<'f> {
    /// Its name, or its place in an array.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.place, self.tensor.name()) {
            (None, name) => name.to_owned(),
            (Some(place), "") => place.to_string(),
            (Some(place), name) => format!("{name}[{place}]"),
        }
    }

    /// Where its values lie.
    #[must_use]
    pub fn values(&self) -> &'f Values {
        self.tensor.values()
    }

    /// Where among them the value of a row lies.
    #[must_use]
    pub fn index(&self, row: usize) -> usize {
        row * self.tensor.width() + self.at
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tensor.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrays_values_are_named_by_their_place() {
        let array = Tensor::new("", vec![2, 2], Values::Int64(vec![1, 2, 3, 4])).unwrap();
        let frame = Frame::array(array);
        let seen: Vec<_> = frame.cells().map(|c| (c.name(), c.index(1))).collect();
        assert_eq!(seen, [("0".to_owned(), 2), ("1".to_owned(), 3)]);
        assert_eq!((frame.rows(), frame.width()), (2, 2));
        assert!(frame.column("0").is_none() && frame.names().is_empty());
    }

    #[test]
    fn a_table_without_names_is_called_by_numbers_and_has_no_names() {
        let frame = Frame::numbered([Values::Int64(vec![1, 2]), Values::Fp64(vec![0.5, 1.5])]).unwrap();
        let seen: Vec<_> = frame.cells().map(|c| (c.name(), c.index(1))).collect();
        assert_eq!(seen, [("0".to_owned(), 1), ("1".to_owned(), 1)]);
        assert!(!frame.is_named() && frame.column("0").is_none());
    }

    #[test]
    fn a_document_is_joined_by_no_other() {
        let fields = Map::from_iter([("prompt".to_owned(), Json::from("hello"))]);
        let document = Frame::document(fields);
        assert_eq!((document.rows(), document.names()), (1, vec!["prompt".to_owned()]));
        assert!(!document.joins(&document.clone()));
    }

    #[test]
    fn columns_of_different_lengths_are_refused_by_name() {
        let column = |name: &str, n| Tensor::column(name, Values::Int64(vec![0; n]));
        let error = Frame::named(vec![column("a", 2), column("b", 1)]).unwrap_err();
        assert_eq!(error, "column 'b' has 1 values, column 'a' has 2");
    }
}

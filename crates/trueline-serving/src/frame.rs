//! The input of a prediction. A face makes it from its wire; the signature turns it into what the model takes.

use serde_json::{Map, Value as Json};
use trueline_tensors::{Tensor, Values};

/// What came with a request: named columns, or one array without a name. All have the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    columns: Vec<Tensor>,
    rows: usize,
    named: bool,
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
        Ok(Self { columns, rows, named: true, params: None })
    }

    /// Of one array, whose first dimension is the rows.
    #[must_use]
    pub fn array(array: Tensor) -> Self {
        let rows = array.rows();
        Self { columns: vec![array], rows, named: false, params: None }
    }

    /// This input with more columns; one that it has already gives way. An array has no columns to be joined by others.
    #[must_use]
    pub fn with(&self, more: &[Tensor]) -> Self {
        let kept = self.columns.iter().filter(|c| more.iter().all(|m| m.name() != c.name()));
        let columns = kept.chain(more).cloned().collect();
        Self { columns, rows: self.rows, named: self.named, params: self.params.clone() }
    }

    /// This input with MLflow's `params` for the model.
    #[must_use]
    pub fn with_params(self, params: Option<Map<String, Json>>) -> Self {
        Self { params, ..self }
    }

    /// Whether a model may be asked by both at once: columns of the same names, types and further dimensions, in the same
    /// form and order, with the same params.
    pub(crate) fn joins(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| {
            a.name() == b.name()
                && a.shape()[1..] == b.shape()[1..]
                && a.values().data_type() == b.values().data_type()
        };
        self.named == other.named
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
            named: self.named,
            params: self.params.clone(),
        }
    }

    /// MLflow's `params` for the model.
    #[must_use]
    pub fn params(&self) -> Option<&Map<String, Json>> {
        self.params.as_ref()
    }

    /// The columns, in their order; the one array, when it has no name.
    #[must_use]
    pub fn columns(&self) -> &[Tensor] {
        &self.columns
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Tensor> {
        self.columns.iter().find(|c| self.named && c.name() == name)
    }

    /// The names of its columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().filter(|_| self.named).map(|c| c.name().to_owned()).collect()
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
        self.named
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
                place: (!self.named || tensor.width() != 1).then_some(at),
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
    fn columns_of_different_lengths_are_refused_by_name() {
        let column = |name: &str, n| Tensor::column(name, Values::Int64(vec![0; n]));
        let error = Frame::named(vec![column("a", 2), column("b", 1)]).unwrap_err();
        assert_eq!(error, "column 'b' has 1 values, column 'a' has 2");
    }
}

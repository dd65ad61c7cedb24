//! The input of a prediction as columns. A face makes it from its wire; the signature turns it into what the model
//! takes.

use serde_json::Value as Json;

/// Columns of values, all of one length. Columns of a bare array have no names.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    columns: Vec<Column>,
    rows: usize,
    named: bool,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name; its place, from 0, when the input has no names.
    pub name: String,
    /// Its values.
    pub values: Vec<Json>,
}

impl Frame {
    /// Of named columns, which must have one length.
    ///
    /// # Errors
    /// A sentence that says which column differs.
    pub fn named(columns: Vec<Column>) -> Result<Self, String> {
        Self::new(columns, true)
    }

    /// Of columns without names.
    ///
    /// # Errors
    /// A sentence that says which column differs.
    pub fn unnamed(columns: Vec<Vec<Json>>) -> Result<Self, String> {
        let numbered = columns.into_iter().enumerate();
        let columns = numbered.map(|(i, values)| Column { name: i.to_string(), values });
        Self::new(columns.collect(), false)
    }

    fn new(columns: Vec<Column>, named: bool) -> Result<Self, String> {
        let rows = columns.first().map_or(0, |c| c.values.len());
        if let Some(odd) = columns.iter().find(|c| c.values.len() != rows) {
            let first = &columns[0].name;
            return Err(format!(
                "column '{}' has {} values, column '{first}' has {rows}",
                odd.name,
                odd.values.len()
            ));
        }
        Ok(Self { columns, rows, named })
    }

    /// This input with more columns; one that it has already gives way.
    #[must_use]
    pub fn with(&self, more: &[Column]) -> Self {
        let kept = self.columns.iter().filter(|c| more.iter().all(|m| m.name != c.name));
        let columns = kept.chain(more).cloned().collect();
        Self { columns, rows: self.rows, named: self.named }
    }

    /// The columns, in their order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether its columns have names of their own.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named
    }
}

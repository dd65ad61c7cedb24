//! Bodies of MLflow's scoring protocol read straight into columns, without JSON values in between: what makes most of the
//! time of a request with many rows. What is not regular is left to `body`, which reads anything and tells what is wrong.

use crate::body::unique;
use crate::column_names::ColumnNames;
use crate::lacking::Lacking;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use trueline_serving::Frame;
use trueline_tensors::{Builder, Tensor};

/// Reads a body; none when it is not regular. One whose rows lack too much is refused here, for as JSON it would only take
/// more memory before it is.
pub(crate) fn frame(body: &[u8]) -> Option<Result<Frame, String>> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    match reader.deserialize_map(Body) {
        Ok(frame) => reader.end().ok().map(|()| Ok(frame)),
        // Of errors that are not its own, serde keeps the text alone, with a place behind it.
        Err(e) => e.to_string().starts_with(Lacking::REFUSAL).then(|| Err(Lacking::REFUSAL.to_owned())),
    }
}

/// Columns for which there is room from the start, where so many are named.
const USUAL_WIDTH: usize = 1_024;

/// What serde says of a body that is left to `body`; nobody sees it.
const IRREGULAR: &str = "not regular";

macro_rules! expects {
    ($what:literal) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($what)
        }
    };
}

struct Body;

impl<'de> Visitor<'de> for Body {
    type Value = Frame;
    expects!("a body with one of the input fields");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let frame = match key.as_ref() {
                "dataframe_split" => map.next_value_seed(Split)?,
                "dataframe_records" => map.next_value_seed(Rows { records: true, arrays: false })?,
                "instances" => map.next_value_seed(Rows { records: true, arrays: true })?,
                "inputs" => map.next_value_seed(Inputs)?,
                "params" => {
                    let params: Option<HashMap<Cow<'de, str>, IgnoredAny>> = map.next_value()?;
                    if params.is_some_and(|params| !params.is_empty()) {
                        return Err(A::Error::custom(IRREGULAR));
                    }
                    continue;
                }
                // A document of a language model, whatever else is in it.
                "messages" | "prompt" | "input" => return Err(A::Error::custom(IRREGULAR)),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if found.replace(frame).is_some() {
                return Err(A::Error::custom(IRREGULAR));
            }
        }
        found.ok_or_else(|| A::Error::custom(IRREGULAR))
    }
}

/// A value of a column.
struct Cell<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Cell<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl Visitor<'_> for Cell<'_> {
    type Value = ();
    expects!("a value");

    fn visit_bool<E: Error>(self, on: bool) -> Result<(), E> {
        self.0.push_bool(on);
        Ok(())
    }
    fn visit_i64<E: Error>(self, whole: i64) -> Result<(), E> {
        self.0.push_int(whole);
        Ok(())
    }
    fn visit_u64<E: Error>(self, whole: u64) -> Result<(), E> {
        self.0.push_large(whole);
        Ok(())
    }
    fn visit_f64<E: Error>(self, float: f64) -> Result<(), E> {
        self.0.push_float(float);
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push_text(text.to_owned());
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push_missing();
        Ok(())
    }
}

/// The values of one column, in a list.
struct Column<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Column<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Column<'_> {
    type Value = ();
    expects!("a list of values");

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Cell(self.0))?.is_some() {}
        Ok(())
    }
}

/// A row whose values go to a column each; the first row says how many there are.
struct Row<'b> {
    columns: &'b mut Vec<Builder>,
    is_first: bool,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();
    expects!("a row of values");

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.is_first {
            let mut column = Builder::default();
            while list.next_element_seed(Cell(&mut column))?.is_some() {
                self.columns.push(std::mem::take(&mut column));
            }
            return Ok(());
        }
        for column in self.columns {
            list.next_element_seed(Cell(column))?.ok_or_else(|| A::Error::custom(IRREGULAR))?;
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(IRREGULAR)),
        }
    }
}

/// `[[…], …]` into columns, of which there are so many if that was said before.
struct Table {
    width: usize,
}

impl<'de> DeserializeSeed<'de> for Table {
    type Value = (usize, Vec<Builder>);
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Table {
    type Value = (usize, Vec<Builder>);
    expects!("a list of rows");

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut rows, mut columns) = (0, Vec::with_capacity(self.width.min(USUAL_WIDTH)));
        while list.next_element_seed(Row { columns: &mut columns, is_first: rows == 0 })?.is_some() {
            rows += 1;
        }
        Ok((rows, columns))
    }
}

/// `{"columns": […], "data": [[…], …], "index": […]}`
struct Split;

impl<'de> DeserializeSeed<'de> for Split {
    type Value = Frame;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Frame, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Split {
    type Value = Frame;
    expects!("a dictionary of columns and data");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let (mut names, mut data) = (None, None);
        let mut index = None::<Vec<IgnoredAny>>;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match key.as_ref() {
                "columns" => {
                    let written = map.next_value::<Option<&'de RawValue>>()?;
                    names = written.map(ColumnNames::read).transpose().map_err(A::Error::custom)?;
                }
                "data" => {
                    let width = names.as_ref().map_or(0, ColumnNames::len);
                    data = Some(map.next_value_seed(Table { width })?);
                }
                "index" => index = map.next_value()?,
                _ => return Err(A::Error::custom(IRREGULAR)),
            }
        }
        let (rows, columns) = data.ok_or_else(|| A::Error::custom(IRREGULAR))?;
        if rows == 0 || index.is_some_and(|index| index.len() != rows) {
            return Err(A::Error::custom(IRREGULAR));
        }
        let values = columns.into_iter().map(Builder::finish);
        match names {
            None => Frame::numbered(values),
            Some(names) if names.len() != values.len() => Err(IRREGULAR.to_owned()),
            Some(ColumnNames::Numbers(_)) => Frame::numbered(values),
            Some(ColumnNames::Names(names)) => {
                let named = names.iter().zip(values);
                Frame::named(named.map(|(name, values)| Tensor::column(Arc::clone(name), values)).collect())
            }
        }
        .map_err(A::Error::custom)
    }
}

/// `[{"a": 1}, …]`, or, where that is allowed, `[[1], …]` or `[1, …]`.
struct Rows {
    records: bool,
    arrays: bool,
}

impl<'de> DeserializeSeed<'de> for Rows {
    type Value = Frame;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Frame, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows {
    type Value = Frame;
    expects!("a list of rows");

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Frame, A::Error> {
        let mut gathered = Gathered { kinds: self, ..Gathered::default() };
        while list.next_element_seed(&mut gathered)?.is_some() {
            gathered.rows += 1;
        }
        gathered.finish().map_err(A::Error::custom)
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self { records: true, arrays: true }
    }
}

/// Rows of one kind, as far as they were read.
#[derive(Default)]
struct Gathered<'de> {
    kinds: Rows,
    rows: usize,
    names: Vec<Cow<'de, str>>,
    places: HashMap<Cow<'de, str>, usize>,
    columns: Vec<Builder>,
    lacking: Lacking,
    /// Values of an array, row by row, and how many a row has; none for rows of one bare value.
    values: Builder,
    width: Option<usize>,
}

impl Gathered<'_> {
    fn finish(self) -> Result<Frame, String> {
        if !self.places.is_empty() {
            let column = |(name, mut values): (Cow<'_, str>, Builder)| {
                values.fill_up_to(self.rows);
                Tensor::column(name, values.finish())
            };
            let frame = Frame::named(self.names.into_iter().zip(self.columns).map(column).collect())?;
            // Rows that may be arrays are instances, and those are arrays by name.
            return Ok(if self.kinds.arrays { frame.into_arrays() } else { frame });
        }
        // No records are a table without columns.
        if self.rows == 0 && !self.kinds.arrays {
            return Err(IRREGULAR.to_owned());
        }
        let shape = [self.rows].into_iter().chain(self.width).collect();
        Tensor::new("", shape, self.values.finish()).map(Frame::array).map_err(|_| IRREGULAR.to_owned())
    }

    fn is_fresh(&self) -> bool {
        self.rows == 0
    }

    fn bare<E: Error>(&mut self) -> Result<Cell<'_>, E> {
        let fits = self.kinds.arrays && self.places.is_empty() && self.width.is_none();
        if fits { Ok(Cell(&mut self.values)) } else { Err(E::custom(IRREGULAR)) }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Gathered<'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Gathered<'de> {
    type Value = ();
    expects!("a row");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if !self.kinds.records || (!self.is_fresh() && self.places.is_empty()) {
            return Err(A::Error::custom(IRREGULAR));
        }
        let mut given = 0;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let place = match self.places.get(&key) {
                Some(place) => *place,
                None => {
                    self.lacking.add(self.rows).map_err(A::Error::custom)?;
                    self.names.push(key.clone());
                    self.columns.push(Builder::default());
                    self.places.insert(key, self.columns.len() - 1);
                    self.columns.len() - 1
                }
            };
            let column = &mut self.columns[place];
            // A name that a record has twice would shift all that follows.
            if column.len() > self.rows {
                return Err(A::Error::custom(IRREGULAR));
            }
            column.fill_up_to(self.rows);
            map.next_value_seed(Cell(column))?;
            given += 1;
        }
        self.lacking.add(self.columns.len() - given).map_err(A::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        if !self.kinds.arrays || !self.places.is_empty() || (!self.is_fresh() && self.width.is_none()) {
            return Err(A::Error::custom(IRREGULAR));
        }
        let before = self.values.len();
        Column(&mut self.values).visit_seq(list)?;
        let width = self.values.len() - before;
        match *self.width.get_or_insert(width) == width {
            true => Ok(()),
            false => Err(A::Error::custom(IRREGULAR)),
        }
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<(), E> {
        self.bare()?.visit_bool(on)
    }
    fn visit_i64<E: Error>(self, whole: i64) -> Result<(), E> {
        self.bare()?.visit_i64(whole)
    }
    fn visit_u64<E: Error>(self, whole: u64) -> Result<(), E> {
        self.bare()?.visit_u64(whole)
    }
    fn visit_f64<E: Error>(self, float: f64) -> Result<(), E> {
        self.bare()?.visit_f64(float)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.bare()?.visit_str(text)
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.bare()?.visit_unit()
    }
}

/// A dictionary of columns, or an array.
struct Inputs;

impl<'de> DeserializeSeed<'de> for Inputs {
    type Value = Frame;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Frame, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs {
    type Value = Frame;
    expects!("columns or an array");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let mut columns = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let mut values = Builder::default();
            map.next_value_seed(Column(&mut values))?;
            columns.push(Tensor::column(name, values.finish()));
        }
        unique(columns).map(Frame::into_arrays).map_err(A::Error::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Frame, A::Error> {
        Rows { records: false, arrays: true }.visit_seq(list)
    }
}

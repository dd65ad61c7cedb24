//! Conditions in the SQL that SQLite and PostgreSQL have in common.
//!
//! The caller says where a field lies ([`Places`]); [`compile`] gives a condition to stand after `WHERE`, with
//! placeholders `?1`, `?2`, … and their values.
//!
//! - `LIKE` is case-sensitive on PostgreSQL; on SQLite the connection must say `PRAGMA case_sensitive_like = ON`. A
//!   backslash in a pattern is an ordinary character on both. `ILIKE` takes ASCII letters for their lower-case form, and
//!   no others: that is what `LOWER` does to a column on SQLite, and on PostgreSQL under the collation `"C"`.
//! - A field that is absent meets no comparison but `IS NULL`: not `!=`, not `NOT IN`.
//! - A NaN meets no comparison but `!=`.

use crate::{Comparison, Expr, Field, Number, NumberKind, Op, Value};

/// SQLite's `SQLITE_MAX_LIKE_PATTERN_LENGTH`.
pub const MAX_PATTERN_BYTES: usize = 50_000;

/// SQLite's `SQLITE_MAX_VARIABLE_NUMBER`, the smaller of the two databases' limits on placeholders.
pub const MAX_PARAMS: usize = 32_766;

/// How deep an expression may nest; SQLite allows a tree of 1000, which a condition shares with the query around it.
pub const MAX_DEPTH: usize = 100;

/// A value for a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// For a column of 64-bit integers.
    Int(i64),
    /// For a column of doubles.
    Real(f64),
    /// For a column of text.
    Text(String),
}

/// A condition and the values of its placeholders, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The SQL text; safe to join with `AND` and `OR`.
    pub sql: String,
    /// The value of the first placeholder, the second, …
    pub params: Vec<SqlValue>,
}

/// What a column holds. PostgreSQL, unlike SQLite, refuses to compare unlike types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// 64-bit integers.
    Int,
    /// Doubles.
    Real,
}

/// Where a field lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a column of the row that is searched.
    Column {
        /// The column, or an expression over the row: `r.status`.
        sql: String,
        /// What it holds.
        holds: ColumnType,
    },
    /// In rows of another table, of which one must match.
    Rows {
        /// What follows `FROM`: `params p`.
        from: String,
        /// What ties such a row to the row that is searched: `p.run_id = r.run_id`.
        on: String,
        /// The column that holds the field's key; `None` if every row that `on` picks counts.
        key: Option<String>,
        /// The column that holds the value: `p.value`.
        value: String,
        /// What that holds.
        holds: ColumnType,
        /// A condition that is true of rows whose value is NaN and stored otherwise: `m.is_nan = 1`.
        nan: Option<String>,
    },
}

/// Says where fields lie.
pub trait Places {
    /// The place of a field; `None` if there is no such field.
    fn place(&self, field: &Field) -> Option<Place>;

    /// A condition that `value` holds a match of the regular expression `pattern`, both SQL expressions. SQLite has
    /// none built in, so without this there is no `RLIKE`.
    fn regex(&self, value: &str, pattern: &str) -> Option<String> {
        let _ = (value, pattern);
        None
    }
}

/// Why an expression has no SQL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The field lies nowhere.
    #[error("There is no field {entity} '{key}' to search by.", entity = .0.entity, key = .0.key)]
    UnknownField(Field),
    /// The value is not of the field's type, or not one that the operator takes.
    #[error("The field {entity} '{key}' cannot be compared so with '{op}'. {hint}", entity = .field.entity, key = .field.key)]
    Mismatch {
        /// The field.
        field: Field,
        /// The operator.
        op: Op,
        /// What to write instead.
        hint: &'static str,
    },
    /// The database has no regular expressions.
    #[error("RLIKE is not supported by this database. Use LIKE or ILIKE.")]
    NoRegex,
    /// A pattern is longer than [`MAX_PATTERN_BYTES`].
    #[error("A pattern of {0} bytes is too long. Use at most {MAX_PATTERN_BYTES}.")]
    LongPattern(usize),
    /// There would be more than [`MAX_PARAMS`] placeholders.
    #[error("The search compares with too many values. Use at most {MAX_PARAMS}.")]
    ManyParams,
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("The search nests too deep. Use at most {MAX_DEPTH} levels.")]
    TooDeep,
}

/// Compiles an expression; its first placeholder is `?{first}`.
///
/// # Errors
/// [`SqlError`] if a field is unknown, a value is not of its type, or a limit is passed.
pub fn compile(expr: &Expr, places: &dyn Places, first: usize) -> Result<Condition, SqlError> {
    let mut compiler = Compiler { places, first, params: Vec::new() };
    let sql = compiler.expr(expr, 0)?;
    Ok(Condition { sql, params: compiler.params })
}

/// Compiles one comparison; as [`compile`].
///
/// # Errors
/// As [`compile`].
pub fn compile_comparison(
    comparison: &Comparison,
    places: &dyn Places,
    first: usize,
) -> Result<Condition, SqlError> {
    let mut compiler = Compiler { places, first, params: Vec::new() };
    let sql = compiler.comparison(comparison)?;
    Ok(Condition { sql, params: compiler.params })
}

struct Compiler<'p> {
    places: &'p dyn Places,
    first: usize,
    params: Vec<SqlValue>,
}

/// A column and what is asked of it.
struct Test<'a> {
    comparison: &'a Comparison,
    column: &'a str,
    holds: ColumnType,
}

impl Compiler<'_> {
    fn expr(&mut self, expr: &Expr, depth: usize) -> Result<String, SqlError> {
        if depth > MAX_DEPTH {
            return Err(SqlError::TooDeep);
        }
        match expr {
            Expr::And(inner) => self.all(inner, depth, "AND", "1 = 1"),
            Expr::Or(inner) => self.all(inner, depth, "OR", "1 = 0"),
            // A comparison with an absent field is NULL, and NOT NULL is NULL again.
            Expr::Not(inner) => Ok(format!("({} IS NOT TRUE)", self.expr(inner, depth + 1)?)),
            Expr::Comparison(comparison) => self.comparison(comparison),
        }
    }

    fn all(&mut self, exprs: &[Expr], depth: usize, word: &str, none: &str) -> Result<String, SqlError> {
        let parts: Result<Vec<String>, SqlError> =
            exprs.iter().map(|expr| self.expr(expr, depth + 1)).collect();
        Ok(balance(&parts?, word).unwrap_or_else(|| format!("({none})")))
    }

    fn comparison(&mut self, comparison: &Comparison) -> Result<String, SqlError> {
        let field = &comparison.field;
        let place = self.places.place(field).ok_or_else(|| SqlError::UnknownField(field.clone()))?;
        match place {
            Place::Column { sql, holds } => self.test(&Test { comparison, column: &sql, holds }),
            Place::Rows { from, on, key, value, holds, nan } => {
                let mut conditions = vec![on];
                if let Some(key) = key {
                    let placeholder = self.bind(SqlValue::Text(field.key.clone()))?;
                    conditions.push(format!("{key} = {placeholder}"));
                }
                let not = if comparison.op == Op::IsNull { "NOT " } else { "" };
                if !matches!(comparison.op, Op::IsNull | Op::IsNotNull) {
                    let test = self.test(&Test { comparison, column: &value, holds })?;
                    conditions.push(match (nan, comparison.op) {
                        (None, _) => test,
                        (Some(nan), Op::Ne) => format!("({test} OR {nan})"),
                        (Some(nan), _) => format!("{test} AND NOT ({nan})"),
                    });
                }
                Ok(format!("({not}EXISTS (SELECT 1 FROM {from} WHERE {}))", conditions.join(" AND ")))
            }
        }
    }

    fn test(&mut self, test: &Test<'_>) -> Result<String, SqlError> {
        let Test { comparison: Comparison { op, value, .. }, column, .. } = test;
        match (op, value) {
            (Op::IsNull | Op::IsNotNull, _) => Ok(format!("({column} {op})")),
            (Op::Like | Op::ILike | Op::RLike, Some(Value::Text(pattern))) => self.pattern(test, pattern),
            (Op::In | Op::NotIn, Some(Value::List(texts))) => self.list(test, texts),
            (Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge, Some(Value::Number(number))) => {
                self.number(test, number)
            }
            (Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge, Some(Value::Text(text))) => {
                let value = text_value(test, text)?;
                Ok(format!("({column} {op} {})", self.bind(value)?))
            }
            (Op::In | Op::NotIn, _) => Err(mismatch(test, "Give a list of quoted strings.")),
            (Op::Like | Op::ILike | Op::RLike, _) => Err(mismatch(test, "Give a quoted pattern.")),
            _ => Err(mismatch(test, "Give one value.")),
        }
    }

    fn number(&mut self, test: &Test<'_>, number: &Number) -> Result<String, SqlError> {
        let Test { comparison: Comparison { op, .. }, column, holds } = test;
        let value = match (holds, number.kind) {
            (ColumnType::Text, _) => return Err(mismatch(test, "Give a quoted string.")),
            (ColumnType::Int, NumberKind::Int(int)) => SqlValue::Int(int),
            (ColumnType::Int, NumberKind::Real(real)) => {
                let placeholder = self.bind(SqlValue::Real(real))?;
                let double = |sql: &str| format!("CAST({sql} AS DOUBLE PRECISION)");
                return Ok(format!("({} {op} {})", double(column), double(&placeholder)));
            }
            (ColumnType::Real, _) => SqlValue::Real(number.as_f64()),
        };
        Ok(format!("({column} {op} {})", self.bind(value)?))
    }

    fn pattern(&mut self, test: &Test<'_>, pattern: &str) -> Result<String, SqlError> {
        let Test { comparison: Comparison { op, .. }, column, holds } = test;
        if *holds != ColumnType::Text {
            return Err(mismatch(test, "Patterns are for text."));
        }
        if *op == Op::RLike {
            let placeholder = self.bind(SqlValue::Text(pattern.to_owned()))?;
            return self.places.regex(column, &placeholder).ok_or(SqlError::NoRegex);
        }
        // PostgreSQL escapes with a backslash unasked, SQLite does not; asked for on both and doubled, it is literal.
        let pattern = pattern.replace('\\', "\\\\");
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(SqlError::LongPattern(pattern.len()));
        }
        if *op == Op::ILike {
            let placeholder = self.bind(SqlValue::Text(pattern.to_ascii_lowercase()))?;
            return Ok(format!("(LOWER({column}) LIKE {placeholder} ESCAPE '\\')"));
        }
        let placeholder = self.bind(SqlValue::Text(pattern))?;
        Ok(format!("({column} LIKE {placeholder} ESCAPE '\\')"))
    }

    fn list(&mut self, test: &Test<'_>, texts: &[String]) -> Result<String, SqlError> {
        let Test { comparison: Comparison { op, .. }, column, .. } = test;
        if texts.is_empty() {
            return Err(mismatch(test, "Give at least one string."));
        }
        let mut placeholders = Vec::with_capacity(texts.len());
        for text in texts {
            let value = text_value(test, text)?;
            placeholders.push(self.bind(value)?);
        }
        Ok(format!("({column} {op} ({}))", placeholders.join(", ")))
    }

    fn bind(&mut self, value: SqlValue) -> Result<String, SqlError> {
        let number = self.first + self.params.len();
        if number > MAX_PARAMS {
            return Err(SqlError::ManyParams);
        }
        self.params.push(value);
        Ok(format!("?{number}"))
    }
}

fn mismatch(test: &Test<'_>, hint: &'static str) -> SqlError {
    SqlError::Mismatch { field: test.comparison.field.clone(), op: test.comparison.op, hint }
}

/// A string for a column; one of integers takes it if it is one, since MLflow writes ids as strings.
fn text_value(test: &Test<'_>, text: &str) -> Result<SqlValue, SqlError> {
    match test.holds {
        ColumnType::Text => Ok(SqlValue::Text(text.to_owned())),
        ColumnType::Int => {
            text.parse().map(SqlValue::Int).map_err(|_| mismatch(test, "Give a whole number."))
        }
        ColumnType::Real => Err(mismatch(test, "Give a number without quotes.")),
    }
}

/// Joins conditions into a balanced tree: a flat chain of a thousand is too deep for SQLite.
fn balance(parts: &[String], word: &str) -> Option<String> {
    match parts {
        [] => None,
        [only] => Some(only.clone()),
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            Some(format!("({} {word} {})", balance(left, word)?, balance(right, word)?))
        }
    }
}

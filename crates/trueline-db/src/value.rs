//! The four kinds of value that both databases share, and how they become Rust values. NaN is not among
//! them: SQLite keeps NULL in its place, so a domain that has NaN stores it in a column of its own.

use crate::DbError;
use postgres::types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BIGINT.
    Int(i64),
    /// DOUBLE PRECISION, never NaN.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BYTEA.
    Bytes(Vec<u8>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Int(_) => "an integer",
            Self::Real(_) => "a number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

macro_rules! from {
    ($($t:ty => $v:expr),* $(,)?) => { $(
        impl From<$t> for Value {
            fn from(v: $t) -> Self {
                #[allow(clippy::redundant_closure_call)]
                ($v)(v)
            }
        }
    )* };
}

from! {
    i64 => Value::Int,
    i32 => |v| Value::Int(i64::from(v)),
    u32 => |v| Value::Int(i64::from(v)),
    bool => |v| Value::Int(i64::from(v)),
    f64 => Value::Real,
    String => Value::Text,
    &str => |v: &str| Value::Text(v.to_owned()),
    &String => |v: &String| Value::Text(v.clone()),
    Vec<u8> => Value::Bytes,
    &[u8] => |v: &[u8]| Value::Bytes(v.to_vec()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// A Rust type that a column can be read as.
pub trait FromValue: Sized {
    /// Reads `value`, which came from `column`.
    ///
    /// # Errors
    /// [`DbError::Type`] when it is of another kind.
    fn from_value(value: Value, column: usize) -> Result<Self, DbError>;
}

macro_rules! from_value {
    ($($t:ty, $expected:literal, $pattern:pat => $out:expr);* $(;)?) => { $(
        impl FromValue for $t {
            fn from_value(value: Value, column: usize) -> Result<Self, DbError> {
                match value {
                    $pattern => Ok($out),
                    other => Err(DbError::Type { column, found: other.kind(), expected: $expected }),
                }
            }
        }
    )* };
}

from_value! {
    i64, "an integer", Value::Int(v) => v;
    bool, "an integer", Value::Int(v) => v != 0;
    String, "text", Value::Text(v) => v;
    Vec<u8>, "bytes", Value::Bytes(v) => v;
}

impl FromValue for Value {
    fn from_value(value: Value, _: usize) -> Result<Self, DbError> {
        Ok(value)
    }
}

impl FromValue for f64 {
    #[allow(clippy::cast_precision_loss)]
    fn from_value(value: Value, column: usize) -> Result<Self, DbError> {
        match value {
            Value::Real(v) => Ok(v),
            Value::Int(v) => Ok(v as f64),
            other => Err(DbError::Type { column, found: other.kind(), expected: "a number" }),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value, column: usize) -> Result<Self, DbError> {
        match value {
            Value::Null => Ok(None),
            other => T::from_value(other, column).map(Some),
        }
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(v) => ValueRef::Integer(*v),
            Self::Real(v) => ValueRef::Real(*v),
            Self::Text(v) => ValueRef::Text(v.as_bytes()),
            Self::Bytes(v) => ValueRef::Blob(v),
        }))
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(v), &Type::FLOAT8) =>
            {
                #[allow(clippy::cast_precision_loss)]
                (*v as f64).to_sql(ty, out)
            }
            (Self::Int(v), &Type::INT4) => i32::try_from(*v)?.to_sql(ty, out),
            (Self::Int(v), _) => v.to_sql(ty, out),
            (Self::Real(v), _) => v.to_sql(ty, out),
            (Self::Text(v), _) => v.to_sql(ty, out),
            (Self::Bytes(v), _) => v.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::INT8 | Type::INT4 | Type::FLOAT8 | Type::TEXT | Type::VARCHAR | Type::BYTEA | Type::BOOL
        )
    }

    to_sql_checked!();
}

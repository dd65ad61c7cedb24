//! `text REGEXP pattern` on SQLite, which has the operator but no function behind it. PostgreSQL writes `text ~ pattern`.

use regex::Regex;
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use std::sync::Arc;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Gives a connection the function. A pattern is compiled once for a statement; one that is none is an error.
pub(crate) fn install(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("regexp", 2, flags, |context| {
        let pattern = compiled(context)?;
        let text: Option<&str> =
            context.get_raw(1).as_str_or_null().map_err(|e| rusqlite::Error::UserFunctionError(e.into()))?;
        Ok(text.map(|text| pattern.is_match(text)))
    })
}

fn compiled(context: &Context<'_>) -> rusqlite::Result<Arc<Regex>> {
    context.get_or_create_aux(0, |pattern| -> Result<Regex, Fault> { Ok(Regex::new(pattern.as_str()?)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: Option<&str>, pattern: &str) -> rusqlite::Result<Option<bool>> {
        let connection = Connection::open_in_memory()?;
        install(&connection)?;
        connection.query_row("SELECT ?1 REGEXP ?2", (text, pattern), |row| row.get(0))
    }

    #[test]
    fn a_pattern_is_searched_for_anywhere_in_the_text() {
        assert_eq!(matches(Some("hello world"), "o w"), Ok(Some(true)));
        assert_eq!(matches(Some("hello world"), "^world"), Ok(Some(false)));
        assert_eq!(matches(None, "x"), Ok(None));
    }

    #[test]
    fn a_pattern_that_is_none_is_an_error() {
        assert!(matches(Some("x"), "(").is_err());
    }
}

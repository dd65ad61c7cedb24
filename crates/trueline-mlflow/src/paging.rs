//! Filters, orders and page tokens as MLflow writes them. A token is base64 of `{"offset": N}`.

use crate::error::{Code, WireError};
use crate::fields::Fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use trueline_search::Expr;
use trueline_search::mlflow::{self, Kind, OrderBy};

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paging {
    pub(crate) offset: u64,
    pub(crate) limit: u64,
}

impl Paging {
    /// Reads `max_results` and `page_token`.
    pub(crate) fn read(fields: &Fields, default: i64, most: i64) -> Result<Self, WireError> {
        let limit = fields.integer("max_results")?.unwrap_or(default);
        if limit < 1 {
            return Err(WireError::invalid(format!(
                "Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer"
            )));
        }
        if limit > most {
            return Err(WireError::invalid(format!(
                "Invalid value {limit} for parameter 'max_results' supplied. It must be at most {most}"
            )));
        }
        Ok(Self { offset: Self::offset_of(fields)?, limit: limit.unsigned_abs() })
    }

    /// Where the page begins that `page_token` names.
    pub(crate) fn offset_of(fields: &Fields) -> Result<u64, WireError> {
        fields.given("page_token")?.map_or(Ok(0), |token| offset(&token))
    }

    /// The token of the page after this one, when there is one.
    pub(crate) fn next_token(&self, more: bool) -> Option<String> {
        let offset = self.offset + self.limit;
        // With the space, as Python writes it.
        more.then(|| STANDARD.encode(format!("{{\"offset\": {offset}}}")))
    }
}

fn offset(token: &str) -> Result<u64, WireError> {
    let bad = |why: &str| WireError::invalid(format!("Invalid page token, {why}"));
    let bytes = STANDARD.decode(token).map_err(|_| bad("could not base64-decode"))?;
    let parsed: Json = serde_json::from_slice(&bytes).map_err(|_| bad("parsed value is not JSON"))?;
    match parsed.get("offset").unwrap_or(&json!(null)).as_u64() {
        Some(offset) => Ok(offset),
        None => Err(bad("no offset in it")),
    }
}

fn refused(error: &mlflow::FilterError) -> WireError {
    let code = match error.code() {
        "INTERNAL_ERROR" => Code::InternalError,
        _ => Code::InvalidParameterValue,
    };
    WireError::new(code, error.to_string())
}

/// The field `filter` in MLflow's grammar.
pub(crate) fn filter(kind: Kind, fields: &Fields) -> Result<Expr, WireError> {
    parsed_filter(kind, &fields.text_or_empty("filter")?)
}

/// A filter of another name.
pub(crate) fn parsed_filter(kind: Kind, text: &str) -> Result<Expr, WireError> {
    mlflow::parse_filter(kind, text).map_err(|e| refused(&e))
}

/// A filter of issues.
pub(crate) fn issue_filter(text: &str) -> Result<Expr, WireError> {
    mlflow::parse_issue_filter(text).map_err(|e| refused(&e))
}

/// The field `order_by` in MLflow's grammar.
pub(crate) fn order_by(kind: Kind, fields: &Fields) -> Result<Vec<OrderBy>, WireError> {
    parsed_order(kind, &fields.texts("order_by")?)
}

/// Orders that were read already.
pub(crate) fn parsed_order(kind: Kind, texts: &[String]) -> Result<Vec<OrderBy>, WireError> {
    mlflow::parse_order_by_list(kind, texts).map_err(|e| refused(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_mlflow() {
        let page = Paging { offset: 0, limit: 1 };
        assert_eq!(page.next_token(true).as_deref(), Some("eyJvZmZzZXQiOiAxfQ=="));
        assert_eq!(offset("eyJvZmZzZXQiOiAxfQ==").unwrap(), 1);
        let told = format!("{:?}", offset("%%").unwrap_err());
        assert!(told.contains("Invalid page token, could not base64-decode"), "{told}");
    }
}

//! What an export must tell that it leaves behind.

use crate::WebhookError;
use trueline_db::Tx;
use trueline_identity::{Authorized, ReadProject};

/// How many webhooks a project has.
///
/// # Errors
/// What the database says.
pub fn count(tx: &mut Tx<'_>, leave: &Authorized<ReadProject>) -> Result<u64, WebhookError> {
    let sql = "SELECT COUNT(*) FROM webhooks WHERE project = ?1 AND deleted_at_ms IS NULL";
    let count: Option<i64> = tx.scalar(sql, &[leave.project().into()])?;
    Ok(count.unwrap_or(0).unsigned_abs())
}

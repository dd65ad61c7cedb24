//! What the database notes of a bucket, in two tables which say nothing that the bucket does not: uploads that were begun
//! and not ended yet, so that what a crash or a client left is given up after a day, and digests of objects by their ETag,
//! so that an object is read once and not whenever somebody looks whether it has changed.

use crate::TrackingError;
use trueline_blobs::Bucket;
use trueline_ledger::{Ledger, Millis};

/// What is known of a bucket's objects in the database.
#[derive(Clone, Copy)]
pub(crate) struct Notes<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) bucket: &'a Bucket,
}

impl Notes<'_> {
    pub(crate) async fn digest(self, path: &str, etag: &str) -> Result<Option<String>, TrackingError> {
        let (place, path, etag) = (self.bucket.uri(), path.to_owned(), etag.to_owned());
        let found = self.ledger.db().read(move |tx| {
            tx.query_opt(
                "SELECT sha256 FROM object_digests WHERE place = ?1 AND path = ?2 AND etag = ?3",
                &[(&place).into(), (&path).into(), (&etag).into()],
            )
        });
        let found: Option<trueline_db::Row> = found.await?;
        Ok(found.map(|mut row| row.take(0)).transpose()?)
    }

    /// Remembers the digest of an object. Without an ETag nobody could tell whether it is still true.
    pub(crate) async fn measured(self, path: &str, etag: &str, sha256: &str) -> Result<(), TrackingError> {
        if etag.is_empty() {
            return Ok(());
        }
        let (place, path, etag) = (self.bucket.uri(), path.to_owned(), etag.to_owned());
        let sha256 = sha256.to_owned();
        let noted = self.ledger.db().bookkeep(move |tx| {
            tx.execute(
                "INSERT INTO object_digests (place, path, etag, sha256) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (place, path) DO UPDATE SET etag = excluded.etag, sha256 = excluded.sha256",
                &[(&place).into(), (&path).into(), (&etag).into(), (&sha256).into()],
            )
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    pub(crate) async fn begun(self, path: &str, id: &str) -> Result<(), TrackingError> {
        let (place, path, id) = (self.bucket.uri(), path.to_owned(), id.to_owned());
        let now = self.ledger.sources().now();
        let noted = self.ledger.db().bookkeep(move |tx| {
            tx.execute(
                "INSERT INTO bucket_uploads (place, id, path, begun_at_ms) VALUES (?1, ?2, ?3, ?4)",
                &[(&place).into(), (&id).into(), (&path).into(), now.into()],
            )
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    pub(crate) async fn ended(self, id: &str) -> Result<(), TrackingError> {
        let (place, id) = (self.bucket.uri(), id.to_owned());
        let noted = self.ledger.db().bookkeep(move |tx| {
            let statement = "DELETE FROM bucket_uploads WHERE place = ?1 AND id = ?2";
            tx.execute(statement, &[(&place).into(), (&id).into()])
        });
        let _: u64 = noted.await?;
        Ok(())
    }

    /// Id and path of uploads that were begun before a time.
    pub(crate) async fn begun_before(self, time: Millis) -> Result<Vec<(String, String)>, TrackingError> {
        let place = self.bucket.uri();
        let found = self.ledger.db().read(move |tx| {
            let statement = "SELECT id, path FROM bucket_uploads WHERE place = ?1 AND begun_at_ms < ?2";
            let rows = tx.query(statement, &[(&place).into(), time.into()])?;
            rows.into_iter().map(|mut row| Ok((row.take(0)?, row.take(1)?))).collect()
        });
        found.await
    }
}

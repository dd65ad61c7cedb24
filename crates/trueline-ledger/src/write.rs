//! The door itself: `ledger.write(actor, |tx| …)`.

use crate::event::{Entry, payload_digest};
use crate::lineage::Edge;
use crate::sequencer::Wake;
use crate::{Actor, EventId, LedgerError, Millis, NewEvent, Sources};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use trueline_db::{Db, DbError, Tx};

/// The ledger of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    db: Db,
    sources: Sources,
    wake: Wake,
}

/// What is fixed before a job runs, so that a second run of it gives the same ids.
struct Context {
    actor: Actor,
    at: Millis,
    seed: [u8; 32],
}

/// A transaction that can record events and lineage besides changing rows.
pub struct LedgerTx<'a, 'c> {
    tx: &'a mut Tx<'c>,
    context: &'a Context,
    emitted: u32,
}

impl Ledger {
    /// The ledger over `db`. The sequencer is started apart from it, by one process.
    #[must_use]
    pub fn new(db: Db, sources: Sources) -> Self {
        Self { db, sources, wake: Wake::default() }
    }

    /// The database, for reads.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The clock and randomness of this server.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Runs `job` in one transaction; its rows, edges and events commit together, or nothing does.
    ///
    /// A job that changes no row needs no event (a repeated request, for example). The job may run more than
    /// once, so it touches nothing but its transaction.
    ///
    /// # Errors
    /// The job's own, or [`LedgerError`] turned into it.
    pub async fn write<T, E, F>(&self, actor: &Actor, job: F) -> Result<T, E>
    where
        F: Fn(&mut LedgerTx<'_, '_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<LedgerError> + From<DbError> + Send + 'static,
    {
        let context =
            Arc::new(Context { actor: actor.clone(), at: self.sources.now(), seed: self.sources.bytes() });
        let done = self
            .db
            .write(move |tx: &mut Tx<'_>| {
                let mut ledger_tx = LedgerTx { tx, context: &context, emitted: 0 };
                let value = job(&mut ledger_tx)?;
                let emitted = ledger_tx.emitted;
                if emitted == 0 && tx.changed() > 0 {
                    return Err(E::from(LedgerError::Silent { rows: tx.changed() }));
                }
                Ok((value, emitted))
            })
            .await;
        done.map(|(value, emitted)| {
            if emitted > 0 {
                self.wake.ring();
            }
            value
        })
    }

    /// Writes high-volume rows whose digest is recorded by a later event; to the named tables alone.
    ///
    /// # Errors
    /// The job's own, and when it writes elsewhere.
    pub async fn write_summarised<T, E, F>(&self, tables: &'static [&'static str], job: F) -> Result<T, E>
    where
        F: Fn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.db.write_only(tables, job).await
    }
}

impl<'c> LedgerTx<'_, 'c> {
    /// When this change happens, by the wall clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.context.at
    }

    /// Who makes it.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.context.actor
    }

    /// A fresh id of 32 hexadecimal digits, the same when the job is run again.
    #[must_use]
    pub fn derived_id(&self, purpose: &str) -> String {
        payload_digest(&self.context.seed, purpose)[..32].to_owned()
    }

    /// Records that something happened.
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`], or what the database says.
    pub fn emit(&mut self, event: NewEvent) -> Result<EventId, LedgerError> {
        let n = self.emitted;
        let id = self.derived_id(&format!("event {n}"));
        let salt = self.derived_id(&format!("salt {n}")).into_bytes();
        let body = event.payload.to_string();
        let actor = &self.context.actor;
        let entry = Entry {
            action: event.action.to_owned(),
            actor: actor.principal.clone(),
            at_ms: self.context.at,
            decision: actor.decision.clone(),
            id: id.clone(),
            on_behalf_of: actor.on_behalf_of.clone(),
            payload: payload_digest(&salt, &body),
            project: event.project.as_str().to_owned(),
            request: actor.request.clone(),
            resource: event.resource,
            v: 1,
        };
        let leaf = entry.encode()?;
        self.tx.insert(
            "INSERT INTO ledger_events
                 (id, project, at_ms, actor, action, resource_kind, resource_id, entry)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            vec![
                id.as_str().into(),
                entry.project.into(),
                entry.at_ms.into(),
                entry.actor.into(),
                entry.action.into(),
                entry.resource.kind.into(),
                entry.resource.id.into(),
                leaf.into(),
            ],
        )?;
        self.tx.insert(
            "INSERT INTO ledger_payloads (event_id, salt, body) VALUES (?1, ?2, ?3)",
            vec![id.as_str().into(), salt.into(), body.into()],
        )?;
        self.emitted += 1;
        Ok(id)
    }

    /// The place in the order of commit of an event that this transaction recorded.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], or what the database says.
    pub fn place(&mut self, event: &EventId) -> Result<i64, LedgerError> {
        let seq = self.tx.scalar("SELECT seq FROM ledger_events WHERE id = ?1", &[event.into()])?;
        seq.ok_or_else(|| LedgerError::NotFound(event.clone()))
    }

    /// Records that one thing came from another, under the event that says so.
    ///
    /// # Errors
    /// What the database says.
    pub fn link(&mut self, event: &EventId, edge: &Edge) -> Result<(), LedgerError> {
        edge.insert(self.tx, event)
    }
}

impl<'c> Deref for LedgerTx<'_, 'c> {
    type Target = Tx<'c>;

    fn deref(&self) -> &Tx<'c> {
        self.tx
    }
}

impl DerefMut for LedgerTx<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.tx
    }
}

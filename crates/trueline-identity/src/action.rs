//! The actions that the policy knows, as types, and the proof that one was allowed.

use crate::Caller;
use std::marker::PhantomData;
use trueline_ledger::{Actor, ProjectId};

/// Something that one may or may not do in a project.
pub trait Action: Send + Sync + 'static {
    /// Its name in the policy.
    const NAME: &'static str;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $( $(#[$doc])* #[derive(Clone, Copy, Debug)] pub struct $name;
           impl Action for $name { const NAME: &'static str = $text; } )*
        /// Every action by name, for the policy's tests.
        #[cfg(test)]
        pub(crate) const NAMES: &[&str] = &[$($text),*];
    };
}

actions! {
    /// See what a project holds.
    ReadProject = "project.read";
    /// Create and change experiments, runs and their data.
    WriteTracking = "tracking.write";
    /// Add dataset versions, declare features, make training sets, feed the online store.
    WriteData = "data.write";
    /// Create and change models, versions, tags and aliases.
    RegisterModel = "registry.write";
    /// Have a version's gates judged; the server measures, so whoever asks can't colour the answer.
    JudgeVersion = "version.judge";
    /// Declare what a model's versions must pass: gates, approvals, protected aliases.
    DeclarePolicy = "release_policy.declare";
    /// Approve or reject a version; always by a person with a token.
    Approve = "version.approve";
    /// Create endpoints, route traffic to versions, roll back.
    Deploy = "endpoint.deploy";
    /// Ask an endpoint for predictions and tell it labels.
    Predict = "endpoint.predict";
    /// Say when a prediction or label happened, to send past traffic again.
    Replay = "endpoint.replay";
    /// Declare pipelines: commands that the server will run.
    DeclarePipeline = "pipeline.declare";
    /// Start and cancel runs of pipelines.
    RunPipeline = "pipeline.run";
    /// Declare monitors, note down and resolve incidents.
    Watch = "monitor.write";
    /// Declare webhooks: addresses outside that are told what happens in the project.
    ManageWebhooks = "webhooks.manage";
    /// Read events.
    ReadLedger = "ledger.read";
    /// Check the log against the database.
    VerifyLedger = "ledger.verify";
    /// Erase the payload of an event.
    EraseEvent = "ledger.erase";
    /// See a single resource.
    ReadResource = "resource.read";
    /// Use a single resource.
    UseResource = "resource.use";
    /// Change a single resource.
    UpdateResource = "resource.update";
    /// Delete a single resource.
    DeleteResource = "resource.delete";
    /// Say who may do what with a single resource, or with a workspace.
    ManageResource = "resource.manage";
    /// Create and rename projects.
    ManageProjects = "projects.manage";
    /// Have what was deleted removed for good, and collect blobs that nothing refers to.
    CollectStorage = "storage.collect";
    /// Create users, tokens and role grants.
    ManageUsers = "users.manage";
}

/// Leave to do `A` in one project, given by the policy to one caller. It can't be made elsewhere.
#[derive(Debug)]
pub struct Authorized<A: Action> {
    project: ProjectId,
    actor: Actor,
    action: PhantomData<A>,
}

impl<A: Action> Clone for Authorized<A> {
    fn clone(&self) -> Self {
        Self { project: self.project.clone(), actor: self.actor.clone(), action: PhantomData }
    }
}

impl<A: Action> Authorized<A> {
    pub(crate) fn mint(caller: &Caller, project: &ProjectId, decision: &str) -> Self {
        let actor = Actor {
            principal: caller.principal(),
            on_behalf_of: None,
            decision: Some(decision.to_owned()),
            request: caller.request().map(ToOwned::to_owned),
        };
        Self { project: project.clone(), actor, action: PhantomData }
    }

    /// The project it holds for.
    #[must_use]
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// Who acts, for the ledger.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

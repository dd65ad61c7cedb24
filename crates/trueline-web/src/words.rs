//! What an event says, in words: `run.created` on run `brisk-owl` reads "created run brisk-owl".

/// The verb of an event's action, to stand between who and what. An unknown action is told by its own name.
#[must_use]
pub fn verb(action: &str) -> String {
    let known = match action {
        "run.logged" => "logged params, metrics or tags to",
        "run.inputs_logged" => "logged the inputs of",
        "run.outputs_logged" => "logged the outputs of",
        "run.captured" => "captured code and environment of",
        "logged_model.params_logged" => "logged params to",
        "logged_model.finalized" => "finished",
        "artifact.written" => "wrote",
        "version.staged" => "changed the stage of",
        "version.described" | "model.described" => "described",
        "version.approved" => "approved",
        "version.rejected" => "rejected",
        "dataset.version_added" => "added",
        "feature_view.materialised" => "loaded",
        "version.judged" => "judged the gates of",
        "version.decision_withdrawn" => "withdrew a decision on",
        "release_policy.declared" => "declared the release policy of",
        "endpoint.deployed" => "changed the versions behind",
        "endpoint.shifted" => "shifted traffic of",
        "endpoint.promoted" => "promoted the candidate of",
        "endpoint.followed" => "followed an alias with",
        "endpoint.not_followed" => "could not move",
        "endpoint.rehearsed" => "rehearsed a version on the traffic of",
        "endpoint.allotted" => "allotted the traffic of",
        "bandit.proposed" => "proposed the end of",
        "rollout.held" => "put on hold the",
        "pipeline.run.succeeded" | "pipeline.step.succeeded" => "finished",
        "pipeline.run.failed" | "pipeline.step.failed" => "failed in",
        "alert.firing" => "raised",
        "monitor.window_closed" => "judged a window of",
        "monitor.reference_set" => "learnt the reference of",
        "incident.action" => "added an action to",
        "incident.noted" => "added a note to",
        "metrics.sealed" => "sealed the metrics of",
        "predictions.claimed" => "took as its own",
        "predictions.archive_deleted" => "deleted from the archive",
        "alias.set" => "pointed",
        "alias.deleted" => "removed",
        "role.granted" => "granted a role to",
        "role.revoked" => "took a role from",
        "task.done" => "finished",
        "task.retried" => "will retry",
        "task.failed" => "gave up on",
        "payload.erased" | "event.erased" => "erased the payload of",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    // "tagged", "created", "renamed": the past tense is the verb already.
    action.rsplit_once('.').map_or(action, |(_, verb)| verb).replace('_', " ")
}

/// What is told on the home page: what somebody decided or should know of, not each file and task that came with it.
pub const NOTABLE: [&str; 37] = [
    "alias.deleted",
    "alias.set",
    "bandit.finished",
    "bandit.proposed",
    "bandit.started",
    "endpoint.created",
    "endpoint.deployed",
    "endpoint.followed",
    "endpoint.not_followed",
    "endpoint.promoted",
    "endpoint.rolled_back",
    "endpoint.shifted",
    "event.erased",
    "experiment.created",
    "feature_view.declared",
    "incident.noted",
    "incident.opened",
    "incident.resolved",
    "ledger.verified",
    "model.created",
    "model.deleted",
    "model.renamed",
    "monitor.created",
    "pipeline.created",
    "pipeline.run.failed",
    "pipeline.run.started",
    "pipeline.run.succeeded",
    "project.created",
    "release_policy.declared",
    "rollout.held",
    "run.reproduced",
    "version.approved",
    "version.decision_withdrawn",
    "version.deleted",
    "version.judged",
    "version.registered",
    "version.rejected",
];

/// What a monitor measured, as people say it: `psi:dewp@flight-delay/1` reads "drift of dewp in flight-delay/1".
#[must_use]
pub fn subject(text: &str) -> String {
    let (measured, version) = text.split_once('@').map_or((text, None), |(m, v)| (m, Some(v)));
    let words = match measured.split_once(':') {
        Some(("psi", feature)) => format!("drift of {feature}"),
        Some(("missing", feature)) => format!("missing values of {feature}"),
        Some(("quality", metric)) => quality(metric),
        _ => measured.to_owned(),
    };
    match version {
        Some(version) => format!("{words} in {version}"),
        None => words,
    }
}

fn quality(metric: &str) -> String {
    match metric {
        "auc" => "AUC".to_owned(),
        "log_loss" => "log loss".to_owned(),
        "brier" => "Brier score".to_owned(),
        other => other.replace('_', " "),
    }
}

/// The noun of a resource's kind: `logged_model` reads "logged model".
#[must_use]
pub fn noun(kind: &str) -> String {
    kind.replace('_', " ")
}

/// Who, without the prefix that only machines need: `user:ann` reads "ann".
#[must_use]
pub fn person(actor: &str) -> &str {
    actor.strip_prefix("user:").unwrap_or(actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_reads_as_a_verb() {
        assert_eq!(verb("run.created"), "created");
        assert_eq!(verb("alias.set"), "pointed");
        assert_eq!(verb("endpoint.scaled_down"), "scaled down");
        assert_eq!(verb("predictions.sealed"), "sealed");
        assert_eq!(subject("psi:dewp@flight-delay/1"), "drift of dewp in flight-delay/1");
        assert_eq!(subject("quality:log_loss"), "log loss");
        assert_eq!(noun("logged_model"), "logged model");
        assert_eq!(person("user:ann"), "ann");
        assert_eq!(person("system:tasks"), "system:tasks");
    }
}

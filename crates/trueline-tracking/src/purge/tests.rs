//! What a purge takes, keeps back and leaves, on both databases.

use super::{PurgeOrder, Purged, Referrers};
use crate::model::{KeyValue, Lifecycle, LoggedMetric, RunStatus, RunUpdate};
use crate::test_house::{DAY, House, on_both};
use crate::{Batch, MetricPoint, NewLoggedModel, TrackingError};
use std::collections::BTreeSet;
use std::sync::Arc;
use trueline_db::{DbError, Tx};
use trueline_ledger::{Actor, Clock, ProjectId};

/// Keeps back what is named.
#[derive(Clone, Debug, Default)]
struct Named(BTreeSet<String>);

impl Referrers for Named {
    fn runs(&self, _: &mut Tx<'_>, _: &ProjectId, ids: &[String]) -> Result<BTreeSet<String>, DbError> {
        Ok(ids.iter().filter(|id| self.0.contains(*id)).cloned().collect())
    }

    fn logged_models(
        &self,
        tx: &mut Tx<'_>,
        p: &ProjectId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, DbError> {
        self.runs(tx, p, ids)
    }
}

impl House {
    fn order(&self, days: i64, kept: &[&str]) -> PurgeOrder {
        PurgeOrder {
            project: ProjectId::default_project(),
            deleted_until_ms: self.clock.now() - days * DAY,
            actor: Actor::system("collector"),
            referrers: Arc::new(Named(kept.iter().map(|id| (*id).to_owned()).collect())),
        }
    }

    async fn events(&self, action: &'static str) -> Vec<(String, serde_json::Value)> {
        let sql =
            "SELECT e.resource_id, p.body FROM ledger_events e JOIN ledger_payloads p ON p.event_id = e.id
                   WHERE e.action = ?1 ORDER BY e.seq";
        let found = self.tracking.ledger.db().read(move |tx| {
            let rows = tx.query(sql, &[action.into()])?;
            let read = |mut row: trueline_db::Row| {
                let (id, body): (String, String) = (row.take(0)?, row.take(1)?);
                Ok::<_, DbError>((id, serde_json::from_str(&body).unwrap()))
            };
            rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        found.await.unwrap()
    }
}

/// The tables that hold something of a run.
const OF_RUNS: [&str; 9] = [
    "runs",
    "run_editions",
    "params",
    "tags",
    "latest_metrics",
    "metric_inbox",
    "metric_blocks",
    "metric_chunks",
    "artifacts",
];

#[test]
fn a_run_is_gone_for_good_once_its_time_is_over_and_not_before() {
    on_both("purge_runs", async |house| {
        let experiment = house.experiment("e").await;
        let (gone, stays) = (house.run(experiment).await, house.run(experiment).await);
        let ended = RunUpdate { status: Some(RunStatus::Finished), ..RunUpdate::default() };
        house.tracking.update_run(&house.leave(), &gone, ended).await.unwrap();
        house.fold(experiment).await;
        house.delete_run(&gone).await;
        house.pass(29);
        let order = house.order(30, &[]);
        assert_eq!(house.tracking.purgeable(&order).await.unwrap().counts(), Purged::default());
        assert_eq!(house.tracking.purge_deleted(&order).await.unwrap(), Purged::default());
        house.tracking.set_run_lifecycle(&house.leave(), &gone, Lifecycle::Active).await.unwrap();
        assert_eq!(house.tracking.run(&house.leave(), &gone).await.unwrap().params.len(), 1);
        house.delete_run(&gone).await;
        house.pass(30);

        let order = house.order(30, &[]);
        let one = Purged { runs: 1, ..Purged::default() };
        let told = house.tracking.purgeable(&order).await.unwrap();
        assert_eq!(told.counts(), one);
        assert!(told.takes_artifact(&format!("{experiment}/{gone}/artifacts/model/weights")));
        assert!(!told.takes_artifact(&format!("{experiment}/{stays}/artifacts/model/weights")));
        let before: Vec<i64> = futures::future::join_all(OF_RUNS.map(|t| house.rows(t))).await;
        assert_eq!(house.tracking.purge_deleted(&order).await.unwrap(), one);
        assert_eq!(
            house.tracking.purge_deleted(&order).await.unwrap(),
            Purged::default(),
            "nothing is purged twice"
        );
        for (table, before) in OF_RUNS.iter().zip(before) {
            let left = house.rows(table).await;
            assert!(
                left * 2 == before || (*table == "metric_inbox" && left == 0),
                "{table}: {left} of {before}"
            );
        }
        assert_eq!(house.tracking.run(&house.leave(), &stays).await.unwrap().metrics.len(), 1);

        let error =
            house.tracking.set_run_lifecycle(&house.leave(), &gone, Lifecycle::Active).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, TrackingError::NotFound(_)) && said.contains("deleted for good"), "{said}");
        let told = house.events("run.purged").await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, gone.as_str());
        let had = &told[0].1["had"];
        assert_eq!(
            (&had["params"], &had["points"], &had["artifacts"]["files"]),
            (&1.into(), &300.into(), &1.into())
        );
    });
}

#[test]
fn what_something_refers_to_is_kept_back_until_it_does_no_more() {
    on_both("purge_kept", async |house| {
        let experiment = house.experiment("e").await;
        let runs = [house.run(experiment).await, house.run(experiment).await];
        for run in &runs {
            house.delete_run(run).await;
        }
        house.pass(31);
        let order = house.order(30, &[runs[0].as_str()]);
        let expected = Purged { runs: 1, kept_back: 1, ..Purged::default() };
        assert_eq!(house.tracking.purgeable(&order).await.unwrap().counts(), expected);
        assert_eq!(house.tracking.purge_deleted(&order).await.unwrap(), expected);
        assert_eq!(house.rows("runs").await, 1);
        let order = house.order(30, &[]);
        assert_eq!(
            house.tracking.purge_deleted(&order).await.unwrap(),
            Purged { runs: 1, ..Purged::default() }
        );
    });
}

#[test]
fn a_logged_model_goes_with_its_points_and_files() {
    on_both("purge_models", async |house| {
        let experiment = house.experiment("e").await;
        let run = house.run(experiment).await;
        let new = NewLoggedModel {
            experiment,
            name: None,
            model_type: None,
            source_run: Some(run.clone()),
            params: vec![KeyValue::new("p", "1")],
            tags: vec![KeyValue::new("t", "1")],
        };
        let model = house.tracking.create_logged_model(&house.leave(), new).await.unwrap();
        let path = model.artifact_uri.trim_start_matches("mlflow-artifacts:/").to_owned();
        house.put(&format!("{path}/MLmodel")).await;
        let point = MetricPoint { step: 0, at_ms: 0, value: 1.0 };
        let metric = LoggedMetric { key: "m".to_owned(), point };
        let of_model = crate::ModelMetric { metric: metric.clone(), dataset: None };
        let batch = Batch {
            metrics: vec![metric],
            of_models: vec![(model.id.clone(), of_model)],
            ..Batch::default()
        };
        house.tracking.log_batch(&house.leave(), &run, batch).await.unwrap();
        let artifacts = house.rows("artifacts").await;
        house.tracking.delete_logged_model(&house.leave(), &model.id).await.unwrap();
        house.pass(31);
        let one = Purged { logged_models: 1, ..Purged::default() };
        assert_eq!(house.tracking.purge_deleted(&house.order(30, &[])).await.unwrap(), one);
        for table in ["logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics"] {
            assert_eq!(house.rows(table).await, 0, "{table}");
        }
        assert_eq!(house.rows("artifacts").await, artifacts - 1);
    });
}

#[test]
fn an_experiment_goes_when_nothing_of_it_is_left_and_its_number_is_not_given_again() {
    on_both("purge_experiments", async |house| {
        let (first, last) = (house.experiment("first").await, house.experiment("last").await);
        let run = house.run(last).await;
        house.put(&format!("{last}/traces/tr-1/artifacts/traces.json")).await;
        house.tracking.delete_experiment(&house.leave(), last).await.unwrap();
        house.pass(31);
        let order = house.order(30, &[run.as_str()]);
        house.tracking.purge_deleted(&order).await.unwrap();
        assert!(
            house.tracking.purgeable_experiments(&order).await.unwrap().is_empty(),
            "its run is kept back"
        );

        let order = house.order(30, &[]);
        let told = house.tracking.purgeable(&order).await.unwrap();
        assert_eq!((told.counts().experiments, told.counts().runs), (1, 1));
        house.tracking.purge_deleted(&order).await.unwrap();
        assert_eq!(house.tracking.purgeable_experiments(&order).await.unwrap(), [last.0]);
        let purged = house.tracking.purge_experiment(&order, last.0).await.unwrap();
        assert_eq!(purged, Purged { experiments: 1, ..Purged::default() });
        assert_eq!(house.rows("artifacts").await, 0);
        let error = house.tracking.restore_experiment(&house.leave(), last).await.unwrap_err().to_string();
        assert!(error.contains("deleted for good"), "{error}");
        let again = house.experiment("last").await;
        assert!(again > last && last > first, "the name is free, the number is not");
    });
}

#[test]
fn what_a_crash_left_of_a_purged_run_is_cleared_by_the_next_purge() {
    on_both("purge_crash", async |house| {
        let experiment = house.experiment("e").await;
        let run = house.run(experiment).await;
        house.delete_run(&run).await;
        house.pass(31);
        // What happens before anything is cleared.
        house.tracking.purge_runs(&house.order(30, &[])).await.unwrap();
        assert_eq!(house.rows("runs").await, 0);
        assert!(house.rows("params").await > 0);
        let purged = house.tracking.purge_deleted(&house.order(30, &[])).await.unwrap();
        assert_eq!(purged, Purged::default());
        for table in OF_RUNS {
            assert_eq!(house.rows(table).await, 0, "{table}");
        }
    });
}

#[test]
fn what_was_deleted_at_a_time_that_nobody_noted_counts_from_when_it_is_seen() {
    on_both("purge_undated", async |house| {
        let experiment = house.experiment("e").await;
        let run = house.run(experiment).await;
        house.delete_run(&run).await;
        let undate = |tx: &mut Tx<'_>| tx.execute("UPDATE runs SET deleted_at_ms = NULL", &[]);
        house.tracking.ledger.db().write(undate).await.unwrap();
        house.pass(100);
        assert_eq!(house.tracking.purge_deleted(&house.order(30, &[])).await.unwrap(), Purged::default());
        assert_eq!(house.events("retention.begun").await.len(), 1);
        house.pass(31);
        assert_eq!(house.tracking.purge_deleted(&house.order(30, &[])).await.unwrap().runs, 1);
    });
}

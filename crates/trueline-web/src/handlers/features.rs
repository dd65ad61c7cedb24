//! Feature views, one view.

use super::data::missing;
use super::{Answer, App, Visitor, page, runs, timestamp};
use crate::pages::{EntityRow, FeatureRow, FeatureViewPage, FeaturesPage, LoadRow, ViewRow};
use crate::parts::Reference;
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use trueline_data::{DatasetRef, Which};
use trueline_features::{FeatureView, ViewRef};

fn row(v: &FeatureView) -> ViewRow {
    ViewRow {
        name: v.spec.name.clone(),
        version: v.version,
        dataset: v.spec.dataset.clone(),
        join_keys: v.join_keys.clone(),
        features: v.spec.features.clone(),
        ttl: v.spec.ttl.map(|t| t.to_string()),
        created_at: timestamp(v.created_at_ms),
    }
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Features", Section::Features).await?;
    shell.as_cli = Some("trueline features list".to_owned());
    shell.as_api = visitor.api("/api/v1/feature-views");
    let leave = visitor.session.leave()?;
    let views = app.features.views(&leave).await?;
    let entities = app.features.entities(&leave).await?.into_iter();
    let entities =
        entities.map(|e| EntityRow { name: e.name, join_key: e.join_key, description: e.description });
    page(&FeaturesPage { shell, views: views.iter().map(row).collect(), entities: entities.collect() })
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, view)): Path<(String, String)>,
) -> Answer {
    let leave = visitor.session.leave()?;
    let found = app.features.view(&leave, &ViewRef::parse(&view)?).await?;
    let (name, reference) = (found.spec.name.clone(), found.reference().to_string());
    let mut shell = visitor.shell(&app, &reference, Section::Features).await?;
    shell.crumbs = vec![Crumb::to("Features", shell.to.features()), Crumb::here(&reference)];
    shell.as_cli = Some(format!("trueline features show {reference}"));
    shell.as_api = visitor.api(&format!("/api/v1/feature-views/{reference}"));
    let newest = DatasetRef { name: found.spec.dataset.clone(), which: Which::Newest };
    // A view may be declared before its data are there.
    let data = app.data.version(&leave, &newest).await.ok();
    let feature = |name: &String| {
        let columns = data.as_ref().map(|d| d.profile.columns.as_slice()).unwrap_or_default();
        let column = columns.iter().find(|c| c.column.name == *name);
        FeatureRow {
            name: name.clone(),
            kind: column.map(|c| c.column.kind.clone()),
            missing: column.map(missing),
        }
    };
    let loads = app.features.materialisations(&leave, &name).await?.into_iter().map(|m| {
        let label = format!("{}@{}", m.dataset, m.dataset_number);
        LoadRow {
            at: timestamp(m.at_ms),
            version: m.version,
            dataset: Reference::to(
                "dataset version",
                label,
                shell.to.dataset_version(&m.dataset, &m.dataset_number),
            ),
            read: m.rows_read.unsigned_abs(),
            written: m.rows_written.unsigned_abs(),
        }
    });
    let loads = loads.collect();
    let lineage = runs::lineage(&app, &visitor, &shell.to, "feature_view", &found.node().id).await?;
    page(&FeatureViewPage {
        view: row(&found),
        description: found.spec.description.clone(),
        timestamp: found.spec.timestamp.clone(),
        created: found.spec.created.clone(),
        created_by: found.created_by.clone(),
        features: found.spec.features.iter().map(feature).collect(),
        loads,
        lineage,
        shell,
    })
}

//! The pages: one file each, a view model and its template. A handler fills the fields and renders; it needs to
//! know nothing of HTML.

mod artifacts;
mod bandits;
mod charts;
mod compare;
mod data;
mod endpoints;
mod experiments;
mod features;
mod home;
mod incidents;
mod ledger;
mod logged_models;
mod logged_predictions;
mod models;
mod monitors;
mod outside;
mod pipelines;
mod prediction;
mod release;
mod rollouts;
mod run;
mod run_table;
mod search;
mod settings;
mod traces;

pub use artifacts::{ArtifactEntry, ArtifactListing, OpenFile, Preview};
pub use bandits::{BanditArm, BanditDecisionRow, BanditPart};
pub use charts::{Axis, Chart, ChartChoices, ChartSection, ChartSeries, MetricChart, SYSTEM, system_unit};
pub(crate) use compare::CHARTS as COMPARED_CHARTS;
pub use compare::{ComparePage, ComparedRow, ComparedRun, ComparedSection, Plot, PlotField, PlotKind};
pub use data::{
    ColumnRow, DataFile, DatasetPage, DatasetRow, DatasetVersionPage, DatasetsPage, JoinedView, RecipeFacts,
};
pub use endpoints::{
    AskIt, Causes, EndpointPage, EndpointRow, EndpointsPage, LatelyCame, LiveFigures, LivePart, LiveRow,
    OnDisk, RollBack, RouteRow, ServedVersion, Share, Shares, Snippet, Traffic, Watched,
};
pub use experiments::{ExperimentRow, ExperimentsPage};
pub use features::{EntityRow, FeatureRow, FeatureViewPage, FeaturesPage, LoadRow, ViewRow};
pub use home::{GetStarted, HomePage, TaskRow, Waiting};
pub use incidents::{IncidentPage, IncidentRow, IncidentsPage, StoryLine};
pub use ledger::{EventLine, EventPage, LedgerHead, LedgerPage, Payload, Verification, VerificationPart};
pub use logged_models::{LoggedModelPage, LoggedModelRow, LoggedModelsPage, ModelMetricRow};
pub use logged_predictions::{GaveUp, LoggedPredictionsPage, PredictionRow};
pub use models::{
    AliasRow, Field, FrozenFile, Manifest, ModelPage, ModelRow, ModelsPage, Signature, VersionPage,
    VersionRow,
};
pub use monitors::{FeatureDrift, MonitorPage, MonitorRow, MonitorsPage, WindowRow};
pub use outside::{ErrorPage, Problem, SignInPage};
pub use pipelines::{
    PipelinePage, PipelineRow, PipelineRunPage, PipelineRunRow, PipelinesPage, StepBox, StepRow,
};
pub use prediction::{Fact, FindPredictionPage, PredictionPage, Station, Told};
pub use release::{DecisionForm, DecisionRow, GateLine, PolicyCard, Release};
pub use rollouts::{
    RolloutCheck, RolloutDecisionRow, RolloutNumbers, RolloutPart, RolloutRow, RolloutShadow, RolloutStep,
};
pub use run::{Console, DatasetInput, Live, MetricRow, ModelMade, RunLine, RunPage, RunTab};
pub use run_table::{Column, ColumnGroup, ExperimentPage, RunRow, RunTableFeed, SavedView};
pub use search::{Hit, SearchPage};
pub use settings::{
    CollectedRow, CollectionView, FreshToken, Grant, ProjectRow, SettingsBody, SettingsPage, TokenRow,
    UserRow,
};
pub use traces::{AssessmentRow, SpanDetail, SpanEventRow, SpanNode, TracePage, TraceRow, TracesPage};

use crate::format;

/// Where a table's page ends.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    /// How many rows the page shows.
    pub rows: usize,
    /// What a row is, in the singular.
    pub noun: &'static str,
    /// The cursor of the next page, when there is one.
    pub next_cursor: Option<String>,
}

impl Pager {
    pub(crate) fn shown(&self) -> String {
        let more = if self.next_cursor.is_some() { ", and more" } else { "" };
        format!("{} on this page{more}", format::counted(self.rows as u64, self.noun))
    }
}

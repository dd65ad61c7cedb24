//! What all pages share: where one is, who one is, and how to do the same from a terminal.

use crate::assets;
use crate::links::Links;
use crate::parts::{Icon, When};
use jiff::Timestamp;

/// A section of the side bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the words of the house")]
pub enum Section {
    Home,
    Experiments,
    Models,
    Endpoints,
    Monitors,
    Incidents,
    Data,
    Features,
    Pipelines,
    Ledger,
    Settings,
}

impl Section {
    /// All sections, in the order of the side bar.
    pub const ALL: [Self; 11] = [
        Self::Home,
        Self::Experiments,
        Self::Models,
        Self::Endpoints,
        Self::Data,
        Self::Features,
        Self::Monitors,
        Self::Incidents,
        Self::Pipelines,
        Self::Ledger,
        Self::Settings,
    ];

    /// Its name in the side bar.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Experiments => "Experiments",
            Self::Models => "Models",
            Self::Endpoints => "Endpoints",
            Self::Monitors => "Monitors",
            Self::Incidents => "Incidents",
            Self::Data => "Data",
            Self::Features => "Features",
            Self::Pipelines => "Pipelines",
            Self::Ledger => "Ledger",
            Self::Settings => "Settings",
        }
    }

    /// Its icon.
    #[must_use]
    pub fn icon(self) -> Icon {
        Icon(match self {
            Self::Home => "home",
            Self::Experiments => "flask",
            Self::Models => "cube",
            Self::Endpoints => "broadcast",
            Self::Monitors => "pulse",
            Self::Incidents => "alert",
            Self::Data => "database",
            Self::Features => "columns",
            Self::Pipelines => "flow",
            Self::Ledger => "ledger",
            Self::Settings => "gear",
        })
    }

    /// Where it is.
    #[must_use]
    pub fn href(self, to: &Links) -> String {
        match self {
            Self::Home => to.home(),
            Self::Experiments => to.experiments(),
            Self::Models => to.models(),
            Self::Monitors => to.monitors(),
            Self::Incidents => to.incidents(),
            Self::Endpoints => to.endpoints(),
            Self::Ledger => to.ledger(),
            Self::Settings => to.settings("projects"),
            Self::Data => to.datasets(),
            Self::Features => to.features(),
            Self::Pipelines => to.pipelines(),
        }
    }
}

/// Who looks at the page.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// The roles held in the project, in words.
    pub roles: Vec<String>,
    /// Whether a session can be given up; not so where everybody on loopback is `local`.
    pub can_sign_out: bool,
}

/// A step of the way from the section to the page; the last one has no link.
#[derive(Clone, Debug)]
pub struct Crumb {
    /// What it is called.
    pub label: String,
    /// Where it leads.
    pub href: Option<String>,
}

impl Crumb {
    /// A step that leads somewhere.
    pub fn to(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self { label: label.into(), href: Some(href.into()) }
    }

    /// The page itself.
    pub fn here(label: impl Into<String>) -> Self {
        Self { label: label.into(), href: None }
    }
}

/// What all pages share.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The page's name in the tab and in the history.
    pub title: String,
    /// The project that the page belongs to, or the one last seen; none before signing in.
    pub project: Option<String>,
    /// The names of the projects that the caller may see.
    pub projects: Vec<String>,
    /// Who looks; nobody before signing in.
    pub caller: Option<Caller>,
    /// The sections that exist for this server and caller.
    pub sections: Vec<Section>,
    /// The section that the page belongs to.
    pub current: Option<Section>,
    /// The way to the page.
    pub crumbs: Vec<Crumb>,
    /// The id of the request that made the page.
    pub request_id: String,
    /// The command that prints what the page shows.
    pub as_cli: Option<String>,
    /// The URL that answers what the page shows, absolute.
    pub as_api: Option<String>,
    /// What was searched for.
    pub query: String,
    /// One sentence to be told once, after something was done.
    pub notice: Option<String>,
    /// The version of the server.
    pub version: String,
    /// The clock of the request, for relative times.
    pub now: Timestamp,
    /// Where pages live.
    pub to: Links,
}

impl Shell {
    /// A shell for a page of `project`, with the furnished sections and everything else left out.
    #[must_use]
    pub fn new(title: &str, project: Option<&str>, now: Timestamp) -> Self {
        Self {
            title: title.to_owned(),
            project: project.map(ToOwned::to_owned),
            projects: Vec::new(),
            caller: None,
            sections: Section::ALL.to_vec(),
            current: None,
            crumbs: Vec::new(),
            request_id: String::new(),
            as_cli: None,
            as_api: None,
            query: String::new(),
            notice: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now,
            to: Links::new(project),
        }
    }

    /// The URL of an embedded file.
    #[must_use]
    pub fn asset(&self, name: &str) -> String {
        assets::url(name)
    }

    /// A time, told from now.
    #[must_use]
    pub fn when(&self, at: &Timestamp) -> When {
        When { at: *at, now: self.now }
    }

    /// The home page of another project.
    #[must_use]
    pub fn switch(&self, project: &str) -> String {
        Links::new(Some(project)).home()
    }

    pub(crate) fn is_current(&self, section: &Section) -> bool {
        self.current == Some(*section)
    }
}

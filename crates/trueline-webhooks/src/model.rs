//! Webhooks and what they are told of, as values.

use crate::WebhookError;
use serde::Serialize;
use trueline_ledger::Millis;

macro_rules! topics {
    ($($(#[$doc:meta])* $name:ident = $entity:literal . $action:literal;)*) => {
        /// What a webhook can be told of: something happened to something, in MLflow's words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Topic { $($(#[$doc])* $name),* }

        impl Topic {
            /// All topics.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// To what it happened.
            #[must_use]
            pub fn entity(self) -> &'static str {
                match self { $(Self::$name => $entity),* }
            }

            /// What happened.
            #[must_use]
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => $action),* }
            }
        }
    };
}

topics! {
    /// A model was registered.
    ModelCreated = "registered_model"."created";
    /// A version was registered.
    VersionCreated = "model_version"."created";
    /// A version was given a tag.
    VersionTagSet = "model_version_tag"."set";
    /// A tag was taken from a version.
    VersionTagDeleted = "model_version_tag"."deleted";
    /// An alias was pointed at a version.
    AliasCreated = "model_version_alias"."created";
    /// An alias was taken away.
    AliasDeleted = "model_version_alias"."deleted";
    /// A prompt was made.
    PromptCreated = "prompt"."created";
    /// A version of a prompt was made.
    PromptVersionCreated = "prompt_version"."created";
    /// A prompt was given a tag.
    PromptTagSet = "prompt_tag"."set";
    /// A tag was taken from a prompt.
    PromptTagDeleted = "prompt_tag"."deleted";
    /// A version of a prompt was given a tag.
    PromptVersionTagSet = "prompt_version_tag"."set";
    /// A tag was taken from a version of a prompt.
    PromptVersionTagDeleted = "prompt_version_tag"."deleted";
    /// An alias was pointed at a version of a prompt.
    PromptAliasCreated = "prompt_alias"."created";
    /// An alias was taken from a prompt.
    PromptAliasDeleted = "prompt_alias"."deleted";
    /// A budget was spent. No part of this server has budgets, so it is never told, but a test of it can be sent.
    BudgetExceeded = "budget_policy"."exceeded";
}

impl Topic {
    /// The topic of an entity and an action, in small letters.
    ///
    /// # Errors
    /// [`WebhookError::Invalid`], naming the actions that there are.
    pub fn parse(entity: &str, action: &str) -> Result<Self, WebhookError> {
        let of_entity = || Self::ALL.iter().copied().filter(|t| t.entity() == entity);
        of_entity().find(|t| t.action() == action).ok_or_else(|| {
            let mut actions: Vec<String> = of_entity().map(|t| format!("'{}'", t.action())).collect();
            actions.sort();
            WebhookError::Invalid(format!(
                "Invalid action '{action}' for entity '{entity}'. Valid actions are: [{}]",
                actions.join(", ")
            ))
        })
    }

    pub(crate) fn word(self) -> String {
        format!("{}.{}", self.entity(), self.action())
    }

    pub(crate) fn of_word(word: &str) -> Result<Self, WebhookError> {
        let stored = |why: String| WebhookError::Stored { what: "a webhook's topic", why };
        let (entity, action) =
            word.split_once('.').ok_or_else(|| stored(format!("`{word}` has no action")))?;
        Self::parse(entity, action).map_err(|e| stored(e.to_string()))
    }
}

/// Whether a webhook is told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Active,
    /// It is not, for now.
    Disabled,
}

impl Status {
    /// MLflow's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Disabled => "DISABLED",
        }
    }

    /// Reads MLflow's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Disabled].into_iter().find(|s| s.as_str() == word)
    }
}

/// A webhook as it is read; its secret is never told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told of.
    pub topics: Vec<Topic>,
    /// Whether it is told.
    pub status: Status,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
}

/// A webhook to be made.
#[derive(Clone)]
pub struct NewWebhook {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told of.
    pub topics: Vec<Topic>,
    /// What its requests are signed with.
    pub secret: Option<String>,
    /// Whether it is told.
    pub status: Status,
}

/// A change of a webhook; what is `None` stays.
#[derive(Clone, Default)]
pub struct WebhookUpdate {
    /// Its name.
    pub name: Option<String>,
    /// Where it lies.
    pub url: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is told of.
    pub topics: Option<Vec<Topic>>,
    /// What its requests are signed with.
    pub secret: Option<String>,
    /// Whether it is told.
    pub status: Option<Status>,
}

/// Some of a list, and whether there are more.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Whether others follow.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_found_again_by_its_word() {
        for topic in Topic::ALL {
            assert_eq!(Topic::of_word(&topic.word()).unwrap(), *topic);
        }
    }

    #[test]
    fn an_action_that_an_entity_has_not_is_refused_with_those_it_has() {
        let told = Topic::parse("model_version_tag", "created").unwrap_err().to_string();
        assert_eq!(
            told,
            "Invalid action 'created' for entity 'model_version_tag'. Valid actions are: ['deleted', 'set']"
        );
    }
}

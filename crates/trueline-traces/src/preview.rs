//! The beginning of a request or answer, for lists of traces: the last message of a chat if it is one.

use crate::value::Value;

/// Where MLflow cuts a preview.
const LONGEST: usize = 1000;

/// Whose message stands for the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    User,
    Assistant,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// The preview of inputs or outputs, which are given as JSON.
pub(crate) fn preview(json: &str, role: Role) -> String {
    let value = Value::parse(json);
    let message = value.as_ref().and_then(|value| last_message(value, role)).filter(|text| !text.is_empty());
    let text = message.unwrap_or_else(|| json.to_owned()).replace('\0', "");
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - 3).chain("...".chars()).collect()
}

fn last_message(value: &Value, role: Role) -> Option<String> {
    let messages = messages(value)?;
    let is_role = |message: &&&Value| message.get("role").and_then(Value::as_text) == Some(role.word());
    let message = messages.iter().rev().find(is_role).or(messages.last())?;
    text_of(message.get("content")?)
}

/// The messages in the forms of chat completions and responses, as asked and as answered.
fn messages(value: &Value) -> Option<Vec<&Value>> {
    let list = |key: &str| -> Option<Vec<&Value>> {
        let items = value.get(key).map(Value::items).filter(|items| !items.is_empty())?;
        Some(items.iter().filter(|item| is_message(item)).collect())
    };
    let choice = || {
        let first = value.get("choices")?.items().first()?.get("message")?;
        is_message(first).then(|| vec![first])
    };
    let inner = || value.get("request").and_then(messages);
    list("messages").or_else(choice).or_else(|| list("input")).or_else(|| list("output")).or_else(inner)
}

fn is_message(item: &Value) -> bool {
    item.get("role").is_some() && item.get("content").is_some()
}

fn text_of(content: &Value) -> Option<String> {
    let part = |part: &Value| match part {
        Value::Text(text) => Some(text.clone()),
        other => {
            let kind = other.get("type")?.as_text()?;
            let is_text = matches!(kind, "text" | "output_text");
            is_text.then(|| other.get("text")?.as_text().map(ToOwned::to_owned))?
        }
    };
    match content {
        Value::Text(text) => Some(text.clone()),
        list => list.items().iter().find_map(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_shown_by_its_last_message() {
        let asked = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"},
            {"role": "assistant", "content": "three"}]}"#;
        assert_eq!(preview(asked, Role::User), "two");
        let answered = r#"{"choices": [{"message": {"role": "assistant", "content": "yes"}}]}"#;
        assert_eq!(preview(answered, Role::Assistant), "yes");
        let parts = r#"{"input": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "see"}]}]}"#;
        assert_eq!(preview(parts, Role::User), "see");
        let wrapped = r#"{"request": {"input": [{"role": "user", "content": "hello"}]}}"#;
        assert_eq!(preview(wrapped, Role::User), "hello");
    }

    #[test]
    fn anything_else_is_shown_as_it_is_and_cut() {
        assert_eq!(preview(r#"{"x": 1}"#, Role::User), r#"{"x": 1}"#);
        let long = preview(&"é".repeat(2000), Role::User);
        assert_eq!(long.chars().count(), 1000);
        assert!(long.ends_with("..."));
    }
}

//! The configuration file's text → [`Settings`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault, Origin, closest, one_line};
use super::{KEYS, Settings};

impl Settings {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// Syntax errors, unknown keys and values of the wrong shape, each with its line and column.
    pub fn parse(text: &str) -> Result<Settings, ConfigError> {
        Settings::read(text).map_err(|fault| fault.found_in(&Origin::file("configuration", text)))
    }

    /// Whether the settings have a value for this key; `weights.w0` asks for `weights`.
    pub(super) fn sets(&self, key: &str) -> bool {
        let key = key.split('.').next().unwrap_or(key);
        KEYS.iter().any(|known| known.name == key && (known.is_set)(self))
    }

    pub(super) fn read(text: &str) -> Result<Settings, Fault> {
        let table = DeTable::parse(text).map_err(|error| Fault::in_text(&error))?;
        let mut keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        keys.sort_unstable();
        if let Some(unknown) = table.get_ref().keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
            let message = match closest(unknown.get_ref(), &keys) {
                Some(known) => format!("no such key; did you mean `{known}`?"),
                None => format!("no such key; the keys are {}", keys.join(", ")),
            };
            return Err(Fault::of(unknown.get_ref(), message).at(unknown.span()));
        }
        toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| {
                let around = |value: &std::ops::Range<usize>| value.start <= span.start && span.start <= value.end;
                let entries = || table.get_ref().iter();
                let within = entries().find(|(key, value)| around(&(key.span().start..value.span().end)));
                // A table with a header of its own has the header alone as its place.
                let behind = || entries().filter(|(key, _)| key.span().start <= span.start);
                within.or_else(|| behind().max_by_key(|(key, _)| key.span().start))
            });
            match key {
                Some((key, value)) => {
                    let key = full_name(key.get_ref(), value.get_ref(), error.span());
                    Fault::of(&key, plain(error.message())).at_maybe(error.span())
                }
                None => Fault::in_text(&error),
            }
        })
    }
}

/// The name of the key that a fault at `span` is about, such as `proxy.1.handicap` within the value of `proxy`.
fn full_name(key: &str, value: &DeValue<'_>, span: Option<Range<usize>>) -> String {
    let Some(at) = span.map(|span| span.start) else { return key.to_owned() };
    let (mut name, mut value) = (key.to_owned(), value);
    loop {
        // A table with a header of its own has the header alone as its place.
        value = match value {
            DeValue::Array(list) if list.iter().all(|member| member.get_ref().is_table()) => {
                let behind = list.iter().rposition(|member| member.span().start <= at);
                let Some((member, place)) = behind.and_then(|place| Some((list.get(place)?, place))) else { break };
                name.push_str(&format!(".{}", place + 1));
                member.get_ref()
            }
            DeValue::Table(table) => {
                let is_at =
                    |(key, value): &(&Spanned<_>, &Spanned<_>)| (key.span().start..=value.span().end).contains(&at);
                let Some((key, value)) = table.iter().find(is_at) else { break };
                name.push('.');
                name.push_str(key.get_ref());
                value.get_ref()
            }
            _ => break,
        };
    }
    name
}

/// The message without words of the language that reads it.
fn plain(message: &str) -> String {
    let types = ["u8", "u16", "u32", "u64", "usize"];
    let message = one_line(message);
    let typed = types.iter().find_map(|name| message.strip_suffix(&format!("expected {name}")));
    typed.map_or(message.clone(), |front| format!("{front}expected a whole number"))
}

//! The configuration file's text → [`Settings`].

use std::borrow::Cow;
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
        let table = DeTable::parse(text).map_err(|error| {
            let twice = error.span().filter(|_| error.message() == "duplicate key").and_then(|span| text.get(span));
            match twice {
                Some(key) => Fault::of(key, "the key stands there twice; keep one").at_maybe(error.span()),
                None => Fault::in_text(&error),
            }
        })?;
        let mut keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        keys.sort_unstable();
        if let Some(unknown) = table.get_ref().keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
            let message = match closest(unknown.get_ref(), &keys) {
                Some(known) => format!("no such key; did you mean `{known}`?"),
                None => format!("no such key; the keys are {}", keys.join(", ")),
            };
            return Err(Fault::of(unknown.get_ref(), message).at(unknown.span()));
        }
        table.get_ref().iter().try_for_each(|(key, value)| check_brackets(key, value.get_ref()))?;
        toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| {
                // The place of a table with a header of its own is the header, which begins before its key.
                let begin =
                    |(key, value): &(&Spanned<_>, &Spanned<DeValue<'_>>)| key.span().start.min(value.span().start);
                let entries = || table.get_ref().iter();
                let within = entries().find(|entry| (begin(entry)..=entry.1.span().end).contains(&span.start));
                let behind = || entries().filter(|entry| begin(entry) <= span.start);
                within.or_else(|| behind().max_by_key(begin))
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

/// Keys whose tables may be several, each as `[[KEY]]`.
const LISTS: [&str; 7] = ["access", "mgcp", "pool", "proxy", "route", "sip", "tls"];

/// Keys whose table is one, as `[KEY]`.
const SINGLE: [&str; 5] = ["lan", "methods", "mgcp-aliases", "proxy-defaults", "weights"];

/// Checks that a table is written in the brackets that its key takes.
fn check_brackets(key: &Spanned<Cow<'_, str>>, value: &DeValue<'_>) -> Result<(), Fault> {
    let name = key.get_ref().as_ref();
    let words = if LISTS.contains(&name) && !value.is_array() {
        format!("write [[{name}]] above the lines of each")
    } else if SINGLE.contains(&name) && !value.is_table() {
        format!("write [{name}] above its lines, once")
    } else {
        return Ok(());
    };
    Err(Fault::of(name, words).at(key.span()))
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
    let message = one_line(message);
    if let Some(number) = message.strip_prefix("invalid value: integer `").and_then(|rest| rest.split('`').next()) {
        return format!("{number} is too {}", if number.starts_with('-') { "small" } else { "large" });
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    let message = message.replace("unknown field", "no such key:");
    match message.as_str() {
        "invalid IP address syntax" => return NO_ADDRESS.to_owned(),
        "invalid socket address syntax" => {
            return "not an address; write ADDR:PORT with a numeric address, such as 192.0.2.1:5090".to_owned();
        }
        _ => {}
    }
    let Some((front, wanted)) = message.split_once("expected ") else { return message };
    if wanted == "a sequence" {
        let value = front.trim_start_matches("invalid type: ").trim_end_matches(", ");
        let value = value.trim_start_matches("string ").trim_start_matches("integer ").trim_matches('`');
        return format!("a list is needed; write [{value}]");
    }
    let wanted = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a map" => "a table",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    };
    format!("{}expected {wanted}", front.replace("invalid type: map", "invalid type: table"))
}

/// The fault of a text that is no IP address.
pub(super) const NO_ADDRESS: &str = "not a numeric address, such as 192.0.2.1; names are not looked up";

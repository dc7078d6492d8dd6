//! Faults of a configuration, each in one line that names the place, the key and what to do.
//!
//! On a terminal the line can be followed by the text it speaks of: [`ConfigError`] is a [`miette::Diagnostic`].

use std::fmt;
use std::ops::Range;

use miette::{LabeledSpan, NamedSource};

use super::Settings;

/// A configuration that cannot be used. Its text is one line.
#[derive(Debug)]
pub struct ConfigError {
    place: Place,
    key: Option<String>,
    message: String,
}

/// Place of the fault.
#[derive(Debug)]
enum Place {
    /// In the file.
    File(Box<InFile>),
    /// On the command line.
    Flags,
    /// No place: a default does not fit the settings, or the fault is of the file as a whole.
    Whole,
}

/// A place in a file.
#[derive(Debug)]
struct InFile {
    name: String,
    /// Counted from 1.
    line: usize,
    /// Counted from 1, in characters.
    column: usize,
    span: Range<usize>,
    source: NamedSource<String>,
}

impl ConfigError {
    /// The key it is about, if it is about one.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Line and column in the file, from 1; `None` when the fault is not in a file.
    pub const fn line_and_column(&self) -> Option<(usize, usize)> {
        match &self.place {
            Place::File(file) => Some((file.line, file.column)),
            Place::Flags | Place::Whole => None,
        }
    }

    /// A fault of a whole file, such as that it cannot be read.
    pub(super) const fn of_file(message: String) -> Self {
        ConfigError { place: Place::Whole, key: None, message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Place::File(file) = &self.place {
            write!(f, "{}:{}:{}: ", file.name, file.line, file.column)?;
        }
        match (&self.place, &self.key) {
            (Place::Flags, Some(key)) => write!(f, "--{key}: ")?,
            (Place::File(_) | Place::Whole, Some(key)) => write!(f, "{key}: ")?,
            (_, None) => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl miette::Diagnostic for ConfigError {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        match &self.place {
            Place::File(file) => Some(&file.source),
            Place::Flags | Place::Whole => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match &self.place {
            Place::File(file) => Some(Box::new(std::iter::once(LabeledSpan::underline(file.span.clone())))),
            Place::Flags | Place::Whole => None,
        }
    }
}

/// Origin of the settings, so that a fault found later can be shown at its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin<'a> {
    /// The file's name and text.
    file: Option<(&'a str, &'a str)>,
    flags: Option<&'a Settings>,
}

impl<'a> Origin<'a> {
    pub(super) const fn file(name: &'a str, text: &'a str) -> Self {
        Origin { file: Some((name, text)), flags: None }
    }

    pub(super) const fn and_flags(self, flags: &'a Settings) -> Self {
        Origin { flags: Some(flags), ..self }
    }
}

/// A fault whose place is not known yet: the keys it is about, and the message.
#[derive(Debug)]
pub(super) struct Fault {
    keys: Vec<String>,
    message: String,
    span: Option<Range<usize>>,
}

impl Fault {
    pub(super) fn of(key: &str, message: impl Into<String>) -> Self {
        Fault { keys: vec![key.to_owned()], message: message.into(), span: None }
    }

    /// A fault between two keys: it is shown at the one the operator wrote.
    pub(super) fn between(key: &str, other: &str, message: impl Into<String>) -> Self {
        Fault { keys: vec![key.to_owned(), other.to_owned()], message: message.into(), span: None }
    }

    pub(super) fn in_text(error: &toml::de::Error) -> Self {
        Fault { keys: Vec::new(), message: one_line(error.message()), span: error.span() }
    }

    pub(super) fn at(self, span: Range<usize>) -> Self {
        self.at_maybe(Some(span))
    }

    pub(super) fn at_maybe(self, span: Option<Range<usize>>) -> Self {
        Fault { span, ..self }
    }

    pub(super) fn found_in(mut self, origin: &Origin<'_>) -> ConfigError {
        let message = std::mem::take(&mut self.message);
        if let Some(flags) = origin.flags
            && let Some(key) = self.keys.iter().find(|key| flags.sets(key))
        {
            return ConfigError { place: Place::Flags, key: Some(key.clone()), message };
        }
        if let Some((name, text)) = origin.file {
            let (key, span) = match (&self.span, self.keys.first()) {
                (Some(span), key) => (key.cloned(), Some(span.clone())),
                (None, _) => self.find_in(text),
            };
            if let Some(span) = span {
                let (line, column) = line_and_column(text, span.start);
                let source = NamedSource::new(name, text.to_owned());
                let place = Place::File(Box::new(InFile { name: name.to_owned(), line, column, span, source }));
                return ConfigError { place, key, message };
            }
        }
        ConfigError { place: Place::Whole, key: self.keys.into_iter().next(), message }
    }

    /// The first of the keys that the text has, and its place.
    fn find_in(&self, text: &str) -> (Option<String>, Option<Range<usize>>) {
        let Ok(table) = toml::de::DeTable::parse(text) else { return (None, None) };
        for key in &self.keys {
            let (outer, inner) = key.split_once('.').map_or((key.as_str(), None), |(o, i)| (o, Some(i)));
            let Some((name, value)) = table.get_ref().iter().find(|(name, _)| name.get_ref() == outer) else {
                continue;
            };
            let within = inner.and_then(|inner| {
                // A list's members are counted from 1.
                let (number, key) = inner.split_once('.').map_or((inner, None), |(number, key)| (number, Some(key)));
                if let (Some(list), Ok(number @ 1..)) = (value.get_ref().as_array(), number.parse::<usize>()) {
                    let member = list.get(number - 1)?;
                    let table = member.get_ref().as_table();
                    let named = table.zip(key).and_then(|(table, key)| {
                        table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span())
                    });
                    return Some(named.unwrap_or_else(|| member.span()));
                }
                let table = value.get_ref().as_table()?;
                table.iter().find(|(name, _)| name.get_ref() == inner).map(|(name, _)| name.span())
            });
            return (Some(key.clone()), Some(within.unwrap_or_else(|| name.span())));
        }
        (None, None)
    }
}

/// A message without line breaks: an operator who greps for a part of it gets all of it.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The known word that is at most two typing errors away.
pub(super) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let far = 3.min(word.len());
    let best = known.iter().copied().min_by_key(|other| typing_errors(word, other))?;
    (typing_errors(word, best) < far).then_some(best)
}

/// Insertions, deletions and replacements between two words (Levenshtein distance).
fn typing_errors(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

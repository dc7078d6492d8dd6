//! Events that occur, and events that are asked for.

use super::measure::Measure;
use super::package::{Entry, Package};

/// An event that has occurred.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its package.
    pub package: &'static Package,
    /// Its entry in the package.
    pub entry: &'static Entry,
    /// The id of the connection it occurred on, if it occurred on one.
    pub connection: Option<Box<[u8]>>,
    /// Its parameters, as written between the parentheses; empty: none.
    pub parameters: Box<[u8]>,
}

impl Seen {
    /// An event by the names of its package and its own; `None` if there is no such event.
    pub fn named(package: &str, event: &str, connection: Option<&[u8]>, parameters: &[u8]) -> Option<Self> {
        let package = Package::named(package.as_bytes())?;
        let entry = package.entry(event.as_bytes())?;
        Some(Seen { package, entry, connection: connection.map(Into::into), parameters: parameters.into() })
    }

    /// Writes it as in ObservedEvents: `R/ma@0A3F58`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.package.name.as_bytes());
        out.push(b'/');
        out.extend_from_slice(self.entry.name.as_bytes());
        if let Some(connection) = &self.connection {
            out.push(b'@');
            out.extend_from_slice(connection);
        }
        if !self.parameters.is_empty() {
            out.push(b'(');
            out.extend_from_slice(&self.parameters);
            out.push(b')');
        }
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        self.package.name == other.package.name
            && self.entry.name == other.entry.name
            && self.connection == other.connection
            && self.parameters == other.parameters
    }
}

impl Eq for Seen {}

/// An event that is asked for.
#[derive(Clone, Debug)]
pub struct EventPattern {
    /// Its package.
    pub package: &'static Package,
    /// The event of the package; `None`: all that can be detected (`all`, RFC 3435 §2.1.7).
    pub entry: Option<&'static Entry>,
    /// The measurement that an event asks for, if any.
    pub measure: Option<Measure>,
    /// The place it is asked for at.
    pub place: EventPlace,
}

/// The place that an event is asked for at (RFC 3435 §2.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventPlace {
    /// The endpoint and each of its connections: the name has no `@`.
    Anywhere,
    /// All connections (`@*`).
    Connections,
    /// The connection with this id, in the letters the call agent wrote. `@$` has become the id of the connection that
    /// the command made or named.
    Connection(Box<[u8]>),
    /// The connection that this command makes (`@$`).
    This,
}

impl EventPattern {
    /// Whether it asks for this event.
    pub fn matches(&self, seen: &Seen) -> bool {
        let name = self.entry.is_none_or(|entry| entry.name == seen.entry.name);
        let limit = self.measure.is_none_or(|measure| measure.parameter().as_bytes() == &*seen.parameters);
        name && limit && self.package.name == seen.package.name && self.place.holds(seen.connection.as_deref())
    }
}

impl EventPlace {
    /// Whether an event on this connection, or on the endpoint itself if it is `None`, is at this place.
    pub fn holds(&self, connection: Option<&[u8]>) -> bool {
        match (self, connection) {
            (EventPlace::Anywhere, _) | (EventPlace::Connections, Some(_)) => true,
            (EventPlace::Connection(id), Some(connection)) => id.eq_ignore_ascii_case(connection),
            (EventPlace::Connections | EventPlace::Connection(_), None) | (EventPlace::This, _) => false,
        }
    }
}

//! The information that an audit asks for: `F: A,R,D` (RFC 3435 §3.2.2.18).

use super::field::Field;
use super::list::Members;

/// The value of `F:`.
#[derive(Clone, Copy, Debug)]
pub struct RequestedInfo<'a>(&'a [u8]);

/// A parameter that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfoCode<'a> {
    /// One of RFC 3435.
    Field(Field),
    /// An extension, or unknown.
    Other(&'a [u8]),
}

impl<'a> RequestedInfo<'a> {
    /// The list in `value`.
    pub const fn new(value: &'a [u8]) -> Self {
        RequestedInfo(value)
    }

    /// The codes asked for, in order; empty members are passed over.
    pub fn iter(&self) -> impl Iterator<Item = InfoCode<'a>> + use<'a> {
        Members::new(self.0)
            .filter(|code| !code.is_empty())
            .map(|code| Field::new(code).map_or(InfoCode::Other(code), InfoCode::Field))
    }

    /// Whether that parameter is asked for.
    pub fn contains(&self, field: Field) -> bool {
        self.iter().any(|code| code == InfoCode::Field(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_fields_or_extensions() {
        let info = RequestedInfo::new(b"R, es,RC,LC,,X-foo");
        assert_eq!(
            info.iter().collect::<Vec<_>>(),
            [
                InfoCode::Field(Field::RequestedEvents),
                InfoCode::Field(Field::EventStates),
                InfoCode::Field(Field::RemoteConnectionDescriptor),
                InfoCode::Field(Field::LocalConnectionDescriptor),
                InfoCode::Other(b"X-foo"),
            ]
        );
        assert!(info.contains(Field::EventStates) && !info.contains(Field::CallId));
    }
}

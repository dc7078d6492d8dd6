//! The identifier of a downstream proxy in a message: it leads later messages of the same dialog to the same proxy.
//!
//! ```text
//! 0f3kq9u2v7a1c     a keyed hash of the name of the proxy
//! ```
//!
//! It is the same over restarts, and for all dispatchers with the same token key. Without the key nobody can think of
//! one, so a message cannot choose its proxy by guessing. It stands in an extension header, and as a parameter of the
//! URIs in our Record-Route, which each user agent repeats. The characters are digits and small letters, and are read
//! in either case.

use crate::fingerprint::Printer;
use crate::fingerprint::Text::AsItIs;
use crate::ids::{TokenKey, decode, encode};

/// The purpose of the fingerprint.
const IDENTIFIER: u8 = b'u';

/// The parameter of a URI that holds an identifier.
pub const IDENTIFIER_PARAM: &str = "system";

/// An identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identifier(u64);

impl Identifier {
    /// The length of its text.
    pub const LEN: usize = 13;

    /// The text.
    pub fn text(self) -> [u8; Identifier::LEN] {
        let mut text = [0; Identifier::LEN];
        encode(self.0, &mut text);
        text
    }

    /// Reads a text of this form; it is not checked whether it is that of any proxy.
    pub fn read(text: &[u8]) -> Option<Self> {
        decode(text).filter(|_| text.len() == Identifier::LEN).map(Identifier)
    }
}

/// Makes identifiers by a key, and by the key before.
#[derive(Clone, Debug)]
pub struct Identifiers {
    current: Printer,
    previous: Option<Printer>,
}

impl Identifiers {
    /// Identifiers are made with the `current` key; those of the `previous` one are still known.
    pub fn new(current: &TokenKey, previous: Option<&TokenKey>) -> Self {
        Identifiers { current: Printer::new(current), previous: previous.map(Printer::new) }
    }

    /// The identifier of the proxy of this name.
    pub fn of(&self, name: &str) -> Identifier {
        of(&self.current, name)
    }

    /// All identifiers by which the proxy of this name is known.
    pub fn known(&self, name: &str) -> impl Iterator<Item = Identifier> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().map(move |printer| of(printer, name))
    }
}

fn of(printer: &Printer, name: &str) -> Identifier {
    Identifier(printer.print_each(IDENTIFIER, [AsItIs(name.as_bytes())]).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_the_same_for_each_dispatcher_of_the_key_and_another_for_any_other() {
        let (one, two) = (TokenKey::new([1; 32]), TokenKey::new([2; 32]));
        let identifiers = Identifiers::new(&one, None);
        let text = identifiers.of("s1").text();
        assert_eq!(Identifier::read(&text), Some(Identifiers::new(&one, Some(&two)).of("s1")));
        assert_eq!(Identifier::read(&text.to_ascii_uppercase()), Some(identifiers.of("s1")));
        assert_ne!(identifiers.of("s1"), identifiers.of("s2"));
        assert_ne!(identifiers.of("s1"), Identifiers::new(&two, None).of("s1"));
        let known: Vec<_> = Identifiers::new(&two, Some(&one)).known("s1").collect();
        assert_eq!(known, [Identifiers::new(&two, None).of("s1"), identifiers.of("s1")]);
        assert!(
            [&b""[..], b"s1", b"0123456789abcde", b"0123456789ab%"].iter().all(|text| Identifier::read(text).is_none())
        );
    }
}

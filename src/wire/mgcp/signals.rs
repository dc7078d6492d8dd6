//! Lists of events with parameters: signals to play, events observed, detected, or in force (RFC 3435 §3.2.2.12).

use super::event::EventName;
use super::list::{Members, group, is_closed};

/// The value of `S:`, `O:`, `T:` and `ES:`: events with their parameters, in order.
#[derive(Clone, Copy, Debug)]
pub struct SignalRequests<'a>(&'a [u8]);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct SignalRequest<'a> {
    /// Its name.
    pub name: EventName<'a>,
    /// The text in its parentheses, as written; `None` when it has none.
    pub text: Option<&'a [u8]>,
}

impl<'a> SignalRequests<'a> {
    /// Reads a list; `None` where a member is no event with parameters.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let is_list = is_closed(value) && Members::new(value).all(|member| SignalRequest::parse(member).is_some());
        is_list.then_some(SignalRequests(value))
    }

    /// Its members.
    pub fn iter(&self) -> impl Iterator<Item = SignalRequest<'a>> + use<'a> {
        Members::new(self.0).filter_map(SignalRequest::parse)
    }

    /// The list as written.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> SignalRequest<'a> {
    fn parse(member: &'a [u8]) -> Option<Self> {
        let (name, text, behind) = group(member)?;
        let name = EventName::parse(name)?;
        behind.is_empty().then_some(SignalRequest { name, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_listed_with_their_parameters() {
        let list = SignalRequests::parse(b"L/rg, A/ann(http://h/x.wav, to=6), L/vmwi(+)").unwrap();
        let names: Vec<_> = list.iter().map(|signal| signal.name.to_string()).collect();
        assert_eq!(names, ["L/rg", "A/ann", "L/vmwi"]);
        assert_eq!(list.iter().nth(2).unwrap().text, Some(&b"+"[..]));
        assert_eq!(list.iter().next().unwrap().text, None);
        assert_eq!(SignalRequests::parse(b"").map(|list| list.iter().count()), Some(0));
    }

    #[test]
    fn text_that_is_no_list_of_signals_yields_none() {
        for bad in ["L/rg,", ",L/rg", "L/rg(", "L/rg)", "L/rg(x)y", "(x)", "L/r g"] {
            assert!(SignalRequests::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

//! Lists of events with parameters: signals to play, events observed, detected, or in force (RFC 3435 §3.2.2.12).

use super::event::EventName;
use super::line::trim;
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

/// A parameter of an event or signal.
#[derive(Clone, Copy, Debug)]
pub enum EventParam<'a> {
    /// A value alone, with its quotes where it has some.
    Value(&'a [u8]),
    /// `name=value`
    Named {
        /// The name.
        name: &'a [u8],
        /// The value as written.
        value: &'a [u8],
    },
    /// `name(parameters)`
    Group {
        /// The name.
        name: &'a [u8],
        /// The text in its parentheses; [`event_params`] takes it apart.
        params: &'a [u8],
    },
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

    /// Its parameters.
    pub fn params(&self) -> impl Iterator<Item = EventParam<'a>> + use<'a> {
        event_params(self.text.unwrap_or_default())
    }
}

/// Takes apart the text in the parentheses of an event.
pub fn event_params(text: &[u8]) -> impl Iterator<Item = EventParam<'_>> {
    Members::new(text).filter(|member| !member.is_empty()).map(|member| {
        if let Some((name, Some(params), b"")) = group(member)
            && !name.is_empty()
            && !name.contains(&b'=')
        {
            return EventParam::Group { name, params };
        }
        match memchr::memchr2(b'=', b'"', member) {
            Some(at) if at > 0 && member.get(at) == Some(&b'=') => {
                let (name, value) = member.split_at_checked(at).unwrap_or((member, &[]));
                EventParam::Named { name: trim(name), value: trim(value.get(1..).unwrap_or_default()) }
            }
            _ => EventParam::Value(member),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        event_params(text.as_bytes())
            .map(|param| match param {
                EventParam::Value(value) => text_of(value),
                EventParam::Named { name, value } => format!("{} is {}", text_of(name), text_of(value)),
                EventParam::Group { name, params } => format!("{} has {}", text_of(name), text_of(params)),
            })
            .collect()
    }

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
    fn what_is_no_list_of_signals_is_none() {
        for bad in ["L/rg,", ",L/rg", "L/rg(", "L/rg)", "L/rg(x)y", "(x)", "L/r g"] {
            assert!(SignalRequests::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_values_named_values_and_groups() {
        assert_eq!(shown("a, to = 6, \"x=1,2\", p(a,b(c)), =7"), ["a", "to is 6", "\"x=1,2\"", "p has a,b(c)", "=7"]);
        assert!(shown("").is_empty());
    }
}

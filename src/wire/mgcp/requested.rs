//! Events that a notification request asks for: `R:` with actions and embedded requests (RFC 3435 §2.3.3, §3.2.2.12).

use super::event::EventName;
use super::list::{Members, group, is_closed};
use super::signals::SignalRequests;

/// The value of `R:`, in order.
#[derive(Clone, Copy, Debug)]
pub struct RequestedEvents<'a>(&'a [u8]);

/// An event with the actions to take when it is detected.
#[derive(Clone, Copy, Debug)]
pub struct RequestedEvent<'a> {
    /// The event, or several.
    pub name: EventName<'a>,
    /// Its actions as written; empty means to notify.
    actions: &'a [u8],
    /// The text in the parentheses after the actions.
    pub params: Option<&'a [u8]>,
}

/// An action on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// `N`: notify at once, with the accumulated events.
    Notify,
    /// `A`: accumulate.
    Accumulate,
    /// `D`: treat according to the digit map.
    DigitMap,
    /// `S`: swap audio.
    Swap,
    /// `I`: ignore.
    Ignore,
    /// `K`: keep the signals going.
    KeepSignals,
    /// `E(…)`: begin what it embeds.
    Embed(EmbeddedRequest<'a>),
    /// Of a package, or unknown: the answer to the latter is 523.
    Other(&'a [u8]),
}

/// The request within `E(…)`: it replaces the one in force when the event occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EmbeddedRequest<'a> {
    /// `R(…)`; read it with [`RequestedEvents::parse`].
    pub requested: Option<&'a [u8]>,
    /// `S(…)`; read it with [`SignalRequests::parse`].
    pub signals: Option<&'a [u8]>,
    /// `D(…)`; read it with [`DigitMap::parse`](super::DigitMap::parse).
    pub digit_map: Option<&'a [u8]>,
}

impl<'a> RequestedEvents<'a> {
    /// Reads a list; `None` where a member is no event with actions. Embedded requests are read with it.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        Self::within(value, 0)
    }

    /// Its members.
    pub fn iter(&self) -> impl Iterator<Item = RequestedEvent<'a>> + use<'a> {
        Members::new(self.0).filter_map(RequestedEvent::parse)
    }

    /// The list as written.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    fn within(value: &'a [u8], depth: u32) -> Option<Self> {
        if depth > MAX_DEPTH || !is_closed(value) {
            return None;
        }
        let is_list = Members::new(value).all(|member| {
            RequestedEvent::parse(member).is_some_and(|event| {
                Members::new(event.actions).all(|action| match Action::parse(action) {
                    Some(Action::Embed(embedded)) => embedded.is_readable(depth),
                    Some(_) => true,
                    None => false,
                })
            })
        });
        is_list.then_some(RequestedEvents(value))
    }
}

/// The greatest depth of embedded requests; the RFC's examples go one deep.
const MAX_DEPTH: u32 = 4;

impl<'a> RequestedEvent<'a> {
    fn parse(member: &'a [u8]) -> Option<Self> {
        let (name, actions, behind) = group(member)?;
        let name = EventName::parse(name)?;
        let params = match group(behind)? {
            (b"", params, b"") => params,
            _ => return None,
        };
        Some(RequestedEvent { name, actions: actions.unwrap_or_default(), params })
    }

    /// Its actions; `N` (notify) where it names none (§3.2.2.12).
    pub fn actions(&self) -> impl Iterator<Item = Action<'a>> + use<'a> {
        let none = self.actions.is_empty().then_some(Action::Notify);
        none.into_iter().chain(Members::new(self.actions).filter_map(Action::parse))
    }
}

impl<'a> Action<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (name, inner, behind) = group(text)?;
        if name.is_empty() || !behind.is_empty() {
            return None;
        }
        let plain = match letter(name) {
            Some(b'E') => return EmbeddedRequest::parse(inner?).map(Action::Embed),
            Some(b'N') => Action::Notify,
            Some(b'A') => Action::Accumulate,
            Some(b'D') => Action::DigitMap,
            Some(b'S') => Action::Swap,
            Some(b'I') => Action::Ignore,
            Some(b'K') => Action::KeepSignals,
            _ => return Some(Action::Other(text)),
        };
        inner.is_none().then_some(plain)
    }
}

impl<'a> EmbeddedRequest<'a> {
    fn parse(inner: &'a [u8]) -> Option<Self> {
        let mut request = EmbeddedRequest::default();
        for member in Members::new(inner) {
            let (name, Some(text), b"") = group(member)? else { return None };
            let place = match letter(name)? {
                b'R' => &mut request.requested,
                b'S' => &mut request.signals,
                b'D' => &mut request.digit_map,
                _ => return None,
            };
            if place.replace(text).is_some() {
                return None;
            }
        }
        Some(request)
    }

    fn is_readable(&self, depth: u32) -> bool {
        self.requested.is_none_or(|text| RequestedEvents::within(text, depth + 1).is_some())
            && self.signals.is_none_or(|text| SignalRequests::parse(text).is_some())
    }
}

/// A name of one letter, as a capital.
fn letter(name: &[u8]) -> Option<u8> {
    match name {
        [one] => Some(one.to_ascii_uppercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> RequestedEvent<'_> {
        RequestedEvents::parse(text.as_bytes()).and_then(|list| list.iter().next()).unwrap()
    }

    #[test]
    fn events_come_with_their_actions_and_parameters() {
        for (text, name, actions, params) in [
            ("l/hd", "l/hd", vec![Action::Notify], None),
            ("l/hd(N)", "l/hd", vec![Action::Notify], None),
            ("d/[0-9#*T](d)", "d/[0-9#*T]", vec![Action::DigitMap], None),
            ("R/qa(N)(0,3)", "R/qa", vec![Action::Notify], Some(&b"0,3"[..])),
            ("L/hf(s, k)", "L/hf", vec![Action::Swap, Action::KeepSignals], None),
            ("G/mt@32F(I)", "G/mt@32F", vec![Action::Ignore], None),
            ("L/hd(x/do(7),A)", "L/hd", vec![Action::Other(b"x/do(7)"), Action::Accumulate], None),
        ] {
            let event = only(text);
            assert_eq!(event.name.to_string(), name);
            assert_eq!(event.actions().collect::<Vec<_>>(), actions, "{text}");
            assert_eq!(event.params, params, "{text}");
        }
    }

    #[test]
    fn an_embedded_request_has_events_signals_and_a_digit_map() {
        // RFC 3435 Appendix F.1.
        let event = only("L/hd(A, E(S(L/dl),R(L/oc, L/hu, D/[0-9#*T](D)),D((0T|00T))))");
        let actions: Vec<_> = event.actions().collect();
        assert_eq!(actions[0], Action::Accumulate);
        let Action::Embed(embedded) = actions[1] else { panic!("{actions:?}") };
        assert_eq!(embedded.signals, Some(&b"L/dl"[..]));
        assert_eq!(embedded.requested, Some(&b"L/oc, L/hu, D/[0-9#*T](D)"[..]));
        assert_eq!(embedded.digit_map, Some(&b"(0T|00T)"[..]));
        assert_eq!(RequestedEvents::parse(embedded.requested.unwrap()).unwrap().iter().count(), 3);
    }

    #[test]
    fn text_that_is_no_list_of_requested_events_yields_none() {
        for bad in [
            "l/hd(",
            "l/hd)",
            "l/hd(N",
            "l/hd(N)x",
            "l/hd(E)",
            "l/hd(E(Q(x)))",
            "l/hd(E(R(x),R(y)))",
            "l/hd(,)",
            "l/hd,",
        ] {
            assert!(RequestedEvents::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_eq!(RequestedEvents::parse(b"").map(|list| list.iter().count()), Some(0));
    }

    #[test]
    fn requests_are_not_embedded_without_end() {
        let nested = |depth: usize| format!("{}l/hu{}", "l/hd(E(R(".repeat(depth), ")))".repeat(depth));
        assert!(RequestedEvents::parse(nested(4).as_bytes()).is_some());
        assert!(RequestedEvents::parse(nested(5).as_bytes()).is_none());
        assert!(RequestedEvents::parse(nested(5_000).as_bytes()).is_none());
    }
}

//! A notification request: the whole of RQNT, and a part that CRCX, MDCX and DLCX may carry (RFC 3435 §2.3.3, §2.3.12).
//!
//! A request is read and judged whole before anything changes. Afterwards it alone is in force.

use super::measure::Measure;
use super::package::{Detection, Entry, Package, Unplayable};
use super::seen::{EventPattern, EventPlace};
use crate::wire::mgcp::{
    self, DigitMap, EmbeddedRequest, EventConnection, EventId, EventName, QuarantineHandling, RequestedEvents,
    ReturnCode as Code, SignalRequests,
};

/// A request in force. The default is the state before the first request: id 0, no events (§4.4.1).
#[derive(Clone, Debug)]
pub struct NotificationRequest {
    /// RequestIdentifier, as written.
    pub id: Box<[u8]>,
    /// RequestedEvents.
    pub requested: Requested,
    /// DetectEvents; `None`: the events of RequestedEvents.
    pub detect: Option<EventList>,
    /// DigitMap, as written; `None`: the endpoint keeps the one it has.
    pub digit_map: Option<Box<[u8]>>,
    /// QuarantineHandling.
    pub quarantine: QuarantineHandling,
}

/// RequestedEvents: the events and their actions.
#[derive(Clone, Debug, Default)]
pub struct Requested {
    /// The events as read; the first that matches counts.
    pub events: Vec<RequestedEvent>,
    /// As written, for audits.
    pub text: Box<[u8]>,
}

/// One event with its actions.
#[derive(Clone, Debug)]
pub struct RequestedEvent {
    /// The event.
    pub wanted: EventPattern,
    /// Its action.
    pub action: Action,
    /// The request that takes effect when it occurs.
    pub embedded: Option<Box<EmbeddedLists>>,
}

/// The action on an event when it is examined (§2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Report the event at once, with all accumulated events.
    Notify,
    /// Accumulate the event.
    Accumulate,
    /// Drop the event.
    Ignore,
}

/// An embedded request: its lists replace those in force.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedLists {
    /// Its R; absent: empty.
    pub requested: Requested,
    /// Its D, as written; `None`: the endpoint keeps the one it has.
    pub digit_map: Option<Box<[u8]>>,
}

/// A list of events, as read and as written.
#[derive(Clone, Debug, Default)]
pub struct EventList {
    /// The events.
    pub wanted: Vec<EventPattern>,
    /// As written, for audits.
    pub text: Box<[u8]>,
}

/// The parameters of a command that make up a request, as written; `None` where they are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestParams<'a> {
    /// X: RequestIdentifier.
    pub id: Option<&'a [u8]>,
    /// R: RequestedEvents.
    pub requested: Option<&'a [u8]>,
    /// S: SignalRequests.
    pub signals: Option<&'a [u8]>,
    /// D: DigitMap.
    pub digit_map: Option<&'a [u8]>,
    /// Q: QuarantineHandling.
    pub quarantine: Option<&'a [u8]>,
    /// T: DetectEvents.
    pub detect: Option<&'a [u8]>,
}

/// The meaning of names in a request.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The package of names without one.
    pub default: &'static Package,
    /// Whether the command makes or names one connection, for which `@$` stands.
    pub this: bool,
    /// Whether the endpoint has a connection with this id.
    pub knows: &'a dyn Fn(&[u8]) -> bool,
    /// Whether the endpoint has a digit map from before.
    pub has_digit_map: bool,
}

/// Limits of a request, including its embedded requests: the number of events, and the bytes of its text. An endpoint
/// keeps both, so a larger request gets 502.
const EVENTS: usize = 64;
const TEXT: usize = 4_096;
/// RFC 3435 §3.2.2.5: 1 to 32 hexadecimal digits.
const ID: usize = 32;

impl Default for NotificationRequest {
    fn default() -> Self {
        NotificationRequest {
            id: b"0".as_slice().into(),
            requested: Requested::default(),
            detect: None,
            digit_map: None,
            quarantine: QuarantineHandling::default(),
        }
    }
}

impl NotificationRequest {
    /// Reads and judges the request in a command; `None` when it has none. The error is the return code.
    pub fn read(asked: &RequestParams<'_>, scope: Scope<'_>) -> Result<Option<NotificationRequest>, Code> {
        let Some(id) = asked.id else {
            let others = [asked.requested, asked.signals, asked.digit_map, asked.quarantine, asked.detect];
            // §3.2.2.5: a request, encapsulated or not, needs its identifier.
            return if others.iter().any(Option::is_some) { Err(Code::PROTOCOL_ERROR) } else { Ok(None) };
        };
        if id.is_empty() || id.len() > ID || !id.iter().all(u8::is_ascii_hexdigit) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let texts = [asked.requested, asked.signals, asked.digit_map, asked.detect];
        if texts.into_iter().flatten().map(<[u8]>::len).sum::<usize>() > TEXT {
            return Err(Code::INSUFFICIENT_RESOURCES);
        }
        let quarantine = match asked.quarantine {
            None | Some(b"") => QuarantineHandling::default(),
            Some(text) => QuarantineHandling::parse(text).ok_or(Code::UNSUPPORTED_QUARANTINE)?,
        };
        let digit_map = asked.digit_map.filter(|text| !text.is_empty()).map(read_digit_map).transpose()?;
        let scope = Scope { has_digit_map: scope.has_digit_map || digit_map.is_some(), ..scope };
        let requested = Requested::read(asked.requested.unwrap_or_default(), scope, Depth::Outer)?;
        let detect = asked.detect.map(|text| EventList::read(text, scope)).transpose()?;
        judge_signals(asked.signals.unwrap_or_default(), scope)?;
        Ok(Some(NotificationRequest { id: id.into(), requested, detect, digit_map, quarantine }))
    }

    /// Puts an embedded request into effect (§2.3.3): its lists replace those in force, the identifier stays.
    pub fn embed(&mut self, embedded: EmbeddedLists) {
        self.requested = embedded.requested;
        self.digit_map = embedded.digit_map.or(self.digit_map.take());
    }

    /// Replaces `@$` by this connection.
    pub fn resolve(&mut self, connection: &[u8]) {
        self.each_wanted(&mut |wanted| {
            if wanted.place == EventPlace::This {
                wanted.place = EventPlace::Connection(connection.into());
            }
            true
        });
    }

    /// Forgets a connection that is gone: the events asked for on it alone are dropped.
    pub fn forget_connection(&mut self, connection: &[u8]) {
        self.each_wanted(&mut |wanted| match &wanted.place {
            EventPlace::Connection(id) => !id.eq_ignore_ascii_case(connection),
            EventPlace::Anywhere | EventPlace::Connections | EventPlace::This => true,
        });
    }

    fn each_wanted(&mut self, keep: &mut dyn FnMut(&mut EventPattern) -> bool) {
        self.requested.each_wanted(keep);
        if let Some(detect) = &mut self.detect {
            detect.wanted.retain_mut(keep);
        }
    }
}

impl Requested {
    fn read(text: &[u8], scope: Scope<'_>, depth: Depth) -> Result<Self, Code> {
        let mut events = Vec::new();
        for event in RequestedEvents::parse(text).ok_or(Code::PROTOCOL_ERROR)?.iter() {
            let (action, embedded) = read_actions(event, scope, depth)?;
            for wanted in read_event(event.name, Some(event.params), scope)? {
                events.push(RequestedEvent { wanted, action, embedded: embedded.clone() });
            }
            let embedded =
                |event: &RequestedEvent| event.embedded.as_ref().map_or(0, |lists| lists.requested.events.len());
            if events.iter().map(|event| 1 + embedded(event)).sum::<usize>() > EVENTS {
                return Err(Code::INSUFFICIENT_RESOURCES);
            }
        }
        Ok(Requested { events, text: text.into() })
    }

    fn each_wanted(&mut self, keep: &mut dyn FnMut(&mut EventPattern) -> bool) {
        self.events.retain_mut(|event| {
            if let Some(embedded) = &mut event.embedded {
                embedded.requested.each_wanted(keep);
            }
            keep(&mut event.wanted)
        });
    }
}

impl EventList {
    fn read(text: &[u8], scope: Scope<'_>) -> Result<Self, Code> {
        let mut wanted = Vec::new();
        for event in SignalRequests::parse(text).ok_or(Code::PROTOCOL_ERROR)?.iter() {
            wanted.extend(read_event(event.name, None, scope)?);
            if wanted.len() > EVENTS {
                return Err(Code::INSUFFICIENT_RESOURCES);
            }
        }
        Ok(EventList { wanted, text: text.into() })
    }
}

/// The depth of a request: an embedded request must not contain another one (§2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Outer,
    Embedded,
}

/// The actions of an event. Without any it is Notify.
///
/// These actions are legal together (§2.3.3): one of Notify, Accumulate and Ignore; Keep with all; an embedded request
/// with Accumulate or alone, because after a Notify the endpoint awaits the call agent's own next request. The other
/// actions get 523: accumulation by digit map needs digits, which are not detected here, Swap needs two lines, and an
/// embedded ModifyConnection needs a connection.
fn read_actions(
    event: mgcp::RequestedEvent<'_>,
    scope: Scope<'_>,
    depth: Depth,
) -> Result<(Action, Option<Box<EmbeddedLists>>), Code> {
    let mut action = None;
    let mut embedded = None;
    let mut kept = false;
    for next in event.actions() {
        match next {
            mgcp::Action::Notify if action.is_none() => action = Some(Action::Notify),
            mgcp::Action::Accumulate if action.is_none() => action = Some(Action::Accumulate),
            mgcp::Action::Ignore if action.is_none() => action = Some(Action::Ignore),
            mgcp::Action::KeepSignals if !kept => kept = true,
            mgcp::Action::DigitMap if !scope.has_digit_map => return Err(Code::NO_DIGIT_MAP),
            mgcp::Action::Embed(lists) if embedded.is_none() && depth == Depth::Outer => {
                embedded = Some(Box::new(EmbeddedLists::read(lists, scope)?));
            }
            _ => return Err(Code::UNKNOWN_ACTION),
        }
    }
    match (action, &embedded) {
        (Some(Action::Notify | Action::Ignore), Some(_)) => Err(Code::UNKNOWN_ACTION),
        (None, Some(_)) => Ok((Action::Ignore, embedded)),
        (action, _) => Ok((action.unwrap_or(Action::Notify), embedded)),
    }
}

impl EmbeddedLists {
    fn read(lists: EmbeddedRequest<'_>, scope: Scope<'_>) -> Result<Self, Code> {
        let requested = Requested::read(lists.requested.unwrap_or_default(), scope, Depth::Embedded)?;
        judge_signals(lists.signals.unwrap_or_default(), scope)?;
        Ok(EmbeddedLists { requested, digit_map: lists.digit_map.map(read_digit_map).transpose()? })
    }
}

/// Judges a digit map. It is kept, but digits are not detected yet that could be matched against it.
fn read_digit_map(text: &[u8]) -> Result<Box<[u8]>, Code> {
    // §2.1.5: every gateway must take 2,048 bytes.
    const LONGEST: usize = 2_048;
    let map = DigitMap::parse(text).filter(|_| text.len() <= LONGEST).ok_or(Code::PROTOCOL_ERROR)?;
    let known = |letter: &u8| !letter.is_ascii_alphabetic() || b"ABCDTX".contains(&letter.to_ascii_uppercase());
    match map.alternatives().flatten().all(known) {
        true => Ok(text.into()),
        false => Err(Code::UNSUPPORTED_DIGIT_MAP),
    }
}

/// The events that a name stands for: `R/ma`, `R/ma@*`, `D/[0-9#]`, `G/all`. `parameters` is `Some` for
/// RequestedEvents, whose events may have parameters, and `None` for DetectEvents, whose events have none.
fn read_event(
    name: EventName<'_>,
    parameters: Option<Option<&[u8]>>,
    scope: Scope<'_>,
) -> Result<Vec<EventPattern>, Code> {
    let place = read_place(name.connection, scope)?;
    let mut wanted = Vec::new();
    for package in packages(name.package, scope)? {
        let mut add = |entry, measure| wanted.push(EventPattern { package, entry, measure, place: place.clone() });
        if name.event == EventId::All {
            if parameters.flatten().is_some_and(|parameters| !parameters.is_empty()) {
                return Err(Code::EVENT_PARAMETER);
            }
            match package.offered {
                true => add(None, None),
                false => return Err(Code::CANNOT_DETECT),
            }
            continue;
        }
        for entry in entries(package, name.event)? {
            let measure = parameters.map(|text| Measure::read(package, entry, text)).transpose()?.flatten();
            match entry.event {
                Detection::NotAnEvent => return Err(Code::NO_SUCH_EVENT),
                Detection::Unequipped => return Err(Code::CANNOT_DETECT),
                Detection::Equipped => add(Some(entry), measure),
            }
        }
    }
    Ok(wanted)
}

/// Judges SignalRequests. The media cannot play any signal yet: each is refused with its package's code, and an empty
/// list is fine.
fn judge_signals(text: &[u8], scope: Scope<'_>) -> Result<(), Code> {
    let signals = SignalRequests::parse(text).ok_or(Code::PROTOCOL_ERROR)?;
    let Some(signal) = signals.iter().next() else { return Ok(()) };
    read_place(signal.name.connection, scope)?;
    for package in packages(signal.name.package, scope)? {
        if entries(package, signal.name.event)?.iter().any(|entry| entry.signal.is_none()) {
            return Err(Code::NO_SUCH_EVENT);
        }
        if package.unplayable == Unplayable::Announcement {
            return Err(Code::CANNOT_ANNOUNCE);
        }
    }
    Err(Code::CANNOT_GENERATE)
}

/// The packages that a name means.
fn packages(name: Option<&[u8]>, scope: Scope<'_>) -> Result<Vec<&'static Package>, Code> {
    match name {
        None => Ok(vec![scope.default]),
        Some(b"*") => Ok(Package::all_offered().collect()),
        Some(name) => Ok(vec![Package::named(name).ok_or(Code::UNKNOWN_PACKAGE)?]),
    }
}

/// The events and signals of a package that an id means; 522 where there is none.
fn entries(package: &'static Package, id: EventId<'_>) -> Result<Vec<&'static Entry>, Code> {
    let found: Vec<_> = package.entries.iter().filter(|entry| id.means(entry.name.as_bytes())).collect();
    match found.is_empty() {
        true => Err(Code::NO_SUCH_EVENT),
        false => Ok(found),
    }
}

fn read_place(connection: Option<EventConnection<'_>>, scope: Scope<'_>) -> Result<EventPlace, Code> {
    match connection {
        None => Ok(EventPlace::Anywhere),
        Some(EventConnection::All) => Ok(EventPlace::Connections),
        Some(EventConnection::Current) if scope.this => Ok(EventPlace::This),
        Some(EventConnection::Id(id)) if (scope.knows)(id) => Ok(EventPlace::Connection(id.into())),
        Some(EventConnection::Current | EventConnection::Id(_)) => Err(Code::INCORRECT_CONNECTION),
    }
}

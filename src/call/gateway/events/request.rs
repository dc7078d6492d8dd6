//! A notification request: what RQNT asks, and CRCX, MDCX and DLCX may carry along (RFC 3435 §2.3.3, §2.3.12).
//!
//! A request is read and judged whole before anything changes; what is in force afterwards is the new one alone.

use super::digit_map::DigitMap;
use super::list::{self, Item};
use super::package::{Detection, Package, Unplayable};
use super::seen::{Place, Wanted};
use crate::wire::mgcp::ReturnCode as Code;

/// A request in force. The default is the one before the first: id 0, nothing asked (§4.4.1).
#[derive(Clone, Debug)]
pub struct Request {
    /// RequestIdentifier, as written.
    pub id: Box<[u8]>,
    /// RequestedEvents.
    pub requested: Requested,
    /// DetectEvents; `None`: those of RequestedEvents.
    pub detect: Option<EventList>,
    /// DigitMap; `None`: the endpoint keeps the one it has.
    pub digit_map: Option<DigitMap>,
    /// QuarantineHandling.
    pub quarantine: Quarantine,
}

/// RequestedEvents: the events and what to do about each.
#[derive(Clone, Debug, Default)]
pub struct Requested {
    /// As read; the first that matches counts.
    pub events: Vec<RequestedEvent>,
    /// As written, for audits.
    pub text: Box<[u8]>,
}

/// One event with its actions.
#[derive(Clone, Debug)]
pub struct RequestedEvent {
    /// The event.
    pub wanted: Wanted,
    /// What becomes of it.
    pub action: Action,
    /// The request that takes effect when it occurs.
    pub embedded: Option<Box<Embedded>>,
}

/// What becomes of an event when it is examined (§2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is reported at once, with all that has been accumulated.
    Notify,
    /// It is accumulated.
    Accumulate,
    /// Nothing.
    Ignore,
}

/// An embedded request: what replaces the lists in force.
#[derive(Clone, Debug, Default)]
pub struct Embedded {
    /// Its R; absent: empty.
    pub requested: Requested,
    /// Its D; `None`: the endpoint keeps the one it has.
    pub digit_map: Option<DigitMap>,
}

/// A list of events, as read and as written.
#[derive(Clone, Debug, Default)]
pub struct EventList {
    /// The events.
    pub wanted: Vec<Wanted>,
    /// As written, for audits.
    pub text: Box<[u8]>,
}

/// QuarantineHandling (§2.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// What becomes of events that had not been reported when the request came.
    pub events: Handling,
    /// How many notifications the request allows.
    pub notifications: Notifications,
}

/// What becomes of events seen before the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handling {
    /// They are examined under it.
    #[default]
    Process,
    /// They are forgotten.
    Discard,
}

/// How many notifications a request allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notifications {
    /// One: then the next request is awaited.
    #[default]
    Step,
    /// As many as are triggered, one after the other.
    Loop,
}

/// The parameters of a command that make up a request, as written; `None` where they are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
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

/// What the names in a request refer to.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The package of names without one.
    pub default: &'static Package,
    /// Whether the command makes or names one connection, which `@$` stands for.
    pub this: bool,
    /// Whether the endpoint has a connection with this id.
    pub knows: &'a dyn Fn(&[u8]) -> bool,
    /// Whether the endpoint has a digit map from before.
    pub has_digit_map: bool,
}

/// Bounds: what a request holds at most. More of either is 510.
const EVENTS: usize = 64;
/// RFC 3435 §3.2.2.5: 1 to 32 hexadecimal digits.
const ID: usize = 32;

impl Default for Request {
    fn default() -> Self {
        Request {
            id: b"0".as_slice().into(),
            requested: Requested::default(),
            detect: None,
            digit_map: None,
            quarantine: Quarantine::default(),
        }
    }
}

impl Request {
    /// Reads and judges what a command asks; `None` when it asks nothing. The error is the return code.
    pub fn read(asked: &Asked<'_>, scope: Scope<'_>) -> Result<Option<Request>, Code> {
        let Some(id) = asked.id else {
            let others = [asked.requested, asked.signals, asked.digit_map, asked.quarantine, asked.detect];
            // §3.2.2.5: a request, encapsulated or not, needs its identifier.
            return if others.iter().any(Option::is_some) { Err(Code::PROTOCOL_ERROR) } else { Ok(None) };
        };
        if id.is_empty() || id.len() > ID || !id.iter().all(u8::is_ascii_hexdigit) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let quarantine = Quarantine::read(asked.quarantine.unwrap_or_default())?;
        let digit_map = asked.digit_map.filter(|text| !text.is_empty()).map(DigitMap::read).transpose()?;
        let scope = Scope { has_digit_map: scope.has_digit_map || digit_map.is_some(), ..scope };
        let requested = Requested::read(asked.requested.unwrap_or_default(), scope, Depth::Outer)?;
        let detect = asked.detect.map(|text| EventList::read(text, scope)).transpose()?;
        judge_signals(asked.signals.unwrap_or_default(), scope)?;
        Ok(Some(Request { id: id.into(), requested, detect, digit_map, quarantine }))
    }

    /// An embedded request takes effect (§2.3.3): its lists replace those in force, the identifier stays.
    pub fn embed(&mut self, embedded: Embedded) {
        self.requested = embedded.requested;
        self.digit_map = embedded.digit_map.or(self.digit_map.take());
    }

    /// `@$` is this connection from now on.
    pub fn resolve(&mut self, connection: &[u8]) {
        self.each_wanted(&mut |wanted| {
            if wanted.place == Place::This {
                wanted.place = Place::Connection(connection.into());
            }
            true
        });
    }

    /// A connection is gone: what was asked about it alone is asked no more.
    pub fn forget_connection(&mut self, connection: &[u8]) {
        self.each_wanted(&mut |wanted| match &wanted.place {
            Place::Connection(id) => !id.eq_ignore_ascii_case(connection),
            Place::Anywhere | Place::Connections | Place::This => true,
        });
    }

    fn each_wanted(&mut self, keep: &mut dyn FnMut(&mut Wanted) -> bool) {
        self.requested.each_wanted(keep);
        if let Some(detect) = &mut self.detect {
            detect.wanted.retain_mut(keep);
        }
    }
}

impl Requested {
    fn read(text: &[u8], scope: Scope<'_>, depth: Depth) -> Result<Self, Code> {
        let mut events = Vec::new();
        for item in list::items(text) {
            let item = item.ok_or(Code::PROTOCOL_ERROR)?;
            let (action, embedded) = read_actions(&item, scope, depth)?;
            // None of the events that can be detected has parameters (RFC 3660).
            if item.second.is_some_and(|parameters| !parameters.is_empty()) {
                return Err(Code::EVENT_PARAMETER);
            }
            for wanted in read_events(item.name, scope)? {
                events.push(RequestedEvent { wanted, action, embedded: embedded.clone() });
            }
            if events.len() > EVENTS {
                return Err(Code::PROTOCOL_ERROR);
            }
        }
        Ok(Requested { events, text: text.into() })
    }

    fn each_wanted(&mut self, keep: &mut dyn FnMut(&mut Wanted) -> bool) {
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
        for item in list::items(text) {
            wanted.extend(read_events(item.ok_or(Code::PROTOCOL_ERROR)?.name, scope)?);
            if wanted.len() > EVENTS {
                return Err(Code::PROTOCOL_ERROR);
            }
        }
        Ok(EventList { wanted, text: text.into() })
    }
}

impl Quarantine {
    fn read(text: &[u8]) -> Result<Self, Code> {
        let mut read = Quarantine::default();
        for word in list::words(text).filter(|word| !word.is_empty()) {
            match word {
                _ if word.eq_ignore_ascii_case(b"process") => read.events = Handling::Process,
                _ if word.eq_ignore_ascii_case(b"discard") => read.events = Handling::Discard,
                _ if word.eq_ignore_ascii_case(b"step") => read.notifications = Notifications::Step,
                _ if word.eq_ignore_ascii_case(b"loop") => read.notifications = Notifications::Loop,
                _ => return Err(Code::UNSUPPORTED_QUARANTINE),
            }
        }
        Ok(read)
    }

    /// As in an audit's answer.
    pub const fn text(self) -> &'static str {
        match (self.events, self.notifications) {
            (Handling::Process, Notifications::Step) => "process,step",
            (Handling::Process, Notifications::Loop) => "process,loop",
            (Handling::Discard, Notifications::Step) => "discard,step",
            (Handling::Discard, Notifications::Loop) => "discard,loop",
        }
    }
}

/// Whether an embedded request may stand here: a request that is embedded holds none (§2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Outer,
    Embedded,
}

/// The actions of an event. Without any it is Notify.
///
/// Legal beside each other (§2.3.3): one of Notify, Accumulate and Ignore; Keep with all; an embedded request with
/// Accumulate or alone, for a notification awaits the call agent's own next request. Accumulation by digit map needs
/// digits, which are not detected here; Swap needs two lines, an embedded ModifyConnection a connection: 523.
fn read_actions(item: &Item<'_>, scope: Scope<'_>, depth: Depth) -> Result<(Action, Option<Box<Embedded>>), Code> {
    let mut action = None;
    let mut embedded = None;
    let mut kept = false;
    for part in list::items(item.first.unwrap_or_default()) {
        let part = part.ok_or(Code::PROTOCOL_ERROR)?;
        let [letter] = part.name else { return Err(Code::UNKNOWN_ACTION) };
        match (letter.to_ascii_uppercase(), part.first) {
            (b'N', None) if action.is_none() => action = Some(Action::Notify),
            (b'A', None) if action.is_none() => action = Some(Action::Accumulate),
            (b'I', None) if action.is_none() => action = Some(Action::Ignore),
            (b'K', None) if !kept => kept = true,
            (b'D', None) if !scope.has_digit_map => return Err(Code::NO_DIGIT_MAP),
            (b'E', Some(lists)) if embedded.is_none() && depth == Depth::Outer => {
                embedded = Some(Box::new(Embedded::read(lists, scope)?));
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

impl Embedded {
    /// Reads `R(…),S(…),D(…)`, in any order, each at most once.
    fn read(lists: &[u8], scope: Scope<'_>) -> Result<Self, Code> {
        let mut read = Embedded::default();
        let mut seen = 0u8;
        for part in list::items(lists) {
            let part = part.ok_or(Code::PROTOCOL_ERROR)?;
            let text = part.first.unwrap_or_default();
            let bit = match part.name {
                b"R" | b"r" => {
                    read.requested = Requested::read(text, scope, Depth::Embedded)?;
                    1
                }
                b"S" | b"s" => {
                    judge_signals(text, scope)?;
                    2
                }
                b"D" | b"d" => {
                    read.digit_map = Some(DigitMap::read(text)?);
                    4
                }
                _ => return Err(Code::PROTOCOL_ERROR),
            };
            if seen & bit != 0 {
                return Err(Code::PROTOCOL_ERROR);
            }
            seen |= bit;
        }
        Ok(read)
    }
}

/// The events that a name stands for: `R/ma`, `R/ma@*`, `D/[0-9#]`, `G/all`.
fn read_events(name: &[u8], scope: Scope<'_>) -> Result<Vec<Wanted>, Code> {
    let (packages, event, place) = read_name(name, scope)?;
    let mut wanted = Vec::new();
    for package in packages {
        let mut add = |entry| wanted.push(Wanted { package, entry, place: place.clone() });
        if event.eq_ignore_ascii_case(b"all") {
            match package.offered {
                true => add(None),
                false => return Err(Code::CANNOT_DETECT),
            }
            continue;
        }
        for event in names(event)? {
            let entry = package.entry(&event).ok_or(Code::NO_SUCH_EVENT)?;
            match entry.event {
                Detection::NotAnEvent => return Err(Code::NO_SUCH_EVENT),
                Detection::Unequipped => return Err(Code::CANNOT_DETECT),
                Detection::Equipped => add(Some(entry)),
            }
        }
    }
    Ok(wanted)
}

/// Judges SignalRequests. There is nothing yet that could play one: each is refused by its own code, and an empty list
/// is fine.
fn judge_signals(text: &[u8], scope: Scope<'_>) -> Result<(), Code> {
    for item in list::items(text) {
        let (packages, signal, _) = read_name(item.ok_or(Code::PROTOCOL_ERROR)?.name, scope)?;
        for package in packages {
            for signal in names(signal)? {
                let entry = package.entry(&signal).ok_or(Code::NO_SUCH_EVENT)?;
                entry.signal.ok_or(Code::NO_SUCH_EVENT)?;
                return Err(match package.unplayable {
                    Unplayable::Signal => Code::CANNOT_GENERATE,
                    Unplayable::Announcement => Code::CANNOT_ANNOUNCE,
                });
            }
        }
    }
    Ok(())
}

/// Splits `package/name@connection`.
fn read_name<'n>(name: &'n [u8], scope: Scope<'_>) -> Result<(Vec<&'static Package>, &'n [u8], Place), Code> {
    let (package, rest) = match memchr::memchr(b'/', name) {
        Some(at) => (Some(&name[..at]), &name[at + 1..]),
        None => (None, name),
    };
    let (event, place) = match memchr::memchr(b'@', rest) {
        Some(at) => (&rest[..at], read_place(&rest[at + 1..], scope)?),
        None => (rest, Place::Anywhere),
    };
    if event.is_empty() {
        return Err(Code::PROTOCOL_ERROR);
    }
    let packages = match package {
        None => vec![scope.default],
        Some(b"*") => Package::all_offered().collect(),
        Some(package) => vec![Package::named(package).ok_or(Code::UNKNOWN_PACKAGE)?],
    };
    Ok((packages, event, place))
}

fn read_place(connection: &[u8], scope: Scope<'_>) -> Result<Place, Code> {
    match connection {
        b"*" => Ok(Place::Connections),
        b"$" if scope.this => Ok(Place::This),
        id if (scope.knows)(id) => Ok(Place::Connection(id.into())),
        _ => Err(Code::INCORRECT_CONNECTION),
    }
}

/// The names a name stands for: itself, or each character of a range `[0-9#*T]`.
fn names(name: &[u8]) -> Result<Vec<Box<[u8]>>, Code> {
    let Some(range) = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) else {
        return Ok(vec![name.into()]);
    };
    let letters = list::letters(range).ok_or(Code::PROTOCOL_ERROR)?;
    Ok(letters.into_iter().map(|letter| Box::from([letter].as_slice())).collect())
}

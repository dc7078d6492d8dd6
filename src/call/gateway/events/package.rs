//! The packages this gateway knows: their events and signals (RFC 3660), and whether it can detect or play them.
//!
//! The return codes follow from the tables here (RFC 3435 §2.4). A listed event that cannot be detected is 512, a
//! listed signal that cannot be played 513 or 514, an unlisted name 522, an unlisted package 518. When the media learns
//! to detect or to play something, its line here changes, and nothing else in the checks.

use crate::call::gateway::kind::Kind;

/// A package: a set of events and signals under one name (RFC 3435 §2.1.6).
#[derive(Debug)]
pub struct Package {
    /// Its name, in the letters of its RFC.
    pub name: &'static str,
    /// Its events and signals.
    pub entries: &'static [Entry],
    /// The refusal of a signal of this package that the gateway cannot play.
    pub unplayable: Unplayable,
    /// Whether capabilities name it (`v:`, RFC 3435 §2.3.10): some of its events work, beyond reports on the end of
    /// signals, which are never played.
    pub offered: bool,
}

/// One event or signal of a package, or both under one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the package.
    pub name: &'static str,
    /// Whether it is an event, and whether it can be detected here.
    pub event: Detection,
    /// Whether it is a signal, and of which type.
    pub signal: Option<SignalType>,
}

/// Whether a name is an event, and whether this gateway can detect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// The name is a signal only.
    NotAnEvent,
    /// It is an event that this gateway is not equipped to detect.
    Unequipped,
    /// It can be requested.
    Equipped,
}

/// The duration of a signal (RFC 3435 §2.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalType {
    /// The signal lasts until it is turned off.
    OnOff,
    /// The signal lasts until it is turned off or its time is over.
    TimeOut,
    /// The signal ends by itself and cannot be stopped.
    Brief,
}

/// The refusal of a signal that cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplayable {
    /// 513: not equipped to generate it.
    Signal,
    /// 514: the announcement cannot be sent.
    Announcement,
}

impl Package {
    /// The package of this name, in any case.
    pub fn named(name: &[u8]) -> Option<&'static Package> {
        PACKAGES.iter().copied().find(|package| package.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The package of names without a package, on an endpoint of this kind (RFC 3435 §2.1.6).
    pub const fn default_of(kind: Kind) -> &'static Package {
        match kind {
            Kind::Announcement => &ANNOUNCEMENT,
            Kind::Ivr => &AUDIO,
            Kind::Conference | Kind::Bridge => &GENERIC,
        }
    }

    /// The packages that capabilities name.
    pub fn all_offered() -> impl Iterator<Item = &'static Package> {
        PACKAGES.iter().copied().filter(|package| package.offered)
    }

    /// Its event or signal of this name, in any case.
    pub fn entry(&self, name: &[u8]) -> Option<&'static Entry> {
        self.entries.iter().find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

static PACKAGES: &[&Package] = &[&GENERIC, &RTP, &DTMF, &ANNOUNCEMENT, &AUDIO, &ADVANCED_AUDIO];

use Detection::{Equipped, NotAnEvent, Unequipped};
use SignalType::{Brief, OnOff, TimeOut};

const fn event(name: &'static str, event: Detection) -> Entry {
    Entry { name, event, signal: None }
}

const fn signal(name: &'static str, signal: SignalType) -> Entry {
    Entry { name, event: NotAnEvent, signal: Some(signal) }
}

const fn both(name: &'static str, event: Detection, signal: SignalType) -> Entry {
    Entry { name, event, signal: Some(signal) }
}

/// Generic media (RFC 3660 §2.1).
static GENERIC: Package = Package {
    name: "G",
    unplayable: Unplayable::Signal,
    offered: true,
    entries: &[
        signal("cf", Brief),
        signal("cg", TimeOut),
        event("ft", Unequipped),
        signal("it", OnOff),
        event("ld", Unequipped),
        event("mt", Unequipped),
        // A signal has completed (`oc`) or failed (`of`). Accepting a request for these does not promise that a signal
        // can be played.
        event("oc", Equipped),
        event("of", Equipped),
        both("pat", Unequipped, OnOff),
        signal("pt", OnOff),
        signal("rbk", TimeOut),
        signal("rt", TimeOut),
    ],
};

/// RTP (RFC 3660 §2.10): events that the media of a connection sees in its packets.
static RTP: Package = Package {
    name: "R",
    unplayable: Unplayable::Signal,
    offered: true,
    entries: &[
        both("co1", Unequipped, TimeOut),
        both("co2", Unequipped, TimeOut),
        event("iu", Unequipped),
        event("ji", Unequipped),
        event("ma", Equipped),
        event("oc", Equipped),
        event("of", Equipped),
        event("pl", Equipped),
        event("qa", Unequipped),
        event("rto", Equipped),
        event("sr", Unequipped),
        event("uc", Unequipped),
    ],
};

/// DTMF (RFC 3660 §2.2).
static DTMF: Package = Package {
    name: "D",
    unplayable: Unplayable::Signal,
    offered: false,
    entries: &[
        both("0", Unequipped, Brief),
        both("1", Unequipped, Brief),
        both("2", Unequipped, Brief),
        both("3", Unequipped, Brief),
        both("4", Unequipped, Brief),
        both("5", Unequipped, Brief),
        both("6", Unequipped, Brief),
        both("7", Unequipped, Brief),
        both("8", Unequipped, Brief),
        both("9", Unequipped, Brief),
        both("*", Unequipped, Brief),
        both("#", Unequipped, Brief),
        both("A", Unequipped, Brief),
        both("B", Unequipped, Brief),
        both("C", Unequipped, Brief),
        both("D", Unequipped, Brief),
        both("dd", Unequipped, TimeOut),
        signal("do", OnOff),
        event("du", Unequipped),
        event("L", Unequipped),
        event("oc", Equipped),
        event("of", Equipped),
        both("T", Unequipped, TimeOut),
        event("X", Unequipped),
    ],
};

/// Announcement server (RFC 3660 §2.9).
static ANNOUNCEMENT: Package = Package {
    name: "A",
    unplayable: Unplayable::Announcement,
    offered: false,
    entries: &[signal("ann", TimeOut), event("oc", Equipped), event("of", Equipped), event("pa", Unequipped)],
};

/// Basic audio (RFC 2897 §1).
static AUDIO: Package =
    Package { name: "BAU", unplayable: Unplayable::Announcement, offered: false, entries: AUDIO_ENTRIES };

/// Advanced audio (RFC 2897 §1).
static ADVANCED_AUDIO: Package =
    Package { name: "AAU", unplayable: Unplayable::Announcement, offered: false, entries: AUDIO_ENTRIES };

static AUDIO_ENTRIES: &[Entry] = &[
    signal("pa", TimeOut),
    signal("pc", TimeOut),
    signal("pr", TimeOut),
    signal("es", Brief),
    event("oc", Equipped),
    event("of", Equipped),
    signal("ma", TimeOut),
];

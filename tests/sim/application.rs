//! The application of a simulated worker: it does what the URI of a call asks for. What it sees of calls waits for the
//! truth.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use pointsman::call::gateway::{Ask, ConnectionKey, Counters, Told};
use pointsman::call::{CallKey, EndReason, Uas};
use pointsman::ids::WorkerId;
use pointsman::station::{Application, Call, Calls, Media};
use pointsman::time::Time;
use pointsman::wire::sip::Message;
use pointsman::words::RefuseReason;

use crate::text;

/// A fact about a call, for the truth.
#[derive(Debug)]
pub enum Seen {
    Incoming { caller: Option<usize>, conference: Option<String>, size: u32 },
    Established { caller: usize },
    Ended { caller: usize, reason: EndReason },
}

/// Does what the URI of a call asks for.
#[derive(Debug)]
pub struct Obedient {
    slot: WorkerId,
    calls: BTreeMap<CallKey, Talk>,
    /// Deeds that it does later.
    agenda: BTreeMap<(Time, CallKey), Deed>,
    /// The way of the facts to the truth.
    seen: Sender<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Talk {
    caller: usize,
    wishes: Wishes,
}

/// The wishes in the URI of a call.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    /// Milliseconds before it is answered.
    wait: u64,
    /// Whether it rings meanwhile.
    ring: bool,
    /// The status it is answered with.
    status: u64,
    /// Slots that give it back, as bits.
    refuse: u64,
    /// Milliseconds until the worker hangs up.
    talk: u64,
    /// Whether it is challenged first.
    challenge: bool,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Answer,
    HangUp,
}

const ANSWER: &[u8] =
    b"v=0\r\no=- 7 7 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n";

impl Obedient {
    pub fn new(slot: WorkerId, seen: Sender<Seen>) -> Self {
        Obedient { slot, calls: BTreeMap::new(), agenda: BTreeMap::new(), seen }
    }

    fn tell(&self, seen: Seen) {
        // The truth hears it for as long as the process lives.
        let _ = self.seen.send(seen);
    }

    /// Whether it has no call.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    fn answer(&self, wishes: Wishes, call: &mut Call<'_>) {
        if wishes.refuse >> self.slot.0 & 1 == 1 {
            call.refuse(RefuseReason::Exhausted);
            return;
        }
        // A call that is over by now waits for no answer.
        let _ = if wishes.challenge {
            call.reject_with(401, &[("WWW-Authenticate", "Digest realm=\"sim\", nonce=\"1\"")])
        } else if wishes.status >= 300 {
            call.reject(wishes.status as u16)
        } else {
            call.accept(ANSWER)
        };
    }
}

impl Application for Obedient {
    fn on_call(&mut self, call: &mut Call<'_>) {
        let talk = call.invite(|invite| {
            let bytes = std::str::from_utf8(invite.bytes()).expect("callers write plain text");
            (text::caller(bytes), conference(invite), Wishes::of(invite, bytes))
        });
        // Its CANCEL came in the same frame: there is nothing to decide any more.
        let Some((caller, conference, wishes)) = talk else { return };
        let (key, at) = (call.key(), call.now());
        self.tell(Seen::Incoming { caller, conference, size: call.size() });
        let Some(caller) = caller else { return };
        self.calls.insert(key, Talk { caller, wishes });
        if wishes.wait == 0 {
            return self.answer(wishes, call);
        }
        if wishes.ring {
            let _ = call.ring(180);
        }
        self.agenda.insert((at + Duration::from_millis(wishes.wait), key), Deed::Answer);
    }

    fn on_established(&mut self, call: &mut Call<'_>) {
        let Some(talk) = self.calls.get(&call.key()) else { return };
        self.tell(Seen::Established { caller: talk.caller });
        let talks = Duration::from_millis(talk.wishes.talk.max(1));
        self.agenda.insert((call.now() + talks, call.key()), Deed::HangUp);
    }

    fn on_offer(&mut self, call: &mut Call<'_>) {
        let _ = call.accept(ANSWER);
    }

    fn on_ended(&mut self, key: CallKey, reason: EndReason) {
        let Some(talk) = self.calls.remove(&key) else { return };
        self.tell(Seen::Ended { caller: talk.caller, reason });
        self.agenda.retain(|(_, other), _| *other != key);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    fn handle_timeout(&mut self, calls: &mut Calls<'_>) {
        while let Some(due) = self.agenda.first_entry().filter(|due| due.key().0 <= calls.now()) {
            let ((_, key), deed) = due.remove_entry();
            let wishes = self.calls.get(&key).map(|talk| talk.wishes);
            let (Some(mut call), Some(wishes)) = (calls.call(key), wishes) else { continue };
            match deed {
                Deed::Answer => self.answer(wishes, &mut call),
                Deed::HangUp => call.hang_up(),
            }
        }
    }
}

impl Wishes {
    fn of(invite: &Message<'_>, text: &str) -> Self {
        let number = |name: &str| -> u64 {
            let value = invite.uri().and_then(|uri| std::str::from_utf8(uri.param(name.as_bytes())?).ok());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Wishes {
            wait: number("wait"),
            ring: number("ring") == 1,
            status: number("status"),
            refuse: number("refuse"),
            talk: number("talk"),
            challenge: number("auth") == 1 && text::header(text, "Authorization").is_none(),
        }
    }
}

fn conference(invite: &Message<'_>) -> Option<String> {
    let user = std::str::from_utf8(invite.uri()?.user?).ok()?;
    let name = user.split(';').next()?;
    name.starts_with("conf=").then(|| name.to_owned())
}

/// Media without sockets: every port is 20000.
#[derive(Debug)]
pub struct Silence;

impl Media for Silence {
    fn is_exhausted(&self, _now: Time) -> bool {
        false
    }

    fn has(&self, _key: CallKey) -> bool {
        false
    }

    fn echo(&mut self, _uas: &mut Uas, _key: CallKey, _offer: Option<&[u8]>, _now: Time) -> bool {
        false
    }

    fn on_offer(&mut self, _uas: &mut Uas, _key: CallKey, _offer: &[u8], _now: Time) {}

    fn on_offer_wanted(&mut self, _uas: &mut Uas, _key: CallKey, _now: Time) {}

    fn on_answer(&mut self, _uas: &mut Uas, _key: CallKey, _answer: &[u8], _now: Time) {}

    fn on_ended(&mut self, _key: CallKey) {}

    fn carry_out(&mut self, _key: ConnectionKey, ask: &Ask, _now: Time) -> Told {
        match ask {
            Ask::Open { .. } => Told::Opened(20_000),
            Ask::Change(_) => Told::Changed,
            Ask::Close => Told::Closed(Counters::default()),
            Ask::Count => Told::Counted(Counters::default()),
        }
    }
}

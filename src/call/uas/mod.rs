//! The user agent: its state, its inputs and outputs. The files beside this one serve the requests.

mod addresses;
mod aliases;
mod arriving;
mod body;
mod call;
mod carried;
mod client;
mod dialog;
mod ending;
mod given_back;
mod heard;
mod invite;
mod next_hop;
mod options;
mod refresh;
mod reliable;
mod reoffer;
mod request;
mod respond;
mod rooms;
mod server;
mod session_timer;
mod standalone;
mod unanswerable;
mod units;
mod way;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::call::exchange::{Arrival, CallKey, Event, Hop, Load, Output};
use crate::call::identity::{Identity, Limits, SessionTimer};
use crate::call::strangers::Strangers;
use crate::call::uas::aliases::Aliases;
use crate::call::uas::call::{Call, Phase};
use crate::call::uas::carried::Carried;
use crate::call::uas::client::{Client, ClientKey};
use crate::call::uas::given_back::GivenBack;
use crate::call::uas::request::{Case, Fingerprints, without_prefix};
use crate::call::uas::rooms::Rooms;
use crate::call::uas::server::{Server, ServerKey, Servers};
use crate::ids::{Seq, decode, encode};
use crate::slab::{Handle, Slab};
use crate::time::{Time, Wheel};
use crate::wire::sip::{Message, Scanner};

pub use self::reliable::Delivery;
pub use self::request::Request;

/// The user agent of one worker.
#[derive(Debug)]
pub struct Uas {
    identity: Identity,
    limits: Limits,
    session_timer: SessionTimer,
    prints: Fingerprints,
    calls: Slab<CallKey, Call>,
    servers: Servers,
    clients: Slab<ClientKey, Client>,
    carried: Carried,
    given_back: GivenBack,
    wheel: Wheel<Timer>,
    outputs: VecDeque<Output>,
    /// `None` only while it is lent out.
    scanner: Option<Scanner>,
    scratch: Vec<u8>,
    load: Load,
    strangers: Strangers,
    aliases: Aliases,
    rooms: Rooms,
    /// Units of the capacity that sessions other than SIP calls take.
    elsewhere: u32,
    draining: bool,
    /// Media types of the INFO bodies that the application takes.
    info_types: Box<[Box<str>]>,
    count: u64,
}

/// An entry of the wheel.
#[derive(Clone, Copy, Debug)]
enum Timer {
    Server(ServerKey),
    Client(ClientKey),
    Call(CallKey),
}

impl Uas {
    /// A user agent without calls.
    pub fn new(identity: Identity, limits: Limits, session_timer: SessionTimer) -> Self {
        Uas {
            prints: Fingerprints::new(identity.seed),
            identity,
            calls: Slab::new(limits.calls),
            servers: Servers::new(limits.transactions, limits.kept_bytes),
            clients: Slab::new(limits.calls),
            carried: Carried::default(),
            given_back: GivenBack::new(),
            // 10 ms are fine enough for T1; one turn is 20 s, so that session timers are passed over rarely.
            wheel: Wheel::new(Duration::from_millis(10), 2_048, 1_024),
            outputs: VecDeque::new(),
            scanner: Some(Scanner::new()),
            scratch: Vec::new(),
            load: Load::default(),
            strangers: Strangers::new(),
            aliases: Aliases::default(),
            rooms: Rooms::default(),
            elsewhere: 0,
            draining: false,
            info_types: Box::default(),
            count: 0,
            limits,
            session_timer,
        }
    }

    /// Takes a message. Its consequences come out of [`Uas::poll_output`].
    pub fn on_message(&mut self, msg: &Message<'_>, arrival: &Arrival, now: Time) {
        if !msg.is_request() {
            self.on_response(msg, now);
            self.dealt_with(arrival);
            return;
        }
        match Request::read(msg) {
            Some(request) => self.on_request(&request, arrival, now),
            None => self.on_incomplete(msg, arrival),
        }
    }

    /// Takes a request that has been read already, as [`Uas::on_message`] does.
    pub fn on_request(&mut self, request: &Request<'_>, arrival: &Arrival, now: Time) {
        if arrival.alias {
            self.aliases.note(&request.via, arrival, self.way(Some(&request.via), arrival).hop);
        }
        self.serve(&Case::new(request, &self.prints, arrival, now));
    }

    /// The next output; `None` when there is none until the next input or [`Uas::poll_timeout`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.wheel.poll_expired(now) {
            match timer {
                Timer::Server(key) => self.on_server_timer(key, now),
                Timer::Client(key) => self.on_client_timer(key, now),
                Timer::Call(key) => self.on_call_timer(key, now),
            }
        }
    }

    /// When [`Uas::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wheel.poll_timeout()
    }

    /// Sets the media types, in lower case, of the INFO bodies that the application takes; at first there is none.
    pub fn set_info_types(&mut self, types: &[&str]) {
        self.info_types = types.iter().copied().map(Into::into).collect();
    }

    /// Whether new calls are turned away.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether new calls are turned away.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// The dispatcher is gone. Messages it has handed over can no longer be given back, so they are answered. A message
    /// that was given back may not have reached another worker: a new dispatcher that selects us for it does so for the
    /// first time.
    ///
    /// Its connections are gone as well. The next one has others with the same numbers, which belong to other peers.
    /// A request of ours on one of them that waits for an answer is sent on another way.
    pub fn on_dispatcher_lost(&mut self, now: Time) {
        self.given_back = GivenBack::new();
        self.aliases.lose_where(|hop| matches!(hop, Hop::Dispatcher(_)));
        let keys: Vec<ServerKey> = self.servers.keys().collect();
        for key in keys {
            self.servers.change(key, Server::stay);
            self.servers.change(key, Server::lose_any);
        }
        let keys: Vec<CallKey> = self.calls.keys().collect();
        for key in keys {
            self.calls.get_mut(key).into_iter().for_each(|call| call.addresses.lose_any());
        }
        let keys: Vec<ClientKey> = self.clients.keys().collect();
        for key in keys {
            self.leave_dispatcher(key, now);
        }
    }

    /// The initial INVITEs that were handed over and have no final response yet, by the number of their first copy.
    pub fn unanswered(&self) -> impl Iterator<Item = (Seq, Arc<[u8]>)> {
        let undecided = self.calls.keys().filter_map(|key| self.servers.get(self.undecided(key)?));
        undecided.filter_map(|server| Some((server.first_seq()?, server.transaction().request()?.bytes().into())))
    }

    /// The address of this host that stands for `local`, which a peer has reached.
    pub fn here(&self, local: IpAddr) -> IpAddr {
        self.identity.here(local)
    }

    /// Whether the own SIP ports speak TLS from now on, and the name in Contact for TLS callers. Calls that stand keep
    /// the Contact that they have told.
    pub fn set_secure(&mut self, speaks_tls: bool, contact_name: Option<&str>) {
        self.identity.speaks_tls = speaks_tls;
        self.identity.contact_name = contact_name.map(Into::into);
    }

    /// A new dispatcher has other well-known sockets. Sockets that existed before keep their numbers.
    pub fn set_listeners(&mut self, listeners: Vec<SocketAddr>, duplicates: Vec<bool>) {
        self.identity.listeners = listeners;
        self.identity.duplicates = duplicates;
    }

    /// All calls that are not over.
    pub fn calls(&self) -> impl Iterator<Item = CallKey> + '_ {
        self.calls.keys().filter(|key| self.calls.get(*key).is_some_and(|call| call.phase != Phase::Ending))
    }

    /// Whether nothing is left: no call, no transaction.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.servers.is_empty() && self.clients.is_empty()
    }

    /// Whether all own requests have been answered and all calls are over; transactions may still wait for
    /// retransmissions.
    pub fn is_quiet(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call whose dialog has these tags. Our tag contains the call's place.
    fn find_call(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Option<CallKey> {
        let rest = without_prefix(local_tag, self.identity.token.as_bytes())?.strip_prefix(b"-")?;
        let (key, call) = self.calls.at(u32::try_from(decode(rest.get(..7)?)?).ok()?)?;
        call.dialog.matches(call_id, local_tag, remote_tag).then_some(key)
    }

    /// The tag of the call that will be put in place `key`.
    fn tag_for(&mut self, key: CallKey) -> String {
        let mut text = [0; 15];
        encode(u64::from(key.index()), &mut text[..7]);
        encode(self.number(b'g'), &mut text[7..]);
        [&*self.identity.token, "-", std::str::from_utf8(&text).unwrap_or_default()].concat()
    }

    /// A number that cannot be predicted from outside.
    fn number(&mut self, purpose: u8) -> u64 {
        self.count += 1;
        self.prints.number(purpose, self.count)
    }

    fn tell(&mut self, key: CallKey, event: Event) {
        self.outputs.push_back(Output::Event(key, event));
    }

    /// Files a call with the wheel, unless the wheel looks at it early enough anyway.
    fn arm_call(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let due = call.due();
        if due < call.armed {
            call.armed = due;
            self.wheel.schedule(due, Timer::Call(key));
        }
    }

    fn on_call_timer(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if now < call.armed {
            return;
        }
        call.armed = Time::NEVER;
        if call.phase == Phase::Early && call.expires <= now {
            return self.on_invite_expired(key, now);
        }
        self.on_reliable_timer(key, now);
        self.on_session_timer(key, now);
        self.arm_call(key);
    }
}

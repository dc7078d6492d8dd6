//! The media gateway of a worker (RFC 3435): the gateway as a value, made of what the welcome says, and the passage of
//! messages between it and the media.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::call::Uas;
use crate::call::exchange::{Arrival, Egress, Hop};
use crate::call::gateway::events::Voice;
use crate::call::gateway::notify::Entity;
use crate::call::gateway::restart::CallAgent;
use crate::call::gateway::{Gateway, Identity, Kind, Limits, Naming, Output};
use crate::ids::{ListenerId, Token, TransactionRange, WorkerId};
use crate::reservation::Weight;
use crate::time::Time;
use crate::wire::mgcp;
use crate::words::{Bypass, MgcpListener, Transport, Welcome};

use super::listeners::Listeners;
use super::media::Media;
use super::size::size_of_command;

/// The gateway with its outputs.
#[derive(Debug)]
pub(super) struct Mgcp {
    pub(super) gateway: Gateway,
    /// Requests of the gateway beside media.
    outputs: VecDeque<Output>,
}

impl Mgcp {
    /// The gateway that `welcome` makes of this worker, with sockets of its own at these addresses.
    pub(super) fn new(
        welcome: &Welcome,
        own: Vec<SocketAddr>,
        listeners: &Listeners,
        units: u32,
        seeds: [u64; 3],
    ) -> Self {
        let [one, two, three] = seeds;
        let hex = Token::parse(&welcome.token).map(|token| token.hex());
        let identity = Identity {
            token: welcome.token.as_str().into(),
            hex: hex.as_ref().map_or("", |hex| hex.as_str()).into(),
            own_naming: own_naming(welcome, &own),
            own,
            listeners: listeners.addresses(),
            naming: naming(welcome, listeners),
            duplicates: listeners.held(),
            advertise: welcome.advertise.clone(),
            aliases: aliases(welcome),
            seed: [one, two],
        };
        let voice = Voice {
            token: welcome.token.as_str().into(),
            range: TransactionRange::of(WorkerId(welcome.slot)),
            agents: agents(welcome, &identity.own, listeners),
            seed: three,
        };
        let timeout = welcome.mgcp.as_ref().and_then(|told| told.timeout_ms);
        let limits = Limits { units, silence: timeout.map(Duration::from_millis), ..Limits::default() };
        Mgcp { gateway: Gateway::new(identity, voice, limits), outputs: VecDeque::new() }
    }

    /// Tells the call agents (RSIP) that this worker is in service, and that its predecessor in the slot is not.
    pub(super) fn start(&mut self, welcome: &Welcome, now: Time) {
        let Some(told) = &welcome.mgcp else { return };
        if let Some(dead) = &told.predecessor {
            self.gateway.succeed(dead, now);
        }
        self.gateway.start(now);
    }

    /// A new dispatcher has these well-known sockets.
    pub(super) fn set_listeners(&mut self, welcome: &Welcome, listeners: &Listeners) {
        self.gateway.set_listeners(listeners.addresses(), naming(welcome, listeners), listeners.held());
    }

    /// SIP calls and MGCP connections share the capacity: each side learns what the other one has.
    pub(super) fn share(&mut self, uas: &mut Uas) {
        self.gateway.set_units(uas.units().saturating_sub(uas.load().units_used));
        self.gateway.set_for_strangers(uas.units_for_strangers());
        uas.set_elsewhere(self.gateway.load().units_used);
    }

    /// One message.
    pub(super) fn on_message(
        &mut self,
        message: &mgcp::Message<'_>,
        arrival: &Arrival,
        media: &mut impl Media,
        now: Time,
    ) {
        self.gateway.on_message(message, arrival, now);
        self.settle(media, now);
    }

    /// Bytes that are no message.
    pub(super) fn on_unparsable(
        &mut self,
        bad: &mgcp::Unparsable<'_>,
        arrival: &Arrival,
        media: &mut impl Media,
        now: Time,
    ) {
        self.gateway.on_unparsable(bad, arrival);
        self.settle(media, now);
    }

    /// Has the media do what the gateway asks for, at once, and keeps the rest.
    pub(super) fn settle(&mut self, media: &mut impl Media, now: Time) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Media(key, ask) => {
                    let told = media.carry_out(key, &ask, now);
                    self.gateway.on_media(key, told, now);
                }
                output => self.outputs.push_back(output),
            }
        }
    }

    /// The next request of the gateway beside media.
    pub(super) fn poll_output(&mut self, media: &mut impl Media, now: Time) -> Option<Output> {
        self.settle(media, now);
        self.outputs.pop_front()
    }
}

/// The group that stands for a call: all its connections belong to one worker.
pub(super) fn group_of(id: &[u8]) -> Box<[u8]> {
    [b"C:", id].concat().into()
}

/// The arrival of a message at our own socket, with the size of the session that it opens.
pub(super) fn weighed(arrival: Arrival, message: Option<&mgcp::Message<'_>>) -> Arrival {
    let weight = match message {
        Some(mgcp::Message::Command(command)) => size_of_command(command),
        _ => Weight::plain(1),
    };
    Arrival { transport: Transport::Mgcp, ..arrival }.weighing(weight)
}

/// The naming of endpoints for each listener, by our number of it: commands for them come to that listener.
fn naming(welcome: &Welcome, listeners: &Listeners) -> Vec<Naming> {
    let mut naming = vec![Naming::Relay; listeners.addresses().len()];
    for listener in told(welcome) {
        let number = listeners.number(ListenerId(listener.listener)).0;
        if let Some(place) = naming.get_mut(usize::from(number)) {
            *place = naming_of(listener);
        }
    }
    naming
}

/// The same for our own sockets, by their number.
fn own_naming(welcome: &Welcome, own: &[SocketAddr]) -> Vec<Naming> {
    let of = |address: &SocketAddr| told(welcome).iter().find(|listener| listener.own == Some(*address));
    own.iter().map(|address| of(address).map_or(Naming::Relay, naming_of)).collect()
}

fn naming_of(listener: &MgcpListener) -> Naming {
    match listener.bypass {
        Bypass::Relay => Naming::Relay,
        Bypass::Domain => Naming::Domain(listener.domain.as_str().into()),
        Bypass::Port => Naming::Port,
    }
}

fn aliases(welcome: &Welcome) -> Vec<(Box<str>, Kind)> {
    let aliases = welcome.mgcp.iter().flat_map(|told| &told.aliases);
    // A kind that this version does not know is left out: its endpoints are unknown then.
    aliases.filter_map(|(name, kind)| Some((name.as_str().into(), Kind::of_term(kind.as_bytes())?))).collect()
}

/// The call agents, each with the way by which it knows our endpoints.
fn agents(welcome: &Welcome, own: &[SocketAddr], listeners: &Listeners) -> Vec<CallAgent> {
    let agent = |listener: &MgcpListener| {
        let entity = Entity::parse(listener.call_agent.as_deref()?.as_bytes())?;
        let number = listeners.number(ListenerId(listener.listener)).0;
        let own = own.iter().position(|address| listener.own == Some(*address)).unwrap_or_default() as u16;
        let is_held = listeners.is_held(number);
        let hop = if listener.bypass == Bypass::Relay && is_held { Hop::Listener(number) } else { Hop::Own(own) };
        let domain = match (listener.bypass, listener.own) {
            (Bypass::Port, Some(own)) => format!("{}:{}", listener.domain, own.port()),
            _ => listener.domain.clone(),
        };
        Some(CallAgent { entity, way: Egress { hop, from: None }, domain: domain.into() })
    };
    told(welcome).iter().filter_map(agent).collect()
}

fn told(welcome: &Welcome) -> &[MgcpListener] {
    welcome.mgcp.as_ref().map_or(&[], |told| &told.listeners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, TokenKey};
    use crate::words::{Mgcp as Told, ReplyFrom};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn listener(listener: u16, bypass: Bypass, domain: &str, own: &str) -> MgcpListener {
        let call_agent = Some("ca@[192.0.2.9]".to_owned());
        MgcpListener { listener, bypass, domain: domain.to_owned(), own: own.parse().ok(), call_agent }
    }

    /// The welcome to w2 of a dispatcher with a SIP listener and three for MGCP, one for each way of bypass.
    fn welcome() -> Welcome {
        Welcome {
            name: "w2".to_owned(),
            slot: 2,
            token: TokenKey::new([1; 32]).token(Incarnation::new(5)).to_string(),
            incarnation: 5,
            secret: 0,
            key: None,
            capacity: 10,
            advertise: Vec::new(),
            contact_name: None,
            rtp_ports: (20_000, 20_099),
            reply_from: ReplyFrom::Listener,
            sockets: Vec::new(),
            listeners: ["192.0.2.1:5060", "192.0.2.1:2427", "192.0.2.2:2427", "192.0.2.3:2427"].map(address).into(),
            access: Vec::new(),
            mgcp: Some(Told {
                aliases: [("rtpbridge", "bridge"), ("later", "hologram")]
                    .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
                    .into(),
                listeners: vec![
                    listener(1, Bypass::Relay, "[192.0.2.1]", "192.0.2.1:2432"),
                    listener(2, Bypass::Domain, "w2.ms.example.net", "192.0.2.22:2427"),
                    listener(3, Bypass::Port, "ms.example.net", "192.0.2.3:2432"),
                ],
                timeout_ms: None,
                predecessor: None,
            }),
            features: Vec::new(),
            lan: None,
        }
    }

    const OWN: [&str; 3] = ["192.0.2.1:2432", "192.0.2.22:2427", "192.0.2.3:2432"];

    #[test]
    fn endpoints_are_named_after_the_listener_that_their_commands_come_to() {
        let welcome = welcome();
        let mut listeners = Listeners::default();
        listeners.set(&welcome.listeners, &[false; 4]);
        let domain = || Naming::Domain("w2.ms.example.net".into());
        assert_eq!(naming(&welcome, &listeners), [Naming::Relay, Naming::Relay, domain(), Naming::Port]);
        assert_eq!(own_naming(&welcome, &OWN.map(address)), [Naming::Relay, domain(), Naming::Port]);
        // Our numbers of the listeners stay when a new dispatcher has them in another order.
        let mut turned = Welcome { listeners: welcome.listeners.iter().rev().copied().collect(), ..welcome };
        for listener in turned.mgcp.iter_mut().flat_map(|told| &mut told.listeners) {
            listener.listener = 3 - listener.listener;
        }
        listeners.set(&turned.listeners, &[false; 4]);
        assert_eq!(naming(&turned, &listeners), [Naming::Relay, Naming::Relay, domain(), Naming::Port]);
        let silent = Welcome { mgcp: None, ..turned };
        assert_eq!(naming(&silent, &listeners), vec![Naming::Relay; 4]);
    }

    #[test]
    fn each_call_agent_hears_from_the_socket_on_which_it_knows_the_endpoints() {
        let welcome = welcome();
        let mut listeners = Listeners::default();
        listeners.set(&welcome.listeners, &[false, true, false, false]);
        let ways = |listeners: &Listeners| -> Vec<(Hop, String)> {
            let agents = agents(&welcome, &OWN.map(address), listeners);
            agents.iter().map(|agent| (agent.way.hop, agent.domain.to_string())).collect()
        };
        let named = |hop, domain: &str| (hop, domain.to_owned());
        let expected = [
            named(Hop::Listener(1), "[192.0.2.1]"),
            named(Hop::Own(1), "w2.ms.example.net"),
            named(Hop::Own(2), "ms.example.net:2432"),
        ];
        assert_eq!(ways(&listeners), expected);
        let mut none = Listeners::default();
        none.set(&welcome.listeners, &[false; 4]);
        assert_eq!(ways(&none)[0], named(Hop::Own(0), "[192.0.2.1]"), "without a duplicate it is its own socket");
    }

    const INVITE: &str = "INVITE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:b@198.51.100.1>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:b@198.51.100.1>\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn strangers_of_both_protocols_together_hold_half_of_a_worker_at_most() {
        let own = vec![address("192.0.2.1:5071")];
        let identity = crate::call::Identity {
            token: welcome().token.as_str().into(),
            own,
            listeners: Vec::new(),
            duplicates: Vec::new(),
            away: Vec::new(),
            advertise: Vec::new(),
            hosts: Vec::new(),
            reply_from: ReplyFrom::Worker,
            contact_name: None,
            speaks_tls: false,
            program: "".into(),
            seed: [1, 2],
        };
        let limits = crate::call::Limits { units: 1_000, ..Default::default() };
        let timer = crate::call::SessionTimer { expires: None, min_se: 90 };
        let mut uas = Uas::new(identity, limits, timer);
        let mut mgcp = Mgcp::new(&welcome(), Vec::new(), &Listeners::default(), 1_000, [1, 2, 3]);
        let now = Time::default();
        let come = |mgcp: &mut Mgcp, number: u32| {
            let text = format!("CRCX {number} ann/$@gw MGCP 1.0\nC: {number}\nM: inactive\n");
            let source = SocketAddr::new([198, 51, 100, number as u8].into(), 2_727);
            let message = mgcp::parse(text.as_bytes()).unwrap();
            mgcp.gateway.on_message(&message, &Arrival::own(0, source, address(OWN[0]), 400), now);
        };
        (0..2).for_each(|number| come(&mut mgcp, number));
        mgcp.share(&mut uas);
        assert_eq!(mgcp.gateway.load().units_used, 500 + 2);
        let mut scanner = crate::wire::sip::Scanner::new();
        let invite = scanner.scan(INVITE.as_bytes()).unwrap();
        uas.on_message(&invite, &Arrival::own(0, address("198.51.100.1:5060"), address("192.0.2.1:5071"), 400), now);
        mgcp.share(&mut uas);
        let counted = (uas.load().units_used, mgcp.gateway.load().units_used);
        assert_eq!(counted, (400, 101 + 2), "399 and 101 are the half");
        // A connection that would fit in the rest that SIP has left of the other half.
        mgcp.gateway.on_message(
            &mgcp::parse(b"CRCX 9 ann/$@gw MGCP 1.0\nC: 9\nM: inactive\n").unwrap(),
            &Arrival::own(0, address("127.0.0.1:2727"), address(OWN[0]), 490),
            now,
        );
        assert_eq!(mgcp.gateway.load().units_used, 101 + 2 + 490);
    }

    #[test]
    fn an_alias_of_a_kind_that_is_not_known_here_is_none() {
        assert_eq!(aliases(&welcome()), [("rtpbridge".into(), Kind::Bridge)]);
    }
}

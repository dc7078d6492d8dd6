//! The token in our Record-Route values: the way of a dialog through the dispatcher (RFC 3261 §16.6 step 4, RFC 5626
//! §5.2).
//!
//! ```text
//! 2 07k3v 0c0002c34o 2 ... 0f3kq9u2v7a1c
//! │ │     │          │     └ hash of all before it and of the Call-ID: one half of it for each side
//! │ │     │          └ server: the address that the request went to
//! │ │     └ caller: the address or the connection that the request came from; where the server has begun the dialog,
//! │ │       the address that its request went to
//! │ └ listener that the request came to: hash of its transport and address
//! └ side and kinds
//! ```
//!
//! A dialog gets two values, one for each side. Each side sends its requests with its own value on top (§12.1.1,
//! §12.1.2), so the topmost Route tells the direction, even where both sides have one address.
//!
//! The dispatcher keeps nothing of the dialog. The hash shows that it has written the token for a dialog of this
//! Call-ID: without it anyone could have requests sent anywhere. The characters are digits and small letters, and are
//! read in either case.
//!
//! The number of a listener is its place in `listen`, which may be another one after a restart: the hash leads to the
//! same socket. Of 100 listeners two have the same hash in one of 7,000 installations.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::fingerprint::Printer;
use crate::fingerprint::Text::AsItIs;
use crate::ids::{ConnId, ListenerId, TokenKey, decode, encode};
use crate::pack::packed;
use crate::words::Transport;

/// Purposes of fingerprints.
const TOKEN: u8 = b'z';
const LISTENER_NAME: u8 = b'u';

/// The way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A datagram to this address.
    Address(SocketAddr),
    /// This connection.
    Connection(ConnId),
}

packed!(Hop as Address(address) = 0, Connection(conn) = 1);

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hop::Address(address) => address.fmt(f),
            Hop::Connection(_) => f.write_str("connection"),
        }
    }
}

/// A side of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller, who began the dialog.
    Caller,
    /// The server.
    Server,
}

packed!(Side as Caller = 0, Server = 1);

impl Side {
    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Side::Caller => Side::Server,
            Side::Server => Side::Caller,
        }
    }
}

/// The meaning of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowToken {
    /// The side that sends its requests with it.
    pub side: Side,
    /// The listener that the caller's request came to; [`ListenerId::GONE`] if it is not in the settings any more.
    pub listener: ListenerId,
    /// The way to the caller.
    pub caller: Hop,
    /// The address of the server.
    pub server: SocketAddr,
    /// Whether it is reached over persistent connections.
    pub is_stream: bool,
    /// Whether the server itself has begun the dialog: then its requests go to where they name, and the way to the
    /// caller is that which the first one went.
    pub is_outbound: bool,
    /// Whether the called party was reached over a connection, where the server has begun the dialog.
    pub is_called_by_stream: bool,
}

/// Writes tokens, and knows its own again.
#[derive(Clone, Debug)]
pub struct FlowTokens {
    current: Keyed,
    previous: Option<Keyed>,
    epoch: u64,
}

/// A key, and the names that listeners have by it.
#[derive(Clone, Debug)]
struct Keyed {
    printer: Printer,
    listeners: Vec<(u64, ListenerId)>,
}

impl Keyed {
    fn new(key: &TokenKey) -> Self {
        Keyed { printer: Printer::new(key), listeners: Vec::new() }
    }

    fn name(&self, transport: Transport, address: SocketAddr) -> u64 {
        let texts = [AsItIs(transport.via_name().as_bytes()), AsItIs(&hop_text(Hop::Address(address), 0))];
        self.printer.print_each(LISTENER_NAME, texts).short() & ((1 << (5 * LISTENER)) - 1)
    }
}

impl FlowTokens {
    /// Tokens are written with the `current` key, and known again by either.
    pub fn new(current: &TokenKey, previous: Option<&TokenKey>) -> Self {
        FlowTokens { current: Keyed::new(current), previous: previous.map(Keyed::new), epoch: 0 }
    }

    /// Sets the listeners of the settings: the address of each is the configured one.
    pub fn set_listeners(&mut self, listeners: impl Iterator<Item = (ListenerId, Transport, SocketAddr)> + Clone) {
        for keyed in [Some(&mut self.current), self.previous.as_mut()].into_iter().flatten() {
            let named = |(id, transport, address)| (keyed.name(transport, address), id);
            keyed.listeners = listeners.clone().map(named).collect();
        }
    }

    /// Connections are those of this epoch: a token of an earlier one would lead to another peer's connection.
    pub const fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The tokens of a dialog for both sides, whichever side `token` is for.
    pub fn pair(&self, token: &FlowToken, call_id: &[u8]) -> Pair {
        let mut text = Text { bytes: [0; LONGEST + HASH], len: 0 };
        let FlowToken { side: _, listener, caller, server, is_stream, is_outbound, is_called_by_stream } = token;
        let caller_kind = match caller {
            Hop::Address(_) if *is_outbound => CALLED,
            Hop::Address(address) if address.ip().to_canonical().is_ipv4() => CALLER_V4,
            Hop::Address(_) => CALLER_V6,
            Hop::Connection(_) => CALLER_CONNECTION,
        };
        let server_bit = if server.ip().to_canonical().is_ipv4() { 0 } else { SERVER_V6 };
        // A server that begins dialogs is reached over connections.
        let is_by_stream = if caller_kind == CALLED { is_called_by_stream } else { is_stream };
        let stream_bit = if *is_by_stream { BY_STREAM } else { 0 };
        let kinds = caller_kind | server_bit | stream_bit;
        text.push(kinds, 1);
        let named = self.current.listeners.iter().find(|(_, id)| id == listener);
        text.push(named.map_or(0, |(name, _)| *name), LISTENER);
        match caller {
            Hop::Address(address) if *is_outbound => text.push_mapped(*address),
            Hop::Address(address) => text.push_address(*address),
            Hop::Connection(conn) => text.push(conn.0, CONNECTION),
        }
        text.push_address(*server);
        let [for_caller, for_server] = self.hashes(&self.current.printer, kinds, text.as_bytes(), call_id);
        let mut of_server = Text { bytes: text.bytes, len: 0 };
        of_server.push(kinds | OF_SERVER, 1);
        of_server.len = text.len;
        text.push(for_caller, HASH);
        of_server.push(for_server, HASH);
        Pair { of_caller: text, of_server }
    }

    /// Reads a token of ours. `None` for any other text, also for a token of another dialog.
    pub fn read(&self, text: &[u8], call_id: &[u8]) -> Option<FlowToken> {
        let (front, written) = text.split_at_checked(text.len().checked_sub(HASH)?)?;
        let written = decode(written)?;
        if front.len() > LONGEST {
            return None;
        }
        let mut lower = [0; LONGEST];
        lower.iter_mut().zip(front).for_each(|(place, byte)| *place = byte.to_ascii_lowercase());
        let kinds = decode(lower.get(..1)?)?;
        // The hash is over the token of the caller's side.
        encode(kinds & !OF_SERVER, lower.get_mut(..1)?);
        let front = lower.get(..front.len())?;
        let mut rest = front.get(1..)?;
        let side = if kinds & OF_SERVER == 0 { Side::Caller } else { Side::Server };
        let mut keys = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        let keyed = keys.find(|keyed| {
            let [for_caller, for_server] = self.hashes(&keyed.printer, kinds, front, call_id);
            written == if side == Side::Caller { for_caller } else { for_server }
        })?;
        let name = take(&mut rest, LISTENER)?;
        let named = keyed.listeners.iter().find(|(of, _)| *of == name);
        let listener = named.map_or(ListenerId::GONE, |(_, id)| *id);
        let caller = match kinds & CALLER_KINDS {
            CALLER_V4 => Hop::Address(take_address(&mut rest, false)?),
            CALLER_V6 => Hop::Address(take_address(&mut rest, true)?),
            CALLER_CONNECTION => Hop::Connection(ConnId(take(&mut rest, CONNECTION)?)),
            _ => Hop::Address(take_address(&mut rest, true)?),
        };
        let server = take_address(&mut rest, kinds & SERVER_V6 != 0)?;
        let (is_by_stream, is_outbound) = (kinds & BY_STREAM != 0, kinds & CALLER_KINDS == CALLED);
        let (is_stream, is_called_by_stream) = (is_outbound || is_by_stream, is_outbound && is_by_stream);
        let token = FlowToken { side, listener, caller, server, is_stream, is_outbound, is_called_by_stream };
        rest.is_empty().then_some(token)
    }

    /// The hashes in the tokens of the caller's side and of the server's. `front` is that of the caller's side: one
    /// hash serves both.
    fn hashes(&self, printer: &Printer, kinds: u64, front: &[u8], call_id: &[u8]) -> [u64; 2] {
        let epoch = if kinds & CALLER_KINDS == CALLER_CONNECTION { self.epoch } else { 0 };
        printer.print_each(TOKEN, [AsItIs(front), AsItIs(&epoch.to_be_bytes()), AsItIs(call_id)]).halves()
    }
}

/// The first character: the kind of the caller, and bits.
const CALLER_V4: u64 = 0;
const CALLER_V6: u64 = 1;
const CALLER_CONNECTION: u64 = 2;
/// The server has called it, at an address that is written as one of IPv6; [`BY_STREAM`] tells how.
const CALLED: u64 = 3;
const CALLER_KINDS: u64 = 3;
const SERVER_V6: u64 = 4;
const OF_SERVER: u64 = 8;
const BY_STREAM: u64 = 16;

/// Characters of a listener's name.
const LISTENER: usize = 5;
/// Characters of a connection's number.
pub(super) const CONNECTION: usize = 10;
/// Characters of the hash.
const HASH: usize = 13;
/// Most characters before the hash.
const LONGEST: usize = 1 + LISTENER + 2 * (26 + 4);

/// The bytes that stand for a way in a hash. A connection is one of this epoch only.
pub(super) fn hop_text(hop: Hop, epoch: u64) -> [u8; 18] {
    let mut text = [0; 18];
    let (first, second) = match hop {
        Hop::Address(address) => {
            let ip = match address.ip().to_canonical() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            (ip.octets(), address.port().to_be_bytes())
        }
        // No address has the port 0.
        Hop::Connection(conn) => ((u128::from(conn.0) << 64 | u128::from(epoch)).to_be_bytes(), [0; 2]),
    };
    text.iter_mut().zip(first.into_iter().chain(second)).for_each(|(place, byte)| *place = byte);
    text
}

/// The tokens of a dialog, for the Record-Route value of each side.
pub struct Pair {
    of_caller: Text,
    of_server: Text,
}

impl Pair {
    /// The text of the token of this side.
    pub fn text(&self, side: Side) -> &[u8] {
        match side {
            Side::Caller => self.of_caller.as_bytes(),
            Side::Server => self.of_server.as_bytes(),
        }
    }
}

/// The text of a token in the making.
struct Text {
    bytes: [u8; LONGEST + HASH],
    len: usize,
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, value: u64, length: usize) {
        encode(value, self.bytes.get_mut(self.len..self.len + length).unwrap_or_default());
        self.len += length;
    }

    fn push_address(&mut self, address: SocketAddr) {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                self.push(u64::from(ip.to_bits()), 7);
                self.push(u64::from(address.port()), 4);
            }
            IpAddr::V6(_) => self.push_mapped(address),
        }
    }

    /// Appends an address as one of IPv6.
    fn push_mapped(&mut self, address: SocketAddr) {
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.push((ip.to_bits() >> 64) as u64, 13);
        self.push(ip.to_bits() as u64, 13);
        self.push(u64::from(address.port()), 4);
    }
}

fn take(rest: &mut &[u8], length: usize) -> Option<u64> {
    let (front, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    decode(front)
}

fn take_address(rest: &mut &[u8], is_ipv6: bool) -> Option<SocketAddr> {
    let ip = match is_ipv6 {
        false => IpAddr::V4(u32::try_from(take(rest, 7)?).ok()?.into()),
        true => {
            let ip = Ipv6Addr::from(u128::from(take(rest, 13)?) << 64 | u128::from(take(rest, 13)?));
            IpAddr::V6(ip).to_canonical()
        }
    };
    Some(SocketAddr::new(ip, u16::try_from(take(rest, 4)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(byte: u8) -> FlowTokens {
        let mut tokens = FlowTokens::new(&TokenKey::new([byte; 32]), None);
        tokens.set_listeners(listeners([ListenerId(0), ListenerId(1023)]));
        tokens
    }

    /// Two listeners with these numbers.
    fn listeners(numbers: [ListenerId; 2]) -> impl Iterator<Item = (ListenerId, Transport, SocketAddr)> + Clone {
        let addresses = ["192.0.2.1:5060".parse().unwrap(), "[::]:5061".parse().unwrap()];
        numbers.into_iter().zip(addresses).map(|(number, address)| (number, Transport::Udp, address))
    }

    fn text(token: &FlowToken, call_id: &[u8]) -> Vec<u8> {
        tokens(1).pair(token, call_id).text(token.side).to_vec()
    }

    fn all() -> Vec<FlowToken> {
        let callers = [
            Hop::Address("203.0.113.5:4711".parse().unwrap()),
            Hop::Address("[2001:db8::5]:65535".parse().unwrap()),
            Hop::Connection(ConnId::new(3, 77)),
            Hop::Connection(ConnId::GONE),
        ];
        let servers = ["192.0.2.9:5060".parse().unwrap(), "[ffff::ffff]:1".parse().unwrap()];
        let sides = [Side::Caller, Side::Server];
        let mut all = Vec::new();
        for (caller, server) in callers.into_iter().flat_map(|caller| servers.map(|server| (caller, server))) {
            let is_address = matches!(caller, Hop::Address(_));
            for (is_stream, is_outbound, is_called_by_stream) in
                [(false, false, false), (true, false, false), (true, is_address, false), (true, is_address, is_address)]
            {
                let listener = ListenerId(1023);
                let token =
                    |side| FlowToken { side, listener, caller, server, is_stream, is_outbound, is_called_by_stream };
                all.extend(sides.map(token));
            }
        }
        all
    }

    #[test]
    fn a_token_says_again_what_was_written_and_holds_what_a_user_part_may() {
        for token in all() {
            let text = text(&token, b"call");
            assert_eq!(tokens(1).read(&text, b"call"), Some(token), "{token:?}");
            assert_eq!(tokens(1).read(&text.to_ascii_uppercase(), b"call"), Some(token));
            assert!(text.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        }
    }

    #[test]
    fn a_token_of_another_dialog_or_key_or_with_any_change_is_none_of_ours() {
        for token in all() {
            let text = text(&token, b"call");
            assert_eq!(tokens(1).read(&text, b"other"), None);
            assert_eq!(tokens(2).read(&text, b"call"), None);
            for place in 0..text.len() {
                let mut changed = text.clone();
                changed[place] = if changed[place] == b'1' { b'0' } else { b'1' };
                assert_eq!(tokens(1).read(&changed, b"call"), None, "{place}");
            }
            for length in 0..text.len() {
                assert_eq!(tokens(1).read(&text[..length], b"call"), None);
            }
        }
        assert_eq!(tokens(1).read(&[b'0'; 5000], b"call"), None);
    }

    #[test]
    fn a_token_for_a_connection_of_an_earlier_dispatcher_leads_nowhere() {
        let mut later = tokens(1);
        later.set_epoch(7);
        for token in all() {
            let is_of_address = matches!(token.caller, Hop::Address(_));
            let read = later.read(&text(&token, b"call"), b"call");
            assert_eq!(read, Some(token).filter(|_| is_of_address), "an address outlives a restart: {token:?}");
        }
    }

    #[test]
    fn a_token_is_known_by_the_key_before() {
        let token = all()[0];
        let text = tokens(2).pair(&token, b"call").text(token.side).to_vec();
        let mut both = FlowTokens::new(&TokenKey::new([1; 32]), Some(&TokenKey::new([2; 32])));
        both.set_listeners(listeners([ListenerId(0), ListenerId(1023)]));
        assert_eq!(both.read(&text, b"call"), Some(token));
    }

    #[test]
    fn a_token_names_its_listener_whatever_place_that_has() {
        let token = all()[0];
        let text = text(&token, b"call");
        let mut later = tokens(1);
        let listener = |tokens: &FlowTokens| tokens.read(&text, b"call").map(|token| token.listener);
        later.set_listeners(listeners([ListenerId(1), ListenerId(0)]));
        assert_eq!(listener(&later), Some(ListenerId(0)));
        later.set_listeners(listeners([ListenerId(1), ListenerId(0)]).take(1));
        assert_eq!(listener(&later), Some(ListenerId::GONE));
    }
}

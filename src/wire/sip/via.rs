//! Via: the way a response takes (RFC 3261 §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use super::host::{Host, address};
use super::params::{Params, is_plain, is_well_formed};
use super::text::{cut, find, is_lws, is_token, number, trim};
use crate::words::Transport;

/// One Via value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Via<'a> {
    /// The whole value.
    pub raw: &'a [u8],
    /// The transport as written: `UDP`, `TCP`, `TLS`, …
    pub transport: &'a [u8],
    /// The host of the sent-by.
    pub host: Host<'a>,
    /// The port of the sent-by, if one is given.
    pub port: Option<u16>,
    params: Params<'a>,
    branch: Option<&'a [u8]>,
    /// The value of `rport`; without one the empty text behind its name.
    rport: Option<&'a [u8]>,
    received: Option<&'a [u8]>,
    claims_source: bool,
    has_good_params: bool,
}

/// The `rport` parameter (RFC 3581 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// The sender asks for the response at the port it sent from.
    Asked,
    /// The port the request came from, written by its receiver.
    Port(u16),
}

impl<'a> Via<'a> {
    /// Reads one value: `SIP/2.0/UDP host:port;params`, white space allowed around every separator.
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let raw = trim(raw);
        let (front, params) = cut(raw, find(raw, [b';']));
        let rest = match front.strip_prefix(b"SIP/2.0/") {
            Some(rest) => trim(rest),
            // The version is not judged here: a 505 needs the Via of the request it answers.
            None => after_slash(after_slash(front, |name| name.eq_ignore_ascii_case(b"SIP"))?, is_token)?,
        };
        let (transport, sent_by) = cut(rest, rest.iter().position(|&byte| is_lws(byte)));
        if !is_token(transport) {
            return None;
        }
        let (host, port) = Host::with_port(sent_by)?;
        let mut via = Via { raw, transport, host, port, params: Params::new(params), ..Via::default() };
        if !via.read_plain_params() {
            via.read_params();
        }
        Some(via)
    }

    /// Reads them where they are those of most requests: the branch, with or without `rport`. Returns whether they are.
    #[inline]
    fn read_plain_params(&mut self) -> bool {
        let params = self.params.as_bytes();
        let (rport, branch) = match params.strip_prefix(b";branch=") {
            Some(rest) => match rest.strip_suffix(b";rport") {
                Some(branch) => (params.get(params.len()..), branch),
                None => (None, rest),
            },
            None => match params.strip_prefix(b";rport;branch=") {
                Some(branch) => (params.get(b";rport".len()..b";rport".len()), branch),
                None => return false,
            },
        };
        if !is_plain(branch) {
            return false;
        }
        (self.branch, self.rport, self.has_good_params) = (Some(branch), rport, true);
        true
    }

    /// Reads those parameters that every reader asks for, and checks all, in one pass.
    #[inline]
    fn read_params(&mut self) {
        self.has_good_params = true;
        for (name, value) in self.params {
            self.has_good_params &= is_well_formed(name, value);
            match name.len() {
                5 if name.eq_ignore_ascii_case(b"rport") => {
                    self.claims_source |= value.is_some() || self.rport.is_some();
                    self.rport = self.rport.or(value).or(name.get(5..));
                }
                6 if self.branch.is_none() && name.eq_ignore_ascii_case(b"branch") => {
                    self.branch = Some(value.unwrap_or_default());
                }
                8 if name.eq_ignore_ascii_case(b"received") => {
                    self.claims_source = true;
                    self.received = self.received.or(value).or(Some(&[]));
                }
                _ => {}
            }
        }
    }

    /// Its parameters.
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The branch.
    pub const fn branch(&self) -> Option<&'a [u8]> {
        self.branch
    }

    /// Whether its parameters are well-formed.
    pub(crate) const fn has_good_params(&self) -> bool {
        self.has_good_params
    }

    /// The branch, if it alone names the transaction: it starts with the magic cookie and does not end there (RFC 3261
    /// §8.1.1.7, RFC 4475 §3.2.1).
    pub fn unique_branch(&self) -> Option<&'a [u8]> {
        self.branch().filter(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch.get(..MAGIC_COOKIE.len()).is_some_and(|front| front.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// The `rport` parameter; one with a value that is no port counts as absent.
    pub fn rport(&self) -> Option<Rport> {
        match self.rport? {
            [] => Some(Rport::Asked),
            port => Some(Rport::Port(number(port)?.try_into().ok()?)),
        }
    }

    /// The `received` parameter, with or without brackets around IPv6 (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        address(self.received?)
    }

    /// The place of the value that the sender asks for with `rport`: directly behind the name.
    pub(super) const fn asked_rport(&self) -> Option<&'a [u8]> {
        self.rport
    }

    /// Whether the sender has written where the request came from, which its receiver is to say: a value of `rport`, or
    /// `received`.
    pub(super) const fn claims_source(&self) -> bool {
        self.claims_source
    }

    /// The address that a response with this Via goes to next (RFC 3261 §18.2.2, RFC 3581 §4), when the Via gives it
    /// without a name look-up. `maddr` is ignored: only multicast needs it, and a peer could aim responses with it.
    pub fn reply_address(&self) -> Option<SocketAddr> {
        let ip = self.received().or_else(|| self.host.ip())?.to_canonical();
        let port = match self.rport() {
            Some(Rport::Port(port)) => port,
            _ => self.port.unwrap_or(self.default_port()),
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The address of the response to a datagram from this source with this Via on top: see
    /// [`where_to`](super::where_to).
    pub fn where_to(&self, source: SocketAddr) -> SocketAddr {
        // A link-local address means something with its scope only.
        let mut to = source;
        if self.rport.is_none() {
            to.set_port(self.port.unwrap_or(self.default_port()));
        }
        to
    }

    /// The port that is meant where none is written (RFC 3261 §18.2.2).
    pub fn default_port(&self) -> u16 {
        let is_secure = ["TLS", "TLS-SCTP"].iter().any(|name| self.transport.eq_ignore_ascii_case(name.as_bytes()));
        let transport = if is_secure { Transport::Tls } else { Transport::Udp };
        transport.default_port()
    }
}

/// The first characters of every RFC 3261 branch.
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// The text after a word that `is_right` accepts, and a slash.
fn after_slash(bytes: &[u8], is_right: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let (word, rest) = cut(bytes, Some(find(bytes, [b'/'])?));
    is_right(trim(word)).then(|| rest.get(1..))?.map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn plain_parameters_are_read_as_in_any_other_form() {
        for branch in
            ["z9hG4bK1", "", "a=b", "=", "\"x\"", "a\"", "a b", "a ", " a", "a;rport", ";rport", "a;rport=7", "a;;b"]
        {
            for (front, back) in [("", ""), ("", ";rport"), (";rport", ""), (";rport", ";rport"), (";rport=1", "")] {
                let plain = format!("SIP/2.0/UDP h{front};branch={branch}{back}");
                // White space before a name is no plain form, and means nothing.
                let other = plain.replace(';', ";\t");
                let read = |text: &str| {
                    let via = Via::parse(text.as_bytes()).unwrap();
                    let text = |bytes: Option<&[u8]>| bytes.map(|it| String::from_utf8_lossy(it).replace(";\t", ";"));
                    let asked = via.rport.map(|rport| rport.is_empty());
                    (text(via.branch), text(via.rport), asked, via.has_good_params, via.claims_source)
                };
                assert_eq!(read(&plain), read(&other), "{plain}");
                let via = Via::parse(plain.as_bytes()).unwrap();
                if let Some(place) = via.asked_rport().filter(|it| it.is_empty()) {
                    let at = crate::wire::sip::text::offset_in(via.raw, place).unwrap();
                    assert!(via.raw[..at].ends_with(b"rport"), "{plain}: behind the name");
                }
            }
        }
    }

    #[test]
    fn a_via_is_read_into_its_parts() {
        let via = parse("SIP/2.0/UDP ms.example.net:5062;rport;branch=z9hG4bK87asdks7");
        assert_eq!((via.transport, via.host.as_bytes(), via.port), (&b"UDP"[..], &b"ms.example.net"[..], Some(5062)));
        assert_eq!(via.branch(), Some(&b"z9hG4bK87asdks7"[..]));
        assert_eq!(via.rport(), Some(Rport::Asked));
        assert_eq!(via.received(), None);
    }

    #[test]
    fn white_space_and_folds_may_stand_around_every_separator() {
        let via = parse("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5061 ; branch\t=\r\n 390skdjuw");
        assert_eq!((via.transport, via.port), (&b"UDP"[..], Some(5061)));
        assert_eq!(via.branch(), Some(&b"390skdjuw"[..]));
        assert_eq!(via.unique_branch(), None);
    }

    #[test]
    fn received_is_read_with_and_without_brackets() {
        assert_eq!(
            parse("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255]").received(),
            Some("2001:db8::9:255".parse().unwrap())
        );
        assert_eq!(
            parse("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255").received(),
            Some("2001:db8::9:255".parse().unwrap())
        );
        assert_eq!(parse("SIP/2.0/UDP h;received=192.0.2.9").received(), Some("192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn a_branch_that_is_only_the_cookie_names_no_transaction() {
        assert_eq!(parse("SIP/2.0/UDP h;branch=z9hG4bK").unique_branch(), None);
        assert_eq!(parse("SIP/2.0/UDP h;branch=z9hG4bK1").unique_branch(), Some(&b"z9hG4bK1"[..]));
    }

    #[test]
    fn a_response_goes_to_received_and_rport_else_to_the_sent_by() {
        let to = |text: &str| parse(text).reply_address().map(|to| to.to_string());
        assert_eq!(to("SIP/2.0/UDP h;received=192.0.2.9;rport=4711").as_deref(), Some("192.0.2.9:4711"));
        assert_eq!(to("SIP/2.0/UDP h:5070;received=192.0.2.9;rport").as_deref(), Some("192.0.2.9:5070"));
        assert_eq!(to("SIP/2.0/TLS [2001:db8::1]").as_deref(), Some("[2001:db8::1]:5061"));
        assert_eq!(to("SIP/2.0/UDP ms.example.net"), None);
    }

    #[test]
    fn text_that_is_no_via_is_not_read() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/U,P h",
            "SIP/2.0/UDP h,i",
            "SIP/2.0/UDP ;branch=1",
        ] {
            assert_eq!(Via::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

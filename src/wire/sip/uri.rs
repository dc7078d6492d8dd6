//! URIs: sip and sips whole (RFC 3261 §19.1), tel as far as a dispatcher needs it, others by their scheme.

use std::net::SocketAddr;

use super::host::Host;
use super::params::Params;
use super::text::{cut, find};
use crate::words::Transport;

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Anything else; nothing after it is read.
    Other(&'a [u8]),
}

/// A URI, its parts as written: escapes are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user part without the password, parameters in it included; for tel the number.
    pub user: Option<&'a [u8]>,
    /// The text after a colon in the user part.
    pub password: Option<&'a [u8]>,
    /// The host; empty for schemes other than sip and sips.
    pub host: Host<'a>,
    /// The port, if one is given.
    pub port: Option<u16>,
    params: Params<'a>,
    /// The text after the question mark, if there is one.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// The name of the conference that the URI is for (RFC 4240 §5): `conf=ID`, without the leg's own parameters. Names
    /// compare in any case: callers that write one of them differently mean the same room.
    pub fn conference(&self) -> Option<&'a [u8]> {
        let name = self.user?.split(|&byte| byte == b';').next()?;
        let (prefix, id) = name.split_at_checked(b"conf=".len())?;
        (prefix.eq_ignore_ascii_case(b"conf=") && !id.is_empty()).then_some(name)
    }

    /// Reads a URI without angle brackets and without white space around it.
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        if let Some(rest) = raw.strip_prefix(b"sip:") {
            return Uri::sip(raw, Scheme::Sip, rest);
        }
        let (name, rest) = cut(raw, Some(find(raw, [b':'])?));
        let rest = rest.get(1..)?;
        match scheme(name)? {
            scheme @ (Scheme::Sip | Scheme::Sips) => Uri::sip(raw, scheme, rest),
            scheme => {
                let is_tel = scheme == Scheme::Tel;
                let (number, params) = cut(rest, find(rest, [b';']).filter(|_| is_tel));
                if number.is_empty() {
                    return None;
                }
                Some(Uri {
                    raw,
                    scheme,
                    user: is_tel.then_some(number),
                    password: None,
                    host: Host::default(),
                    port: None,
                    params: Params::new(params),
                    headers: None,
                })
            }
        }
    }

    fn sip(raw: &'a [u8], scheme: Scheme<'a>, rest: &'a [u8]) -> Option<Self> {
        // An unescaped `@` can stand only after the user part.
        let (userinfo, place) = match find(rest, [b'@']) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (hostport, behind) = cut(place, find(place, [b';', b'?']));
        let (params, headers) = match behind {
            [b'?', ..] => (&behind[..0], behind),
            _ => cut(behind, find(behind, [b'?'])),
        };
        let (host, port) = Host::with_port(hostport)?;
        let (user, password) = match userinfo.map(|userinfo| cut(userinfo, find(userinfo, [b':']))) {
            Some(([], _)) => return None,
            Some((user, password)) => (Some(user), password.get(1..)),
            None => (None, None),
        };
        Some(Uri { raw, scheme, user, password, host, port, params: Params::new(params), headers: headers.get(1..) })
    }

    /// The host that requests go to: `maddr`, which takes the place of the URI's host (RFC 3261 §19.1.1, RFC 3263 §4).
    pub fn target(&self) -> Host<'a> {
        let maddr = self.param(b"maddr").and_then(Host::with_port);
        maddr.filter(|(_, port)| port.is_none()).map_or(self.host, |(host, _)| host)
    }

    /// The transport by which its host is reached: the one that it names, else UDP, or TLS where its scheme asks for it
    /// (RFC 3261 §19.1.2, §26.2.2). `None`: one that is not known, or that is no way for the scheme.
    pub fn transport(&self) -> Option<Transport> {
        let is_sips = self.scheme == Scheme::Sips;
        let Some(named) = self.param(b"transport") else {
            return Some(if is_sips { Transport::Tls } else { Transport::Udp });
        };
        let is = |name: &str| named.eq_ignore_ascii_case(name.as_bytes());
        match is_sips {
            false if is("udp") => Some(Transport::Udp),
            false if is("tcp") => Some(Transport::Tcp),
            false if is("ws") => Some(Transport::Ws),
            true if is("ws") => Some(Transport::Wss),
            true if is("tcp") => Some(Transport::Tls),
            _ if is("tls") => Some(Transport::Tls),
            _ => None,
        }
    }

    /// The address that requests go to, where it names that by a number (RFC 3263 §4.2), in `maddr` or as its host.
    /// Where no port is written, it is the one of its scheme and transport (RFC 3261 §19.1.2).
    pub fn address(&self) -> Option<SocketAddr> {
        let ip = self.target().ip()?.to_canonical();
        let usual = if self.scheme == Scheme::Sips { Transport::Tls } else { Transport::Udp };
        let default = || self.transport().unwrap_or(usual).default_port();
        Some(SocketAddr::new(ip, self.port.unwrap_or_else(default)))
    }

    /// Its parameters.
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The value of the parameter `name`, empty when it has none.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.get(name)
    }
}

fn scheme(name: &[u8]) -> Option<Scheme<'_>> {
    if name.eq_ignore_ascii_case(b"sip") {
        return Some(Scheme::Sip);
    }
    if name.eq_ignore_ascii_case(b"sips") {
        return Some(Scheme::Sips);
    }
    if name.eq_ignore_ascii_case(b"tel") {
        return Some(Scheme::Tel);
    }
    let well_formed = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    well_formed.then_some(Scheme::Other(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_sip_uri_is_read_into_its_parts() {
        let uri = parse("sips:alice:secret@ms.example.net:5081;transport=tcp;lr?Subject=a&Route=%3Csip:b%3E");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"alice"[..]));
        assert_eq!(uri.password, Some(&b"secret"[..]));
        assert_eq!(uri.host.as_bytes(), b"ms.example.net");
        assert_eq!(uri.port, Some(5081));
        assert_eq!(uri.param(b"transport"), Some(&b"tcp"[..]));
        assert_eq!(uri.param(b"lr"), Some(&b""[..]));
        assert_eq!(uri.headers, Some(&b"Subject=a&Route=%3Csip:b%3E"[..]));
    }

    #[test]
    fn a_request_goes_to_maddr_where_there_is_one() {
        let target = |text| String::from_utf8_lossy(parse(text).target().as_bytes()).into_owned();
        assert_eq!(target("sip:a@h.example.net"), "h.example.net");
        assert_eq!(target("sip:a@h.example.net:5061;maddr=192.0.2.7"), "192.0.2.7");
        assert_eq!(target("sip:a@h.example.net;MADDR=[2001:db8::7]"), "[2001:db8::7]");
        for nothing in ["sip:a@h.example.net;maddr", "sip:a@h.example.net;maddr=", "sip:a@h.example.net;maddr=a/b"] {
            assert_eq!(target(nothing), "h.example.net", "{nothing}");
        }
    }

    #[test]
    fn a_uri_names_its_address_and_the_transport_that_leads_there() {
        let place = |text| {
            let uri = parse(text);
            let address = uri.address().map(|address| address.to_string()).unwrap_or_default();
            (address, uri.transport().map(Transport::label).unwrap_or_default())
        };
        for (text, address, transport) in [
            ("sip:192.0.2.7", "192.0.2.7:5060", "udp"),
            ("sip:192.0.2.7:5070;transport=UDP", "192.0.2.7:5070", "udp"),
            ("sip:192.0.2.7;transport=tcp", "192.0.2.7:5060", "tcp"),
            ("sip:192.0.2.7;transport=tls", "192.0.2.7:5061", "tls"),
            ("sips:192.0.2.7", "192.0.2.7:5061", "tls"),
            ("sips:192.0.2.7;transport=tcp", "192.0.2.7:5061", "tls"),
            ("sips:[2001:db8::7]:5071;transport=tls", "[2001:db8::7]:5071", "tls"),
            ("sip:[::ffff:192.0.2.7]", "192.0.2.7:5060", "udp"),
            ("sip:h.example.net;transport=ws", "", "ws"),
            ("sips:h.example.net;transport=ws", "", "wss"),
            // RFC 3261 §26.2.2: never without TLS.
            ("sips:h.example.net;transport=udp", "", ""),
            ("sip:h.example.net;transport=sctp", "", ""),
        ] {
            assert_eq!(place(text), (address.to_owned(), transport), "{text}");
        }
    }

    #[test]
    fn semicolons_and_equals_signs_may_stand_in_the_user_part() {
        assert_eq!(parse("sip:user;par=u%40example.net@example.com").user, Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(parse("sip:conf=123@ms.example.net").user, Some(&b"conf=123"[..]));
    }

    #[test]
    fn a_parameter_may_hold_a_uri() {
        let uri = parse("sip:annc@ms2.example.net;play=http://audio.example.net/allcircuitsbusy.g711");
        assert_eq!(uri.param(b"play"), Some(&b"http://audio.example.net/allcircuitsbusy.g711"[..]));
        assert_eq!((uri.host.as_bytes(), uri.port), (&b"ms2.example.net"[..], None));
    }

    #[test]
    fn numbers_and_other_schemes_are_told_apart() {
        let tel = parse("tel:+1-201-555-0123;phone-context=x");
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
        assert_eq!(tel.param(b"phone-context"), Some(&b"x"[..]));
        assert_eq!(parse("soap.beep://192.0.2.103:3002").scheme, Scheme::Other(b"soap.beep"));
        assert_eq!(parse("SIP:a").scheme, Scheme::Sip);
    }

    #[test]
    fn text_that_is_no_uri_is_not_read() {
        for bad in [
            "",
            "sip",
            "sip:",
            "sip:@h",
            "<sip:a@h>",
            "sip:2001:db8::10",
            "sip:a@[::1",
            ":x",
            "1a:b",
            "tel:",
            "sip:a@h:99999",
        ] {
            assert_eq!(Uri::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

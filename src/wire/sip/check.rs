//! The checks that the scan leaves out: whether the fields that a request is processed by are well-formed.
//!
//! The check is made once, for the first request of a call; later messages are matched by fields that have passed it.
//! Its faults are those for which RFC 4475 and RFC 5118 want a 400 or 416.

use super::fault::Fault;
use super::message::{Essentials, Message, members_behind};
use super::name::Name;
use super::name_addr::NameAddr;
use super::text::{Members, number};
use super::uri::{Scheme, Uri};
use super::via::Via;
use crate::wire::find::{Places, has_delimiter};

impl Message<'_> {
    /// The first fault in request-URI, Via, From, To, Contact or Max-Forwards of a request. A response is not checked.
    ///
    /// Headers in a request-URI are not a fault: they are left unread (RFC 4475 §3.1.2.11 allows both).
    pub fn check(&self) -> Result<(), Fault> {
        self.check_read(&self.essentials())
    }

    /// [`Message::check`] for a caller that has read the message's [`Essentials`] already.
    pub fn check_read(&self, read: &Essentials<'_>) -> Result<(), Fault> {
        if !self.is_request() {
            return Ok(());
        }
        check_request_uri(read.uri.as_ref())?;
        let top = read.via.as_ref().filter(|via| via.has_good_params()).ok_or(Fault::Via)?;
        self.check_vias_below(top)?;
        if !(read.from.is_some_and(|from| from.is_well_formed()) && read.to.is_some_and(|to| to.is_well_formed())) {
            return Err(Fault::FromTo);
        }
        for field in self.headers(Name::Contact) {
            for value in Members::new(field) {
                if value != b"*" && !NameAddr::parse(value).is_some_and(|contact| contact.is_well_formed()) {
                    return Err(Fault::Contact);
                }
            }
        }
        self.hops().map(|_| ())
    }

    /// Whether a request may travel on (RFC 3261 §16.3). Only what a proxy works with is judged: any other field,
    /// well-formed or not, is for the receiver. The body, and a method or field that nobody knows, are no hindrance.
    pub fn check_travels(&self, read: &Essentials<'_>) -> Result<(), Hindrance> {
        check_request_uri(read.uri.as_ref())?;
        read.via.filter(Via::has_good_params).ok_or(Fault::Via)?;
        if read.from.is_none() || read.to.is_none() {
            return Err(Fault::FromTo.into());
        }
        if self.has_bare_cr() {
            return Err(Fault::HeaderLine.into());
        }
        if self.hops()? == Some(0) {
            return Err(Hindrance::TooManyHops);
        }
        if self.values(Name::ProxyRequire).next().is_some() {
            return Err(Hindrance::BadExtension);
        }
        if read.uri.is_some_and(|uri| uri.scheme == Scheme::Sips) { Err(Hindrance::Sips) } else { Ok(()) }
    }

    /// Whether a CR stands in the head that is no part of a line end (RFC 3261 §25.1). Some peers end a line there:
    /// they would see other fields than we do, and another end of the message on a connection.
    fn has_bare_cr(&self) -> bool {
        let head = self.bytes.get(..self.head.body_start as usize).unwrap_or_default();
        Places::from(head, 0, b'\r').any(|at| head.get(at + 1) != Some(&b'\n'))
    }

    /// Max-Forwards, if it stands there: 0 to 255.
    pub fn hops(&self) -> Result<Option<u32>, Fault> {
        let Some(value) = self.header(Name::MaxForwards) else { return Ok(None) };
        number(value).filter(|&hops| hops <= 255).map(Some).ok_or(Fault::MaxForwards)
    }

    fn check_vias_below(&self, top: &Via<'_>) -> Result<(), Fault> {
        let mut fields = self.headers(Name::Via);
        let is_good = |value| Via::parse(value).is_some_and(|via| via.has_good_params());
        let beside_top = fields.next().and_then(|first| members_behind(first, top.raw));
        if beside_top.into_iter().chain(fields.map(Members::new)).all(|mut members| members.all(is_good)) {
            Ok(())
        } else {
            Err(Fault::ViaBelow)
        }
    }
}

/// The reason why a request does not travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// A part that a proxy works with is malformed, or of a scheme that it does not know.
    Fault(Fault),
    /// Its Max-Forwards is 0: an OPTIONS may be answered by whoever has it then, any other request gets 483.
    TooManyHops,
    /// Proxy-Require names an extension: 420, with the values of Proxy-Require in Unsupported.
    BadExtension,
    /// Its URI is one of `sips:`, and no hop to a server has TLS: 480, with a Warning (RFC 5630 §5.3).
    Sips,
}

impl From<Fault> for Hindrance {
    fn from(fault: Fault) -> Self {
        Hindrance::Fault(fault)
    }
}

impl Hindrance {
    /// The status of the response that says so.
    pub const fn status(self) -> u16 {
        match self {
            Hindrance::Fault(Fault::UriScheme) => 416,
            Hindrance::Fault(_) => 400,
            Hindrance::TooManyHops => 483,
            Hindrance::BadExtension => 420,
            Hindrance::Sips => 480,
        }
    }
}

fn check_request_uri(uri: Option<&Uri<'_>>) -> Result<(), Fault> {
    let uri = uri.ok_or(Fault::RequestUri)?;
    match uri.scheme {
        Scheme::Other(_) => Err(Fault::UriScheme),
        _ if is_uri_text(uri.raw) => Ok(()),
        _ => Err(Fault::RequestUri),
    }
}

/// Whether a text may stand in a request line as a URI: it ends neither the URI nor the line.
pub fn is_uri_text(text: &[u8]) -> bool {
    !text.is_empty() && !has_delimiter(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    fn check(change: (&str, &str)) -> Result<(), Fault> {
        let plain = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia: SIP/2.0/TLS b\r\n\
            From: <sip:b@h>;tag=1\r\nTo: sip:a@h\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:b@h>\r\nMax-Forwards: 70\r\n\r\n";
        assert!(plain.contains(change.0), "{change:?}");
        Scanner::new().scan(plain.replacen(change.0, change.1, 1).as_bytes()).unwrap().check()
    }

    #[test]
    fn a_well_formed_request_has_no_fault() {
        assert_eq!(check(("", "")), Ok(()));
        assert_eq!(check(("<sip:b@h>\r\nMax", "*\r\nMax")), Ok(()));
        assert_eq!(check(("sip:a@h SIP", "tel:+4930 SIP")), Ok(()));
    }

    #[test]
    fn each_field_has_its_fault() {
        assert_eq!(check(("sip:a@h SIP", "sip:2001:db8::10 SIP")), Err(Fault::RequestUri));
        assert_eq!(check(("sip:a@h SIP", "<sip:a@h> SIP")), Err(Fault::RequestUri));
        assert_eq!(check(("sip:a@h SIP", "soap:a SIP")), Err(Fault::UriScheme));
        assert_eq!(check((";branch", ";;branch")), Err(Fault::Via));
        assert_eq!(check(("TLS b", "TLS b,")), Err(Fault::ViaBelow));
        assert_eq!(check(("To: sip", "To: \"x <sip")), Err(Fault::FromTo));
        assert_eq!(check((";tag=1", ";tag=1;")), Err(Fault::FromTo));
        assert_eq!(check(("Contact: <sip:b@h>", "Contact: <sip:b@h>;;")), Err(Fault::Contact));
        assert_eq!(check(("70", "300")), Err(Fault::MaxForwards));
    }

    fn travels(change: (&str, &str)) -> Result<(), u16> {
        let plain = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nVia: SIP/2.0/TLS b\r\n\
            From: <sip:b@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:b@h>\r\nMax-Forwards: 70\r\n\r\n";
        assert!(plain.contains(change.0), "{change:?}");
        let text = plain.replacen(change.0, change.1, 1);
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        message.check_travels(&message.essentials()).map_err(Hindrance::status)
    }

    #[test]
    fn a_request_travels_on_unless_a_part_that_a_proxy_works_with_forbids_it() {
        assert_eq!(travels(("", "")), Ok(()));
        assert_eq!(travels(("Max-Forwards: 70\r\n", "")), Ok(()));
        assert_eq!(travels(("sip:a@h", "tel:+49")), Ok(()));
        assert_eq!(travels(("sip:a@h", "soap:a")), Err(416));
        assert_eq!(travels(("sip:a@h", "sips:a@h")), Err(480), "RFC 5630 §5.3: never without TLS");
        assert_eq!(travels(("sip:a@h", "sip:2001:db8::10")), Err(400));
        assert_eq!(travels((";branch", ";;branch")), Err(400));
        assert_eq!(travels(("<sip:b@h>;tag", "<sip:b@h;tag")), Err(400));
        for (hops, expected) in [("1", Ok(())), ("255", Ok(())), ("0", Err(483)), ("000", Err(483))] {
            assert_eq!(travels(("70", hops)), expected, "{hops}");
        }
        for hops in ["-1", "x", "300", "256", "99999999999999999999", "", "70 70", "7.0"] {
            assert_eq!(travels(("70", hops)), Err(400), "{hops}");
        }
        assert_eq!(travels(("Contact", "Proxy-Require: , \r\nContact")), Ok(()));
        assert_eq!(travels(("Contact", "Proxy-Require: foo\r\nContact")), Err(420));
        // Fields that are for the receiver alone.
        assert_eq!(travels(("TLS b", "TLS b,")), Ok(()));
        assert_eq!(travels(("Contact: <sip:b@h>", "Contact: <sip:b@h")), Ok(()));
        assert_eq!(travels(("Contact", "Require: foo\r\nDate: never\r\nContact")), Ok(()));
    }
}

//! The names of a SIP transaction in the table.
//!
//! The dispatcher computes them from each request. A worker that comes back from an earlier dispatcher lists its
//! transactions by the same names, made with the same key.
//!
//! RFC 3261 §17.2.3 has two rules. A branch with the magic cookie names its transaction, together with sent-by and
//! method. A peer of RFC 2543 writes no such branch: there the request-URI, To-tag, From-tag, Call-ID, CSeq and top Via
//! must match. An ACK has another To-tag than its INVITE, so the To-tag counts for other methods only: it tells apart
//! the BYEs of two dialogs, whereas an INVITE without To-tag is told from one inside a dialog by its CSeq. Of the Via,
//! branch and sent-by count. The request-URI counts as written, because a retransmission, an ACK to a 300–699 and a
//! CANCEL copy it (§17.1.1.3, §9.1); its port does not count, because the dispatcher writes the worker's own port there
//! when the operator asks for it, and only into the request that begins the call.

use crate::fingerprint::Text::{AsItIs, InAnyCase, Number};
use crate::fingerprint::{Fingerprint, Printer, Text};
use crate::wire::sip::patch::around_uri_port;
use crate::wire::sip::{Essentials, Message, Method, Via};
use crate::words;

/// Purposes of fingerprints.
const TRANSACTION: u8 = b'b';
const OLD_TRANSACTION: u8 = b'o';
const SERVER: u8 = b's';
const CALL: u8 = b'c';

/// The fields of a request that name its transaction.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    /// The request itself: a peer of RFC 2543 has its request-URI read.
    pub message: &'a Message<'a>,
    /// The top Via.
    pub via: Option<&'a Via<'a>>,
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// The From-tag; empty if there is none.
    pub from_tag: &'a [u8],
    /// The CSeq number; 0 if none can be read.
    pub cseq: u32,
}

impl<'a> Fields<'a> {
    fn of(message: &'a Message<'a>, read: &'a Essentials<'a>) -> Self {
        Fields {
            message,
            via: read.via.as_ref(),
            call_id: message.call_id(),
            from_tag: read.from.and_then(|from| from.tag()).unwrap_or_default(),
            cseq: message.cseq().map_or(0, |cseq| cseq.number),
        }
    }

    /// The name that an INVITE shares with its ACK, if that is to a 300–699, and with its CANCEL (RFC 3261 §9.1,
    /// §17.1.1.3): branch and sent-by.
    #[inline]
    pub fn transaction(&self, printer: &Printer) -> Fingerprint {
        match self.via.and_then(Via::unique_branch) {
            Some(branch) => printer.print_each(TRANSACTION, self.via_texts(branch)),
            None => self.transaction_of_old_peer(printer),
        }
    }

    /// Branch and sent-by.
    #[inline]
    fn via_texts<'t>(&'t self, branch: &'t [u8]) -> [Text<'t>; 3] {
        let sent_by = self.via.map(|via| via.host.as_bytes()).unwrap_or_default();
        [InAnyCase(branch), InAnyCase(sent_by), Number(self.via.and_then(|via| via.port).unwrap_or(0))]
    }

    // Out of line: it would double the code in the way of every other request.
    #[cold]
    fn transaction_of_old_peer(&self, printer: &Printer) -> Fingerprint {
        let via = self.via_texts(self.via.and_then(Via::branch).unwrap_or_default());
        let number = self.cseq.to_be_bytes();
        let [uri, behind_port] = around_uri_port(self.message);
        let call = [AsItIs(self.call_id), InAnyCase(self.from_tag), AsItIs(&number)];
        let texts = [AsItIs(uri), AsItIs(behind_port)].into_iter().chain(via).chain(call);
        printer.print_each(OLD_TRANSACTION, texts)
    }

    /// The name of the server transaction of a request with this method and To-tag: beside the branch the method
    /// counts, ACK as INVITE.
    pub fn server(&self, method: Method<'_>, to_tag: Option<&[u8]>, printer: &Printer) -> Fingerprint {
        let name = self.transaction(printer).to_bytes();
        let method = if method == Method::Ack { Method::Invite } else { method };
        match to_tag {
            Some(tag) if method != Method::Invite && self.via.and_then(Via::unique_branch).is_none() => {
                printer.print_each(SERVER, [AsItIs(&name), AsItIs(method.as_bytes()), InAnyCase(tag)])
            }
            _ => printer.print(SERVER, &[&name, method.as_bytes()]),
        }
    }

    /// The name of the call that the request begins: Call-ID and From-tag.
    pub fn call(&self, printer: &Printer) -> Fingerprint {
        call(self.call_id, self.from_tag, printer)
    }

    /// The transaction that the request, handed over, has opened in the dispatcher's table, with its names; `None` for
    /// requests that only find one there (ACK, CANCEL) or that belong to a dialog.
    pub fn opened(
        &self,
        method: Method<'_>,
        to_tag: Option<&[u8]>,
        printer: &Printer,
    ) -> Option<words::OpenTransaction> {
        if matches!(method, Method::Ack | Method::Cancel) || to_tag.is_some() {
            return None;
        }
        let Names { transaction, call, cseq } = Names::of_fields(self, printer);
        let (name, call) = (transaction.to_bytes(), call.to_bytes());
        let is_invite = method == Method::Invite;
        Some(words::OpenTransaction { name, call, cseq, is_invite, ..words::OpenTransaction::default() })
    }
}

/// The name of the call with this Call-ID and From-tag.
pub fn call(call_id: &[u8], from_tag: &[u8], printer: &Printer) -> Fingerprint {
    printer.print_each(CALL, [AsItIs(call_id), InAnyCase(from_tag)])
}

/// The name of the call that a message belongs to, as its caller's messages and the responses to them have it:
/// [`Fields::call`].
pub fn call_of(message: &Message<'_>, printer: &Printer) -> Fingerprint {
    call(message.call_id(), message.from().and_then(|from| from.tag()).unwrap_or_default(), printer)
}

/// The names of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The name of the transaction: [`Fields::transaction`].
    pub transaction: Fingerprint,
    /// The name of the call: [`Fields::call`].
    pub call: Fingerprint,
    /// The CSeq number; 0 if none can be read.
    pub cseq: u32,
}

impl Names {
    /// The names of the transaction that a request belongs to.
    pub fn of(message: &Message<'_>, read: &Essentials<'_>, printer: &Printer) -> Self {
        Names::of_fields(&Fields::of(message, read), printer)
    }

    /// The transaction that a handed-over request has opened in the dispatcher's table: [`Fields::opened`].
    pub fn opened_by(message: &Message<'_>, printer: &Printer) -> Option<words::OpenTransaction> {
        let (method, read) = (message.method()?, message.essentials());
        Fields::of(message, &read).opened(method, read.to.and_then(|to| to.tag()), printer)
    }

    fn of_fields(fields: &Fields<'_>, printer: &Printer) -> Self {
        Names { transaction: fields.transaction(printer), call: fields.call(printer), cseq: fields.cseq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::SCHEME;
    use crate::ids::TokenKey;
    use crate::wire::sip::Scanner;

    fn request(method: &str, to: &str) -> String {
        format!(
            "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h:5062;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\nTo: <sip:a@b>{to}\r\n\
             Call-ID: 1\r\nCSeq: 7 {method}\r\n\r\n"
        )
    }

    #[test]
    fn a_worker_names_a_transaction_as_the_dispatcher_does() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let mut scanner = Scanner::new();
        let text = request("INVITE", "");
        let message = scanner.scan(text.as_bytes()).unwrap();
        let names = Names::of(&message, &message.essentials(), &printer);
        let opened = Names::opened_by(&message, &printer).unwrap();
        assert_eq!(
            (Fingerprint::from_bytes(opened.name), Fingerprint::from_bytes(opened.call)),
            (names.transaction, names.call)
        );
        assert_eq!((opened.cseq, opened.is_invite, opened.is_answered), (7, true, false));
    }

    #[test]
    fn branch_host_and_tag_are_the_same_in_either_case_and_the_call_id_is_not() {
        // RFC 3261 §7.3.1; by §20.8 Call-IDs are compared byte by byte.
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let names = |text: &str| {
            let mut scanner = Scanner::new();
            let message = scanner.scan(text.as_bytes()).unwrap();
            Names::of(&message, &message.essentials(), &printer)
        };
        let text = request("INVITE", "").replace("branch=z9hG4bK1", "branch=z9hG4bKaB").replace("tag=f", "tag=fG");
        let shouted = text.replace("z9hG4bKaB", "Z9HG4BKAb").replace("tag=fG", "tag=Fg").replace("UDP h:", "UDP H:");
        assert_eq!(names(&text), names(&shouted));
        assert_eq!(names(&text.replace("z9hG4bKaB", "aB")), names(&text.replace("z9hG4bKaB", "Ab")), "RFC 2543");
        let other = text.replace("Call-ID: 1", "Call-ID: a");
        assert_ne!(names(&other).call, names(&other.replace("Call-ID: a", "Call-ID: A")).call);
    }

    #[test]
    fn a_server_transaction_is_named_by_its_method_as_well_and_an_ack_belongs_to_its_invite() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let mut scanner = Scanner::new();
        let text = request("INVITE", "");
        let message = scanner.scan(text.as_bytes()).unwrap();
        let via = message.via();
        for via in [via, None] {
            let fields = Fields { message: &message, via: via.as_ref(), call_id: b"1", from_tag: b"f", cseq: 7 };
            let name = |method| fields.server(method, Some(b"t"), &printer);
            assert_eq!(name(Method::Invite), name(Method::Ack));
            assert_ne!(name(Method::Invite), name(Method::Cancel));
            assert_ne!(name(Method::Invite), fields.transaction(&printer));
        }
    }

    #[test]
    fn the_workers_port_in_the_request_uri_of_a_peer_of_rfc_2543_makes_no_other_transaction_of_it() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let name = |uri: &str| {
            let text = request("INVITE", "").replace("z9hG4bK1", "1").replace("sip:a@b", uri);
            Names::opened_by(&Scanner::new().scan(text.as_bytes()).unwrap(), &printer).unwrap().name
        };
        for (plain, inserted) in [
            ("sip:a@b", "sip:a@b:5071"),
            ("sip:a@b:5060;ring=1", "sip:a@b:5071;ring=1"),
            ("sip:b?x=y", "sip:b:5071?x=y"),
            ("sips:[2001:db8::1]", "sips:[2001:db8::1]:5071"),
        ] {
            assert_eq!(name(plain), name(inserted), "{plain}");
        }
        assert_ne!(name("sip:a@b"), name("sip:c@b"));
        assert_ne!(name("sip:a@b;x=1"), name("sip:a@b;x=2"));
        assert_ne!(name("tel:1"), name("tel:2"));
    }

    #[test]
    fn names_made_in_another_way_need_another_name_of_the_scheme() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let low = |branch: &str| {
            let text = request("INVITE", "").replace("z9hG4bK1", branch);
            let opened = Names::opened_by(&Scanner::new().scan(text.as_bytes()).unwrap(), &printer).unwrap();
            [opened.name, opened.call].map(|name| Fingerprint::from_bytes(name).short())
        };
        let call = 12_546_572_327_744_916_594;
        assert_eq!(
            (SCHEME, low("z9hG4bK1"), low("1")),
            (
                "fingerprints:every-length:uri-of-old-peers,",
                [2_710_211_177_726_918_263, call],
                [6_323_214_320_591_704_565, call]
            )
        );
    }

    #[test]
    fn a_request_that_only_follows_opens_nothing() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        for (method, to) in [("ACK", ""), ("CANCEL", ""), ("INVITE", ";tag=t"), ("BYE", ";tag=t")] {
            let text = request(method, to);
            assert_eq!(Names::opened_by(&Scanner::new().scan(text.as_bytes()).unwrap(), &printer), None, "{method}");
        }
    }
}

//! The names of a SIP transaction in the table.
//!
//! The dispatcher computes them from each request. A worker that comes back from an earlier dispatcher lists its
//! transactions by the same names, made with the same key.

use crate::fingerprint::Text::{AsItIs, InAnyCase, Number};
use crate::fingerprint::{Fingerprint, Printer};
use crate::wire::sip::{Essentials, Message, Method};
use crate::words;

/// Purposes of fingerprints.
const TRANSACTION: u8 = b'b';
const OLD_TRANSACTION: u8 = b'o';
const CALL: u8 = b'c';

/// The names of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// (branch, sent-by).
    pub branch: Fingerprint,
    /// (Call-ID, From-tag).
    pub call: Fingerprint,
    /// The CSeq number; 0 if none can be read.
    pub cseq: u32,
}

impl Names {
    /// The names of the transaction that a request belongs to.
    pub fn of(message: &Message<'_>, read: &Essentials<'_>, printer: &Printer) -> Self {
        let call_id = message.call_id();
        let from_tag = read.from.and_then(|from| from.tag()).unwrap_or_default();
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let via = read.via.as_ref();
        let sent_by = via.map(|via| via.host.as_bytes()).unwrap_or_default();
        let port = Number(via.and_then(|via| via.port).unwrap_or(0));
        let branch = match via.and_then(|via| via.unique_branch()) {
            Some(branch) => printer.print_each(TRANSACTION, [InAnyCase(branch), InAnyCase(sent_by), port]),
            // RFC 3261 §17.2.3: the branch of an RFC 2543 peer does not name the transaction.
            None => {
                let branch = via.and_then(|via| via.branch()).unwrap_or_default();
                let number = cseq.to_be_bytes();
                let texts = [InAnyCase(branch), InAnyCase(sent_by), port, AsItIs(call_id)];
                printer.print_each(OLD_TRANSACTION, texts.into_iter().chain([InAnyCase(from_tag), AsItIs(&number)]))
            }
        };
        Names { branch, call: printer.print_each(CALL, [AsItIs(call_id), InAnyCase(from_tag)]), cseq }
    }

    /// The transaction that a handed-over request has opened in the dispatcher's table, with its names; `None` for
    /// requests that only find one there (ACK, CANCEL) or that belong to a dialog.
    pub fn opened_by(message: &Message<'_>, printer: &Printer) -> Option<words::OpenTransaction> {
        let method = message.method()?;
        let read = message.essentials();
        if matches!(method, Method::Ack | Method::Cancel) || read.to.and_then(|to| to.tag()).is_some() {
            return None;
        }
        let Names { branch, call, cseq } = Names::of(message, &read, printer);
        let (branch, call) = (branch.to_bytes(), call.to_bytes());
        let is_invite = method == Method::Invite;
        Some(words::OpenTransaction { branch, call, cseq, is_invite, ..words::OpenTransaction::default() })
    }

    /// The name of the transaction that a CANCEL is for: both have the same branch (RFC 3261 §9.1).
    pub fn cancelled_by(message: &Message<'_>, printer: &Printer) -> Option<[u8; 16]> {
        (message.method()? == Method::Cancel)
            .then(|| Names::of(message, &message.essentials(), printer).branch.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            (Fingerprint::from_bytes(opened.branch), Fingerprint::from_bytes(opened.call)),
            (names.branch, names.call)
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
    fn what_only_follows_opens_nothing() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        for (method, to) in [("ACK", ""), ("CANCEL", ""), ("INVITE", ";tag=t"), ("BYE", ";tag=t")] {
            let text = request(method, to);
            assert_eq!(Names::opened_by(&Scanner::new().scan(text.as_bytes()).unwrap(), &printer), None, "{method}");
        }
    }
}

//! Messages that travel on: the edits that the dispatcher makes on their way (RFC 3261 §16.6, §16.7).
//!
//! The edited message is written into the buffer of the turn's answers. That copies it once, and lets all messages of a
//! turn leave with one system call; a call for each, which would save the copy, costs many times as much.

use std::io::Write as _;
use std::net::IpAddr;

use super::Way;
use super::answers::{Answers, Texts};
use super::owner::Owner;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{Leaving, LeavingMessage};
use crate::dispatch::decision::{Arrival, DispatcherTag, Forward, ForwardedResponse, Hop, Redirect, Routes, Side};
use crate::ids::ListenerId;
use crate::transaction::forwarded::{FLOW_PARAM, connection_text};
use crate::transaction::sip_client::{write_ack_to, write_cancel};
use crate::wire::load::OVERLOAD_QUERY;
use crate::wire::push_address;
use crate::wire::sip::{self, Edits, Message, ResponseWriter, Scanner, write_contact};
use crate::words::ReplyTo;

/// The edits of one message, in memory that is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Travelling {
    edits: Edits,
    /// The text of a field.
    text: Vec<u8>,
    /// The request of a message that leaves, read again; and as it has left.
    scanner: Scanner,
    sent: (Vec<u8>, Scanner),
}

impl Travelling {
    /// Writes a request on its way to a downstream proxy.
    pub(super) fn forward(
        &mut self,
        answers: &mut Answers,
        dispatch: &Dispatch,
        way: &Way,
        (forward, request): (&Forward, &Message<'_>),
    ) {
        let Travelling { edits, text, .. } = self;
        edit(edits, text, dispatch, (forward, request, &way.arrival));
        send(answers, way_of(forward), forward.to, |bytes| write(bytes, edits, request));
    }

    /// Writes a message of a request under way, unless a worker is to have it.
    pub(super) fn leave(&mut self, answers: &mut Answers, dispatch: &Dispatch, leaving: &Leaving) {
        let Travelling { edits, text, scanner, sent: (sent, sent_scanner) } = self;
        let Leaving { request, arrival, message } = leaving;
        let way = &Way { owner: Owner::Listener(arrival.listener), arrival: *arrival };
        let Ok(request) = scanner.scan(request) else { return };
        let (forward, ack_to) = match message {
            LeavingMessage::Answer(answer) => {
                return answers.write(way, answer, &Texts { allow: dispatch.allow(), load: None }, &request);
            }
            LeavingMessage::Response(bytes) => {
                let to = sip::where_to(&request, arrival.source);
                return answers.write_by(way, to, |out| out.extend_from_slice(bytes));
            }
            LeavingMessage::Request(forward) | LeavingMessage::Cancel(forward) => (forward, None),
            LeavingMessage::Acknowledge(forward, to) => (forward, Some(to)),
            // These go by the worker's link.
            LeavingMessage::HandedOver(_) | LeavingMessage::TakenBack(_) => return,
        };
        edit(edits, text, dispatch, (forward, &request, arrival));
        if let LeavingMessage::Request(_) = message {
            return send(answers, way_of(forward), forward.to, |bytes| write(bytes, edits, &request));
        }
        sent.clear();
        write(sent, edits, &request);
        let Ok(sent) = sent_scanner.scan(sent) else { return };
        send(answers, way_of(forward), forward.to, |bytes| match ack_to {
            Some(to) => write_ack_to(bytes, &sent, to),
            None => write_cancel(bytes, &sent),
        });
    }

    /// Writes a response on its way to the sender of its request.
    pub(super) fn respond(
        &mut self,
        answers: &mut Answers,
        dispatch: &Dispatch,
        (response, message): (&ForwardedResponse, &Message<'_>),
    ) {
        self.edits.clear();
        self.edits.take_via(message, response.via_end.into());
        if response.side == Side::Server
            && let Some(identifier) = dispatch.identifier_for(response.proxy)
        {
            self.edits.put_extension(message, dispatch.rules().identifier_header.as_bytes(), &identifier.text());
        }
        if let Hop::Connection(_) = response.to {
            self.edits.state_length(message);
        }
        let leaves = (response.listener, response.from);
        send(answers, leaves, response.to, |bytes| write(bytes, &self.edits, message));
    }
}

/// Edits a request for its way to a downstream proxy, or to the caller of a dialog.
fn edit(
    edits: &mut Edits,
    text: &mut Vec<u8>,
    dispatch: &Dispatch,
    (forward, request, arrival): (&Forward, &Message<'_>, &Arrival),
) {
    edits.clear();
    text.clear();
    text.extend_from_slice(b"SIP/2.0/");
    text.extend_from_slice(forward.transport.via_name().as_bytes());
    text.push(b' ');
    push_address(text, forward.sent_by.into());
    text.extend_from_slice(b";branch=");
    text.extend_from_slice(forward.branch.as_bytes());
    [b";", FLOW_PARAM.as_bytes(), b"="].iter().for_each(|part| text.extend_from_slice(part));
    if let ReplyTo::Stream(conn) = arrival.reply_to {
        text.extend_from_slice(&connection_text(conn));
    }
    text.extend_from_slice(&forward.flow.text());
    if forward.asks_overload {
        text.extend_from_slice(OVERLOAD_QUERY.as_bytes());
    }
    edits.put_via(request, text);
    if let Hop::Connection(_) = forward.to {
        edits.state_length(request);
    }
    edits.complete_via(request, forward.via, arrival.source);
    edits.count_hop(request);
    if forward.rewrites_uri
        && let Some(to) = dispatch.proxies().get(forward.proxy).and_then(|proxy| proxy.address())
    {
        edits.replace_uri_host(request, to);
    }
    if forward.records_route {
        text.clear();
        dispatch.write_record_route(text, forward, (request, arrival));
        edits.put_record_route(request, text);
    }
    if forward.side == Side::Caller
        && let Some(identifier) = dispatch.identifier_for(forward.proxy)
    {
        edits.put_extension(request, dispatch.rules().identifier_header.as_bytes(), &identifier.text());
    }
    let Routes { own, restores_uri, is_strict } = forward.routes;
    match (restores_uri, is_strict) {
        (true, _) => edits.restore_uri(request, own.count.into()),
        (false, true) => edits.give_strict(request, own.count.into()),
        (false, false) => edits.take_routes(request, own.end.into()),
    }
}

/// The socket that a request leaves from.
const fn way_of(forward: &Forward) -> (ListenerId, IpAddr) {
    (forward.listener, forward.sent_by.0)
}

/// Writes a message for its way.
fn send(answers: &mut Answers, leaves: (ListenerId, IpAddr), to: Hop, write: impl FnOnce(&mut Vec<u8>)) {
    match to {
        Hop::Address(to) => answers.write_datagram(leaves, to, write),
        Hop::Connection(conn) => answers.replies.write(conn, write),
    }
}

/// Most bytes of the Contacts of a 302, each of which repeats user part and parameters of the request-URI.
const MOST_NAMED: usize = 400;

/// Answers a request with the addresses of downstream proxies, best first (RFC 3261 §21.3.3): with the best one, and
/// with as many others as do not make the answer much larger than the request.
pub(super) fn redirect(
    answers: &mut Answers,
    way: &Way,
    (redirect, tag): (&Redirect, &DispatcherTag),
    request: &Message<'_>,
) {
    let source = way.arrival.source;
    answers.write_by(way, sip::where_to(request, source), |bytes| {
        let phrase = sip::reason_phrase(302);
        let mut writer = ResponseWriter::saying(bytes, request, 302, phrase, Some(source), Some(tag.as_bytes()));
        let (mut contact, mut named) = (Vec::new(), 0);
        for (place, address) in redirect.contacts().enumerate() {
            let Some(uri) = request.uri() else { continue };
            contact.clear();
            write_contact(&mut contact, &uri, address);
            // Writing to a Vec cannot fail.
            let _ = write!(contact, ";q=0.{}", 9 - place.min(8));
            named += contact.len();
            if place > 0 && named > MOST_NAMED {
                break;
            }
            writer = writer.header("Contact", &contact);
        }
        writer.finish();
    });
}

fn write(bytes: &mut Vec<u8>, edits: &Edits, message: &Message<'_>) {
    edits.pieces(message).for_each(|piece| bytes.extend_from_slice(piece));
}

//! The checks of RFC 3261 §8.2 on every request, and OPTIONS, which asks for the results.

use std::sync::Arc;

use crate::call::exchange::{Arrival, CallKey, Event, Output};
use crate::call::uas::Uas;
use crate::call::uas::body::{Body, content_of, media_type, session_description};
use crate::call::uas::request::{Case, Request};
use crate::call::uas::respond::{ALLOW, Response, SDP, SUPPORTED};
use crate::wire::multipart::is_type;
use crate::wire::sip::{Fault, Message, Method, Name, ResponseWriter, Scheme, Unparsable, capabilities, reason_phrase};

/// The reason for which a request is not served, and the header that tells the peer what would be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) header: Option<(&'static str, Vec<u8>)>,
    /// The fault of the request, in words.
    pub(super) why: Option<&'static str>,
}

impl Refusal {
    pub(super) const fn status(status: u16) -> Self {
        Refusal { status, header: None, why: None }
    }

    pub(super) fn with(status: u16, name: &'static str, value: &[u8]) -> Self {
        Refusal { status, header: Some((name, value.to_vec())), why: None }
    }

    /// A 400 that says what is wrong (RFC 3261 §21.4.1).
    pub(super) const fn bad(why: &'static str) -> Self {
        Refusal { status: 400, header: None, why: Some(why) }
    }
}

impl Uas {
    /// The checks of RFC 3261 §8.2.1–8.2.3, in their order, and that of Replaces and Join.
    pub(super) fn screen(&self, request: &Request<'_>) -> Option<Refusal> {
        check_method(request)
            .or_else(|| check_scheme(request))
            .or_else(|| check_require(request))
            .or_else(|| check_replaces(request))
            .or_else(|| check_content(request, self.limits.body))
            .or_else(|| check_accept(request))
    }

    /// Answers with a refusal.
    pub(super) fn refuse_request(&mut self, case: &Case<'_>, refusal: &Refusal, call: Option<CallKey>) {
        let header = refusal.header.as_ref().map(|(name, value)| (*name, value.as_slice()));
        let headers = header.as_slice();
        let response = Response { headers, why: refusal.why, ..Response::status(refusal.status) };
        self.answer(case, call, &response);
    }

    /// OPTIONS (RFC 3261 §11.2): the status that an INVITE would get, and our capabilities.
    pub(super) fn on_options(&mut self, case: &Case<'_>) {
        let Case { request, .. } = *case;
        let room = !self.draining && self.units_taken() < self.limits.units;
        let status = if room || request.to_tag.is_some() { 200 } else { 486 };
        let headers = [
            ("Allow", ALLOW),
            ("Accept", SDP.as_bytes()),
            ("Accept-Encoding", capabilities::ACCEPT_ENCODING.as_bytes()),
            ("Accept-Language", capabilities::ACCEPT_LANGUAGE.as_bytes()),
            ("Supported", SUPPORTED),
        ];
        self.answer_statelessly(case, &Response { headers: &headers, ..Response::status(status) });
    }

    /// INFO in a dialog. Old-style INFO (RFC 2976) goes to the application if it takes the type of the body; else the
    /// INFO gets 415, unless the body is optional (RFC 3261 §8.2.3). An Info Package gets 469, because none was agreed
    /// on (RFC 6086 §4.2.2).
    pub(super) fn on_info(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, .. } = *case;
        if request.msg.header(Name::InfoPackage).is_some() {
            let refusal = Refusal::with(469, "Recv-Info", b"");
            return self.refuse_request(case, &refusal, Some(key));
        }
        let content_type = media_type(request.msg.header(Name::ContentType).unwrap_or_default());
        let content = content_of(request.msg);
        let is_taken = content.is_none() || self.info_types.iter().any(|kind| is_type(content_type, kind.as_bytes()));
        let is_optional = content.is_some_and(|part| part.must_be_understood() == Some(false));
        if !is_taken && !is_optional {
            // §20.1: an Accept without a value says that no type is taken.
            let refusal = Refusal::with(415, "Accept", self.info_types.join(", ").as_bytes());
            return self.refuse_request(case, &refusal, Some(key));
        }
        self.answer(case, Some(key), &Response::status(200));
        if is_taken {
            self.tell(key, Event::Info { content_type: content_type.into(), body: request.msg.body().into() });
        }
    }

    /// Bytes that are no readable message: answered if the scanner found enough of it for an answer.
    pub fn on_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival) {
        if let (Some(msg), Some(status)) = (&bad.message, bad.fault.status()) {
            self.answer_incomplete(msg, status, bad.fault.phrase(), arrival);
        }
        self.dealt_with(arrival);
    }

    /// Answers a request that lacks mandatory headers, if it has enough of them; never an ACK. A 400 says what is
    /// wrong.
    pub(super) fn answer_incomplete(&mut self, msg: &Message<'_>, status: u16, why: &str, arrival: &Arrival) {
        let headers = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
        let via = msg.via();
        let answerable = via.is_some() && headers.iter().all(|name| msg.header(*name).is_some());
        if !answerable || msg.method().is_none_or(|method| method == Method::Ack) {
            return;
        }
        let way = self.way(via.as_ref(), arrival);
        let tag = format!("{}-x", self.identity.token);
        let mut out = Vec::new();
        let phrase = if status == 400 { why } else { reason_phrase(status) };
        ResponseWriter::saying(&mut out, msg, status, phrase, Some(arrival.source), Some(tag.as_bytes())).finish();
        self.outputs.extend(arrival.seq().map(|seq| Output::Final { seq, status, why: Some(why.into()) }));
        self.outputs.push_back(way.transmit(&Arc::from(out)));
    }
}

/// §8.2.1: 405 for standard methods that we do not serve, 501 for unknown ones; both list the methods we serve.
fn check_method(request: &Request<'_>) -> Option<Refusal> {
    match request.method {
        Method::Invite | Method::Bye | Method::Options | Method::Info | Method::Update | Method::Prack => None,
        Method::Ack | Method::Cancel => None,
        // NOTIFY outside of a subscription gets 481 (RFC 6665 §4.1.3), and a call has no subscription.
        Method::Notify => None,
        Method::Other(_) => Some(Refusal::with(501, "Allow", ALLOW)),
        _ => Some(Refusal::with(405, "Allow", ALLOW)),
    }
}

/// §8.2.2.1.
fn check_scheme(request: &Request<'_>) -> Option<Refusal> {
    match request.msg.uri().map(|uri| uri.scheme) {
        Some(Scheme::Other(_)) => Some(Refusal::status(416)),
        Some(_) => None,
        None => Some(Refusal::bad(Fault::RequestUri.phrase())),
    }
}

/// §8.2.2.3: the required extensions that we do not know, listed.
fn check_require(request: &Request<'_>) -> Option<Refusal> {
    let mut unknown = Vec::new();
    for option in request.msg.values(Name::Require) {
        if capabilities::supports(option) || option.is_empty() {
            continue;
        }
        if !unknown.is_empty() {
            unknown.extend_from_slice(b", ");
        }
        unknown.extend_from_slice(option);
    }
    (!unknown.is_empty()).then(|| Refusal::with(420, "Unsupported", &unknown))
}

/// RFC 3891 §3, RFC 3911 §4: only an INVITE replaces or joins a dialog.
fn check_replaces(request: &Request<'_>) -> Option<Refusal> {
    let is_there = [Name::Replaces, Name::Join].iter().any(|&name| request.msg.header(name).is_some());
    (is_there && request.method != Method::Invite).then(|| Refusal::bad("Replaces or Join Outside INVITE"))
}

/// §8.2.3: 413 for a body that is too large, 415 for an encoding or a type that we do not read.
fn check_content(request: &Request<'_>, limit: usize) -> Option<Refusal> {
    if request.msg.body().len() > limit {
        return Some(Refusal::status(413));
    }
    if request.msg.body().is_empty() {
        return None;
    }
    let encoded = |value: &[u8]| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
    if request.msg.header(Name::ContentEncoding).is_some_and(encoded) {
        return Some(Refusal::with(415, "Accept-Encoding", b"identity"));
    }
    let reads_sdp = matches!(request.method, Method::Invite | Method::Update | Method::Prack);
    (reads_sdp && session_description(request.msg) == Body::Unknown)
        .then(|| Refusal::with(415, "Accept", SDP.as_bytes()))
}

/// §20.1: an INVITE whose `Accept` excludes session descriptions cannot be answered with one.
fn check_accept(request: &Request<'_>) -> Option<Refusal> {
    if request.method != Method::Invite || request.msg.header(Name::Accept).is_none() {
        return None;
    }
    let takes = request
        .msg
        .values(Name::Accept)
        .any(|range| is_type(range, SDP.as_bytes()) || is_type(range, b"application/*") || is_type(range, b"*/*"));
    (!takes).then_some(Refusal::status(406))
}

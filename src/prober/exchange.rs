//! The probes of one address: which messages leave, and the meaning of those that come back. A value without socket
//! and clock.
//!
//! A probe leaves once: a copy would make the delay ambiguous, and one lost probe alone changes nothing. An INVITE that
//! a server takes for a call is ended by all means of RFC 3261: CANCEL (§9.1), ACK (§13.2.2.4) and BYE (§15.1.1), all
//! to the configured address, whatever its Contact says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Probe;
use crate::fingerprint::Printer;
use crate::time::Time;
use crate::transaction::probe::ProbeBranch;
use crate::transaction::sip_client::{Due, Opening, Outcome, Transaction, write_ack, write_cancel};
use crate::transaction::{Kind, LIFETIME};
use crate::wire::load;
use crate::wire::sip::{Message, Name, RequestWriter, Scanner};
use crate::words::{LoadReport, Transport};

/// The subject of the probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The address that they go to.
    pub(super) to: SocketAddr,
    /// The transport: UDP, TCP or TLS.
    pub(super) transport: Transport,
    /// The kind of probe; never `none`.
    pub(super) kind: Probe,
    /// Whether it is asked for its load.
    pub(super) asks_load: bool,
    /// Time after which a probe is lost.
    pub(super) within: Duration,
}

/// The probes of one address.
#[derive(Debug)]
pub(super) struct Exchange {
    subject: Subject,
    /// The address that they leave from.
    local: SocketAddr,
    /// Draws the numbers in branches and tags: the next answer cannot be guessed.
    seed: u64,
    /// Makes the branches.
    printer: Printer,
    /// Whether a server has taken an INVITE for a call.
    is_taken: bool,
    /// Sequence number of the last probe.
    cseq: u32,
    current: Option<Probing>,
    /// Probes that are over and can still get an answer, oldest first.
    past: VecDeque<Probing>,
}

/// A probe.
#[derive(Debug)]
struct Probing {
    id: u64,
    /// Rises with time, in this dispatcher and in one that takes over.
    number: u32,
    cseq: u32,
    kind: Probe,
    branch: ProbeBranch,
    /// The branches of an ACK to a 2xx and of the BYE after it, which are transactions of their own.
    ack: ProbeBranch,
    bye: ProbeBranch,
    local: SocketAddr,
    transport: Transport,
    request: Arc<[u8]>,
    sent: Time,
    /// When the first response came.
    answered: Option<Time>,
    until: Time,
    is_lost: bool,
    transaction: Transaction,
    /// The CANCEL or BYE that ends a call.
    ending: Option<(&'static str, Transaction)>,
}

/// A finding of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Answered { number: u32, status: u16, retry_after: Option<Duration>, delay: Duration, load: Option<LoadReport> },
    Lost { number: u32 },
    Refused { number: u32 },
    Late,
    Taken,
}

/// Messages that leave now, and findings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) send: Vec<Arc<[u8]>>,
    pub(super) shown: Vec<Shown>,
}

/// A probe's number is its time in units of 2¹⁴ µs: less than lies between two probes of one address.
const NUMBER_SHIFT: u32 = 14;
/// Most probes that are over and remembered.
const PAST: usize = 8;
/// The option that no server knows.
const OPTION_TAG: &str = "pointsman-probe";

impl Exchange {
    pub(super) fn new(subject: Subject, local: SocketAddr, (seed, printer): (u64, Printer)) -> Self {
        Exchange { subject, local, seed, printer, is_taken: false, cseq: 0, current: None, past: VecDeque::new() }
    }

    pub(super) const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The kind of probe that was switched off is used again.
    pub(super) const fn on_reload(&mut self) {
        self.is_taken = false;
    }

    /// The address that probes leave from now on.
    pub(super) const fn set_local(&mut self, local: SocketAddr) {
        self.local = local;
    }

    /// The moment at which the probe that waits for its answer is lost; `None` while none waits.
    pub(super) fn waits_until(&self) -> Option<Time> {
        self.current.as_ref().map(|probe| probe.until)
    }

    /// Begins the next probe: the request leaves now. [`Exchange::on_sent`] corrects the time.
    pub(super) fn begin(&mut self, now: Time) -> Step {
        let mut step = Step::default();
        let kind = if self.is_taken { Probe::Options } else { self.subject.kind };
        let id = self.draw();
        self.cseq = self.cseq % 0x3fff_ffff + 1;
        let [branch, ack, bye] =
            [id, id ^ OF_ACK, id ^ OF_BYE].map(|id| ProbeBranch::give(&self.printer, id, self.subject.to));
        let bytes: Arc<[u8]> = self.write(kind, id, branch).into();
        let opening = Opening {
            kind: if kind == Probe::Invite { Kind::Invite } else { Kind::Other },
            to: self.subject.to,
            bytes: Arc::clone(&bytes),
            is_reliable: self.subject.transport != Transport::Udp,
            copies: Some(1),
            end: now + LIFETIME,
        };
        let (transaction, _) = Transaction::begin(opening, now);
        self.current = Some(Probing {
            id,
            number: (now.0 >> NUMBER_SHIFT) as u32,
            cseq: self.cseq,
            kind,
            branch,
            ack,
            bye,
            local: self.local,
            transport: self.subject.transport,
            request: Arc::clone(&bytes),
            sent: now,
            answered: None,
            until: now + self.subject.within,
            is_lost: false,
            transaction,
            ending: None,
        });
        step.send.push(bytes);
        step
    }

    /// The request has left at this moment.
    pub(super) fn on_sent(&mut self, at: Time) {
        if let Some(probe) = &mut self.current {
            (probe.sent, probe.until) = (at, at + self.subject.within);
        }
    }

    /// The host says that nothing listens there.
    pub(super) fn on_refused(&mut self) -> Option<Shown> {
        let probe = self.current.take()?;
        let number = probe.number;
        self.put_away(probe, false);
        Some(Shown::Refused { number })
    }

    /// Its connection has ended: a probe that waits for its answer is lost.
    pub(super) fn on_closed(&mut self) -> Option<Shown> {
        let probe = self.current.take()?;
        let number = probe.number;
        self.put_away(probe, true);
        Some(Shown::Lost { number })
    }

    /// A message has come.
    pub(super) fn on_message(&mut self, (from, bytes): (SocketAddr, &[u8]), scanner: &mut Scanner, at: Time) -> Step {
        let mut step = Step::default();
        if from != self.subject.to {
            return step;
        }
        let Ok(response) = scanner.scan(bytes) else { return step };
        let Some((status, id, method)) = self.own_answer(&response) else { return step };
        if let Some(probe) = self.current.as_mut().filter(|probe| probe.id == id) {
            let shown = probe.on_response((status, method), &response, at, &mut step.send);
            if shown.is_empty() {
                return step;
            }
            self.is_taken |= shown.contains(&Shown::Taken);
            if shown.iter().any(|shown| matches!(shown, Shown::Answered { .. }))
                && let Some(probe) = self.current.take()
            {
                self.put_away(probe, false);
            }
            step.shown = shown;
        } else if let Some(probe) = self.past.iter_mut().find(|probe| probe.id == id) {
            let shown = probe.on_response((status, method), &response, at, &mut step.send);
            let is_taken = shown.contains(&Shown::Taken);
            self.is_taken |= is_taken;
            if is_taken {
                step.shown.push(Shown::Taken);
            }
            if std::mem::take(&mut probe.is_lost) {
                step.shown.push(Shown::Late);
            }
        }
        step
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Step {
        let mut step = Step::default();
        if let Some(probe) = self.current.take_if(|probe| probe.until <= now) {
            step.shown.push(Shown::Lost { number: probe.number });
            self.put_away(probe, true);
        }
        for probe in self.current.iter_mut().chain(&mut self.past) {
            let Some((_, ending)) = &mut probe.ending else { continue };
            match ending.handle_timeout(now) {
                Due::Send(copy) => step.send.push(copy.bytes),
                Due::Nothing => {}
                Due::TimedOut | Due::Over => probe.ending = None,
            }
        }
        step
    }

    /// When [`Exchange::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let probes = self.current.iter().chain(&self.past);
        let endings = probes.filter_map(|probe| Some(probe.ending.as_ref()?.1.poll_timeout()));
        endings.chain(self.current.as_ref().map(|probe| probe.until)).min()
    }

    fn put_away(&mut self, mut probe: Probing, is_lost: bool) {
        probe.is_lost = is_lost;
        self.past.push_back(probe);
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }

    /// Status, probe and method of a response, if it is one to a request of ours: with our Via and none besides.
    fn own_answer<'m>(&self, response: &Message<'m>) -> Option<(u16, u64, &'m [u8])> {
        let status = response.status()?;
        let mut vias = response.vias();
        let via = vias.next()?;
        if vias.next().is_some() {
            return None;
        }
        let branch = ProbeBranch::read(&self.printer, via.branch()?, self.subject.to)?;
        let call = response.call_id();
        let cseq = response.cseq()?;
        let method = cseq.method.as_bytes();
        let is_bye = method == b"BYE";
        let is_own = |probe: &&Probing| {
            let number = probe.cseq + u32::from(is_bye);
            let own = if is_bye { probe.bye } else { probe.branch };
            let is_sent_by = via.port == Some(probe.local.port()) && via.host.ip() == Some(probe.local.ip());
            is_sent_by && branch == own && call == call_id(probe.id).as_bytes() && cseq.number == number
        };
        let probe = self.current.iter().chain(&self.past).find(is_own)?;
        Some((status, probe.id, method))
    }

    fn draw(&mut self) -> u64 {
        // SplitMix64: the seed is random, and each output is used once.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn write(&self, kind: Probe, id: u64, branch: ProbeBranch) -> Vec<u8> {
        let Subject { to, transport, asks_load, .. } = self.subject;
        let (local, uri) = (self.local, uri(transport, to));
        let method = if kind == Probe::Invite { "INVITE" } else { "OPTIONS" };
        let hops = if kind == Probe::Options { "70" } else { "0" };
        let mut out = Vec::with_capacity(512);
        let mut writer = RequestWriter::new(&mut out, method, uri.as_bytes())
            .header("Via", via(transport, local, branch))
            .header("Max-Forwards", hops)
            .header_fmt("From", format_args!("<sip:pointsman@{local}>;tag={:08x}", id >> 32))
            .header_fmt("To", format_args!("<{uri}>"))
            .header("Call-ID", call_id(id))
            .header_fmt("CSeq", format_args!("{} {method}", self.cseq))
            .header_fmt("Contact", format_args!("<sip:pointsman@{local}{}>", param(transport)));
        if kind == Probe::Invite {
            // A user agent asks for the one (RFC 3261 §8.2.2.3), a proxy for the other (§16.3 step 5).
            writer = writer.header("Require", OPTION_TAG).header("Proxy-Require", OPTION_TAG);
        }
        if asks_load {
            writer = writer.header(load::QUERY, "1");
        }
        writer.header("User-Agent", "pointsman").finish();
        out
    }
}

impl Probing {
    /// A response to one of the probe's requests.
    fn on_response(
        &mut self,
        (status, method): (u16, &[u8]),
        response: &Message<'_>,
        at: Time,
        send: &mut Vec<Arc<[u8]>>,
    ) -> Vec<Shown> {
        let own = if self.kind == Probe::Invite { "INVITE" } else { "OPTIONS" };
        if method != own.as_bytes() {
            if let Some((of, ending)) = &mut self.ending
                && of.as_bytes() == method
            {
                ending.on_response(status, at);
                self.ending.take_if(|_| status >= 200);
            }
            return Vec::new();
        }
        let first = *self.answered.get_or_insert(at);
        match self.transaction.on_response(status, at) {
            Outcome::Nothing => Vec::new(),
            Outcome::Again(ack) => {
                send.push(ack);
                Vec::new()
            }
            Outcome::Provisional if self.kind == Probe::Invite => self.on_provisional(status, at, send),
            Outcome::Provisional => Vec::new(),
            Outcome::Final => {
                let retry_after = response.retry_after();
                let delay = first.since(self.sent);
                let load = load::read_headers(response);
                let mut shown = Vec::new();
                if self.kind == Probe::Invite && self.on_final_of_invite(status, response, at, send) {
                    shown.push(Shown::Taken);
                }
                shown.push(Shown::Answered { number: self.number, status, retry_after, delay, load });
                shown
            }
        }
    }

    /// A server that has not refused the INVITE at once gets a CANCEL. A 100 alone is no call yet.
    fn on_provisional(&mut self, status: u16, at: Time, send: &mut Vec<Arc<[u8]>>) -> Vec<Shown> {
        if self.ending.is_none() {
            let (mut scanner, request) = (Scanner::new(), Arc::clone(&self.request));
            let mut cancel = Vec::with_capacity(512);
            // It is our own.
            if let Ok(request) = scanner.scan(&request) {
                write_cancel(&mut cancel, &request);
            }
            self.follow("CANCEL", cancel, at, send);
        }
        if status > 100 { vec![Shown::Taken] } else { Vec::new() }
    }

    /// The final response of an INVITE: its ACK, and a BYE if it is a call. Returns whether it is.
    fn on_final_of_invite(&mut self, status: u16, response: &Message<'_>, at: Time, send: &mut Vec<Arc<[u8]>>) -> bool {
        let is_call = status < 300;
        let mut ack = Vec::with_capacity(512);
        let (mut scanner, request) = (Scanner::new(), Arc::clone(&self.request));
        // It is our own.
        let Ok(request) = scanner.scan(&request) else { return is_call };
        match is_call {
            false => write_ack(&mut ack, &request, response),
            true => write_in_dialog(&mut ack, "ACK", (&request, response), via(self.transport, self.local, self.ack)),
        }
        send.push(self.transaction.acknowledge(ack.into(), at).bytes);
        if is_call {
            let mut bye = Vec::with_capacity(512);
            write_in_dialog(&mut bye, "BYE", (&request, response), via(self.transport, self.local, self.bye));
            self.follow("BYE", bye, at, send);
        }
        is_call
    }

    /// Begins the transaction of a request that ends the call.
    fn follow(&mut self, method: &'static str, bytes: Vec<u8>, at: Time, send: &mut Vec<Arc<[u8]>>) {
        let opening = Opening {
            kind: Kind::Other,
            to: self.transaction.to(),
            bytes: bytes.into(),
            is_reliable: self.transport != Transport::Udp,
            copies: None,
            end: at + LIFETIME,
        };
        let (transaction, copy) = Transaction::begin(opening, at);
        send.push(copy.bytes);
        self.ending = Some((method, transaction));
    }
}

/// Marks of the numbers of ACK and BYE.
const OF_ACK: u64 = 1 << 63;
const OF_BYE: u64 = 1 << 62;

/// Writes the ACK or BYE of a dialog that a 2xx has made (RFC 3261 §12.2.1.1).
fn write_in_dialog(out: &mut Vec<u8>, method: &str, (request, response): (&Message<'_>, &Message<'_>), via: String) {
    let target = response.contact().map_or(request.request_uri(), |contact| contact.uri);
    let cseq = request.cseq().map_or(0, |cseq| cseq.number) + u32::from(method == "BYE");
    let mut writer = RequestWriter::new(out, method, target).header("Via", via).header("Max-Forwards", "70");
    let routes: Vec<&[u8]> = response.headers(Name::RecordRoute).collect();
    for route in routes.into_iter().rev() {
        writer = writer.header("Route", route);
    }
    writer
        .header("From", request.header(Name::From).unwrap_or_default())
        .header("To", response.header(Name::To).unwrap_or_default())
        .header("Call-ID", request.call_id())
        .header_fmt("CSeq", format_args!("{cseq} {method}"))
        .finish();
}

/// The URI of a server.
fn uri(transport: Transport, to: SocketAddr) -> String {
    format!("sip:{to}{}", param(transport))
}

/// The parameter by which a URI names the transport; UDP needs none.
const fn param(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        _ => "",
    }
}

fn via(transport: Transport, local: SocketAddr, branch: ProbeBranch) -> String {
    format!("SIP/2.0/{} {local};branch={}", transport.via_name(), branch.as_str())
}

fn call_id(id: u64) -> String {
    format!("{:016x}", id.rotate_left(32))
}

//! A caller: a user agent client as RFC 3261 has it, with timers A, B, E and F, that follows one plan.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::time::Time;

use crate::air::Datagram;
use crate::truth::Truth;
use crate::{text, town};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timers B and F: 64·T1.
const GIVE_UP: Duration = Duration::from_secs(32);
/// Limit for a call that is being dealt with: each of two workers may die with it after its whole waiting time.
const PATIENCE: Duration = Duration::from_secs(110);
/// A hunting proxy's pause between a refusal and the next attempt: longer than a fair network delays anything.
const HUNT_AFTER: Duration = Duration::from_millis(20);
/// A caller whose worker never hangs up does so itself.
const TALK_LIMIT: Duration = Duration::from_secs(40);

/// The plan of a caller.
#[derive(Clone, Debug)]
pub struct Plan {
    /// User part and parameters of the request-URI: the caller's wishes to the application.
    pub user: String,
    pub wishes: String,
    pub size: u32,
    /// Milliseconds until it cancels.
    pub cancel: Option<u64>,
    /// Whether it cancels even before any answer has come.
    pub hasty: bool,
    /// Milliseconds until a copy comes on another way (RFC 3261 §8.2.2.2).
    pub copy: Option<u64>,
    /// Whether it tries once more after a refusal, as a proxy that hunts does: another branch, the same CSeq.
    pub hunts: bool,
    /// Milliseconds it talks, once answered.
    pub talk: u64,
    /// Whether it changes the session meanwhile.
    pub reinvites: bool,
    /// Milliseconds after which nothing is heard of it any more.
    pub vanishes: Option<u64>,
    /// Whether it reaches the well-known address over a connection.
    pub is_stream: bool,
    pub way: Way,
    /// Whether its Contact cannot be reached.
    pub hidden: bool,
    /// The dialog it wants to take the place of, as a value of Replaces.
    pub replaces: Option<String>,
    /// It asks for OPTIONS only.
    pub options: bool,
}

/// The route of requests inside the dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the address in Contact.
    Contact,
    /// To the well-known port, with the Contact in the request-URI: a fixed outbound proxy.
    Proxy,
    /// To the well-known port, Contact ignored.
    Deaf,
}

/// A caller and all that is left of its call.
#[derive(Debug)]
pub struct Caller {
    number: usize,
    plan: Plan,
    cseq: u32,
    branches: u32,
    transactions: Vec<Transaction>,
    dialogs: Vec<Dialog>,
    cancel_at: Option<Time>,
    copy_at: Option<Time>,
    vanish_at: Option<Time>,
    has_credentials: bool,
    hunt: Hunt,
    is_gone: bool,
    answered: bool,
}

#[derive(Debug)]
struct Transaction {
    kind: Kind,
    branch: String,
    text: Rc<str>,
    to: SocketAddr,
    cseq: u32,
    begun: Time,
    state: State,
    /// The next retransmission.
    next: Option<Time>,
    interval: Duration,
    /// Whether the connection that it was sent on has broken: an answer may have been lost with it.
    is_cut: bool,
    /// Of a CANCEL: whether its INVITE had a provisional response when it was sent.
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invite,
    Copy,
    Cancel,
    Bye,
    Change,
    Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling,
    Proceeding,
    Completed(u16),
    /// The caller no longer waits for an answer.
    Over,
}

/// Its next attempt after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hunt {
    /// Nothing has been refused yet.
    Ready,
    /// It begins at this time: on a fair network the ACK arrives before it.
    At(Time),
    /// It has begun, or there is none.
    Over,
}

#[derive(Debug)]
struct Dialog {
    tag: String,
    uri: String,
    target: SocketAddr,
    /// When it hangs up.
    bye_at: Option<Time>,
    /// When it changes the session.
    change_at: Option<Time>,
    is_over: bool,
}

impl Caller {
    /// A caller that begins now.
    pub fn new(number: usize, plan: Plan, now: Time, out: &mut Vec<Datagram>) -> Self {
        let after = |milliseconds: Option<u64>| milliseconds.map(|span| now + Duration::from_millis(span));
        let mut caller = Caller {
            number,
            cancel_at: after(plan.cancel),
            copy_at: after(plan.copy),
            vanish_at: after(plan.vanishes),
            hunt: if plan.hunts { Hunt::Ready } else { Hunt::Over },
            plan,
            cseq: 1,
            branches: 0,
            transactions: Vec::new(),
            dialogs: Vec::new(),
            has_credentials: false,
            is_gone: false,
            answered: false,
        };
        let kind = if caller.plan.options { Kind::Options } else { Kind::Invite };
        caller.begin(kind, None, now, out);
        caller
    }

    /// A datagram has come.
    pub fn on_datagram(&mut self, datagram: &Datagram, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        if self.is_gone {
            return;
        }
        match text::status(&datagram.text) {
            Some(status) => self.on_response(&datagram.text, status, now, truth, out),
            None => self.on_request(datagram, out),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        if self.vanish_at.is_some_and(|at| at <= now) {
            self.is_gone = true;
        }
        if self.is_gone {
            return;
        }
        if self.copy_at.is_some_and(|at| at <= now) {
            self.copy_at = None;
            self.begin(Kind::Copy, None, now, out);
        }
        if matches!(self.hunt, Hunt::At(at) if at <= now) {
            self.hunt = Hunt::Over;
            self.begin(Kind::Invite, None, now, out);
        }
        if self.cancel_at.is_some_and(|at| at <= now) {
            self.cancel(now, out);
        }
        for at in 0..self.transactions.len() {
            self.on_timer(at, now, truth, out);
        }
        for at in 0..self.dialogs.len() {
            if self.dialogs[at].change_at.is_some_and(|due| due <= now) {
                self.dialogs[at].change_at = None;
                self.begin(Kind::Change, Some(at), now, out);
            }
            if self.dialogs[at].bye_at.is_some_and(|due| due <= now) {
                self.dialogs[at].bye_at = None;
                self.begin(Kind::Bye, Some(at), now, out);
            }
        }
    }

    /// Its connection to the dispatcher has broken. What has been received there may be answered on another one, and
    /// nothing more is waited for. What may not have been received is sent again.
    pub fn on_reset(&mut self) {
        for transaction in self.transactions.iter_mut().filter(|transaction| transaction.to == town::STREAMS) {
            transaction.is_cut = true;
            if transaction.state == State::Proceeding {
                (transaction.state, transaction.next) = (State::Over, None);
            }
        }
    }

    /// When it has something to do of itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_gone {
            return None;
        }
        let transactions = self.transactions.iter().filter_map(|transaction| match transaction.state {
            State::Calling | State::Proceeding => {
                Some(transaction.next.map_or(transaction.deadline(), |next| next.min(transaction.deadline())))
            }
            State::Completed(_) | State::Over => None,
        });
        let dialogs = self.dialogs.iter().flat_map(|dialog| dialog.bye_at.into_iter().chain(dialog.change_at));
        let hunt = if let Hunt::At(at) = self.hunt { Some(at) } else { None };
        let own = [self.cancel_at, self.copy_at, self.vanish_at, hunt];
        transactions.chain(dialogs).chain(own.into_iter().flatten()).min()
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        let is_done = |transaction: &Transaction| matches!(transaction.state, State::Completed(_) | State::Over);
        let hunts = matches!(self.hunt, Hunt::At(_));
        self.is_gone
            || !hunts && self.transactions.iter().all(is_done) && self.dialogs.iter().all(|dialog| dialog.is_over)
    }

    /// A dialog that stands, as a value for Replaces.
    pub fn dialog(&self) -> Option<String> {
        let dialog =
            self.dialogs.first().filter(|dialog| !dialog.is_over && !self.is_gone && dialog.bye_at.is_some())?;
        Some(format!("{};to-tag={};from-tag={}", self.call_id(), dialog.tag, self.own_tag()))
    }

    fn on_response(&mut self, text: &str, status: u16, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        let (branch, method) = (text::branch(text), text::method(text));
        let is_same = |it: &Transaction| it.branch == branch && it.method() == method;
        let Some(at) = self.transactions.iter().position(is_same) else {
            return truth.broken(format!("caller {} got a response to nothing:\n{text}", self.number));
        };
        let transaction = &mut self.transactions[at];
        let before = transaction.state;
        if status < 200 {
            if before == State::Calling {
                transaction.state = State::Proceeding;
                // RFC 3261 §17.1.2.2: other requests are repeated on, every T2.
                transaction.next = transaction.next.filter(|_| method != "INVITE");
                transaction.interval = T2;
            }
            return;
        }
        if !matches!(before, State::Completed(_)) {
            transaction.state = State::Completed(status);
            transaction.next = None;
        }
        let kind = transaction.kind;
        match kind {
            Kind::Invite | Kind::Copy => self.on_final(at, before, text, status, now, truth, out),
            Kind::Change => self.acknowledge(at, text, status, out),
            Kind::Bye if !matches!(before, State::Completed(_)) => {
                let tag = text::to_tag(text).unwrap_or_default();
                if status != 200 && truth.has(tag, self.number) {
                    truth.broken(format!("caller {} got {status} to a BYE in a call that stands", self.number));
                }
                self.dialogs.iter_mut().filter(|dialog| dialog.tag == tag).for_each(|dialog| dialog.is_over = true);
            }
            Kind::Cancel if status == 481 && self.transactions[at].found => {
                let is_open =
                    |it: &Transaction| it.method() == "INVITE" && it.branch == branch && it.state == State::Proceeding;
                if self.transactions.iter().any(is_open) {
                    truth.on_unknown_cancel(self.number, branch);
                }
            }
            Kind::Bye | Kind::Cancel | Kind::Options => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what came, and where it all goes")]
    fn on_final(
        &mut self,
        at: usize,
        before: State,
        text: &str,
        status: u16,
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) {
        // RFC 3261 §17.1.1.2: with its 2xx the transaction is over, and a refusal that comes late belongs to nothing.
        if status >= 300 && matches!(before, State::Completed(200..300)) {
            return;
        }
        self.cancel_at = self.cancel_at.filter(|_| status == 401);
        if status >= 300 {
            self.acknowledge(at, text, status, out);
            if status == 401 {
                truth.on_acknowledged(self.number, text::to_tag(text).unwrap_or_default(), now);
            }
            if status == 401 && !self.has_credentials && self.transactions[at].kind == Kind::Invite {
                self.has_credentials = true;
                self.cseq += 1;
                self.begin(Kind::Invite, None, now, out);
            } else if self.hunt == Hunt::Ready
                && status != 401
                && self.plan.copy.is_none()
                && self.plan.cancel.is_none()
            {
                self.hunt = Hunt::At(now + HUNT_AFTER);
            } else if status == 482 && self.hunt == Hunt::Over && self.plan.hunts {
                truth.on_taken_for_a_copy(self.number);
            }
            return;
        }
        if let State::Completed(refused @ 300..) = before {
            truth.on_second_thoughts(self.number, &self.transactions[at].branch.clone(), refused);
        }
        let tag = text::to_tag(text).unwrap_or_default();
        if !self.dialogs.iter().any(|dialog| dialog.tag == tag) {
            let uri = text::contact(text).unwrap_or_default();

            let address = uri.rsplit('@').next().unwrap_or_default().trim_start_matches("sip:");
            let target = address.split(';').next().and_then(|address| address.parse().ok());
            let Some(target) = target else {
                return truth.broken(format!("caller {} got a 2xx without a Contact to use:\n{text}", self.number));
            };
            // A second answer (a worker died with the first) and one that comes after a CANCEL are hung up at once.
            let is_wanted = !std::mem::replace(&mut self.answered, true) && self.plan.cancel.is_none();
            let talk = if is_wanted { Duration::from_millis(self.plan.talk).min(TALK_LIMIT) } else { T1 };
            self.dialogs.push(Dialog {
                tag: tag.to_owned(),
                uri: uri.to_owned(),
                target,
                bye_at: Some(now + talk),
                change_at: (is_wanted && self.plan.reinvites).then(|| now + talk / 2),
                is_over: false,
            });
        }
        self.acknowledge(at, text, status, out);
    }

    /// A request of the worker's: its BYE.
    fn on_request(&mut self, datagram: &Datagram, out: &mut Vec<Datagram>) {
        let text = &datagram.text;
        let tag = text::from_tag(text).unwrap_or_default();
        let dialog = self.dialogs.iter_mut().find(|dialog| dialog.tag == tag);
        let status = match (text::method(text), dialog) {
            ("BYE", Some(dialog)) => {
                dialog.is_over = true;
                (dialog.bye_at, dialog.change_at) = (None, None);
                "200 OK"
            }
            _ => "481 Gone",
        };
        let mut response = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            response += &format!("{name}: {}\r\n", text::header(text, name).unwrap_or_default());
        }
        response += "Content-Length: 0\r\n\r\n";
        out.push(Datagram { from: datagram.to, to: datagram.from, text: response.into() });
    }

    fn on_timer(&mut self, at: usize, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        let from = town::phone(self.number);
        let transaction = &mut self.transactions[at];
        if !matches!(transaction.state, State::Calling | State::Proceeding) {
            return;
        }
        if transaction.deadline() <= now {
            transaction.state = State::Over;
            let (branch, method, to) = (transaction.branch.clone(), transaction.method(), transaction.to);
            let is_cut = transaction.is_cut;
            // A change of a call that is over already needs no answer.
            let is_moot = transaction.kind == Kind::Change && self.dialogs.iter().all(|dialog| dialog.is_over);
            self.dialogs.iter_mut().filter(|_| method == "BYE").for_each(|dialog| dialog.is_over = true);
            if !is_moot && !is_cut {
                truth.on_silence(self.number, &branch, method, to, now);
            }
            return;
        }
        if transaction.next.is_some_and(|next| next <= now) {
            let cap = if transaction.method() == "INVITE" { GIVE_UP } else { T2 };
            transaction.interval = (transaction.interval * 2).min(cap);
            transaction.next = Some(now + transaction.interval);
            out.push(Datagram { from, to: transaction.to, text: transaction.text.clone() });
        }
    }

    fn cancel(&mut self, now: Time, out: &mut Vec<Datagram>) {
        let invite = self.transactions.iter().rfind(|transaction| transaction.kind == Kind::Invite);
        match invite.map(|invite| invite.state) {
            // RFC 3261 §9.1: not before a provisional response; many do not wait for it.
            Some(State::Calling) if !self.plan.hasty => self.cancel_at = Some(now + Duration::from_millis(50)),
            Some(State::Calling | State::Proceeding) => {
                self.cancel_at = None;
                self.begin(Kind::Cancel, None, now, out);
            }
            _ => self.cancel_at = None,
        }
    }

    /// Sends a request and waits for its outcome.
    fn begin(&mut self, kind: Kind, dialog: Option<usize>, now: Time, out: &mut Vec<Datagram>) {
        self.branches += 1;
        let invite = self.transactions.iter().rfind(|transaction| transaction.kind == Kind::Invite);
        let (branch, cseq) = match (kind, invite) {
            (Kind::Cancel, Some(invite)) => (invite.branch.clone(), invite.cseq),
            (Kind::Copy, Some(invite)) => (format!("z9hG4bK-c{}-{}", self.number, self.branches), invite.cseq),
            (Kind::Bye | Kind::Change, _) => {
                self.cseq += 1;
                (format!("z9hG4bK-c{}-{}", self.number, self.branches), self.cseq)
            }
            _ => (format!("z9hG4bK-c{}-{}", self.number, self.branches), self.cseq),
        };
        let found = invite.is_some_and(|invite| invite.state == State::Proceeding);
        let method = kind.method();
        let (text, to) = match dialog.map(|at| &self.dialogs[at]) {
            Some(dialog) => self.in_dialog(method, dialog, &branch, cseq),
            None => (self.initial(method, &branch, cseq), self.front()),
        };
        let text: Rc<str> = text.into();
        out.push(Datagram { from: town::phone(self.number), to, text: text.clone() });
        let next = Some(now + T1);
        let transaction = Transaction {
            kind,
            branch,
            text,
            to,
            cseq,
            begun: now,
            state: State::Calling,
            next,
            interval: T1,
            is_cut: false,
            found,
        };
        self.transactions.push(transaction);
    }

    /// The ACK: of a 2xx a request of its own in the dialog, of anything else part of the transaction.
    fn acknowledge(&mut self, at: usize, response: &str, status: u16, out: &mut Vec<Datagram>) {
        let transaction = &self.transactions[at];
        let tag = text::to_tag(response).unwrap_or_default();
        let from = town::phone(self.number);
        if status < 300 {
            let Some(dialog) = self.dialogs.iter().find(|dialog| dialog.tag == tag) else { return };
            let branch = format!("{}-ack", transaction.branch);
            let (text, to) = self.in_dialog("ACK", dialog, &branch, transaction.cseq);
            return out.push(Datagram { from, to, text: text.into() });
        }
        let text = match transaction.kind {
            Kind::Change => {
                let Some(dialog) = self.dialogs.iter().find(|dialog| dialog.tag == tag) else { return };
                self.in_dialog("ACK", dialog, &transaction.branch, transaction.cseq).0
            }
            _ => {
                let uri = self.uri();
                self.write("ACK", &uri, &transaction.branch, transaction.cseq, Some(tag), "", "")
            }
        };
        out.push(Datagram { from, to: transaction.to, text: text.into() });
    }

    fn initial(&self, method: &str, branch: &str, cseq: u32) -> String {
        let mut more = String::new();
        let mut body = "";
        if method == "INVITE" {
            more += &format!("X-Session-Size: {}\r\n", self.plan.size);
            body = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
            if self.has_credentials {
                more +=
                    "Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\"\r\n";
            }
            if let Some(dialog) = &self.plan.replaces {
                more += &format!("Replaces: {dialog}\r\n");
            }
        }
        self.write(method, &self.uri(), branch, cseq, None, &more, body)
    }

    fn in_dialog(&self, method: &str, dialog: &Dialog, branch: &str, cseq: u32) -> (String, SocketAddr) {
        let (uri, to) = match self.plan.way {
            Way::Contact => (dialog.uri.clone(), dialog.target),
            Way::Proxy => (dialog.uri.clone(), self.front()),
            Way::Deaf => (self.uri(), self.front()),
        };
        let body = if method == "INVITE" {
            "v=0\r\no=- 1 2 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
        } else {
            ""
        };
        (self.write(method, &uri, branch, cseq, Some(&dialog.tag), "", body), to)
    }

    #[allow(clippy::too_many_arguments, reason = "a message has so many parts")]
    fn write(
        &self,
        method: &str,
        uri: &str,
        branch: &str,
        cseq: u32,
        to_tag: Option<&str>,
        more: &str,
        body: &str,
    ) -> String {
        let phone = town::phone(self.number);
        let contact = if self.plan.hidden { "10.1.2.3:5060".to_owned() } else { phone.to_string() };
        let (via, transport) = if self.plan.is_stream { ("TCP", ";transport=tcp") } else { ("UDP", "") };
        let to_tag = to_tag.map_or(String::new(), |tag| format!(";tag={tag}"));
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {phone};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:caller@example.net>;tag={}\r\nTo: <sip:ivr@example.net>{to_tag}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:caller@{contact}{transport}>\r\n{more}{content}Content-Length: {}\r\n\r\n{body}",
            self.own_tag(),
            self.call_id(),
            body.len(),
        )
    }

    /// The dispatcher's address for it.
    const fn front(&self) -> SocketAddr {
        if self.plan.is_stream { town::STREAMS } else { town::WELL_KNOWN }
    }

    fn uri(&self) -> String {
        format!("sip:{}@{}{}", self.plan.user, town::HOST, self.plan.wishes)
    }

    fn call_id(&self) -> String {
        format!("c{}@example.net", self.number)
    }

    fn own_tag(&self) -> String {
        format!("f{}", self.number)
    }
}

impl Transaction {
    /// The time from which the caller no longer waits for an answer.
    fn deadline(&self) -> Time {
        match (self.kind, self.state) {
            (Kind::Invite | Kind::Copy | Kind::Change, State::Proceeding) => self.begun + PATIENCE,
            _ => self.begun + GIVE_UP,
        }
    }

    fn method(&self) -> &'static str {
        self.kind.method()
    }
}

impl Kind {
    const fn method(self) -> &'static str {
        match self {
            Kind::Invite | Kind::Copy | Kind::Change => "INVITE",
            Kind::Cancel => "CANCEL",
            Kind::Bye => "BYE",
            Kind::Options => "OPTIONS",
        }
    }
}

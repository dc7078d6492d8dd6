//! The interface of an application: the trait it implements and the operations it has on a call.

use std::net::IpAddr;

use crate::call::{CallKey, Delivery, EndReason, StandaloneKey, Uas};
use crate::time::Time;
use crate::wire::sip::{Message, Uri};
use crate::words::RefuseReason;

use super::media::Media;
use super::misuse::{self, Misuse};

/// An application: decides what happens to a worker's calls. [`crate::worker::run`] calls these methods one after the
/// other on one thread: none of them may block.
///
/// Only [`Application::on_call`] must be written. An application that answers with [`Call::echo`] needs no other.
pub trait Application {
    /// A call has come in. Decide with [`Call::accept`], [`Call::echo`], [`Call::reject`] or [`Call::refuse`]; ring
    /// before that if you like. An application that decides later keeps [`Call::key`] and comes back to it in
    /// [`Application::handle_timeout`]; the caller gets a 100 meanwhile.
    fn on_call(&mut self, call: &mut Call<'_>);

    /// The caller has acknowledged our answer.
    fn on_established(&mut self, _call: &mut Call<'_>) {}

    /// The caller wants to change the session of a call that was not answered with [`Call::echo`].
    fn on_offer(&mut self, call: &mut Call<'_>) {
        // An offer that does not wait any more needs no answer.
        let _ = call.reject(488);
    }

    /// The caller wants an offer of ours within a call that was not answered with [`Call::echo`]: a re-INVITE without
    /// one. [`Call::accept`] makes it; it says all that the application can do, as for a new call (RFC 3261 §14.2).
    fn on_offer_wanted(&mut self, call: &mut Call<'_>) {
        call.offer_again();
    }

    /// The caller has answered an offer of ours, in a call without [`Call::echo`].
    fn on_answer(&mut self, _call: &mut Call<'_>, _sdp: &[u8]) {}

    /// Media types of the INFO bodies that it takes, in lower case, such as `application/dtmf-relay`; asked for at the
    /// start. An INFO with another body gets 415, whose Accept names these, and one without a body gets 200.
    fn info_types(&self) -> &[&str] {
        &[]
    }

    /// An INFO has come without a body, or with one of [`Application::info_types`]; it has been answered with 200
    /// already.
    fn on_info(&mut self, _call: &mut Call<'_>, _content_type: &str, _body: &[u8]) {}

    /// A request has come that begins no call, and that `methods` in the configuration lets through to workers:
    /// MESSAGE, SUBSCRIBE, REFER and the like. One that is not answered here is refused: INFO and NOTIFY with 481,
    /// others with 405.
    fn on_request(&mut self, _request: &mut Standalone<'_>) {}

    /// A call is over. Each call of [`Application::on_call`] comes here exactly once.
    fn on_ended(&mut self, _call: CallKey, _reason: EndReason) {}

    /// When [`Application::handle_timeout`] is wanted next; `None` for never.
    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// The time has come.
    fn handle_timeout(&mut self, _calls: &mut Calls<'_>) {}
}

/// All calls of a worker, for an application that comes back to one.
pub struct Calls<'a> {
    pub(super) uas: &'a mut Uas,
    pub(super) media: &'a mut dyn Media,
    pub(super) now: Time,
}

impl Calls<'_> {
    /// The call of this key, if it is not over.
    pub fn call(&mut self, key: CallKey) -> Option<Call<'_>> {
        self.uas.size(key)?;
        Some(Call { uas: self.uas, media: self.media, key, now: self.now, offer: None, open: Undecided::Call })
    }

    /// The time it is.
    pub fn now(&self) -> Time {
        self.now
    }
}

/// One call, in the hands of the application.
pub struct Call<'a> {
    pub(super) uas: &'a mut Uas,
    pub(super) media: &'a mut dyn Media,
    pub(super) key: CallKey,
    pub(super) now: Time,
    pub(super) offer: Option<&'a [u8]>,
    pub(super) open: Undecided,
}

/// A request that begins no call.
pub struct Standalone<'a> {
    pub(super) uas: &'a mut Uas,
    pub(super) key: StandaloneKey,
    pub(super) now: Time,
}

impl Standalone<'_> {
    /// Reads it.
    pub fn read<R>(&mut self, read: impl FnOnce(&Message<'_>) -> R) -> Option<R> {
        self.uas.with_standalone(self.key, read)
    }

    /// Answers it with a final status and headers. False when it has been answered already, or the status is none of
    /// 200–699.
    pub fn answer(&mut self, status: u16, headers: &[(&str, &[u8])]) -> bool {
        self.uas.answer_standalone(self.key, status, headers, self.now)
    }
}

/// The part of a call that waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    /// The call itself.
    Call,
    /// An offer within it, or the wish for one.
    Offer,
}

impl Call<'_> {
    /// Its name: stays the same until [`Application::on_ended`].
    pub fn key(&self) -> CallKey {
        self.key
    }

    /// The time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Its Call-ID.
    pub fn call_id(&self) -> String {
        String::from_utf8_lossy(self.uas.call_id(self.key).unwrap_or_default()).into_owned()
    }

    /// The units it is counted with.
    pub fn size(&self) -> u32 {
        self.uas.size(self.key).unwrap_or(0)
    }

    /// The address to name in a session description.
    pub fn address(&self) -> Option<IpAddr> {
        self.uas.address(self.key)
    }

    /// Reads the INVITE, until the call is decided on.
    pub fn invite<R>(&mut self, read: impl FnOnce(&Message<'_>) -> R) -> Option<R> {
        self.uas.with_invite(self.key, read)
    }

    /// The request-URI of its INVITE, until the call is decided on.
    pub fn request_uri(&self) -> Option<Uri<'_>> {
        self.uas.request_uri(self.key)
    }

    /// The caller's offer, within [`Application::on_call`] and [`Application::on_offer`].
    pub fn offer(&self) -> Option<&[u8]> {
        self.offer
    }

    /// Sends a provisional response: 180 and the like, 101 to 199.
    ///
    /// # Errors
    ///
    /// Another status, or a call that does not wait for it; nothing has been sent.
    pub fn ring(&mut self, status: u16) -> Result<(), Misuse> {
        misuse::check_status(status, &misuse::PROVISIONAL)?;
        done(self.uas.ring(self.key, status, None, Delivery::AsRequired, self.now))
    }

    /// Sends a provisional response with a session description, reliably where the caller can.
    ///
    /// ```
    /// # use pointsman::worker::{Call, Misuse};
    /// fn announce(call: &mut Call<'_>, answer: &[u8]) -> Result<(), Misuse> {
    ///     call.early_media(183, answer)?;
    ///     // The answer that was sent reliably stands: the final response repeats it.
    ///     call.accept(answer)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Call::ring`]; also bytes that are no session description, or another description than was sent reliably
    /// before.
    pub fn early_media(&mut self, status: u16, sdp: &[u8]) -> Result<(), Misuse> {
        misuse::check_status(status, &misuse::PROVISIONAL)?;
        self.check_answer(sdp)?;
        done(self.uas.ring(self.key, status, Some(sdp), Delivery::Reliable, self.now))
    }

    /// Answers the call, or the offer or the wish for one within it, with a session description of the application's
    /// own.
    ///
    /// # Errors
    ///
    /// The bytes are no session description, do not answer the offer line by line, or are another description than was
    /// sent reliably before; or the call does not wait for it. Nothing has been sent.
    pub fn accept(&mut self, sdp: &[u8]) -> Result<(), Misuse> {
        self.check_answer(sdp)?;
        done(match self.open {
            Undecided::Offer => self.uas.answer_offer(self.key, sdp, self.now),
            Undecided::Call => self.uas.accept(self.key, Some(sdp), self.now),
        })
    }

    /// Within [`Application::on_offer_wanted`]: offers the session description that was given last.
    pub fn offer_again(&mut self) -> bool {
        self.uas.offer_again(self.key, self.now)
    }

    /// Answers the call and sends the caller's sound back, as long as the call lasts: offers, holds and ports are taken
    /// care of. A call whose offer cannot be answered is rejected. Without free ports or descriptors the call is given
    /// back.
    pub fn echo(&mut self) -> bool {
        self.media.echo(self.uas, self.key, self.offer, self.now)
    }

    /// As [`Call::echo`], for a call that was not decided on in [`Application::on_call`]: with the offer it had there.
    pub fn echo_to(&mut self, offer: Option<&[u8]>) -> bool {
        self.media.echo(self.uas, self.key, offer, self.now)
    }

    /// Turns the call, or the offer within it, down: 300–699.
    ///
    /// # Errors
    ///
    /// Another status, or one that needs a header ([`Call::reject_with`]); a call that does not wait for it. Nothing
    /// has been sent.
    pub fn reject(&mut self, status: u16) -> Result<(), Misuse> {
        self.reject_with(status, &[])
    }

    /// Turns the call, or the offer within it, down, with header fields beside those that every response has:
    ///
    /// ```
    /// # use pointsman::worker::{Call, Misuse};
    /// # fn redirect(call: &mut Call<'_>) -> Result<(), Misuse> {
    /// call.reject_with(302, &[("Contact", "<sip:other@192.0.2.7>")])
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Call::reject`]; a header that is missing, is not the application's to write, or cannot be written.
    pub fn reject_with(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), Misuse> {
        misuse::check_status(status, &misuse::REFUSALS)?;
        misuse::check_headers(status, headers)?;
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.trim().as_bytes())).collect();
        done(match self.open {
            Undecided::Offer => self.uas.reject_offer_with(self.key, status, &headers, self.now),
            Undecided::Call => self.uas.reject_with(self.key, status, &headers, self.now),
        })
    }

    /// Gives the call back to the dispatcher, which offers it to another worker.
    pub fn refuse(&mut self, reason: RefuseReason) -> bool {
        self.uas.refuse(self.key, reason, self.now)
    }

    fn check_answer(&self, sdp: &[u8]) -> Result<(), Misuse> {
        misuse::check_sdp(sdp, self.offer)?;
        match self.uas.promised_sdp(self.key) {
            Some(promised) if promised != sdp => Err(Misuse::AnotherAnswer),
            _ => Ok(()),
        }
    }

    /// Ends the call: 480 before it is answered, BYE afterwards.
    pub fn hang_up(&mut self) {
        self.uas.hang_up(self.key, self.now);
    }
}

const fn done(is_done: bool) -> Result<(), Misuse> {
    if is_done { Ok(()) } else { Err(Misuse::NotWaiting) }
}

//! Offers that cannot be answered: the refusal gives the reason to the caller and to the dispatcher's `explain`.

use crate::call::exchange::{CallKey, EndReason};
use crate::call::offer::OfferError;
use crate::call::uas::Uas;
use crate::call::uas::respond::Response;
use crate::call::uas::server::ServerKey;
use crate::time::Time;

/// The longest reason phrase, in characters.
const LONGEST: usize = 100;

impl Uas {
    /// Turns down a call, or an offer within one, whose session description cannot be answered: 488 with a Warning
    /// (RFC 3261 §20.43), or 400 with a reason phrase that says what is wrong (§21.4.1). False when neither waits.
    pub fn reject_description(&mut self, key: CallKey, error: &OfferError, now: Time) -> bool {
        if let Some(server) = self.undecided(key) {
            self.respond_unanswerable(key, server, error, now);
            self.forget(key, EndReason::Rejected(error.status()), now);
            return true;
        }
        let Some(server) = self.calls.get_mut(key).and_then(|call| call.asked.take()) else { return false };
        self.respond_unanswerable(key, server, error, now);
        self.on_prack_settled(key, now);
        true
    }

    fn respond_unanswerable(&mut self, key: CallKey, server: ServerKey, error: &OfferError, now: Time) {
        let Some(agent) = self.calls.get(key).map(|call| call.addresses.contact) else { return };
        let status = error.status();
        let warning = error.warning().map(|(code, text)| format!("{code} {agent} \"{text}\""));
        let header = warning.as_ref().map(|warning| ("Warning", warning.as_bytes()));
        let why = in_words(error);
        let response = Response { headers: header.as_slice(), why: Some(&why), ..Response::status(status) };
        self.respond_to_kept(server, &response, now);
    }
}

/// The reason as text, for a status line and for people. Parts of it may come from the peer, so only printable
/// characters are kept.
fn in_words(error: &OfferError) -> String {
    let words = error.to_string();
    let printable = words.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' });
    printable.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line_that_can_be_printed() {
        let odd = OfferError::Version("\u{1b}[31m\r\n\u{fffd}".into());
        assert_eq!(in_words(&odd), "session description of version `?[31m???`");
        assert_eq!(in_words(&OfferError::Malformed("x".repeat(500))).len(), LONGEST);
    }
}

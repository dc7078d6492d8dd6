//! Session tickets (RFC 5077, RFC 8446 §4.6.1) under keys that follow from the token key and the day: every process
//! with the same token key resumes the sessions of the others, after a restart as well.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

use crate::ids::TokenKey;

const DAY: u64 = 86_400;

/// Makes and reads tickets.
pub(super) struct Tickets {
    key: hmac::Key,
    /// A hash of what callers are asked for: a session is resumed without asking again, so a ticket must not outlive
    /// its rules.
    rules: Vec<u8>,
    random: SystemRandom,
    /// Days since 1970.
    today: fn() -> u64,
}

impl Tickets {
    pub(super) fn new(key: &TokenKey, rules: Vec<u8>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.bytes());
        Tickets { key, rules, random: SystemRandom::new(), today: || UnixTime::now().as_secs() / DAY }
    }

    fn key_of(&self, day: u64) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"tickets");
        context.update(&day.to_be_bytes());
        context.update(&self.rules);
        UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok().map(LessSafeKey::new)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // One of the last minute of a day is good for the next.
        DAY as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.key_of((self.today)())?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
        sealed.splice(0..0, nonce);
        Some(sealed)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let today = (self.today)();
        [today, today.saturating_sub(1)].into_iter().find_map(|day| {
            let mut bytes = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = self.key_of(day)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
            bytes.truncate(length);
            Some(bytes)
        })
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(key: u8, rules: &[u8], today: fn() -> u64) -> Tickets {
        Tickets { today, ..Tickets::new(&TokenKey::new([key; 32]), rules.to_vec()) }
    }

    #[test]
    fn a_ticket_is_read_by_every_process_with_the_key_today_and_tomorrow() {
        let ticket = tickets(1, b"", || 20_000).encrypt(b"a session").unwrap();
        assert_eq!(tickets(1, b"", || 20_000).decrypt(&ticket).unwrap(), b"a session");
        assert_eq!(tickets(1, b"", || 20_001).decrypt(&ticket).unwrap(), b"a session");
        for other in [tickets(1, b"", || 20_002), tickets(1, b"", || 19_999), tickets(2, b"", || 20_000)] {
            assert_eq!(other.decrypt(&ticket), None);
        }
        assert_eq!(tickets(1, b"a new list of revoked ones", || 20_000).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_that_is_changed_or_cut_off_is_none() {
        let tickets = tickets(1, b"", || 20_000);
        let ticket = tickets.encrypt(b"a session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"a session").unwrap());
        for end in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..end]), None);
            let mut changed = ticket.clone();
            changed[end] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None);
        }
    }
}

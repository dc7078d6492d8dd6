//! Session tickets (RFC 5077, RFC 8446 §4.6.1) under keys that follow from the token key and the day: every process
//! with the same token key resumes the sessions of the others, after a restart as well.
//!
//! A session that is resumed is not asked for a certificate again, and its caller gets a new ticket each time. So a
//! ticket ends with the certificates that its caller has shown.

use std::fmt;
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use webpki::{EndEntityCert, KeyUsage};

use crate::ids::TokenKey;

const DAY: u64 = 86_400;
/// After the year 9999, in which certificates without an end have it (RFC 5280 §4.1.2.5).
const FAR: u64 = 9_000 * 365 * DAY;

/// Makes and reads tickets.
pub(super) struct Tickets {
    key: hmac::Key,
    /// A hash of what callers are asked for: a session is resumed without asking again, so a ticket must not outlive
    /// its rules. Empty where they are asked for nothing.
    rules: Vec<u8>,
    random: SystemRandom,
    /// Seconds since 1970.
    now: fn() -> u64,
}

impl Tickets {
    pub(super) fn new(key: &TokenKey, rules: Vec<u8>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.bytes());
        Tickets { key, rules, random: SystemRandom::new(), now: || UnixTime::now().as_secs() }
    }

    fn key_of(&self, day: u64) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"tickets that end");
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
        let key = self.key_of((self.now)() / DAY)?;
        let end = if self.rules.is_empty() { u64::MAX } else { end_of_certificates(plain) };
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = [&end.to_be_bytes(), plain].concat();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
        sealed.splice(0..0, nonce);
        Some(sealed)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let now = (self.now)();
        let today = now / DAY;
        let opened = [today, today.saturating_sub(1)].into_iter().find_map(|day| {
            let mut bytes = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let length = self.key_of(day)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
            bytes.truncate(length);
            Some(bytes)
        })?;
        let (end, session) = opened.split_first_chunk()?;
        (now <= u64::from_be_bytes(*end)).then(|| session.to_vec())
    }
}

/// The second after which a certificate in a session is no longer valid; never where there is none. The library gives
/// the session as bytes only, with the certificates in them as they came.
fn end_of_certificates(session: &[u8]) -> u64 {
    let (mut rest, mut end) = (session, u64::MAX);
    while !rest.is_empty() {
        let certificate = sequence(rest).and_then(|bytes| Some((bytes.len(), end_of(bytes)?)));
        let length = certificate.map_or(1, |(length, of)| {
            end = end.min(of);
            length
        });
        rest = rest.get(length..).unwrap_or_default();
    }
    end
}

/// The sequence of ASN.1 at the front, if it is as long as certificates are: two bytes say its length.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let [0x30, 0x82, high, low, ..] = *bytes else { return None };
    bytes.get(..4 + usize::from(u16::from_be_bytes([high, low])))
}

/// The last second at which a certificate is valid.
fn end_of(certificate: &[u8]) -> Option<u64> {
    let certificate = CertificateDer::from(certificate);
    let read = EndEntityCert::try_from(&certificate).ok()?;
    let late = UnixTime::since_unix_epoch(Duration::from_secs(FAR));
    // Without any CA it fails in each case, but first for its time.
    match read.verify_for_usage(&[], &[], &[], late, KeyUsage::client_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
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

    const TODAY: u64 = 20_000 * DAY + 1_000;

    fn tickets(key: u8, rules: &[u8], now: fn() -> u64) -> Tickets {
        Tickets { now, ..Tickets::new(&TokenKey::new([key; 32]), rules.to_vec()) }
    }

    #[test]
    fn a_ticket_is_read_by_every_process_with_the_key_today_and_tomorrow() {
        let ticket = tickets(1, b"", || TODAY).encrypt(b"a session").unwrap();
        assert_eq!(tickets(1, b"", || TODAY).decrypt(&ticket).unwrap(), b"a session");
        assert_eq!(tickets(1, b"", || TODAY + DAY).decrypt(&ticket).unwrap(), b"a session");
        for other in [tickets(1, b"", || TODAY + 2 * DAY), tickets(1, b"", || TODAY - DAY), tickets(2, b"", || TODAY)] {
            assert_eq!(other.decrypt(&ticket), None);
        }
        assert_eq!(tickets(1, b"a new list of revoked ones", || TODAY).decrypt(&ticket), None);
    }

    #[test]
    fn a_ticket_ends_with_the_first_certificate_of_its_caller_that_ends() {
        let certificate = |seconds| {
            let mut params = rcgen::CertificateParams::new(["caller".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        let session =
            [b"0\x82 in front".as_slice(), &certificate(TODAY + 9), &certificate(TODAY + 5), b"0\x82"].concat();
        let ticket = tickets(1, b"rules", || TODAY).encrypt(&session).unwrap();
        assert_eq!(tickets(1, b"rules", || TODAY + 5).decrypt(&ticket).unwrap(), session);
        assert_eq!(tickets(1, b"rules", || TODAY + 6).decrypt(&ticket), None);
        // Where nobody is asked for a certificate, none is looked for.
        let ticket = tickets(1, b"", || TODAY).encrypt(&session).unwrap();
        assert!(tickets(1, b"", || TODAY + 6).decrypt(&ticket).is_some());
    }

    #[test]
    fn a_ticket_that_is_changed_or_cut_off_is_none() {
        let tickets = tickets(1, b"", || TODAY);
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

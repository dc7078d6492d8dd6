//! Our session description of one connection, as RFC 3435 §3.4 wants it: one audio stream, without a direction, because
//! the connection mode states it.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::media::codec::CLOCK_RATE;
use crate::media::{Codec, Payloads};

/// The session description of a connection, from its first version to its last.
#[derive(Clone, Debug)]
pub(super) struct Description {
    session: u64,
    version: u64,
    address: IpAddr,
    /// The last description without its `v=` and `o=` lines.
    said: String,
}

impl Description {
    /// A description that has not been given yet. `session` should be different for each connection; packets are to go
    /// to `address`.
    pub(super) const fn new(session: u64, address: IpAddr) -> Self {
        // Some peers read the id as a double or a signed number: 53 bits suit all.
        Description { session: session & ((1 << 53) - 1), version: 1, address, said: String::new() }
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// States the stream. Returns whether the description has changed; its version has then risen (RFC 8866 §5.2).
    pub(super) fn say(&mut self, port: u16, payloads: &Payloads, ptime: u16) -> bool {
        let mut text = String::with_capacity(192);
        // Writing to a String cannot fail.
        let _ = write!(text, "s=-\r\nc=IN {} {}\r\nt=0 0\r\nm=audio {port} RTP/AVP", self.family(), self.address);
        for payload in payloads.iter() {
            let _ = write!(text, " {}", payload.receive);
        }
        text.push_str("\r\n");
        for payload in payloads.iter() {
            let _ = write!(text, "a=rtpmap:{} {}/{CLOCK_RATE}\r\n", payload.receive, payload.codec.name());
            if payload.codec == Codec::TelephoneEvent {
                // The sixteen keys (RFC 4733 §3.2).
                let _ = write!(text, "a=fmtp:{} 0-15\r\n", payload.receive);
            }
        }
        let _ = write!(text, "a=ptime:{ptime}\r\n");
        if text == self.said {
            return false;
        }
        // The first description has the first version.
        self.version += u64::from(!self.said.is_empty());
        self.said = text;
        true
    }

    /// The description, from `v=` on.
    pub(super) fn text(&self) -> String {
        let Description { session, version, address, said } = self;
        format!("v=0\r\no=- {session} {version} IN {} {address}\r\n{said}", self.family())
    }

    const fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "IP4" } else { "IP6" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Payload;

    fn payloads(codecs: &[Codec]) -> Payloads {
        let payload = |codec: &Codec| {
            let number = codec.usual_payload_type();
            Payload { codec: *codec, receive: number, send: number }
        };
        codecs.iter().map(payload).collect()
    }

    #[test]
    fn a_description_names_port_and_formats_and_no_direction() {
        let mut description = Description::new(7, "192.0.2.9".parse().unwrap());
        assert!(description.say(20_000, &payloads(&[Codec::Pcmu, Codec::TelephoneEvent]), 20));
        let text = "v=0\r\no=- 7 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
            m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=fmtp:101 0-15\r\na=ptime:20\r\n";
        assert_eq!(description.text(), text);
    }

    #[test]
    fn the_version_rises_with_every_change_and_only_then() {
        let mut description = Description::new(7, "2001:db8::9".parse().unwrap());
        assert!(description.say(20_000, &payloads(&[Codec::Pcmu]), 20));
        assert!(!description.say(20_000, &payloads(&[Codec::Pcmu]), 20));
        assert!(description.text().contains("o=- 7 1 IN IP6 2001:db8::9\r\n"));
        assert!(description.say(20_000, &payloads(&[Codec::Pcma]), 20));
        assert!(description.text().contains("o=- 7 2 IN IP6"));
    }
}

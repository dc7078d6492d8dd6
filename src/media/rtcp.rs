//! RTCP as far as an echo needs it (RFC 3550 §6): received packets are counted, a peer's report is answered with one.
//!
//! Reports are sent only as answers, at the earliest [`INTERVAL`] after the last: an endpoint that sends no RTCP gets
//! none, and the port cannot be used to amplify. The clock in sender reports is the host's monotonic one, as §4 allows
//! for systems without wall clock.

use std::time::Duration;

use crate::time::Time;

use super::codec::CLOCK_RATE;

/// The shortest time between two reports: half the minimum of RFC 3550 §6.2, which its randomisation allows.
pub const INTERVAL: Duration = Duration::from_millis(2_500);
/// Packets of a compound packet that are looked at.
const COMPOUND_LIMIT: usize = 16;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

/// Whether a datagram on an RTP port is RTCP (RFC 5761 §4: packet types 192–223).
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, kind, ..] if first >> 6 == 2 && (192..=223).contains(kind))
}

/// Reception statistics of one source (RFC 3550 A.1, A.3, A.8).
#[derive(Clone, Copy, Debug)]
pub struct Reception {
    ssrc: u32,
    /// Sequence numbers with their turns counted: of the first packet, and the highest.
    base: u32,
    highest: u32,
    received: u32,
    expected_before: u32,
    received_before: u32,
    transit: u32,
    /// Interarrival jitter in sixteenths of a sample.
    jitter: u32,
    /// The middle 32 bits of the last sender report's time, and when it came.
    last_report: Option<(u32, Time)>,
}

impl Reception {
    /// Begins with a source's first packet.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32, now: Time) -> Self {
        let base = u32::from(sequence);
        let transit = samples(now).wrapping_sub(timestamp);
        Reception {
            ssrc,
            base,
            highest: base,
            received: 1,
            expected_before: 0,
            received_before: 0,
            transit,
            jitter: 0,
            last_report: None,
        }
    }

    /// Counts a packet of this source.
    pub fn on_packet(&mut self, sequence: u16, timestamp: u32, now: Time) {
        let step = sequence.wrapping_sub(self.highest as u16);
        if step < u16::MAX / 2 {
            self.highest = self.highest.wrapping_add(u32::from(step));
        }
        self.received = self.received.wrapping_add(1);
        let transit = samples(now).wrapping_sub(timestamp);
        let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        self.jitter = self.jitter.wrapping_add(difference).wrapping_sub((self.jitter + 8) >> 4);
    }

    /// The source these figures belong to.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets lost so far; below zero when more came twice than were lost (RFC 3550 §6.4.1).
    pub fn lost(&self) -> i32 {
        self.expected().wrapping_sub(self.received) as i32
    }

    /// Interarrival jitter in samples.
    pub const fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// Takes in a compound packet; returns whether it holds a report, so that an answer is due.
    fn on_rtcp(&mut self, compound: &[u8], now: Time) -> bool {
        let mut reports = false;
        for (kind, body) in packets(compound) {
            reports |= matches!(kind, SENDER_REPORT | RECEIVER_REPORT);
            let ours = u32_at(body, 0) == Some(self.ssrc);
            if let (SENDER_REPORT, true, Some(seconds), Some(fraction)) = (kind, ours, u32_at(body, 4), u32_at(body, 8))
            {
                self.last_report = Some((seconds << 16 | fraction >> 16, now));
            }
        }
        reports
    }

    /// Writes a report block (RFC 3550 §6.4.1) and begins the next interval.
    fn write_block(&mut self, out: &mut Vec<u8>, now: Time) {
        let expected = self.expected().wrapping_sub(self.expected_before);
        let received = self.received.wrapping_sub(self.received_before);
        self.expected_before = self.expected();
        self.received_before = self.received;
        let lost = expected.saturating_sub(received);
        let fraction = if expected == 0 { 0 } else { ((u64::from(lost) << 8) / u64::from(expected)).min(255) as u8 };
        let total = self.lost().clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let (last, delay) = self.last_report.map_or((0, 0), |(stamp, at)| {
            let delay = now.since(at).as_micros() as u64 * 65_536 / 1_000_000;
            (stamp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        for word in [self.ssrc, u32::from(fraction) << 24 | total, self.highest, self.jitter(), last, delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }
}

/// Counts of what has been sent, for sender reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Packets. A report has the lower 32 bits (RFC 3550 §6.4.1).
    pub packets: u64,
    /// Octets of payload, likewise.
    pub octets: u64,
    /// The timestamp of the last packet, and when it left.
    pub last: Option<(u32, Time)>,
}

/// Answers reports of one stream's peer.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// Our synchronisation source.
    ssrc: u32,
    sent_at: Option<Time>,
    round_trip: Option<Duration>,
}

impl Reporter {
    /// The reporter of the stream that we send from `ssrc`.
    pub const fn new(ssrc: u32) -> Self {
        Reporter { ssrc, sent_at: None, round_trip: None }
    }

    /// Takes in the peer's compound packet and appends the answer to `out` when one is due: a sender report when
    /// anything has been sent, else a receiver report, with a CNAME made of our source (RFC 7022: new for each stream).
    pub fn on_rtcp(
        &mut self,
        compound: &[u8],
        reception: Option<&mut Reception>,
        sent: &Sent,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Answered {
        if !is_rtcp(compound) || packets(compound).next().is_none() {
            return Answered::NotRtcp;
        }
        if packets(compound).any(|(kind, _)| kind == BYE) {
            return Answered::Bye;
        }
        if let Some(round_trip) = round_trip(compound, self.ssrc, now) {
            self.round_trip = Some(round_trip);
        }
        let Some(reception) = reception else { return Answered::No };
        let due = self.sent_at.is_none_or(|at| now.since(at) >= INTERVAL);
        if !reception.on_rtcp(compound, now) || !due {
            return Answered::No;
        }
        self.sent_at = Some(now);
        write_report(out, self.ssrc, reception, sent, now);
        Answered::Yes
    }

    /// The time from a report of ours to the peer and back, as its last report block told it (RFC 3550 §6.4.1).
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

/// The outcome of a packet on the RTCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A report has been written.
    Yes,
    /// None is due.
    No,
    /// The source says that it leaves (RFC 3550 §6.6); its call ends by signalling.
    Bye,
    /// Not RTCP.
    NotRtcp,
}

/// The round trip that a report block about `own` tells: now, less the time of our report that it names, less the time
/// the peer has had it.
fn round_trip(compound: &[u8], own: u32, now: Time) -> Option<Duration> {
    let blocks = packets(compound).filter_map(|(kind, body)| match kind {
        SENDER_REPORT => body.get(24..),
        RECEIVER_REPORT => body.get(4..),
        _ => None,
    });
    let block = blocks.flat_map(|blocks| blocks.chunks_exact(24)).find(|block| u32_at(block, 0) == Some(own))?;
    let (report, held) = (u32_at(block, 16)?, u32_at(block, 20)?);
    let passed = stamp(now).wrapping_sub(report).wrapping_sub(held);
    // A round trip of 2^31 units (nine hours) or more means that a clock went back, or that the peer lied.
    (report != 0 && passed < 1 << 31).then(|| Duration::from_micros(u64::from(passed) * 1_000_000 / 65_536))
}

/// The middle 32 bits of a moment's time in sender reports: 1/65536 s.
const fn stamp(time: Time) -> u32 {
    let seconds = time.0 / 1_000_000;
    let fraction = ((time.0 % 1_000_000) << 32) / 1_000_000;
    (seconds as u32) << 16 | (fraction >> 16) as u32
}

fn write_report(out: &mut Vec<u8>, own: u32, reception: &mut Reception, sent: &Sent, now: Time) {
    match sent.last {
        Some((timestamp, at)) => {
            let seconds = (now.0 / 1_000_000) as u32;
            let fraction = ((now.0 % 1_000_000) << 32) / 1_000_000;
            let timestamp = timestamp.wrapping_add(samples(now).wrapping_sub(samples(at)));
            put_header(out, 1, SENDER_REPORT, 12);
            for word in [own, seconds, fraction as u32, timestamp, sent.packets as u32, sent.octets as u32] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        None => {
            put_header(out, 1, RECEIVER_REPORT, 7);
            out.extend_from_slice(&own.to_be_bytes());
        }
    }
    reception.write_block(out, now);
    // One chunk: the source, CNAME (1), ten characters, and zeroes up to the next word: at least one ends the list.
    let cname = format!("pm{own:08x}");
    put_header(out, 1, SOURCE_DESCRIPTION, 5);
    out.extend_from_slice(&own.to_be_bytes());
    out.extend_from_slice(&[1, cname.len() as u8]);
    out.extend_from_slice(cname.as_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// A header of version 2: `count` blocks, then `words` 32-bit words after it.
fn put_header(out: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    out.extend_from_slice(&[0x80 | count, kind]);
    out.extend_from_slice(&words.to_be_bytes());
}

/// The packets of a compound packet: type and body. Ends at the first whose length does not fit.
fn packets(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [first, kind, high, low, ..] = *rest else { return None };
        let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        if first >> 6 != 2 || length > rest.len() {
            return None;
        }
        let (packet, behind) = rest.split_at(length);
        rest = behind;
        Some((kind, packet.get(4..)?))
    })
    .take(COMPOUND_LIMIT)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// A moment in samples of the media clock. Wraps, like timestamps do.
pub(crate) const fn samples(time: Time) -> u32 {
    (time.0 as u128 * CLOCK_RATE as u128 / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(50_000_000);

    fn sender_report(ssrc: u32) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, 0, SENDER_REPORT, 6);
        for word in [ssrc, 0x1111_2222, 0x3333_4444, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32_at(bytes, 4 * at).unwrap()
    }

    #[test]
    fn a_sender_report_is_answered_with_loss_jitter_and_the_echoed_time() {
        let mut reception = Reception::new(7, 65_534, 0, START);
        // 65535 and 1 arrive; 0 is lost.
        reception.on_packet(65_535, 160, START + Duration::from_millis(20));
        reception.on_packet(1, 480, START + Duration::from_millis(60));
        let mut reporter = Reporter::new(99);
        let mut out = Vec::new();
        let sent = Sent { packets: 3, octets: 480, last: Some((9_000, START)) };
        reception.on_rtcp(&sender_report(7), START + Duration::from_secs(1));
        let now = START + Duration::from_secs(2);
        let answer = reporter.on_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 7], Some(&mut reception), &sent, now, &mut out);
        assert_eq!(answer, Answered::Yes);
        assert_eq!(out[..4], [0x81, SENDER_REPORT, 0, 12]);
        assert_eq!(word(&out, 1), 99);
        assert_eq!(word(&out, 2), 52);
        assert_eq!(word(&out, 4), 9_000 + 16_000);
        assert_eq!((word(&out, 5), word(&out, 6)), (3, 480));
        assert_eq!(word(&out, 7), 7, "the block is about the peer's source");
        assert_eq!(word(&out, 8), 64 << 24 | 1, "one of four lost");
        assert_eq!(word(&out, 9), 65_537, "highest number with one turn");
        assert_eq!(word(&out, 10), 0, "packets came on time");
        assert_eq!(word(&out, 11), 0x2222_3333);
        assert_eq!(word(&out, 12), 65_536, "one second since the sender report");
        assert_eq!(out[52..56], [0x81, SOURCE_DESCRIPTION, 0, 5]);
        assert_eq!(&out[60..], b"\x01\x0apm00000063\0\0\0\0");
        assert_eq!(packets(&out).count(), 2);
    }

    #[test]
    fn a_report_block_about_us_tells_the_round_trip() {
        let mut reception = Reception::new(7, 1, 0, START);
        let mut reporter = Reporter::new(99);
        let mut out = Vec::new();
        let sent = Sent { packets: 1, octets: 160, last: Some((0, START)) };
        reporter.on_rtcp(&sender_report(7), Some(&mut reception), &sent, START, &mut out);
        // The middle of the time in our sender report, and half a second in the peer's hands.
        let report = word(&out, 2) << 16 | word(&out, 3) >> 16;
        let block = |about: u32| {
            let mut bytes = Vec::new();
            put_header(&mut bytes, 1, RECEIVER_REPORT, 7);
            for word in [7, about, 0, 0, 0, report, 32_768] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            bytes
        };
        let later = START + Duration::from_millis(620);
        reporter.on_rtcp(&block(98), Some(&mut reception), &sent, later, &mut Vec::new());
        assert_eq!(reporter.round_trip(), None, "it is about somebody else");
        reporter.on_rtcp(&block(99), Some(&mut reception), &sent, later, &mut Vec::new());
        assert_eq!(reporter.round_trip().map(|time| time.as_millis()), Some(119), "120 ms, cut to 1/65536 s");
        let before = START + Duration::from_millis(400);
        let mut early = Reporter::new(99);
        early.on_rtcp(&block(99), Some(&mut reception), &sent, before, &mut Vec::new());
        assert_eq!(early.round_trip(), None, "nothing comes back before it was sent");
    }

    #[test]
    fn reports_are_answered_once_an_interval() {
        let mut reception = Reception::new(7, 1, 0, START);
        let mut reporter = Reporter::new(9);
        let mut answers = Vec::new();
        for ms in [0, 100, 2_499, 2_500, 2_600] {
            let now = START + Duration::from_millis(ms);
            let mut out = Vec::new();
            let answer = reporter.on_rtcp(&sender_report(7), Some(&mut reception), &Sent::default(), now, &mut out);
            assert_eq!(answer == Answered::Yes, !out.is_empty());
            answers.push(answer);
        }
        assert_eq!(answers, [Answered::Yes, Answered::No, Answered::No, Answered::Yes, Answered::No]);
    }

    #[test]
    fn a_stream_that_has_sent_nothing_writes_a_receiver_report() {
        let mut reception = Reception::new(7, 1, 0, START);
        let mut out = Vec::new();
        let sent = Sent::default();
        Reporter::new(9).on_rtcp(&sender_report(7), Some(&mut reception), &sent, START, &mut out);
        assert_eq!(out[..4], [0x81, RECEIVER_REPORT, 0, 7]);
        assert_eq!(packets(&out).count(), 2);
    }

    #[test]
    fn late_packets_raise_the_jitter() {
        let mut reception = Reception::new(7, 1, 0, START);
        for n in 1..200_u64 {
            let late = if n % 2 == 0 { 10 } else { 0 };
            reception.on_packet(n as u16 + 1, n as u32 * 160, START + Duration::from_millis(20 * n + late));
        }
        assert!((70..=81).contains(&reception.jitter()), "{}", reception.jitter());
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn bye_and_garbage_get_no_answer() {
        let mut reception = Reception::new(7, 1, 0, START);
        let mut out = Vec::new();
        let mut on =
            |bytes: &[u8]| Reporter::new(9).on_rtcp(bytes, Some(&mut reception), &Sent::default(), START, &mut out);
        let mut bye = sender_report(7);
        bye.extend_from_slice(&[0x81, BYE, 0, 1, 0, 0, 0, 7]);
        assert_eq!(on(&bye), Answered::Bye);
        assert_eq!(on(b""), Answered::NotRtcp);
        assert_eq!(on(&[0x80, 200]), Answered::NotRtcp);
        assert_eq!(on(&[0x80, 200, 0xff, 0xff, 1, 2, 3, 4]), Answered::NotRtcp);
        assert_eq!(on(&[0x80, 0, 0, 0]), Answered::NotRtcp);
        assert!(out.is_empty());
    }
}

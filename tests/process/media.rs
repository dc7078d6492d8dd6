//! Every call carries sound: the built-in application sends back what it hears.

use std::net::{SocketAddr, UdpSocket};

use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::Setup;

fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&0x1234_5678_u32.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn a_call_hears_its_own_sound() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let (dialog, sound) = phone.call_with_sound(pointsman.address());
    let media = dialog.answer.media_address();
    assert_eq!(media.port() % 2, 0, "RTP has an even port");
    let mut buffer = [0; 2048];
    for sequence in 0..5 {
        let payload: Vec<u8> = (0..160).map(|at| (at as u8).wrapping_mul(sequence as u8 + 1)).collect();
        sound.send_to(&rtp(sequence, &payload), media).unwrap();
        let (length, from) = sound.recv_from(&mut buffer).unwrap();
        assert_eq!(from, media);
        assert_eq!(&buffer[12..length], &payload[..], "packet {sequence}");
        assert_eq!(buffer[1] & 0x7f, 0, "payload type");
    }
    let bye = dialog.request("BYE", 1);
    assert_eq!(phone.transact(&bye, dialog.target).status(), 200);
}

/// Whether three packets, numbered from `first`, come back from `media`.
fn is_echoed(sound: &UdpSocket, media: SocketAddr, first: u16) -> bool {
    let mut buffer = [0; 2048];
    (first..first + 3).all(|sequence| {
        sound.send_to(&rtp(sequence, &[0xd5; 160]), media).unwrap();
        sound.recv_from(&mut buffer).is_ok()
    })
}

#[test]
fn a_reinvite_without_sdp_takes_a_held_call_back() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    for (serial, hold) in [(1, "sendonly"), (2, "inactive")] {
        let (dialog, sound) = phone.call_with_sound(pointsman.address());
        assert!(is_echoed(&sound, dialog.answer.media_address(), 10 * serial), "{hold}: before the hold");
        let mut held = dialog.request("UPDATE", 1);
        held.body = dialog.invite.body.as_ref().map(|body| body.replace("a=sendrecv", &format!("a={hold}")));
        assert!(held.body.as_ref().is_some_and(|body| body.contains(hold)), "{held:?}");
        assert_eq!(phone.transact(&held, dialog.target).status(), 200);
        let empty = dialog.request("INVITE", 2);
        let offer = phone.transact(&empty, dialog.target);
        // RFC 3261 §14.2, RFC 6337 §5.3.
        assert!(offer.body().contains("a=sendrecv\r\n") && offer.body().contains(" 0 8 101\r\n"), "{}", offer.text);
        let mut ack = Request { cseq: empty.cseq, ..dialog.request("ACK", 0) };
        ack.body.clone_from(&dialog.invite.body);
        phone.send(&ack, dialog.target);
        assert!(is_echoed(&sound, offer.media_address(), 10 * serial + 5), "{hold}: after it");
        assert_eq!(phone.transact(&dialog.request("BYE", 3), dialog.target).status(), 200);
    }
}

#[test]
fn an_offer_without_a_codec_in_common_gets_488() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let mut invite = phone.invite(pointsman.address(), None);
    invite.body = invite.body.map(|body| {
        body.replace("RTP/AVP 0 8", "RTP/AVP 99")
            .replace("a=rtpmap:0 PCMU/8000\r\n", "")
            .replace("rtpmap:8 PCMA", "rtpmap:99 G728")
    });
    assert_eq!(phone.transact(&invite, pointsman.address()).status(), 488);
}

#[test]
fn a_caller_that_insists_on_ringing_hears_it_before_the_answer() {
    let pointsman = Setup::new(1).with(["--ring-first", "0.0.0.0/0,::/0"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let invite = phone.invite(pointsman.address(), None);
    phone.send(&invite, pointsman.address());
    let first = phone.expect("a response to the call", |reply| reply.answers(&invite) && reply.status() > 100);
    assert_eq!(first.status(), 180, "{}", first.text);
    let dialog = Dialog::new(&invite, phone.final_response(&invite));
    phone.send(&dialog.ack(), dialog.target);
    assert_eq!((dialog.answer.status(), dialog.answer.to_tag()), (200, first.to_tag()));
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

//! The messages of the measured steps. In each stands a number, at the place of `N`s.

use pointsman::ids::Incarnation;

use super::numbered::KEY;

/// An INVITE of about 1 KB with an offer; `NNNNNNNNNN` is the place of its number.
pub fn invite() -> Vec<u8> {
    let sdp = "v=0\r\no=as 2890844526 2890844526 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
        m=audio 49172 RTP/AVP 0 8 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:ivr@ms.example.net:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5:5060;rport;branch=z9hG4bK-NNNNNNNNNN\r\n\
         Max-Forwards: 70\r\nFrom: \"AS\" <sip:as@example.net>;tag=NNNNNNNNNN\r\nTo: <sip:ivr@ms.example.net>\r\n\
         Call-ID: NNNNNNNNNN@203.0.113.5\r\nCSeq: 1 INVITE\r\nContact: <sip:as@203.0.113.5:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE\r\n\
         Supported: replaces, timer, 100rel\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n\
         User-Agent: application-server/1.0\r\nP-Asserted-Identity: <sip:+4930123456@example.net>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

/// The same, but its stream is inactive: it takes no media.
pub fn inactive_invite() -> Vec<u8> {
    // The texts are of one length.
    String::from_utf8(invite()).unwrap().replace("a=sendrecv", "a=inactive").into_bytes()
}

/// A CRCX with a description, as a call agent sends it; `NNNNNNNNN` is the place of its number.
pub fn crcx() -> Vec<u8> {
    b"CRCX NNNNNNNNN bridge/$@ms.example.net MGCP 1.0\r\nC: 5f00NNNNNNNNN\r\nL: p:20, a:PCMU;PCMA, nt:IN\r\n\
        M: sendrecv\r\nX-Size: 1\r\n\r\nv=0\r\no=- NNNNNNNNN 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\n\
        t=0 0\r\nm=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
        .to_vec()
}

/// A BYE of about 1 KB to the worker of incarnation 2.
pub fn bye() -> Vec<u8> {
    let to = format!("To: <sip:ivr@ms.example.net>;tag={}-1", KEY.token(Incarnation::new(2)));
    let text = String::from_utf8(invite()).unwrap();
    text.replace("INVITE", "BYE").replace("To: <sip:ivr@ms.example.net>", &to).into_bytes()
}

/// A DLCX for an endpoint of the worker of incarnation 2.
pub fn dlcx() -> Vec<u8> {
    let token = KEY.token(Incarnation::new(2));
    format!("DLCX NNNNNNNNN bridge/{token}/17@ms.example.net MGCP 1.0\r\nC: 5f00NNNNNNNNN\r\nI: 0123456789abcdef\r\n")
        .into_bytes()
}

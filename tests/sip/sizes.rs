//! Sizes.

use super::*;

#[test]
fn each_source_names_a_size_and_the_first_in_order_wins() {
    const SDP: &str =
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    const MSCML: &str = "<?xml version=\"1.0\"?><MediaServerControl version=\"1.0\"><request>\
        <configure_conference reservedtalkers=\"12\"/></request></MediaServerControl>";
    const MSML: &str = "<?xml version='1.0'?><msml version='1.1'><createconference><reserve><resource n='9'/></reserve>\
        </createconference></msml>";
    let mut rig = rig(1);
    let mut size = |text: &str, call: &str| {
        let text = text.replace("-z", &format!("-{call}")).replace("ID: z", &format!("ID: {call}"));
        handoff(rig.send(&text)).size
    };
    let z = invite("z");
    let in_uri = z.replace("INVITE sip:ivr@ms.example.net", "INVITE sip:ivr@ms.example.net;size=7");
    assert_eq!(size(&z, "0"), 1);
    assert_eq!(size(&with_header(&z, "x-session-size: 3"), "1"), 3);
    assert_eq!(size(&in_uri, "2"), 7);
    assert_eq!(size(&with_header(&in_uri, "X-Session-Size: 3"), "3"), 3);
    assert_eq!(size(&with_body(&z, "application/mediaservercontrol+xml", MSCML), "4"), 12);
    assert_eq!(size(&with_body(&z, "application/msml+xml", MSML), "5"), 9);
    assert_eq!(size(&with_body(&z, "application/sdp", SDP), "6"), 5);
    assert_eq!(size(&with_body(&z, "application/sdp", &SDP.replace("4000", "0").replace("4002", "0")), "7"), 0);
    let parts = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b\r\nContent-Type: application/mediaservercontrol+xml\r\n\r\n{MSCML}\r\n--b--\r\n"
    );
    assert_eq!(size(&with_body(&z, "multipart/mixed;boundary=b", &parts), "8"), 12);
}

#[test]
fn absurd_sizes_are_clamped_or_not_believed() {
    let mut rules = rules();
    rules.size.max = 80;
    let mut rig = rig_with(1, rules, 1000);
    for (named, counted) in [("0", 1), ("-1", 1), ("1e3", 1), ("1000000000", 80), ("7", 7)] {
        let call = named.replace('-', "m");
        let decision = rig.send(&with_header(&invite(&call), &format!("X-Session-Size: {named}")));
        assert_eq!(handoff(decision).size, counted, "{named}");
    }
}

#[test]
fn sizes_are_believed_from_size_from_only_and_asked_in_the_order_set() {
    let mut rules = rules();
    rules.size.from = vec!["192.0.2.0/24".parse().unwrap()];
    rules.size.order = vec![SizeSource::RequestUri, SizeSource::Header];
    let mut rig = rig_with(1, rules, 1000);
    let text = |call: &str| {
        with_header(&invite(call), "X-Session-Size: 3").replace("ms.example.net SIP", "ms.example.net;size=7 SIP")
    };
    assert_eq!(handoff(rig.send(&text("a"))).size, 1);
    rig.arrival.source = "192.0.2.9:5060".parse().unwrap();
    assert_eq!(handoff(rig.send(&text("b"))).size, 7);
}

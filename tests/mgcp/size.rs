//! The size of a connection.

use super::*;

#[test]
fn a_size_is_read_from_parameter_options_or_description_and_is_one_otherwise() {
    let mut rig = rig_with(
        1,
        Rules { size: pointsman::dispatch::size::SizeRules { max: 50, ..Default::default() }, ..rules() },
        1000,
    );
    let sdp = "\nv=0\nm=audio 1 RTP/AVP 0\nm=video 2 RTP/AVP 96\n";
    for (id, (lines, size)) in (1..).zip([
        ("X-Size: 7\n".to_owned(), 7),
        ("x+size: 8\n".to_owned(), 8),
        ("L: p:20, a:PCMU, x-size:9\n".to_owned(), 9),
        ("L: X+Size : 3\nX-Size: 4\n".to_owned(), 4),
        (sdp.to_owned(), 5),
        (format!("X-Size: 2\n{sdp}"), 2),
        ("X-Size: 1000\n".to_owned(), 50),
        ("X-Size: 0\n".to_owned(), 1),
        ("L: a:PCMU\n".to_owned(), 1),
        ("\nv=0\nm=audio 0 RTP/AVP 0\n".to_owned(), 0),
    ]) {
        let text = command("CRCX", id, "ann/$@ms", &format!("C: {id}\n{lines}"));
        assert_eq!(given(rig.send(&text)).2, size, "{lines}");
    }
    let order = vec![SizeSource::Sdp];
    let rules = Rules { size: pointsman::dispatch::size::SizeRules { order, ..Default::default() }, ..rules() };
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(50, "50")))).2, 1);
}

#[test]
fn a_size_is_believed_from_those_it_is_believed_from() {
    let from = vec!["192.0.2.0/24".parse().unwrap()];
    let size = pointsman::dispatch::size::SizeRules { from, ..Default::default() };
    let mut rig = rig_with(1, Rules { size, ..rules() }, 1000);
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(1, "1")))).2, 1);
    rig.arrival.source = "192.0.2.9:2727".parse().unwrap();
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(2, "2")))).2, 7);
}

//! Messages that come together: their decisions are those of messages that come one after the other.

use super::*;

/// Datagrams of some calls: INVITE, a copy of it, one that cannot be read, CANCEL, ACK to its 487, BYE and a response.
fn datagrams(calls: u32) -> Vec<String> {
    let of = |call: u32| {
        let request = |method: &str, branch: u32, to: &str| {
            format!(
                "{method} sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{branch}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>{to}\r\nCall-ID: {call}\r\n\
                 CSeq: 1 {method}\r\nContact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let invite = request("INVITE", 2 * call, "");
        let unreadable = invite.replace("CSeq: 1", "CSeq: x");
        let response = invite.replace("INVITE sip:a@192.0.2.2 SIP/2.0", "SIP/2.0 200 OK");
        let (cancel, ack) = (request("CANCEL", 2 * call, ""), request("ACK", 2 * call, ";tag=x"));
        [
            invite.clone(),
            invite,
            unreadable,
            "\r\n".to_owned(),
            cancel,
            ack,
            request("BYE", 2 * call + 1, ";tag=x"),
            response,
        ]
    };
    (0..calls).flat_map(of).collect()
}

/// Datagrams of MGCP: CRCX, a copy of it, one that cannot be read, another connection of the call, its DLCX together
/// with a command for nobody, and the acknowledgement of the first.
fn commands(calls: u32) -> Vec<String> {
    let of = |call: u32| {
        let crcx = |id: u32| format!("CRCX {id} ann/$@ms.example.net MGCP 1.0\r\nC: {call}\r\nM: sendrecv\r\n");
        let id = 10 * call + 1;
        [
            crcx(id),
            crcx(id),
            "CRCX x ann/$@ms.example.net MGCP 1.0\r\n".to_owned(),
            crcx(id + 1),
            format!(
                "DLCX {} ann/$@ms.example.net MGCP 1.0\r\nC: {call}\r\n.\r\nMDCX {} a/b@c MGCP 1.0\r\n",
                id + 2,
                id + 3
            ),
            format!("000 {id}\r\n"),
        ]
    };
    (0..calls).flat_map(of).collect()
}

/// The counts of a switch that gets these datagrams by `give`, where a link may refuse everything, the answers that it
/// sends, and what `explain` tells.
fn outcome(
    (transport, datagrams): (Transport, &[String]),
    refuses: bool,
    give: impl Fn(&mut Switch<Mute>, &[(&[u8], Way)]),
) -> (String, Vec<Vec<u8>>, String) {
    let mut switch = roomy(3);
    if refuses {
        spoil(&mut switch, 0);
    }
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), transport, (source, local), NOW);
    let came: Vec<(&[u8], Way)> = datagrams.iter().map(|text| (text.as_bytes(), way)).collect();
    give(&mut switch, &came);
    let mut answers = Vec::new();
    switch.flush_answers(|leaving| answers.extend(leaving.map(|(bytes, _)| bytes.to_vec())));
    switch.check();
    let told: String =
        (0..8).map(|call| format!("{:?}\n", switch.dispatch().explain(call.to_string().as_bytes()))).collect();
    (format!("{:?}", switch.dispatch().counters()), answers, told)
}

#[test]
fn messages_that_come_together_are_decided_about_as_if_each_came_alone() {
    let of = [(Transport::Udp, datagrams(8)), (Transport::Mgcp, commands(11))];
    let runs = [1, 2, 3, 5, 8, 31, 64].into_iter().flat_map(|count| [(count, false), (count, true)]);
    for ((transport, datagrams), (count, refuses)) in of.iter().flat_map(|of| runs.clone().map(move |run| (of, run))) {
        let datagrams = (*transport, &datagrams[..count]);
        let alone = outcome(datagrams, refuses, |switch, came| {
            came.iter().for_each(|(bytes, way)| switch.on_message(bytes, way, NOW));
        });
        let together = outcome(datagrams, refuses, |switch, came| switch.on_messages(came.iter().copied(), NOW));
        assert_eq!(together, alone, "{count} datagrams, {transport:?}");
    }
}

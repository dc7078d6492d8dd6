//! Connections that the settings no longer ask for: they end when nothing waits for an answer on them.

use super::*;
use crate::ids::ProxyId;

const A: &str = "192.0.2.11:5080";

impl Rig {
    /// Another dispatcher takes over, with these connections to A.
    pub(super) fn take_over(&mut self, conns: &[u64]) {
        self.take_over_with(conns, |_| {});
    }

    /// The same with other settings.
    pub(super) fn take_over_with(&mut self, conns: &[u64], change: impl FnOnce(&mut Rules)) {
        self.switch = taken_over(&mut self.switch, change, 1);
        for conn in conns {
            let is_wanted = self.switch.on_connection_kept(ConnId(*conn), A.parse().unwrap(), Transport::Tcp, self.now);
            assert!(is_wanted, "#{conn}");
        }
        self.switch.on_taken_over(self.now);
    }

    /// The next connection that is to be closed until `until` (ms).
    fn hung_up(&mut self, until: u64) -> Option<ConnId> {
        let end = NOW + Duration::from_millis(until);
        while self.now < end {
            let due = self.switch.poll_timeout().unwrap_or(end).max(self.now) + Duration::from_millis(1);
            self.now = due.min(end);
            self.switch.handle_timeout(self.now);
            self.open();
            self.left();
            let unwanted = self.switch.poll_hang_up(self.now);
            if unwanted.is_some() {
                return unwanted;
            }
        }
        None
    }
}

fn without_a(proxies: &mut Vec<Proxy>) {
    proxies.retain(|proxy| proxy.name == "b");
}

#[test]
fn a_call_that_rings_at_a_server_that_the_settings_have_lost_gets_its_answer_after_a_takeover() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
    rig.reload(without_a);
    rig.passes(10_000);
    rig.take_over(&[1]);
    assert_eq!(rig.hung_up(290_000), None, "as without the takeover");
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to #7"]);
    assert_eq!(rig.hung_up(310_000), Some(ConnId(1)));
}

#[test]
fn a_call_that_has_rung_again_before_a_takeover_has_as_much_time_afterwards_as_without_it() {
    for leaves_at in [100_000, 200_000] {
        let mut rig = Rig::connected(1);
        let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
        for at in [1_000, 100_000, 200_000] {
            rig.passes(at);
            assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
            if at == leaves_at {
                rig.reload(without_a);
            }
        }
        rig.take_over(&[1]);
        assert_eq!(rig.hung_up(490_000), None, "timer C began anew (RFC 3261 §16.7 step 2)");
        let cancel = request("CANCEL", BY_TCP, 1, &[], "");
        assert_eq!(shown(&rig.stream(&cancel, CALLERS, CALLER)), ["200 to #7", "CANCEL to #1"]);
        assert_eq!(rig.hung_up(600_000), Some(ConnId(1)), "nobody answers, and nobody acknowledges");
    }
}

#[test]
fn a_call_that_rings_on_a_connection_beyond_a_smaller_number_gets_its_answer_after_a_takeover() {
    let mut rig = Rig::connected(2);
    let calls = ["c", "d", "e"].map(|call| one(rig.stream(&another(BY_TCP, call), CALLERS, CALLER)));
    assert_eq!(calls.each_ref().map(|sent| sent.to.as_str()), ["#1", "#103", "#2"]);
    calls.iter().for_each(|sent| assert_eq!(shown(&rig.responds(sent, "180 Ringing")), ["180 to #7"]));
    rig.reload(|proxies| proxies.iter_mut().for_each(|proxy| proxy.connections = 1));
    rig.take_over(&[1, 2]);
    assert_eq!(rig.hung_up(200_000), None);
    calls.iter().for_each(|sent| assert_eq!(shown(&rig.responds(sent, "200 OK")), ["200 to #7"]));
    assert_eq!(rig.hung_up(202_000), Some(ConnId(2)));
}

#[test]
fn a_call_that_rings_on_a_connection_whose_server_takes_another_transport_gets_its_answer_after_a_takeover() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
    rig.reload(|proxies| proxies.iter_mut().for_each(|proxy| proxy.transport = Transport::Tls));
    rig.take_over(&[1]);
    assert_eq!(rig.hung_up(200_000), None);
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to #7"]);
    assert_eq!(rig.hung_up(202_000), Some(ConnId(1)));
}

fn with_pending_max(rig: &mut Rig, seconds: u64) {
    let rules = rig.switch.dispatch().rules().clone();
    rig.switch.reload(Rules { pending_max: Duration::from_secs(seconds), ..rules }, Insert::None, 0, rig.now);
}

#[test]
fn a_call_in_mode_proxy_that_rings_for_long_at_a_server_that_the_settings_have_lost_can_be_cancelled() {
    let mut rig = Rig::with(1, |proxy| proxy.transport = Transport::Udp);
    with_pending_max(&mut rig, 600);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.shown(), "INVITE to 192.0.2.11:5080");
    rig.reload(without_a);
    rig.passes(590_000);
    let cancel = one(rig.udp(&request("CANCEL", BY_UDP, 1, &[], "")));
    assert_eq!((cancel.shown().as_str(), cancel.field("Via")), ("CANCEL to 192.0.2.11:5080", sent.field("Via")));
    rig.passes(610_000);
    assert_eq!(rig.switch.dispatch().proxies().name(ProxyId(0)), None, "the call is over by its time");
}

#[test]
fn a_call_that_rang_when_the_settings_lost_its_server_gets_its_ack_there() {
    for is_taken_over in [false, true] {
        let mut rig = Rig::connected(1);
        let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
        rig.responds(&sent, "180 Ringing");
        rig.reload(without_a);
        if is_taken_over {
            rig.take_over(&[1]);
        }
        let mut routes = one(rig.responds(&sent, "200 OK")).routes();
        routes.reverse();
        for (branch, routes) in [(2, &routes[..]), (3, &[])] {
            let ack = one(rig.stream(&request("ACK", BY_TCP, branch, routes, ";tag=s"), CALLERS, CALLER));
            assert_eq!(ack.shown(), "ACK to #1");
        }
        let bye = one(rig.stream(&request("BYE", BY_TCP, 4, &routes, ";tag=s"), CALLERS, CALLER));
        assert_eq!(bye.shown(), "480 to #7");
    }
}

#[test]
fn a_call_that_rings_for_long_at_a_server_that_the_settings_have_lost_gets_its_answer() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(sent.shown(), "INVITE to #1");
    rig.reload(|proxies| proxies.retain(|proxy| proxy.name == "b"));
    // Each 180 has timer C begin anew (RFC 3261 §16.7 step 2).
    for at in [100, 300, 500, 700] {
        assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
        assert_eq!(shown(&rig.passes(at * 1_000)), [""; 0]);
        assert_eq!(rig.switch.poll_hang_up(rig.now), None, "after {at} s");
    }
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to #7"]);
    rig.passes(750_000);
    assert_eq!(rig.switch.poll_hang_up(rig.now), Some(ConnId(1)), "nothing waits for an answer any more");
}

#[test]
fn callers_hear_of_it_when_a_server_is_let_go_that_has_their_calls() {
    let mut rig = Rig::connected(1);
    let ringing = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&ringing, "180 Ringing");
    let other = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
    rig.responds(&other, "200 OK");
    let unheard = one(rig.stream(&another(BY_TCP, "e"), CALLERS, CALLER));
    assert_eq!((ringing.to.as_str(), unheard.to.as_str()), ("#1", "#1"));
    // The settings lose so many others afterwards that the oldest of them goes before its time.
    let other = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Proxy { name: format!("o{number}"), host: format!("10.1.{high}.{low}"), ..Proxy::default() }
    };
    rig.reload(|proxies| *proxies = proxies.drain(1..).chain((0..5_000).map(other)).collect());
    rig.passes(1_000);
    rig.reload(|proxies| proxies.truncate(1));
    let mut told = shown(&rig.passes(2_000));
    told.sort();
    assert_eq!(told, ["503 to #7", "INVITE to #102"]);
    assert_eq!(rig.switch.poll_hang_up(rig.now), Some(ConnId(1)));
}

#[test]
fn a_copy_of_a_request_inside_a_dialog_is_absorbed_though_the_settings_have_lost_its_server_meanwhile() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    let bye = request("BYE", BY_UDP, 2, &routes, ";tag=s");
    let sent = one(rig.udp(&bye));
    assert_eq!(sent.shown(), "BYE to #1");
    rig.reload(|proxies| proxies.retain(|proxy| proxy.name == "b"));
    assert_eq!(rig.udp(&bye), [], "its server answers it");
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
    let other = one(rig.udp(&request("INFO", BY_UDP, 3, &routes, ";tag=s")));
    assert_eq!(other.shown(), "480 to 198.51.100.7:4711");
}

//! Call agents that mean no good, or cannot do better.

use super::*;

#[test]
fn a_flood_of_endpoints_is_bounded_and_room_comes_back() {
    let mut rig = Rig::with(Limits { endpoints: 50, connections: 60, ..Limits::default() });
    for number in 1..=200 {
        let answer = rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n"));
        assert_eq!(code(&answer), if number <= 50 { 200 } else { 410 });
    }
    assert_eq!(code(&rig.send(&format!("CRCX 300 {} MGCP 1.0\r\nC: 1\r\nM: inactive\r\n", name("ann", 1)))), 200);
    assert_eq!(code(&rig.send("DLCX 301 *@gw MGCP 1.0\r\n")), 250);
    rig.check_empty();
    rig.create("ann", 302);
}

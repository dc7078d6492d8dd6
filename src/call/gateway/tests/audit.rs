//! AUEP, AUCX, EPCF (RFC 3435 §2.3.10, §2.3.11, §2.3.2; F.8, F.9).

use super::*;

#[test]
fn f_8_all_endpoints_are_listed() {
    let mut rig = Rig::new();
    assert_eq!(rig.send("AUEP 1200 *@gw MGCP 1.0\r\n"), "200 1200 OK\r\n");
    (1..=2).for_each(|number| drop(rig.create("ann", number)));
    rig.create("cnf", 3);
    let listed = |answer: &str| -> Vec<String> {
        let params = response(answer).params().filter(|param| param.field() == Some(Field::SpecificEndpointId));
        params.map(|param| String::from_utf8_lossy(param.value).into_owned()).collect()
    };
    let all = rig.send("AUEP 1201 *@gw MGCP 1.0\r\n");
    assert_eq!(listed(&all), [name("ann", 1), name("ann", 2), name("cnf", 3)]);
    assert_eq!(listed(&rig.send("AUEP 1202 ann/*@gw MGCP 1.0\r\n")), [name("ann", 1), name("ann", 2)]);
    assert_eq!(
        listed(&rig.send(&format!("AUEP 1203 */{TOKEN}/[2-9]@gw MGCP 1.0\r\n"))),
        [name("ann", 2), name("cnf", 3)]
    );
    assert_eq!(listed(&rig.send("AUEP 1204 */other/*@gw MGCP 1.0\r\n")), [""; 0]);
    let part = rig.send("AUEP 1205 *@gw MGCP 1.0\r\nZM: 2\r\n");
    assert_eq!(listed(&part), [name("ann", 1), name("ann", 2)]);
    assert_eq!(response(&part).extension(b"ZN"), Some(&b"3"[..]));
    let rest = rig.send(&format!("AUEP 1206 *@gw MGCP 1.0\r\nZM: 2\r\nZ: {}\r\n", name("ann", 2)));
    assert_eq!(listed(&rest), [name("cnf", 3)]);
    // The list of all workers goes on after another worker's endpoint, in the order of their tokens.
    let behind = rig.send("AUEP 1207 *@gw MGCP 1.0\r\nZM: 9\r\nZ: ann/PM0123456789abcdee/77@gw\r\n");
    assert_eq!(listed(&behind).len(), 3);
    let told = rig.send("AUEP 1208 *@gw MGCP 1.0\r\nZM: 9\r\nZ: ann/pm0123456789abcdeg/1@gw\r\n");
    assert_eq!((listed(&told).len(), response(&told).extension(b"ZN")), (0, Some(&b"3"[..])));
    assert_eq!(code(&rig.send("AUEP 1209 *@gw MGCP 1.0\r\nZM: 9\r\nZ: ann/1@gw\r\n")), 500);
}

#[test]
fn f_8_capabilities_are_those_of_this_gateway() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let answer = rig.send(&format!("AUEP 1201 {endpoint} MGCP 1.0\r\nF: A,B,I,MD,RM,RD,E,PL\r\n"));
    let capabilities = param(&answer, Field::Capabilities);
    assert!(
        capabilities.starts_with("a:PCMU;PCMA;telephone-event, p:10-200, e:off, s:off, nt:IN, v:"),
        "{capabilities}"
    );
    let modes = "m:sendonly;recvonly;sendrecv;inactive;loopback;conttest;netwloop;netwtest";
    assert!(capabilities.ends_with(modes), "{capabilities}");
    assert_eq!(param(&answer, Field::BearerInformation), "e:mu");
    assert_eq!(param(&answer, Field::ConnectionId), connection);
    assert_eq!(param(&answer, Field::MaxDatagram), "65535");
    assert_eq!(
        (param(&answer, Field::RestartMethod), param(&answer, Field::RestartDelay)),
        ("restart".into(), "0".into())
    );
    assert_eq!(param(&answer, Field::ReasonCode), "000 Endpoint state is nominal");
}

#[test]
fn each_fault_of_an_audit_has_its_code() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let table = [
        ("AUEP 10 ann/1@gw MGCP 1.0\r\n".to_owned(), 500),
        ("AUEP 11 $@gw MGCP 1.0\r\n".to_owned(), 500),
        ("AUEP 12 *@gw MGCP 1.0\r\nF: A\r\n".to_owned(), 503),
        (format!("AUEP 13 {endpoint} MGCP 1.0\r\nF: QQ\r\n"), 539),
        (format!("AUEP 14 {endpoint} MGCP 1.0\r\nF: M\r\n"), 539),
        (format!("AUEP 15 {endpoint} MGCP 1.0\r\nF: X+Y\r\n"), 511),
        (format!("AUEP 16 {endpoint} MGCP 1.0\r\nF: X-Y\r\n"), 200),
        ("AUEP 17 *@gw MGCP 1.0\r\nZM: -1\r\n".to_owned(), 510),
        (format!("AUCX 20 {endpoint} MGCP 1.0\r\nF: C\r\n"), 510),
        (format!("AUCX 21 {endpoint} MGCP 1.0\r\nI: 1\r\nF: C\r\n"), 515),
        (format!("AUCX 22 *@gw MGCP 1.0\r\nI: {connection}\r\nF: C\r\n"), 500),
        (format!("AUCX 23 {endpoint} MGCP 1.0\r\nI: {connection}\r\nF: A\r\n"), 539),
        (format!("AUCX 24 {endpoint} MGCP 1.0\r\nI: {connection}\r\nC: 1\r\n"), 539),
        (format!("AUCX 25 {endpoint} MGCP 1.0\r\nI: {connection}\r\n"), 200),
        (format!("EPCF 30 {endpoint} MGCP 1.0\r\n"), 510),
        (format!("EPCF 31 {endpoint} MGCP 1.0\r\nB: e:x\r\n"), 539),
        ("EPCF 32 ann/7@gw MGCP 1.0\r\nB: e:A\r\n".to_owned(), 500),
        ("EPCF 33 $@gw MGCP 1.0\r\nB: e:A\r\n".to_owned(), 500),
        (format!("RQNT 40 {} MGCP 1.0\r\nX: 1\r\n", name("ann", 2)), 500),
        ("RQNT 41 ann/$@gw MGCP 1.0\r\nX: 1\r\n".to_owned(), 500),
        ("RSIP 50 *@gw MGCP 1.0\r\nRM: restart\r\n".to_owned(), 504),
        ("MESG 51 *@gw MGCP 1.0\r\n".to_owned(), 504),
        ("FOOO 52 *@gw MGCP 1.0\r\n".to_owned(), 504),
        ("AUEP 53 *@gw MGCP 1.1\r\n".to_owned(), 528),
        ("AUEP 54 *@gw\r\n".to_owned(), 510),
        ("AUEP 55 gw MGCP 1.0\r\n".to_owned(), 510),
        ("AUEP 56 *@gw MGCP 1.0\r\nno parameter\r\n".to_owned(), 510),
        ("AUEP 57 *@gw MGCP 1.0 NCS 1.0\r\n".to_owned(), 200),
    ];
    for (command, wanted) in table {
        assert_eq!(code(&rig.send(&command)), wanted, "{command}");
    }
}

#[test]
fn f_9_a_connection_tells_what_it_is() {
    let mut rig = Rig::new();
    rig.counters = Counters { packets_sent: 395, octets_sent: 22_850, ..Counters::default() };
    let crcx =
        format!("CRCX 1 ann/$@gw MGCP 1.0\r\nC: A3C47F21456789F0\r\nL: p:10, a:PCMU\r\nM: sendrecv\r\n\r\n{SDP}");
    let created = rig.send(&crcx);
    let endpoint = name("ann", 1);
    let answer = rig.send(&format!("AUCX 2003 {endpoint} MGCP 1.0\r\nI: {}\r\nF: C,N,L,M,LC,P\r\n", id(1)));
    assert_eq!(param(&answer, Field::CallId), "A3C47F21456789F0");
    assert_eq!(param(&answer, Field::LocalConnectionOptions), "p:10, a:PCMU");
    assert_eq!(param(&answer, Field::ConnectionMode), "sendrecv");
    assert_eq!(param(&answer, Field::ConnectionParameters), "PS=395, OS=22850, PR=0, OR=0, PL=0, JI=0, LA=0");
    assert_eq!(descriptions(&answer), descriptions(&created));
    let both = rig.send(&format!("AUCX 2004 {endpoint} MGCP 1.0\r\nI: {}\r\nF: RC,LC\r\n", id(1)));
    assert_eq!(descriptions(&both), [descriptions(&created)[0].clone(), SDP.to_owned()]);
}

#[test]
fn f_9_an_unknown_description_is_a_version_alone() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let answer = rig.send(&format!("AUCX 1203 {endpoint} MGCP 1.0\r\nI: {connection}\r\nF: RC,LC\r\n"));
    assert_eq!(descriptions(&answer)[1], "v=0\r\n");
}

#[test]
fn the_encoding_of_an_endpoint_chooses_the_first_codec() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("ann", 1);
    rig.create("ann", 2);
    assert_eq!(rig.send(&format!("EPCF 3 {endpoint} MGCP 1.0\r\nB: e:A\r\n")), "200 3 OK\r\n");
    let answer = rig.send(&format!("CRCX 4 {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n"));
    assert_eq!(line(&descriptions(&answer)[0], "m="), "m=audio 20004 RTP/AVP 8 0 101");
    assert_eq!(code(&rig.send("EPCF 5 *@gw MGCP 1.0\r\nB: e:A\r\n")), 200);
    let audit = rig.send(&format!("AUEP 6 {} MGCP 1.0\r\nF: B\r\n", name("ann", 2)));
    assert_eq!(param(&audit, Field::BearerInformation), "e:A");
    let mdcx = format!("MDCX 7 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {}\r\nB: e:mu\r\n", id(1));
    assert_eq!(code(&rig.send(&mdcx)), 200);
    let audit = rig.send(&format!("AUEP 8 {endpoint} MGCP 1.0\r\nF: B\r\n"));
    assert_eq!(param(&audit, Field::BearerInformation), "e:mu");
}

//! The rules of RFC 3435 §2.3.3 and §4.4.1, one test each.

use super::package::Package;
use super::quarantine::{CAPACITY, Notice, NotificationState, Watch};
use super::request::{Action, NotificationRequest, RequestParams, Scope};
use super::seen::Seen;
use crate::call::gateway::kind::Kind;
use crate::wire::mgcp::ReturnCode as Code;

mod machine;
mod notifications;

const CONNECTION: &[u8] = b"0A3F58";

fn scope(kind: Kind) -> Scope<'static> {
    Scope {
        default: Package::default_of(kind),
        this: true,
        knows: &|id| id.eq_ignore_ascii_case(CONNECTION),
        has_digit_map: false,
    }
}

fn read(asked: RequestParams<'_>) -> Result<NotificationRequest, Code> {
    NotificationRequest::read(&asked, scope(Kind::Bridge)).map(Option::unwrap)
}

fn asked<'a>(requested: &'a str) -> RequestParams<'a> {
    RequestParams { id: Some(b"1A"), requested: Some(requested.as_bytes()), ..RequestParams::default() }
}

fn code_of(requested: &str) -> u16 {
    read(asked(requested)).err().map_or(200, |code| code.0)
}

fn signal_code(kind: Kind, signals: &str) -> u16 {
    let asked = RequestParams { id: Some(b"1"), signals: Some(signals.as_bytes()), ..RequestParams::default() };
    NotificationRequest::read(&asked, scope(kind)).err().map_or(200, |code| code.0)
}

fn seen(name: &str) -> Seen {
    let (package, event) = name.split_once('/').unwrap();
    let connection = (package == "R" && event == "ma").then_some(CONNECTION);
    Seen::named(package, event, connection, b"").unwrap()
}

fn names(notice: Option<Notice>) -> Option<String> {
    let write = |seen: &Seen| {
        let mut out = Vec::new();
        seen.write(&mut out);
        String::from_utf8(out).unwrap()
    };
    notice.map(|notice| notice.observed.iter().map(write).collect::<Vec<_>>().join(","))
}

#[test]
fn the_codes_of_events_say_whether_package_or_event_is_unknown_or_not_detectable() {
    for (requested, code) in [
        ("R/ma", 200),
        ("r/MA(n)", 200),
        ("R/ma(N),G/oc(N), G/of(A)", 200),
        ("oc", 200),
        ("R/all", 200),
        ("D/all", 512),
        ("*/all", 200),
        ("", 200),
        ("FXR/gwfax", 518),
        ("L/hd(N)", 518),
        ("R/hd", 522),
        ("G/rt", 522),
        ("D/1", 512),
        ("D/[0-9#*T](N)", 512),
        ("D/[0-9Z](N)", 512),
        ("D/[Z](N)", 522),
        ("G/ft", 512),
        ("R/pl", 538),
        ("R/pl(N)(10)", 200),
        ("R/pl(N)(0)", 538),
        ("R/pl(N)(100001)", 538),
        ("R/rto", 200),
        ("R/rto@0A3F58(N)(120,st=im)", 200),
        ("R/rto(N)(st=ra)", 200),
        ("R/rto(N)(0)", 538),
        ("R/rto(N)(65536)", 538),
        ("R/rto(N)(5,st=xx)", 538),
        ("R/rto(N)(5,6)", 538),
        // No media here sees ICMP; the parameters are judged all the same.
        ("R/iu(N)(5)", 512),
        ("R/iu", 512),
        ("R/iu(N)(256)", 538),
        ("hd", 522),
        ("R/ma(N)(20)", 538),
        ("R/", 510),
        ("R/ma(N", 510),
        ("R/ma,,G/oc", 510),
        ("D/[](N)", 510),
        ("D/[9-0](N)", 522),
    ] {
        assert_eq!(code_of(requested), code, "R: {requested}");
    }
}

#[test]
fn an_event_on_a_connection_that_the_endpoint_does_not_have_is_515() {
    assert_eq!(code_of("R/ma@0a3f58(N)"), 200);
    assert_eq!(code_of("R/ma@*"), 200);
    assert_eq!(code_of("R/ma@$"), 200);
    assert_eq!(code_of("R/ma@FFFF"), 515);
    let rqnt = Scope { this: false, ..scope(Kind::Bridge) };
    assert_eq!(NotificationRequest::read(&asked("R/ma@$"), rqnt).unwrap_err(), Code::INCORRECT_CONNECTION);
}

#[test]
fn the_codes_of_signals_say_what_is_unknown_and_what_cannot_be_played() {
    for (kind, signals, code) in [
        (Kind::Bridge, "", 200),
        (Kind::Bridge, "G/rt", 513),
        (Kind::Bridge, "G/rt(to=5000)", 513),
        (Kind::Bridge, "G/rbk@0A3F58", 513),
        (Kind::Bridge, "D/5", 513),
        (Kind::Bridge, "D/[0-9]", 513),
        (Kind::Bridge, "rt", 513),
        (Kind::Bridge, "G/ft", 522),
        (Kind::Bridge, "G/nosuch", 522),
        (Kind::Bridge, "L/rg", 518),
        (Kind::Bridge, "A/ann(http://ms/hello.wav)", 514),
        (Kind::Announcement, "ann(http://ms/hello,world.wav)", 514),
        (Kind::Ivr, "BAU/pa(an=1)", 514),
        (Kind::Ivr, "pc(ip=1 mx=4)", 514),
        (Kind::Ivr, "aau/pr", 514),
        (Kind::Bridge, "G/rt(", 510),
    ] {
        assert_eq!(signal_code(kind, signals), code, "S: {signals}");
    }
}

#[test]
fn unknown_actions_and_those_that_exclude_each_other_are_523() {
    for (actions, code) in [
        ("N", 200),
        ("A", 200),
        ("I", 200),
        ("K", 200),
        ("N,K", 200),
        ("a, k", 200),
        ("K,I", 200),
        ("E(R(R/ma))", 200),
        ("A,E(R(R/ma(N)),S())", 200),
        ("K,A,E(S(),R(G/oc),D([0-9].))", 200),
        ("", 200),
        ("N,A", 523),
        ("N,I", 523),
        ("N,N", 523),
        ("K,K", 523),
        ("A,I", 523),
        ("N,E(R(R/ma))", 523),
        ("I,E(R(R/ma))", 523),
        ("E(R(R/ma(E(R(G/oc)))))", 523),
        ("S", 523),
        ("C(M(sendrecv(0A3F58)))", 523),
        ("Y", 523),
        ("NN", 523),
        ("N(1)", 510),
        ("E", 510),
        ("D", 519),
        ("A,E(R(R/zz))", 522),
        ("A,E(S(G/rt))", 513),
        ("A,E(D(zz))", 537),
        ("A,E(Q(loop))", 510),
        ("A,E(R(),R())", 510),
    ] {
        assert_eq!(code_of(&format!("G/oc({actions})")), code, "G/oc({actions})");
    }
}

#[test]
fn with_a_digit_map_accumulation_of_what_is_no_digit_is_523() {
    let asked = RequestParams { digit_map: Some(b"(0T|[1-7]xxx)"), ..asked("G/oc(D)") };
    assert_eq!(read(asked).unwrap_err(), Code::UNKNOWN_ACTION);
}

#[test]
fn quarantine_handling_is_process_and_step_unless_it_says_otherwise() {
    let text = |quarantine: &'static str| {
        let asked = RequestParams { quarantine: Some(quarantine.as_bytes()), ..asked("") };
        read(asked).map(|request| request.quarantine.to_string()).map_err(|code| code.0)
    };
    assert_eq!(text(""), Ok("step, process".into()));
    assert_eq!(text("loop"), Ok("loop, process".into()));
    assert_eq!(text("Discard"), Ok("step, discard".into()));
    assert_eq!(text("process, loop"), Ok("loop, process".into()));
    assert_eq!(text("loop,discard"), Ok("loop, discard".into()));
    assert_eq!(text("keep"), Err(508));
    assert_eq!(text("process,forever"), Err(508));
}

#[test]
fn a_request_needs_its_identifier_and_one_of_hexadecimal_digits() {
    let none = RequestParams { requested: Some(b"R/ma"), ..RequestParams::default() };
    assert_eq!(NotificationRequest::read(&none, scope(Kind::Bridge)).unwrap_err(), Code::PROTOCOL_ERROR);
    assert!(NotificationRequest::read(&RequestParams::default(), scope(Kind::Bridge)).unwrap().is_none());
    for (id, good) in [("0123456789AC", true), ("0", true), ("xyz", false), ("", false)] {
        assert_eq!(
            read(RequestParams { id: Some(id.as_bytes()), ..RequestParams::default() }).is_ok(),
            good,
            "X: {id}"
        );
    }
    let (longest, longer) = ("a".repeat(32), "a".repeat(33));
    assert!(read(RequestParams { id: Some(longest.as_bytes()), ..RequestParams::default() }).is_ok());
    assert!(read(RequestParams { id: Some(longer.as_bytes()), ..RequestParams::default() }).is_err());
}

#[test]
fn a_request_for_more_than_an_endpoint_keeps_is_502() {
    let events = |count| vec!["R/ma"; count].join(",");
    assert_eq!(code_of(&events(64)), 200);
    assert_eq!(code_of(&events(65)), 502);
    let embedded = |count| format!("G/oc(A,E(R({})))", events(count));
    assert_eq!(code_of(&embedded(63)), 200);
    assert_eq!(code_of(&embedded(64)), 502);
    let long =
        |count| read(RequestParams { digit_map: Some("1".repeat(count).as_bytes()), ..asked("R/ma,R/ma") }).is_ok();
    assert!(long(2_048));
    let connections = vec!["R/ma@0A3F58                                                     "; 64].join(",");
    assert_eq!(code_of(&connections), 502);
}

#[test]
fn without_actions_an_event_is_notified() {
    let request = read(asked("R/ma,G/oc(K),G/of(I),R/of()")).unwrap();
    let actions: Vec<Action> = request.requested.events.iter().map(|event| event.action).collect();
    assert_eq!(actions, [Action::Notify, Action::Notify, Action::Ignore, Action::Notify]);
}

#[test]
fn digit_maps_are_read_as_rfc_3435_section_2_1_5_writes_them() {
    let code = |text: &str| {
        let asked = RequestParams { digit_map: Some(text.as_bytes()), ..asked("") };
        read(asked).err().map_or(200, |code| code.0)
    };
    for good in [
        "(0T|00T|#xxxxxxx|*xx|91xxxxxxxxxx|9011x.T)",
        "5xxx",
        "([1-7]xxx|8xxxxxxx)",
        "(0T| 00T |[1-7]xxx)",
        "(xx.T)",
        "([0-9A-D#*T].)",
    ] {
        assert_eq!(code(good), 200, "{good}");
    }
    for (bad, expected) in
        [("(", 510), ("()", 510), ("(1|)", 510), (".1", 510), ("[1-", 510), ("(1!)", 510), ("P1", 537), ("[1g]", 537)]
    {
        assert_eq!(code(bad), expected, "{bad}");
    }
    assert_eq!(code(&"x".repeat(2_048)), 200);
    assert_eq!(code(&"x".repeat(2_049)), 510);
}

#[test]
fn capabilities_name_the_packages_that_work() {
    let names: Vec<_> = Package::all_offered().map(|package| package.name).collect();
    assert_eq!(names, ["G", "R"]);
}

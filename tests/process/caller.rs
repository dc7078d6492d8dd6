//! The load generator itself, against an answering machine of a few lines: its counts must be right before they can
//! say anything about others.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Routing, Sizes, Until};
use crate::support::own_address;
use crate::support::phone::Received;

/// Answers INVITE with 100, 180 and a status of its choice, everything else but ACK with 200.
struct AnsweringMachine {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Received>>>,
}

#[derive(Clone, Copy)]
struct Manner {
    status: u16,
    loses_first_copy: bool,
    record_route: bool,
}

const POLITE: Manner = Manner { status: 200, loses_first_copy: false, record_route: false };

impl AnsweringMachine {
    fn new(manner: Manner) -> Self {
        let socket = UdpSocket::bind((own_address(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        // The default holds a few hundred datagrams: fewer than a window of calls can send.
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || answer(&socket, manner, &told));
        AnsweringMachine { address, stop, thread: Some(thread) }
    }

    /// All requests that came, in their order.
    fn received(mut self) -> Vec<Received> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }

    fn plan(&self, calls: u64) -> Plan {
        Plan { until: Until::Calls(calls), ..Plan::new(self.address) }
    }
}

fn answer(socket: &UdpSocket, manner: Manner, stop: &AtomicBool) -> Vec<Received> {
    let address = socket.local_addr().unwrap();
    let mut buffer = vec![0; 65_536];
    let (mut log, mut seen) = (Vec::new(), HashSet::new());
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let request = Received { text: String::from_utf8_lossy(&buffer[..length]).into_owned(), from };
        log.push(request.clone());
        let first = seen.insert(request.header("Via").unwrap_or_default().to_owned());
        if request.method() == "ACK" || (manner.loses_first_copy && first) {
            continue;
        }
        let statuses = if request.method() == "INVITE" { vec![100, 180, manner.status] } else { vec![200] };
        for status in statuses {
            let mut reply = format!("SIP/2.0 {status} Whatever\r\n");
            for name in ["Via", "From", "Call-ID", "CSeq"] {
                reply.push_str(&format!("{name}: {}\r\n", request.header(name).unwrap_or_default()));
            }
            let to = request.header("To").unwrap_or_default();
            let tag = if to.contains("tag=") { "" } else { ";tag=machine" };
            reply.push_str(&format!("To: {to}{tag}\r\nContact: <sip:machine@{address};x=1>\r\n"));
            if manner.record_route {
                reply.push_str(&format!("Record-Route: <sip:{address};lr>\r\n"));
            }
            reply.push_str("Content-Length: 0\r\n\r\n");
            socket.send_to(reply.as_bytes(), from).unwrap();
        }
    }
    log
}

fn count(log: &[Received], method: &str) -> usize {
    log.iter().filter(|request| request.method() == method).count()
}

#[test]
fn a_full_call_is_invite_ack_and_bye_to_the_address_in_contact() {
    let machine = AnsweringMachine::new(POLITE);
    let mut generator = Generator::new(Plan { sizes: Sizes::Fixed(7), ..machine.plan(1000) }).unwrap();
    let outcome = generator.run().clone();
    assert_eq!((outcome.started, outcome.answered, outcome.completed), (1000, 1000, 1000));
    assert_eq!(outcome.failures.len(), 0, "{:?}", outcome.failures);
    assert_eq!((outcome.from_elsewhere, outcome.strangers, outcome.latency.len()), (0, 0, 1000));
    let log = machine.received();
    assert_eq!((count(&log, "ACK"), count(&log, "BYE")), (1000, 1000));
    let invite = &log[0];
    assert_eq!(invite.text.len(), 956);
    assert_eq!(invite.header("X-Session-Size"), Some("7"));
    assert_eq!(invite.header("Content-Length"), Some(invite.body().len().to_string().as_str()));
    let bye = log.iter().find(|request| request.method() == "BYE").unwrap();
    assert!(bye.start_line().starts_with("BYE sip:machine@") && bye.start_line().contains(";x=1 "), "{}", bye.text);
    assert_eq!((bye.header("CSeq"), bye.to_tag()), (Some("2 BYE"), "machine"));
}

#[test]
fn lost_requests_are_sent_again_and_counted() {
    let machine = AnsweringMachine::new(Manner { loses_first_copy: true, ..POLITE });
    let t1 = Duration::from_millis(250);
    let mut generator = Generator::new(Plan { t1, ..machine.plan(20) }).unwrap();
    let outcome = generator.run();
    assert_eq!((outcome.completed, outcome.invites_again, outcome.byes_again), (20, 20, 20));
    assert_eq!(outcome.invites_sent, 40);
    assert!(outcome.latency.min() >= 249_000, "the first copy was lost: {} µs", outcome.latency.min());
}

#[test]
fn a_refused_invite_is_acknowledged_on_its_own_branch_and_counted_by_status() {
    let machine = AnsweringMachine::new(Manner { status: 503, ..POLITE });
    let mut generator = Generator::new(machine.plan(10)).unwrap();
    let outcome = generator.run().clone();
    assert_eq!((outcome.answered, outcome.failed("INVITE"), outcome.failures["INVITE 503"]), (0, 10, 10));
    let log = machine.received();
    let branch = |request: &Received| request.header("Via").unwrap_or_default().to_owned();
    let branches = |method| log.iter().filter(|request| request.method() == method).map(branch).collect::<HashSet<_>>();
    assert_eq!(branches("ACK").len(), 10);
    assert_eq!(branches("ACK"), branches("INVITE"));
}

#[test]
fn nothing_at_the_far_end_is_a_failure_after_64_times_t1() {
    let nobody = UdpSocket::bind((own_address(), 0)).unwrap();
    let plan = Plan::new(nobody.local_addr().unwrap());
    let mut generator = Generator::new(Plan { until: Until::Calls(3), t1: Duration::from_millis(8), ..plan }).unwrap();
    let outcome = generator.run();
    assert_eq!(outcome.failures["INVITE without a final response"], 3);
    // RFC 3261 §17.1.1.2: seven copies, at 0, 1, 3, 7, 15, 31 and 63 times T1.
    assert_eq!(outcome.invites_sent, 21);
    assert!(outcome.elapsed >= Duration::from_millis(512), "{:?}", outcome.elapsed);
}

#[test]
fn a_fixed_rate_does_not_depend_on_the_answers() {
    let machine = AnsweringMachine::new(POLITE);
    let plan = Plan { pace: Pace::Rate(400.0), ..machine.plan(200) };
    let mut generator = Generator::new(plan).unwrap();
    let outcome = generator.run();
    assert_eq!(outcome.completed, 200);
    assert!(outcome.elapsed >= Duration::from_millis(490), "{:?}", outcome.elapsed);
}

#[test]
fn byes_can_be_held_back_to_a_rate() {
    let machine = AnsweringMachine::new(POLITE);
    let mut generator = Generator::new(Plan { byes_per_second: Some(100.0), ..machine.plan(30) }).unwrap();
    let outcome = generator.run();
    assert_eq!(outcome.completed, 30);
    assert!(outcome.elapsed >= Duration::from_millis(290), "{:?}", outcome.elapsed);
}

#[test]
fn a_record_route_is_followed_and_held_calls_stand_until_they_are_hung_up() {
    let machine = AnsweringMachine::new(Manner { record_route: true, ..POLITE });
    let mut generator = Generator::new(Plan { hold: None, inactive: true, ..machine.plan(50) }).unwrap();
    generator.run();
    assert_eq!((generator.established(), generator.outcome().byes_sent), (50, 0));
    assert_eq!(generator.hang_up().completed, 50);
    let log = machine.received();
    let bye = log.iter().find(|request| request.method() == "BYE").unwrap();
    assert!(bye.header("Route").is_some_and(|route| route.ends_with(";lr>")), "{}", bye.text);
    assert!(log[0].body().contains("a=inactive"));
}

#[test]
fn with_a_fixed_outbound_proxy_everything_goes_to_the_target() {
    let machine = AnsweringMachine::new(POLITE);
    let mut generator = Generator::new(Plan { routing: Routing::Target, ..machine.plan(5) }).unwrap();
    assert_eq!(generator.run().completed, 5);
}

#[test]
fn heavy_tailed_sizes_are_the_same_for_the_same_seed_and_mostly_small() {
    use crate::generator::sizes::{LARGEST, SizeStream};
    let draw = |seed| {
        let mut stream = SizeStream::new(Sizes::HeavyTailed { seed });
        (0..10_000).map(|_| stream.draw().unwrap()).collect::<Vec<_>>()
    };
    let sizes = draw(1);
    assert_eq!(sizes, draw(1));
    assert_ne!(sizes, draw(2));
    assert!(sizes.iter().all(|&size| (1..=LARGEST).contains(&size)));
    assert!(sizes.iter().filter(|&&size| size <= 2).count() > 6_000);
    assert!(sizes.iter().any(|&size| size > 80));
}

#[test]
fn a_second_loopback_address_is_another_one() {
    let addresses: HashSet<IpAddr> = (0..60).map(|_| own_address().into()).collect();
    assert_eq!(addresses.len(), 60);
}

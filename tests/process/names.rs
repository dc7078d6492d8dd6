//! Names in routes and Contacts: the answers of the system's files and name servers are heeded. Their silence about a
//! name costs only the peers that use that name.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::support::phone::Phone;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, own_address, pass_over_outside_ci, wait_for};

#[test]
fn a_bye_to_a_route_that_is_a_name_of_this_host_arrives_there() {
    let pointsman = Setup::new(1).start();
    let (phone, proxy) = (Phone::new(pointsman.address().ip()), Phone::new(Ipv4Addr::LOCALHOST.into()));
    let route = format!("<sip:localhost:{};lr>", proxy.address().port());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    let bye = proxy.expect("our BYE", |message| message.method() == "BYE");
    proxy.answer(&bye, 200);
}

/// A name server that knows one domain and is silent about all others. It ends with this value.
struct NameServer {
    /// A `resolv.conf` that names it.
    file: NamedTempFile,
    is_over: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
    /// The number of unanswered queries that had come before the last answered one.
    unanswered_before: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// The one domain, as a query spells it.
const KNOWN: &[u8] = b"\x07example\x03net\0";
/// The length of a message's head (RFC 1035 §4.1.1).
const HEAD: usize = 12;

impl NameServer {
    /// All names of `example.net` are at `places`. `None` where we may not answer at port 53 or say who does: the
    /// test is passed over then, and with CI set it fails.
    fn start(places: &[Ipv4Addr]) -> Option<Self> {
        let socket = name_server_socket()?;
        let places = places.to_vec();
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout above zero");
        let (is_over, unanswered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let server = socket.local_addr().expect("a bound socket has an address");
        let (over, silent) = (Arc::clone(&is_over), Arc::clone(&unanswered));
        let unanswered_before = Arc::new(AtomicU64::new(0));
        let before = Arc::clone(&unanswered_before);
        let serve = move || {
            let mut buffer = [0; 1_024];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                match answer(&buffer[..length], &places) {
                    Some(said) => {
                        before.store(silent.load(Ordering::Relaxed), Ordering::Relaxed);
                        drop(socket.send_to(&said, from));
                    }
                    None => drop(silent.fetch_add(1, Ordering::Relaxed)),
                }
            }
        };
        let thread = Some(thread::spawn(serve));
        let file = NamedTempFile::new().expect("a temporary file");
        let text = format!("nameserver {}\noptions timeout:5 attempts:5\n", server.ip());
        fs::write(&file, text).expect("a file of ours");
        Some(NameServer { file, is_over, unanswered, unanswered_before, thread })
    }

    /// A dispatcher with one worker that asks it.
    fn asked_by_one_worker(&self) -> Setup {
        Setup { resolv_conf: Some(self.file.path().to_owned()), ..Setup::new(1) }
    }
}

/// A socket for a name server of a dispatcher's own; `None`, and the test is passed over, where there can be none.
#[track_caller]
pub fn name_server_socket() -> Option<UdpSocket> {
    // Root in a container may lack the right to mount.
    let may_mount = || Command::new("unshare").args(["--mount", "test", "-e", "/etc/resolv.conf"]).status();
    if !nix::unistd::getuid().is_root() || !may_mount().is_ok_and(|status| status.success()) {
        pass_over_outside_ci("only root may be a name server, with a resolv.conf to mount over");
        return None;
    }
    let socket = UdpSocket::bind((own_address(), 53));
    if socket.is_err() {
        pass_over_outside_ci("somebody else has port 53 of all addresses");
    }
    socket.ok()
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The answer to a query for a name of the known domain: A records, or none of another kind.
fn answer(query: &[u8], places: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let name = query.get(HEAD..)?.windows(KNOWN.len()).position(|window| window == KNOWN)?;
    let end = HEAD + name + KNOWN.len();
    let is_for_a = query.get(end..end + 2)? == [0, 1];
    let mut said = query.get(..end + 4)?.to_vec();
    // A response, one question, and nothing in the other sections.
    said[2] |= 0x80;
    said[6..HEAD].fill(0);
    if is_for_a {
        said[7] = places.len() as u8;
        for place in places {
            said.extend([0xc0, HEAD as u8, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            said.extend(place.octets());
        }
    }
    Some(said)
}

/// Number of strangers, and of calls of each: their names want more than may be asked at the same time.
const STRANGERS: usize = 6;
const CALLS: usize = 40;
/// Queries that a worker has under way at most.
const AT_ONCE: u64 = 64;
/// Calls whose far end can be found.
const HONEST: usize = 20;

#[test]
fn byes_to_names_that_a_name_server_knows_arrive_while_strangers_name_what_it_is_silent_about() {
    let place = own_address();
    let Some(server) = NameServer::start(&[place]) else { return };
    let honest = Phone::new(place.into());
    let pointsman = server.asked_by_one_worker().with(["--drain-after", "1s"]).start();
    let target = pointsman.address();
    let call = |phone: &Phone, contact: String| {
        let mut invite = phone.invite(target, None);
        invite.contact = Some(contact);
        phone.call(&invite, target);
        invite.call_id
    };
    for stranger in 0..STRANGERS {
        let phone = Phone::new(own_address().into());
        for number in 0..CALLS {
            call(&phone, format!("sip:a@s{number}.slow{stranger}-{number}.example:5060"));
        }
    }
    let port = honest.address().port();
    let mut open: BTreeSet<String> =
        (0..HONEST).map(|number| call(&honest, format!("sip:as@as{number}.example.net:{port}"))).collect();
    // All calls are ended by the worker at the same moment, and those of the strangers are the older ones.
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    let begin = Instant::now();
    let mut first = None;
    while !open.is_empty() {
        assert!(begin.elapsed() < DEADLINE, "{} of {HONEST} BYEs did not come", open.len());
        let Some(bye) = honest.receive(Duration::from_millis(100)).filter(|it| it.method() == "BYE") else { continue };
        first = first.or(Some(begin.elapsed()));
        honest.answer(&bye, 200);
        open.remove(bye.header("Call-ID").unwrap_or_default());
    }
    // Not those of now: a slow phone is none of the worker's doing.
    let unanswered = server.unanswered_before.load(Ordering::Relaxed);
    println!("{HONEST} BYEs after {first:?} to {:?}; {unanswered} queries unanswered", begin.elapsed());
    assert!(server.unanswered.load(Ordering::Relaxed) > 0, "the server was not asked for the strangers' names");
    assert!(unanswered <= AT_ONCE, "the honest waited until the worker had asked again: {unanswered} queries");
}

#[test]
fn a_bye_that_one_place_of_a_name_answers_with_503_goes_to_the_next() {
    let (busy, idle) = (own_address(), own_address());
    let Some(server) = NameServer::start(&[busy, idle]) else { return };
    let pointsman = server.asked_by_one_worker().with(["--stop-after", "30s"]).start();
    let (phone, busy) = (Phone::new(pointsman.address().ip()), Phone::new(busy.into()));
    let idle = Phone::at(SocketAddr::new(idle.into(), busy.address().port()));
    let route = format!("<sip:proxy.example.net:{};lr>", busy.address().port());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    let first = busy.expect("our BYE", |message| message.method() == "BYE");
    busy.answer(&first, 503);
    let second = idle.expect("our BYE at the next place", |message| message.method() == "BYE");
    idle.answer(&second, 200);
    assert_eq!(second.header("CSeq"), first.header("CSeq"));
    assert_ne!(second.header("Via"), first.header("Via"));
}

#[test]
fn a_bye_to_a_name_goes_past_a_place_that_takes_no_connection() {
    let (gone, here) = (own_address(), own_address());
    let Some(server) = NameServer::start(&[gone, here]) else { return };
    let pointsman = server.asked_by_one_worker().with(["--stop-after", "30s"]).start();
    let listener = TcpListener::bind((here, 0)).unwrap();
    let phone = Phone::new(pointsman.address().ip());
    let route = format!("<sip:proxy.example.net:{};transport=tcp;lr>", listener.local_addr().unwrap().port());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    listener.set_nonblocking(true).unwrap();
    let (mut connection, _) = wait_for("a connection", DEADLINE, || listener.accept().ok());
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut word = [0; 4];
    connection.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"BYE ");
}

#[test]
fn a_bye_to_a_name_goes_past_a_place_that_no_route_leads_to() {
    // An address that no host has (RFC 5737), and that hosts without a default route do not send to.
    let (far, here) = (Ipv4Addr::new(203, 0, 113, 9), own_address());
    let phone = Phone::new(here.into());
    let try_it =
        UdpSocket::bind((here, 0)).expect("an address of our own").send_to(b"x", (far, phone.address().port()));
    if !try_it.is_err_and(|error| error.kind() == ErrorKind::NetworkUnreachable) {
        eprintln!("this host has a route to everywhere: not tried");
        return;
    }
    let Some(server) = NameServer::start(&[far, here]) else { return };
    let pointsman = server.asked_by_one_worker().with(["--stop-after", "30s"]).start();
    let route = format!("<sip:proxy.example.net:{};lr>", phone.address().port());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    let bye = phone.expect("our BYE", |message| message.method() == "BYE");
    phone.answer(&bye, 200);
}

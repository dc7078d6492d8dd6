//! Strangers on TCP connections to a worker's own port, and the calls that the worker has meanwhile.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pointsman::net::process::raise_descriptor_limit;
use socket2::{Domain, Socket, Type};

use crate::support::DEADLINE;
use crate::support::phone::Phone;
use crate::support::pointsman::Setup;

/// A worker with calls reports ten times a second; after 3 s without a report it counts as silent.
const REPORTS_WITHIN: Duration = Duration::from_millis(2_500);
/// Time for which the stranger goes on.
const FLOOD: Duration = Duration::from_secs(8);

/// Connections from one loopback address.
fn connections(from: Ipv4Addr, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        TcpStream::from(OwnedFd::from(socket))
    };
    (0..count).map(connect).collect()
}

/// Requests of a kind that is answered at once, one after the other.
fn pipelined(requests: usize) -> Vec<u8> {
    let request = |number| {
        format!(
            "OPTIONS sip:service@ms SIP/2.0\r\nv: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK{number}\r\nf: <sip:a@b>;tag=1\r\n\
             t: <sip:a@b>\r\ni: {number}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nl: 0\r\n\r\n"
        )
    };
    (0..requests).map(request).collect::<String>().into_bytes()
}

/// Sends as much as the connections take, and reads only as much as keeps them going, until it is over.
fn flood(mut connections: Vec<TcpStream>, over: &AtomicBool) {
    let (requests, mut answers) = (pipelined(200), vec![0; 1 << 16]);
    connections.iter().for_each(|connection| connection.set_nonblocking(true).unwrap());
    while !over.load(Ordering::Relaxed) {
        for connection in &mut connections {
            // A full buffer and a closed connection are what a flood meets.
            let _ = connection.write(&requests);
            let _ = connection.read(&mut answers);
        }
    }
}

#[test]
fn a_stranger_who_pipelines_requests_over_hundreds_of_connections_silences_no_worker() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    let strangers: Vec<TcpStream> =
        (0..8).flat_map(|last| connections(Ipv4Addr::new(127, 66, 0, 1 + last), dialog.target, 75)).collect();
    let over = AtomicBool::new(false);
    let worst = thread::scope(|scope| {
        scope.spawn(|| flood(strangers, &over));
        let (begin, mut worst) = (Instant::now(), 0);
        while begin.elapsed() < FLOOD {
            worst = worst.max(pointsman.worker_number(0, "report_age_ms"));
        }
        over.store(true, Ordering::Relaxed);
        worst
    });
    assert!(Duration::from_millis(worst) < REPORTS_WITHIN, "no report for {worst} ms");
    assert_eq!(pointsman.worker_number(0, "restarts"), 0);
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn a_request_whose_end_cannot_be_found_is_answered_by_the_worker_and_its_connection_is_closed() {
    let pointsman = Setup::new(1).start();
    let mut caller = TcpStream::connect(pointsman.worker_address(0)).unwrap();
    caller.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = String::from_utf8(pipelined(1)).unwrap().replace("l: 0\r\n", "");
    caller.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("SIP/2.0 400 ") && answer.contains("branch=z9hG4bK0"), "{answer}");
}

#[test]
fn thousands_of_idle_connections_of_one_host_close_neither_its_own_calls_nor_the_connections_of_others() {
    let pointsman = Setup::new(1).start();
    let count = (raise_descriptor_limit(5_000).unwrap() as usize - 500).min(4_200);
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    let (here, elsewhere) = (Ipv4Addr::new(127, 77, 0, 1), Ipv4Addr::new(127, 77, 0, 2));
    let mut carrying = connections(here, dialog.target, 1).remove(0);
    // The ACK once more: a message of the call makes the connection the call's.
    carrying.write_all(dialog.ack().text().as_bytes()).unwrap();
    let mut other = connections(elsewhere, dialog.target, 1).remove(0);
    assert_eq!(ping(&mut other).unwrap(), "\r\n");
    let mut idle = connections(here, dialog.target, count);
    assert_eq!(ping(idle.last_mut().unwrap()).unwrap(), "\r\n", "the last one is served");
    assert!(ping(&mut idle[0]).is_err(), "the most silent one has made room");
    assert_eq!(ping(&mut other).unwrap(), "\r\n");
    carrying.write_all(dialog.request("BYE", 1).text().as_bytes()).unwrap();
    carrying.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut start = [0; 11];
    carrying.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"SIP/2.0 200");
}

/// Sends a keepalive on a connection (RFC 5626 §4.4.1), and gives the answer.
fn ping(connection: &mut TcpStream) -> io::Result<String> {
    connection.set_read_timeout(Some(DEADLINE))?;
    connection.write_all(b"\r\n\r\n")?;
    let mut pong = [0; 2];
    connection.read_exact(&mut pong)?;
    Ok(String::from_utf8_lossy(&pong).into_owned())
}

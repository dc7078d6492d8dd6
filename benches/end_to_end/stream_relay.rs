//! The bare relay over TCP: the least that a process between two connections could do, as the measure for a proxy of
//! messages.
//!
//! Each connection that it accepts is joined to one that it opens to the next server, and bytes go both ways as they
//! come. It knows no messages, so that all calls of a connection go to one server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};

use crate::relay::{FIRST_SERVER, address};

/// Bytes read at a time.
const READ: usize = 65_536;

/// Relays between port 5060 and `servers` servers, all on the loopback address, until it is killed. It says `ready` on
/// stdout first.
pub fn run(words: &[String]) -> std::io::Result<()> {
    let servers = words.first().and_then(|word| word.parse().ok()).unwrap_or(1_u16);
    let listener = TcpListener::bind(address())?;
    println!("ready");
    std::io::stdout().flush()?;
    relay(&listener, servers)
}

fn relay(listener: &TcpListener, servers: u16) -> std::io::Result<()> {
    // The two connections of a pair stand side by side: the other one of `at` is `at ^ 1`.
    let mut connections: Vec<TcpStream> = Vec::new();
    let mut buffer = vec![0; READ];
    let mut next = 0;
    loop {
        let listening = std::iter::once(PollFd::new(listener, PollFlags::IN));
        let open = connections.iter().map(|connection| PollFd::new(connection, PollFlags::IN));
        let mut fds: Vec<_> = listening.chain(open).collect();
        poll(&mut fds, None)?;
        let readable: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = None;
        for (at, _) in readable[1..].iter().enumerate().filter(|(_, is_readable)| **is_readable) {
            match connections[at].read(&mut buffer) {
                Ok(length @ 1..) if connections[at ^ 1].write_all(&buffer[..length]).is_ok() => {}
                _ => ended = Some(at & !1),
            }
        }
        ended.into_iter().for_each(|pair| drop(connections.drain(pair..pair + 2)));
        if readable[0] {
            let (from, _) = listener.accept()?;
            next = (next + 1) % servers;
            let to = TcpStream::connect((Ipv4Addr::LOCALHOST, FIRST_SERVER + next))?;
            for connection in [from, to] {
                connection.set_nodelay(true)?;
                connections.push(connection);
            }
        }
    }
}

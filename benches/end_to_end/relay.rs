//! The bare relay: the least that a process on the way of requests and responses could do, as the measure for a proxy.
//!
//! It reads batches with `recvmmsg` and sends each with `sendmmsg`: a request goes to the next server as it came, a
//! response to the sender of the last request. Nothing is read but the first bytes, and nothing is changed.

use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use rustix::event::{PollFd, PollFlags, poll};

/// Messages read in one system call.
const BATCH: usize = 64;
const LARGEST: usize = 4_096;

/// The servers that it sends to, from this port on.
pub const FIRST_SERVER: u16 = 7_001;

/// Relays between port 5060 and `servers` servers, all on the loopback address, until it is killed. It says `ready` on
/// stdout first.
pub fn run(words: &[String]) -> std::io::Result<()> {
    let servers = words.first().and_then(|word| word.parse().ok()).unwrap_or(1_u16);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 5060))?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(8 << 20)?;
    options.set_send_buffer_size(4 << 20)?;
    println!("ready");
    std::io::stdout().flush()?;
    relay(&socket, servers)
}

fn relay(socket: &UdpSocket, servers: u16) -> std::io::Result<()> {
    let server = |at: u16| SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, FIRST_SERVER + at));
    let mut buffers = vec![vec![0_u8; LARGEST]; BATCH];
    let mut incoming = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut outgoing = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut arrived: Vec<(usize, Option<SockaddrIn>)> = Vec::with_capacity(BATCH);
    let mut destinations: Vec<Option<SockaddrIn>> = Vec::with_capacity(BATCH);
    let (mut client, mut next) = (None, 0);
    loop {
        arrived.clear();
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        match recvmmsg(socket.as_raw_fd(), &mut incoming, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(results) => arrived.extend(results.map(|result| (result.bytes, result.address))),
            Err(nix::errno::Errno::EAGAIN) => {
                poll(&mut [PollFd::new(socket, PollFlags::IN)], None)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        destinations.clear();
        for (buffer, (_, from)) in buffers.iter().zip(&arrived) {
            if buffer.starts_with(b"SIP/2.0 ") {
                destinations.push(client);
            } else {
                client = *from;
                next = (next + 1) % servers;
                destinations.push(Some(server(next)));
            }
        }
        let texts: Vec<_> =
            buffers.iter().zip(&arrived).map(|(buffer, (length, _))| [IoSlice::new(&buffer[..*length])]).collect();
        // A datagram that a full buffer does not take is lost, as anywhere.
        let _ = sendmmsg(socket.as_raw_fd(), &mut outgoing, &texts, &destinations, [], MsgFlags::empty());
    }
}

/// The address where it listens.
pub fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 5060).into()
}

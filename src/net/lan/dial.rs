//! A worker's way to a dispatcher on another host: connect, TLS handshake, `Hello`, and the dispatcher's first word.
//!
//! It waits, so that a worker that has calls does it on a thread.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Connection;
use crate::net::clock;
use crate::stream::TlsFault;
use crate::stream::tls::Tls;
use crate::time::Time;
use crate::wire::handoff::FRAME_HARD_LIMIT;

/// Longest time to connect, and then to the dispatcher's first word.
const WITHIN: Duration = Duration::from_secs(3);

/// A dispatcher on another host.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name or address; its certificate has to be made for it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The worker's certificate and the dispatcher's CA.
    pub tls: Arc<ClientConfig>,
}

/// The end of a try.
#[derive(Debug)]
pub struct Dialled {
    /// The link and the lane that it was for; `None` for a link that begins.
    pub of: Option<(u64, u16)>,
    /// The connection, the first frame on it, and when that came; else why there is none.
    pub outcome: io::Result<(Connection, Vec<u8>, Time)>,
}

/// Connects and says `hello`; returns the connection with the dispatcher's first frame.
///
/// # Errors
///
/// The dispatcher cannot be reached, one of the two refuses the other's certificate, or nothing comes in time.
pub fn dial(network: &Network, hello: &[u8]) -> io::Result<(Connection, Vec<u8>, Time)> {
    let name = ServerName::try_from(network.host.clone())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the dispatcher's name is no host name or address"))?;
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in (network.host.as_str(), network.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(socket) => {
                let tls =
                    Tls::client(Arc::clone(&network.tls), name).map_err(|fault| io::Error::other(fault.label()))?;
                return introduce(Connection::new(socket, tls)?, hello).map_err(|error| in_words(error, &network.host));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// An error with the file that is wrong, where one of the two refuses the other's certificate.
fn in_words(error: io::Error, host: &str) -> io::Error {
    let words = match error.to_string() {
        label if label == TlsFault::UnknownIssuer.label() => {
            "its certificate is not by the CA in --ca; give the `ca.pem` of its site".to_owned()
        }
        label if label == TlsFault::WrongName.label() => {
            format!("its certificate is not made for {host}; make one with `pointsman certify --dispatcher {host}`")
        }
        label if label == TlsFault::Refused.label() => {
            "it refuses the certificate in --certificate, which has to be valid, and by the CA in its `client-ca`; its log \
             says more"
                .to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}

fn introduce(mut connection: Connection, hello: &[u8]) -> io::Result<(Connection, Vec<u8>, Time)> {
    let deadline = clock::now() + WITHIN;
    connection.add(hello);
    let mut frame = vec![0; FRAME_HARD_LIMIT];
    loop {
        connection.flush()?;
        if let Some(length) = connection.recv(&mut frame)? {
            frame.truncate(length);
            return Ok((connection, frame, clock::now()));
        }
        let left = deadline.since(clock::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it has said nothing for 3 s"));
        }
        wait(&connection, left.min(Duration::from_secs(1)))?;
    }
}

fn wait(connection: &Connection, within: Duration) -> io::Result<()> {
    let mut watched = [PollFd::new(connection, PollFlags::IN)];
    let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Tries on threads of their own.
pub struct Dialler {
    network: Network,
    wake: Arc<dyn Fn() + Send + Sync>,
    sender: Sender<Dialled>,
    answers: Receiver<Dialled>,
}

impl Dialler {
    /// A dialler that calls `wake` whenever a try has ended.
    pub fn new(network: Network, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (sender, answers) = crossbeam_channel::unbounded();
        Dialler { network, wake: Arc::new(wake), sender, answers }
    }

    /// Begins a try after a pause.
    ///
    /// # Errors
    ///
    /// The system refuses the thread.
    pub fn start(&self, of: Option<(u64, u16)>, hello: Vec<u8>, pause: Duration) -> io::Result<()> {
        let (network, wake, sender) = (self.network.clone(), Arc::clone(&self.wake), self.sender.clone());
        let run = move || {
            thread::sleep(pause);
            // A worker that has ended does not want it any more.
            let _ = sender.send(Dialled { of, outcome: dial(&network, &hello) });
            wake();
        };
        thread::Builder::new().name("dial".to_owned()).spawn(run).map(drop)
    }

    /// The end of a try.
    pub fn poll(&self) -> Option<Dialled> {
        self.answers.try_recv().ok()
    }
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialler").field("host", &self.network.host).finish_non_exhaustive()
    }
}

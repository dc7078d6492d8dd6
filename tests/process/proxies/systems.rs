//! Servers that are reached over TCP and TLS. They answer every request 200, or leave the answers to the test.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use pointsman::wire::framing::{Framed, next};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::servers::answer;
use crate::support::phone::Received;
use crate::support::{DEADLINE, own_address};

/// A server. It ends with this value.
pub(crate) struct System {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The messages that are no probe, where the test answers them.
    inbox: Option<Receiver<Came>>,
}

/// A message that has come.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    /// Our port's peer on the connection that it came on.
    pub(crate) by: SocketAddr,
    /// The message.
    pub(crate) message: Received,
}

struct Shared {
    is_closed: AtomicBool,
    /// For the next connections; `None`: they speak TCP.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    open: Mutex<Vec<TcpStream>>,
    probes: AtomicU64,
    /// Header lines of its answers.
    headers: Mutex<String>,
    inbox: Option<Sender<Came>>,
    /// While it is locked, nothing is read.
    reading: Mutex<()>,
}

impl System {
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        System::start_as(tls, None)
    }

    /// One over TCP that answers probes alone: the test answers the rest.
    pub(crate) fn played() -> Self {
        let (sender, inbox) = channel();
        let mut system = System::start_as(None, Some(sender));
        system.inbox = Some(inbox);
        system
    }

    fn start_as(tls: Option<Arc<ServerConfig>>, inbox: Option<Sender<Came>>) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let shared = Shared {
            is_closed: AtomicBool::new(true),
            tls: Mutex::new(tls),
            open: Mutex::default(),
            probes: AtomicU64::new(0),
            headers: Mutex::default(),
            inbox,
            reading: Mutex::new(()),
        };
        let address = listener.local_addr().unwrap();
        let mut system = System { address, shared: Arc::new(shared), thread: None, inbox: None };
        system.serve(listener);
        system
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Probes that it has had.
    pub(crate) fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Closes its listener and its connections, as they are closed when a server is killed.
    pub(crate) fn close(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        // It accepts one more connection, and sees that it is closed.
        let _ = TcpStream::connect(self.address);
        self.thread.take().map(JoinHandle::join);
        self.hang_up();
    }

    /// Has these header lines in its answers from now on.
    pub(crate) fn set_headers(&self, lines: &str) {
        lines.clone_into(&mut self.shared.headers.lock().unwrap());
    }

    /// Sends this on each of its connections over TCP.
    pub(crate) fn says(&self, text: &str) {
        for mut stream in self.shared.open.lock().unwrap().iter() {
            // The other end may have closed it.
            let _ = stream.write_all(text.as_bytes());
        }
    }

    /// The next message that is so; others are passed over.
    pub(crate) fn expect(&self, what: &str, is_it: impl Fn(&Received) -> bool) -> Came {
        let (begin, mut others) = (Instant::now(), Vec::new());
        while let Some(left) = DEADLINE.checked_sub(begin.elapsed()) {
            match self.inbox.as_ref().map(|inbox| inbox.recv_timeout(left)) {
                Some(Ok(came)) if is_it(&came.message) => return came,
                Some(Ok(came)) => others.push(came.message.start_line().to_owned()),
                _ => break,
            }
        }
        panic!("waited for {what}; what came: {others:?}");
    }

    /// The next message, if it has come.
    pub(crate) fn next(&self) -> Option<Came> {
        self.inbox.as_ref()?.try_recv().ok()
    }

    /// Sends this on the connection with this peer.
    pub(crate) fn send(&self, text: &str, by: SocketAddr) {
        let open = self.shared.open.lock().unwrap();
        let mut streams = open.iter().filter(|stream| stream.peer_addr().ok() == Some(by));
        streams.next().unwrap_or_else(|| panic!("no connection with {by}")).write_all(text.as_bytes()).unwrap();
    }

    /// Responds to a request, on the connection that it came on.
    pub(crate) fn respond(&self, to: &Came, status: u16, headers: &str) {
        self.send(&answer(&to.message, status, headers, self.address), to.by);
    }

    /// The other ends of its connections.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        self.shared.open.lock().unwrap().iter().filter_map(|stream| stream.peer_addr().ok()).collect()
    }

    /// Closes the connection with this peer.
    pub(crate) fn cut(&self, by: SocketAddr) {
        for stream in self.shared.open.lock().unwrap().iter().filter(|stream| stream.peer_addr().ok() == Some(by)) {
            // The other end may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Reads nothing while this does something.
    pub(crate) fn deaf_while(&self, act: impl FnOnce()) {
        let _reading = self.shared.reading.lock().unwrap();
        act();
    }

    /// Closes its connections.
    pub(crate) fn hang_up(&self) {
        for stream in self.shared.open.lock().unwrap().iter() {
            // The other end may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens at the same address again.
    pub(crate) fn open(&mut self) {
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    /// Speaks TLS so on the next connections.
    pub(crate) fn set_tls(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }

    fn serve(&mut self, listener: TcpListener) {
        self.shared.is_closed.store(false, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        self.thread = Some(std::thread::spawn(move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                if shared.is_closed.load(Ordering::Relaxed) {
                    return;
                }
                shared.open.lock().unwrap().push(stream.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.answer(stream));
            }
        }));
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) {
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr());
        let tls = self.tls.lock().unwrap().clone();
        // A connection may end at any time.
        let _ = remote.as_ref().map(|remote| match tls {
            None => self.answer_on(stream, local, *remote),
            Some(tls) => {
                let tls = ServerConnection::new(tls).map_err(io::Error::other)?;
                self.answer_on(StreamOwned::new(tls, stream), local, *remote)
            }
        });
        self.open.lock().unwrap().retain(|open| open.peer_addr().ok() != remote.as_ref().ok().copied());
    }

    fn answer_on(&self, mut stream: impl Read + Write, local: SocketAddr, from: SocketAddr) -> io::Result<()> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&buffer[..length]);
            drop(self.reading.lock().unwrap());
            loop {
                let length = match next(&bytes) {
                    Framed::Message(length) => length,
                    Framed::Ping(length) | Framed::Blank(length) => {
                        bytes.drain(..length);
                        continue;
                    }
                    _ => break,
                };
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                bytes.drain(..length);
                let message = Received { text, from };
                let is_probe = message.header("User-Agent") == Some("pointsman");
                self.probes.fetch_add(u64::from(is_probe), Ordering::Relaxed);
                if let Some(inbox) = self.inbox.as_ref().filter(|_| !is_probe) {
                    // The test may be over.
                    let _ = inbox.send(Came { by: from, message });
                } else if message.status() == 0 && message.method() != "ACK" {
                    let headers = self.headers.lock().unwrap().clone();
                    stream.write_all(answer(&message, 200, &headers, local).as_bytes())?;
                }
            }
        }
    }
}

//! Servers that are reached over TCP and TLS. They answer every request 200.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::servers::answer;
use crate::support::own_address;
use crate::support::phone::Received;

/// A server. It ends with this value.
pub(super) struct System {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    is_closed: AtomicBool,
    /// For the next connections; `None`: they speak TCP.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    open: Mutex<Vec<TcpStream>>,
    probes: AtomicU64,
    /// Header lines of its answers.
    headers: Mutex<String>,
}

impl System {
    pub(super) fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let shared = Shared {
            is_closed: AtomicBool::new(true),
            tls: Mutex::new(tls),
            open: Mutex::default(),
            probes: AtomicU64::new(0),
            headers: Mutex::default(),
        };
        let address = listener.local_addr().unwrap();
        let mut system = System { address, shared: Arc::new(shared), thread: None };
        system.serve(listener);
        system
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Probes that it has had.
    pub(super) fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Closes its listener and its connections, as they are closed when a server is killed.
    pub(super) fn close(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        // It accepts one more connection, and sees that it is closed.
        let _ = TcpStream::connect(self.address);
        self.thread.take().map(JoinHandle::join);
        self.hang_up();
    }

    /// Has these header lines in its answers from now on.
    pub(super) fn set_headers(&self, lines: &str) {
        lines.clone_into(&mut self.shared.headers.lock().unwrap());
    }

    /// Sends this on each of its connections over TCP.
    pub(super) fn says(&self, text: &str) {
        for mut stream in self.shared.open.lock().unwrap().iter() {
            // The other end may have closed it.
            let _ = stream.write_all(text.as_bytes());
        }
    }

    /// Closes its connections.
    pub(super) fn hang_up(&self) {
        for stream in self.shared.open.lock().unwrap().iter() {
            // The other end may have closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens at the same address again.
    pub(super) fn open(&mut self) {
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    /// Speaks TLS so on the next connections.
    pub(super) fn set_tls(&self, tls: Arc<ServerConfig>) {
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
            // No request here has a body; line ends between requests are keepalives.
            loop {
                let begin = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
                bytes.drain(..begin);
                let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { break };
                let text = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
                bytes.drain(..end + 4);
                let request = Received { text, from };
                if request.header("User-Agent") == Some("pointsman") {
                    self.probes.fetch_add(1, Ordering::Relaxed);
                }
                if request.status() == 0 && request.method() != "ACK" {
                    let headers = self.headers.lock().unwrap().clone();
                    stream.write_all(answer(&request, 200, &headers, local).as_bytes())?;
                }
            }
        }
    }
}

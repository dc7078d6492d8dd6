//! The callers: their sockets, and the sessions of TLS and WebSocket on them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use pointsman::net::tcp;
use pointsman::stream::{Kind, Rules, Stream};
use pointsman::time::Time;
use pointsman::words::Transport;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use super::message::{InviteTemplate, Key, Shape};
use super::{Case, any};

/// Certificate and trust of the TLS sessions.
pub struct Secrets {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Secrets {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Secrets {
            server: Arc::new(server.with_single_cert(vec![made.cert.der().clone()], key).unwrap()),
            client: Arc::new(client.with_root_certificates(roots).with_no_client_auth()),
        }
    }

    /// The lane's side of a connection of this transport.
    pub fn kind(&self, transport: Transport) -> Kind {
        match transport {
            Transport::Tls => Kind::Tls(Arc::clone(&self.server)),
            Transport::Wss => Kind::SecureWebSocket(Arc::clone(&self.server), Arc::new(Rules::default())),
            _ => Kind::Plain,
        }
    }
}

pub struct Callers {
    case: Case,
    udp: UdpSocket,
    front: SocketAddr,
    lines: Vec<Line>,
    template: InviteTemplate,
    serial: u32,
    next: usize,
    buffer: Vec<u8>,
}

struct Line {
    socket: TcpStream,
    tls: Option<ClientConnection>,
}

impl Callers {
    pub fn new(case: Case, front: SocketAddr) -> Self {
        let udp = UdpSocket::bind(any()).unwrap();
        let shape = Shape {
            local: udp.local_addr().unwrap(),
            transport: if case.transport == Transport::Udp { "UDP" } else { "TCP" },
            target: front,
            bytes: 956,
            rport: true,
            inactive: true,
            mark: 'i',
            sized: false,
        };
        let template = InviteTemplate::new(&shape);
        Callers { case, udp, front, lines: Vec::new(), template, serial: 0, next: 0, buffer: vec![0; 64 << 10] }
    }

    /// Opens a connection, with the handshakes of both sides. Returns the lane's end of it.
    pub fn connect(
        &mut self,
        listener: &TcpListener,
        mut stream: Stream,
        secrets: &Secrets,
        now: Time,
    ) -> (TcpStream, SocketAddr, Stream, Vec<u8>) {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, remote) = listener.accept().unwrap();
        theirs.set_nodelay(true).unwrap();
        tcp::acknowledge_late(&theirs);
        let mut out = Vec::new();
        let mut tls = None;
        if self.case.transport != Transport::Tcp {
            let name = ServerName::try_from("localhost").unwrap();
            let mut session = ClientConnection::new(Arc::clone(&secrets.client), name).unwrap();
            if self.case.transport == Transport::Wss {
                let request = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                               Sec-WebSocket-Protocol: sip\r\n\r\n";
                session.writer().write_all(request.as_bytes()).unwrap();
            }
            while !stream.is_open() || session.is_handshaking() {
                let mut bytes = Vec::new();
                session.write_tls(&mut bytes).unwrap();
                stream.on_bytes(&bytes, now, &mut out, &mut |_| ()).unwrap();
                let mut rest = out.as_slice();
                while !rest.is_empty() {
                    session.read_tls(&mut rest).unwrap();
                    session.process_new_packets().unwrap();
                }
                out.clear();
            }
            // The answer to the upgrade.
            let _ = session.reader().read(&mut self.buffer);
            tls = Some(session);
        }
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        self.lines.push(Line { socket, tls });
        (theirs, remote, stream, out)
    }

    /// Sends so many INVITEs, over the connections in turn.
    pub fn send(&mut self, count: usize) {
        for _ in 0..count {
            self.serial += 1;
            let bytes = self.template.write(Key { run: 0, slot: 0, serial: self.serial }, 0);
            if self.lines.is_empty() {
                self.udp.send_to(bytes, self.front).unwrap();
                continue;
            }
            let at = self.next % self.lines.len();
            self.next += 1;
            let is_websocket = self.case.transport == Transport::Wss;
            self.lines[at].send(bytes, is_websocket);
        }
    }

    /// Reads what has come to the connections, and forgets it.
    pub fn read(&mut self) {
        let Callers { lines, buffer, .. } = self;
        for line in lines {
            while let Ok(read @ 1..) = line.socket.read(buffer) {
                let Some(tls) = &mut line.tls else { continue };
                let mut rest = &buffer[..read];
                while !rest.is_empty() {
                    tls.read_tls(&mut rest).unwrap();
                    tls.process_new_packets().unwrap();
                    let mut plaintext = [0; 4_096];
                    while let Ok(1..) = tls.reader().read(&mut plaintext) {}
                }
            }
        }
    }
}

impl Line {
    fn send(&mut self, message: &[u8], is_websocket: bool) {
        let framed = if is_websocket { frame(message) } else { message.to_vec() };
        let mut bytes = framed;
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&bytes).unwrap();
            bytes = Vec::new();
            tls.write_tls(&mut bytes).unwrap();
        }
        self.socket.write_all(&bytes).unwrap();
    }
}

/// A text frame with a mask of zeros.
fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | 126];
    bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(message);
    bytes
}

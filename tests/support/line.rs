//! A caller on a connection: TCP, or TLS or WebSocket over it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use pointsman::wire::framing::{Framed, next};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::DEADLINE;

/// The body of an offer.
const OFFER: &str =
    "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

/// One connection.
pub struct Line {
    wire: Wire,
    transport: &'static str,
    bytes: Vec<u8>,
}

enum Wire {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// The bytes are those of a frame that is not whole yet.
    WebSocket(TcpStream, Vec<u8>),
}

/// Begin of a connection over WebSocket (RFC 7118 §4.1).
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: sip\r\n\r\n";

/// A call that was answered.
#[derive(Clone, Debug)]
pub struct Answered {
    pub call_id: String,
    /// The To of the answer.
    pub to: String,
    /// The URI of its Contact.
    pub contact: String,
}

impl Line {
    /// A plain connection.
    pub fn tcp(to: SocketAddr) -> io::Result<Self> {
        Ok(Line { wire: Wire::Tcp(connect(to)?), transport: "TCP", bytes: Vec::new() })
    }

    /// A plain connection that is open already.
    pub fn of(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket of ours");
        Line { wire: Wire::Tcp(socket), transport: "TCP", bytes: Vec::new() }
    }

    /// A connection over TLS to a server that shows a certificate for `localhost`.
    pub fn tls(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Line::secure(connect(to)?, config, "localhost")
    }

    /// A connection that is open already, over TLS to a server that shows a certificate for this name.
    pub fn secure(socket: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        socket.set_read_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut wire = StreamOwned::new(session, socket);
        while wire.conn.is_handshaking() {
            wire.conn.complete_io(&mut wire.sock)?;
        }
        Ok(Line { wire: Wire::Tls(Box::new(wire)), transport: "TLS", bytes: Vec::new() })
    }

    /// A connection over WebSocket.
    pub fn websocket(to: SocketAddr) -> io::Result<Self> {
        let mut socket = connect(to)?;
        socket.write_all(UPGRADE.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other(String::from_utf8_lossy(&head)));
        }
        Ok(Line { wire: Wire::WebSocket(socket, Vec::new()), transport: "WS", bytes: Vec::new() })
    }

    /// Its own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket().local_addr().expect("a connection of ours")
    }

    fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Tcp(socket) | Wire::WebSocket(socket, _) => socket,
            Wire::Tls(tls) => &tls.sock,
        }
    }

    /// Whether it is over WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.wire, Wire::WebSocket(..))
    }

    /// Sends bytes, over WebSocket as one message.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Tcp(socket) => socket.write_all(bytes),
            Wire::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Wire::WebSocket(socket, _) => {
                // A whole text, masked with zeros (RFC 6455 §5.2).
                let mut frame = vec![0x81, 0x80 | 126];
                frame.extend(u16::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes());
                frame.extend([0; 4]);
                frame.extend(bytes);
                socket.write_all(&frame)
            }
        }
    }

    /// Ends its own half of the connection.
    pub fn end_half(&self) {
        // The other end may have closed it already.
        let _ = self.socket().shutdown(std::net::Shutdown::Write);
    }

    /// Resets the connection.
    pub fn reset(self) {
        socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).expect("a socket of ours");
    }

    /// The next message; an error when the connection ends.
    pub fn receive(&mut self) -> io::Result<String> {
        loop {
            match next(&self.bytes) {
                Framed::Message(length) => {
                    let message: Vec<u8> = self.bytes.drain(..length).collect();
                    return Ok(String::from_utf8_lossy(&message).into_owned());
                }
                Framed::Blank(length) | Framed::Ping(length) => drop(self.bytes.drain(..length)),
                _ => self.read_more()?,
            }
        }
    }

    /// The next message, if all of it has come.
    pub fn receive_if_there(&mut self) -> Option<String> {
        self.socket().set_nonblocking(true).expect("a socket of ours");
        let received = self.receive();
        self.socket().set_nonblocking(false).expect("a socket of ours");
        received.ok()
    }

    /// The next final response to a request of this method. A 2xx to INVITE comes again until its ACK is there, on
    /// connections as well (RFC 3261 §13.3.1.4).
    pub fn receive_final(&mut self, method: &str) -> io::Result<String> {
        loop {
            let message = self.receive()?;
            let is_final = message.starts_with("SIP/2.0 ") && !message.starts_with("SIP/2.0 1");
            if is_final && message.lines().any(|line| line.starts_with("CSeq:") && line.ends_with(method)) {
                return Ok(message);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8 << 10];
        let read = match &mut self.wire {
            Wire::Tcp(socket) | Wire::WebSocket(socket, _) => socket.read(&mut buffer)?,
            Wire::Tls(tls) => tls.read(&mut buffer)?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Wire::WebSocket(_, frames) = &mut self.wire else {
            self.bytes.extend_from_slice(&buffer[..read]);
            return Ok(());
        };
        frames.extend_from_slice(&buffer[..read]);
        while let Some((head, length)) = frame(frames) {
            let payload = frames.drain(..head + length).skip(head);
            self.bytes.extend(payload);
        }
        Ok(())
    }

    /// Whether nothing has come on it, and it is open.
    pub fn is_open_and_silent(&mut self) -> bool {
        self.socket().set_nonblocking(true).expect("a socket of ours");
        let read = self.read_more();
        self.socket().set_nonblocking(false).expect("a socket of ours");
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// A request of a call.
    pub fn request(&self, method: &str, uri: &str, (call_id, to): (&str, &str), cseq: u32) -> String {
        let (transport, local) = (self.transport, self.local_addr());
        let lower = transport.to_lowercase();
        let body = if method == "INVITE" { OFFER } else { "" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bK-{call_id}-{cseq}-{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@{local}>;tag=c{call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:caller@{local};transport={lower}>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends the INVITE of a call.
    pub fn invite(&mut self, to: SocketAddr, call_id: &str) -> io::Result<()> {
        let uri = format!("sip:service@{to}");
        let invite = self.request("INVITE", &uri, (call_id, &format!("<{uri}>")), 1);
        self.send(invite.as_bytes())
    }

    /// Acknowledges an answered call.
    pub fn ack(&mut self, answered: &Answered, uri: &str) -> io::Result<()> {
        let ack = self.request("ACK", uri, (&answered.call_id, &answered.to), 1);
        self.send(ack.as_bytes())
    }

    /// Hangs a call up, and waits for the answer.
    pub fn bye(&mut self, answered: &Answered, uri: &str) -> io::Result<String> {
        let bye = self.request("BYE", uri, (&answered.call_id, &answered.to), 2);
        self.send(bye.as_bytes())?;
        self.receive_final("BYE")
    }

    /// Places a call and acknowledges its answer.
    pub fn call(&mut self, to: SocketAddr, call_id: &str) -> io::Result<Answered> {
        self.invite(to, call_id)?;
        let answered = Answered::of(&self.receive_final("INVITE")?)?;
        let uri = format!("sip:service@{to}");
        self.ack(&answered, &uri)?;
        Ok(answered)
    }
}

impl Answered {
    /// Reads a 200 to an INVITE.
    pub fn of(answer: &str) -> io::Result<Self> {
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let fields = (field("Call-ID: "), field("To: "), field("Contact: "));
        let (Some(call_id), Some(to), Some(contact)) = fields else { return Err(io::Error::other(answer.to_owned())) };
        if !answer.starts_with("SIP/2.0 200") {
            return Err(io::Error::other(answer.to_owned()));
        }
        let contact = contact.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
        Ok(Answered { call_id, to, contact })
    }
}

/// Lengths of the head and of the payload of a whole frame of a server's.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= head + length).then_some((head, length))
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&to, DEADLINE)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

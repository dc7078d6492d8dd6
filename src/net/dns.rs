//! Queries on their way: one thread, a socket and a port of its own for each query, TCP where an answer does not fit.
//!
//! Nothing is decided here: [`crate::names::Resolver`] chooses questions, servers and time limits, and bounds the
//! number of queries under way.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::random;
use crate::names::message::{self, Read};
use crate::names::{Outcome, Query};

/// Asks name servers. Dropping it ends the queries under way.
pub struct Dns {
    queries: UnboundedSender<Query>,
    outcomes: Receiver<(u64, Outcome)>,
}

/// The longest datagram: the queries do not offer more room (RFC 6891), but some servers send more.
const DATAGRAM: usize = 4_096;

impl Dns {
    /// Starts the thread, which calls `wake` whenever an outcome is there: `wake` makes the loop call [`Dns::poll`].
    ///
    /// # Errors
    ///
    /// The system refuses the thread or its poll.
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (queries, waiting) = unbounded_channel();
        let (found, outcomes) = crossbeam_channel::unbounded();
        let serve = move || runtime.block_on(serve(waiting, found, Arc::new(wake)));
        thread::Builder::new().name("resolve".to_owned()).spawn(serve)?;
        Ok(Dns { queries, outcomes })
    }

    /// Sends a query.
    pub fn send(&self, query: Query) {
        // The thread ends only with this value; if it is gone, the query is late like one that was lost.
        let _ = self.queries.send(query);
    }

    /// The next outcome, with its query's number.
    pub fn poll(&self) -> Option<(u64, Outcome)> {
        self.outcomes.try_recv().ok()
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

async fn serve<W: Fn() + Send + Sync + 'static>(
    mut waiting: UnboundedReceiver<Query>,
    found: Sender<(u64, Outcome)>,
    wake: Arc<W>,
) {
    while let Some(query) = waiting.recv().await {
        let (found, wake) = (found.clone(), Arc::clone(&wake));
        tokio::spawn(async move {
            // The resolver itself notices silence: it has set the time limit.
            let Ok(asked) = tokio::time::timeout(query.within, ask(&query)).await else { return };
            let outcome = asked.unwrap_or_else(|error| {
                tracing::debug!(%error, server = %query.server, name = %query.name, "a name server cannot be asked");
                Outcome::Failed
            });
            if found.send((query.number, outcome)).is_ok() {
                wake();
            }
        });
    }
}

async fn ask(query: &Query) -> io::Result<Outcome> {
    let id = u16::from_ne_bytes(random()?);
    let asked = message::query(id, &query.name, query.kind).ok_or(io::ErrorKind::InvalidInput)?;
    let any = match query.server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    // The kernel chooses the port at random: a forger would have to guess it and the message's id (RFC 5452).
    let socket = UdpSocket::bind(any).await?;
    socket.connect(query.server).await?;
    socket.send(&asked).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match message::read(buffer.get(..length).unwrap_or_default(), &asked, query.kind) {
            Read::Said(outcome) => return Ok(outcome),
            Read::Truncated => return ask_by_stream(query, &asked).await,
            Read::Foreign => {}
        }
    }
}

/// Asks over TCP. A message on a stream has its length in front (RFC 7766).
async fn ask_by_stream(query: &Query, asked: &[u8]) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(query.server).await?;
    let length = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), asked].concat()).await?;
    let mut said = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut said).await?;
    match message::read(&said, asked, query.kind) {
        Read::Said(outcome) => Ok(outcome),
        Read::Truncated | Read::Foreign => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, UdpSocket};
    use std::time::Duration;

    use super::*;
    use crate::names::Kind;

    const WITHIN: Duration = Duration::from_secs(10);

    fn asker() -> (Dns, Receiver<()>) {
        let (woken, wakes) = crossbeam_channel::unbounded();
        (Dns::start(move || woken.send(()).unwrap()).unwrap(), wakes)
    }

    fn query(number: u64, server: SocketAddr) -> Query {
        Query { number, name: "ms.example.net".into(), kind: Kind::A, server, within: WITHIN }
    }

    /// The answer to a query: one address, or a truncated one without any.
    fn answer(query: &[u8], truncated: bool) -> Vec<u8> {
        let mut said = query.to_vec();
        said[2] |= if truncated { 0x82 } else { 0x80 };
        if !truncated {
            said[7] = 1;
            said.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 4]);
        }
        said
    }

    fn addresses() -> Outcome {
        Outcome::Addresses(vec!["192.0.2.4".parse().unwrap()], 60)
    }

    #[test]
    fn a_server_is_asked_by_datagram_and_what_is_not_its_answer_is_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(WITHIN)).unwrap();
        let (dns, wakes) = asker();
        dns.send(query(1, server.local_addr().unwrap()));
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        let said = answer(&buffer[..length], false);
        let mut forged = said.clone();
        forged[0] ^= 1;
        server.send_to(&forged, from).unwrap();
        server.send_to(&said, from).unwrap();
        wakes.recv_timeout(WITHIN).unwrap();
        assert_eq!(dns.poll(), Some((1, addresses())));
    }

    #[test]
    fn an_answer_that_does_not_fit_a_datagram_comes_by_stream() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let datagrams = UdpSocket::bind(address).unwrap();
        datagrams.set_read_timeout(Some(WITHIN)).unwrap();
        let (dns, wakes) = asker();
        dns.send(query(1, address));
        let mut buffer = [0; 512];
        let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
        datagrams.send_to(&answer(&buffer[..length], true), from).unwrap();
        let (mut stream, _) = server.accept().unwrap();
        let mut asked = vec![0; length + 2];
        stream.read_exact(&mut asked).unwrap();
        let said = answer(&asked[2..], false);
        stream.write_all(&[&(said.len() as u16).to_be_bytes(), said.as_slice()].concat()).unwrap();
        wakes.recv_timeout(WITHIN).unwrap();
        assert_eq!(dns.poll(), Some((1, addresses())));
    }

    #[test]
    fn a_query_to_an_address_without_a_server_fails_at_once() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (dns, wakes) = asker();
        dns.send(query(1, nobody));
        wakes.recv_timeout(WITHIN).unwrap();
        assert_eq!(dns.poll(), Some((1, Outcome::Failed)));
    }
}

//! Workers on other hosts: their connections are accepted, judged by certificate and `Hello`, and given to the lanes.
//!
//! A worker opens one connection for each lane, and another where one was cut: the links outlive their connections.

mod strangers;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::strangers::{Strangers, TICK};
use super::StartError;
use super::admission::{self, Admitted, Occupancy, Origin};
use super::event::Event;
use super::event_loop::Supervisor;
use super::welcome::Life;
use crate::config;
use crate::dispatch::decision::{Joined, Services};
use crate::ids::{LinkId, WorkerId};
use crate::link::session::Side;
use crate::net::bind::BindError;
use crate::net::lan::{Connected, Connection, Credentials, LanChannel};
use crate::net::tcp::Listener;
use crate::net::{clock, watch};
use crate::seldom::Seldom;
use crate::server::{self, link_socket::GivenLink};
use crate::stream::tls::Tls;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use crate::words::{Hello, LanTerms, Resume, features};

/// Longest time from the connection to the `Hello`.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Pause before the listener of a dispatcher that has just ended is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Time that the dispatcher that was taken over from has to end, before the log says that its port is still in use. A
/// worker that cannot connect for that long is taken for dead.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The key of the address, as errors name it.
const KEY: &str = "`listen` in [lan]";

/// The listener for workers on other hosts, with the dispatcher's certificate.
#[derive(Debug)]
pub struct LanListener {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    /// `None`: the dispatcher that was taken over from listens there until it has ended.
    socket: Option<Listener>,
}

/// A worker on another host has said `Hello`.
#[derive(Debug)]
pub struct Introduction {
    connection: Connection,
    from: SocketAddr,
    /// The name in its certificate.
    name: String,
    hello: Hello,
    /// Its clock when it asked for ours.
    asked: Option<Time>,
}

impl LanListener {
    /// Reads the certificates and listens; `None` where the configuration wants no such workers.
    ///
    /// # Errors
    ///
    /// A file or the address cannot be used.
    pub fn bind(config: Option<&config::Lan>) -> Result<Option<Self>, StartError> {
        let Some(mut listener) = LanListener::prepare(config)? else { return Ok(None) };
        let socket = Listener::bind(listener.address).map_err(|error| error.chosen_with(KEY).with_holders())?;
        info!("workers on other hosts connect to {}", socket.local_addr());
        listener.socket = Some(socket);
        Ok(Some(listener))
    }

    /// Reads the certificates, and listens when the dispatcher that was taken over from has ended.
    ///
    /// # Errors
    ///
    /// A file cannot be used.
    pub fn prepare(config: Option<&config::Lan>) -> Result<Option<Self>, StartError> {
        let Some(config) = config else { return Ok(None) };
        let tls = Credentials::of(config).server().map_err(StartError::Lan)?;
        Ok(Some(LanListener { address: config.listen, tls, socket: None }))
    }

    /// Accepts connections, and puts each `Hello` into the queue.
    pub(super) async fn accept(self, queue: mpsc::UnboundedSender<Event>) {
        let LanListener { address, tls, socket } = self;
        let mut failed = Seldom::default();
        let mut complain = |error: &dyn std::fmt::Display| {
            if let Some(times) = failed.comes_up(clock::now()) {
                warn!(times, "workers on other hosts cannot connect: {error}");
            }
        };
        let socket = match socket {
            Some(socket) => socket,
            None => {
                let begin = clock::now();
                loop {
                    match Listener::bind(address).map_err(|error| error.chosen_with(KEY)) {
                        Ok(socket) => break socket,
                        Err(BindError::InUse { .. }) if clock::now().since(begin) < ENDS_WITHIN => {}
                        Err(error) => complain(&error),
                    }
                    sleep(AGAIN).await;
                }
            }
        };
        let listener = match tokio::net::TcpListener::from_std(TcpListener::from(socket)) {
            Ok(listener) => listener,
            Err(error) => return complain(&error),
        };
        let strangers = Strangers::new();
        loop {
            match listener.accept().await {
                Ok((socket, from)) => {
                    let now = clock::now();
                    let Some((place, makes_room)) = strangers.enter(from.ip(), now) else { continue };
                    if makes_room {
                        complain(&format_args!("too many connections wait for their first record, among them {from}"));
                    }
                    let number = place.number();
                    let (tls, queue) = (Arc::clone(&tls), queue.clone());
                    let task = tokio::spawn(async move {
                        let read = introduce(socket, from, tls);
                        let introduced = timeout(HELLO_WITHIN, read).await;
                        drop(place);
                        let silent = || Err(format!("sent no Hello for {HELLO_WITHIN:?}"));
                        let introduced = introduced.unwrap_or_else(|_| silent()).map(Box::new);
                        // The queue is gone only when the process ends.
                        let _ = queue.send(Event::OnLan { from, introduced });
                    });
                    strangers.served(number, task.abort_handle());
                    if strangers.is_hurried(now) {
                        sleep(TICK).await;
                    }
                }
                Err(error) => {
                    complain(&error);
                    // The process is most likely out of descriptors: accepting again at once would spin.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Does the handshake and reads the first frame.
async fn introduce(
    socket: tokio::net::TcpStream,
    from: SocketAddr,
    tls: Arc<ServerConfig>,
) -> Result<Introduction, String> {
    let broken = |error: std::io::Error| error.to_string();
    let tls = Tls::server(tls).map_err(|fault| fault.label().to_owned())?;
    let connection = Connection::new(socket.into_std().map_err(broken)?, tls).map_err(broken)?;
    let mut watched = watch::readable(connection).map_err(|(_, error)| broken(error))?;
    let mut frame = vec![0; FRAME_HARD_LIMIT];
    let read = loop {
        let mut ready = watched.readable_mut().await.map_err(broken)?;
        let would_block = || std::io::Error::from(std::io::ErrorKind::WouldBlock);
        match ready.try_io(|it| it.get_mut().recv(&mut frame)?.ok_or_else(would_block)) {
            Ok(read) => break read,
            Err(_) => continue,
        }
    };
    let mut connection = watched.into_inner();
    let length = match read {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            goodbye(&mut connection, &error.to_string());
            return Err(error.to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    let read = Frame::parse(frame.get(..length).unwrap_or_default()).and_then(|records| records.collect());
    let records: Vec<Record<'_>> = read.map_err(|error| {
        let reason = error.to_string();
        goodbye(&mut connection, &reason);
        reason
    })?;
    let name = connection.peer_name().map_err(|error| error.to_string())?;
    let asked = records.iter().find_map(|record| match record {
        Record::ClockAsk(asked) => Some(*asked),
        _ => None,
    });
    match records.into_iter().next() {
        Some(Record::Hello(hello)) => Ok(Introduction { connection, from, name, hello, asked }),
        _ => {
            let reason = "its first record is not a Hello";
            goodbye(&mut connection, reason);
            Err(reason.to_owned())
        }
    }
}

/// Tells a worker why it is refused.
fn goodbye(connection: &mut Connection, reason: &str) {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Goodbye(reason));
    connection.add(frame.bytes());
    connection.close();
}

impl Supervisor {
    /// A worker on another host has introduced itself, or has failed to.
    pub(super) fn on_lan(&mut self, from: SocketAddr, introduced: Result<Box<Introduction>, String>) {
        let refused = match introduced {
            Err(reason) => Err(reason),
            Ok(it) => {
                let Introduction { mut connection, from, name, hello, asked } = *it;
                let judged = match hello.resume {
                    Some(resume) => self.find_link(&name, resume).map(|of| (of, resume)).map(Some),
                    None => Ok(None),
                };
                let done = match judged {
                    Ok(Some((of, Resume { lane, frames, .. }))) => {
                        let lane = usize::from(lane);
                        let shown = self.lan.get(&of.0).and_then(|all| all.get(lane)).cloned().unwrap_or_default();
                        return self.lanes.attach(lane, of, connection, (frames, shown));
                    }
                    Ok(None) => self.admit_on_lan(&mut connection, &name, hello, asked),
                    Err(reason) => Err(reason),
                };
                match done {
                    Ok((worker, joined, mut channels)) => {
                        info!(%worker, name, %from, "a worker on another host has connected");
                        if let Some(Err(mismatch)) = channels.first_mut().map(|first| first.attach(connection, 0)) {
                            warn!(%worker, mismatch, "its link cannot begin");
                        }
                        let links = channels.into_iter().map(|it| GivenLink::Lan(Box::new(it))).collect();
                        self.lanes.link(worker, links, &joined, None);
                        self.said_no_worker = false;
                        self.service_manager.update_soon(clock::now());
                        if let Some(admin) = self.unmanaged.get(&worker).map(|unmanaged| unmanaged.admin) {
                            self.send_admin(worker, admin);
                        }
                        return;
                    }
                    Err(reason) => {
                        goodbye(&mut connection, &reason);
                        Err(format!("{name}: {reason}"))
                    }
                }
            }
        };
        if let Err::<(), _>(reason) = refused
            && self.may_log_refusal(clock::now())
        {
            warn!("a worker on another host is refused: {from}: {reason}");
        }
    }

    /// The link that a worker of this name has, if it is the one that a new connection is for.
    fn find_link(&self, name: &str, resume: Resume) -> Result<(WorkerId, LinkId), String> {
        let link = LinkId(resume.link);
        let found = self.unmanaged.iter().find(|(worker, it)| it.is_here_by(link) && self.lan.contains_key(worker));
        let found = found.filter(|(_, it)| it.name.as_deref() == Some(name));
        let lanes = self.lanes.count();
        match found {
            Some(_) if usize::from(resume.lane) >= lanes => Err(format!("there are {lanes} lanes")),
            Some((worker, _)) => Ok((*worker, link)),
            None => Err("its link is over".to_owned()),
        }
    }

    /// Admits a worker on another host, welcomes it on its first connection, and makes its links.
    fn admit_on_lan(
        &mut self,
        connection: &mut Connection,
        name: &str,
        hello: Hello,
        asked: Option<Time>,
    ) -> Result<(WorkerId, Joined, Vec<LanChannel>), String> {
        if !self.config.lan.as_ref().is_some_and(|lan| lan.admits(name)) {
            return Err(format!("its certificate names `{name}`, which is not among `names`"));
        }
        if let Some(unreachable) = hello.ports.iter().find(|port| port.address.ip().is_unspecified()) {
            return Err(format!("callers cannot reach {}; name an address with --address", unreachable.address));
        }
        let hello = Hello { name: Some(name.to_owned()), wants_listeners: false, ..hello };
        self.end_former(&hello)?;
        let occupancy = |worker| self.unmanaged.get(&worker).map_or(Occupancy::Free, |it| it.occupancy_for(&hello));
        let admitted = admission::admit(&hello, Origin::Unmanaged, self.slots.len() as u16, &self.key, occupancy);
        let Admitted { worker, incarnation } = admitted.map_err(|refusal| refusal.to_string())?;
        self.check_links(&hello)?;
        let (addresses, mgcp) = self.addresses_of(worker, &hello);
        let here = connection.local_addr().map_err(|error| error.to_string())?.ip();
        self.check_distinct(worker, here, addresses.iter().chain(&mgcp))?;
        let incarnation = match incarnation {
            Some(incarnation) => incarnation,
            None => self.new_life().map_err(|error| format!("{worker} gets no token: {error}"))?,
        };
        let (id, lanes) = (self.next_link(), self.lanes.count());
        let mut welcome = self.welcome_of(worker, &hello, &Life { incarnation, key: self.key.clone() }, Vec::new());
        welcome.features = features::over_a_network();
        welcome.lan = Some(LanTerms { link: id.0, lanes: lanes as u16 });
        let capacity = welcome.capacity;
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Welcome(welcome));
        if let Some(asked) = asked {
            frame.push(&Record::Clock { asked, at: clock::now() });
        }
        connection.add(frame.bytes());
        let all = addresses.iter().chain(&mgcp).copied().collect();
        self.add_unmanaged(worker, &hello, hello.pid, all, (incarnation, id));
        if let Some(unmanaged) = self.unmanaged.get_mut(&worker) {
            unmanaged.is_on_lan = true;
        }
        let mut channels: Vec<LanChannel> = (0..lanes).map(|_| LanChannel::new(Side::Dispatcher)).collect();
        let shown: Vec<Connected> = channels.iter().map(|_| Connected::default()).collect();
        channels.iter_mut().zip(&shown).for_each(|(channel, shown)| channel.show(shown.clone()));
        self.lan.insert(worker, shown);
        let services = Services::named(&hello.services);
        Ok((worker, Joined { incarnation, link: id, capacity, services, addresses, mgcp }, channels))
    }

    /// Ends the link of a worker of the same name, if that is the same worker or has lost its connections: it begins
    /// anew.
    fn end_former(&mut self, hello: &Hello) -> Result<(), String> {
        let former = self.unmanaged.iter_mut().find(|(_, it)| !it.is_down && it.name == hello.name);
        let Some((worker, former)) = former else { return Ok(()) };
        let is_same = hello.incarnation == Some(former.incarnation.bits());
        let is_connected = self.lan.get(worker).is_none_or(|all| all.iter().any(|it| it.is_up()));
        if is_connected && !is_same {
            return Err(
                "a worker of this name is connected; each needs a certificate with a name of its own".to_owned()
            );
        }
        former.is_down = true;
        let (worker, link) = (*worker, former.link);
        self.lanes.send(|_| server::Command::EndLink { worker, link });
        Ok(())
    }

    /// Checks that no address of a worker on another host is another worker's or the dispatcher's own: it would get
    /// their messages. The dispatcher is at `here`, as the worker sees it.
    fn check_distinct<'a>(
        &self,
        worker: WorkerId,
        here: IpAddr,
        mut addresses: impl Iterator<Item = &'a SocketAddr>,
    ) -> Result<(), String> {
        let others = || self.unmanaged.iter().filter(|(other, it)| **other != worker && !it.is_down);
        let is_taken = |address: &&SocketAddr| {
            let is_here = || address.ip() == here && self.is_in_use(**address, worker);
            others().any(|(_, it)| it.addresses.contains(address)) || is_here()
        };
        match addresses.find(is_taken) {
            Some(taken) => Err(format!("{taken} is the dispatcher's or another worker's; name a port of your own")),
            None => Ok(()),
        }
    }
}

//! The prober: it finds out how the downstream proxies are, and tells every lane.
//!
//! A thread of its own, with a connected socket for each address: ICMP tells at once when nothing listens there, no
//! other message stands in front of an answer, and neither lanes nor supervisor make a delay look longer than it is.
//! The kernel's time of arrival counts. What is sent, and the meaning of what comes back, are values without sockets
//! (`exchange`, `schedule`).
//!
//! Servers that know only our well-known address get their probes from there (`probe-from = "listener"`): the prober
//! sends on a duplicate of the listener's socket. The answers come to the lanes, which know them by their branch
//! ([`crate::transaction::probe`]) and put them into a [`Mailbox`]. ICMP does not reach a socket that many peers share,
//! and the lane's time of reading counts.

mod exchange;
mod fetch;
mod http;
mod mailbox;
mod names;
mod plan;
mod run;
mod schedule;
mod sockets;
mod streams;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use mio::{Poll, Waker};

use self::mailbox::Mail;
pub use self::mailbox::Mailbox;
pub use self::plan::Plan;
use self::run::WAKER;
use crate::dispatch::probed::Finding;
use crate::fingerprint::Printer;
use crate::net::random::random_u64;
use crate::words::LoadReport;

/// Tells findings to every lane.
type Tell = Box<dyn Fn(&Arc<[Finding]>) + Send>;

/// An order to the prober.
#[derive(Debug)]
enum Order {
    /// Probe this from now on.
    Plan(Plan),
    /// Probe this address at once.
    Silence(SocketAddr),
    /// Tell every lane that the proxies at this address have reported this load.
    Report(SocketAddr, LoadReport),
    /// Probe nothing.
    Rest,
    /// Probe what the plan says.
    Work,
}

/// The control side's end of the prober. Its thread starts with the first proxy, and ends with this value.
pub struct Prober {
    /// `None` once the thread has it.
    setup: Option<Setup>,
    thread: Option<Thread>,
    is_resting: bool,
    /// The lanes' ends of their mailboxes.
    mailboxes: Vec<Mailbox>,
}

/// Everything that the thread starts with.
struct Setup {
    tell: Tell,
    /// Makes the branches of probes.
    printer: Printer,
    /// Number of lanes that read the well-known listeners.
    lanes: usize,
}

struct Thread {
    orders: crossbeam_channel::Sender<Order>,
    waker: Arc<Waker>,
}

impl Prober {
    /// A prober that rests. `tell` tells findings to every one of so many lanes; `printer` is that of the lanes.
    pub fn new(lanes: usize, printer: Printer, tell: impl Fn(&Arc<[Finding]>) + Send + 'static) -> Self {
        let setup = Setup { tell: Box::new(tell), printer, lanes };
        Prober { setup: Some(setup), thread: None, is_resting: true, mailboxes: Vec::new() }
    }

    /// Probes what the plan says; state of what is the same as before goes on.
    ///
    /// # Errors
    /// The kernel gives no thread or poll.
    pub fn follow(&mut self, plan: Plan) -> io::Result<()> {
        if self.thread.is_none() && !plan.proxies.is_empty() {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let (orders, receiver) = crossbeam_channel::unbounded();
            let seed = random_u64()?;
            if let Some(Setup { tell, printer, lanes }) = self.setup.take() {
                let mailboxes = (0..lanes).map(|_| Mailbox::new(Arc::clone(&waker)));
                let (mailboxes, answers): (Vec<_>, Vec<Receiver<Mail>>) = mailboxes.unzip();
                self.mailboxes = mailboxes;
                let prober = run::Prober::new(poll, Arc::clone(&waker), (receiver, answers), tell, (seed, printer))?;
                std::thread::Builder::new().name("prober".into()).spawn(move || prober.run())?;
            }
            self.thread = Some(Thread { orders, waker });
            if !self.is_resting {
                self.send(Order::Work);
            }
        }
        self.send(Order::Plan(plan));
        Ok(())
    }

    /// Takes out the lanes' ends of their mailboxes, one for each lane. There are some after the first proxy has come.
    pub fn take_mailboxes(&mut self) -> Vec<Mailbox> {
        std::mem::take(&mut self.mailboxes)
    }

    /// Whether it probes nothing for the time being.
    pub fn set_resting(&mut self, is_resting: bool) {
        if self.is_resting != is_resting {
            self.is_resting = is_resting;
            self.send(if is_resting { Order::Rest } else { Order::Work });
        }
    }

    /// A request for this address has had no answer for a while: it is probed at once.
    pub fn on_silence(&self, address: SocketAddr) {
        self.send(Order::Silence(address));
    }

    /// The proxies at this address have reported their load by themselves.
    pub fn on_report(&self, address: SocketAddr, load: LoadReport) {
        self.send(Order::Report(address, load));
    }

    fn send(&self, order: Order) {
        if let Some(thread) = &self.thread {
            // A thread that has ended has said why in the log.
            let _ = thread.orders.send(order);
            let _ = thread.waker.wake();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if let Some(Thread { orders, waker }) = self.thread.take() {
            drop(orders);
            let _ = waker.wake();
        }
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("is_resting", &self.is_resting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! The prober: it finds out how the downstream proxies are, and tells every lane.
//!
//! A thread of its own, with a connected socket for each address: ICMP tells at once when nothing listens there, no
//! other message stands in front of an answer, and neither lanes nor supervisor make a delay look longer than it is.
//! The kernel's time of arrival counts. What is sent, and the meaning of what comes back, are values without sockets
//! (`exchange`, `schedule`).

mod exchange;
mod fetch;
mod http;
mod names;
mod plan;
mod run;
mod schedule;
mod sockets;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::{Poll, Waker};

pub use self::plan::Plan;
use self::run::WAKER;
use crate::dispatch::probed::Finding;
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
    tell: Option<Tell>,
    thread: Option<Thread>,
    is_resting: bool,
}

struct Thread {
    orders: crossbeam_channel::Sender<Order>,
    waker: Arc<Waker>,
}

impl Prober {
    /// A prober that rests. `tell` tells findings to every lane.
    pub fn new(tell: impl Fn(&Arc<[Finding]>) + Send + 'static) -> Self {
        Prober { tell: Some(Box::new(tell)), thread: None, is_resting: true }
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
            if let Some(tell) = self.tell.take() {
                let prober = run::Prober::new(poll, Arc::clone(&waker), receiver, (tell, seed));
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

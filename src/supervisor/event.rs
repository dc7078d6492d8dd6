//! Events that the supervisor acts on, and the sender by which other parts of this process give it commands.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use super::admission::Origin;
use super::lan::Introduction;
use crate::admin::protocol::{Command, Reply};
use crate::ids::WorkerId;
use crate::net::unix::SeqPacket;
use crate::words::Hello;
use crate::words::takeover::Ask;

/// An event that the supervisor's loop acts on.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker process has ended.
    Exited { worker: WorkerId, pid: u32, how: String },
    /// A process has connected to the handoff socket.
    Connected { link: SeqPacket },
    /// A link has sent its `Hello`, or failed to. `child` is the process that it was made for.
    Introduced { origin: Origin, child: Option<u32>, link: SeqPacket, hello: Result<Box<Hello>, String> },
    /// A worker on another host has introduced itself, or the reason why it has not.
    OnLan { from: SocketAddr, introduced: Result<Box<Introduction>, String> },
    /// A client of the stats socket has sent a command.
    Command { command: Command, reply: oneshot::Sender<Reply> },
    /// Another dispatcher wants to take over.
    TakeoverRequested { link: SeqPacket, ask: Box<Ask> },
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Sender of commands to the supervisor, for other parts of this process.
#[derive(Clone, Debug)]
pub struct CommandSender(pub(super) mpsc::UnboundedSender<Event>);

impl CommandSender {
    /// Sends a command of the stats socket to the supervisor and waits for the answer.
    pub async fn ask(self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || Reply::error("the dispatcher is stopping");
        match self.0.send(Event::Command { command, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// Orders a reload of the configuration.
    pub fn reload(&self) {
        // A supervisor that is gone has nothing to reload.
        let _ = self.0.send(Event::Reload);
    }

    /// Orders a stop: the first one lets the workers end their calls, a second one stops them at once.
    pub fn stop(&self) {
        let _ = self.0.send(Event::Stop);
    }
}

//! The handoff socket: connections are accepted, and their first record is read.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::admission::Origin;
use super::event::Event;
use super::handshake::{self, FirstRecord, NoHello};
use crate::net::run_dir::own_uid;
use crate::net::unix::{SeqListener, SeqPacket};
use crate::net::{clock, watch};
use crate::seldom::Seldom;

/// Accepts connections to the handoff socket.
pub(super) async fn accept_connections(listener: SeqListener, queue: mpsc::UnboundedSender<Event>) {
    let listener = match watch::readable(listener) {
        Ok(listener) => listener,
        Err((_, error)) => return error!("the handoff socket cannot be watched: {error}"),
    };
    let (mut unaccepted, mut refused) = (Seldom::default(), Seldom::default());
    while let Ok(mut ready) = listener.readable().await {
        match ready.try_io(|listener| listener.get_ref().accept()) {
            // `try_io` ends the readiness only on an error.
            Ok(Ok(None)) => ready.clear_ready(),
            Err(_) => {}
            Ok(Ok(Some(link))) => match link.peer() {
                Ok(peer) if peer.uid == own_uid() || peer.uid == 0 => {
                    if queue.send(Event::Connected { link }).is_err() {
                        return;
                    }
                }
                Ok(peer) => {
                    if let Some(times) = refused.comes_up(clock::now()) {
                        warn!(
                            uid = peer.uid,
                            pid = peer.pid,
                            times,
                            "handoff socket: refused a process of another user"
                        );
                    }
                    handshake::goodbye(&link, "this socket is for workers of the dispatcher's own user");
                }
                Err(error) => debug!("handoff socket: {error}"),
            },
            Ok(Err(error)) => {
                if let Some(times) = unaccepted.comes_up(clock::now()) {
                    warn!(%error, times, "handoff socket: cannot accept");
                }
                // The process is most likely out of descriptors: accepting again at once would spin.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Waits for a link's `Hello` and puts it into the event queue.
pub(super) async fn read_hello(
    origin: Origin,
    child: Option<u32>,
    link: SeqPacket,
    within: Duration,
    queue: mpsc::UnboundedSender<Event>,
) {
    let (link, hello) = match handshake::hello(link, within).await {
        Ok((link, FirstRecord::Hello(hello))) => (link, Ok(hello)),
        Ok((link, FirstRecord::Takeover(ask))) if origin == Origin::Unmanaged => {
            let _ = queue.send(Event::TakeoverRequested { link, ask });
            return;
        }
        Ok((link, FirstRecord::Takeover(_))) => (link, Err(NoHello::Other.to_string())),
        Err((link, reason)) => (link, Err(reason.to_string())),
    };
    let _ = queue.send(Event::Introduced { origin, child, link, hello });
}

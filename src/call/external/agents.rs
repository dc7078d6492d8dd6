//! The call agents of endpoints: a command of the gateway goes to the call agent heard last on its endpoint (RFC 3435
//! §2.1.4).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::exchange::Egress;
use crate::call::exchange::Transmit;

/// Endpoints at most. Beyond it the endpoints heard first are forgotten, and the gateway's commands for them are
/// refused.
const MOST: usize = 1 << 16;

/// The call agents of endpoints, by the names that the gateway knows.
#[derive(Debug, Default)]
pub(super) struct Agents {
    by_endpoint: BTreeMap<Box<[u8]>, (Egress, SocketAddr)>,
    order: VecDeque<Box<[u8]>>,
}

impl Agents {
    /// A call agent has sent a command for that endpoint, or made it.
    pub(super) fn note(&mut self, endpoint: &[u8], way: Option<Egress>, source: SocketAddr) {
        let Some(way) = way.filter(|way| way.lasts()) else { return };
        let name: Box<[u8]> = endpoint.to_ascii_lowercase().into();
        if self.by_endpoint.insert(name.clone(), (way, source)).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_endpoint.remove(&oldest);
        }
    }

    /// A message for the call agent of that endpoint.
    pub(super) fn transmit(&self, endpoint: &[u8], bytes: Arc<[u8]>) -> Option<Transmit> {
        let (way, source) = self.by_endpoint.get(endpoint.to_ascii_lowercase().as_slice())?;
        Some(way.transmit(*source, bytes))
    }

    /// An endpoint that the gateway may know.
    pub(super) fn any(&self) -> &[u8] {
        let is_one = |name: &&[u8]| memchr::memchr2(b'*', b'$', name).is_none();
        let newest = self.order.iter().rev().take(64).map(AsRef::as_ref);
        newest.into_iter().find(is_one).unwrap_or(b"null@mgw")
    }
}

//! The sockets of a start.

use std::collections::BTreeMap;

use super::reattach::Reattached;
use super::sockets::{Listeners, SlotSockets};
use crate::config::Config;
use crate::ids::WorkerId;
use crate::net::bind::BindError;
use crate::net::listener::Listener;

/// The sockets of a start: the listeners, bound or given back, and those of the slots whose worker has not come back.
#[derive(Debug)]
pub struct BoundSockets {
    listeners: Listeners,
    /// Sockets of the slots whose worker has not come back.
    slots: BTreeMap<WorkerId, SlotSockets>,
}

impl BoundSockets {
    /// Binds the sockets that neither the service manager has `given` nor a worker has brought back: all or none.
    ///
    /// # Errors
    ///
    /// An address cannot be had.
    pub fn bind(config: &Config, given: &[Listener], found: &Reattached) -> Result<Self, BindError> {
        let brought = found.listeners.iter().map(|socket| socket.try_clone().map(Listener::Datagram));
        let returned = brought.chain(given.iter().map(Listener::try_clone));
        // A socket that cannot be duplicated is bound anew, and that error tells the reason.
        let listeners = Listeners::bind(config, returned.filter_map(Result::ok).collect())?;
        let missing = config.slots().filter(|slot| !found.has(*slot));
        let slots = missing.map(|slot| Ok((slot, SlotSockets::bind(config, &listeners, slot)?)));
        Ok(BoundSockets { slots: slots.collect::<Result<_, BindError>>()?, listeners })
    }

    /// The listeners, and the sockets of all slots there must be, those of reattached workers among them.
    pub fn complete(self, config: &Config, reattached: &mut Reattached) -> (Listeners, Vec<SlotSockets>) {
        let BoundSockets { listeners, mut slots } = self;
        let all = (0..config.workers.max(reattached.slots())).map(WorkerId);
        let all = all.map(|slot| match reattached.take_sockets(slot) {
            Some(sockets) => sockets.numbered(config, &listeners, slot),
            None => slots.remove(&slot).unwrap_or_default(),
        });
        let all = all.collect();
        (listeners, all)
    }
}

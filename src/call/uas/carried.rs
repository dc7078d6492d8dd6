//! Stream connections that calls are carried on. The worker must not close these to make room for others.

use std::collections::BTreeMap;

use crate::call::exchange::{Arrival, CallKey, Path};
use crate::call::uas::Uas;
use crate::call::uas::call::Call;

/// Number of calls on each connection. Connections without any are not in it.
#[derive(Debug, Default)]
pub(super) struct Carried {
    calls: BTreeMap<u64, u32>,
}

impl Carried {
    fn add(&mut self, conn: u64) {
        *self.calls.entry(conn).or_default() += 1;
    }

    fn remove(&mut self, conn: u64) {
        if let Some(calls) = self.calls.get_mut(&conn) {
            *calls -= 1;
            if *calls == 0 {
                self.calls.remove(&conn);
            }
        }
    }
}

impl Uas {
    /// Whether the peer of any call was last heard on stream connection `conn`.
    pub fn carries_call(&self, conn: u64) -> bool {
        self.carried.calls.contains_key(&conn)
    }

    /// The peer of a call has been heard on a connection, which carries the call from now on. A message that came by
    /// datagram does not change the connection.
    pub(super) fn carry(&mut self, key: CallKey, arrival: &Arrival) {
        let (Path::Stream(conn), Some(call)) = (arrival.path, self.calls.get_mut(key)) else { return };
        let before = call.conn.replace(conn);
        if before == Some(conn) {
            return;
        }
        self.carried.add(conn);
        if let Some(before) = before {
            self.carried.remove(before);
        }
    }

    /// Takes a call out of the table.
    pub(super) fn remove_call(&mut self, key: CallKey) -> Option<Call> {
        let call = self.calls.remove(key)?;
        if let Some(conn) = call.conn {
            self.carried.remove(conn);
        }
        Some(call)
    }
}

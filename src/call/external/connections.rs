//! The connections at the gateway, as its answers reported them: their units and their calls.

use std::collections::BTreeMap;

use crate::time::Time;
use crate::wire::mgcp::EndpointName;

/// The connections at the gateway.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The connections by endpoint, as the gateway names it, in lower case.
    by_endpoint: BTreeMap<Box<[u8]>, Vec<Connection>>,
    calls: BTreeMap<Box<[u8]>, Call>,
    units: u32,
    count: u32,
}

/// A connection. Its names are kept as written, because some gateways compare names with regard to case.
#[derive(Debug)]
struct Connection {
    names: ConnectionName,
    units: u32,
}

/// A call id that has connections, or is about to.
#[derive(Debug)]
struct Call {
    /// Connections, and CRCX under way.
    count: u32,
    since: Time,
}

/// A connection by its names, as they were written.
#[derive(Clone, Debug)]
pub(super) struct ConnectionName {
    pub(super) endpoint: Box<[u8]>,
    pub(super) id: Box<[u8]>,
    pub(super) call: Option<Box<[u8]>>,
}

/// A selection of connections: those at endpoints that `name` covers, with this id and this call if they are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    pub(super) name: &'a [u8],
    pub(super) id: Option<&'a [u8]>,
    pub(super) call: Option<&'a [u8]>,
}

impl Which<'_> {
    fn means(&self, held: &ConnectionName) -> bool {
        let is_call = |wanted: &[u8]| held.call.as_ref().is_some_and(|call| call.eq_ignore_ascii_case(wanted));
        self.id.is_none_or(|wanted| held.id.eq_ignore_ascii_case(wanted)) && self.call.is_none_or(is_call)
    }
}

impl Connections {
    pub(super) const fn units(&self) -> u32 {
        self.units
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// A CRCX of that call is under way. Returns the call in lower case when it is new.
    pub(super) fn expect(&mut self, call: &[u8], now: Time) -> Option<Box<[u8]>> {
        let name: Box<[u8]> = call.to_ascii_lowercase().into();
        let known = self.calls.entry(name.clone()).or_insert(Call { count: 0, since: now });
        known.count += 1;
        (known.count == 1).then_some(name)
    }

    /// A connection that was asked for did not come about, or has ended. Returns the call in lower case when this was
    /// its last connection.
    pub(super) fn unexpect(&mut self, call: &[u8]) -> Option<Box<[u8]>> {
        let name = call.to_ascii_lowercase();
        let known = self.calls.get_mut(name.as_slice())?;
        known.count = known.count.saturating_sub(1);
        if known.count > 0 {
            return None;
        }
        self.calls.remove_entry(name.as_slice()).map(|(name, _call)| name)
    }

    /// All connections are gone. Returns their calls.
    pub(super) fn close_all(&mut self) -> Vec<Box<[u8]>> {
        let gone = std::mem::take(&mut self.by_endpoint).into_values().flatten();
        (self.count, self.units) = (0, 0);
        gone.filter_map(|connection| connection.names.call).filter_map(|call| self.unexpect(&call)).collect()
    }

    /// A connection is there. Its call was [`expect`](Self::expect)ed.
    pub(super) fn open(&mut self, endpoint: &[u8], id: &[u8], call: Option<Box<[u8]>>, units: u32) {
        let at = self.by_endpoint.entry(endpoint.to_ascii_lowercase().into()).or_default();
        at.push(Connection { names: ConnectionName { endpoint: endpoint.into(), id: id.into(), call }, units });
        self.units += units;
        self.count += 1;
    }

    /// The selected connections are gone. Returns the calls that have no others.
    pub(super) fn close(&mut self, which: Which<'_>) -> Vec<Box<[u8]>> {
        let mut gone = Vec::new();
        let mut end = |at: &mut Vec<Connection>| {
            gone.extend(at.extract_if(.., |connection| which.means(&connection.names)));
            !at.is_empty()
        };
        // An endpoint is found by its name, several endpoints by a look at all of them.
        let name = which.name.to_ascii_lowercase();
        if let Some(at) = self.by_endpoint.get_mut(name.as_slice()) {
            if !end(at) {
                self.by_endpoint.remove(name.as_slice());
            }
        } else if let Some(pattern) = EndpointName::parse(which.name).filter(EndpointName::is_several) {
            let is_covered = |name: &[u8]| EndpointName::parse(name).is_some_and(|name| pattern.covers(&name));
            self.by_endpoint.retain(|name, at| !is_covered(name) || end(at));
        }
        self.count = self.count.saturating_sub(gone.len() as u32);
        let mut closed = Vec::new();
        for Connection { names, units } in gone {
            self.units = self.units.saturating_sub(units);
            closed.extend(names.call.and_then(|call| self.unexpect(&call)));
        }
        closed
    }

    pub(super) fn calls(&self) -> Vec<(Time, Box<[u8]>)> {
        self.calls.iter().map(|(name, call)| (call.since, name.clone())).collect()
    }

    /// The selected connections; the name may cover several endpoints.
    pub(super) fn meant(&self, which: Which<'_>) -> Vec<ConnectionName> {
        let Some(pattern) = EndpointName::parse(which.name) else { return Vec::new() };
        let is_meant = |held: &ConnectionName| {
            which.means(held) && EndpointName::parse(&held.endpoint).is_some_and(|name| pattern.covers(&name))
        };
        self.all().into_iter().filter(is_meant).collect()
    }

    /// All connections, so that each can be deleted.
    pub(super) fn all(&self) -> Vec<ConnectionName> {
        self.by_endpoint.values().flatten().map(|connection| connection.names.clone()).collect()
    }
}

/// Whether this names one endpoint and no other.
pub(super) fn is_one(name: &[u8]) -> bool {
    EndpointName::parse(name).is_some_and(|name| !name.is_several())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Connections {
        let mut connections = Connections::default();
        for (endpoint, id, call, units) in
            [("rtpbridge/1@mgw", "A1", "c1", 1), ("rtpbridge/1@mgw", "A2", "c1", 2), ("rtpbridge/2@mgw", "A3", "c2", 4)]
        {
            connections.expect(call.as_bytes(), Time(7));
            connections.open(endpoint.as_bytes(), id.as_bytes(), Some(call.as_bytes().into()), units);
        }
        connections
    }

    fn which<'a>(name: &'a str, id: Option<&'a str>, call: Option<&'a str>) -> Which<'a> {
        Which { name: name.as_bytes(), id: id.map(str::as_bytes), call: call.map(str::as_bytes) }
    }

    #[test]
    fn connections_are_closed_by_id_by_call_by_endpoint_and_by_wildcard() {
        for (which, units, count, closed) in [
            (which("RTPbridge/1@MGW", Some("a1"), None), 6, 2, vec![]),
            (which("rtpbridge/1@mgw", None, Some("C1")), 4, 1, vec!["c1"]),
            (which("rtpbridge/1@mgw", None, Some("c2")), 7, 3, vec![]),
            (which("rtpbridge/1@mgw", None, None), 4, 1, vec!["c1"]),
            (which("rtpbridge/*@mgw", None, Some("c2")), 3, 2, vec!["c2"]),
            (which("*@mgw", None, None), 0, 0, vec!["c1", "c2"]),
            (which("rtpbridge/[2-9]@mgw", None, None), 3, 2, vec!["c2"]),
            (which("rtpbridge/3@mgw", None, None), 7, 3, vec![]),
        ] {
            let mut connections = some();
            let found: Vec<_> =
                connections.close(which).iter().map(|call| String::from_utf8(call.to_vec()).unwrap()).collect();
            assert_eq!(
                (connections.units(), connections.count(), found),
                (units, count, closed.iter().map(|it| (*it).to_owned()).collect()),
                "{which:?}"
            );
        }
    }

    #[test]
    fn a_call_is_open_from_the_first_crcx_to_the_last_connection() {
        let mut connections = Connections::default();
        assert_eq!(connections.expect(b"C", Time(1)), Some(b"c"[..].into()));
        assert_eq!(connections.expect(b"c", Time(2)), None);
        assert_eq!(connections.calls(), [(Time(1), b"c"[..].into())]);
        assert_eq!(connections.unexpect(b"C"), None);
        connections.open(b"a/1@b", b"1", Some(b"c"[..].into()), 1);
        assert_eq!(connections.close(which("a/1@b", None, None)), [b"c"[..].into()]);
        assert!(connections.calls().is_empty() && connections.all().is_empty());
    }
}

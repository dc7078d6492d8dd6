//! Stream connections for operators: what the lanes and the gate have counted, under the names of the listeners.

use std::borrow::Cow;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::commands::{LANE_PATIENCE, LaneStuck};
use super::event_loop::Supervisor;
use crate::admin::protocol::Reply;
use crate::config::Listen;
use crate::ids::{ConnId, ListenerId};
use crate::net::clock;
use crate::net::conns::ConnState;
use crate::server::gate::{GateCounters, Order};
use crate::server::stats::connections::{Connection, ConnectionCounters, Connections, ProxyConnections};
use crate::server::stats::{Counters, ListenerCounters, Total};
use crate::server::{self, LaneCounters, StreamCounters};

impl Supervisor {
    /// Every total by reason.
    pub(super) async fn counters(&self) -> Result<Counters, LaneStuck> {
        let lanes = self.ask(server::Command::Counters).await?;
        let LaneCounters { mut counters, streams } = lanes.into_iter().reduce(LaneCounters::plus).unwrap_or_default();
        let gate = self.ask_gate().await?;
        counters.listeners = self.listener_counters(counters.listeners, &streams, &gate);
        counters.connections = self.connection_counters(streams, gate);
        Ok(counters)
    }

    /// The open connections, by listener and source, and by downstream proxy.
    pub(super) async fn connections(&self) -> Result<Connections, LaneStuck> {
        let counts = self.ask(server::Command::Sources).await?;
        let listeners = self.listens().filter(|(_, listen)| listen.service.is_stream());
        let rows = self.snapshot().await?.proxies;
        Ok(Connections::of(listeners, counts.concat(), rows.into_iter().filter_map(ProxyConnections::of).collect()))
    }

    /// One connection.
    pub(super) async fn connection(&self, number: u64) -> Result<Reply, LaneStuck> {
        let id = ConnId(number);
        let found = self.ask(|reply| server::Command::State(id, reply)).await?.into_iter().flatten().next();
        Ok(match found {
            Some((state, proxy)) => Reply::Connection(self.describe_connection(id, &state, proxy)),
            None => Reply::error(format_args!(
                "there is no connection {number}: it has ended, or it never was; `explain` shows the numbers of \
                 connections, `connections` without one those that are open"
            )),
        })
    }

    /// The listeners as they are bound, by number.
    fn listens(&self) -> impl Iterator<Item = (ListenerId, Listen)> {
        let bound = self.config.listen.iter().zip(self.listeners.addresses());
        bound.enumerate().map(|(at, (listen, address))| (ListenerId(at as u16), Listen { address, ..*listen }))
    }

    /// The name of a listener; empty where it is not known.
    fn listener_name(&self, id: ListenerId) -> String {
        self.listens().find(|(of, _)| *of == id).map(|(_, listen)| listen.to_string()).unwrap_or_default()
    }

    /// The counters of all listeners, in the order of their numbers. `datagrams` are those that take datagrams, in the
    /// same order.
    fn listener_counters(
        &self,
        datagrams: Vec<ListenerCounters>,
        streams: &StreamCounters,
        gate: &GateCounters,
    ) -> Vec<ListenerCounters> {
        let mut datagrams = datagrams.into_iter();
        let of_number = |counts: &[u64], id: ListenerId| counts.get(usize::from(id.0)).copied().unwrap_or_default();
        let of_stream = |id: ListenerId, address| ListenerCounters {
            address,
            received: of_number(&streams.received, id),
            rx_overflow: 0,
            receive_buffer: 0,
            send_buffer: 0,
            transport: Cow::default(),
            connections: of_number(&streams.open, id),
            accepted: gate.accepted.iter().find(|(of, _)| *of == id).map_or(0, |(_, count)| *count),
        };
        let listeners = self.listens().filter_map(|(id, Listen { service, address })| {
            let counters = if service.is_stream() { Some(of_stream(id, address)) } else { datagrams.next() };
            counters.map(|counters| ListenerCounters { transport: service.label().into(), ..counters })
        });
        listeners.collect()
    }

    fn connection_counters(&self, streams: StreamCounters, gate: GateCounters) -> ConnectionCounters {
        let mut closed = streams.closed;
        closed.add_all(&gate.closed);
        ConnectionCounters {
            open: streams.open.iter().sum(),
            limit: gate.limits.connections as u64,
            handshakes: gate.handshakes as u64,
            handshakes_limit: gate.limits.handshakes as u64,
            accepted: gate.accepted.iter().map(|(id, count)| (self.listener_name(*id), *count)).collect(),
            closed: Total::from_iter(closed.iter()),
        }
    }

    fn describe_connection(&self, id: ConnId, state: &ConnState, proxy: String) -> Connection {
        let now = clock::now();
        Connection {
            number: id.0,
            lane: id.lane() as u64,
            transport: state.transport.label().into(),
            remote: state.ends.remote,
            local: state.ends.local,
            listener: state.ends.listener.map(|listener| self.listener_name(listener)).unwrap_or_default(),
            proxy,
            age_s: now.since(state.since).as_secs_f64(),
            heard_ms: now.since(state.heard).as_millis() as u64,
            waiting_bytes: state.waiting as u64,
            unanswered: state.unanswered.into(),
        }
    }

    /// Asks the gate; zeros where there is none.
    async fn ask_gate(&self) -> Result<GateCounters, LaneStuck> {
        let (reply, answer) = oneshot::channel();
        if !self.lanes.order(Order::Counters(reply)) {
            return Ok(GateCounters::default());
        }
        timeout(LANE_PATIENCE, answer).await.ok().and_then(Result::ok).ok_or(LaneStuck)
    }
}

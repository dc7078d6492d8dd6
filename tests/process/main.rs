//! The built executable on loopback: behaviour that only real sockets and real processes can show.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../benches/end_to_end/generator/mod.rs"]
mod generator;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod affinity;
mod by_hand;
mod caller;
mod commands;
mod connections;
mod crash;
mod families;
mod filter;
mod flood;
mod full;
mod lan;
mod lanes;
mod load;
mod log;
mod manager;
mod media;
mod mgcp;
mod mgcp_bypass;
mod names;
mod pipelining;
mod poison;
mod proxies;
mod reload;
mod restart;
mod secure;
mod shutdown;
mod signals;
mod silent;
mod start;
mod strangers;
mod streams;
mod systems;
mod takeover;
mod torture;

//! Names of additions to the handoff format. Each end names those that it understands, and is sent no other.

/// Records about the difference of two hosts' clocks (`ClockAsk`, `Clock`).
pub const CLOCK: &str = "clock";
/// Answers that the dispatcher sends from its own socket for a worker on another host (`Send`).
pub const SEND: &str = "send";

/// All that this version understands on a link over a network.
pub fn over_a_network() -> Vec<String> {
    [CLOCK, SEND].map(str::to_owned).to_vec()
}

/// Whether `named` has this feature.
pub fn has(named: &[String], feature: &str) -> bool {
    named.iter().any(|name| name == feature)
}

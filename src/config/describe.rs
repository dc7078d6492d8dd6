//! A configuration as text, key by key: `pointsman check --print` shows it and a reload compares it.

use std::fmt::Display;
use std::time::Duration;

use super::{Bytes, Config, Span};

/// One key of a checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The key.
    pub key: &'static str,
    /// Its value as it would be written in the file; secrets as `…`.
    pub value: String,
    /// Whether a reload may change it.
    pub apply: Apply,
}

/// Event with which a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// A reload.
    Live,
    /// The next start: sockets, memory and workers were set up with the old value.
    Restart,
}

impl Config {
    /// Every key with its value in force, in the order of the documentation.
    pub fn describe(&self) -> Vec<Described> {
        use Apply::{Live, Restart};
        let row = |key, value, apply| Described { key, value, apply };
        vec![
            row("workers", self.workers.to_string(), Live),
            row("run-dir", self.run_dir.as_ref().map_or(unset(), |path| quoted(path.display())), Restart),
            row("stats-group", self.stats_group.as_ref().map_or(unset(), quoted), Restart),
            row("listen", list(&self.listen), Restart),
            row("worker-ports", self.worker_ports.to_string(), Restart),
            row("worker-mgcp-ports", self.worker_mgcp_ports.to_string(), Restart),
            row("capacity", self.capacity.to_string(), Restart),
            row("rtp-ports", quoted(self.rtp_ports), Restart),
            row("policy", quoted(self.policy), Live),
            row("lanes", self.lanes.to_string(), Restart),
            row("advertise", self.advertise.map_or(unset(), quoted), Restart),
            row("insert", quoted(self.insert), Live),
            row("reply-from", serde_json::to_string(&self.reply_from).unwrap_or_default(), Restart),
            row("stop-after", span(Some(self.stop_after)), Live),
            row("drain-after", span(self.drain_after), Live),
            row("max-size", self.max_size.to_string(), Live),
            row("video-size", self.video_size.to_string(), Live),
            row("size-from", list(&self.size_from), Live),
            row("size-order", list(&self.size_order), Live),
            row("table-cap", self.table_cap.to_string(), Restart),
            row("pending-max", span(Some(self.pending_max)), Live),
            row("retention", quoted(Bytes(self.retention_bytes as u64)), Restart),
            row("slow-start", span(Some(self.slow_start)), Live),
            row("silent-after", span(Some(self.silent_after)), Live),
            row("weights", table(self.weights.iter()), Live),
            row("methods", table(self.methods.iter().map(|(method, rule)| (method, quoted(rule)))), Live),
            row("token-key", self.token_key.as_ref().map_or(unset(), |_| quoted("…")), Restart),
            row("previous-token-key", self.previous_token_key.as_ref().map_or(unset(), |_| quoted("…")), Restart),
            row("pinned-sources", list(&self.pinned_sources), Live),
            row("ring-first", list(&self.ring_first), Live),
            row(
                "access",
                format!("[{}]", self.access.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
                Live,
            ),
            row(
                "mgcp",
                format!("[{}]", self.mgcp.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
                Restart,
            ),
            row("mgcp-aliases", table(self.mgcp_aliases.iter().map(|(name, kind)| (key(name), quoted(kind)))), Restart),
            row("mgcp-timeout", span(self.mgcp_timeout), Restart),
        ]
    }
}

/// Text for a key without a value.
fn unset() -> String {
    "(not set)".to_owned()
}

fn quoted(value: impl Display) -> String {
    format!("\"{value}\"")
}

/// A key as it is written in a table: quoted where it has more than letters, digits and hyphens.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.bytes().all(is_bare) { name.to_owned() } else { quoted(name) }
}

fn list<T: Display>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn table(rows: impl Iterator<Item = (impl Display, impl Display)>) -> String {
    let rows: Vec<String> = rows.map(|(key, value)| format!("{key} = {value}")).collect();
    if rows.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", rows.join(", ")) }
}

fn span(value: Option<Duration>) -> String {
    quoted(value.map_or(Span::Never, Span::Of))
}

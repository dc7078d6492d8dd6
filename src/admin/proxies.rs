//! Downstream proxies as a table for people.

use serde::Deserialize;

/// The reply to `proxies`, as far as the table shows it, or the part of `load` that is the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Proxies {
    proxies: Vec<Shown>,
    pools: Vec<Pool>,
}

#[derive(Clone, Debug, Deserialize)]
struct Shown {
    name: String,
    address: String,
    pool: String,
    state: String,
    why: String,
    admin: String,
    word: String,
    weight: u32,
    handicap: u16,
    delay_ms: f64,
    outstanding: u32,
    transport: String,
    connections: u64,
    load: f64,
    used: u32,
    total: u32,
    calls: u64,
    failed: u64,
    probes_lost: u64,
    stale: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Pool {
    name: String,
    mode: String,
    policy: String,
    up: usize,
    panic: bool,
    calls: u64,
}

const HEAD: [&str; 15] = [
    "PROXY",
    "POOL",
    "STATE",
    "WHY",
    "ADMIN",
    "ADDRESS",
    "WEIGHT",
    "HANDICAP",
    "DELAY",
    "OPEN",
    "LOAD",
    "CALLS",
    "FAILED",
    "LOST",
    "CONNECTIONS",
];

/// Columns of words, which are aligned left.
const WORDS: usize = 6;

/// The table: a line for each proxy and one for each pool.
pub fn table(shown: &Proxies) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(shown.proxies.iter().map(row));
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column < WORDS {
            true => format!("{cell:width$}"),
            false => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    for Pool { name, mode, policy, up, panic, calls } in &shown.pools {
        let state = if *panic { ", all down: tried in turn" } else { "" };
        let calls = if *calls == 1 { "1 call".to_owned() } else { format!("{calls} calls") };
        text += &format!("pool {name}: {mode} by {policy}, {up} up, {calls}{state}\n");
    }
    text
}

/// Proxies that are neither up nor in `maint`, each in words.
pub fn missing(shown: &Proxies) -> Vec<String> {
    let is_missing = |proxy: &&Shown| proxy.state != "up" && proxy.admin != "maint";
    let words = |proxy: &Shown| format!("{} is {} ({})", proxy.name, proxy.state, proxy.why);
    shown.proxies.iter().filter(is_missing).map(words).collect()
}

fn row(proxy: &Shown) -> Vec<String> {
    let load = match (proxy.load < 0.0, proxy.total) {
        (true, _) => "-".to_owned(),
        (false, 0) => format!("{:.0}%", proxy.load * 100.0),
        (false, total) => format!("{:.0}% {}/{total}", proxy.load * 100.0, proxy.used),
    };
    let admin = if proxy.word == "ready" { proxy.admin.clone() } else { format!("{} ({})", proxy.admin, proxy.word) };
    vec![
        proxy.name.clone(),
        proxy.pool.clone(),
        if proxy.stale { format!("{}, stale", proxy.state) } else { proxy.state.clone() },
        proxy.why.clone(),
        admin,
        proxy.address.clone(),
        proxy.weight.to_string(),
        proxy.handicap.to_string(),
        format!("{:.1} ms", proxy.delay_ms),
        proxy.outstanding.to_string(),
        load,
        proxy.calls.to_string(),
        proxy.failed.to_string(),
        proxy.probes_lost.to_string(),
        if proxy.transport == "udp" { "-".to_owned() } else { proxy.connections.to_string() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::Reply;
    use crate::config;
    use crate::dispatch::targets::proxies;
    use crate::dispatch::targets::proxy::Row;
    use crate::time::Time;

    #[test]
    fn the_reply_to_proxies_is_shown_as_a_line_each() {
        let mut all = proxies::Proxies::new(std::time::Duration::ZERO, 1);
        let proxy =
            |name: &str, host: &str| config::Proxy { name: name.into(), host: host.into(), ..Default::default() };
        all.set(&[proxy("fs1", "192.0.2.1"), proxy("fs", "fs.example.net")], &[config::Pool::default()], Time(0));
        let reply = Reply::Proxies { proxies: all.rows(Time(5)), pools: all.pool_rows(Time(5)) }.to_line();
        let text = table(&serde_json::from_str(&reply).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("PROXY  POOL     STATE "), "{text}");
        assert!(lines[1].starts_with("fs1    default  ") && lines[1].contains("192.0.2.1:5060"), "{text}");
        assert!(lines[2].contains("unresolved") && lines[3].starts_with("pool default: proxy by latency, "), "{text}");
        assert!(lines[3].ends_with(" 0 calls"), "{text}");
    }

    #[test]
    fn a_proxy_that_is_not_up_is_missing_unless_it_is_out_of_service() {
        let json = |state: &str, admin: &str| {
            let mut row = serde_json::to_value(Row::default()).unwrap();
            (row["name"], row["state"], row["why"], row["admin"]) =
                ("fs1".into(), state.into(), "probe".into(), admin.into());
            serde_json::from_value(serde_json::json!({ "proxies": [row], "pools": [] })).unwrap()
        };
        assert_eq!(missing(&json("down", "ready")), ["fs1 is down (probe)"]);
        assert_eq!(missing(&json("trial", "drain")), ["fs1 is trial (probe)"]);
        assert_eq!(missing(&json("up", "ready")), [""; 0]);
        assert_eq!(missing(&json("down", "maint")), [""; 0]);
        assert_eq!(missing(&serde_json::from_str("{}").unwrap()), [""; 0]);
    }
}

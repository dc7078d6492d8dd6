//! Downstream proxies: dispatchers in front of servers that answer as a test tells them to.

mod broken;
mod bursts;
mod callers;
pub(crate) mod connections;
mod fallback;
mod flows;
mod followed;
mod killed;
mod lanes;
mod listener;
mod loops;
mod names;
mod orders;
mod outbound;
mod readme;
mod reports;
pub(crate) mod servers;
mod spread;
pub(crate) mod systems;
mod taken_over;
mod weights;

use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::DEADLINE;
use crate::support::pointsman::{Pointsman, Setup};
use servers::Servers;

/// A dispatcher without workers whose settings stand in a file.
pub(crate) struct Front {
    pub(crate) pointsman: Pointsman,
    dir: TempDir,
}

impl Front {
    pub(crate) fn start(settings: &str) -> Self {
        Front::start_as(settings, Setup::new(0))
    }

    pub(crate) fn start_as(settings: &str, setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-proxies-").tempdir().unwrap();
        let file = dir.path().join("settings.toml");
        std::fs::write(&file, settings).unwrap();
        let pointsman = setup.with(["--config", &file.display().to_string()]).start();
        Front { pointsman, dir }
    }

    /// Has it read other settings.
    pub(crate) fn reload(&self, settings: &str) {
        std::fs::write(self.dir.path().join("settings.toml"), settings).unwrap();
        let reply = self.pointsman.stats("reload");
        assert!(reply["changed"].is_array(), "{reply}");
    }

    pub(crate) fn rows(&self) -> Vec<Value> {
        self.pointsman.stats("proxies")["proxies"].as_array().cloned().unwrap_or_default()
    }

    /// The figures of the proxy of this name.
    pub(crate) fn row(&self, name: &str) -> Value {
        let rows = self.rows();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {rows:?}")).clone()
    }

    /// Waits until the figures of a proxy are so. Returns them.
    pub(crate) fn wait_until(&self, name: &str, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let row = self.row(name);
            if is_so(&row) {
                return row;
            }
            assert!(begin.elapsed() < DEADLINE, "waited for {name} {what}: {row}");
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> Value {
        self.wait_until(name, &format!("to be {state}"), |row| row["state"] == state)
    }
}

/// Settings with a pool and a proxy for each server: `s0`, `s1`, and so on, each with lines of its own.
fn settings(pool: &str, servers: &Servers, lines: impl Fn(usize) -> String) -> String {
    let mut text = format!("[[pool]]\nname = \"default\"\n{pool}\n");
    for number in 0..servers.count() {
        let uri = format!("sip:{}", servers.address(number));
        text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"{uri}\"\n{}\n", lines(number));
    }
    text
}

//! `pointsman top`: the table of `stat`, again and again on a cleared screen.

use std::os::fd::AsFd;

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::admin::screen::{Key, Scroll, Size, keys};
use pointsman::net::signals::StopSignals;
use pointsman::net::terminal::{self, Keyboard};
use pointsman::server::stats::Snapshot;

use crate::flags::Ask;
use crate::output::{Failure, print};

/// The stats of a running dispatcher, once a second until `q` or Ctrl-C.
#[derive(Args, Debug)]
#[command(after_help = "\
Heading and totals stay on the screen; the arrow keys, Page Up, Page Down, Home and End (or k, j, b, space, g, G) show \
the other workers. A narrow screen has fewer columns.")]
pub struct Flags {
    #[command(flatten)]
    ask: Ask,
}

/// Moves the cursor to the upper left corner. The rest is cleared after each line and after the last, so that the
/// screen never flickers empty.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR: &str = "\x1b[2J";

/// The size assumed of a screen that does not tell its own.
const USUAL: (u16, u16) = (24, 80);

/// Shows the table until the dispatcher is gone, or the operator ends the command.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    let failed = |error| Failure::unhealthy(format_args!("the terminal cannot be used: {error}"));
    let signals = StopSignals::take().map_err(failed)?;
    let keyboard = Keyboard::take();
    client.send(&Command::Watch)?;
    print(CLEAR)?;
    let mut scroll = Scroll::default();
    let mut load = Snapshot::default();
    loop {
        if !client.has_begun() {
            terminal::wait(client.as_fd(), keyboard.as_ref(), &signals).map_err(failed)?;
        }
        if signals.poll() {
            return print("\n");
        }
        let mut pressed = [0; 64];
        let length = keyboard.as_ref().map_or(Ok(0), |keyboard| keyboard.read(&mut pressed)).map_err(failed)?;
        let pressed = keys(pressed.get(..length).unwrap_or_default());
        if pressed.contains(&Key::Quit) {
            return print("\n");
        }
        pressed.into_iter().for_each(|key| scroll.on_key(key));
        if client.has_begun() || terminal::has_something(client.as_fd()) {
            let reply = client.next_reply()?;
            load = client.read(&reply)?;
        }
        show(&mut scroll, &load)?;
    }
}

fn show(scroll: &mut Scroll, load: &Snapshot) -> Result<(), Failure> {
    let (rows, columns) = terminal::size().unwrap_or(USUAL);
    let size = Size { rows: rows.into(), columns: columns.into() };
    // After a line as wide as the screen the cursor still stands on its last character: clearing would take that.
    let is_full = |line: &str| line.chars().count() >= size.columns;
    let cleared = |line: String| if is_full(&line) { line } else { line + CLEAR_LINE };
    let lines: Vec<String> = scroll.lines(load, size).into_iter().map(cleared).collect();
    let is_screen_full = lines.len() >= size.rows;
    print(&format!("{HOME}{}{}", lines.join("\r\n"), if is_screen_full { "" } else { CLEAR_BELOW }))
}

//! The stats on a screen of a given size: heading and totals stay, the workers between them scroll, no line wraps.

use super::table::{dispatcher_line, lines_within, missing, trouble};
use crate::server::stats::Snapshot;

/// Size of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its lines.
    pub rows: usize,
    /// Characters in a line.
    pub columns: usize,
}

/// A key that has a meaning on this screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A line up.
    Up,
    /// A line down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first worker.
    First,
    /// To the last worker.
    Last,
    /// The end.
    Quit,
}

/// The part of the workers that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scroll {
    /// Index of the first worker shown.
    first: usize,
    /// Number of workers that fitted on the screen last time.
    page: usize,
    /// Number of all workers last time.
    all: usize,
}

impl Scroll {
    /// Moves as the key says.
    pub fn on_key(&mut self, key: Key) {
        let last = self.all.saturating_sub(self.page);
        self.first = match key {
            Key::Up => self.first.saturating_sub(1),
            Key::Down => self.first + 1,
            Key::PageUp => self.first.saturating_sub(self.page),
            Key::PageDown => self.first + self.page,
            Key::First => 0,
            Key::Last => last,
            Key::Quit => self.first,
        }
        .min(last);
    }

    /// The lines to show, as many as the screen has at most.
    pub fn lines(&mut self, snapshot: &Snapshot, size: Size) -> Vec<String> {
        let mut lines = lines_within(snapshot, size.columns);
        let total = lines.pop().unwrap_or_default();
        let workers = lines.split_off(1);
        let mut below = vec![total, dispatcher_line(&snapshot.dispatcher)];
        below.extend(trouble(&missing(snapshot)));
        let room = size.rows.saturating_sub(lines.len() + below.len());
        self.all = workers.len();
        // One line says which workers are hidden.
        self.page = if self.all <= room { self.all } else { room.saturating_sub(1) };
        self.first = self.first.min(self.all - self.page);
        let end = self.first + self.page;
        lines.extend(workers.into_iter().skip(self.first).take(self.page));
        if self.page < self.all {
            let name = |at: usize| snapshot.workers.get(at).map_or("", |worker| &worker.name);
            let (first, last) = (name(self.first), name(end.saturating_sub(1)));
            lines.push(format!("… {first} to {last} of {}; arrows and Page Up/Down scroll, q ends", self.all));
        }
        lines.extend(below);
        lines.truncate(size.rows);
        lines.iter().map(|line| line.chars().take(size.columns).collect()).collect()
    }
}

/// The keys in the bytes that a terminal has sent.
pub fn keys(mut bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 8] = [
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::First),
        (b"\x1b[F", Key::Last),
    ];
    let mut keys = Vec::new();
    while let Some((byte, rest)) = bytes.split_first() {
        if let Some((sequence, key)) = SEQUENCES.iter().find(|(sequence, _)| bytes.starts_with(sequence)) {
            keys.push(*key);
            bytes = bytes.get(sequence.len()..).unwrap_or_default();
            continue;
        }
        match byte {
            b'k' => keys.push(Key::Up),
            b'j' => keys.push(Key::Down),
            b'b' => keys.push(Key::PageUp),
            b' ' => keys.push(Key::PageDown),
            b'g' => keys.push(Key::First),
            b'G' => keys.push(Key::Last),
            b'q' => keys.push(Key::Quit),
            _ => {}
        }
        bytes = rest;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::stats::{State, WorkerLoad};

    fn of(workers: usize) -> Snapshot {
        let address = "192.0.2.110".parse().unwrap();
        let worker = |n| WorkerLoad { name: format!("w{n}"), state: State::Up, address, ..WorkerLoad::default() };
        Snapshot { workers: (0..workers).map(worker).collect(), ..Snapshot::default() }
    }

    const SCREEN: Size = Size { rows: 24, columns: 80 };

    #[test]
    fn forty_workers_on_24_lines_keep_heading_and_total_and_scroll() {
        let (mut scroll, snapshot) = (Scroll::default(), of(40));
        let lines = scroll.lines(&snapshot, SCREEN);
        assert_eq!(lines.len(), 24);
        assert!(lines[0].starts_with("WORKER  STATE") && lines[1].starts_with("w0 ") && lines[20].starts_with("w19 "));
        assert!(lines[21].starts_with("… w0 to w19 of 40") && lines[22].starts_with("total"), "{lines:#?}");
        scroll.on_key(Key::PageDown);
        scroll.on_key(Key::Down);
        let lines = scroll.lines(&snapshot, SCREEN);
        assert!(lines[0].starts_with("WORKER") && lines[1].starts_with("w20 ") && lines[20].starts_with("w39 "));
        scroll.on_key(Key::First);
        assert!(scroll.lines(&snapshot, SCREEN)[1].starts_with("w0 "));
        scroll.on_key(Key::Last);
        assert!(scroll.lines(&of(10), SCREEN)[1].starts_with("w0 "), "the pool has shrunk meanwhile");
    }

    #[test]
    fn no_line_is_longer_than_the_screen_and_the_columns_that_say_least_go_first() {
        for columns in [20, 40, 80, 100, 200] {
            let lines = Scroll::default().lines(&of(4), Size { rows: 24, columns });
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}: {lines:#?}");
        }
        let heading = |columns| Scroll::default().lines(&of(4), Size { rows: 24, columns }).remove(0);
        assert!(heading(200).ends_with("REPORT") && heading(200).contains("ADDRESS"));
        assert!(["WORKER", "STATE", "LOAD", "UNITS", "SESSIONS"].iter().all(|column| heading(80).contains(column)));
        assert!(!heading(80).contains("REPORT"));
    }

    #[test]
    fn a_screen_of_no_size_is_no_fault() {
        for (rows, columns) in [(0, 0), (1, 1), (2, 80), (3, 3)] {
            let mut scroll = Scroll::default();
            assert!(scroll.lines(&of(40), Size { rows, columns }).len() <= rows);
            scroll.on_key(Key::PageDown);
            scroll.lines(&Snapshot::default(), Size { rows, columns });
        }
    }

    #[test]
    fn keys_are_told_from_what_else_a_terminal_sends() {
        assert_eq!(keys(b"\x1b[A\x1b[6~jq"), [Key::Up, Key::PageDown, Key::Down, Key::Quit]);
        assert_eq!(keys(b"\x1b[200~x\xff"), []);
    }
}

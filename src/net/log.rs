//! The output of the log: a bounded queue of lines, and a thread that writes them to stderr.
//!
//! A thread that logs never waits: a line that finds the queue full is counted and left out, and the log tells the
//! number of such lines as soon as stderr is read again. A stuck reader of stderr costs lines, never a call. Only the
//! end of the process waits for the queue, for a short time.

use std::io::{self, Write};
use std::iter;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, poll};

/// Most lines that wait.
const LINES: usize = 2_048;
/// Longest line in bytes: a pipe takes so much in one piece (`PIPE_BUF`), so that lines of several processes do not
/// mix.
pub const LONGEST: usize = 4_096;
/// Shortest interval between two log lines about the number of lines left out.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Time for which the end of the process waits for the queued lines, at most.
const FINISH_WITHIN: Duration = Duration::from_millis(200);
/// Time for which the end of the process waits for the line that tells its reason, at most.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);

static LOG: OnceLock<Log> = OnceLock::new();
/// Number of lines left out since the start.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Starts the thread. `say` logs a number: that of the lines left out since the start.
///
/// # Errors
/// The kernel gives no thread.
pub fn start(say: impl Fn(u64) + Send + 'static) -> io::Result<()> {
    let log = Log::start(Stderr, &LEFT_OUT, say)?;
    // A second start keeps the first log; its own thread ends with its queue.
    let _ = LOG.set(log);
    Ok(())
}

/// Queues a line, or leaves it out. Without [`start`] it is written at once.
pub fn line(line: &[u8]) {
    match LOG.get() {
        Some(log) => log.line(line),
        // A failure to write to stderr cannot be reported anywhere.
        None => drop(Stderr.write_all(line)),
    }
}

/// Waits, 200 ms at most, until the queued lines are written: the process is about to end.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.flush(Instant::now() + FINISH_WITHIN);
    }
}

/// Writes the line with the reason why the process ends. It waits for room in the queue, five seconds at most.
pub fn last_words(line: &[u8]) {
    match LOG.get() {
        Some(log) => log.last_words(line, Instant::now() + LAST_WORDS_WITHIN),
        None => drop(Stderr.write_all(line)),
    }
}

/// A queue with the thread that writes it.
#[derive(Debug)]
struct Log {
    queue: Sender<Item>,
    left_out: &'static AtomicU64,
}

#[derive(Debug)]
enum Item {
    Line(Box<[u8]>),
    /// An order to write all lines before it, and then to report that here.
    Flush(Sender<()>),
}

impl Log {
    fn start(
        out: impl Write + Send + 'static,
        left_out: &'static AtomicU64,
        say: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, lines) = bounded(LINES);
        // All signals are blocked in this thread: those that other threads handle would end the process here.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let started = thread::Builder::new().name("log".to_owned()).spawn(move || {
            Writer { lines, out, left_out, say, said: 0, said_at: None }.run();
        });
        before.thread_set_mask()?;
        started.map(|_| Log { queue, left_out })
    }

    fn line(&self, line: &[u8]) {
        if self.queue.try_send(Item::Line(shortened(line))).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, deadline: Instant) {
        let (done, flushed) = bounded(1);
        if self.queue.send_deadline(Item::Flush(done), deadline).is_ok() {
            // If the reader of stderr is too slow, the rest is lost.
            let _ = flushed.recv_deadline(deadline);
        }
    }

    fn last_words(&self, line: &[u8], deadline: Instant) {
        if self.queue.send_deadline(Item::Line(line.into()), deadline).is_ok() {
            self.flush(deadline);
        }
    }
}

/// The line itself, cut to the longest length allowed.
fn shortened(line: &[u8]) -> Box<[u8]> {
    match line.get(..LONGEST - 1) {
        Some(start) if line.len() > LONGEST => [start, b"\n"].concat().into(),
        _ => line.into(),
    }
}

/// The writing thread's state: everything that may block is here.
struct Writer<O, S> {
    lines: Receiver<Item>,
    out: O,
    left_out: &'static AtomicU64,
    say: S,
    /// Number of left-out lines that were reported, and the time of that report.
    said: u64,
    said_at: Option<Instant>,
}

impl<O: Write, S: Fn(u64)> Writer<O, S> {
    fn run(mut self) {
        loop {
            match self.lines.recv_timeout(SAY_EVERY) {
                Ok(first) => self.write_with(first),
                Err(RecvTimeoutError::Timeout) => self.tell(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes an item and the items that wait after it.
    fn write_with(&mut self, first: Item) {
        let flushed = self.write_up_to_flush(Some(first));
        if flushed.is_some() {
            // The line about left-out lines must be written before the process ends.
            self.said_at = None;
        }
        self.tell();
        let Some(done) = flushed else { return };
        let again = self.write_up_to_flush(None);
        for done in iter::once(done).chain(again) {
            // The thread that asked may have given up waiting.
            let _ = done.send(());
        }
    }

    fn write_up_to_flush(&mut self, first: Option<Item>) -> Option<Sender<()>> {
        let (mut text, mut count) = (Vec::with_capacity(LONGEST), 0);
        let mut flushed = None;
        let lines = self.lines.clone();
        for item in first.into_iter().chain(lines.try_iter().take(LINES)) {
            match item {
                Item::Line(line) => {
                    // Lines leave together in one write, as long as a pipe takes it in one piece.
                    if text.len() + line.len() > LONGEST {
                        self.write(&mut text, &mut count);
                    }
                    text.extend_from_slice(&line);
                    count += 1;
                }
                Item::Flush(done) => {
                    flushed = Some(done);
                    break;
                }
            }
        }
        self.write(&mut text, &mut count);
        flushed
    }

    fn write(&mut self, text: &mut Vec<u8>, count: &mut u64) {
        // The disk is full, or the reader has gone: lines that cannot be written count as left out.
        if !text.is_empty() && self.out.write_all(text).is_err() {
            self.left_out.fetch_add(*count, Ordering::Relaxed);
        }
        text.clear();
        *count = 0;
    }

    /// Logs the number of left-out lines, once there is room for that line: it is queued like every other.
    fn tell(&mut self) {
        let left_out = self.left_out.load(Ordering::Relaxed);
        if left_out > self.said && !self.lines.is_full() && self.said_at.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            (self.said, self.said_at) = (left_out, Some(Instant::now()));
            (self.say)(left_out);
        }
    }
}

/// Stderr, even if another process has made it non-blocking: its flags belong to every process that has it.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(stderr.as_fd(), bytes) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
                }
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// Destination of lines, which may be stuck.
    #[derive(Clone, Default)]
    struct Pipe(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        stuck: bool,
        broken: bool,
        tried: bool,
        text: Vec<u8>,
        longest_write: usize,
    }

    impl Pipe {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        /// Waits until the thread has an item that it cannot write.
        fn wait_until_tried(&self) {
            let (state, changed) = &*self.0;
            let state = state.lock().unwrap();
            let (_state, waited) = changed.wait_timeout_while(state, LIMIT, |state| !state.tried).unwrap();
            assert!(!waited.timed_out());
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().text.clone()).unwrap()
        }
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = state.lock().unwrap();
            state.tried = true;
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.stuck).unwrap();
            if state.broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            state.longest_write = state.longest_write.max(bytes.len());
            state.text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LIMIT: Duration = Duration::from_secs(20);

    /// A log on `pipe`; it logs there as well how many lines it has left out.
    fn log(pipe: &Pipe) -> &'static Log {
        let left_out = Box::leak(Box::new(AtomicU64::new(0)));
        let place: &'static OnceLock<&'static Log> = Box::leak(Box::default());
        let say = move |lines| {
            if let Some(log) = place.get() {
                log.line(format!("{lines} left out\n").as_bytes());
            }
        };
        let log = Box::leak(Box::new(Log::start(pipe.clone(), left_out, say).unwrap()));
        place.get_or_init(|| log)
    }

    fn flush(log: &Log) {
        log.flush(Instant::now() + LIMIT);
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let pipe = Pipe::default();
        let log = log(&pipe);
        let lines: Vec<_> = (0..1_000).map(|number| format!("{number} {}\n", "x".repeat(100))).collect();
        lines.iter().for_each(|line| log.line(line.as_bytes()));
        flush(log);
        assert_eq!(pipe.text(), lines.concat());
        assert!(pipe.0.0.lock().unwrap().longest_write <= LONGEST);
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_nobody_waits() {
        let pipe = Pipe::default();
        pipe.set(|state| state.stuck = true);
        let log = log(&pipe);
        log.line(b"first\n");
        pipe.wait_until_tried();
        (0..LINES + 7).for_each(|_| log.line(b"more\n"));
        assert_eq!(log.left_out.load(Ordering::Relaxed), 7);
        let begin = Instant::now();
        log.flush(begin + Duration::from_millis(20));
        assert!(begin.elapsed() < LIMIT, "the end waits for a moment only");
        pipe.set(|state| state.stuck = false);
        flush(log);
        let text = pipe.text();
        assert!(text.starts_with("first\n") && text.contains("\n7 left out\n"), "{text}");
        assert_eq!(text.matches("more").count(), LINES);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let pipe = Pipe::default();
        pipe.set(|state| state.broken = true);
        let log = log(&pipe);
        (0..3).for_each(|_| log.line(b"lost\n"));
        flush(log);
        // The line about the lines left out is lost as well.
        assert!(log.left_out.load(Ordering::Relaxed) >= 3);
        pipe.set(|state| state.broken = false);
        log.line(b"back\n");
        flush(log);
        assert!(pipe.text().contains("back\n"));
    }

    #[test]
    fn the_last_words_wait_for_room() {
        let pipe = Pipe::default();
        pipe.set(|state| state.stuck = true);
        let log = log(&pipe);
        log.line(b"first\n");
        pipe.wait_until_tried();
        (0..LINES).for_each(|_| log.line(b"more\n"));
        let reader = pipe.clone();
        let said = thread::spawn(move || log.last_words(b"the port is in use\n", Instant::now() + LIMIT));
        reader.set(|state| state.stuck = false);
        said.join().unwrap();
        assert!(pipe.text().ends_with("the port is in use\n"));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        assert_eq!(shortened(b"short\n").as_ref(), b"short\n");
        let cut = shortened(&[b'x'; 10_000]);
        assert_eq!((cut.len(), cut.last()), (LONGEST, Some(&b'\n')));
    }
}

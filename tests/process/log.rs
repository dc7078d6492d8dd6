//! The log: it shows the decisions, and no thread waits for its reader.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::support::DEADLINE;
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::wait_for;

/// A pipe that is full, and its reading end, from which nothing is read.
struct FullPipe {
    reader: File,
    writer: Arc<OwnedFd>,
}

impl FullPipe {
    fn new() -> Self {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut file = File::from(writer.try_clone().unwrap());
        while file.write(&[b'x'; 4096]).is_ok() {}
        while file.write(b"x").is_ok() {}
        // The flags are the open file's, which the dispatcher gets.
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        FullPipe { reader: reader.into(), writer: Arc::new(writer) }
    }

    /// Reads until `word` comes.
    fn read_until(mut self, word: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 65_536];
        while !text.contains(word) {
            let length = self.reader.read(&mut buffer).unwrap();
            assert!(length > 0, "the log ended without `{word}`");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        text
    }
}

fn call(pointsman: &Pointsman, phone: &Phone) {
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_calls_nor_the_operator_nor_the_end() {
    let pipe = FullPipe::new();
    let setup = Setup { log_to: Some(pipe.writer.clone()), ..Setup::new(2) };
    // At debug each message is a line: more of them than the queue has places for.
    let pointsman = setup.with(["-v"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let options = phone.request("OPTIONS", pointsman.address());
    (0..3_000).for_each(|_| phone.send(&options, pointsman.address()));
    assert!(pointsman.command(&["drain", "w1"]).status.success());
    assert!(pointsman.command(&["ready", "w1"]).status.success());
    let died = pointsman.kill_worker(0);
    pointsman.wait_until("a successor", |load| {
        let worker = &load["workers"][0];
        worker["state"] == "up" && worker["pid"] != u64::from(died)
    });
    call(&pointsman, &phone);
    assert!(pointsman.stop().success());
}

#[test]
fn lines_that_nobody_read_are_counted_and_the_log_says_how_many() {
    let pipe = FullPipe::new();
    let setup = Setup { log_to: Some(pipe.writer.clone()), ..Setup::new(1) };
    let pointsman = setup.with(["-v"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let read = |pointsman: &Pointsman| pointsman.dispatcher("received");
    let options = phone.request("OPTIONS", pointsman.address());
    wait_for("more messages than the queue has places for", DEADLINE, || {
        (0..200).for_each(|_| phone.send(&options, pointsman.address()));
        (read(&pointsman) > 4_000).then_some(())
    });
    let text = pipe.read_until("lines were left out");
    assert!(text.contains("WARN"), "{text}");
    assert!(pointsman.stop().success());
}

#[test]
fn the_sound_of_a_call_goes_on_when_the_dispatcher_dies_and_nobody_reads_the_log() {
    let pipe = FullPipe::new();
    let mut pointsman = Setup { log_to: Some(pipe.writer.clone()), ..Setup::new(1) }.start();
    let phone = Phone::new(pointsman.address().ip());
    let (dialog, sound) = phone.call_with_sound(pointsman.address());
    let media = dialog.answer.media_address();
    let mut sequence = 0_u16;
    let mut hears_itself = || {
        sequence += 1;
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 1, 2, 3, 4]);
        packet.extend_from_slice(&[sequence as u8; 160]);
        sound.send_to(&packet, media).unwrap();
        sound.recv_from(&mut [0; 2048]).unwrap();
    };
    hears_itself();
    pointsman.crash();
    (0..20).for_each(|_| hears_itself());
    pointsman.start_again();
    pointsman.wait_until_up();
    hears_itself();
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    assert!(pointsman.stop().success());
}

#[test]
fn each_decision_and_each_call_is_a_line_of_the_verbose_log() {
    let pointsman = Setup::new(1).with(["-v"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let invite = phone.invite(pointsman.address(), None);
    let dialog = phone.call(&invite, pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    let options = phone.request("OPTIONS", pointsman.address());
    phone.transact(&options, pointsman.address());
    let has = |words: &[&str]| {
        let what = format!("a line with {words:?}");
        wait_for(&what, DEADLINE, || {
            pointsman.log().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    };
    let source = format!("source={}", phone.address());
    let call_id = format!("call_id={}", invite.call_id);
    has(&["decided", "method=INVITE", &call_id, &source, "target=w0", "reason=selected"]);
    has(&["decided", "method=OPTIONS", &format!("call_id={}", options.call_id), &source, "target=200"]);
    has(&["worker{name=\"w0\"}", "a call comes", &call_id]);
    has(&["worker{name=\"w0\"}", "a call has ended", &call_id]);
}

#[test]
fn under_systemd_a_line_begins_with_its_priority() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let about = file.as_file().metadata().unwrap();
    let stream = format!("{}:{}", about.dev(), about.ino());
    let log = File::options().append(true).open(file.path()).unwrap();
    let setup =
        Setup { log_to: Some(Arc::new(log.into())), environment: vec![("JOURNAL_STREAM", stream)], ..Setup::new(1) };
    let pointsman = setup.start();
    pointsman.kill_worker(0);
    let text = || std::fs::read_to_string(file.path()).unwrap();
    wait_for("the death to be logged", DEADLINE, || text().contains("a successor is started").then_some(()));
    assert!(pointsman.stop().success());
    let text = text();
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
    let of = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word}: {text}"));
    assert!(of("listening on").starts_with("<6>"), "{text}");
    assert!(of("a successor is started").starts_with("<4>"), "{text}");
}

#[test]
fn a_reload_that_fails_is_logged_whoever_asked_for_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "workers = 1\n").unwrap();
    let setup = Setup { workers_by_file: true, ..Setup::new(1) };
    let pointsman = setup.with(["--config", &file.path().display().to_string()]).start();
    std::fs::write(file.path(), "workers = \"many\"\n").unwrap();
    assert_eq!(pointsman.command(&["reload"]).status.code(), Some(1));
    wait_for("the log to say so", DEADLINE, || pointsman.log().contains("configuration not changed").then_some(()));
}

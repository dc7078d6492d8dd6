//! Takeovers while calls go on over connections, and others are idle.

use std::process::Child;

use super::*;

/// Takeovers while so many callers place calls, and as many connections as `idle` say nothing.
fn take_over_under_load(is_secure: bool, callers: usize, idle: usize, times: usize) {
    pointsman::net::process::raise_descriptor_limit(20_000).unwrap();
    let setup = Setup::new(4);
    let mut rig = Rig::with(setup, "max-connections-per-source = 5000");
    let to = if is_secure { rig.tls } else { rig.tcp };
    let mut silent: Vec<Line> = (0..idle).map(|_| rig.line(is_secure)).collect();
    for line in &mut silent {
        // A connection that has never said anything would be closed after half a minute.
        line.send(b"\r\n").unwrap();
    }
    let lines = (0..callers).map(|_| rig.line(is_secure)).collect();
    let load = Callers::start(lines, to, Duration::from_millis(20));
    // The process that has opened TLS connections keeps them; the later ones have nothing to keep.
    let mut first = None;
    for _ in 0..times {
        load.wait_for_more(callers as u64);
        match is_secure && first.is_none() {
            true => first = Some(rig.pointsman.take_over_and_keep()),
            false => rig.pointsman.take_over(),
        }
    }
    load.wait_for_more(callers as u64);
    let calls = load.end().unwrap();
    let open = silent.iter_mut().map(Line::is_open_and_silent).filter(|is_open| *is_open).count();
    println!("{calls} calls, {open} of {idle} idle connections are open");
    assert_eq!(open, idle);
    // They can be used.
    for (number, line) in silent.iter_mut().enumerate().step_by(100) {
        let answered = line.call(to, &format!("idle-{number}")).unwrap();
        assert!(line.bye(&answered, &format!("sip:service@{to}")).unwrap().starts_with("SIP/2.0 200"));
    }
    if let Some(mut first) = first {
        drop(silent);
        let status = wait_for("the end of the process that deciphered", DEADLINE, || first.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

#[test]
fn twenty_takeovers_under_load_close_no_tcp_connection_and_fail_no_call() {
    take_over_under_load(false, 25, 1_000, 20);
}

#[test]
fn twenty_takeovers_under_load_reset_no_tls_connection_and_fail_no_call() {
    take_over_under_load(true, 10, 1_000, 20);
}

#[test]
fn the_process_that_deciphers_ends_with_its_last_connection_and_with_its_successor() {
    let mut rig = Rig::new(2);
    let mut line = rig.line(true);
    let first = line.call(rig.tls, "first").unwrap();
    let mut old = rig.pointsman.take_over_and_keep();
    let bye = line.bye(&first, &format!("sip:service@{}", rig.tls)).unwrap();
    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    drop(line);
    let until_end = |old: &mut Child| {
        let status = wait_for("its end", DEADLINE, || old.try_wait().unwrap());
        assert!(status.success(), "{status}");
    };
    until_end(&mut old);
    let mut line = rig.line(true);
    line.send(b"\r\n").unwrap();
    let mut old = rig.pointsman.take_over_and_keep();
    rig.pointsman.crash();
    until_end(&mut old);
    assert!(line.receive().is_err());
}

//! The messages of RFC 3435: each is read, written anew from the values read, and read again as the same.
//!
//! The messages are not part of the project. `POINTSMAN_CORPORA` names the directory they lie in; without it they are
//! looked for beside the project, and the test says so when they are not there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::PathBuf;

use pointsman::wire::mgcp::{
    Command, CommandWriter, ConnectionMode, ConnectionParameters, DigitMap, EventName, Field, LocalOptions, Message,
    NotifiedEntity, Params, QuarantineHandling, RequestedEvents, RequestedInfo, Response, ResponseWriter,
    RestartMethod, Sessions, SignalRequests, parse, parts, separator,
};

/// Every file with its text.
fn messages() -> Option<Vec<(String, Vec<u8>)>> {
    let root = std::env::var_os("POINTSMAN_CORPORA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora")), PathBuf::from);
    let directory = root.join("mgcp/rfc3435");
    let Ok(entries) = fs::read_dir(&directory) else {
        eprintln!("not run: {} is not there", directory.display());
        return None;
    };
    let read = entries.map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
    });
    let mut messages: Vec<_> = read.collect();
    messages.sort();
    Some(messages)
}

/// The content of a message, in a form that two messages can be compared by.
#[derive(Debug, PartialEq)]
struct Said {
    head: Vec<u8>,
    params: Vec<(Vec<u8>, Vec<u8>)>,
    descriptions: Vec<Vec<u8>>,
}

fn said(message: &Message<'_>) -> Said {
    let (head, params, descriptions) = match message {
        Message::Command(command) => {
            let name = command.endpoint();
            let head = [command.verb().name(), b" ", name.as_bytes(), b" ", command.profile()].concat();
            (head, command.params(), command.descriptions())
        }
        Message::Response(response) => {
            let package = response.package().unwrap_or_default();
            let head = [response.code().to_string().as_bytes(), b" ", package, b" ", response.comment()].concat();
            (head, response.params(), response.descriptions())
        }
    };
    let head = [message.transaction().to_string().as_bytes(), b" ", &head].concat();
    let unfolded = |value: &[u8]| -> Vec<u8> {
        value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&b' ')
    };
    let params = params.map(|param| (param.name.to_vec(), unfolded(param.value))).collect();
    let lines = |session: &[u8]| -> Vec<u8> { session.iter().copied().filter(|&byte| byte != b'\r').collect() };
    Said { head, params, descriptions: descriptions.map(lines).collect() }
}

macro_rules! with_the_rest {
    ($writer:expr, $params:expr, $descriptions:expr) => {{
        let (params, descriptions): (Params<'_>, Sessions<'_>) = ($params, $descriptions);
        let writer = params.fold($writer, |writer, param| match param.field() {
            Some(field) => writer.param(field, param.value),
            None => writer.extension(param.name, param.value),
        });
        descriptions.fold(writer, |writer, session| writer.session(session)).finish();
    }};
}

fn write(out: &mut Vec<u8>, message: &Message<'_>) {
    match message {
        Message::Command(command) => {
            let (verb, name) = (command.verb(), command.endpoint());
            let writer =
                CommandWriter::with_profile(out, verb, command.transaction(), name.as_bytes(), command.profile());
            with_the_rest!(writer, command.params(), command.descriptions());
        }
        Message::Response(response) => {
            let (code, id) = (response.code(), response.transaction());
            let writer = ResponseWriter::with_comment(out, code, id, response.package(), response.comment());
            with_the_rest!(writer, response.params(), response.descriptions());
        }
    }
}

#[test]
fn every_message_of_the_rfc_is_written_as_it_was_read() {
    let Some(messages) = messages() else { return };
    assert!(messages.len() >= 120, "{} messages", messages.len());
    let (mut commands, mut responses) = (0, 0);
    for (name, bytes) in &messages {
        for line_ends in ["\r\n", "\n"] {
            let bytes = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\n', line_ends).into_bytes();
            let (mut before, mut written) = (Vec::new(), Vec::new());
            for part in parts(&bytes) {
                let message = parse(part).unwrap_or_else(|bad| panic!("{name}: {bad:?}"));
                match message {
                    Message::Command(_) => commands += 1,
                    Message::Response(_) => responses += 1,
                }
                if !written.is_empty() {
                    separator(&mut written);
                }
                write(&mut written, &message);
                before.push(said(&message));
            }
            let after: Vec<_> = parts(&written).map(|part| said(&parse(part).unwrap())).collect();
            // Names of parameters are written in capitals.
            for said in &mut before {
                for (name, _value) in &mut said.params {
                    name.make_ascii_uppercase();
                }
            }
            assert_eq!(after, before, "{name}: {}", written.escape_ascii());
        }
    }
    assert!(commands >= 100 && responses >= 100, "{commands} commands, {responses} responses");
}

#[test]
fn every_value_of_the_rfc_is_read_as_what_its_parameter_holds() {
    let Some(messages) = messages() else { return };
    for (name, bytes) in &messages {
        for part in parts(bytes) {
            let message = parse(part).unwrap();
            let params = match &message {
                Message::Command(command) => Command::params(command),
                Message::Response(response) => Response::params(response),
            };
            for param in params {
                let value = param.value;
                let is_read = match param.field() {
                    Some(Field::LocalConnectionOptions) => LocalOptions::parse(value).is_ok(),
                    Some(Field::ConnectionMode) => ConnectionMode::parse(value).is_some(),
                    Some(Field::RequestedEvents) => RequestedEvents::parse(value).is_some(),
                    Some(Field::SignalRequests | Field::ObservedEvents | Field::DetectEvents | Field::EventStates) => {
                        SignalRequests::parse(value).is_some()
                    }
                    Some(Field::DigitMap) => DigitMap::parse(value).is_some(),
                    Some(Field::ConnectionParameters) => {
                        ConnectionParameters::parse(value) != ConnectionParameters::default()
                    }
                    Some(Field::QuarantineHandling) => QuarantineHandling::parse(value).is_some(),
                    Some(Field::RequestedInfo) => RequestedInfo::new(value).iter().count() > 0,
                    Some(Field::NotifiedEntity) => NotifiedEntity::parse(value).is_some(),
                    Some(Field::RestartMethod) => RestartMethod::parse(value).is_some(),
                    Some(_) => true,
                    None => false,
                };
                assert!(is_read, "{name}: {}", value.escape_ascii());
            }
        }
    }
}

#[test]
fn the_embedded_request_of_appendix_f_is_read_to_its_last_event() {
    let text = b"L/hd(A, E(S(L/dl),R(L/oc, L/hu, D/[0-9#*T](D))))";
    let requested = RequestedEvents::parse(text).unwrap();
    let names: Vec<_> = requested.iter().map(|event| event.name).collect();
    assert_eq!(names, [EventName::parse(b"L/hd").unwrap()]);
}

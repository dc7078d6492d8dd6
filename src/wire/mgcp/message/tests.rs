use super::super::{EndpointName, Field, Param, ReturnCode, Verb};
use super::*;

fn command(text: &str) -> Command<'_> {
    match parse(text.as_bytes()) {
        Ok(Message::Command(command)) => command,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn response(text: &str) -> Response<'_> {
    match parse(text.as_bytes()) {
        Ok(Message::Response(response)) => response,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn fault(text: &str) -> (Fault, Option<u32>, bool) {
    let unparsable = parse(text.as_bytes()).unwrap_err();
    (unparsable.fault, unparsable.transaction.map(|id| id.0), unparsable.is_response)
}

#[test]
fn a_command_is_read_whatever_its_case_and_line_ends() {
    for text in [
        "CRCX 1204 aaln/1@rgw.example.net MGCP 1.0\r\nC: A3C4\r\nL: p:10, a:PCMU\r\nM: recvonly\r\n\r\nv=0\r\n",
        "crcx 1204 aaln/1@rgw.example.net mgcp 1.0\nc: A3C4\nl: p:10, a:PCMU\nm: recvonly\n\nv=0\r\n",
        "CrCx \t 01204  aaln/1@rgw.example.net  MGCP\t1.0 \r\nC:A3C4\nL:p:10, a:PCMU\t\r\nm :recvonly\n \r\nv=0\r\n",
        "\r\n\nCRCX 1204 aaln/1@rgw.example.net MGCP 1.0\nC: A3C4\nL: p:10, a:PCMU\nM: recvonly\nv=0\r\n",
    ] {
        let command = command(text);
        assert_eq!((command.verb(), command.transaction().0), (Verb::Crcx, 1204));
        assert_eq!(command.endpoint().as_bytes(), b"aaln/1@rgw.example.net");
        assert_eq!(command.profile(), b"");
        assert_eq!(command.call_id(), Some(&b"A3C4"[..]));
        assert_eq!(command.param(Field::LocalConnectionOptions), Some(&b"p:10, a:PCMU"[..]));
        assert_eq!(command.param(Field::ConnectionMode), Some(&b"recvonly"[..]));
        assert_eq!(command.connection_id(), None);
        assert_eq!(command.params().count(), 3);
        assert_eq!(command.descriptions().collect::<Vec<_>>(), [b"v=0\r\n"]);
    }
}

#[test]
fn every_profile_of_version_1_0_is_taken_and_no_unknown_version() {
    assert_eq!(command("RSIP 1 *@gw MGCP 1.0 NCS 1.0").profile(), b"NCS 1.0");
    assert_eq!(command("RSIP 1 *@gw MGCP 1.0 TGCP 1.0\r\n").profile(), b"TGCP 1.0");
    for version in ["MGCP 0.2", "MGCP 0", "MGCP 1.1", "MGCP 2.0", "MGCP 1", "SGCP 1.0", "MGCP x.y", "MGCP 1.0.0"] {
        assert_eq!(fault(&format!("RSIP 1 *@gw {version}\r\n")), (Fault::Version, Some(1), false), "{version}");
    }
    assert_eq!(Fault::Version.code(), ReturnCode(528));
}

#[test]
fn cisco_s_mgcp_0_1_is_taken() {
    assert_eq!(command("CRCX 7 ann/$@gw MGCP 0.1\r\nC: 1\r\nM: recvonly\r\n").verb(), Verb::Crcx);
    assert_eq!(command("DLCX 8 S0/DS1-0/1@gw mgcp 0.1\n").transaction(), TransactionId(8));
}

#[test]
fn an_unknown_verb_is_a_command_all_the_same() {
    assert_eq!(command("XFOO 7 a@b MGCP 1.0\n").verb(), Verb::Other(b"XFOO"));
    assert_eq!(command("Move 7 a@b MGCP 1.0\n").verb(), Verb::Other(b"Move"));
}

#[test]
fn an_unreadable_command_has_its_transaction_where_one_is_named() {
    for (text, expected) in [
        ("", (Fault::Empty, None, false)),
        ("\r\n\r\n", (Fault::Empty, None, false)),
        ("hello", (Fault::Transaction, None, false)),
        ("INVITE sip:a@b SIP/2.0\r\n", (Fault::Transaction, None, false)),
        ("\0\x01\0\x08garbage", (Fault::NotMgcp, None, false)),
        ("CRCX", (Fault::Transaction, None, false)),
        ("CRCX x1 a@b MGCP 1.0\r\n", (Fault::Transaction, None, false)),
        ("CRCX 1000000000 a@b MGCP 1.0\r\n", (Fault::Transaction, Some(1_000_000_000), false)),
        ("CRCX 99999999999 a@b MGCP 1.0\r\n", (Fault::Transaction, None, false)),
        ("CRCX 12\r\n", (Fault::CommandLine, Some(12), false)),
        ("CRCX 12 a@b\r\n", (Fault::CommandLine, Some(12), false)),
        ("CRCX 12 a@b MGCP\r\n", (Fault::CommandLine, Some(12), false)),
        ("CRCX 12 ab MGCP 1.0\r\n", (Fault::EndpointName, Some(12), false)),
        ("CRCX 12 a@b MGCP 1.0\r\nnothing\r\n", (Fault::ParameterLine, Some(12), false)),
        ("CRCX 12 a@b MGCP 1.0\r\n: nothing\r\n", (Fault::ParameterLine, Some(12), false)),
        ("CRCX 12 a@b MGCP 1.0\r\n C: 1\r\n", (Fault::ParameterLine, Some(12), false)),
        ("200 x OK\r\n", (Fault::Transaction, None, true)),
        ("20 12 OK\r\n", (Fault::ResponseLine, Some(12), true)),
        ("2000 12 OK\r\n", (Fault::ResponseLine, Some(12), true)),
        ("200 12 OK\r\nnothing\r\n", (Fault::ParameterLine, Some(12), true)),
    ] {
        assert_eq!(fault(text), expected, "{text:?}");
    }
}

#[test]
fn a_command_that_cannot_be_read_is_answered_and_a_response_never_is() {
    let answer = |text: &'static str| parse(text.as_bytes()).unwrap_err().answer();
    assert_eq!(answer("CRCX 0012 ab MGCP 1.0\r\n"), Some((ReturnCode(510), TransactionId(12))));
    assert_eq!(answer("200 12 OK\r\nnothing\r\n"), None);
    assert_eq!(answer("hello"), None);
}

#[test]
fn there_are_as_many_parameters_as_are_read_and_not_one_more() {
    let text = |lines| format!("CRCX 12 a@b MGCP 1.0\r\n{}", "X-A: 1\r\n".repeat(lines));
    assert_eq!(command(&text(96)).params().count(), 96);
    assert_eq!(fault(&text(97)), (Fault::TooManyParameters, Some(12), false));
    let long = format!("CRCX 12 a@b MGCP 1.0\r\nX-A: {}\r\n", "a".repeat(65_535));
    assert_eq!(fault(&long), (Fault::TooLarge, Some(12), false));
    let largest = &long[..65_535];
    assert_eq!(command(largest).extension(b"X-A").map(<[u8]>::len), Some(65_535 - 27));
}

#[test]
fn the_first_of_a_name_counts_and_all_are_listed() {
    let command = command("AUEP 1 a@b MGCP 1.0\nF: A\nx+size: 3\nf: R\nX+Size: 4\nfoo/Bar: 5\nY:\n");
    assert_eq!(command.param(Field::RequestedInfo), Some(&b"A"[..]));
    assert_eq!(command.extension(b"X+SIZE"), Some(&b"3"[..]));
    assert_eq!(command.extension(b"Foo/Bar"), Some(&b"5"[..]));
    assert_eq!(command.extension(b"y"), Some(&b""[..]));
    assert_eq!(command.extension(b"X-Size"), None);
    let listed: Vec<_> = command.params().map(|param| (param.field(), param.value)).collect();
    assert_eq!(listed.len(), 6);
    assert_eq!(listed[2], (Some(Field::RequestedInfo), &b"R"[..]));
    assert_eq!(listed[1], (None, &b"3"[..]));
}

#[test]
fn a_line_that_starts_with_white_space_continues_the_one_above() {
    // As RFC 3435 §3.3.6 prints capabilities.
    let response = response("200 1 OK\r\nA: a:PCMU, v:L,\r\n m:sendonly\r\n\t, p:10\r\nZ: a@b\r\n");
    let params: Vec<_> = response.params().collect();
    assert_eq!(params[0], Param { name: b"A", value: b"a:PCMU, v:L,\r\n m:sendonly\r\n\t, p:10" });
    assert_eq!(params[1], Param { name: b"Z", value: b"a@b" });
}

#[test]
fn a_response_has_a_code_perhaps_a_package_and_a_comment() {
    for (text, code, package, comment) in [
        ("200 1203 OK\r\n", 200, None, "OK"),
        ("000 1203", 0, None, ""),
        ("801 1203 /fxr Fax not possible\n", 801, Some(&b"fxr"[..]), "Fax not possible"),
        ("510 1203 Protocol  error \n", 510, None, "Protocol  error"),
    ] {
        let response = response(text);
        assert_eq!((response.code(), response.transaction().0), (ReturnCode(code), 1203));
        assert_eq!((response.package(), response.comment()), (package, comment.as_bytes()));
    }
    assert!(response("200 1 OK\r\nK:\r\nI: 1\r\n").asks_for_ack());
    assert!(!response("200 1 OK\r\nI: 1\r\n").asks_for_ack());
}

#[test]
fn descriptions_are_separated_by_an_empty_line_or_start_anew_with_a_version() {
    // RFC 3435 §3.3: the local, then the remote one.
    for text in [
        "200 1 OK\r\nM: sendrecv\r\n\r\nv=0\r\ns=-\r\n\r\nv=0\r\nt=0 0\r\n",
        "200 1 OK\nM: sendrecv\n\nv=0\r\ns=-\r\nv=0\r\nt=0 0\r\n",
        "200 1 OK\nM: sendrecv\n\n\n\nv=0\r\ns=-\r\n\n\r\nv=0\r\nt=0 0\r\n\r\n",
    ] {
        let found: Vec<_> = response(text).descriptions().collect();
        assert_eq!(found, [&b"v=0\r\ns=-\r\n"[..], b"v=0\r\nt=0 0\r\n"], "{text:?}");
    }
    assert_eq!(response("200 1 OK\r\n\r\n\r\n").descriptions().count(), 0);
    assert_eq!(response("200 1 OK\r\n").descriptions().count(), 0);
}

#[test]
fn names_of_255_characters_are_taken_and_longer_ones_not() {
    let text = |len| format!("AUEP 1 {}@gw MGCP 1.0\r\n", "a".repeat(len));
    assert_eq!(command(&text(EndpointName::MAX)).endpoint().local().len(), 255);
    assert_eq!(fault(&text(256)), (Fault::EndpointName, Some(1), false));
}

//! Requests of servers towards callers on connections, inside their dialogs.

use std::net::SocketAddr;

use super::Front;
use crate::support::line::Line;
use crate::support::phone::{Phone, Received};
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, own_address, wait_for};

/// A dialog at a server.
struct Dialog<'s> {
    server: &'s Phone,
    invite: Received,
}

/// The final response to a request that came, with a tag of the server's.
fn ok(request: &str, tag: &str) -> String {
    let fields = ["Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.split("\r\n").filter(|line| fields.iter().any(|field| line.starts_with(field)));
    let tagged = |line: &str| match line.starts_with("To:") && !line.contains(";tag=") {
        true => format!("{line};tag={tag}\r\n"),
        false => format!("{line}\r\n"),
    };
    let lines: String = lines.map(tagged).collect();
    format!("SIP/2.0 200 OK\r\n{lines}Contact: <sip:server@192.0.2.1>\r\nContent-Length: 0\r\n\r\n")
}

impl Dialog<'_> {
    /// Sends a request of the server to the dispatcher.
    fn send(&self, method: &str, cseq: u32) {
        let field = |name: &str| self.invite.header(name).unwrap();
        let routes = self.invite.fields().filter(|(name, _)| *name == "Record-Route");
        let routes: String = routes.map(|(_, value)| format!("Route: {value}\r\n")).collect();
        let (call_id, via) = (field("Call-ID"), self.server.address());
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport;branch=z9hG4bK-{call_id}-{cseq}\r\n{routes}\
             Max-Forwards: 70\r\nFrom: {};tag=s\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:server@{via}>\r\nContent-Length: 0\r\n\r\n",
            self.invite.contact_uri(),
            field("To"),
            field("From"),
        );
        self.server.send_bytes(text.as_bytes(), self.invite.from);
    }

    /// Waits for a response with this status to a request of the server.
    fn expect(&self, status: u16, cseq: &str) {
        let call_id = self.invite.header("Call-ID");
        let is_it =
            |it: &Received| it.status() == status && it.header("CSeq") == Some(cseq) && it.header("Call-ID") == call_id;
        self.server.expect(&format!("{status} to {cseq} of {call_id:?}"), is_it);
    }
}

/// A call on a connection, answered.
fn call<'s>(line: &mut Line, server: &'s Phone, (to, call_id): (SocketAddr, &str)) -> Dialog<'s> {
    line.invite(to, call_id).unwrap();
    let is_it = |it: &Received| it.method() == "INVITE" && it.header("Call-ID") == Some(call_id);
    let invite = server.expect("the INVITE", is_it);
    server.send_bytes(ok(&invite.text, "s").as_bytes(), invite.from);
    line.receive_final("INVITE").unwrap();
    Dialog { server, invite }
}

#[test]
fn a_servers_request_reaches_a_caller_on_a_connection_once_and_gets_430_when_the_caller_has_left() {
    let server = Phone::new(own_address().into());
    let settings = format!("[[proxy]]\nname = \"s\"\nuri = \"sip:{}\"\nprobe = \"none\"\n", server.address());
    // The lane of a call may be another than that of its connection.
    let setup = Setup::new(0).lanes(2);
    let at = SocketAddr::new(setup.ip, setup.port);
    let front = Front::start_as(&settings, setup.with(["--listen", &format!("tcp:{at}")]));
    let mut line = Line::tcp(at).unwrap();
    let calls: Vec<_> = (0..8).map(|call| format!("flow-{call}")).collect();
    let dialogs: Vec<_> = calls.iter().map(|call_id| call(&mut line, &server, (at, call_id))).collect();
    for dialog in &dialogs {
        dialog.send("INVITE", 7);
        dialog.send("INVITE", 7);
        let invite = line.receive().unwrap();
        assert!(invite.starts_with("INVITE "), "{invite}");
        line.send(ok(&invite, "").as_bytes()).unwrap();
        dialog.expect(200, "7 INVITE");
        [("INVITE", 7), ("ACK", 7), ("INFO", 8)].into_iter().for_each(|(method, cseq)| dialog.send(method, cseq));
        // Each lane may have read one of them.
        let mut came = [line.receive().unwrap(), line.receive().unwrap()];
        came.sort_unstable();
        assert!(came[0].starts_with("ACK ") && came[1].starts_with("INFO "), "{came:?}");
        line.send(ok(&came[1], "").as_bytes()).unwrap();
        dialog.expect(200, "8 INFO");
    }
    drop(line);
    wait_for("the end of the connection", DEADLINE, || {
        let reply = front.pointsman.stats("connections");
        let open: u64 =
            reply["listeners"].as_array()?.iter().filter_map(|listener| listener["connections"].as_u64()).sum();
        (open == 0).then_some(())
    });
    for dialog in &dialogs {
        dialog.send("BYE", 9);
        dialog.expect(430, "9 BYE");
    }
    let returned = &front.pointsman.stats("counters")["returned"];
    assert_eq!(returned["reasons"]["flow-failed"], 8, "{returned}");
}

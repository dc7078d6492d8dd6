//! Calls through a dispatcher as they are on the wire: Wireshark's dissectors find no fault, and a message that has
//! travelled on differs from the one that came in what RFC 3261 §16.6 and §16.7 say.

use std::net::UdpSocket;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::*;

/// A capture of what one address sends and receives over UDP.
struct Capture {
    dumpcap: Server,
    file: PathBuf,
    marker: UdpSocket,
    /// A port of the address where nobody listens.
    to: SocketAddr,
}

impl Capture {
    /// Begins to capture; an error where this user may not.
    fn start(of: IpAddr, dir: &Path) -> Result<Capture, String> {
        let file = dir.join("wire.pcap");
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-P", "-i", "lo", "-B", "64", "-f", &format!("udp and host {of}"), "-w"]).arg(&file);
        let dumpcap = Server::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let marker = UdpSocket::bind((of, 0)).unwrap();
        let mut capture = Capture { dumpcap, file, marker, to: SocketAddr::new(of, 9) };
        let is_there = capture.mark("begin");
        if is_there { Ok(capture) } else { Err("this user may not capture on the loopback interface".to_owned()) }
    }

    /// Sends this text until it is in the file; false when the program has ended before.
    fn mark(&mut self, text: &str) -> bool {
        support::wait_for("the capture", support::DEADLINE, || {
            // The port is unreachable, which the next call is told.
            let _ = self.marker.send_to(text.as_bytes(), self.to);
            let written = fs::read(&self.file).unwrap_or_default();
            if written.windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
                return Some(true);
            }
            self.dumpcap.0.try_wait().unwrap().is_some().then_some(false)
        })
    }

    /// Ends, and gives the file.
    fn end(mut self) -> PathBuf {
        assert!(self.mark("the end of it"));
        support::proc::signal(self.dumpcap.0.id(), Signal::SIGTERM);
        assert!(self.dumpcap.0.wait().unwrap().success());
        self.file.clone()
    }
}

fn tshark(file: &Path, words: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(file).args(words).output().expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A message of SIP as it was sent.
struct Sent {
    from: SocketAddr,
    to: SocketAddr,
    lines: Vec<String>,
    body: String,
}

impl Sent {
    fn read(line: &str) -> Sent {
        let [source, source_port, target, target_port, payload] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let address = |ip: &str, port: &str| format!("{ip}:{port}").parse().unwrap();
        let byte = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).unwrap();
        let bytes = (0..payload.len()).step_by(2).map(byte).collect();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines = head.split("\r\n").map(str::to_owned).collect();
        Sent { from: address(source, source_port), to: address(target, target_port), lines, body: body.to_owned() }
    }

    fn is_response(&self) -> bool {
        self.lines[0].starts_with("SIP/2.0 ")
    }

    fn field(&self, name: &str) -> &str {
        let mut values = self.lines.iter().filter_map(|line| line.split_once(": "));
        values.find(|(of, _)| of.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// Whether both are the same request, or the same response to the same one.
    fn is_same(&self, other: &Sent) -> bool {
        let start = |sent: &Sent| sent.is_response().then(|| sent.lines[0].clone());
        start(self) == start(other) && ["call-id", "cseq"].iter().all(|name| self.field(name) == other.field(name))
    }
}

/// Faults of a request that has travelled on, beside the one that came.
fn is_forwarded(out: &Sent, came: &Sent, front: SocketAddr) -> Result<(), String> {
    let ours = format!("Via: SIP/2.0/UDP {front};branch=z9hG4bK");
    let [start, via, rest @ ..] = &out.lines[..] else { return Err("no head".to_owned()) };
    let hops = |value: &str| value.parse::<u32>().unwrap();
    if !via.starts_with(&ours) {
        return Err(format!("on top: {via}"));
    }
    for (out, came) in std::iter::once(start).chain(rest).zip(&came.lines) {
        let is_right = match came.split_once(": ") {
            // The caller's, with `received` and `rport` (RFC 3261 §18.2.1, RFC 3581).
            Some(("Via", _)) => out.starts_with(came.trim_end_matches(";rport")),
            Some(("Max-Forwards", value)) => *out == format!("Max-Forwards: {}", hops(value) - 1),
            _ => out == came,
        };
        if !is_right {
            return Err(format!("{out:?} of {came:?}"));
        }
    }
    if rest.len() + 1 != came.lines.len() || out.body != came.body {
        return Err("more or less than came".to_owned());
    }
    Ok(())
}

/// Calls of each kind, captured: what the dispatcher has forwarded, without what `is_ours` says it sends of its own.
fn calls_on_the_wire(mode: &str, is_ours: impl Fn(&Sent) -> bool) {
    const EACH: u64 = 50;
    let (dir, addresses) = (dir(), addresses());
    let _servers = addresses.map(|address| sofia(address, dir.path()));
    let front = in_front(&format!("mode = \"{mode}\""), &addresses, dir.path());
    let capture = match Capture::start(front.address().ip(), dir.path()) {
        Ok(capture) => capture,
        Err(why) => return support::pass_over_outside_ci(&why),
    };
    for kind in Kind::ALL {
        place(kind, EACH, FAST, &front, dir.path());
    }
    let file = capture.end();
    let faults = "sip && (_ws.malformed || _ws.expert.severity == \"Error\" || _ws.expert.severity == \"Warning\")";
    let found = tshark(&file, &["-Y", faults, "-V"]);
    assert!(found.is_empty(), "{found}");

    let fields = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload"].map(|name| ["-e", name]).concat();
    let text = tshark(&file, &[&["-Y", "sip", "-T", "fields"][..], &fields].concat());
    let sent: Vec<Sent> = text.lines().map(Sent::read).collect();
    let (mut requests, mut responses) = (0, 0);
    for (at, out) in sent.iter().enumerate().filter(|(_, out)| out.from == front.address() && !is_ours(out)) {
        let came = sent[..at].iter().rev().find(|came| came.to == front.address() && came.is_same(out));
        let came = came.unwrap_or_else(|| panic!("nothing like {:?} came", out.lines));
        if out.is_response() {
            let without = [&came.lines[..1], &came.lines[2..]].concat();
            assert!(came.lines[1].starts_with("Via: ") && out.lines == without, "{:?} of {:?}", out.lines, came.lines);
            assert_eq!(out.body, came.body);
            responses += 1;
        } else {
            is_forwarded(out, came, front.address()).unwrap_or_else(|what| panic!("{what}"));
            assert!(addresses.contains(&out.to));
            requests += 1;
        }
    }
    assert!(requests >= 5 * EACH && responses >= 8 * EACH, "{requests} and {responses}");
}

#[test]
fn a_proxied_message_is_well_formed_and_its_own_but_for_via_and_max_forwards() {
    calls_on_the_wire("proxy", |_| false);
}

#[test]
fn a_message_proxied_with_state_is_well_formed_and_its_own_but_for_via_and_max_forwards() {
    // CANCEL, its answer, and the ACK to a final response that is no 2xx go from hop to hop (RFC 3261 §9.2, §17.1.1.3).
    calls_on_the_wire("stateful", |sent| !sent.field("CSeq").ends_with("INVITE") || sent.lines[0].contains(" 100 "));
}

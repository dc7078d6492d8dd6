//! The messages of RFC 4475 and RFC 5118 over a real socket: each gets an answer that the RFC allows, and the
//! dispatcher and its worker live on.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::own_address;
use crate::support::phone::{Phone, Received};
use crate::support::pointsman::{Setup, corpora};

/// Limit for an answer; none comes later than that on a machine that works.
const PATIENCE: Duration = Duration::from_secs(4);

/// One message and the corpus's statements about it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    kind: String,
    class: String,
    allowed: String,
}

fn cases(folder: &Path, allowed_column: &str) -> Vec<Case> {
    let index = fs::read_to_string(folder.join("index.tsv")).unwrap();
    let mut lines = index.lines();
    let names: Vec<_> = lines.next().unwrap().split('\t').collect();
    let column = |row: &[&str], name: &str| {
        let at = names.iter().position(|other| *other == name).unwrap_or_else(|| panic!("no column {name}"));
        row.get(at).copied().unwrap_or_default().to_owned()
    };
    let case = |line: &str| {
        let row: Vec<_> = line.split('\t').collect();
        let file = column(&row, "file");
        Case {
            name: column(&row, "name"),
            bytes: fs::read(mended(folder, &file)).unwrap(),
            kind: column(&row, "kind"),
            class: column(&row, "class"),
            allowed: column(&row, allowed_column),
        }
    };
    lines.filter(|line| !line.trim().is_empty()).map(case).collect()
}

/// The mended form of a file that the RFC's archive has spoilt, where there is one.
fn mended(folder: &Path, file: &str) -> PathBuf {
    let candidates = ["fixed", "fixed-cl"].map(|fixed| folder.join(fixed).join(file));
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| folder.join(file))
}

/// Ports of the sender at which an answer may arrive: the default ones and those a Via names (RFC 3261 §18.2.2).
fn answer_ports(bytes: &[u8]) -> BTreeSet<u16> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n ", " ").replace("\r\n\t", " ");
    let vias = text.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("via") || name.eq_ignore_ascii_case("v")
    });
    let named = vias.flat_map(|via| via.split(':').skip(1).map(str::to_owned).collect::<Vec<_>>()).filter_map(|rest| {
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u16>().ok().filter(|&port| port >= 1024)
    });
    named.chain([5060, 5061]).collect()
}

/// A sender with a socket at each port.
struct Sender {
    sockets: Vec<UdpSocket>,
}

impl Sender {
    fn new(ip: IpAddr, ports: BTreeSet<u16>) -> Self {
        let sockets: Vec<_> = ports.into_iter().map(|port| UdpSocket::bind((ip, port)).unwrap()).collect();
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        Sender { sockets }
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        self.sockets[0].send_to(bytes, to).unwrap();
    }

    /// The next message that is no provisional response.
    fn receive(&self, within: Duration) -> Option<Received> {
        let begin = Instant::now();
        let mut buffer = vec![0; 65_536];
        while begin.elapsed() < within {
            for socket in &self.sockets {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let received = Received { text: String::from_utf8_lossy(&buffer[..length]).into_owned(), from };
                if !(100..200).contains(&received.status()) {
                    return Some(received);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Case {
    /// The objection to `status`, if any; a status of `None` stands for silence.
    fn objection(&self, status: Option<u16>) -> Option<String> {
        let words: Vec<_> = self.allowed.split(['|', ' ']).filter(|word| !word.is_empty() && *word != "or").collect();
        let is_request = self.kind == "request";
        let fits = |word: &str| match word {
            "none" | "drop" => status.is_none(),
            // Processed like any other: whatever a server says to a request that it has understood.
            "accept" | "forward" => status.is_some_and(understood),
            "-" => status.is_some_and(|status| !is_request || self.class != "valid" || understood(status)),
            number => status.is_some_and(|status| number.parse() == Ok(status)),
        };
        let said = status.map_or("nothing".to_owned(), |status| status.to_string());
        (!words.iter().any(|word| fits(word))).then(|| format!("{}: {said}, allowed is {}", self.name, self.allowed))
    }

    fn expects_silence_only(&self) -> bool {
        self.allowed == "none"
    }
}

const fn understood(status: u16) -> bool {
    status == 501 || (status >= 200 && status < 500 && status != 400)
}

fn torture(cases: &[Case]) {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let mut objections = Vec::new();
    for case in cases {
        let sender = Sender::new(own_address().into(), answer_ports(&case.bytes));
        sender.send(&case.bytes, pointsman.address());
        // The lane reads in order: when this is answered, a message that gets no answer has been read.
        let options = phone.request("OPTIONS", pointsman.address());
        assert_eq!(phone.transact(&options, pointsman.address()).status(), 200, "after {}", case.name);
        let silent = case.expects_silence_only();
        let answer = sender.receive(if silent { Duration::from_millis(100) } else { PATIENCE });
        objections.extend(case.objection(answer.map(|answer| answer.status())));
    }
    assert!(objections.is_empty(), "{} of {}:\n{}", objections.len(), cases.len(), objections.join("\n"));
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    assert_eq!(pointsman.worker_number(0, "restarts"), 0);
}

#[test]
fn rfc_4475_messages_get_the_answers_that_the_rfc_allows() {
    let Some(corpora) = corpora() else { return eprintln!("no corpora beside the project: nothing to send") };
    let cases = cases(&corpora.join("rfc4475"), "allowed_status");
    assert!(cases.len() >= 49, "{} messages", cases.len());
    torture(&cases);
}

#[test]
fn rfc_5118_messages_get_the_answers_that_the_rfc_allows() {
    let Some(corpora) = corpora() else { return eprintln!("no corpora beside the project: nothing to send") };
    let cases = cases(&corpora.join("rfc5118"), "allowed_status");
    assert!(cases.len() >= 12, "{} messages", cases.len());
    torture(&cases);
}

#[test]
fn bytes_that_are_no_message_get_no_answer() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let headers: String = (0..2_000).map(|at| format!("X-{at}: y\r\n")).collect();
    let bomb =
        phone.invite(pointsman.address(), None).text().replacen("Content-Type", &format!("{headers}Content-Type"), 1);
    let silent: [&[u8]; 7] = [
        b"\r\n\r\n",
        b"\0",
        b"\0\0\0\0",
        b"jaK\0",
        &[0xff; 1200],
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
    ];
    for bytes in silent {
        phone.send_bytes(bytes, pointsman.address());
    }
    let options = phone.request("OPTIONS", pointsman.address());
    phone.send(&options, pointsman.address());
    // The answer to OPTIONS is the first datagram that comes back: the others got none.
    let first = phone.receive(PATIENCE).expect("an answer to OPTIONS");
    assert!(first.answers(&options), "{}", first.text);
    phone.send_bytes(bomb.as_bytes(), pointsman.address());
    let refused = phone.receive(PATIENCE).expect("an answer to a message with too many headers");
    assert!(refused.status() >= 400, "{}", refused.text);
    let ack = phone.invite(pointsman.address(), None).text().replace("INVITE", "ACK").replace("CSeq: 1", "CSeq: x");
    phone.send_bytes(ack.as_bytes(), pointsman.address());
    let options = phone.request("OPTIONS", pointsman.address());
    assert_eq!(phone.transact(&options, pointsman.address()).status(), 200);
}

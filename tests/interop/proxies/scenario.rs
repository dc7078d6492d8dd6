//! Calls as sipp places and takes them, put together from their steps.
//!
//! The user part of the request-URI says what becomes of a call, whichever server takes it.

use std::fmt::Write as _;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is answered after it has rung; the caller sends a re-INVITE, and hangs up.
    Answer,
    /// It is answered with 486.
    Busy,
    /// It rings until the caller cancels it.
    Ring,
    /// It is answered after a reliable 183 (RFC 3262); the caller hangs up.
    Prack,
    /// It is answered at once; the server sends a re-INVITE, and hangs up.
    Turn,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Answer, Kind::Busy, Kind::Ring, Kind::Prack, Kind::Turn];

    /// The user part of its request-URI.
    pub fn user(self) -> &'static str {
        match self {
            Kind::Answer => "answer",
            Kind::Busy => "busy",
            Kind::Ring => "ring",
            Kind::Prack => "prack",
            Kind::Turn => "turn",
        }
    }
}

/// A session of one stream.
pub const SDP: &str = "v=0
      o=- 1 1 IN IP[local_ip_type] [local_ip]
      s=-
      c=IN IP[media_ip_type] [media_ip]
      t=0 0
      m=audio [media_port] RTP/AVP 0
      a=rtpmap:0 PCMU/8000";

/// The way of the messages of a call after its INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From one peer to the other, by Contact.
    Direct,
    /// By the routes of the dialog.
    Routed,
}

/// The address of the peer, as its Contact has it: request-URI of what follows, and where it is sent.
const FOLLOW: &str = r#"<action>
      <ereg regexp="&lt;(sip:([^@>]*@)?([0-9.]+):([0-9]+)[^>]*)>" search_in="hdr" header="Contact:" check_it="true"
            assign_to="contact,uri,user,host,port"/>
    </action>"#;
const SET_DESTINATION: &str = r#"<setdest host="[$host]" port="[$port]" protocol="[transport]"/>"#;

impl Way {
    /// The actions of a caller on the response that establishes the dialog, and these after them.
    fn follow(self, more: &str) -> String {
        let destination = if self == Way::Direct { SET_DESTINATION } else { "" };
        FOLLOW.replace("</action>", &format!("{destination}\n      {more}</action>"))
    }
}

/// A scenario of sipp's in the making.
struct Steps {
    text: String,
    /// Commands so far: sipp names a branch by the distance to the command that made it.
    commands: usize,
}

impl Steps {
    fn new(name: &str) -> Self {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<scenario name=\"{name}\">\n");
        Steps { text, commands: 0 }
    }

    fn command(&mut self, text: &str) {
        self.commands += 1;
        writeln!(self.text, "  {text}").expect("a string takes everything");
    }

    fn label(&mut self, label: usize) {
        writeln!(self.text, "  <label id=\"{label}\"/>").expect("a string takes everything");
    }

    /// A message: its attributes as sipp's, its head, and whether it has a session description.
    fn send(&mut self, attributes: &str, head: &[&str], described: bool) {
        let body = if described {
            format!("Content-Type: application/sdp\n      Content-Length: [len]\n\n      {SDP}")
        } else {
            "Content-Length: 0\n".to_owned()
        };
        let head = head.join("\n      ");
        self.command(&format!("<send {attributes}><![CDATA[\n      {head}\n      {body}\n    ]]></send>"));
    }

    /// A response, the 100 first and others before it where they are `may`.
    fn await_response(&mut self, may: &[u16], code: u16, action: &str) {
        for may in may {
            self.command(&format!("<recv response=\"{may}\" optional=\"true\"/>"));
        }
        let keeps_routes = if action.is_empty() { "" } else { " rrs=\"true\"" };
        self.command(&format!("<recv response=\"{code}\"{keeps_routes}>{action}</recv>"));
    }

    fn await_request(&mut self, method: &str) {
        self.command(&format!("<recv request=\"{method}\"/>"));
    }

    /// A request of the caller's within its call, or about its INVITE where it has the branch of an earlier command.
    fn request(&mut self, method: &str, number: u32, of: Option<usize>, to: &str, more: &[&str]) {
        let branch = of.map_or("[branch]".to_owned(), |index| format!("[branch-{}]", self.commands - index));
        let via = format!("Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport");
        let (line, cseq) = (format!("{method} [$uri] SIP/2.0"), format!("CSeq: {number} {method}"));
        let from = "From: <sip:caller@[local_ip]:[local_port]>;tag=[pid]c[call_number]";
        let mut head = vec![line.as_str(), &via, "Max-Forwards: 70", from, to, "Call-ID: [call_id]", &cseq];
        if method == "INVITE" {
            head.push("Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>");
        }
        if to == IN_CALL {
            head.push("[routes]");
        }
        head.extend(more);
        self.send(if method == "ACK" { "" } else { "retrans=\"500\"" }, &head, method == "INVITE");
    }

    /// A response to the last request, or to that with these Vias and this CSeq.
    fn respond(&mut self, attributes: &str, line: &str, to: &str, invite: Option<[&str; 2]>, more: &[&str]) {
        let [via, cseq] = invite.unwrap_or(["[last_Via:]", "[last_CSeq:]"]);
        let line = format!("SIP/2.0 {line}");
        let mut head = vec![line.as_str(), via, "[last_From:]", to, "[last_Call-ID:]", cseq];
        head.extend(more);
        self.send(attributes, &head, more.contains(&CONTACT));
    }

    fn end(mut self) -> String {
        self.text.push_str("</scenario>\n");
        self.text
    }
}

const CONTACT: &str = "Contact: <sip:[local_ip]:[local_port]>";
/// The Record-Route of the request, in the response that establishes the dialog.
const ROUTES: &str = "[last_Record-Route:]";
/// The To of a request within the caller's call.
const IN_CALL: &str = "To: <sip:service@[remote_ip]:[remote_port]>[peer_tag_param]";
const LAST_TO: &str = "[last_To:]";

/// A caller that goes where Contact and Record-Route send it, also the Contact of a 302 (RFC 3261 §8.1.3.4).
pub fn caller(kind: Kind, way: Way) -> String {
    let [once_more, redirected, end] = [1, 2, 3];
    let mut steps = Steps::new(kind.user());
    let user = kind.user();
    steps.command(&format!(
        "<nop><action><assignstr assign_to=\"uri\" value=\"sip:{user}@[remote_ip]:[remote_port]\"/></action></nop>"
    ));
    steps.label(once_more);
    let invite = steps.commands;
    let more: &[&str] = if kind == Kind::Prack { &["Supported: 100rel"] } else { &[] };
    steps.request("INVITE", 1, None, "To: <sip:service@[remote_ip]:[remote_port]>", more);
    steps.command("<recv response=\"100\" optional=\"true\"/>");
    let redirection = r#"<action>
      <ereg regexp="&lt;(sip:[a-z]+@([0-9.]+):([0-9]+))>;q=0.9" search_in="hdr" header="Contact:" check_it="true"
            assign_to="first,next_uri,host,port"/>
    </action>"#;
    steps.command(&format!("<recv response=\"302\" optional=\"true\" next=\"{redirected}\">{redirection}</recv>"));
    match kind {
        Kind::Answer => {
            steps.await_response(&[180], 200, &way.follow(""));
            steps.request("ACK", 1, None, IN_CALL, &[]);
            steps.request("INVITE", 2, None, IN_CALL, &[]);
            steps.await_response(&[100], 200, "");
            steps.request("ACK", 2, None, IN_CALL, &[]);
            steps.request("BYE", 3, None, IN_CALL, &[]);
            steps.await_response(&[], 200, "");
        }
        Kind::Busy => {
            steps.await_response(&[], 486, "");
            steps.request("ACK", 1, Some(invite), LAST_TO, &[]);
        }
        Kind::Ring => {
            steps.await_response(&[], 180, "");
            steps.request("CANCEL", 1, Some(invite), "To: <sip:service@[remote_ip]:[remote_port]>", &[]);
            steps.await_response(&[180], 200, "");
            steps.await_response(&[], 487, "");
            steps.request("ACK", 1, Some(invite), LAST_TO, &[]);
        }
        Kind::Prack => {
            steps.await_response(&[], 183, &way.follow(RSEQ));
            steps.request("PRACK", 2, None, IN_CALL, &["RAck: [$rseq] 1 INVITE"]);
            // The answers to both may come in either order.
            steps.await_response(&[183], 200, "");
            steps.await_response(&[], 200, "");
            steps.request("ACK", 1, None, IN_CALL, &[]);
            steps.request("BYE", 3, None, IN_CALL, &[]);
            steps.await_response(&[], 200, "");
        }
        Kind::Turn => {
            steps.await_response(&[180], 200, &way.follow(""));
            steps.request("ACK", 1, None, IN_CALL, &[]);
            steps.await_request("INVITE");
            steps.respond("retrans=\"500\"", "200 OK", LAST_TO, None, &[CONTACT]);
            steps.await_request("ACK");
            steps.await_request("BYE");
            steps.respond("", "200 OK", LAST_TO, None, &[]);
        }
    }
    steps.command(&format!("<nop next=\"{end}\"/>"));
    steps.label(redirected);
    steps.request("ACK", 1, Some(invite), LAST_TO, &[]);
    steps.command(&format!(
        "<nop next=\"{once_more}\"><action><assignstr assign_to=\"uri\" value=\"[$next_uri]\"/>\
         <setdest host=\"[$host]\" port=\"[$port]\" protocol=\"[transport]\"/></action></nop>"
    ));
    steps.label(end);
    let unused = match kind {
        Kind::Busy | Kind::Ring => "first",
        Kind::Prack => "first,contact,user,rseq_line",
        Kind::Answer | Kind::Turn => "first,contact,user",
    };
    writeln!(steps.text, "  <Reference variables=\"{unused}\"/>").expect("a string takes everything");
    steps.end()
}

/// The number of a reliable response.
const RSEQ: &str = r#"<ereg regexp="([0-9]+)" search_in="hdr" header="RSeq:" check_it="true" assign_to="rseq_line,rseq"/>
    "#;

/// A server as telephone systems are: it answers OPTIONS and takes calls as their user part says. A call for another
/// user is answered, and its messages are expected on the way that its INVITE came.
pub fn server() -> String {
    const INVITE: Option<[&str; 2]> = Some(["[$vias]", "CSeq: 1 INVITE"]);
    const TAGGED: &str = "[last_To:];tag=s[pid]-[call_number]";
    const END: usize = 9;
    let label = |kind: Kind| 10 + kind as usize;
    let mut steps = Steps::new("server");
    steps.command("<recv request=\"OPTIONS\" optional=\"true\" next=\"1\"/>");
    // sipp sends everything of a call to the address that its first message came from, until it is told another one.
    let mut first = r#"<recv request="INVITE" rrs="true"><action>
      <ereg regexp=".+" search_in="hdr" header="Record-Route:" assign_to="routed"/>
      <ereg regexp="Via: .*SIP/2.0/[A-Z]+ [^[:cntrl:]]*" search_in="msg" assign_to="vias"/>
      <ereg regexp="UDP ([0-9.]+):([0-9]+)" search_in="hdr" header="Via:" assign_to="via,via_host,via_port"/>
      <ereg regexp="&lt;(sip:([^@>]*@)?([0-9.]+):([0-9]+)[^>]*)>" search_in="hdr" header="Contact:"
            assign_to="contact,uri,user,host,port"/>"#
        .to_owned();
    for kind in Kind::ALL.map(Kind::user) {
        let ereg = format!("\n      <ereg regexp=\"INVITE sip:{kind}@\" search_in=\"msg\" assign_to=\"{kind}\"/>");
        first.push_str(&ereg);
    }
    steps.command(&(first + "</action></recv>"));
    for kind in Kind::ALL {
        steps.command(&format!("<nop test=\"{}\" next=\"{}\"/>", kind.user(), label(kind)));
    }
    // Later requests go to the caller by Contact, where no Record-Route names another one. sipp refuses what comes
    // while it is at more than one of these steps.
    let await_then_to_caller = |steps: &mut Steps, method: &str, action: &str| {
        let routed = 20 + steps.commands;
        steps.command(&format!("<recv request=\"{method}\" test=\"routed\" next=\"{routed}\">{action}</recv>"));
        steps.command(&format!("<nop><action>{SET_DESTINATION}</action></nop>"));
        steps.label(routed);
    };
    let back =
        "<nop><action><setdest host=\"[$via_host]\" port=\"[$via_port]\" protocol=\"[transport]\"/></action></nop>";
    let ends = format!("next=\"{END}\"");

    steps.respond("retrans=\"500\"", "200 OK", TAGGED, None, &[CONTACT, ROUTES]);
    steps.await_request("ACK");
    steps.await_request("BYE");
    steps.respond(&ends, "200 OK", LAST_TO, None, &[]);

    steps.label(label(Kind::Answer));
    steps.respond("", "180 Ringing", TAGGED, None, &[]);
    steps.respond("retrans=\"500\"", "200 OK", TAGGED, None, &[CONTACT, ROUTES]);
    await_then_to_caller(&mut steps, "ACK", "");
    steps.await_request("INVITE");
    steps.respond("retrans=\"500\"", "200 OK", LAST_TO, None, &[CONTACT]);
    steps.await_request("ACK");
    steps.await_request("BYE");
    steps.respond(&ends, "200 OK", LAST_TO, None, &[]);

    steps.label(label(Kind::Busy));
    steps.respond("retrans=\"500\"", "486 Busy Here", TAGGED, None, &[]);
    steps.command(&format!("<recv request=\"ACK\" {ends}/>"));

    steps.label(label(Kind::Ring));
    steps.respond("", "180 Ringing", TAGGED, None, &[]);
    steps.await_request("CANCEL");
    steps.respond("", "200 OK", TAGGED, None, &[]);
    steps.respond("retrans=\"500\"", "487 Request Terminated", TAGGED, INVITE, &[]);
    steps.command(&format!("<recv request=\"ACK\" {ends}/>"));

    steps.label(label(Kind::Prack));
    let reliable = ["Require: 100rel", "RSeq: 1", CONTACT, ROUTES];
    steps.respond("retrans=\"500\"", "183 Session Progress", TAGGED, None, &reliable);
    await_then_to_caller(&mut steps, "PRACK", "");
    steps.respond("", "200 OK", LAST_TO, None, &[]);
    steps.command(back);
    steps.respond("retrans=\"500\"", "200 OK", LAST_TO, INVITE, &[CONTACT]);
    await_then_to_caller(&mut steps, "ACK", "");
    steps.await_request("BYE");
    steps.respond(&ends, "200 OK", LAST_TO, None, &[]);

    steps.label(label(Kind::Turn));
    steps.respond("retrans=\"500\"", "200 OK", TAGGED, None, &[CONTACT, ROUTES]);
    let both = r#"<action>
      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/>
      <ereg regexp=".*" search_in="hdr" header="To:" assign_to="own"/></action>"#;
    await_then_to_caller(&mut steps, "ACK", both);
    for (method, number) in [("INVITE", 1), ("ACK", 1), ("BYE", 2)] {
        let (line, cseq) = (format!("{method} [$uri] SIP/2.0"), format!("CSeq: {number} {method}"));
        let via = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport";
        let mut head = vec![line.as_str(), via, "Max-Forwards: 70", "From: [$own]", "To: [$caller]"];
        head.extend(["[routes]", "Call-ID: [call_id]", &cseq]);
        if method == "INVITE" {
            head.push(CONTACT);
        }
        steps.send(if method == "ACK" { "" } else { "retrans=\"500\"" }, &head, method == "INVITE");
        if method != "ACK" {
            steps.await_response(&[100], 200, "");
        }
    }
    steps.command(&format!("<nop {ends}/>"));

    steps.label(1);
    steps.respond("", "200 OK", TAGGED, None, &[]);
    steps.label(END);
    steps.text.push_str("  <Reference variables=\"via,contact,user\"/>\n");
    steps.end()
}

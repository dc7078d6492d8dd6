//! Systems and callers of sipp's, as its scenarios.

use std::net::SocketAddr;

use super::super::scenario::SDP;

/// The way that a request of a caller finds the system that has its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The routes of its dialog.
    Routes,
    /// The call alone: the system has stripped everything that names it.
    Call,
    /// The extension header alone, which the system has copied.
    Header,
}

/// A system: it rings, answers, and waits for the BYE. It answers OPTIONS. `front` is the dispatcher's address.
pub fn system(by: By, front: SocketAddr) -> String {
    let answer = |line: &str, tag: &str, body: &str| {
        let named = match by {
            By::Routes => "[last_Record-Route:]\n      Contact: <sip:[local_ip]:[local_port];transport=tcp>".to_owned(),
            By::Call => format!("Contact: <sip:service@{front}>"),
            By::Header => format!("[last_X-Pointsman-System:]\n      Contact: <sip:service@{front}>"),
        };
        format!(
            "<![CDATA[
      SIP/2.0 {line}
      [last_Via:]
      [last_From:]
      [last_To:]{tag}
      [last_Call-ID:]
      [last_CSeq:]
      {named}
      {body}
  ]]>"
        )
    };
    let (tag, empty) = (";tag=s[pid]-[call_number]", "Content-Length: 0\n");
    let described = format!("Content-Type: application/sdp\n      Content-Length: [len]\n\n      {SDP}");
    let (options, ringing) = (answer("200 OK", tag, empty), answer("180 Ringing", tag, empty));
    let (answered, ended) = (answer("200 OK", tag, &described), answer("200 OK", "", empty));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="system">
  <recv request="OPTIONS" optional="true" next="1"/>
  <recv request="INVITE"/>
  <send>{ringing}</send>
  <send>{answered}</send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send next="2">{ended}</send>
  <label id="1"/>
  <send>{options}</send>
  <label id="2"/>
  <timewait milliseconds="200"/>
</scenario>
"#
    )
}

/// A request of a caller's, with a header line more.
fn request(line: &str, to: &str, cseq: &str, branch: &str, more: &str) -> String {
    format!(
        "<![CDATA[
      {line} SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch};rport
      {more}
      Max-Forwards: 70
      From: <sip:caller@[local_ip]:[local_port]>;tag=c[pid]-[call_number]
      To: <sip:service@[remote_ip]:[remote_port]>{to}
      Call-ID: [call_id]
      CSeq: {cseq}
      Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>
      Content-Length: 0

  ]]>"
    )
}

const INVITE: &str = "INVITE sip:service@[remote_ip]:[remote_port]";

/// A caller: INVITE, ACK, BYE.
pub fn caller(by: By) -> String {
    let (more, action) = match by {
        By::Routes => ("[routes]", ""),
        By::Call => ("Subject: a call", ""),
        By::Header => (
            "X-Pointsman-System: [$system]",
            r#"<action>
      <ereg regexp="[^ ]+" search_in="hdr" header="X-Pointsman-System:" check_it="true" assign_to="system"/>
    </action>"#,
        ),
    };
    let invite = request(INVITE, "", "1 INVITE", "[branch]", "Subject: a call");
    let ack = request("ACK [next_url]", "[peer_tag_param]", "1 ACK", "[branch]", more);
    let bye = request("BYE [next_url]", "[peer_tag_param]", "2 BYE", "[branch]", more);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="caller">
  <send retrans="500">{invite}</send>
  <recv response="100" optional="true"/>
  <recv response="180"/>
  <recv response="200" rrs="true">{action}</recv>
  <send>{ack}</send>
  <send retrans="500">{bye}</send>
  <recv response="200"/>
</scenario>
"#
    )
}

/// A caller whose call stands for a while. An INVITE may be answered 503, and a BYE be refused; each must be answered.
pub fn patient_caller() -> String {
    let invite = request(INVITE, "", "1 INVITE", "[branch]", "Subject: a call");
    let refused =
        request(INVITE, "[peer_tag_param]", "1 ACK", "[branch-4]", "Subject: a call").replacen("INVITE", "ACK", 1);
    let ack = request("ACK [next_url]", "[peer_tag_param]", "1 ACK", "[branch]", "[routes]");
    let bye = request("BYE [next_url]", "[peer_tag_param]", "2 BYE", "[branch]", "[routes]");
    let refusals = [408, 480, 481, 500, 503];
    let refusals =
        refusals.map(|status| format!("  <recv response=\"{status}\" optional=\"true\" next=\"2\"/>\n")).concat();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="caller">
  <send retrans="500">{invite}</send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="503" optional="true" next="1"/>
  <recv response="200" rrs="true"/>
  <send>{ack}</send>
  <pause milliseconds="300"/>
  <send retrans="500">{bye}</send>
  <recv response="100" optional="true"/>
{refusals}  <recv response="200" next="2"/>
  <label id="1"/>
  <send>{refused}</send>
  <label id="2"/>
</scenario>
"#
    )
}

//! MGCP datagrams: their parts, and every reader of their contents.

use pointsman::wire::mgcp::{
    Action, BearerInformation, Command, CommandWriter, ConnectionMode, ConnectionParameters, DigitMap, EndpointName,
    Field, LocalOptions, MAX_PARAMS, Message, NotifiedEntity, Params, QuarantineHandling, RequestedEvents,
    RequestedInfo, ResponseWriter, RestartMethod, SignalRequests, TransactionId, Wildcard, parse, parts, patch,
};

use crate::runner::Seen;

pub const WORDS: &[&str] = &[
    "CRCX 1204 ann/$@ms.example.net MGCP 1.0\r\n",
    "rsip 0 *@gw mgcp 1.0\n",
    "AUEP 1 ds/[1-96]@[::1]:2427 MGCP 1.0 NCS 1.0\r\n",
    "200 1204 OK\r\n",
    "801 7 /fxr no\r\n",
    "000 1204\r\n",
    ".\r\n",
    "\n.\n",
    "C: A3C47F21456789F0\r\n",
    "I: FDE234C8,12\n",
    "K: 6234-6255, 6257\r\n",
    "K:\r\n",
    "L: p:10-20, a:PCMU;G726-32, k:clear:\"a\"\r\n",
    "M: sendrecv\r\n",
    "X-Size: 3\r\n",
    "X-Worker-Port: 9\n 8\n",
    "R: L/hd(A, E(S(L/dl),R(L/oc, D/[0-9#*T](D)),D((0T|00T))))\r\n",
    "S: G/rt@$(to=6,x(y))\r\n",
    "D: (0T|[1-7]xxx|9011x.T)\r\n",
    "Q: loop, discard\r\n",
    "N: ca@[::1]:2727\r\n",
    "P: PS=1245, OS=62345\r\n",
    "\r\n\r\n",
    "v=0\r\n",
    "E(R(",
    "))))",
    "*/all@*",
    "\r\n ",
];

const CRCX: &str = "CRCX 1205 aaln/1@rgw.example.net MGCP 1.0\r\nC: A3C4\r\nL: p:10, a:PCMU\r\nM: sendrecv\r\nX: 01AD\r\n\
    R: L/hd(N)\r\nS: L/rg\r\n\r\nv=0\r\nc=IN IP4 128.96.41.1\r\nm=audio 3456 RTP/AVP 0\r\n";

const PIGGYBACK: &str = "200 2005 OK\r\n.\r\nDLCX 1244 card23/21@tgw-7.example.net MGCP 1.0\r\nC: A3C4\r\nI: FDE2\r\n\
    E: 900 - Hardware\r\nP: PS=1\r\n.\nntfy 12 aaln/1@gw mgcp 1.0\no: d/5, d/0\nx: 4\n";

const AUDIT: &str = "200 1203 OK\r\nC: A3C4\r\nN: [128.96.41.12]\r\nA: a:PCMU, v:L,\r\n m:sendonly;recvonly\r\nZ: a/1@b\r\nZ: a/2@b\r\n\
    \r\nv=0\r\ns=-\r\n\r\nv=0\r\nt=0 0\r\n";

pub fn seeds() -> Vec<Vec<u8>> {
    let broken: [&[u8]; 4] = [b"", b"\r\n.\r\n", b"CRCX 12", b"200 x"];
    let texts = [CRCX, PIGGYBACK, AUDIT].map(str::as_bytes);
    broken.iter().chain(&texts).map(|input| input.to_vec()).collect()
}

pub fn run(input: &[u8], seen: &mut Seen) {
    let mut bytes = 0;
    for (count, part) in parts(input).enumerate() {
        bytes += part.len();
        seen.note(("part", count.min(3)));
        match parse(part) {
            Ok(message) => look(&message, seen),
            Err(bad) => {
                seen.note(("fault", format!("{:?}", bad.fault), bad.transaction.is_some(), bad.is_response));
                if let Some((code, transaction)) = bad.answer() {
                    let mut out = Vec::new();
                    ResponseWriter::new(&mut out, code, transaction).finish();
                    if transaction <= TransactionId::MAX {
                        assert!(matches!(parse(&out), Ok(Message::Response(_))), "{}", out.escape_ascii());
                    }
                }
            }
        }
    }
    assert!(bytes <= input.len());
}

fn look(message: &Message<'_>, seen: &mut Seen) {
    match message {
        Message::Command(command) => {
            let name = command.endpoint();
            seen.note(("verb", command.verb().name().len().min(5), !command.profile().is_empty()));
            seen.note(("wildcard", name.wildcard() as u8, name.domain_port().is_some(), name.terms().count().min(4)));
            assert!(name.wildcard() != Wildcard::None || name.covers(&name) || name.local().contains(&b'['));
            assert!(EndpointName::parse(name.as_bytes()).is_some_and(|again| again.as_bytes() == name.as_bytes()));
            let acks = command.acks().map(|acks| acks.iter().count());
            seen.note(("acks", acks.map(|acks| acks.min(3)), command.extension(b"X-Size").is_some()));
            values(command.params(), seen);
            seen.note(("sessions", command.descriptions().count().min(3)));
            rewrite(command);
        }
        Message::Response(response) => {
            seen.note(("code", response.code().0 / 100, response.package().is_some(), response.asks_for_ack()));
            values(response.params(), seen);
            seen.note(("sessions", response.descriptions().count().min(3)));
        }
    }
}

/// Reads every value as its own parameter's type, and as the types of other parameters.
fn values(params: Params<'_>, seen: &mut Seen) {
    assert!(params.count() <= MAX_PARAMS);
    for param in params {
        let value = param.value;
        seen.note(("param", param.field().map(Field::name)));
        match LocalOptions::parse(value) {
            Ok(options) => {
                let codecs = options.codecs().map(Iterator::count);
                let keys = (options.networks().count(), options.keys().count(), options.extensions().count());
                seen.note(("options", codecs.map(|codecs| codecs.min(2)), keys.0.min(2), keys.1.min(2), keys.2.min(2)));
            }
            Err(fault) => seen.note(("options", format!("{fault:?}"))),
        }
        if let Some(requested) = RequestedEvents::parse(value) {
            for event in requested.iter() {
                seen.note(("event", event.name.to_string().len().min(8), event.params.is_some()));
                for action in event.actions() {
                    seen.note(("action", std::mem::discriminant(&action)));
                    if let Action::Embed(embedded) = action {
                        assert!(embedded.requested.is_none_or(|text| RequestedEvents::parse(text).is_some()));
                    }
                }
            }
        }
        if let Some(signals) = SignalRequests::parse(value) {
            for signal in signals.iter() {
                seen.note(("signal", signal.name.package.is_some(), signal.text.is_some()));
            }
        }
        seen.note(("map", DigitMap::parse(value).map(|map| map.alternatives().count().min(3))));
        seen.note(("entity", NotifiedEntity::parse(value).map(|entity| entity.address().is_some())));
        seen.note(("mode", ConnectionMode::parse(value), RestartMethod::parse(value)));
        seen.note(("quarantine", QuarantineHandling::parse(value)));
        seen.note(("bearer", BearerInformation::parse(value).map(|bearer| bearer.encoding)));
        let parameters = ConnectionParameters::parse(value);
        assert_eq!(
            ConnectionParameters::parse(parameters.to_string().as_bytes()).to_string(),
            parameters.to_string(),
            "what is written is read again"
        );
        seen.note(("info", RequestedInfo::new(value).iter().count().min(3)));
    }
}

/// Checks that a command can still be read after the port in it was taken out, or after it was written anew.
fn rewrite(command: &Command<'_>) {
    let mut rest = Vec::new();
    patch::without_param(&mut rest, command, "X-Worker-Port");
    let Ok(Message::Command(bare)) = parse(&rest) else { panic!("{}", rest.escape_ascii()) };
    assert_eq!(bare.extension(b"X-Worker-Port"), None);
    assert_eq!((bare.call_id(), bare.transaction()), (command.call_id(), command.transaction()));
    assert!(bare.descriptions().eq(command.descriptions()));
    let mut out = Vec::new();
    let name = command.endpoint();
    let writer = CommandWriter::with_profile(
        &mut out,
        command.verb(),
        command.transaction(),
        name.as_bytes(),
        command.profile(),
    );
    let writer = command.params().fold(writer, |writer, param| writer.extension(param.name, param.value));
    command.descriptions().fold(writer, |writer, session| writer.session(session)).finish();
    let Ok(Message::Command(again)) = parse(&out) else { panic!("{}", out.escape_ascii()) };
    assert_eq!(again.params().count(), command.params().count(), "{}", out.escape_ascii());
}

//! Messages as they are passed on: another transaction id, other names, everything else as it came.

use std::sync::Arc;

use super::names::Tokens;
use crate::wire::mgcp::{
    Command, CommandWriter, Field, Param, Params, Response, ResponseWriter, ReturnCode, Sessions, TransactionId,
};

/// A call agent's command for the gateway. `K:` is left out: the gateway does not know the transactions in it.
pub(super) fn to_gateway(command: &Command<'_>, own: u32, tokens: &Tokens) -> Arc<[u8]> {
    let params = command.params().filter(|param| param.field() != Some(Field::ResponseAck));
    written(command, TransactionId(own), &tokens.strip(command.endpoint().as_bytes()), params, |name| {
        tokens.strip(name)
    })
}

/// A command as it was sent to the gateway, with `*` for `$`.
pub(super) fn with_star(command: &Command<'_>, own: u32) -> Arc<[u8]> {
    written(command, TransactionId(own), &star(command.endpoint().as_bytes()), command.params(), star)
}

/// A name with `*` for each term that is `$`.
fn star(name: &[u8]) -> Vec<u8> {
    let at = memchr::memrchr(b'@', name).unwrap_or(name.len());
    let (local, domain) = name.split_at_checked(at).unwrap_or((name, &[]));
    let terms: Vec<&[u8]> =
        local.split(|byte| *byte == b'/').map(|term| if term == b"$" { b"*" } else { term }).collect();
    [&terms.join(&b'/'), domain].concat()
}

/// The gateway's command for a call agent.
pub(super) fn to_agent(command: &Command<'_>, own: u32, tokens: &Tokens) -> Arc<[u8]> {
    let name = tokens.insert(command.endpoint().as_bytes());
    written(command, TransactionId(own), &name, command.params(), |name| tokens.insert(name))
}

/// The gateway's response for a call agent.
pub(super) fn answer_to_agent(response: &Response<'_>, id: TransactionId, tokens: &Tokens) -> Arc<[u8]> {
    answer(response, id, response.params(), |name| tokens.insert(name))
}

/// A call agent's response for the gateway.
pub(super) fn answer_to_gateway(response: &Response<'_>, id: TransactionId, tokens: &Tokens) -> Arc<[u8]> {
    answer(response, id, response.params(), |name| tokens.strip(name))
}

/// A response of our own.
pub(super) fn plain(code: ReturnCode, id: TransactionId) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(64);
    ResponseWriter::new(&mut out, code, id).finish();
    out.into()
}

macro_rules! rest {
    ($writer:expr, $params:expr, $sessions:expr, $rename:expr) => {{
        let mut writer = $writer;
        for param in $params {
            writer = match param.field() {
                Some(Field::SpecificEndpointId | Field::SecondEndpointId) => {
                    writer.extension(param.name, $rename(param.value))
                }
                _ => writer.extension(param.name, param.value),
            };
        }
        let sessions: Sessions<'_> = $sessions;
        sessions.fold(writer, |writer, session| writer.session(session)).finish();
    }};
}

fn written<'a>(
    command: &Command<'a>,
    id: TransactionId,
    name: &[u8],
    params: impl Iterator<Item = Param<'a>>,
    rename: impl Fn(&[u8]) -> Vec<u8>,
) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(command.bytes().len() + 64);
    let writer = CommandWriter::with_profile(&mut out, command.verb(), id, name, command.profile());
    rest!(writer, params, command.descriptions(), rename);
    out.into()
}

fn answer(
    response: &Response<'_>,
    id: TransactionId,
    params: Params<'_>,
    rename: impl Fn(&[u8]) -> Vec<u8>,
) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(response.bytes().len() + 64);
    let writer = ResponseWriter::with_comment(&mut out, response.code(), id, response.package(), response.comment());
    rest!(writer, params, response.descriptions(), rename);
    out.into()
}

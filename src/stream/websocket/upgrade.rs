//! The upgrade of an HTTP connection to a WebSocket for SIP (RFC 6455 §4.2, RFC 7118 §4).

use std::sync::Arc;

use memchr::memmem;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::http::{HeaderValue, StatusCode, header};

use super::frame::Pipe;
use crate::stream::fault::WebSocketFault;

/// The most bytes of a request: browsers send cookies with it.
const LARGEST_REQUEST: usize = 16 << 10;
/// The name of SIP among the protocols that are spoken over WebSockets.
const SIP: &str = "sip";

/// The rules of a listener about who may upgrade.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Origins of the pages that may connect; any where it is empty. A client that is no browser names none, and may.
    pub origins: Vec<String>,
}

/// An upgrade under way.
#[derive(Debug)]
pub(in crate::stream) struct Upgrade {
    rules: Arc<Rules>,
    request: Vec<u8>,
}

impl Upgrade {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Upgrade { rules, request: Vec::new() }
    }

    /// Reads the request and adds the answer to `out` when it is whole. True when the connection is a WebSocket then.
    pub(super) fn on_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, WebSocketFault> {
        let looked_at = self.request.len().saturating_sub(3);
        self.request.extend_from_slice(bytes);
        let is_get = self.request.iter().zip(b"GET ").all(|(one, other)| one == other);
        if !is_get || self.request.len() > LARGEST_REQUEST {
            answer(out, "400 Bad Request", "");
            return Err(WebSocketFault::Upgrade);
        }
        let unread = self.request.get(looked_at..).unwrap_or_default();
        if memmem::find(unread, b"\r\n\r\n").is_none() {
            return Ok(false);
        }
        let pipe = Pipe { incoming: &self.request, out };
        match ServerHandshake::start(pipe, Check(&self.rules), None).handshake() {
            Ok(_) => Ok(true),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(match response.status() {
                StatusCode::FORBIDDEN => WebSocketFault::Origin,
                _ => WebSocketFault::Subprotocol,
            }),
            // RFC 6455 §4.4.
            Err(HandshakeError::Failure(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader))) => {
                answer(out, "426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n");
                Err(WebSocketFault::Upgrade)
            }
            Err(_) => {
                answer(out, "400 Bad Request", "");
                Err(WebSocketFault::Upgrade)
            }
        }
    }
}

fn answer(out: &mut Vec<u8>, status: &str, field: &str) {
    let text = format!("HTTP/1.1 {status}\r\n{field}Connection: close\r\nContent-Length: 0\r\n\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// The part of the answer that is ours: whether the client speaks SIP and its page may.
struct Check<'a>(&'a Rules);

impl Callback for Check<'_> {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let fields = request.headers();
        let is_allowed = |origin: &HeaderValue| {
            self.0.origins.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        };
        if !self.0.origins.is_empty() && !fields.get_all(header::ORIGIN).iter().all(is_allowed) {
            return Err(refusal(StatusCode::FORBIDDEN));
        }
        let protocols = fields.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        if !protocols.flat_map(|value| value.split(',')).any(|protocol| protocol.trim() == SIP) {
            return Err(refusal(StatusCode::BAD_REQUEST));
        }
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SIP));
        Ok(response)
    }
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

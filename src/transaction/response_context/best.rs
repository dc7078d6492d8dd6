//! The best of the final responses that have come (RFC 3261 §16.7 steps 6 and 7).

use std::sync::Arc;

use super::Answer;
use crate::pack::packed;
use crate::wire::sip::{Edits, Name, Scanner};

/// A 300–699 that a proxy has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Final {
    pub(super) status: u16,
    /// Without our Via.
    pub(super) bytes: Arc<[u8]>,
    /// Whether it may only say that the server has the request by another attempt: any other refusal is better.
    pub(super) is_merged: bool,
}

packed!(Final { status, bytes, is_merged });

/// The response to the caller, and its status. `without`: the status where none has come. `nowhere`: any other request
/// would get 503 as well.
pub(super) fn choose<'a>(all: impl Iterator<Item = &'a Final> + Clone, without: u16, nowhere: bool) -> (u16, Answer) {
    // Of equals the last one: it is the answer of the proxy that was tried after the others had failed.
    let best = all.clone().max_by_key(|refusal| std::cmp::Reverse((refusal.is_merged, rank(refusal.status))));
    match best.map_or(without, |best| best.status) {
        // §16.7 step 6: a 503 says that no request can be served here, and would be tried anew at each hop.
        503 if nowhere => (503, Answer::Own(503)),
        503 => (500, Answer::Own(500)),
        status => match best {
            Some(best) if is_challenge(best) => (status, Answer::Theirs(with_challenges(best, all))),
            Some(best) => (status, Answer::Theirs(best.bytes.clone())),
            None => (status, Answer::Own(status)),
        },
    }
}

/// The lower, the better: any 6xx, then the lowest class; in it what tells how the request could be made better comes
/// first, and 503 last.
const fn rank(status: u16) -> (u16, u16) {
    let class = if status >= 600 { 0 } else { status / 100 };
    let within = match status {
        401 | 407 | 415 | 420 | 484 => 0,
        503 => 2,
        _ => 1,
    };
    (class, within)
}

fn is_challenge(refusal: &Final) -> bool {
    matches!(refusal.status, 401 | 407)
}

/// The best response with the challenges of the others: the caller needs credentials for each of them (step 7).
fn with_challenges<'a>(best: &Final, all: impl Iterator<Item = &'a Final>) -> Arc<[u8]> {
    let mut others = all.filter(|other| is_challenge(other) && !Arc::ptr_eq(&other.bytes, &best.bytes)).peekable();
    if others.peek().is_none() {
        return best.bytes.clone();
    }
    let (mut scanner, mut other_scanner) = (Scanner::new(), Scanner::new());
    let Ok(message) = scanner.scan(&best.bytes) else { return best.bytes.clone() };
    let mut edits = Edits::default();
    for other in others {
        let Ok(other) = other_scanner.scan(&other.bytes) else { continue };
        for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
            for challenge in other.headers(name) {
                edits.append_line(&message, name.as_str().as_bytes(), challenge);
            }
        }
    }
    edits.pieces(&message).collect::<Vec<_>>().concat().into()
}

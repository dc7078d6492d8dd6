//! Endpoint names on both sides: `rtpbridge/TOKEN/1@mgw` for call agents, `rtpbridge/1@mgw` for the gateway.

/// The worker's token, and its tokens under earlier dispatchers.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// The tokens, the present one first.
    known: Vec<Box<[u8]>>,
}

/// Tokens to remember. A worker gets a new token only from a dispatcher that has lost its key, so a few are enough.
const KNOWN: usize = 8;

impl Tokens {
    pub(super) fn new(token: &str) -> Self {
        Tokens { known: vec![token.as_bytes().into()] }
    }

    /// Sets the token that is used from now on.
    pub(super) fn set(&mut self, token: &str) {
        self.known.retain(|known| !known.eq_ignore_ascii_case(token.as_bytes()));
        self.known.insert(0, token.as_bytes().into());
        self.known.truncate(KNOWN);
    }

    /// The name as the gateway knows it: without the term that is a token.
    pub(super) fn strip(&self, name: &[u8]) -> Vec<u8> {
        let (local, domain) = split(name);
        let is_other = |term: &&[u8]| !self.known.iter().any(|known| known.eq_ignore_ascii_case(term));
        let terms: Vec<&[u8]> = local.split(|byte| *byte == b'/').filter(is_other).collect();
        [&terms.join(&b'/'), domain].concat()
    }

    /// The name as call agents know it: with the token after its first term, or before its only one.
    pub(super) fn insert(&self, name: &[u8]) -> Vec<u8> {
        let bare = self.strip(name);
        let Some(token) = self.known.first() else { return bare };
        let (local, domain) = split(&bare);
        match memchr::memchr(b'/', local) {
            Some(at) => {
                let (kind, rest) = local.split_at_checked(at).unwrap_or((local, &[]));
                [kind, b"/", token, rest, domain].concat()
            }
            None => [token, &b"/"[..], local, domain].concat(),
        }
    }
}

/// The local name, and the domain with its `@`.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    name.split_at_checked(memchr::memrchr(b'@', name).unwrap_or(name.len())).unwrap_or((name, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_put_in_for_call_agents_and_taken_out_for_the_gateway() {
        let tokens = Tokens::new("pmtoken");
        for (inner, outer) in [
            ("rtpbridge/1@mgw", "rtpbridge/pmtoken/1@mgw"),
            ("ds/ds1/7@[192.0.2.1]:2427", "ds/pmtoken/ds1/7@[192.0.2.1]:2427"),
            ("aaln1@mgw", "pmtoken/aaln1@mgw"),
        ] {
            assert_eq!(tokens.insert(inner.as_bytes()), outer.as_bytes());
            assert_eq!(tokens.insert(outer.as_bytes()), outer.as_bytes(), "it is not put in twice");
            assert_eq!(tokens.strip(outer.as_bytes()), inner.as_bytes());
        }
        assert_eq!(tokens.strip(b"rtpbridge/PMTOKEN/*@mgw"), b"rtpbridge/*@mgw");
        assert_eq!(tokens.strip(b"rtpbridge/*@mgw"), b"rtpbridge/*@mgw");
    }

    #[test]
    fn names_with_a_former_token_are_understood() {
        let mut tokens = Tokens::new("pmold");
        tokens.set("pmnew");
        tokens.set("pmnew");
        assert_eq!(tokens.strip(b"rtpbridge/pmold/1@mgw"), b"rtpbridge/1@mgw");
        assert_eq!(tokens.insert(b"rtpbridge/1@mgw"), b"rtpbridge/pmnew/1@mgw");
        for number in 0..20 {
            tokens.set(&format!("pm{number}"));
        }
        assert_eq!(tokens.known.len(), KNOWN);
    }
}

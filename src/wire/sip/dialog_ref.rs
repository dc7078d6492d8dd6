//! Replaces, Join and Target-Dialog: a request that names another dialog (RFC 3891, 3911, 4538).

use super::params::Params;
use super::text::{cut, find, trim};

/// The dialog named, as the receiver of the request sees it: `to_tag` is the receiver's own tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogRef<'a> {
    /// Call-ID of the dialog.
    pub call_id: &'a [u8],
    /// The receiver's own tag.
    pub to_tag: Option<&'a [u8]>,
    /// Its peer's tag.
    pub from_tag: Option<&'a [u8]>,
    /// Whether only an early dialog is meant (`early-only`, RFC 3891 §7.1).
    pub early_only: bool,
}

impl<'a> DialogRef<'a> {
    /// Reads a Replaces or Join value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        DialogRef::with_tags(value, b"to-tag", b"from-tag")
    }

    /// Reads a Target-Dialog value. Its tags are named as its recipient sees them (RFC 4538 §3): the local one is the
    /// recipient's own.
    pub fn parse_target(value: &'a [u8]) -> Option<Self> {
        DialogRef::with_tags(value, b"local-tag", b"remote-tag")
    }

    fn with_tags(value: &'a [u8], own: &[u8], peers: &[u8]) -> Option<Self> {
        let (call_id, params) = cut(value, find(value, [b';']));
        let (call_id, params) = (trim(call_id), Params::new(params));
        (!call_id.is_empty()).then(|| DialogRef {
            call_id,
            to_tag: params.get(own),
            from_tag: params.get(peers),
            early_only: params.has(b"early-only"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_receivers_own_tag() {
        let replaces =
            DialogRef::parse(b"98732@sip.example.com ;from-tag=r33th4x0r; to-tag=ff87ff;early-only").unwrap();
        assert_eq!(replaces.call_id, b"98732@sip.example.com");
        assert_eq!((replaces.to_tag, replaces.from_tag), (Some(&b"ff87ff"[..]), Some(&b"r33th4x0r"[..])));
        assert!(replaces.early_only);
        let target = DialogRef::parse_target(b"fa77as@host;local-tag=kkaz-;remote-tag=6544").unwrap();
        assert_eq!((target.to_tag, target.from_tag), (Some(&b"kkaz-"[..]), Some(&b"6544"[..])));
        assert_eq!(DialogRef::parse(b";to-tag=1"), None);
    }
}

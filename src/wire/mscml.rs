//! MSCML (RFC 5022): the intended size of a conference.

use super::xml::{Tag, Tags};

/// The media type of MSCML bodies.
pub const MEDIA_TYPE: &[u8] = b"application/mediaservercontrol+xml";

/// `reservedtalkers` of the first `<configure_conference>` that has it (RFC 5022 §5.1), as the sender wrote it: it may
/// be 0, negative or absurd.
pub fn reserved_talkers(body: &[u8]) -> Option<i64> {
    Tags::new(body).find_map(|tag| match tag {
        Tag::Open { name: b"configure_conference", attributes, .. } => attributes.number(b"reservedtalkers"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_talkers_of_a_conference_are_its_size() {
        let body = b"<?xml version=\"1.0\"?>\n<MediaServerControl version=\"1.0\">\n <request>\n\
            <!-- <configure_conference reservedtalkers='9'/> -->\n\
            <ms:configure_conference id=\"a>b\" reservedtalkers = '120'\n reserveconfmedia=\"yes\"/></request></MediaServerControl>";
        assert_eq!(reserved_talkers(body), Some(120));
    }

    #[test]
    fn other_bodies_have_none() {
        assert_eq!(reserved_talkers(b"<request><configure_leg type=\"talker\"/></request>"), None);
        assert_eq!(reserved_talkers(b"<configure_conference reservedtalkers=\"many\"/>"), None);
        assert_eq!(reserved_talkers(b""), None);
        assert_eq!(reserved_talkers(b"<configure_conference reservedtalkers=\"-1\"/>"), Some(-1));
    }
}

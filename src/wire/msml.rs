//! MSML (RFC 5707): the intended size of a conference.

use super::xml::{Tag, Tags};

/// The media type of MSML bodies.
pub const MEDIA_TYPE: &[u8] = b"application/msml+xml";

/// The resources that the first `<reserve>` of a conference asks for (RFC 5707 §8): the sum of `n` over its
/// `<resource>`s, 1 where `n` is left out. Resources of type `shared` serve the whole conference and are not counted
/// for any leg.
pub fn reserved_talkers(body: &[u8]) -> Option<i64> {
    let mut tags = Tags::new(body);
    tags.find(|tag| matches!(tag, Tag::Open { name: b"reserve", is_empty: false, .. }))?;
    let reserved = tags.take_while(|tag| !matches!(tag, Tag::Close { name: b"reserve" })).filter_map(|tag| match tag {
        Tag::Open { name: b"resource", attributes, .. } if attributes.get(b"type") != Some(b"shared") => {
            // An unreadable number is not taken for 1: the sender meant some other number.
            if attributes.get(b"n").is_some() { attributes.number(b"n") } else { Some(1) }
        }
        _ => None,
    });
    reserved.reduce(i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_resources_of_a_conference_are_its_size() {
        let body = b"<?xml version='1.0'?><msml version='1.1'><createconference name='a' deletewhen='never'>\
            <reserve required='true'><resource n='20'><audio/></resource><resource n = \"5\" type=\"individual\"/>\
            <resource n='3' type='shared'/><resource/></reserve><audiomix id='m'><n-loudest n='3'/></audiomix></createconference></msml>";
        assert_eq!(reserved_talkers(body), Some(26));
    }

    #[test]
    fn other_bodies_have_none() {
        assert_eq!(reserved_talkers(b"<msml><createconference><audiomix/></createconference></msml>"), None);
        assert_eq!(reserved_talkers(b"<msml><reserve/><resource n='7'/></msml>"), None);
        assert_eq!(reserved_talkers(b"<reserve><resource n='x'/></reserve>"), None);
    }
}

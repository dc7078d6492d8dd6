//! Messages as callers read them: plain text, found again without the product's scanner.

/// The value of the first field of this name.
pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.split("\r\n");
    lines.next();
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(value.trim())
    })
}

/// The status of a response; `None` for a request.
pub fn status(text: &str) -> Option<u16> {
    text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The method: of a request the first word, of a response what CSeq says.
pub fn method(text: &str) -> &str {
    match status(text) {
        None => text.split(' ').next().unwrap_or_default(),
        Some(_) => header(text, "CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default(),
    }
}

/// A parameter of the first Via, From or To.
fn param<'a>(text: &'a str, field: &str, name: &str) -> Option<&'a str> {
    let value = header(text, field)?;
    let at = value.find(name)? + name.len();
    let rest = &value[at..];
    Some(&rest[..rest.find([';', ',', ' ', '>']).unwrap_or(rest.len())])
}

/// The branch of the topmost Via.
pub fn branch(text: &str) -> &str {
    param(text, "Via", ";branch=").unwrap_or_default()
}

/// The To-tag.
pub fn to_tag(text: &str) -> Option<&str> {
    param(text, "To", ";tag=")
}

/// The From-tag.
pub fn from_tag(text: &str) -> Option<&str> {
    param(text, "From", ";tag=")
}

/// The number of the caller whose call this is: it stands in the Call-ID.
pub fn caller(text: &str) -> Option<usize> {
    let call_id = header(text, "Call-ID")?.strip_prefix('c')?;
    call_id.split('@').next()?.parse().ok()
}

/// The URI in Contact.
pub fn contact(text: &str) -> Option<&str> {
    header(text, "Contact")?.strip_prefix('<')?.split('>').next()
}

/// Return code and transaction of an MGCP response; `None` for anything else.
pub fn returned(text: &str) -> Option<(u16, u32)> {
    let mut words = text.split([' ', '\r', '\n']);
    let (code, transaction) = (words.next()?, words.next()?);
    Some((code.parse().ok().filter(|_| code.len() == 3)?, transaction.parse().ok()?))
}

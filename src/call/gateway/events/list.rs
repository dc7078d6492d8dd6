//! The lists in event parameters: items between commas, each a name and up to two parentheses (RFC 3435 §3.2.2.7).

/// One item: `hd`, `R/ma(N)`, `L/hd(A,E(R(L/hu)))`, `G/pat(N)(55)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What stands before the parentheses.
    pub name: &'a [u8],
    /// What stands between the first.
    pub first: Option<&'a [u8]>,
    /// What stands between the second.
    pub second: Option<&'a [u8]>,
}

/// The items of a list; `None` for one that cannot be read. An empty list has none.
pub fn items(list: &[u8]) -> impl Iterator<Item = Option<Item<'_>>> {
    let list = list.trim_ascii();
    let empty = list.is_empty();
    words(list).filter(move |_| !empty).map(read_item)
}

/// What stands between the commas that are not inside parentheses, brackets or quotes, without white space around it.
pub fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = scan(text, |byte, depth| byte == b',' && depth == 0);
        rest = text.get(end + 1..);
        Some(text[..end].trim_ascii())
    })
}

/// The characters of a range without its brackets: `0-9#*T`; `None` when it is empty or runs backwards.
pub fn letters(range: &[u8]) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = range;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match tail {
            [b'-', last, tail @ ..] => {
                let one_kind = first.is_ascii_digit() && last.is_ascii_digit()
                    || first.is_ascii_alphabetic() && last.is_ascii_alphabetic();
                if !one_kind || first > last {
                    return None;
                }
                found.extend(*first..=*last);
                rest = tail;
            }
            _ => found.push(*first),
        }
    }
    (!found.is_empty()).then_some(found)
}

fn read_item(word: &[u8]) -> Option<Item<'_>> {
    let end = scan(word, |byte, _| byte == b'(');
    let name = word[..end].trim_ascii();
    if name.is_empty() || name.contains(&b')') {
        return None;
    }
    let (first, rest) = read_group(word.get(end..)?)?;
    let (second, rest) = read_group(rest)?;
    rest.is_empty().then_some(Item { name, first, second })
}

/// What stands between the parentheses that the text begins with, and what comes behind them.
fn read_group(text: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let text = text.trim_ascii_start();
    let Some(inside) = text.strip_prefix(b"(") else { return Some((None, text)) };
    let end = scan(inside, |byte, depth| byte == b')' && depth == 0);
    let rest = inside.get(end + 1..)?;
    Some((Some(inside[..end].trim_ascii()), rest.trim_ascii_start()))
}

/// Where the first byte stands that `found` says; the end of the text when there is none. The depth is how many
/// parentheses are open there; what is quoted is skipped.
fn scan(text: &[u8], found: impl Fn(u8, u32) -> bool) -> usize {
    let mut depth = 0u32;
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate() {
        if !quoted && found(byte, depth) {
            return at;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

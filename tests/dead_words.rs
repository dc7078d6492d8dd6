//! Reads the source: every public item has a use in production code, and the exceptions say why they stay.
//!
//! The compiler finds unused private items. Those of a library that are public it takes to be used.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Items without a use in production code, as they are reported, each with the reason why it stays.
const MAY_STAY: &[(&str, &str)] =
    &[("src/wire/sip/message.rs: Message::max_forwards", "a proxy answers 483 to 0 (RFC 3261 §16.3)")];

/// Words in front of the name that they define.
const DEFINES: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static"];

/// Adds the Rust files under `path` that are no tests.
fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The Rust code blocks in the documentation of `text`, whose lines begin with one of `marks`.
fn examples(text: &str, marks: &[&str]) -> String {
    let mut inside = false;
    let mut code = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        let Some(line) = marks.iter().find_map(|mark| line.strip_prefix(mark)) else { continue };
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            code.push_str(line.trim_start().trim_start_matches("# "));
            code.push('\n');
        }
    }
    code
}

/// Words and punctuation of Rust code. Comments are left out, and of a text all but the names in its braces, and a
/// path that an attribute names.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens: Vec<&str> = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            let length = quoted(rest);
            let text = &rest[1..length - 1];
            let is_named = tokens.last() == Some(&"=") && text.chars().all(|c| is_word(c) || c == ':');
            tokens.extend(text.split(|c| !is_word(c)).filter(|_| is_named));
            tokens.extend(text.split('{').skip(1).filter_map(|captured| captured.split(|c| !is_word(c)).next()));
            length
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") {
            let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
            3 + rest[3..].find(end).unwrap() + end.len()
        } else if let Some(length) = character(rest) {
            length
        } else {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let length = if word == 0 { first.len_utf8() } else { word };
            tokens.extend(Some(&rest[..length]).filter(|token| !token.trim().is_empty()));
            length
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of the text in quotation marks that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return at + 1,
            _ => {}
        }
    }
    panic!("a text without an end: {:.60}", rest)
}

/// The length of the character literal that `rest` begins with: no lifetime.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    match inner.strip_prefix('\\') {
        Some(escaped) => Some(3 + escaped.char_indices().skip(1).find(|(_, c)| *c == '\'')?.0),
        None => {
            let letter = inner.chars().next()?;
            inner[letter.len_utf8()..].starts_with('\'').then(|| 2 + letter.len_utf8())
        }
    }
}

/// The end of what `tokens` begin with: the bracket that closes the first one, or a semicolon before any.
fn end_of_item(tokens: &[&str]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(*token, "}" | ";") {
            return at + 1;
        }
    }
    tokens.len()
}

/// The code without its unit tests and without its imports, which are no use by themselves.
fn production<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if rest.starts_with(&TEST) {
            at += TEST.len() + end_of_item(&rest[TEST.len()..]);
        } else if rest[0] == "use" && rest[1] != "<" {
            at += rest.iter().position(|token| *token == ";").unwrap();
        } else {
            kept.push(rest[0]);
            at += 1;
        }
    }
    kept
}

/// An item of the library that its user, or another module, can name.
struct Item<'a> {
    path: String,
    owner: Option<&'a str>,
    name: &'a str,
}

/// Production code of one file, and what it defines.
#[derive(Default)]
struct Words<'a> {
    items: Vec<Item<'a>>,
    uses: HashMap<&'a str, i32>,
}

impl<'a> Words<'a> {
    /// Reads code in the `impl` of `owner`, if it stands in one.
    fn read(&mut self, tokens: &[&'a str], owner: Option<&'a str>, path: &str) {
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            let is_definition = at > 0 && DEFINES.contains(&tokens[at - 1]);
            if rest[0] == "impl" && owner.is_none() && starts_item(tokens, at) {
                let open = rest.iter().position(|token| *token == "{").unwrap();
                let end = open + end_of_item(&rest[open..]);
                let own = self_type(&rest[1..open]);
                self.read(&rest[1..open], Some(own), path);
                self.read(&rest[open..end], Some(own), path);
                at += end;
                continue;
            }
            if rest[0] == "pub" {
                self.define(rest, owner, path);
            }
            if !is_definition && Some(rest[0]) != owner && rest[0].starts_with(is_word) {
                *self.uses.entry(rest[0]).or_default() += 1;
            }
            at += 1;
        }
    }

    /// Notes what `tokens`, which begin with `pub`, define.
    fn define(&mut self, tokens: &[&'a str], owner: Option<&'a str>, path: &str) {
        let is_modifier = |token: &&str| matches!(*token, "(" | "crate" | "super" | "in" | ")" | "async" | "unsafe");
        let mut rest = &tokens[1..];
        while rest.first().is_some_and(is_modifier) || rest.starts_with(&["const", "fn"]) {
            rest = &rest[1..];
        }
        let [word, name, ..] = rest else { return };
        // In a macro the name is its caller's.
        if !DEFINES.contains(word) || *name == "$" {
            return;
        }
        self.items.push(Item { path: path.to_owned(), owner, name });
        if *word == "enum" {
            let open = rest.iter().position(|token| *token == "{").unwrap();
            self.variants(&rest[open..open + end_of_item(&rest[open..])], name, path);
        }
    }

    /// Notes the variants of an enum. Where a variant stands in its enum is no use of its name.
    fn variants(&mut self, body: &[&'a str], owner: &'a str, path: &str) {
        let (mut depth, mut before) = (0, "");
        for (at, token) in body.iter().enumerate() {
            match *token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                name if depth == 1 && matches!(before, "{" | "," | "]") && name.starts_with(char::is_uppercase) => {
                    // Made by a question mark, which says no name.
                    let is_converted = body[at + 1..].starts_with(&["(", "#", "[", "from"]);
                    self.items.extend((!is_converted).then(|| Item {
                        path: path.to_owned(),
                        owner: Some(owner),
                        name,
                    }));
                    // The body is read once more as code.
                    *self.uses.entry(name).or_default() -= 1;
                }
                _ => {}
            }
            before = token;
        }
    }
}

/// Whether an item begins at `at`, so that `impl` is no type of an argument or of a result.
fn starts_item(tokens: &[&str], at: usize) -> bool {
    at == 0 || matches!(tokens[at - 1], "}" | ";" | "]" | "unsafe" | "{")
}

/// The type that an `impl` is of, by the words between `impl` and its body.
fn self_type<'a>(header: &[&'a str]) -> &'a str {
    let from = header.iter().rposition(|token| *token == "for").map_or(0, |at| at + 1);
    let (mut depth, mut last, mut before) = (0, "", "");
    for token in &header[from..] {
        match *token {
            "<" => depth += 1,
            ">" if before != "-" => depth -= 1,
            "where" => break,
            word if depth == 0 && word.starts_with(is_word) => last = word,
            _ => {}
        }
        before = token;
    }
    last
}

fn read(files: &[PathBuf]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Public items whose name no production code says, as `file: owner::name`.
fn dead() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "bin", "examples"].iter().for_each(|name| sources(&root.join(name), &mut files));
    let mut texts = read(&files);
    // Examples in the documentation of the worker's interface stand for the programs that use it.
    let is_shown =
        |path: &str| path.starts_with("src/worker") || path.starts_with("src/station") || path == "src/lib.rs";
    let shown = texts.iter().filter(|(path, _)| is_shown(path)).map(|(_, text)| examples(text, &["//!", "///"]));
    let readme = examples(&fs::read_to_string(root.join("README.md")).unwrap(), &[""]);
    let shown: Vec<_> = shown.chain([readme]).map(|text| (String::new(), text)).collect();
    texts.extend(shown);
    let tokens: Vec<_> = texts.iter().map(|(path, text)| (path, production(&tokens(text)))).collect();
    let mut words = Words::default();
    tokens.iter().for_each(|(path, tokens)| words.read(tokens, None, path));
    let is_dead = |item: &&Item<'_>| words.uses.get(item.name).is_none_or(|uses| *uses <= 0);
    let described = words.items.iter().filter(is_dead).map(|item| {
        let owner = item.owner.map_or(String::new(), |owner| format!("{owner}::"));
        format!("{}: {owner}{}", item.path, item.name)
    });
    described.collect()
}

#[test]
fn every_public_item_has_a_use_in_production_code() {
    let dead = dead();
    let unknown: Vec<_> = dead.iter().filter(|item| !MAY_STAY.iter().any(|(name, _)| name == item)).collect();
    let stale: Vec<_> = MAY_STAY.iter().filter(|(name, _)| !dead.iter().any(|item| item == name)).collect();
    assert!(unknown.is_empty(), "remove, or use:\n{unknown:#?}");
    assert!(stale.is_empty(), "these are used or gone: take them off the list\n{stale:#?}");
}

#[test]
fn the_reader_sees_what_it_looks_for() {
    let code = r#"
        pub struct Used { inner: u32 }
        impl Used { pub const fn new() -> Used { Used { inner: 0 } } pub fn idle(&self) {} }
        pub(crate) enum Kind { Read, #[doc = "x"] Never(u8) }
        // idle
        fn main() { use other::idle; let _ = (Used::new(), Kind::Read, "idle", '"', format!("{inner}")); }
        #[cfg(test)]
        mod tests { fn test() { Used::new().idle(); } }
    "#;
    let mut words = Words::default();
    words.read(&production(&tokens(code)), None, "x.rs");
    let names: Vec<_> = words.items.iter().map(|item| item.name).collect();
    assert_eq!(names, ["Used", "new", "idle", "Kind", "Read", "Never"]);
    let uses = |name| words.uses.get(name).copied().unwrap_or_default();
    assert_eq!(["Used", "new", "idle", "Kind", "Read", "Never", "inner"].map(uses), [1, 1, 0, 1, 1, 0, 3]);
}

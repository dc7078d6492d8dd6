//! Reads the source: comments open with what they are about, and keep the columns of the code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::{Path, PathBuf};

/// Words that leave the reader to guess the actor, at the beginning of a comment.
const RIDDLES: &[&str] = &[
    "What",
    "Who",
    "Whose",
    "Whom",
    "Whoever",
    "Whatever",
    "Where",
    "Wherever",
    "How",
    "That",
    "Which",
    "Those",
    "Nobody",
    "Somebody",
    "Everybody",
];

/// As many columns as rustfmt gives the code.
const COLUMNS: usize = 120;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    ["src", "bin", "tests", "benches", "examples"].iter().for_each(|name| sources(&root.join(name), &mut found));
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The mark of a comment that has the line for itself, and its text.
fn comment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    ["///", "//!", "//"].into_iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?.trim_start())))
}

#[test]
fn comments_open_with_what_they_are_about() {
    let (mut blocks, mut riddles) = (0, Vec::new());
    for (path, text) in all() {
        let mut before = None;
        for (number, line) in text.lines().enumerate() {
            let here = comment(line);
            if let Some((mark, text)) = here
                && before != Some(mark)
            {
                blocks += 1;
                let word = text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
                if RIDDLES.contains(&word) {
                    riddles.push(format!("{}:{}: {text}", path.display(), number + 1));
                }
            }
            before = here.map(|(mark, _)| mark);
        }
    }
    assert!(blocks > 5_000, "{blocks} comments found");
    assert!(riddles.len() * 100 < blocks, "{} of {blocks} comments:\n{}", riddles.len(), riddles.join("\n"));
}

/// Whether a comment is words that can go on in the next line: no row of a table, no long name.
fn is_prose((_, text): (&str, &str)) -> bool {
    text.contains(' ') && !text.starts_with('|')
}

#[test]
fn comments_keep_the_columns_of_the_code() {
    let mut long = Vec::new();
    for (path, text) in all() {
        let lines = text.lines().enumerate().filter(|(_, line)| comment(line).is_some_and(is_prose));
        let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
        long.extend(wide.map(|(number, _)| format!("{}:{}", path.display(), number + 1)));
    }
    assert!(long.is_empty(), "{} lines of comments:\n{}", long.len(), long.join("\n"));
}

#[test]
fn the_chapter_on_changes_names_files_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chapter = fs::read_to_string(root.join("src/changing.md")).unwrap();
    let is_end = |letter: char| letter.is_whitespace() || "`,;:)".contains(letter);
    let named = ["src/", "tests/", "benches/"].into_iter().flat_map(|under| chapter.match_indices(under));
    let paths: Vec<&str> = named.filter_map(|(at, _)| chapter[at..].split(is_end).next()).collect();
    let missing: Vec<&&str> = paths.iter().filter(|path| !root.join(path.trim_end_matches('.')).exists()).collect();
    assert!(paths.len() > 30 && missing.is_empty(), "{missing:?} of {}", paths.len());
}

/// The words of the glossary in `src/lib.rs`: the first column of its rows, which may name two.
fn glossary() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let (_, after) = text.split_once("# Glossary").unwrap();
    let rows = after.lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    rows.skip(1).flat_map(|(words, _)| words.split(", ").map(str::to_owned)).collect()
}

/// Whether `text` has `word`, or its plural, as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let is_whole = |at: usize| {
        let rest = &text[at + word.len()..];
        let rest = rest.strip_prefix("es").or(rest.strip_prefix('s')).filter(|rest| !goes_on(rest)).unwrap_or(rest);
        !text[..at].ends_with(char::is_alphanumeric) && !goes_on(rest)
    };
    text.match_indices(word).any(|(at, _)| is_whole(at))
}

fn goes_on(rest: &str) -> bool {
    rest.starts_with(char::is_alphanumeric)
}

#[test]
fn a_word_is_found_alone_and_in_its_plural_and_not_within_another() {
    assert!(["a lane", "lanes_of", "(lane)", "lane"].iter().all(|text| has_word(text, "lane")));
    assert!(has_word("two branches", "branch") && !has_word("opened, reopen", "open"));
    assert!(!["planes", "laneless", "lanesmen"].iter().any(|text| has_word(text, "lane")));
}

#[test]
fn each_word_of_the_glossary_is_used_in_the_source() {
    let words = glossary();
    assert!(words.len() > 30, "{} words found", words.len());
    let source = |path: &Path| path.components().any(|part| part.as_os_str() == "src") && !path.ends_with("src/lib.rs");
    let texts =
        all().into_iter().filter(|(path, _)| source(path)).map(|(_, text)| text.to_lowercase().replace('_', " "));
    let texts: Vec<String> = texts.collect();
    let is_used = |word: &&String| texts.iter().any(|text| has_word(text, word));
    let stale: Vec<&String> = words.iter().filter(|word| !is_used(word)).collect();
    assert!(stale.is_empty(), "no file names {stale:?}: take the rows out of the glossary");
}

/// Beginnings of names that leave the reader to guess the actor.
const NAMES_OF_RIDDLES: &[&str] = &["what_", "who_", "whose_"];

#[test]
fn no_function_is_named_after_a_riddle() {
    let mut riddles = Vec::new();
    for (path, text) in all() {
        for (number, line) in text.lines().enumerate() {
            let name = line.split_once("fn ").map_or("", |(_, name)| name);
            if NAMES_OF_RIDDLES.iter().any(|riddle| name.starts_with(riddle)) {
                riddles.push(format!("{}:{}: {name}", path.display(), number + 1));
            }
        }
    }
    assert!(riddles.is_empty(), "name the actor:\n{}", riddles.join("\n"));
}

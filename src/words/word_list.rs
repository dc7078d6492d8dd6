//! Enums whose variants have a word each: in files, on the command line and in records.

use std::fmt;

/// Gives an enum the word beside each variant as its text form.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// All of them, in the order they are documented.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word for it.
            pub const fn label(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::word_list::NoSuchWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = $name::ALL.iter().find(|choice| choice.label() == text).copied();
                found.ok_or_else(|| $crate::words::word_list::NoSuchWord { text: text.to_owned(), words: &[$($word),+] })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;

/// A word that the key does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchWord {
    pub(crate) text: String,
    pub(crate) words: &'static [&'static str],
}

impl fmt::Display for NoSuchWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not one of {}", self.text, self.words.join(", "))
    }
}

impl std::error::Error for NoSuchWord {}

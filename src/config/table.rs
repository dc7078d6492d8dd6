//! Keys of the tables of the configuration: names and descriptions are those of the types that the tables are read as.

use super::{Lan, PoolKeys, ProxyKeys, Route, SipRule, TlsIdentity};

/// A table of the configuration that has keys of its own.
#[derive(Debug)]
pub struct Table {
    /// Its key in the file.
    pub name: &'static str,
    /// Whether the file may have several of it, as `[[NAME]]`.
    pub is_list: bool,
    /// Its keys.
    pub keys: &'static [TableKey],
}

/// Tables, in the order in which `pointsman check --help` has them.
pub const TABLES: &[Table] = &[
    Table { name: "proxy", is_list: true, keys: ProxyKeys::KEYS },
    Table { name: "pool", is_list: true, keys: PoolKeys::KEYS },
    Table { name: "route", is_list: true, keys: Route::KEYS },
    Table { name: "tls", is_list: true, keys: TlsIdentity::KEYS },
    Table { name: "sip", is_list: true, keys: SipRule::KEYS },
    Table { name: "lan", is_list: false, keys: Lan::KEYS },
];

/// A key of a table.
#[derive(Debug)]
pub struct TableKey {
    pub(super) field: &'static str,
    pub(super) doc: &'static str,
}

impl TableKey {
    /// Its name in the file.
    pub fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    /// Description, without its default.
    pub fn description(&self) -> &'static str {
        let doc = self.doc.trim();
        doc.split_once(DEFAULT).map_or(doc, |(description, _)| description).trim_end_matches('.')
    }

    /// Default in words; `None` for a key that has to be written.
    pub fn default(&self) -> Option<&'static str> {
        let (_, default) = self.doc.trim().split_once(DEFAULT)?;
        Some(default.trim_start_matches([':', ' ']).trim_end_matches('.'))
    }
}

/// Beginning of the last sentence of a description, if the key may be absent.
const DEFAULT: &str = ". Default";

/// Defines the type that a table is read as, and `KEYS`, the names and descriptions of its fields.
macro_rules! table_keys {
    (
        $(#[$outer:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $(#[serde($($serde:tt)*)])? pub $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$outer])*
        pub struct $name {
            $($(#[doc = $doc])+ $(#[serde($($serde)*)])? pub $field: $type,)+
        }

        impl $name {
            /// Keys of the table.
            pub const KEYS: &'static [crate::config::TableKey] = &[$(crate::config::TableKey {
                field: stringify!($field),
                doc: concat!($($doc),+),
            }),+];
        }
    };
}
pub(super) use table_keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sentence_of_a_description_is_the_default() {
        let key = |doc| TableKey { field: "tls_name", doc };
        let told = |key: TableKey| (key.description(), key.default());
        assert_eq!(told(key(" Its pool. Default `default`.")), ("Its pool", Some("`default`")));
        assert_eq!(told(key(" Its pool, a name. Default: none.")), ("Its pool, a name", Some("none")));
        assert_eq!(told(key(" Its name.")), ("Its name", None));
        assert_eq!(key("").name(), "tls-name");
        for key in TABLES.iter().flat_map(|table| table.keys) {
            assert!(key.default().is_none_or(|default| !default.contains(". ")), "{}", key.name());
        }
    }
}

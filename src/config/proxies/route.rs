//! Routes: the pool that a request is for.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use super::super::describe::{Written, inline_table};
use super::super::table::table_keys;
use super::super::{Listen, Network};
use super::pattern::{fits, fits_host, fits_user, read_header};

table_keys! {
    /// One table of the key `route`: requests that fit it are for its pool. The first route that fits holds. A
    /// condition that is absent always holds.
    ///
    /// ```toml
    /// [[route]]
    /// method = "INVITE"
    /// user = "7*"
    /// pool = "ivr"
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Route {
        /// Method, in upper case. Default: any.
        pub method: Option<String>,
        /// Pattern of the user part of the request-URI; `*` stands for any characters. Default: any.
        pub user: Option<String>,
        /// Pattern of the host of the request-URI, an IPv6 address without brackets. Default: any.
        pub host: Option<String>,
        /// Sources, as networks. Default: all.
        pub from: Vec<Network>,
        /// Listener that the request came to, as `listen` has it. Default: any.
        pub listen: Option<Listen>,
        /// Name of a header and pattern of its value, as `"X-Service: ivr*"`. Default: any.
        #[serde(deserialize_with = "read_header")]
        pub header: Option<(String, String)>,
        /// Name of the pool that requests are for which fit all of these; `workers` is that of the workers.
        pub pool: String,
    }
}

/// A request as routes look at it, beside its headers.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// The user part of its URI as written.
    pub user: Option<&'a [u8]>,
    /// The host of its URI as written.
    pub host: &'a [u8],
    /// Its source.
    pub source: IpAddr,
    /// The listener that it came to.
    pub listen: Option<Listen>,
}

impl Route {
    /// Whether the request fits. `has` tells whether a header of this name has a value for which the test holds.
    ///
    /// The time it takes grows with the lengths of the request's texts and no faster; nothing is allocated.
    pub fn fits(&self, asked: &Asked<'_>, has: impl Fn(&str, &dyn Fn(&[u8]) -> bool) -> bool) -> bool {
        self.method.as_ref().is_none_or(|method| method.as_bytes() == asked.method)
            && (self.listen.is_none() || self.listen == asked.listen)
            && (self.from.is_empty() || self.from.iter().any(|network| network.contains(asked.source)))
            && self.user.as_ref().is_none_or(|pattern| fits_user(pattern, asked.user.unwrap_or_default()))
            && self.host.as_ref().is_none_or(|pattern| fits_host(pattern, asked.host))
            && self.header.as_ref().is_none_or(|(name, pattern)| has(name, &|value| fits(pattern.as_bytes(), value)))
    }

    /// Whether every request fits.
    pub fn fits_all(&self) -> bool {
        let Route { method, user, host, from, listen, header, pool: _ } = self;
        let is_any = |pattern: &Option<String>| pattern.as_ref().is_none_or(|pattern| pattern == "*");
        method.is_none() && is_any(user) && is_any(host) && from.is_empty() && listen.is_none() && header.is_none()
    }

    /// Checks the route against the listeners and brings its texts into the form that [`Route::fits`] compares; the
    /// error is the key within it, and the message.
    pub(super) fn checked(&self, listeners: &[Listen]) -> Result<Route, (&'static str, String)> {
        if let Some(method) = &self.method {
            check_method(method).map_err(|words| ("method", words))?;
        }
        for (key, pattern) in [("user", &self.user), ("host", &self.host)] {
            let is_bad = |byte: u8| !byte.is_ascii_graphic();
            if let Some(pattern) = pattern.as_ref().filter(|it| it.is_empty() || it.bytes().any(is_bad)) {
                return Err((key, format!("`{pattern}` is no pattern; give text such as 7*, or leave the key out")));
            }
        }
        if let Some(listen) = self.listen.filter(|listen| !listeners.contains(listen)) {
            return Err(("listen", format!("no listener is {listen}; write one as `listen` has it")));
        }
        let longest = [&self.user, &self.host].into_iter().flatten().chain(self.header.as_ref().map(|(_, it)| it));
        if longest.map(String::len).max().is_some_and(|length| length > LONGEST_PATTERN) {
            return Err((
                "pool",
                format!("a pattern of this route is too long; give at most {LONGEST_PATTERN} characters"),
            ));
        }
        if self.pool.is_empty() {
            return Err(("pool", "`pool` is missing; name the pool of the requests that fit".to_owned()));
        }
        let bare = |host: &String| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Route { host: self.host.as_ref().map(bare), ..self.clone() })
    }
}

/// The longest pattern.
const LONGEST_PATTERN: usize = 255;

fn check_method(method: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if method.is_empty() || method.len() > 32 || !method.bytes().all(is_token) {
        return Err(format!("`{method}` is not a method; give one such as INVITE"));
    }
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("methods are in upper case: write {}", method.to_ascii_uppercase()));
    }
    if matches!(method, "ACK" | "CANCEL") {
        return Err(format!("{method} goes where its INVITE went; write a route for INVITE"));
    }
    Ok(())
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&inline_table([
            ("method", self.method.as_ref().map(String::written)),
            ("user", self.user.as_ref().map(String::written)),
            ("host", self.host.as_ref().map(String::written)),
            ("from", (!self.from.is_empty()).then(|| self.from.written())),
            ("listen", self.listen.map(|listen| listen.to_string().written())),
            ("header", self.header.as_ref().map(|(name, pattern)| format!("{name}: {pattern}").written())),
            ("pool", Some(self.pool.written())),
        ]))
    }
}

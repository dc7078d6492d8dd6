//! Routes: the pool that a request is for.

use super::Network;

/// One table of the key `route`: requests that fit it are for its pool. The first route that fits holds. A condition
/// that is absent always holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method, in upper case.
    pub method: Option<String>,
    /// Pattern of the user part of the request-URI; `*` stands for any characters.
    pub user: Option<String>,
    /// Pattern of the host of the request-URI, in any case.
    pub host: Option<String>,
    /// Sources that it holds for; empty: all.
    pub from: Vec<Network>,
    /// Name of a header, in any case, and pattern of its value.
    pub header: Option<(String, String)>,
    /// Name of the pool; [`Pool::WORKERS`] is that of the slots.
    pub pool: String,
}

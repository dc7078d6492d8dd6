//! The size of a connection, as given in the command that creates it.

use std::net::IpAddr;

use crate::config::SizeSource;
use crate::dispatch::size::{Said, SizeRules, read};
use crate::reservation::Weight;
use crate::wire::mgcp::{Command, Verb};
use crate::wire::sdp;

impl SizeRules {
    /// The size of the session that a command from `source` begins: by its parameter, by the same name among its local
    /// connection options, by the remote session description, else 1. Only CRCX begins one.
    pub fn size_of_connection(&self, command: &Command<'_>, source: IpAddr) -> Weight {
        if command.verb() != Verb::Crcx {
            return Weight::NOTHING;
        }
        self.first_named(source, |place| match place {
            SizeSource::Header => command.stated_size().map_or(Said::Nothing, read),
            SizeSource::Sdp => {
                command.descriptions().next().map_or(Said::Nothing, |body| match sdp::weigh(body, self.video) {
                    None => Said::Nothing,
                    Some(0) => Said::Disabled,
                    Some(units) => Said::Units(units),
                })
            }
            // These places exist in SIP only.
            SizeSource::RequestUri | SizeSource::Mscml | SizeSource::Msml => Said::Nothing,
        })
    }
}

//! The size of a connection, as given in the command that creates it.

use std::net::IpAddr;

use crate::config::SizeSource;
use crate::dispatch::size::{Said, SizeRules, Sized, read};
use crate::wire::mgcp::{Command, Field, Verb};
use crate::wire::sdp;

/// The parameters that give the size.
const PARAMETERS: [&[u8]; 2] = [b"X-Size", b"X+Size"];

impl SizeRules {
    /// The size of the session that a command from `source` begins: by its parameter, by the same name among its local
    /// connection options, by the remote session description, else 1. Only CRCX begins one.
    pub fn size_of_connection(&self, command: &Command<'_>, source: IpAddr) -> Sized {
        if command.verb() != Verb::Crcx {
            return Sized::NOTHING;
        }
        self.first_named(source, |place| match place {
            SizeSource::Header => stated(command).map_or(Said::Nothing, read),
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

/// The size that a command itself gives, as written: in a parameter, else among its local connection options.
pub fn stated<'a>(command: &Command<'a>) -> Option<&'a [u8]> {
    let named = PARAMETERS.iter().find_map(|name| command.extension(name));
    named.or_else(|| in_options(command.param(Field::LocalConnectionOptions)?))
}

/// The value of `x-size` among local connection options: `p:20, a:PCMU, x-size:4`.
fn in_options(options: &[u8]) -> Option<&[u8]> {
    options.split(|&byte| byte == b',').find_map(|option| {
        let colon = memchr::memchr(b':', option)?;
        let (name, value) = option.split_at_checked(colon)?;
        let name = name.trim_ascii();
        PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name)).then(|| value.get(1..).unwrap_or_default())
    })
}

//! The size of a session, as a command states it.

use super::{Command, Field};

/// The parameters that give the size.
const PARAMETERS: [&[u8]; 2] = [b"X-Size", b"X+Size"];

impl<'a> Command<'a> {
    /// The size that the command states, as written: in a parameter, else among its local connection options.
    pub fn stated_size(&self) -> Option<&'a [u8]> {
        let named = PARAMETERS.iter().find_map(|name| self.extension(name));
        named.or_else(|| in_options(self.param(Field::LocalConnectionOptions)?))
    }
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

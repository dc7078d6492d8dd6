//! The rights of a peer at the stats socket, by its user.

use super::protocol::Command;
use crate::net::run_dir::own_uid;

/// The requests that a peer may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything: the dispatcher's own user and root.
    All,
    /// Commands that change nothing: the stats group.
    Read,
}

impl Rights {
    /// The rights of a peer of this user; `None`: it may not even connect. The mode of the socket's file has been
    /// checked before.
    pub(super) fn of(uid: u32, others: OtherUsers) -> Option<Self> {
        match others {
            _ if uid == own_uid() || uid == 0 => Some(Rights::All),
            OtherUsers::MayRead => Some(Rights::Read),
            OtherUsers::Refused => None,
        }
    }

    /// The source that a connection counts for. All read-only users together are one source: many of them must not keep
    /// the operator out.
    pub(super) fn source(self, uid: u32) -> u64 {
        match self {
            Rights::All => u64::from(uid),
            Rights::Read => u64::MAX,
        }
    }

    pub(super) const fn allow(self, command: &Command) -> bool {
        matches!(self, Rights::All) || command.is_read_only()
    }
}

/// The rights of other users at the stats socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherUsers {
    /// They are refused.
    Refused,
    /// They may read, if the file's mode lets them connect: the members of the stats group.
    MayRead,
}

/// Reply to an order of a member of the stats group.
pub(super) const READ_ONLY: &str = "the stats group may ask for load, workers, counters, connections, watch and \
                         explain; changes are for the dispatcher's own user and root";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stats_group_may_read_and_others_may_not_even_ask() {
        let own = own_uid();
        let stranger = if own == 4711 { 4712 } else { 4711 };
        assert_eq!(Rights::of(own, OtherUsers::Refused), Some(Rights::All));
        assert_eq!(Rights::of(0, OtherUsers::MayRead), Some(Rights::All));
        assert_eq!(Rights::of(stranger, OtherUsers::MayRead), Some(Rights::Read));
        assert_eq!(Rights::of(stranger, OtherUsers::Refused), None);
        let may = |line: &str| Rights::Read.allow(&Command::parse(line.as_bytes()).unwrap());
        assert!(
            ["load", "workers", "counters", "connections", "connections 7", "watch", "explain a@b"]
                .into_iter()
                .all(may)
        );
        assert!(!["drain w0", "ready w0", "maint w0", "forget w0", "reload"].into_iter().any(may));
    }
}

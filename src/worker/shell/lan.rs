//! The process of a worker on another host: its links outlive their connections.

use crate::station::Sessions;
use crate::time::Time;
use crate::words::Welcome;
use crate::worker::link;
use crate::worker::network::{self, Tried};

use super::Shell;

impl<S: Sessions> Shell<S> {
    /// Does what is due on links over a network: counts leave, silent connections are given up, and others are looked
    /// for in place of those that are gone.
    pub(super) fn keep_links(&mut self, now: Time) {
        let Some(redial) = &mut self.redial else { return };
        for (lane, end) in self.links.iter_mut().enumerate() {
            let Some(channel) = end.channel_mut() else { continue };
            if channel.handle_timeout(now) {
                let why = channel.over().unwrap_or("it is over").to_owned();
                self.station.on_link_end(lane, why);
            } else if channel.is_cut() {
                redial.resume(lane, channel.frames_read());
            }
        }
    }

    /// When [`Shell::keep_links`] is due.
    pub(super) fn links_due(&self) -> Option<Time> {
        self.links.iter().filter_map(|end| end.channel()).map(|channel| channel.poll_timeout()).min()
    }

    /// Tries to reach the dispatcher have ended.
    pub(super) fn on_dialled(&mut self, now: Time) {
        while let Some(tried) = self.redial.as_mut().and_then(network::Redial::poll) {
            match tried {
                Tried::Resumed(lane, connection, read) => {
                    let Some(end) = self.links.get_mut(lane) else { continue };
                    let Some(channel) = end.channel_mut() else { continue };
                    if channel.attach(connection, read).is_ok() {
                        tracing::debug!(lane, "the link to the dispatcher goes on");
                        if let Err(error) = end.watch(&self.sources.poll, link::token(lane)) {
                            tracing::warn!(%error, "the link to a lane of the dispatcher cannot be watched");
                        }
                    }
                    self.sources.add(link::token(lane));
                }
                Tried::Over(lane, reason) => {
                    if let Some(channel) = self.links.get_mut(lane).and_then(link::LinkEnd::channel_mut) {
                        channel.end(reason);
                    }
                }
                Tried::Welcome(connection, welcome, clock) => {
                    self.on_welcome_from_afar(connection, *welcome, clock, now);
                }
                Tried::Refused(reason) => self.station.on_refused(&reason, now),
                Tried::Failed(true) => self.station.on_failed(now),
                // It is tried again as long as the link has no connection.
                Tried::Failed(false) => {}
            }
        }
    }

    fn on_welcome_from_afar(
        &mut self,
        connection: crate::net::lan::Connection,
        welcome: Welcome,
        clock: Option<(Time, Time, Time)>,
        now: Time,
    ) {
        let (link, more) = match network::links(&welcome, connection) {
            Ok(links) => links,
            Err(reason) => return self.station.on_refused(&reason, now),
        };
        if let Err(error) = link.watch(&self.sources.poll, link::token(0)) {
            tracing::warn!(%error, "the link to the dispatcher cannot be watched");
            return self.station.on_failed(now);
        }
        if let Some(redial) = &mut self.redial {
            redial.set_terms(welcome.lan);
        }
        let held = vec![false; welcome.listeners.len()];
        self.station.on_welcome(welcome, more.len(), &held, now);
        if let Some((asked, theirs, heard)) = clock {
            self.station.set_clock(asked, theirs, heard);
        }
        self.links = std::iter::once(link).chain(more).collect();
        self.sources.add(link::token(0));
    }
}

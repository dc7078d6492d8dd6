//! The generator's reaction to each message that comes, and to each timer that runs out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{self, InDialog, InviteTemplate, Key, Method, Remote, Reply, Shape};
use super::timers::Due;
use super::{Generator, State};

impl Generator {
    /// A message has come.
    pub(super) fn on_message(&mut self, bytes: &[u8], from: SocketAddr) {
        let reply = Reply::read(bytes).filter(|reply| reply.key.run == self.run);
        let Some(reply) = reply.filter(|reply| (reply.key.slot as usize) < self.calls.len()) else {
            self.outcome.strangers += 1;
            return;
        };
        match (reply.status, reply.method) {
            (0, Method::Bye) => self.on_bye(bytes, &reply, from),
            (0, _) => self.respond(bytes, "501 Not Implemented", reply.key, from),
            (_, Method::Invite) => self.on_invite_response(&reply, from),
            (_, Method::Bye) => self.on_bye_response(&reply, from),
            _ => {}
        }
    }

    fn on_invite_response(&mut self, reply: &Reply<'_>, from: SocketAddr) {
        let call = &self.calls[reply.key.slot as usize];
        let redirected = call.redirected.and_then(|at| self.redirections.get(at));
        if from != redirected.map_or(self.plan.target, |(target, _)| *target) {
            self.outcome.from_elsewhere += 1;
        }
        let call = &mut self.calls[reply.key.slot as usize];
        let current = call.serial == reply.key.serial;
        match (call.state, reply.status) {
            (State::Calling { since }, 100..=199) if current => call.state = State::Proceeding { since },
            (State::Calling { since } | State::Proceeding { since }, 200..=299) if current => {
                self.on_answer(reply, since);
            }
            (State::Calling { since }, 302) if current && call.redirected.is_none() => {
                self.on_redirection(reply, since)
            }
            (State::Calling { .. } | State::Proceeding { .. }, 300..) if current => {
                self.outcome.fail("INVITE", &reply.status.to_string());
                self.acknowledge_failure(reply);
                self.close(reply.key);
            }
            (State::Standing | State::Ending { .. }, 200..=299) if current && call.remote.to != reply.to => {
                self.end_second_answer(reply);
            }
            (state, 200..=299) => {
                let is_over = !current || state == State::Free;
                self.outcome.answers_again += 1;
                self.acknowledge(reply);
                if is_over {
                    self.end_late_answer(reply);
                }
            }
            (_, 300..) => self.acknowledge_failure(reply),
            _ => {}
        }
    }

    /// The INVITE goes to the first address that a 302 names (RFC 3261 §8.1.3.4). The timers of the call go on.
    fn on_redirection(&mut self, reply: &Reply<'_>, since: Instant) {
        self.acknowledge_failure(reply);
        let Some(target) = reply.contact.and_then(message::address_in) else {
            self.outcome.fail("INVITE", "302 without an address");
            self.close(reply.key);
            return;
        };
        let known = self.redirections.iter().position(|(known, _)| *known == target);
        let at = known.unwrap_or_else(|| {
            let shape = Shape { target, mark: 'r', ..self.shape };
            self.redirections.push((target, InviteTemplate::new(&shape)));
            self.redirections.len() - 1
        });
        let call = &mut self.calls[reply.key.slot as usize];
        call.state = State::Calling { since };
        call.redirected = Some(at);
        let size = call.size;
        self.send_invite(reply.key, size);
    }

    fn on_answer(&mut self, reply: &Reply<'_>, since: Instant) {
        let now = Instant::now();
        self.outcome.answered(now - since);
        let call = &mut self.calls[reply.key.slot as usize];
        call.remote.take(reply);
        call.state = State::Standing;
        self.outcome.count_contact(call.remote.next_hop);
        self.open -= 1;
        self.established += 1;
        self.acknowledge(reply);
        self.standing.push_back((now + self.plan.hold.unwrap_or_default(), reply.key));
        if self.plan.hold == Some(Duration::ZERO) && self.plan.byes_per_second.is_none() {
            self.end_due(now);
        }
    }

    /// Acknowledges a 2xx with the values in it alone, so that one for a call long gone gets its ACK as well.
    fn acknowledge(&mut self, reply: &Reply<'_>) {
        let mut remote = Remote::default();
        remote.take(reply);
        self.send_in_dialog(InDialog::Ack, reply.key, &remote);
    }

    /// Two workers answered: a caller may have that after a crash (RFC 3261 §13.2.2.4), and ends the second call.
    fn end_second_answer(&mut self, reply: &Reply<'_>) {
        self.outcome.second_answers += 1;
        let mut remote = Remote::default();
        remote.take(reply);
        self.send_in_dialog(InDialog::Ack, reply.key, &remote);
        self.send_in_dialog(InDialog::Bye, reply.key, &remote);
    }

    /// Ends the call of an answer that came when its caller had hung up already: it may be a second worker's, which
    /// would have the call for ever. Where it is the first one's own again, the BYE gets a 481.
    fn end_late_answer(&mut self, reply: &Reply<'_>) {
        let mut remote = Remote::default();
        remote.take(reply);
        self.send_in_dialog(InDialog::Bye, reply.key, &remote);
    }

    fn acknowledge_failure(&mut self, reply: &Reply<'_>) {
        let redirected = self.calls[reply.key.slot as usize].redirected;
        let (target, template) = match redirected.and_then(|at| self.redirections.get_mut(at)) {
            Some((target, template)) => (*target, template),
            None => (self.plan.target, &mut self.template),
        };
        message::write_hop_ack(&mut self.scratch, template.write(reply.key, 0), reply.to);
        let _ = self.path.send(reply.key.slot, &self.scratch, target);
    }

    fn on_bye_response(&mut self, reply: &Reply<'_>, from: SocketAddr) {
        let call = &self.calls[reply.key.slot as usize];
        if call.serial != reply.key.serial || reply.status < 200 {
            return;
        }
        let State::Ending { .. } = call.state else { return };
        if Some(from) != self.destination(&call.remote) {
            self.outcome.from_elsewhere += 1;
        }
        if reply.status < 300 {
            self.outcome.completed += 1;
        } else {
            self.outcome.fail("BYE", &reply.status.to_string());
        }
        self.established -= 1;
        self.close(reply.key);
    }

    /// The far end ends a call.
    fn on_bye(&mut self, bytes: &[u8], reply: &Reply<'_>, from: SocketAddr) {
        self.respond(bytes, "200 OK", reply.key, from);
        let call = &self.calls[reply.key.slot as usize];
        if call.serial != reply.key.serial {
            return;
        }
        match call.state {
            State::Standing => {
                self.outcome.ended_by_peer += 1;
                self.established -= 1;
                // It held no open transaction; `close` takes one off.
                self.open += 1;
                self.close(reply.key);
            }
            // Both hang up at once: our BYE gets its own answer.
            State::Ending { .. } | State::Free | State::Calling { .. } | State::Proceeding { .. } => {}
        }
    }

    fn respond(&mut self, request: &[u8], status: &str, key: Key, to: SocketAddr) {
        message::write_response(&mut self.scratch, request, status);
        let _ = self.path.send(key.slot, &self.scratch, to);
    }

    /// A retransmission timer has run out.
    pub(super) fn on_timer(&mut self, due: Due) {
        let call = &self.calls[due.key.slot as usize];
        if call.serial != due.key.serial {
            return;
        }
        let limit = self.plan.t1 * 64;
        match (due.method, call.state) {
            (Method::Invite, State::Calling { since } | State::Proceeding { since }) => {
                if due.at - since >= limit {
                    self.outcome.fail("INVITE", "without a final response");
                    self.close(due.key);
                    return;
                }
                let sends = matches!(call.state, State::Calling { .. }) && !due.last && !self.path.is_reliable();
                let size = call.size;
                if sends {
                    self.outcome.invites_again += 1;
                    self.send_invite(due.key, size);
                }
                self.timers.again(due, limit - (due.at - since));
            }
            (Method::Bye, State::Ending { since }) => {
                if due.at - since >= limit {
                    self.outcome.fail("BYE", "without a final response");
                    self.established -= 1;
                    self.close(due.key);
                    return;
                }
                if !due.last && !self.path.is_reliable() {
                    self.outcome.byes_again += 1;
                    self.send_bye(due.key);
                }
                self.timers.again(due, limit - (due.at - since));
            }
            _ => {}
        }
    }
}

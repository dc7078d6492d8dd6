//! Pointsman: a dispatcher for media servers.
//!
//! It listens on the well-known SIP and MGCP ports, chooses one of N worker processes for each new session by the
//! workers' reported load and by the size named in the first message, and hands that message over. The worker answers
//! the source itself and names its own port, so the rest of the dialog bypasses the dispatcher. The dispatcher keeps no
//! dialog: if it is killed, every call that stands goes on.
//!
//! # The map
//!
//! ```text
//! ids time           newtypes and their text form; moments and the deadline wheel
//! seldom             how often a line is logged that could come without end
//! crowd              connections by source: which may have one more, which one makes room
//! fingerprint        keyed hashes of texts and sources
//! pack               values as bytes, for a takeover
//! reservation        the units that a conference has reserved, and its legs share
//! config             one file of settings → one checked, immutable Config
//! -- pure: bytes and values in, values out --
//! words              the vocabulary of dispatcher and workers: messages, reports, refusals, welcome (no bytes)
//! wire               SIP, MGCP, SDP, handoff frames: borrowed views of bytes, no state
//! access             sources that may send, and their rates: at the well-known ports and at a worker's own
//! dispatch           the decision: rules, table, pool, ledger, size, selection
//! transaction        SIP's and MGCP's transactions, their timers, their names
//! names              look-ups: questions to name servers, their order, remembered answers
//! link               a link between dispatcher and worker: its two ends, the store of unanswered messages
//! call               a worker's side of a call: transaction, dialog, offer, gateway (MGCP), external gateway
//! media              packets: streams, echo, ports
//! station            a worker as a value: what it does about each event
//! switch             the lane as a value: a message in, its decision carried out; links, answers, parcels
//! -- effects: the only code that speaks to the kernel --
//! net                system calls, sockets, clock, name look-ups
//! -- processes: each wires pure parts to net --
//! server             the dispatcher process: lane (the hot loop), its sockets and threads
//! worker             the SDK (trait Application, run), the built-in media application, the adapter for other gateways
//! supervisor         worker processes: slots, start, restart, stop; both sides of a takeover
//! upgrade            one dispatcher takes over from another: phases, messages between them
//! admin              stats socket and its client
//! ```
//!
//! [`changing`] shows one turn of the lane, and where a rule, a policy, a key, a record or a verb is added.
//!
//! Dependencies point one way: wire ← decisions ← net ← processes. `tests/purity.rs` reads the source and fails when a
//! pure directory names a socket, a clock, a thread or a random source, or a module above it.
//!
//! # Glossary
//!
//! House words, with the field's word beside each.
//!
//! | word | meaning | elsewhere |
//! |---|---|---|
//! | slot | a place for one worker process: `w0`, `w1`, … | instance number |
//! | life, incarnation | one run of a worker process in its slot | epoch |
//! | lane | a thread of the dispatcher that reads and decides | shard |
//! | parcel | messages that one lane passes to another | inter-thread batch |
//! | link | a connection between a lane and a worker | channel |
//! | ledger | units handed to a worker that its report does not cover yet | load in flight |
//! | room | what a link can still take | backpressure level |
//! | share | what one source may have waiting of a link or table | fair queueing |
//! | verdict | the dispatcher's own final answer to a transaction | local response |
//! | group | a conference, or the call of an MGCP call agent, at one worker | affinity key |
//! | pinned | a dialog that stays at the well-known port | record-routed |
//! | chain | the commands of one MGCP datagram, one after the other (RFC 3435 §3.5.5) | piggybacking |
//! | gathering | one answer made of those of several workers (MGCP) | scatter and gather |
//! | suspect, poison | a message that was there when a worker died; at two deaths | poison message |
//! | estate | the messages that a dead worker has left unanswered | orphaned queue |
//! | survivor | a worker of an earlier dispatcher that is still there | reattached process |
//! | outsider | a worker that the dispatcher has not started | external worker |
//! | brought, holdings | what a worker that comes back has, for a new dispatcher | session resync |
//! | heard | a peer that has shown that it gets what we send | return routability |
//! | stranger, claim | a source that has not been heard; the units that it states | unvalidated source |
//! | seat | the place of a leg in its conference's reservation | quota share |
//! | latch | the remote address that packets have shown | symmetric RTP |

pub mod access;
pub mod admin;
pub mod call;
#[doc = include_str!("changing.md")]
pub mod changing {}
pub mod config;
pub mod crowd;
pub mod dispatch;
pub mod fingerprint;
pub mod ids;
pub mod link;
pub mod media;
pub mod names;
pub mod net;
pub mod pack;
pub mod reservation;
pub mod seldom;
pub mod server;
pub mod station;
pub mod supervisor;
pub mod switch;
pub mod time;
pub mod transaction;
pub mod upgrade;
pub mod wire;
pub mod words;
pub mod worker;

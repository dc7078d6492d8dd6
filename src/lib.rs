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
//! few                lists that most often have one item
//! slab               numbered places, whose keys tell one tenant from the next
//! reservation        the units that a conference has reserved, and its legs share
//! config             one file of settings → one checked, immutable Config
//! -- pure: bytes and values in, values out --
//! words              the vocabulary of dispatcher and workers: messages, reports, refusals, welcome (no bytes)
//! wire               SIP, MGCP, SDP, handoff frames: borrowed views of bytes, no state
//! stream             the bytes of one connection to messages and back
//! access             sources that may send, and their rates: at the well-known ports and at a worker's own
//! dispatch           the decision: rules, table, pool, ledger, size, selection
//! transaction        SIP's and MGCP's transactions, their timers, their names
//! names              look-ups: questions to name servers, their order, remembered answers
//! link               a link between dispatcher and worker: its two ends, the store of unanswered messages
//! call               a worker's side of a call: dialog, offer, gateway (MGCP), external gateway
//! media              packets: streams, echo, ports
//! station            a worker as a value: its links, sessions and application (trait Application)
//! switch             the lane as a value: a message in, its decision carried out; links, answers, parcels
//! -- effects: the only code that speaks to the kernel --
//! net                system calls, sockets, clock, name look-ups
//! -- processes: each wires pure parts to net --
//! server             the dispatcher process: lane (the hot loop), its sockets and threads
//! worker             the process around a station (run): sockets, poll, media; the one for other gateways
//! supervisor         worker processes: slots, start, restart, stop; both sides of a takeover
//! prober             the health, delay, load and addresses of downstream proxies, told to all lanes
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
//! House words, with the field's word beside each. `tests/comments.rs` fails when a word is no longer used.
//!
//! | word | meaning | elsewhere |
//! |---|---|---|
//! | slot | a numbered place for one worker process, with its ports: `w0`, `w1`, … | instance number |
//! | life, incarnation | one run of a worker process in its slot | epoch, generation |
//! | lane | a thread of the dispatcher that reads sockets and decides | shard |
//! | parcel | messages that one lane passes to another | inter-thread batch |
//! | link | a connection between a lane and a worker | channel |
//! | unmanaged | a worker that the dispatcher has not started | external process |
//! | handoff | a message that the dispatcher gives to a worker, which answers the source itself | hand-over, redirect |
//! | token | the worker's mark in tags, branches and endpoint names, by which later messages find it | routing cookie |
//! | told | the host to which a worker sent its tag: only from there is the tag no forgery | path validation |
//! | fingerprint | a keyed hash of a name or text, kept in place of the text | keyed hash |
//! | name | the fingerprint by which a transaction, or a call, is found (RFC 3261 §17.2.3) | transaction key |
//! | follows | a message that belongs to a call or transaction; it begins nothing | in-dialog |
//! | selection | the choice of a worker for a message that begins something | load balancing |
//! | ledger | units handed to a worker that its report does not cover yet | load in flight |
//! | room | the amount that a link or store can still take | backpressure level |
//! | open | a worker that takes new work | eligible |
//! | size | the units of a session; one is a plain two-party leg | cost |
//! | weight | the units that one leg adds to its conference; of a downstream proxy, its share of new requests now | cost |
//! | downstream proxy | a server behind the dispatcher that is no worker | backend, gateway, destination |
//! | handicap | the share of a proxy beside others of the same delay and load | static weight |
//! | excess | the delay of a proxy beyond its own best | latency above baseline |
//! | finding | a result of the prober that every lane is told | health event |
//! | trial | the state of a proxy that was down and gets one request at a time | half-open circuit |
//! | panic | the state of a pool whose members are all down by probes: they get calls in turn | panic threshold |
//! | flow | a keyed hash in our Via that vouches for the address that responses go to | flow token |
//! | answered here | a transaction that has a final answer of the dispatcher's own | local response |
//! | echoed | an identity that a message repeats from an earlier answer: nonce, Call-ID | stickiness key |
//! | offered around | a message that a worker refused, tried at others for a limited time | retry budget |
//! | told apart | transaction ids of call agents that share an address | disambiguation |
//! | share | the part of a store or table that one source may have waiting | fair queueing |
//! | reserve | the last part of a store, for messages of calls | priority headroom |
//! | pinned | a dialog that stays at the well-known port | record-routed |
//! | vacant | the port of a slot that has no worker at the moment | unserved listener |
//! | port | a UDP socket as a lane reads it: a listener, or one of a slot that has no worker | port |
//! | look | a periodic check of every worker's link | health check |
//! | hung | a worker that was silent or read nothing for many looks in a row | unresponsive |
//! | suspect | a message that was there when a worker died; at its second death it is answered 500 | poison message |
//! | estate | the messages that a dead worker has left unanswered | dead-letter queue |
//! | brought | the state that a worker brings to a new dispatcher | session resync |
//! | reattach | to take over a living worker of an earlier dispatcher | re-adopt a process |
//! | orphan | a worker without a dispatcher | orphaned process |
//! | takeover | a new dispatcher gets everything from the running one | hot upgrade |
//! | group | a conference, or the call of an MGCP call agent, at one worker | affinity key |
//! | seat | the part of a leg in its conference's reservation | quota share |
//! | chain | the commands of one MGCP datagram, one after the other (RFC 3435 §3.5.5) | piggybacking |
//! | gathering | one answer made of those of several workers (MGCP) | scatter and gather |
//! | relay | MGCP commands that come through the dispatcher each time | proxying |
//! | doubtful | a connection that another worker may have made as well, before its death | possible duplicate |
//! | window | the number of commands that a gateway has at a time | congestion window |
//! | heard | a peer that has shown that it receives our messages | return routability |
//! | stranger | a source that has not acknowledged any call yet | unvalidated source |
//! | claim | the units that a stranger states | unvalidated load |
//! | station | a worker as a value, without sockets and clock | state machine |
//! | latch | the remote address that packets have shown | symmetric RTP |

pub mod access;
pub mod admin;
pub mod call;
#[doc = include_str!("changing.md")]
pub mod changing {}
pub mod config;
pub mod crowd;
pub mod dispatch;
pub mod few;
pub mod fingerprint;
pub mod ids;
pub mod link;
pub mod media;
pub mod names;
pub mod net;
pub mod pack;
pub mod prober;
pub mod reservation;
pub mod seldom;
pub mod server;
pub mod slab;
pub mod station;
pub mod stream;
pub mod supervisor;
pub mod switch;
pub mod time;
pub mod transaction;
pub mod upgrade;
pub mod wire;
pub mod words;
pub mod worker;

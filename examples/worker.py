#!/usr/bin/env python3
"""A Pointsman worker in another language: Python 3, standard library only.

    pointsman --workers 1 --run-dir /tmp/pm &
    python3 examples/worker.py /tmp/pm --address 127.0.0.1

It binds a SIP port of its own, introduces itself on RUN_DIR/handoff.sock and from then on gets its share of the new
calls. Each comes as one record with the INVITE, byte for byte; the worker answers the caller itself and names its own
port in Contact, so that ACK and BYE come straight here. The format is described in src/wire/handoff/mod.rs.

What a worker owes the dispatcher, and nothing else:
  * `Hello` first; `Pong` for `Ping`;
  * for each message, by its number: `Answered` once its final response has left (or none will), or `Refuse`: then the
    next worker gets it, and the caller notices nothing;
  * a `Report` of its load, in absolute numbers, on every change and at least once a second;
  * its token (told in `Welcome`) at the front of its To-tags: by it the dispatcher finds the way here when a caller
    does not follow Contact, whatever has been restarted in between.

The calls are echoed: what arrives on the RTP port goes back. It is a tutorial: UDP and streams through the dispatcher,
G.711 µ-law, no IPv6 literals in Contact of peers, no 100rel.
"""
import argparse, functools, json, os, re, secrets, select, socket, struct, sys, time

WELCOME, MESSAGE, DRAIN, PING, GOODBYE = 1, 2, 3, 5, 6
HELLO, REPORT, ANSWERED, REFUSE, REPLY, PONG = 65, 66, 67, 68, 69, 74
FULL, DRAINING, LATE, OTHER = 1, 2, 3, 255             # reasons to refuse
PINNED, AGAIN, FOLLOWS = 1, 2, 4                       # flags of a message
T1, T2 = 0.5, 4.0                                      # RFC 3261 §17.1.1.1, seconds
ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS"
REASONS = {200: "OK", 400: "Bad Request", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
           486: "Busy Here", 488: "Not Acceptable Here", 501: "Not Implemented"}


# --- The handoff format: a frame is a header and records, all numbers little-endian. ---

def record(kind, fixed=b"", body=b""):
    return struct.pack("<BxHI", kind, len(fixed), 8 + len(fixed) + len(body)) + fixed + body


def frame(records):
    return struct.pack("<HBxI", 0x4d50, 1, 8 + len(records)) + records


def records(data):
    """The records of a frame: kind, fixed part, body. A fixed part may be longer than we know: take what we know."""
    magic, version, length = struct.unpack_from("<HBxI", data)
    if (magic, version, length) != (0x4d50, 1, len(data)):
        raise ValueError("not a frame of this protocol")
    at = 8
    while at < len(data):
        kind, fixed, length = struct.unpack_from("<BxHI", data, at)
        if not 8 + fixed <= length <= len(data) - at:
            raise ValueError("a record whose lengths do not fit")
        yield kind, data[at + 8:at + 8 + fixed], data[at + 8 + fixed:at + length]
        at += length


class Envelope:
    """What the dispatcher says about a message, or what we say about one that came to our own port."""

    FORMAT = struct.Struct("<QQQQIHBBHBx16sHBx16s")

    def __init__(self, fixed):
        (self.seq, self.received, self.deadline, self.conn, self.size, self.listener, self.transport, self.flags,
         *addresses) = self.FORMAT.unpack_from(fixed)
        self.source, self.local = self.address(*addresses[:3]), self.address(*addresses[3:])

    @staticmethod
    def address(port, family, octets):
        if family == 4:
            return socket.inet_ntop(socket.AF_INET, octets[:4]), port
        return socket.inet_ntop(socket.AF_INET6, octets), port

    @classmethod
    def own(cls, source, local):
        self = cls.__new__(cls)
        self.seq = self.received = self.deadline = self.conn = self.listener = self.transport = self.flags = 0
        self.size, self.source, self.local = 1, source, local
        return self


# --- SIP, read as far as needed. Latin-1 keeps every byte as it is. ---

class Sip:
    COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "c": "content-type"}

    def __init__(self, data):
        head, _, self.body = data.decode("latin-1").partition("\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        if len(lines) > 200 or any(c in head for c in "\0") or "\r" in "".join(lines) or "\n" in "".join(lines):
            raise ValueError("not a message we read")
        self.method, self.uri, version = lines[0].split(" ")
        self.fields = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.fields.append((self.COMPACT.get(name, name), value.strip()))
        if version != "SIP/2.0" or not all(self.all(name) for name in ("via", "from", "to", "call-id", "cseq")):
            raise ValueError("not a request, or without a header that every request has")
        self.cseq, cseq_method = self.first("cseq").split()
        if cseq_method != self.method or not self.cseq.isdigit():
            raise ValueError("CSeq does not fit the request")
        self.branch = self.param("via", "branch")
        if not self.branch:
            raise ValueError("a Via without branch (RFC 2543) is left to others")
        self.to_tag, self.from_tag = self.param("to", "tag"), self.param("from", "tag")

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def first(self, name):
        return next(iter(self.all(name)), "")

    def param(self, name, param):
        value = self.first(name).split(",")[0] if name == "via" else self.first(name).rpartition(">")[2] or self.first(name)
        found = re.search(r";\s*%s\s*(?:=\s*([^;\s,]*))?" % param, value, re.I)
        return found and (found[1] or "")


class Call:
    def __init__(self, invite, size, tag):
        self.invite, self.size, self.tag = invite, size, tag
        self.media = None                              # where the caller wants its sound
        self.unacknowledged = None                     # (response, send function, first sent, next, interval)


class Worker:
    def __init__(self, args):
        self.args, self.name = args, args.name or "python-%d" % os.getpid()
        self.sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sip.bind((args.address, args.port))
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind((args.address, 0))
        self.links, self.welcome, self.listeners = {}, None, {}      # link → number of its last message
        self.calls, self.transactions = {}, {}         # (Call-ID, From-tag) → Call; branch → (when, final response)
        self.draining, self.stop_at = False, None
        self.number = self.direct = self.answered = 0
        self.reported, self.due = None, 0.0
        self.measured = time.monotonic(), time.process_time(), 0     # when, processor time until then, the result

    # --- The links: one, or one for each of the dispatcher's lanes ---

    def connect(self):
        """Introduces itself. With secret and incarnation of an earlier welcome it comes back as the same worker."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(os.path.join(self.args.run_dir, "handoff.sock"))
        hello = {"name": self.name, "program": "worker.py", "pid": os.getpid(), "capacity": self.args.capacity,
                 "services": ["sip"], "wants-listeners": True, "links": 64,
                 "ports": [{"service": "sip", "address": "%s:%d" % self.sip.getsockname()}]}
        if self.welcome:
            hello.update(secret=self.welcome["secret"], incarnation=self.welcome["incarnation"])
        link.sendall(frame(record(HELLO, body=json.dumps(hello).encode())))
        self.links, self.number, self.reported = {link: 0}, 0, None

    def on_link(self, link):
        data, descriptors, _, _ = socket.recv_fds(link, 72 * 1024, 128)
        if not data:
            self.disconnect()
            return
        answered = []
        for kind, fixed, body in records(data):
            if kind == WELCOME:
                self.on_welcome(json.loads(body), descriptors)
            elif kind == MESSAGE:
                envelope = Envelope(fixed)
                envelope.link = link
                self.links[link] = envelope.seq
                reason = self.on_handoff(envelope, body)
                if reason:
                    self.send(link, record(REFUSE, struct.pack("<QB7x", envelope.seq, reason)))
                else:
                    answered.append(envelope.seq)
            elif kind == DRAIN:
                mode, within = struct.unpack_from("<B7xQ", fixed)
                self.draining = mode != 0
                if mode == 2:
                    self.stop_at = time.monotonic() + within / 1000
                    for call in list(self.calls.values()):
                        self.hang_up(call)
            elif kind == PING:
                self.send(link, record(PONG, fixed[:8]))
            elif kind == GOODBYE:
                sys.exit("the dispatcher says: " + body.decode("utf-8", "replace"))
        if answered:
            self.send(link, record(ANSWERED, body=struct.pack("<%dQ" % len(answered), *answered)))

    def on_welcome(self, welcome, descriptors):
        """The sockets ride beside the record, in the order of its list. Ours are copies of the well-known sockets: a
        caller behind a NAT gets the response from the address it sent to (RFC 3581 §4). We never read them."""
        for about, descriptor in zip(welcome["sockets"], descriptors):
            if about["role"] == "listener":
                self.listeners[about["listener"]] = (socket.socket(fileno=descriptor), about["address"])
            elif about["role"] == "link":
                self.links[socket.socket(fileno=descriptor)] = 0
            else:
                os.close(descriptor)
        self.welcome = welcome
        print("%s takes calls at %s:%d" % (welcome["name"], *self.sip.getsockname()), flush=True)

    def disconnect(self):
        print("the dispatcher is gone; calls go on", flush=True)
        for listener, _ in self.listeners.values():
            listener.close()
        for link in self.links:
            link.close()
        self.links, self.listeners = {}, {}

    def send(self, link, records):
        if link in self.links:
            try:
                link.sendall(frame(records))
            except ConnectionError:
                self.disconnect()

    def cpu(self, now):
        """Millionths of a core, measured over a second at least: a shorter time says nothing."""
        since, before, _ = self.measured
        if now - since >= 1.0:
            spent = time.process_time()
            self.measured = now, spent, int((spent - before) / (now - since) * 1e6)
        return self.measured[2]

    def report(self):
        """Absolute numbers; nothing is ever counted up here and down there. `covers`: our figures include all messages of
        the link up to this one, so the dispatcher stops adding their sizes itself."""
        used = self.used()
        state = (*self.links.values(), used, len(self.calls), self.draining)
        now = time.monotonic()
        if self.links and self.welcome and (state != self.reported or now >= self.due):
            self.number += 1
            cpu = self.cpu(now)
            flags = 2 if self.draining else 0
            for link, taken in list(self.links.items()):
                self.send(link, record(REPORT, struct.pack("<QQQIIIIIIQQ", self.number, taken, taken, used,
                          self.args.capacity, len(self.calls), cpu, flags, 0, self.direct, self.answered)))
            self.reported, self.due = state, now + 1.0

    # --- Calls ---

    def on_handoff(self, envelope, data):
        """A message from the dispatcher: answers it, or returns why another worker should."""
        if envelope.deadline and time.monotonic_ns() // 1000 > envelope.deadline:
            return LATE                                # another worker may have it by now
        try:
            request = Sip(data)
            if self.is_new_call(request) and not envelope.flags & FOLLOWS:
                if self.draining:
                    return DRAINING
                if self.used() + envelope.size > self.args.capacity:
                    return FULL
            self.on_request(request, envelope)
        except ValueError:
            return 0 if envelope.flags & FOLLOWS else OTHER

    def on_own_port(self):
        data, source = self.sip.recvfrom(65535)
        try:
            request, envelope = Sip(data), Envelope.own(source, self.sip.getsockname())
            if self.is_new_call(request):
                self.direct += 1
                if self.draining or self.used() >= self.args.capacity:
                    self.respond(request, envelope, 486)
                    return
            self.on_request(request, envelope)
        except ValueError:
            pass                                       # garbage, keepalives, responses to our BYE

    def is_new_call(self, request):
        return request.method == "INVITE" and not request.to_tag and request.branch not in self.transactions

    def used(self):
        return sum(call.size for call in self.calls.values())

    def on_request(self, request, envelope):
        key = (request.first("call-id"), request.from_tag)
        call = self.calls.get(key)
        if request.method == "ACK":                    # never answered, whatever it is for
            if call and request.cseq == call.invite.cseq:
                call.unacknowledged = None
        elif request.method != "CANCEL" and request.branch in self.transactions:
            self.reply(request, envelope, self.transactions[request.branch][1])    # a retransmission
        elif request.method == "CANCEL":               # too late for all we do: the INVITE has its answer (§9.2)
            self.respond(request, envelope, 200 if request.branch in self.transactions else 481,
                         tag=call.tag if call else secrets.token_hex(4))
        elif request.to_tag and (not call or request.to_tag != call.tag):
            self.respond(request, envelope, 481)
        elif request.method == "OPTIONS":
            self.respond(request, envelope, 200, ["Allow: " + ALLOW, "Accept: application/sdp"])
        elif request.method == "BYE" and call:
            self.respond(request, envelope, 200)
            del self.calls[key]
        elif request.method == "INVITE":
            self.on_invite(request, envelope, key, call)
        else:
            self.respond(request, envelope, 481 if request.method == "BYE" else 501, ["Allow: " + ALLOW])

    def on_invite(self, request, envelope, key, call):
        if call and not request.to_tag:                # another branch of the same request: merged (§8.2.2.2)
            self.respond(request, envelope, 482)
            return
        formats = re.search(r"^m=audio \d+ RTP/AVP ([\d ]+)", request.body, re.M)
        if request.body and (not formats or "0" not in formats[1].split()):
            self.respond(request, envelope, 488)
            return
        # Token first: this is how the dispatcher recognises us in whatever the caller sends it later.
        token = self.welcome["token"] if self.welcome else ""
        call = call or self.calls.setdefault(key, Call(request, max(envelope.size, 1), token + secrets.token_hex(4)))
        call.invite = request
        place = re.search(r"^c=IN IP4 ([\d.]+)", request.body, re.M)
        port = re.search(r"^m=audio (\d+)", request.body, re.M)
        call.media = (place[1], int(port[1])) if place and port else None
        host, own = self.sip.getsockname()
        # A pinned caller can only reach the well-known address, so that stands in Contact, with the token.
        where = "%s:%d" % (envelope.local if envelope.flags & PINNED else (host, own))
        sdp = ("v=0\r\no=- %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n"
               "a=rtpmap:0 PCMU/8000\r\n" % (id(call) & 0x7fffffff, host, host, self.rtp.getsockname()[1]))
        headers = ["Record-Route: " + route for route in request.all("record-route")]
        headers += ["Contact: <sip:%s@%s>" % (token or "worker", where), "Allow: " + ALLOW,
                    "Content-Type: application/sdp"]
        response = self.respond(request, envelope, 200, headers, sdp, call.tag)
        now = time.monotonic()
        call.unacknowledged = [lambda: self.reply(request, envelope, response), now, now + T1, T1]
        self.answered += 1

    def respond(self, request, envelope, status, headers=(), body="", tag=None):
        """Writes a final response and remembers it for retransmissions of the request."""
        to = request.first("to")
        if not request.to_tag:
            to += ";tag=" + (tag or secrets.token_hex(4))
        vias = request.all("via")
        top, _, more = vias[0].partition(",")
        host, port = envelope.source
        top = re.sub(r";\s*rport\s*(=[^;,]*)?(?=;|,|$)", "", top, flags=re.I) if self.wants_rport(request) else top
        top += ";received=%s" % host + (";rport=%d" % port if self.wants_rport(request) else "")
        vias[0] = top + ("," + more if more else "")
        lines = ["SIP/2.0 %d %s" % (status, REASONS[status])] + ["Via: " + via for via in vias]
        lines += ["From: " + request.first("from"), "To: " + to, "Call-ID: " + request.first("call-id"),
                  "CSeq: " + request.first("cseq"), *headers, "Content-Length: %d" % len(body), "", body]
        response = "\r\n".join(lines).encode("latin-1")
        if request.method != "CANCEL":                 # it shares its branch with the INVITE
            self.transactions[request.branch] = (time.monotonic(), response)
        self.reply(request, envelope, response)
        return response

    @staticmethod
    def wants_rport(request):
        return request.param("via", "rport") is not None

    def reply(self, request, envelope, response):
        """To where the request came from (RFC 3581), or to the Via's port (RFC 3261 §18.2.2)."""
        if envelope.conn:
            self.send(envelope.link, record(REPLY, struct.pack("<Q", envelope.conn), response))
            return
        host, port = envelope.source
        if not self.wants_rport(request):
            sent_by = re.match(r"SIP\s*/\s*2\.0\s*/\s*UDP\s+[^\s;,]*?(?::(\d+))?\s*(?:[;,]|$)", request.first("via"))
            port = int(sent_by[1] or 5060) if sent_by else port
        from_listener = envelope.seq and self.welcome["reply-from"] == "listener" and self.listeners.get(envelope.listener)
        try:
            if from_listener and not from_listener[1].startswith(("0.0.0.0:", "[::]:")):
                from_listener[0].sendto(response, socket.MSG_DONTWAIT, (host, port))
            elif from_listener and ":" not in host:    # a wildcard socket: leave from where the request arrived
                info = struct.pack("@i4s4s", 0, socket.inet_aton(envelope.local[0]), bytes(4))
                from_listener[0].sendmsg([response], [(socket.IPPROTO_IP, 8, info)], socket.MSG_DONTWAIT, (host, port))
            else:
                self.sip.sendto(response, (host, port))
        except (OSError, OverflowError):
            pass                                       # as if lost on the way: the caller sends its request again

    def hang_up(self, call):
        """BYE to the caller's Contact, along its route (only where that begins with an address)."""
        routes = ["Route: " + route for route in call.invite.all("record-route")]
        contact = re.search(r"<(sips?:[^>]*)>|(sips?:[^;\s]*)", call.invite.first("contact"))
        target = (contact[1] or contact[2]) if contact else ""
        where = re.search(r"sip:(?:[^@>]*@)?([\d.]+)(?::(\d+))?", routes[0] if routes else target)
        self.calls.pop((call.invite.first("call-id"), call.invite.from_tag), None)
        if not where:
            return
        lines = ["BYE %s SIP/2.0" % target,
                 "Via: SIP/2.0/UDP %s:%d;branch=z9hG4bK%s" % (*self.sip.getsockname(), secrets.token_hex(8)),
                 "Max-Forwards: 70", "From: %s;tag=%s" % (re.sub(r";\s*tag=[^;]*", "", call.invite.first("to")), call.tag),
                 "To: " + call.invite.first("from"), "Call-ID: " + call.invite.first("call-id"), "CSeq: 1 BYE", *routes,
                 "Content-Length: 0", "", ""]
        try:
            self.sip.sendto("\r\n".join(lines).encode("latin-1"), (where[1], int(where[2] or 5060)))
        except (OSError, OverflowError):
            pass

    def on_rtp(self):
        """The echo, only to callers we have: an open echo would be a weapon."""
        packet, source = self.rtp.recvfrom(2048)
        if len(packet) >= 12 and packet[0] >> 6 == 2 and any(call.media == source for call in self.calls.values()):
            self.rtp.sendto(packet, source)

    def on_time(self):
        now = time.monotonic()
        for call in list(self.calls.values()):
            waiting = call.unacknowledged
            if waiting and now >= waiting[2]:          # a 2xx is repeated by us until its ACK comes (§13.3.1.4)
                waiting[0]()
                waiting[3] = min(2 * waiting[3], T2)
                waiting[2] = now + waiting[3]
                if now - waiting[1] > 64 * T1:
                    self.hang_up(call)
        while self.transactions:                       # oldest first; in a flood the oldest go early
            branch, (begin, _) = next(iter(self.transactions.items()))
            if begin > now - 64 * T1 and len(self.transactions) < 20_000:
                break
            del self.transactions[branch]
        if self.stop_at and (now >= self.stop_at or not self.calls):
            sys.exit(0)
        if not self.links:
            try:
                self.connect()
            except OSError:
                pass                                   # it will be back, or an operator ends us
        self.report()

    def run(self):
        self.connect()
        while True:
            sources = {self.sip: self.on_own_port, self.rtp: self.on_rtp}
            for link in self.links:
                sources[link] = functools.partial(self.on_link, link)
            for ready in select.select(list(sources), [], [], 0.05)[0]:
                try:
                    sources[ready]()
                except ConnectionError:                # the link was reset; on UDP, an ICMP error of an earlier send
                    if ready in self.links:
                        self.disconnect()
            self.on_time()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A Pointsman worker in Python.")
    parser.add_argument("run_dir", help="the dispatcher's run directory")
    parser.add_argument("--address", default="127.0.0.1", help="address to bind and to name in Contact")
    parser.add_argument("--port", type=int, default=0, help="SIP port; any free one by default")
    parser.add_argument("--capacity", type=int, default=1000, help="units it takes in all")
    parser.add_argument("--name", help="its name in the log; not w0, w1, …: those are the dispatcher's own")
    try:
        Worker(parser.parse_args()).run()
    except KeyboardInterrupt:
        pass

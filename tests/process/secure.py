"""A phone that speaks SIP over TLS by Python's ssl module, and follows Contact. It says what happens line by line.

With a certificate it takes connections at a port of its own, which its Contact names."""

import re
import socket
import ssl
import sys
import time

HOST, PORT, CA, NAME, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
CERTIFICATE = sys.argv[6] if len(sys.argv) > 6 else None
CALLED = "localhost"
# In these modes the phone shows its certificate when it calls, and offers a connection (RFC 5923); in the last it offers
# one without a certificate.
OFFERS = {"offers-own": True, "offers-known": True, "offers-nobody": False}
own_port = None
if CERTIFICATE:
    own_port = socket.create_server(("127.0.0.1", 0))
    own_port.settimeout(20)
SDP = ("v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n").format(HOST)


class Connection:
    def __init__(self, sock):
        self.sock, self.bytes = sock, b""

    def read(self):
        while b"\r\n\r\n" not in self.bytes:
            self.fill()
        head, rest = self.bytes.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head).group(1))
        while len(rest) < length:
            self.fill()
            rest = self.bytes.split(b"\r\n\r\n", 1)[1]
        self.bytes = rest[length:]
        return head.decode() + "\r\n\r\n"

    def fill(self):
        more = self.sock.recv(65536)
        if not more:
            raise EOFError("the connection has ended")
        self.bytes += more

    def request(self, method, uri, cseq, to, body="", branch="1", via=None):
        local = "%s:%d" % self.sock.getsockname()[:2]
        lines = ["%s %s SIP/2.0" % (method, uri),
                 "Via: SIP/2.0/TLS %s;branch=z9hG4bK%s%s%d" % (via or local, branch, method, cseq),
                 "Max-Forwards: 70", "From: <sip:caller@%s>;tag=c1" % HOST, "To: " + to,
                 "Call-ID: secure-%s%s" % (MODE, "-offer" if via else ""), "CSeq: %d %s" % (cseq, method),
                 "Contact: <sip:caller@%s;transport=tls>" % (own_name() if own_port else local)]
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append("Content-Length: %d" % len(body))
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def final(self):
        while True:
            response = self.read()
            status = int(response.split(" ", 2)[1])
            if status >= 200:
                return status, response


def own_name():
    return "%s:%d" % (CALLED, own_port.getsockname()[1])


def accept():
    """The next connection at the own port; raises where its handshake fails."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE + ".pem", CERTIFICATE + ".key")
    sock, _ = own_port.accept()
    sock.settimeout(20)
    return Connection(context.wrap_socket(sock, server_side=True))


def header(message, name):
    return re.search(r"(?im)^%s\s*:\s*(.*?)\r$" % name, message).group(1)


def connect(port, shows=False):
    context = ssl.create_default_context(cafile=CA)
    if shows:
        context.load_cert_chain(CERTIFICATE + ".pem", CERTIFICATE + ".key")
    sock = context.wrap_socket(socket.create_connection((HOST, port), 10, ("127.0.0.1", 0)), server_hostname=NAME)
    sock.settimeout(20)
    return Connection(sock)


def serve_bye(connection):
    bye = connection.read()
    assert bye.startswith("BYE "), bye
    copied = [line for line in bye.split("\r\n") if re.match(r"(?i)(via|from|to|call-id|cseq)\s*:", line)]
    connection.sock.sendall(("\r\n".join(["SIP/2.0 200 OK"] + copied) + "\r\nContent-Length: 0\r\n\r\n").encode())
    via = header(bye, "Via")
    print("BYE over", via.split(" ")[0], flush=True)


first = connect(PORT)
first.request("INVITE", "sip:ms@" + NAME, 1, "<sip:ms@%s>" % NAME, SDP)
status, answer = first.final()
assert status == 200, answer
contact = re.search(r"<(sips?:[^>]+)>", header(answer, "Contact")).group(1)
print("Contact", contact, flush=True)
target = re.match(r"sip:([^:;]+):(\d+);transport=tls$", contact)
to = header(answer, "To")
own = connect(int(target.group(2)))
print("certificate", own.sock.getpeercert()["serialNumber"], flush=True)
own.request("ACK", contact, 1, to)
own.request("OPTIONS", contact, 2, to)
assert own.final()[0] == 200
print("talking", flush=True)
if MODE == "hangs-up":
    own.request("BYE", contact, 3, to)
    print("BYE", own.final()[0], flush=True)
elif MODE == "waits":
    serve_bye(own)
elif MODE == "stays":
    # Until the worker's port speaks TLS no more.
    while True:
        try:
            connect(int(target.group(2))).sock.close()
            time.sleep(0.05)
        except (ssl.SSLError, ConnectionError):
            break
    own.request("OPTIONS", contact, 3, to)
    print("no TLS, but OPTIONS", own.final()[0], flush=True)
elif MODE in OFFERS:
    offered = connect(PORT if MODE == "offers-known" else int(target.group(2)), OFFERS[MODE])
    # A call of its own: the dispatcher answers OPTIONS itself.
    via, to = own_name() + ";alias", "<sip:ms@%s>" % NAME
    offered.request("INVITE", "sip:ms@" + NAME, 1, to, SDP, via=via)
    status, answer = offered.final()
    assert status == 200, answer
    to = header(answer, "To")
    offered.request("ACK", contact, 1, to, via=via)
    offered.request("BYE", contact, 2, to, via=via)
    assert offered.final()[0] == 200
    for connection in (own, first):
        connection.sock.close()
    print("broken", flush=True)
    if OFFERS[MODE]:
        serve_bye(offered)
    else:
        serve_bye(accept())
        print("on a new connection", flush=True)
elif MODE == "breaks":
    for connection in (own, first):
        connection.sock.close()
    print("broken", flush=True)
    try:
        called = accept()
        serve_bye(called)
    except (ssl.SSLError, ConnectionError, EOFError) as error:
        print("nothing", type(error).__name__, flush=True)
        own_port.settimeout(3)
        try:
            own_port.accept()
            print("called again", flush=True)
        except TimeoutError:
            print("not called again", flush=True)

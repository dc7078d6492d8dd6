"""Peers that no library lets one be, over TCP, TLS and WebSocket. argv: host, the address of these peers, that of a greedy
one, then the ports of TCP, TLS, WebSocket and secure WebSocket. Says a line for each case: its name, and what the other
end said before it ended the connection: a status, the code of a Close, or an alert."""

import base64
import os
import re
import select
import socket
import ssl
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HOST, LOCAL, GREEDY = sys.argv[1:4]
TCP, TLS, WS, WSS = (int(port) for port in sys.argv[4:8])
LONGEST = 30
# The cases, and the threads that run them.
CASES, POOL = [], ThreadPoolExecutor(16)
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
FINAL = 0x80
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n{more}\r\n"
)


def say(name, outcome):
    print(name, outcome, flush=True)


def connect(port, source=LOCAL):
    return socket.create_connection((HOST, port), LONGEST, (source, 0))


def options(call_id, more="Content-Length: 0\r\n", transport="TCP", body=""):
    return (
        f"OPTIONS sip:a@{HOST} SIP/2.0\r\nVia: SIP/2.0/{transport} {LOCAL};branch=z9hG4bK-{call_id}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:b@c>;tag=1\r\nTo: <sip:a@{HOST}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n{more}\r\n{body}"
    ).encode()


def send(sock, data):
    """False where the other end took no more."""
    try:
        sock.sendall(data)
        return True
    except OSError:
        return False


def read_all(sock):
    """All bytes until the end, and how it ended."""
    data = b""
    try:
        while more := sock.recv(1 << 16):
            data += more
    except socket.timeout:
        return data, "open"
    except OSError:
        # Bytes that were not read make the other end reset the connection.
        pass
    return data, "ended"


def status(data):
    first = re.match(rb"(?:SIP/2.0|HTTP/1.1) (\d+)", data)
    return first.group(1).decode() if first else "nothing"


def case(run):
    """A function whose first argument is the name of a case: it runs beside the others."""

    def later(name, *rest):
        CASES.append((name, POOL.submit(run, *rest)))

    return later


@case
def plain(data, port=TCP):
    sock = connect(port)
    send(sock, data)
    answer, end = read_all(sock)
    return f"{status(answer)} {end}"


def frame(first, content=b"", length=None, masked=True):
    length = len(content) if length is None else length
    mask_bit = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, mask_bit | length])
    elif length < 1 << 16:
        head = bytes([first, mask_bit | 126]) + struct.pack(">H", length)
    else:
        head = bytes([first, mask_bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + content
    return head + bytes(4) + content


def upgraded(protocol="sip", more=""):
    sock = connect(WS)
    send(sock, UPGRADE.format(host=HOST, protocol=protocol, more=more).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return sock


def close_code(data):
    """The code of the Close in a server's frames, and the first status of SIP in front of it."""
    seen = []
    while len(data) >= 2:
        first, length = data[0], data[1]
        at = 2
        if length == 126:
            length, at = struct.unpack(">H", data[2:4])[0], 4
        content, data = data[at : at + length], data[at + length :]
        if first == FINAL | CLOSE:
            seen.append(str(struct.unpack(">H", content[:2])[0]))
        elif first & 0xF in (TEXT, BINARY) and content.startswith(b"SIP/2.0 "):
            seen.append(status(content))
    return " ".join(seen) or "nothing"


@case
def websocket(*pieces):
    sock = upgraded()
    for piece in pieces:
        if not send(sock, piece):
            break
    answer, end = read_all(sock)
    return f"{close_code(answer)} {end}"


def alert(data):
    return f"alert {data[6]}" if len(data) >= 7 and data[0] == 0x15 else "nothing"


@case
def garbage_for_tls(data, port=TLS):
    sock = connect(port)
    send(sock, data)
    answer, end = read_all(sock)
    return f"{alert(answer)} {end}"


def hello(version):
    body = struct.pack(">H", version) + bytes(32) + b"\0\0\2\xc0\x13\1\0"
    return b"\x16\3\1" + struct.pack(">H", len(body) + 4) + b"\1\0" + struct.pack(">H", len(body)) + body


@case
def stalls(data, port):
    """A handshake that stops half way."""
    sock, begin = connect(port), time.monotonic()
    send(sock, data)
    _, end = read_all(sock)
    took = time.monotonic() - begin
    return f"{end} in time" if 9 < took < 20 else f"{end} after {took:.1f} s"


@case
def byte_by_byte(data):
    """A byte a second."""
    sock, begin, sent = connect(TCP), time.monotonic(), 0
    while sent < len(data) and send(sock, data[sent : sent + 1]) and not select.select([sock], [], [], 1)[0]:
        sent += 1
    took = time.monotonic() - begin
    return "ended in time" if 9 < took < 20 else f"{sent} bytes in {took:.1f} s"


stalls("half-hello", hello(0x0303)[:20], TLS)
stalls("half-upgrade", b"GET / HTTP/1.1\r\nHost", WS)
for number in range(4):
    stalls(f"half-hello-on-wss-{number}", hello(0x0303)[:20], WSS)
byte_by_byte("byte-by-byte", options("slow"))

for name, field in [
    ("length-missing", ""),
    ("length-negative", "Content-Length: -1\r\n"),
    ("length-twice", "Content-Length: 1\r\nl: 2\r\n"),
    ("length-65536", "Content-Length: 65536\r\n"),
]:
    plain(name, options(name, field))
plain("length-twice-the-same", options("same", "Content-Length: 0\r\nl: 0\r\n") + b"\x16\3\1\2")
plain("head-without-end", b"OPTIONS sip:a@b SIP/2.0\r\n" + b"a: b\r\n" * 10 + b"c: " + b"x" * 40_000)
plain("97-fields", b"OPTIONS sip:a@b SIP/2.0\r\n" + b"a: b\r\n" * 97 + b"\r\n")
plain("tls-on-tcp", hello(0x0303))
plain("http-on-tcp", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
plain("keepalive-flood", b"\r\n\r\n" * 100_000)
plain("sip-on-ws", options("ws"), WS)
plain("tls-on-ws", hello(0x0303), WS)
plain("post-on-ws", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", WS)
plain("wrong-subprotocol", UPGRADE.format(host=HOST, protocol="chat", more="").encode(), WS)
plain("wrong-origin", UPGRADE.format(host=HOST, protocol="sip", more="Origin: https://evil.example\r\n").encode(), WS)
plain("cookies-without-end", b"GET / HTTP/1.1\r\nCookie: " + b"x" * 60_000, WS)

message = options("ws-1", "", "WS")
websocket("unmasked", frame(FINAL | TEXT, message, masked=False))
websocket("large-frame", frame(FINAL | TEXT, b"x" * 65_536))
websocket("frame-of-2-to-63", frame(FINAL | TEXT, b"x", length=(1 << 63) - 1))
websocket("large-message", frame(TEXT, b"x" * 40_000), frame(FINAL, b"x" * 40_000))
websocket("million-empty-fragments", frame(TEXT, b"x"), *[frame(0) * 10_000] * 100)
websocket("million-pings", *[frame(FINAL | PING, b"x") * 10_000] * 100)
websocket("million-pongs", *[frame(FINAL | 10) * 10_000] * 100)
websocket("million-line-ends", *[frame(FINAL | TEXT, b"\r\n\r\n") * 10_000] * 100)
websocket("invalid-utf8", frame(FINAL | TEXT, message + b"\xff"))
websocket("no-sip", frame(FINAL | TEXT, b"hello"))
websocket("two-messages-in-one", frame(FINAL | TEXT, options("a", transport="WS") + options("b", transport="WS")))
websocket("wrong-length", frame(FINAL | TEXT, options("l", "Content-Length: 9\r\n", "WS")))
websocket("second-upgrade", UPGRADE.format(host=HOST, protocol="sip", more="").encode())
websocket("continuation-of-nothing", frame(FINAL, message))
websocket("begin-within-a-message", frame(TEXT, b"x"), frame(TEXT, b"y"))
websocket("ping-of-126", frame(FINAL | PING, b"x" * 126))
websocket("ping-in-pieces", frame(PING, b"x"))
websocket("reserved-bit", frame(FINAL | 0x40 | TEXT, message))
websocket("reserved-opcode", frame(FINAL | 3, message))
websocket("close", frame(FINAL | CLOSE, b"\x03\xe8"))
websocket("close-of-one-byte", frame(FINAL | CLOSE, b"\x03"))
websocket("good", frame(FINAL | TEXT, message), frame(FINAL | CLOSE, b"\x03\xe8"))
garbage_for_tls("garbage-on-tls", b"\x16\3\1\xff\xff" + os.urandom(100))
garbage_for_tls("sip-on-tls", options("plain"))
garbage_for_tls("http-on-wss", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", WSS)
garbage_for_tls("tls-1.0", hello(0x0301))
garbage_for_tls("tls-1.1", hello(0x0302))
garbage_for_tls("hello-of-64-kib", b"\x16\3\1\x40\0\1\0\xff\xff" + bytes(16_380) + (b"\x16\3\1\x40\0" + bytes(16_384)) * 4)


def secure(port=TLS):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connect(port))


@case
def in_tls(data):
    """Bytes above TLS are answered in TLS."""
    sock = secure()
    send(sock, data)
    answer, end = read_all(sock)
    return f"{status(answer)} {end}"


@case
def end_of_tls():
    secure().unwrap()
    return "answered"


in_tls("length-negative-in-tls", options("secure", "Content-Length: -1\r\n", "TLS"))
end_of_tls("end-of-tls")

# A peer that sends and reads nothing.
sock = connect(TCP, GREEDY)
sock.settimeout(0.5)
try:
    for number in range(200_000):
        sock.sendall(options(f"deaf-{number}"))
    say("reads-nothing", "all was taken")
except OSError:
    say("reads-nothing", "is not read")
deaf = sock
other = connect(TCP)
send(other, options("beside-the-deaf"))
say("beside-the-deaf", status(other.recv(4096)))

# Connections without end from one source.
greedy = []
for _ in range(20_000):
    greedy.append(connect(TCP, GREEDY))
    if len(greedy) > 300:
        greedy.pop(-1).close()
other = connect(TCP)
send(other, options("beside-the-greedy"))
say("beside-the-greedy", status(other.recv(4096)))

for name, outcome in CASES:
    say(name, outcome.result())

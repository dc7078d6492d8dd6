"""A client of OpenSSL's: OPTIONS and a keepalive over TLS 1.2 and 1.3 to argv[1]:argv[2], and both sessions again after a
line on stdin. argv[3] is the CA's certificate."""

import socket
import ssl
import sys

host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
OPTIONS = (
    "OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/TLS {host};branch=z9hG4bK{id};rport\r\nFrom: <sip:a@{host}>;tag=1\r\n"
    "To: <sip:{host}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def connect(context, session=None):
    plain = socket.create_connection((host, port), timeout=10)
    return context.wrap_socket(plain, server_hostname=host, session=session)


def ask(connection, number):
    connection.sendall(OPTIONS.format(host=host, id=number).encode())
    return connection.recv(4096).split(b"\r\n")[0].decode()


sessions = []
for number, version in enumerate([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    connection = connect(context)
    answer = ask(connection, f"first{number}")
    connection.sendall(b"\r\n\r\n")
    print(connection.version(), answer, connection.recv(10), flush=True)
    sessions.append((context, connection.session))
    connection.close()
sys.stdin.readline()
for number, (context, session) in enumerate(sessions):
    connection = connect(context, session)
    print(connection.version(), ask(connection, f"again{number}"), connection.session_reused, flush=True)
    connection.close()

"""Clients of OpenSSL's command line. argv: host, port, the directory of certificates, then the names of certificates to show;
`none` shows none. Says a line for each case: its name, and the answer or the number of the alert."""

import re
import subprocess
import sys
import threading

HOST, PORT, DIR = sys.argv[1:4]
VERSIONS = ["-tls1_2", "-tls1_3"]
OPTIONS = (
    f"OPTIONS sip:a@{HOST} SIP/2.0\r\nVia: SIP/2.0/TLS {HOST};branch=z9hG4bK-1\r\nMax-Forwards: 70\r\nFrom: <sip:b@c>;tag=1\r\n"
    f"To: <sip:a@{HOST}>\r\nCall-ID: openssl\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Client:
    def __init__(self, *words):
        command = ["openssl", "s_client", "-connect", f"{HOST}:{PORT}", *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self.said = b""
        self.alarm = threading.Timer(15, self.process.kill)
        self.alarm.start()

    def write(self, text):
        try:
            self.process.stdin.write(text.encode())
        except OSError:
            pass

    def read_to(self, pattern):
        """Reads until this is said; None where the client ends first."""
        while not (found := re.search(pattern, self.said)):
            more = self.process.stdout.read(65536)
            if not more:
                return None
            self.said += more
        self.said = self.said[found.end() :]
        return found

    def end(self):
        self.process.kill()
        self.process.wait()
        self.alarm.cancel()


for name in sys.argv[4:]:
    for version in VERSIONS:
        own = [] if name == "none" else ["-cert", f"{DIR}/{name}.pem", "-key", f"{DIR}/{name}.key"]
        client = Client(version, "-quiet", *own)
        client.write(OPTIONS)
        found = client.read_to(rb"SIP/2.0 (\d+)|SSL alert number (\d+)")
        print(name, version[1:], (found.group(1) or b"alert " + found.group(2)).decode() if found else "nothing", flush=True)
        client.end()

OWN = ["-cert", f"{DIR}/good.pem", "-key", f"{DIR}/good.key"]
client = Client("-tls1_2", *OWN)
client.read_to(rb"Verify return code")
for _ in range(4):
    client.write("R\n")
    if not client.read_to(rb"RENEGOTIATING"):
        break
found = client.read_to(rb"no renegotiation|SSL alert number (\d+)")
print("renegotiation", "refused" if found else "nothing", flush=True)
client.end()

client = Client("-tls1_3", *OWN)
client.read_to(rb"Verify return code")
updates = 0
while updates < 1000:
    client.write("K\n")
    if not client.read_to(rb"KEYUPDATE"):
        break
    updates += 1
print("key-updates", "ended" if 20 < updates < 1000 else updates, flush=True)
client.end()

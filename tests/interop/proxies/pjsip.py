"""A server of pjsip's make, the stack of Asterisk: the user part of a request-URI says what becomes of a call.

Arguments: address and port. It says `up` when it can be called."""

import re
import sys

import pjsua2 as pj

# All calls, also those that have ended: a call that is collected hangs up by its number, which may be another one's then.
calls = []
# What is to be done outside of pjsip's own calls to us.
due = []


class Call(pj.Call):
    def __init__(self, account, number, user):
        super().__init__(account, number)
        self.user = user
        self.turned = False

    def do(self, status):
        prm = pj.CallOpParam()
        prm.statusCode = status
        self.answer(prm)

    def onCallState(self, _):
        state = self.getInfo().state
        if state == pj.PJSIP_INV_STATE_CONFIRMED and self.user == "turn" and not self.turned:
            self.turned = True
            due.append(lambda: self.reinvite(pj.CallOpParam(True)))

    def onCallTsxState(self, prm):
        tsx = prm.e.body.tsxState.tsx
        if tsx.state != pj.PJSIP_TSX_STATE_COMPLETED and tsx.state != pj.PJSIP_TSX_STATE_TERMINATED:
            return
        if tsx.method == "PRACK" and tsx.role == pj.PJSIP_ROLE_UAS and self.user == "prack":
            self.user = ""
            due.append(lambda: self.do(200))
        elif tsx.method == "INVITE" and tsx.role == pj.PJSIP_ROLE_UAC and self.user == "turn":
            self.user = ""
            due.append(lambda: self.hangup(pj.CallOpParam(True)))


class Account(pj.Account):
    def onIncomingCall(self, prm):
        named = re.match(r"INVITE sip:(\w+)@", prm.rdata.wholeMsg)
        call = Call(self, prm.callId, named[1] if named else "")
        calls.append(call)
        for status in {"busy": [486], "ring": [180], "prack": [183], "answer": [180, 200]}.get(call.user, [200]):
            call.do(status)


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.uaConfig.maxCalls = 32
config.logConfig.level = 0
config.logConfig.consoleLevel = 0
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.boundAddress = sys.argv[1]
transport.port = int(sys.argv[2])
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
endpoint.transportCreate(pj.PJSIP_TRANSPORT_TCP, transport)
endpoint.audDevManager().setNullDev()
endpoint.libStart()
account_config = pj.AccountConfig()
account_config.idUri = f"sip:server@{sys.argv[1]}"
account_config.callConfig.prackUse = pj.PJSUA_100REL_OPTIONAL
account = Account()
account.create(account_config)
print("up", flush=True)
while True:
    endpoint.libHandleEvents(10)
    while due:
        due.pop(0)()

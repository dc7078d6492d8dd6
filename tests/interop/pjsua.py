"""A telephone of pjsip's make with its defaults: calls argv[1], says on stdout what happens, does what stdin says."""

import os
import sys
import threading

import pjsua2 as pj

orders = []
done = []


def listen():
    for line in sys.stdin:
        orders.append(line.strip())
    orders.append("quit")


def say(text):
    print(text, flush=True)


class Call(pj.Call):
    def onCallState(self, _):
        info = self.getInfo()
        say(f"call {info.stateText} {info.lastStatusCode}")

    def onCallTsxState(self, prm):
        tsx = prm.e.body.tsxState.tsx
        # The first INVITE is told of as the call's state.
        if tsx.state == pj.PJSIP_TSX_STATE_TERMINATED and done:
            say(f"{done[-1]}: {tsx.method} {tsx.statusCode}")


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.logConfig.level = 0
config.logConfig.consoleLevel = 0
endpoint.libInit(config)
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, pj.TransportConfig())
endpoint.libStart()
endpoint.audDevManager().setNullDev()
account_config = pj.AccountConfig()
account_config.idUri = "sip:caller@example.net"
account = pj.Account()
account.create(account_config)

threading.Thread(target=listen, daemon=True).start()
call = Call(account)
call.makeCall(sys.argv[1], pj.CallOpParam(True))
while True:
    endpoint.libHandleEvents(20)
    if not orders:
        continue
    order = orders.pop(0)
    done.append(order)
    if order == "reinvite":
        call.reinvite(pj.CallOpParam(True))
    elif order == "hangup":
        call.hangup(pj.CallOpParam())
    else:
        # Without pjsip's own farewell, which waits.
        os._exit(0)

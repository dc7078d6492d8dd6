// A browser's telephone (SIP.js) under Node: calls over argv[2], keeps its connection alive, hangs up, connects anew within
// a call, and at last waits to be hung up on. With argv[4] it places so many calls, hangs each up, and that is all.

globalThis.WebSocket = require('ws');
const { Inviter, SessionState, UserAgent } = require('sip.js');

const [server, target, count] = process.argv.slice(2);
const sdp =
  'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n' +
  'a=rtpmap:0 PCMU/8000\r\n';
const session = {
  close() {},
  getDescription: async () => ({ body: sdp, contentType: 'application/sdp' }),
  hasDescription: (type) => type === 'application/sdp',
  holdModifier: (it) => it,
  rollbackDescription: async () => {},
  setDescription: async () => {},
  sendDtmf: () => false,
};
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const reached = (call, state) =>
  new Promise((resolve, reject) =>
    call.stateChange.addListener((now) => {
      if (now === state) resolve();
      else if (now === SessionState.Terminated) reject(new Error(`the call has ended before it was ${state}`));
    }),
  );

async function invite(agent) {
  const call = new Inviter(agent, UserAgent.makeURI(target));
  const established = reached(call, SessionState.Established);
  await call.invite();
  await established;
  return call;
}

const bye = (call) =>
  new Promise((resolve) =>
    call.bye({
      requestDelegate: {
        onAccept: (response) => resolve(response.message.statusCode),
        onReject: (response) => resolve(response.message.statusCode),
      },
    }),
  );

async function main() {
  const agent = new UserAgent({
    uri: UserAgent.makeURI('sip:browser@example.net'),
    logLevel: 'error',
    transportOptions: { server, keepAliveInterval: 1 },
    sessionDescriptionHandlerFactory: () => session,
  });
  await agent.start();
  if (count) {
    // SIP.js draws its branches out of ten million, by this: of three thousand two would be alike in every third run.
    let drawn = 0;
    Math.random = () => ((drawn = (drawn * 3141621 + 1) % 1e7) + 0.5) / 1e7;
    let left = Number(count);
    const place = async () => {
      while (left-- > 0) {
        const status = await bye(await invite(agent));
        if (status !== 200) throw new Error(`bye ${status}`);
      }
    };
    await Promise.all(Array.from({ length: 10 }, place));
    console.log(`complete ${count}`);
    process.exit(0);
  }
  let call = await invite(agent);
  // Without an answer to its keepalives it closes the connection.
  await later(3500);
  console.log(`alive ${agent.isConnected()}`);
  console.log(`bye ${await bye(call)}`);
  call = await invite(agent);
  await agent.transport.disconnect();
  await agent.reconnect();
  console.log(`bye after another connection ${await bye(call)}`);
  call = await invite(agent);
  const over = reached(call, SessionState.Terminated);
  console.log('established');
  await over;
  console.log('hung up on');
  process.exit(0);
}

main().catch((error) => {
  console.log(`failed: ${error.stack}`);
  process.exit(1);
});

// What the page's program does in a browser that is made up here; prints what a test looks at.
"use strict";
const vm = require("vm");
const program = require("fs").readFileSync(process.argv[2], "utf8").match(/<script>([^]*)<\/script>/)[1];
process.on("unhandledRejection", error => console.error(error));  // as a browser does
const sleep = ms => new Promise(done => setTimeout(done, ms));
const until = async condition => { while (!condition()) await sleep(1); };

function element() {
  const made = {
    children: [], style: {}, classList: {add() {}, remove() {}, toggle() {}}, value: "",
    setAttribute() {}, addEventListener() {}, focus() {}, remove() {},
    append(one) { made.children.push(one); made.lastChild = one; },
    appendChild(one) { made.append(one); return one; },
    replaceChildren(...all) { made.children = all; },
  };
  return made;
}

/* a page; `fetch` is the server */
function opened(fetch, key = "") {
  const elements = {log: element()}, tracks = [], sockets = [];
  class WebSocket {
    static OPEN = 1;
    constructor(url, subprotocols) {
      Object.assign(this, {readyState: 0, sent: [], subprotocols});
      sockets.push(this);
      setTimeout(() => {
        if (this.readyState) return;
        this.readyState = 1;
        this.onmessage({data: '{"type": "session.created", "session": {"output_modalities": ["text"]}}'});
      }, 20);
    }
    send(text) { this.sent.push(JSON.parse(text).type); }
    close() { this.readyState = 3; setTimeout(() => this.onclose?.()); }
  }
  class AudioContext {
    audioWorklet = {addModule: () => sleep(20)};
    close() { return Promise.resolve(); }
    createMediaStreamSource() { return {connect() {}}; }
  }
  const getUserMedia = async () => {
    await sleep(20);
    const track = {stop() { this.stopped = true; }, applyConstraints() {}};
    tracks.push(track);
    return {getTracks: () => [track], getAudioTracks: () => [track]};
  };
  const context = vm.createContext({
    setTimeout, AbortController, TextDecoderStream, WebSocket, AudioContext, fetch,
    URL: {createObjectURL() {}, revokeObjectURL() {}}, Blob: class {}, addEventListener() {},
    AudioWorkletNode: class { port = {}; },
    document: {
      getElementById: id => elements[id] ??= element(), createElement: element, body: element(),
      createTextNode: data => ({data}),
    },
    sessionStorage: {getItem: () => key}, location: {href: "http://127.0.0.1:8080/"},
    navigator: {mediaDevices: {getUserMedia}},
  });
  vm.runInContext(program, context);
  const type = text => { elements.text.value = text; elements.form.onsubmit({preventDefault() {}}); };
  return {elements, tracks, sockets, type};
}

const models = {ok: true, json: async () => ({data: [{id: "tiny"}]})};
const ready = async () => models;

/* how far the microphone may be opened: it is asked for, the session is, the session is there */
const PHASES = [() => true, ({sockets}) => sockets.length, ({sockets}) => sockets[0]?.readyState];

async function ended(phase) {
  const page = opened(ready), {elements, tracks} = page;
  const opening = elements.talk.onclick();
  await until(() => phase(page));
  elements.talk.onclick();
  await opening;
  const open = tracks.filter(one => !one.stopped).length;
  return {open, errors: elements.log.children.length, label: elements.talk.textContent};
}
async function typed(phase) {
  const page = opened(ready);
  const opening = page.elements.talk.onclick();
  await until(() => phase(page));
  page.type("typed");
  await opening;
  return page.sockets[0].sent;
}
async function renewed() {
  const asked = [];
  const {elements, type} = opened(async (path, {body, signal} = {}) => {
    if (!body) return models;
    asked.push(JSON.parse(body).messages.map(({role}) => role));
    const start = stream => {
      stream.enqueue(Buffer.from('data: {"choices": [{"delta": {"content": "old"}}]}\n\n'));
      signal.addEventListener("abort", () => stream.error(signal.reason));
    };
    return {ok: true, body: new ReadableStream({start})};
  });
  type("first");
  await until(() => elements.log.lastChild.lastChild.data === "old");
  elements.fresh.onclick();
  await until(() => elements.send.textContent === "Send");
  type("second");
  await until(() => asked.length === 2);
  return asked[1];
}
async function subprotocol() {
  const {elements, sockets} = opened(ready, "a/b=(c)");
  await elements.talk.onclick();
  return sockets[0]?.subprotocols[1] ?? "";
}
async function failed() {
  const cause = "It is too large.";
  const {elements} = opened(async () => ({ok: false, json: async () => ({status: "failed", cause})}));
  await until(() => elements.state?.textContent);
  return elements.state.textContent;
}

(async () => {
  const results = {
    ended: await Promise.all(PHASES.map(ended)), typed: await Promise.all(PHASES.map(typed)),
    renewed: await renewed(), subprotocol: await subprotocol(), failed: await failed(),
  };
  console.log(JSON.stringify(results));
  process.exit(0);
})();

// The realtime session of @openai/agents-realtime, over ws://.
import fs from 'node:fs';
import {RealtimeAgent, RealtimeSession, tool} from '@openai/agents-realtime';

const [tiny, scripted, sounds] = process.argv.slice(2);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const called = [];
const weather = tool({
  name: 'weather', description: 'The weather in a city.', strict: false,
  parameters: {
    type: 'object', properties: {city: {type: 'string'}}, required: ['city'],
    additionalProperties: true,
  },
  execute: async ({city}) => { called.push(city); return 'sun'; },
});

async function connected(url, tools) {
  const agent = new RealtimeAgent({name: 'a', instructions: '', tools});
  const session = new RealtimeSession(agent, {
    transport: 'websocket', model: 'tiny', config: {outputModalities: ['text']},
  });
  session.on('error', (error) => { console.error(error); process.exit(1); });
  await session.connect({apiKey: 'none', url: `${url.replace('http', 'ws')}/realtime?model=tiny`});
  return session;
}
async function speak(session, name) {
  const pcm = Buffer.concat([fs.readFileSync(`${sounds}/${name}`), Buffer.alloc(2 * 24_000 * 0.7)]);
  for (let at = 0; at < pcm.length; at += 4800) {
    session.sendAudio(new Uint8Array(pcm.subarray(at, at + 4800)).buffer);
    await sleep(100);
  }
}
// whatever the model has said so far and finished, in order
const said = (session) => session.history
  .filter((item) => item.type === 'message' && item.role === 'assistant' && item.status === 'completed')
  .map((item) => item.content.map((part) => part.text ?? '').join(''));
async function until(what, condition) {
  for (let n = 0; n < 600; n++) {
    if (condition()) return;
    await sleep(100);
  }
  throw new Error(`it never came: ${what}`);
}

{
  const session = await connected(tiny, []);
  await speak(session, 'digits.pcm');
  await until('40715', () => said(session).includes('40715'));
  console.log(`spoken digits ${said(session)}`);
  session.close();
}
{
  const session = await connected(scripted, [weather]);
  let begun = false;
  session.transport.on('*', (event) => { begun ||= event.type === 'response.output_text.delta'; });
  session.sendMessage('What is it?');
  await until('an answer', () => begun);
  await speak(session, 'question.pcm');
  await until('Yes.', () => said(session).includes('Yes.'));
  session.sendMessage('What is it?');
  await until('the weather', () => said(session).includes('It is sunny.'));
  if (called.join() !== 'Rome') throw new Error(`called ${called}`);
  console.log('barge-in, a call of a tool and its result');
  session.close();
}
process.exit(0);

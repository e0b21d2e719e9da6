// The openai package's Realtime client for node. It takes wss:// alone, with a known certificate.
import fs from 'node:fs';
import OpenAI from 'openai';
import {OpenAIRealtimeWS} from 'openai/realtime/ws';

const [tiny, scripted, sounds, picture] = process.argv.slice(2);
let checked = 0;

function connected(baseURL) {
  const client = new OpenAI({baseURL, apiKey: 'none'});
  const socket = new OpenAIRealtimeWS({model: 'tiny'}, client);
  const waiting = [], events = [];
  socket.on('event', (event) => {
    checked += 1;
    waiting.length ? waiting.shift()(event) : events.push(event);
  });
  socket.on('error', ({error}) => {  // one of the API is an event, too
    if (!error) throw new Error('the connection failed');
  });
  const next = () => events.length ? events.shift() : new Promise((done) => waiting.push(done));
  const until = async (kind) => {
    for (;;) {
      const event = await next();
      if (event.type === kind) return event;
      if (event.type === 'error') throw new Error(JSON.stringify(event));
    }
  };
  return {socket, until};
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
async function speak(socket, name, realTime = true) {
  const quiet = Buffer.alloc(realTime ? 2 * 24_000 * 0.7 : 0);
  const pcm = Buffer.concat([fs.readFileSync(`${sounds}/${name}`), quiet]);
  for (let at = 0; at < pcm.length; at += 4800) {
    const audio = pcm.subarray(at, at + 4800).toString('base64');
    socket.send({type: 'input_audio_buffer.append', audio});
    if (realTime) await sleep(100);
  }
}
const text = ({response}) =>
  response.output.flatMap((item) => item.content ?? []).map((part) => part.text).join('');
function need(seen, wanted) {
  if (seen !== wanted) throw new Error(`${JSON.stringify(seen)} is not ${JSON.stringify(wanted)}`);
}
function ask(socket) {
  const content = [{type: 'input_text', text: 'What is it?'}];
  socket.send({type: 'conversation.item.create', item: {type: 'message', role: 'user', content}});
  socket.send({type: 'response.create'});
}
const session = {type: 'realtime', output_modalities: ['text']};

{
  const {socket, until} = connected(tiny);
  await until('session.created');
  socket.send({type: 'session.update', session});
  const url = `data:image/png;base64,${fs.readFileSync(picture).toString('base64')}`;
  const content = [{type: 'input_image', image_url: url}];
  socket.send({type: 'conversation.item.create', item: {type: 'message', role: 'user', content}});
  await speak(socket, 'question.pcm');
  const done = await until('response.done');
  const {input_tokens: read, input_token_details: details} = done.response.usage;
  need(text(done), '19.56');
  need(read - details.cached_tokens <= 20, true);
  console.log(`receipt 19.56 with ${read - details.cached_tokens} tokens left to read`);
  socket.send({type: 'session.update', session: {...session, audio: {input: {turn_detection: null}}}});
  socket.send({type: 'input_audio_buffer.commit'});
  need((await until('error')).error.code, 'input_audio_buffer_commit_empty');
  await speak(socket, 'question.pcm', false);
  socket.send({type: 'input_audio_buffer.commit'});
  socket.send({type: 'response.create'});
  need(text(await until('response.done')), '19.56');
  console.log('by hand: nothing is refused, the receipt again 19.56');
  socket.close();
}
{
  const {socket, until} = connected(scripted);
  await until('session.created');
  const tools = [{type: 'function', name: 'weather', parameters: {type: 'object'}}];
  socket.send({type: 'session.update', session: {...session, tools}});
  ask(socket);
  await until('response.output_text.delta');
  await speak(socket, 'question.pcm');
  need((await until('response.done')).response.status_details.reason, 'turn_detected');
  need(text(await until('response.done')), 'Yes.');
  ask(socket);
  const [call] = (await until('response.done')).response.output;
  need(call.arguments, '{"city": "Rome"}');
  const item = {type: 'function_call_output', call_id: call.call_id, output: 'sun'};
  socket.send({type: 'conversation.item.create', item});
  socket.send({type: 'response.create'});
  need(text(await until('response.done')), 'It is sunny.');
  console.log(`barge-in, a call of a tool and its result; ${checked} events`);
  socket.close();
}

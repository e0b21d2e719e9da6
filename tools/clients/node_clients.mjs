// openai (npm) and the AI SDK against a server: prints a line for each check.
// node node_clients.mjs ROOT PICTURE SOUND, in a folder whose node_modules has them.
import fs from 'node:fs';
import OpenAI from 'openai';
import {generateText, jsonSchema, Output, streamText, tool} from 'ai';
import {createOpenAICompatible} from '@ai-sdk/openai-compatible';

const [root, picture, sound] = process.argv.slice(2);
const ask = 'what is the total?';
const png = fs.readFileSync(picture), wav = fs.readFileSync(sound).toString('base64');
const url = `data:image/png;base64,${png.toString('base64')}`;
const parameters = {
  type: 'object', properties: {city: {type: 'string', maxLength: 8}}, required: ['city'],
};
const receipt = {
  type: 'object', additionalProperties: false, required: ['total', 'kind'],
  properties: {
    total: {type: 'string', pattern: '^[0-9]{1,3}\\.[0-9]{2}$'}, kind: {enum: ['shop', 'cafe']},
  },
};

async function check(name, work) {
  try {
    const [passed, seen] = await work();
    console.log(`${passed ? 'ok' : 'FAILED'}\t${name}\t${JSON.stringify(seen)}`);
  } catch (error) {
    console.log(`FAILED\t${name}\t${String(error).slice(0, 500)}`);
  }
}

const client = new OpenAI({baseURL: `${root}/v1`, apiKey: 'none', maxRetries: 0});
const asked = [{role: 'user', content: [
  {type: 'text', text: ask}, {type: 'image_url', image_url: {url}},
]}];
await check('openai npm: a picture', async () => {
  const answer = await client.chat.completions.create({model: 'm', messages: asked, temperature: 0});
  return [answer.choices[0].message.content === '19.56', answer.choices[0].message.content];
});
await check('openai npm: a sound', async () => {
  const content = [{type: 'input_audio', input_audio: {data: wav, format: 'wav'}}];
  const messages = [{role: 'user', content}];
  const answer = await client.chat.completions.create({model: 'm', messages, temperature: 0});
  return [answer.choices[0].message.content === '40715', answer.choices[0].message.content];
});
await check('openai npm: a streamed response', async () => {
  const content = [{type: 'input_text', text: ask}, {type: 'input_image', image_url: url}];
  const input = [{role: 'user', content}];
  const stream = client.responses.stream({model: 'm', input, temperature: 0});
  const answer = await stream.finalResponse();
  return [answer.output_text === '19.56', answer.output_text];
});

const gemma = createOpenAICompatible({
  name: 'gemma', baseURL: `${root}/v1`, apiKey: 'none', supportsStructuredOutputs: true,
})('m');
const messages = [{role: 'user', content: [
  {type: 'text', text: ask}, {type: 'image', image: png, mediaType: 'image/png'},
]}];
await check('ai: a picture', async () => {
  const {text} = await generateText({model: gemma, messages, temperature: 0});
  return [text === '19.56', text];
});
await check('ai: a stream', async () => {
  let text = '';
  for await (const piece of streamText({model: gemma, messages, temperature: 0}).textStream) {
    text += piece;
  }
  return [text === '19.56', text];
});
await check('ai: a schema', async () => {
  const output = Output.object({schema: jsonSchema(receipt)});
  const answer = await generateText({model: gemma, messages, output, temperature: 0});
  return [answer.output.total === '19.56', answer.output];
});
await check('ai: a tool that must be called', async () => {
  const tools = {weather: tool({description: 'of a city', inputSchema: jsonSchema(parameters)})};
  const answer = await generateText({
    model: gemma, prompt: 'rain?', tools, toolChoice: 'required', temperature: 0,
  });
  return [answer.toolCalls[0]?.toolName === 'weather', answer.toolCalls[0]?.input];
});

// The scripted session of test_sdk_sessions.py with the clients of the TypeScript SDK.
//
// Standard input: {folder of the packages, cells: [{cell, language, era, url, token}]}. All cells run at once; each
// writes one line {cell, steps: {name: "ok" or what went wrong}}.

import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'

const WITHIN = 30_000 // milliseconds for one step
const AGAIN = 1_000 // milliseconds after which a change that nobody heard of is made again

const { folder, cells } = JSON.parse(await text(process.stdin))
const load = (path) => import(pathToFileURL(`${folder}/@modelcontextprotocol/${path}`))

// What the two generations of the SDK name differently.
const generations = {
  typescript: async () => {
    const { Client, StreamableHTTPClientTransport } = await load('client/dist/index.mjs')
    const call = (client, params, options) => client.callTool(params, options)
    return { Client, Transport: StreamableHTTPClientTransport, call, elicitation: 'elicitation/create', updated: 'notifications/resources/updated' }
  },
  'typescript-1': async () => {
    const [{ Client }, { StreamableHTTPClientTransport }, types] = await Promise.all([
      load('sdk/dist/esm/client/index.js'), load('sdk/dist/esm/client/streamableHttp.js'), load('sdk/dist/esm/types.js'),
    ])
    const call = (client, params, options) => client.callTool(params, undefined, options)
    return { Client, Transport: StreamableHTTPClientTransport, call, elicitation: types.ElicitRequestSchema, updated: types.ResourceUpdatedNotificationSchema }
  },
}

function expect(found, wanted) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${one} instead of ${other}`)
}

function timely(promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${WITHIN} ms`)), WITHIN)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const tool = (name, given = {}) => ({ name, arguments: given })
const textOf = (result) => result.content[0].text

function session({ cell, era }, client, { call, updated }) {
  const uri = `test://template/${cell}/data`
  let hear
  const heard = new Promise((resolve) => { hear = resolve })
  client.setNotificationHandler(updated, ({ params }) => { if (params.uri === uri) hear() })

  // Resolves once a change was heard of. A stream that was asked for a moment ago may miss the first.
  async function change() {
    await call(client, tool('test_trigger_resource_change', { uri }))
    const timer = setInterval(() => call(client, tool('test_trigger_resource_change', { uri })).catch(() => {}), AGAIN)
    await heard.finally(() => clearInterval(timer))
  }

  return {
    async list() {
      const { tools } = await client.listTools()
      expect(tools.some(({ name }) => name === 'test_wait'), true)
    },
    async progress() {
      const steps = []
      const result = await call(client, tool('test_tool_with_progress'), { onprogress: ({ progress }) => steps.push(progress) })
      expect([textOf(result), ...steps], ['The work is done.', 0, 50, 100])
    },
    async cancel() {
      const canceller = new AbortController()
      const options = { signal: canceller.signal, onprogress: () => canceller.abort('enough') }
      const ended = await call(client, tool('test_wait', { label: cell }), options).then(textOf, () => 'aborted')
      expect(ended, 'aborted')
      expect(textOf(await call(client, tool('test_cancelled', { label: cell }))), 'cancelled')
    },
    async elicitation() {
      const result = await call(client, tool('test_elicitation', { message: 'Who?' }))
      expect(textOf(result), `User response: action=accept, content={"email": "[REDACTED:email]", "username": "${cell}"}`)
    },
    async subscribe() {
      if (era === 'modern') {
        const subscription = await client.listen({ resourceSubscriptions: [uri] })
        expect(subscription.honoredFilter.resourceSubscriptions, [uri])
        await change()
        await subscription.close()
      } else {
        await client.subscribeResource({ uri })
        await change()
        await client.unsubscribeResource({ uri })
      }
    },
    async completion() {
      const ref = { type: 'ref/prompt', name: 'test_prompt_with_arguments' }
      const { completion } = await client.complete({ ref, argument: { name: 'arg1', value: 'par' } })
      expect(completion.values, ['paris', 'park', 'party'])
    },
  }
}

async function run(given) {
  const generation = await generations[given.language]()
  const mode = given.era === 'modern' ? { pin: '2026-07-28' } : 'legacy'
  const client = new generation.Client(
    { name: 'session', version: '1' },
    { capabilities: { elicitation: {} }, versionNegotiation: { mode } },
  )
  client.setRequestHandler(generation.elicitation, () => ({
    action: 'accept',
    content: { username: given.cell, email: `${given.cell}@example.com` },
  }))
  const headers = { Authorization: `Bearer ${given.token}` }
  const transport = new generation.Transport(new URL(given.url), { requestInit: { headers } })
  const steps = {}
  const step = async (name, act) => {
    try {
      await timely(act())
      steps[name] = 'ok'
    } catch (error) {
      steps[name] = `${error.name}: ${error.message}`
    }
  }
  await step('connect', () => client.connect(transport))
  if (steps.connect === 'ok') {
    for (const [name, act] of Object.entries(session(given, client, generation))) await step(name, act)
    await step('close', () => client.close())
  }
  process.stdout.write(`${JSON.stringify({ cell: given.cell, steps })}\n`)
}

await Promise.all(cells.map(run))
process.exit(0) // streams that a failed step left open must not keep it

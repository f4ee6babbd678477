// The real oidc-provider on one loopback port, with a login form that a test can post and a door through which
// the test changes what it says. Started by provider.py, which writes the first state to standard input;
// the end of standard input ends this program.
//
// argv: file of the library, port, address.

import http from 'node:http'
import https from 'node:https'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const [library, port, address] = process.argv.slice(2)
const { Provider } = await import(pathToFileURL(library))

let state
let serve
const seen = {}

// What it signs, and the dates of its answers, are off by `skew` seconds.
const now = Date.now
Date.now = () => now() + (state?.skew ?? 0) * 1000

const extra = (accountId) => state.accounts[accountId]?.claims ?? {}

function build() {
  const provider = new Provider(state.issuer, {
    jwks: { keys: state.jwks },
    clients: state.clients,
    scopes: ['openid', 'offline_access', 'profile', ...state.scopes],
    claims: { openid: ['sub'], profile: ['name', 'tenant', 'roles', 'groups'] },
    // Claims of scopes stand in the identity token, as those of most companies' providers do.
    conformIdTokenClaims: false,
    clientDefaults: { id_token_signed_response_alg: state.algorithm, grant_types: ['authorization_code', 'refresh_token'] },
    cookies: { keys: ['a key of tests'] },
    ttl: { AccessToken: state.ttl, IdToken: state.ttl, AuthorizationCode: 60, Interaction: 600, Session: 3600, Grant: 3600, RefreshToken: 3600 },
    pkce: { required: () => true },
    acrValues: ['silver', 'gold'],
    features: {
      devInteractions: { enabled: false },
      registration: { enabled: state.registration },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => state.resources[0] ?? [],
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: state.scopes.join(' '),
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: state.ttl,
          jwt: { sign: { alg: state.algorithm } },
        }),
      },
    },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (ctx, id) => state.accounts[id] && {
      accountId: id,
      claims: () => ({ sub: id, ...extra(id) }),
    },
    extraTokenClaims: (ctx, token) => {
      const code = ctx.oidc.entities.AuthorizationCode ?? ctx.oidc.entities.RefreshToken
      return { ...extra(token.accountId), ...(code && { auth_time: code.authTime, acr: code.acr }) }
    },
    // Whoever logs in agrees: what is tested is the gateway's consent page, not this one.
    loadExistingGrant: async (ctx) => {
      const { client, session, params } = ctx.oidc
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
      grant.addOIDCScope(params.scope ?? 'openid')
      for (const resource of [params.resource ?? state.resources[0] ?? []].flat()) {
        grant.addResourceScope(resource, state.scopes.join(' '))
      }
      await grant.save()
      return grant
    },
    renderError: (ctx, out) => {
      ctx.type = 'json'
      ctx.body = out
    },
  })
  const callback = provider.callback()
  serve = (request, response) =>
    request.url.startsWith('/interaction/') ? interact(provider, request, response) : callback(request, response)
}

async function text(request) {
  const parts = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts).toString()
}

async function interact(provider, request, response) {
  const { prompt } = await provider.interactionDetails(request, response)
  if (prompt.name === 'consent') {
    await provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true })
    return
  }
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html')
    response.end('<form method="post"><input name="login"><input name="password" type="password"><input name="acr"><button>Sign in</button></form>')
    return
  }
  const form = new URLSearchParams(await text(request))
  const account = state.accounts[form.get('login')]
  if (!account || account.password !== form.get('password')) {
    response.statusCode = 401
    response.end('wrong name or password')
    return
  }
  const login = { accountId: form.get('login'), acr: form.get('acr') || undefined }
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false })
}

// A lie stands for everything that a provider which was broken into could answer at one path.
async function lie({ status = 200, headers = {}, body = '', size = 0, endless = false, delay = 0 }, response) {
  await new Promise((resolve) => setTimeout(resolve, delay))
  response.writeHead(status, headers)
  if (!size && !endless) {
    response.end(body)
    return
  }
  response.write(body)
  const piece = Buffer.alloc(65536, ' ')
  for (let sent = 0; endless || sent < size; sent += piece.length) {
    if (response.destroyed) return
    if (!response.write(piece)) {
      await new Promise((resolve) => {
        const go = () => {
          response.off('drain', go).off('close', go)
          resolve()
        }
        response.on('drain', go).on('close', go)
      })
    }
    if (endless) await new Promise((resolve) => setTimeout(resolve, 20))
  }
  response.end()
}

// Discovery with members exchanged, and redirects that claim another issuer (RFC 9207).
function twist(path, request, response) {
  if (path === '/.well-known/openid-configuration' && state.discovery) {
    const end = response.end.bind(response)
    response.end = (body) => {
      const said = JSON.stringify({ ...JSON.parse(body), ...state.discovery })
      response.setHeader('content-length', Buffer.byteLength(said))
      return end(said)
    }
  }
  if (state.redirect_iss !== undefined) {
    const set = response.setHeader.bind(response)
    response.setHeader = (name, value) => {
      if (name.toLowerCase() === 'location' && new URL(value, state.issuer).searchParams.has('iss')) {
        const url = new URL(value)
        if (state.redirect_iss === null) url.searchParams.delete('iss')
        else url.searchParams.set('iss', state.redirect_iss)
        return set(name, url.href)
      }
      return set(name, value)
    }
  }
}

async function handle(request, response) {
  const path = request.url.split('?')[0]
  if (path === '/control') {
    if (request.method === 'POST') {
      state = JSON.parse(await text(request))
      build()
    }
    response.end(JSON.stringify(seen))
    return
  }
  seen[path] = (seen[path] ?? 0) + 1
  response.setHeader('date', new Date(Date.now()).toUTCString())
  if (state.lies[path]) return lie(state.lies[path], response)
  twist(path, request, response)
  return serve(request, response)
}

const lines = readline.createInterface({ input: process.stdin })
lines.once('line', (line) => {
  state = JSON.parse(line)
  build()
  const answer = (request, response) => handle(request, response).catch((defect) => {
    console.error(defect)
    response.destroy()
  })
  const server = state.tls ? https.createServer(state.tls, answer) : http.createServer(answer)
  server.listen(Number(port), address, () => console.log('listening'))
})
lines.once('close', () => process.exit(0))

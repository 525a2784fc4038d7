// An authorization server of others' making, for adapter/tests/it/oidc.rs.
//
//   node provider.mjs PORT FOLDER   FOLDER has node_modules/oidc-provider
//
// Beside what the library answers: /test/keys?phase=N changes the keys, and /test/approve?user_code=C is the user who
// says yes to a device. Who wants to log in is logged in, because pages for people are not what is tested.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [port, folder] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const library = pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`);
const { default: Provider } = await import(library);

function key(alg, kid) {
  const [type, options] = {
    RS256: ["rsa", { modulusLength: 2048 }],
    PS256: ["rsa", { modulusLength: 2048 }],
    ES256: ["ec", { namedCurve: "P-256" }],
    EdDSA: ["ed25519", {}],
  }[alg];
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: "jwk" }), alg, kid, use: "sig" };
}

const fixed = ["RS256", "PS256", "EdDSA"].map((alg) => key(alg, alg));
const [older, newer] = ["older", "newer"].map((kid) => key("ES256", kid));
// What is published; the first one signs.
const phases = [[older], [older, newer], [newer, older], [newer]];

const grant = async (ctx, provider, accountId, clientId, resource) => {
  const granted = new provider.Grant({ accountId, clientId });
  granted.addOIDCScope("openid offline_access");
  if (resource) granted.addResourceScope(resource, "read");
  await granted.save();
  return granted;
};

const make = (changing) => {
  const provider = new Provider(issuer, {
    jwks: { keys: [...changing, ...fixed] },
    cookies: { keys: ["not a secret"] },
    clients: [
      { client_id: "machine", client_secret: "machine-secret", grant_types: ["client_credentials"],
        redirect_uris: [], response_types: [] },
      { client_id: "app", client_secret: "app-secret", redirect_uris: ["http://127.0.0.1/callback"],
        application_type: "native", response_types: ["code"],
        grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"] },
      { client_id: "gateway", client_secret: "gateway-secret", grant_types: [], redirect_uris: [], response_types: [] },
    ],
    findAccount: (_ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    interactions: { url: (_ctx, { uid }) => `${issuer}/test/login/${uid}` },
    issueRefreshToken: () => true,
    loadExistingGrant: (ctx) => {
      const { session, client, params } = ctx.oidc;
      return grant(ctx, provider, session.accountId, client.clientId, params.resource);
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        // https://api.example.com/ES256, .../opaque
        getResourceServerInfo: (_ctx, resource) => {
          const alg = resource.split("/").pop();
          return alg === "opaque"
            ? { scope: "read", accessTokenFormat: "opaque" }
            : { scope: "read", accessTokenFormat: "jwt", jwt: { sign: { alg } } };
        },
      },
    },
  });
  return { provider, callback: provider.callback() };
};

const providers = phases.map(make);
let current = providers[0];

createServer(async (request, response) => {
  const url = new URL(request.url, issuer);
  const end = (status) => response.writeHead(status).end();
  try {
    if (url.pathname === "/test/keys") {
      current = providers[Number(url.searchParams.get("phase"))];
      return end(204);
    }
    if (url.pathname === "/test/approve") {
      const { provider } = current;
      const userCode = url.searchParams.get("user_code").replace("-", "");
      const code = await provider.DeviceCode.findByUserCode(userCode);
      const granted = await grant(null, provider, "alice", code.clientId, code.params.resource);
      Object.assign(code, {
        accountId: "alice",
        grantId: granted.jti,
        authTime: Math.floor(Date.now() / 1000),
        scope: code.params.scope,
        claims: {},
        resource: code.params.resource,
        sessionUid: "device",
        expiresWithSession: false,
      });
      await code.save();
      return end(204);
    }
    if (url.pathname.startsWith("/test/login/")) {
      const said = { login: { accountId: "alice" }, consent: {} };
      return await current.provider.interactionFinished(request, response, said);
    }
    return current.callback(request, response);
  } catch (error) {
    console.error(error);
    return end(500);
  }
}).listen(port, "127.0.0.1", () => console.log("listening"));

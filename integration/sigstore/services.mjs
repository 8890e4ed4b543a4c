// Fulcio with its certificate transparency log, Rekor v1 and v2 and a timestamp authority, on one loopback port, for the
// real cosign 2 and cosign 3.
//
//     node services.mjs MODULES FOLDER
//
// MODULES is the folder whose node_modules has @sigstore/mock; what it makes for clients goes to FOLDER, ready.json last.
// Certificates, SCTs and timestamps are made by @sigstore/mock. The two logs are made here: each is a tree that grows, so
// that proofs have hashes in them, with a key of its own.
//
// POST /behaviour with {"name": true} switches on a fault; the names are in `behaviour` below.

import http from 'node:http';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const [modules, folder] = process.argv.slice(2);
const mock = createRequire(path.join(path.resolve(modules), 'index.js'))('@sigstore/mock');

const behaviour = {
  // genTime with a fraction of a second (RFC 3161 §2.4.2 allows it).
  fractional_time: false,
  // Rekor v1 answers without a signed entry timestamp.
  no_signed_entry_timestamp: false,
  // Rekor v1 answers with the entry that was logged before.
  previous_entry: false,
};

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), crypto.createHash('sha256')).digest();

// RFC 8785, for values that JSON.parse made and that hold no fractions.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort().filter((name) => value[name] !== undefined);
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

// RFC 6962 §2.1: the largest power of two below n, for n > 1.
const split = (n) => 2 ** (31 - Math.clz32(n - 1));
const node = (left, right) => sha256(Buffer.from([1]), left, right);

function treeHash(leaves) {
  if (leaves.length === 1) return leaves[0];
  const k = split(leaves.length);
  return node(treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

// RFC 6962 §2.1.1
function auditPath(index, leaves) {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return index < k
    ? [...auditPath(index, leaves.slice(0, k)), treeHash(leaves.slice(k))]
    : [...auditPath(index - k, leaves.slice(k)), treeHash(leaves.slice(0, k))];
}

class Log {
  // `keyId` is the log's name in trusted roots, `origin` the first line of its checkpoints, `name` who signs them.
  constructor({ keyId, origin, name, sign }) {
    Object.assign(this, { keyId, origin, name, sign });
    // A log that somebody used before: the first entry here has a proof that is not empty.
    this.leaves = ['first', 'second', 'third'].map((text) => sha256(Buffer.from([0]), Buffer.from(text)));
  }

  append(body) {
    const index = this.leaves.push(sha256(Buffer.from([0]), body)) - 1;
    const root = treeHash(this.leaves);
    // C2SP signed-note: the text with its last newline is signed, by a key of which the first four octets are named.
    const text = `${this.origin}\n${this.leaves.length}\n${root.toString('base64')}\n`;
    const signature = Buffer.concat([this.keyId.subarray(0, 4), this.sign(Buffer.from(text))]);
    const checkpoint = `${text}\n\u2014 ${this.name} ${signature.toString('base64')}\n`;
    return { index, size: this.leaves.length, root, hashes: auditPath(index, this.leaves), checkpoint };
  }
}

// Rekor v1 logs what it made of a proposal: of an envelope its digests and signatures, never the envelope.
function entryOfV1(proposal) {
  if (proposal.kind !== 'dsse') return proposal;
  const { envelope, verifiers } = proposal.spec.proposedContent;
  const { payload, signatures } = JSON.parse(envelope);
  const digest = (bytes) => ({ algorithm: 'sha256', value: sha256(bytes).toString('hex') });
  return {
    apiVersion: proposal.apiVersion,
    kind: proposal.kind,
    spec: {
      envelopeHash: digest(envelope),
      payloadHash: digest(Buffer.from(payload, 'base64')),
      signatures: signatures.map(({ sig }, at) => ({ signature: sig, verifier: verifiers[at] ?? verifiers[0] })),
    },
  };
}

function logV1(log, proposal) {
  const body = Buffer.from(canonical(entryOfV1(proposal)));
  const { index, size, root, hashes, checkpoint } = log.append(body);
  const said = {
    body: body.toString('base64'),
    integratedTime: Math.floor(Date.now() / 1000),
    logID: log.keyId.toString('hex'),
    logIndex: index,
  };
  const inclusionProof = {
    checkpoint,
    hashes: hashes.map((hash) => hash.toString('hex')),
    logIndex: index,
    rootHash: root.toString('hex'),
    treeSize: size,
  };
  const signedEntryTimestamp = log.sign(Buffer.from(canonical(said))).toString('base64');
  const uuid = sha256(Buffer.from([0]), body).toString('hex');
  return { [uuid]: { ...said, verification: { inclusionProof, signedEntryTimestamp } } };
}

// rekor-tiles: the request names key and digest, the entry names the digest's algorithm, which follows from the key.
function entryOfV2(request) {
  const { digest, signature } = request.hashedRekordRequestV002;
  const details = signature.verifier.keyDetails;
  let algorithm = 'SHA2_256';
  if (/384/.test(details)) algorithm = 'SHA2_384';
  if (/512|_PH$/.test(details)) algorithm = 'SHA2_512';
  const spec = { hashedRekordV002: { data: { algorithm, digest }, signature } };
  return { apiVersion: '0.0.2', kind: 'hashedrekord', spec };
}

function logV2(log, request) {
  const body = Buffer.from(canonical(entryOfV2(request)));
  const { index, size, root, hashes, checkpoint } = log.append(body);
  return {
    logIndex: `${index}`,
    logId: { keyId: log.keyId.toString('base64') },
    kindVersion: { kind: 'hashedrekord', version: '0.0.2' },
    inclusionProof: {
      logIndex: `${index}`,
      rootHash: root.toString('base64'),
      treeSize: `${size}`,
      hashes: hashes.map((hash) => hash.toString('base64')),
      checkpoint: { envelope: checkpoint },
    },
    canonicalizedBody: body.toString('base64'),
  };
}

// RFC 3161 §2.4.1, as far as the mock wants to know it.
function timestampQuery(der) {
  let at = 0;
  const next = () => {
    const tag = der[at];
    let length = der[at + 1];
    at += 2;
    if (length > 0x80) {
      const octets = length - 0x80;
      length = der.readUIntBE(at, octets);
      at += octets;
    }
    return { tag, start: at, end: at + length, bytes: der.subarray(at, at + length) };
  };
  const skip = (element) => { at = element.end; };
  const query = next();
  skip(next()); // version
  next(); // messageImprint
  skip(next()); // hashAlgorithm
  const hashed = next();
  skip(hashed);
  const parsed = {
    artifactHash: hashed.bytes.toString('base64'),
    hashAlgorithm: `sha${hashed.bytes.length * 8}`,
    certificates: false,
  };
  while (at < query.end) {
    const element = next();
    // The mock takes a nonce as a number, which holds 53 bits of one; cosign does not compare nonces.
    if (element.tag === 0x02) parsed.nonce = Number(BigInt.asUintN(53, BigInt(`0x${element.bytes.toString('hex')}`)));
    if (element.tag === 0x01) parsed.certificates = element.bytes[0] !== 0;
    skip(element);
  }
  return parsed;
}

const ecdsaKeys = () => crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const spki = (key) => key.export({ format: 'der', type: 'spki' });
const pem = (label, der) => {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g);
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
};

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}`;
// The address with a number of no meaning: it tells Rekor v1 from v2 (sigstore-go).
const treeId = crypto.randomInt(2 ** 47);

const ctLog = await mock.initializeCTLog(ecdsaKeys());
const authority = await mock.initializeCA(ecdsaKeys(), ctLog);
const fulcio = mock.fulcioHandler(authority, { subjectClaim: 'email' });

const now = () => (behaviour.fractional_time ? Date.now() - (Date.now() % 1000) + 500 : Date.now() - (Date.now() % 1000));
// The mock asks one Date for its time again and again, and has to hear the same for as long as it makes one timestamp.
let stamped = new Date(now());
const clock = new Proxy(new Date(), {
  get(_, name) {
    const value = stamped[name];
    return typeof value === 'function' ? value.bind(stamped) : value;
  },
});
const timestamps = await mock.initializeTSA(ecdsaKeys(), clock);
const timestampHandler = mock.tsaHandler(timestamps);
let lastTimestamp = Promise.resolve();
// One after the other.
function timestamp(query) {
  const made = lastTimestamp.then(() => {
    stamped = new Date(now());
    return timestampHandler.fn(JSON.stringify(query));
  });
  lastTimestamp = made.catch(() => {});
  return made;
}

const keysV1 = ecdsaKeys();
const rekorV1 = new Log({
  keyId: sha256(spki(keysV1.publicKey)),
  origin: `127.0.0.1 - ${treeId}`,
  name: '127.0.0.1',
  sign: (bytes) => crypto.sign('sha256', bytes, keysV1.privateKey),
});
const keysV2 = crypto.generateKeyPairSync('ed25519');
// C2SP signed-note: name, newline, the type Ed25519, the raw key.
const rawV2 = spki(keysV2.publicKey).subarray(-32);
const rekorV2 = new Log({
  keyId: sha256(Buffer.from('127.0.0.1\n\u0001'), rawV2),
  origin: '127.0.0.1',
  name: '127.0.0.1',
  sign: (bytes) => crypto.sign(null, bytes, keysV2.privateKey),
});

// sigstore protobuf-specs: sigstore_trustroot.proto
const validFor = { start: new Date(Date.now() - 60 * 60 * 1000).toISOString() };
const logOf = (publicKey, keyDetails, keyId) => ({
  baseUrl: url,
  hashAlgorithm: 'SHA2_256',
  publicKey: { rawBytes: Buffer.from(publicKey).toString('base64'), keyDetails, validFor },
  logId: { keyId: Buffer.from(keyId).toString('base64') },
});
const authorityOf = (name, certificates) => ({
  subject: { organization: 'sigstore.mock', commonName: name },
  uri: url,
  certChain: { certificates: certificates.map((der) => ({ rawBytes: Buffer.from(der).toString('base64') })) },
  validFor,
});
const trustedRoot = {
  mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  tlogs: [
    logOf(spki(keysV1.publicKey), 'PKIX_ECDSA_P256_SHA_256', rekorV1.keyId),
    logOf(spki(keysV2.publicKey), 'PKIX_ED25519', rekorV2.keyId),
  ],
  certificateAuthorities: [authorityOf('sigstore', [authority.rootCertificate])],
  ctlogs: [logOf(ctLog.publicKey, 'PKIX_ECDSA_P256_SHA_256', sha256(Buffer.from(ctLog.publicKey)))],
  timestampAuthorities: [authorityOf('tsa', [timestamps.intCertificate, timestamps.rootCertificate])],
};
const write = (name, text) => fs.writeFileSync(path.join(folder, name), text);
const timestampChain = [timestamps.intCertificate, timestamps.rootCertificate].map((der) => pem('CERTIFICATE', der));
write('trusted_root.json', JSON.stringify(trustedRoot, null, 1));
write('fulcio.pem', pem('CERTIFICATE', authority.rootCertificate));
write('ctfe.pub', pem('PUBLIC KEY', ctLog.publicKey));
write('rekor.pub', pem('PUBLIC KEY', spki(keysV1.publicKey)));
write('tsa-chain.pem', timestampChain.join(''));

// sigstore-go and cosign 2 put the token into the header, the mock wants it in the body.
async function issue(token, request) {
  const { statusCode, response } = await fulcio.fn(JSON.stringify({ ...request, credentials: { oidcIdentityToken: token } }));
  if (statusCode >= 400) throw new Error(`fulcio: ${response}`);
  return JSON.parse(response);
}

const json = (status, value, headers = {}) => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(value),
});

let previous;
const routes = {
  'POST /behaviour': (body) => {
    for (const [name, value] of Object.entries(JSON.parse(body))) {
      if (!(name in behaviour)) throw new Error(`no behaviour ${name}`);
      behaviour[name] = value;
    }
    return json(200, behaviour);
  },
  'POST /api/v2/signingCert': async (body, token) => {
    const request = JSON.parse(body);
    return json(200, await issue(token ?? request.credentials?.oidcIdentityToken, request));
  },
  // Fulcio's first interface, which cosign 2 speaks: a key in DER or PEM in, a chain in PEM out.
  'POST /api/v1/signingCert': async (body, token) => {
    const bytes = Buffer.from(JSON.parse(body).publicKey.content, 'base64');
    const key = crypto.createPublicKey(
      bytes.subarray(0, 5).toString() === '-----' ? bytes : { key: bytes, format: 'der', type: 'spki' },
    );
    const content = key.export({ format: 'pem', type: 'spki' });
    const answer = await issue(token, { publicKeyRequest: { publicKey: { algorithm: 'ECDSA', content } } });
    const chain = answer.signedCertificateEmbeddedSct.chain.certificates;
    return {
      status: 201,
      headers: { 'content-type': 'application/pem-certificate-chain' },
      body: chain.map((certificate) => `${certificate.trim()}\n`).join(''),
    };
  },
  'POST /api/v1/log/entries': (body) => {
    const entry = logV1(rekorV1, JSON.parse(body));
    const answered = structuredClone(behaviour.previous_entry && previous ? previous : entry);
    previous = entry;
    const [uuid] = Object.keys(answered);
    if (behaviour.no_signed_entry_timestamp) delete answered[uuid].verification.signedEntryTimestamp;
    // cosign 3.1.1 takes the entry's name from the header and ends with a nil dereference without it.
    return json(201, answered, { etag: uuid, location: `/api/v1/log/entries/${uuid}` });
  },
  'GET /api/v1/log/publicKey': () => ({
    status: 200,
    headers: { 'content-type': 'application/x-pem-file' },
    body: pem('PUBLIC KEY', spki(keysV1.publicKey)),
  }),
  'POST /api/v2/log/entries': (body) => json(201, logV2(rekorV2, JSON.parse(body))),
  'POST /api/v1/timestamp': async (body) => {
    const { statusCode, response } = await timestamp(timestampQuery(body));
    if (statusCode >= 400) throw new Error(`timestamp: ${response}`);
    return { status: 201, headers: { 'content-type': 'application/timestamp-reply' }, body: response };
  },
};

async function answer(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const route = routes[`${request.method} ${new URL(request.url, url).pathname}`];
  if (!route) return json(404, { message: 'there is nothing here' });
  const token = request.headers.authorization?.replace(/^Bearer /, '');
  return route(Buffer.concat(chunks), token);
}

server.on('request', async (request, response) => {
  let said;
  try {
    said = await answer(request);
  } catch (error) {
    said = json(400, { message: error.message });
  }
  console.log(request.method, request.url, said.status, said.status >= 400 ? said.body : '');
  response.writeHead(said.status, said.headers).end(said.body);
});

write('ready.partial', JSON.stringify({ url }));
fs.renameSync(path.join(folder, 'ready.partial'), path.join(folder, 'ready.json'));

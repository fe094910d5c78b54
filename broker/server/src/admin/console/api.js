// The way to the broker: JSON over HTTP from the server that this page came from. An answer, or a Refusal that says what and why.

const PATIENCE_MS = 12_000;

export class Refusal extends Error {
  constructor(status, what, why) {
    super(`${what}: ${why}`);
    Object.assign(this, { status, what, why });
  }
}

async function ask(path, options) {
  try {
    const answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return { answer, text: await answer.text() };
  } catch {
    throw new Refusal(0, "The broker does not answer.", "Is it running? This page asks again by itself.");
  }
}

async function json(path, options = {}) {
  const { answer, text } = await ask(path, options);
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(answer.status, "The answer is not understood.", `It came with status ${answer.status}.`);
  }
  if (!answer.ok) throw new Refusal(answer.status, sentence(value.what), sentence(value.why));
  return value;
}

function sentence(text = "no reason was given") {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

export function get(...segments) {
  return json(`/api/v1/${segments.map(encodeURIComponent).join("/")}`);
}

export function records(topic, partition, query) {
  const path = `/api/v1/topics/${encodeURIComponent(topic)}/partitions/${partition}/records`;
  return json(`${path}?${new URLSearchParams(query)}`);
}

/** A change: with the header that pages of other sites cannot send. */
export function change(method, segments, body = {}) {
  const headers = { "Content-Type": "application/json", "X-Ouzel-Console": "1" };
  const path = `/api/v1/${segments.map(encodeURIComponent).join("/")}`;
  return json(path, { method, headers, body: JSON.stringify(body) });
}

/** The metrics as text. */
export async function metrics() {
  const { answer, text } = await ask("/metrics", {});
  if (!answer.ok) throw new Refusal(answer.status, "The metrics cannot be read.", `The status is ${answer.status}.`);
  return text;
}

// The broker's metrics over time: reads /metrics again and again, keeps what the plots show, and makes rates and percentiles of
// two neighbouring samples. Runs for as long as the page is open, whatever is shown.

import { metrics } from "./api.js";

export const EVERY_MS = 2000;
const SAMPLES_MAX = 150;

/** Samples of a text in Prometheus' format: by name, a list of labels and a value. */
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const [, name, labels, value] = match;
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({ labels: labelsOf(labels ?? ""), value: value === "+Inf" ? Infinity : Number(value) });
  }
  return families;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replaceAll(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
  }
  return labels;
}

export function sum(families, name, fits = () => true) {
  return (families.get(name) ?? []).filter(({ labels }) => fits(labels)).reduce((total, { value }) => total + value, 0);
}

/** A metric's value by one of its labels, added up. */
export function by(families, name, label) {
  const found = new Map();
  for (const { labels, value } of families.get(name) ?? []) {
    found.set(labels[label], (found.get(labels[label]) ?? 0) + value);
  }
  return found;
}

/** Counts of requests to produce, by the upper ends of their times. */
function produceBuckets(families) {
  const buckets = new Map();
  for (const { labels, value } of families.get("ouzel_request_seconds_bucket") ?? []) {
    if (labels.api.toLowerCase() !== "produce") continue;
    const end = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(end, (buckets.get(end) ?? 0) + value);
  }
  return [...buckets].sort(([a], [b]) => a - b);
}

/** The time that a share of what lies between two samples did not exceed; null where there was nothing. */
function percentile(before, after, share) {
  const earlier = new Map(before);
  const counts = after.map(([end, value]) => [end, value - (earlier.get(end) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  let [start, below] = [0, 0];
  for (const [end, upTo] of counts) {
    if (upTo >= share * total) {
      return end === Infinity ? start : start + ((end - start) * (share * total - below)) / (upTo - below);
    }
    [start, below] = [end, upTo];
  }
  return start;
}

/** All that was sampled, and who wants to know. */
class Sampler {
  samples = [];
  failure = null;
  #listeners = new Set();

  /** Calls `listener` after each sample; returns how to end that. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get latest() {
    return this.samples.at(-1);
  }

  async run() {
    for (;;) {
      if (!document.hidden) await this.sample();
      await new Promise((wake) => setTimeout(wake, EVERY_MS));
    }
  }

  async sample() {
    try {
      const families = parse(await metrics());
      this.#take(families);
      this.failure = null;
    } catch (failure) {
      this.failure = failure;
    }
    this.#listeners.forEach((listener) => listener());
  }

  #take(families) {
    const now = {
      at: Date.now(),
      families,
      received: sum(families, "ouzel_network_received_bytes_total"),
      sent: sum(families, "ouzel_network_sent_bytes_total"),
      requests: sum(families, "ouzel_requests_total"),
      connections: sum(families, "ouzel_connections"),
      started: sum(families, "process_start_time_seconds"),
      buckets: produceBuckets(families),
    };
    const before = this.latest;
    const seconds = before && before.started === now.started ? (now.at - before.at) / 1000 : null;
    const rate = (value) => (seconds ? Math.max(0, value(now) - value(before)) / seconds : null);
    now.rates = {
      received: rate((sample) => sample.received),
      sent: rate((sample) => sample.sent),
      requests: rate((sample) => sample.requests),
      p50: seconds ? percentile(before.buckets, now.buckets, 0.5) : null,
      p99: seconds ? percentile(before.buckets, now.buckets, 0.99) : null,
    };
    now.topics = topicRates(families, seconds ? before.families : null, seconds);
    // Of earlier samples the plots need the numbers only.
    if (before) before.families = before.buckets = null;
    this.samples.push(now);
    if (this.samples.length > SAMPLES_MAX) this.samples.shift();
  }
}

function topicRates(families, earlier, seconds) {
  const [read, written] = ["ouzel_topic_bytes_out_total", "ouzel_topic_bytes_in_total"].map((name) => {
    const before = earlier ? by(earlier, name, "topic") : new Map();
    const rate = ([topic, value]) => [topic, seconds ? Math.max(0, value - (before.get(topic) ?? 0)) / seconds : null];
    return new Map([...by(families, name, "topic")].map(rate));
  });
  return { read, written, stored: by(families, "ouzel_topic_stored_bytes", "topic") };
}

export const sampler = new Sampler();

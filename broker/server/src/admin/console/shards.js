// The shards of the node: what each holds, how full it is and what waits.

import { get } from "./api.js";
import { badge, el, fill, notice, pending, table } from "./dom.js";
import { bytes, count } from "./format.js";
import { EVERY_MS } from "./metrics.js";

export function shards() {
  const node = pending("the shards");
  const refresh = async () => fill(node, listOf((await get("shards")).shards));
  return { title: "Shards", node, refresh, every_ms: EVERY_MS };
}

function listOf(all) {
  const waiting = (queues) => {
    const busy = Object.entries(queues ?? {}).filter(([, length]) => length > 0);
    return busy.length > 0 ? busy.map(([lane, length]) => `${lane} ${count(length)}`).join(", ") : "none";
  };
  const counter = (name, say) => ({ counters }) => (counters[name] === undefined ? "–" : say(counters[name]));
  const some = (value, say) => (value === undefined ? "–" : say(value));
  const hitRate = ({ cache }) => {
    const reads = cache ? cache.hits + cache.misses : 0;
    return reads > 0 ? `${((100 * cache.hits) / reads).toFixed(1)} %` : "–";
  };
  return [
    all.filter(({ reason }) => reason).map(({ shard, state, reason }) => notice("bad", `Shard ${shard} is ${state}.`, reason)),
    table("Shards", [
      { name: "Shard", kind: "number", of: ({ shard }) => String(shard) },
      { name: "State", of: ({ state }) => badge(state, state === "online" ? "good" : "bad") },
      { name: "Partitions", kind: "number", of: ({ partitions }) => some(partitions, count) },
      { name: "Connections", kind: "number", of: counter("connections", count) },
      { name: "In flight", kind: "number", of: ({ requests_in_flight }) => some(requests_in_flight, count) },
      { name: "Waiting", of: ({ queues }) => waiting(queues) },
      { name: "Journal", of: ({ journal }) => journal ? [
        el("progress", { max: 1, value: journal.occupancy, "aria-label": "Share of the journal in use" }),
        ` ${bytes(journal.used_bytes)} of ${bytes(journal.bytes_max)}`] : "–" },
      { name: "Dirty", kind: "number", of: ({ memory }) => some(memory?.dirty_bytes, bytes) },
      { name: "Cache", kind: "number", of: ({ memory }) => some(memory?.cache_bytes, bytes) },
      { name: "Read from memory", kind: "number", of: hitRate },
      { name: "Made durable", kind: "number", of: counter("payload_bytes", bytes) },
      { name: "Flushes", kind: "number", of: counter("journal_syncs", count) },
    ], all),
    el("p", { class: "quiet" }, "A shard is one thread with its own partitions, journal and memory. Dirty bytes are durable in the ",
      "journal and not in a segment yet; producers are slowed down before the journal is full."),
  ];
}

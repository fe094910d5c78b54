// The node at a glance: what goes in and out, how long an acknowledgement takes, who is connected.

import { get } from "./api.js";
import { el, facts, fill, link, notice, pending } from "./dom.js";
import { byteRate, bytes, count, duration, latency, rate } from "./format.js";
import { EVERY_MS, sampler, sum } from "./metrics.js";
import { Plot } from "./plot.js";

const SPAN_MS = 300_000;

export function overview() {
  const node = pending("the cluster");
  const spread = { span_ms: SPAN_MS };
  const plots = [
    [new Plot("Throughput", [{ name: "in", kind: "a" }, { name: "out", kind: "b" }], byteRate, { ...spread, base: 1024 }),
      ({ rates }) => [rates.received, rates.sent]],
    [new Plot("Requests", [{ name: "requests", kind: "a" }], rate, spread), ({ rates }) => [rates.requests]],
    [new Plot("Produce latency", [{ name: "p50", kind: "a" }, { name: "p99", kind: "b" }], latency, spread),
      ({ rates }) => [rates.p50, rates.p99]],
    [new Plot("Connections", [{ name: "open", kind: "a" }], count, { ...spread, isCount: true }), ({ connections }) => [connections]],
  ];
  const draw = () => {
    const since = Date.now() - SPAN_MS;
    const samples = sampler.samples.filter(({ at }) => at >= since);
    for (const [plot, values] of plots) plot.show(samples.map((sample) => ({ at: sample.at, values: values(sample) })));
  };
  const end = sampler.listen(draw);
  draw();
  const summary = el("div");
  const refresh = async () => {
    const cluster = await get("cluster");
    if (!node.contains(summary)) {
      fill(node, summary, el("div", { class: "plots" }, plots.map(([plot]) => plot.node)),
        el("p", { class: "quiet" }, `A point every ${EVERY_MS / 1000} s, while this page is open. Latency is from the first `,
          "byte of a produce request until its acknowledgement was sent; without requests there is none."));
    }
    fill(summary, summaryOf(cluster));
  };
  return { title: "Overview", node, refresh, every_ms: EVERY_MS, end };
}

function summaryOf({ cluster_id, topics, partitions, nodes: [node] }) {
  const families = sampler.latest?.families;
  const stored = families ? bytes(sum(families, "ouzel_topic_stored_bytes")) : "–";
  const troubled = node.shards.filter((shard) => shard.state !== "online");
  return [
    troubled.map((shard) => notice("bad", `Shard ${shard.shard} is ${shard.state}.`, shard.reason)),
    facts([
      ["Topics", link("#/topics", count(topics))],
      ["Partitions", count(partitions)],
      ["Stored", stored],
      ["Shards", link("#/shards", count(node.shards.length))],
      ["Memory", bytes(node.counters.rss_bytes ?? 0)],
      ["Up for", duration(node.uptime_ms)],
      ["Kafka", node.addresses.kafka ?? "off"],
      ["Native", node.addresses.native],
      ["Cluster", cluster_id ?? "–"],
    ]),
  ];
}

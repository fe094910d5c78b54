// One topic: its partitions, its settings, and the way to delete it.

import { change, get } from "./api.js";
import { badge, el, facts, field, fill, link, notice, pending, table } from "./dom.js";
import { bytes, count } from "./format.js";
import { EVERY_MS } from "./metrics.js";
import { isInternal, messagesHash } from "./topics.js";

export function topic(name) {
  const shown = pending(name);
  const node = el("div", {}, shown, isInternal(name) ? null : deletion(name));
  const refresh = async () => fill(shown, described(await get("topics", name)));
  return { title: name, path: [link("#/topics", "Topics"), ` / ${name}`], node, refresh, every_ms: EVERY_MS };
}

function described({ topic: name, topic_id, partitions, configs }) {
  const total = (value) => partitions.reduce((sum, partition) => sum + value(partition), 0);
  const at = (partition) => `${messagesHash(name)}?partition=${partition}`;
  return [
    facts([
      ["Records", count(total(({ end_offset, log_start_offset }) => end_offset - log_start_offset))],
      ["Stored", bytes(total((partition) => partition.bytes))],
      ["Partitions", count(partitions.length)],
      ["Id", topic_id],
    ]),
    el("p", {}, el("a", { class: "button", href: messagesHash(name), "data-key": "messages" }, "Browse messages")),
    el("h2", {}, "Partitions"),
    table("Partitions", [
      { name: "Partition", kind: "number", of: ({ partition }) => link(at(partition), String(partition)) },
      { name: "First offset", kind: "number", of: ({ log_start_offset }) => count(log_start_offset) },
      { name: "End offset", kind: "number", of: ({ end_offset }) => count(end_offset) },
      { name: "Size", kind: "number", of: (partition) => bytes(partition.bytes) },
      { name: "Shard", kind: "number", of: ({ shard }) => String(shard) },
      { name: "Leader", kind: "number", of: ({ leader }) => (leader === null ? "none" : String(leader)) },
      { name: "Epoch", kind: "number", of: ({ leader_epoch }) => String(leader_epoch) },
      { name: "State", of: ({ state }) => badge(state, state === "online" ? "good" : "bad") },
    ], partitions),
    el("h2", {}, "Settings"),
    table("Settings", [
      { name: "Key", of: ([key]) => el("code", {}, key) },
      { name: "Value", of: ([, value]) => el("code", {}, value) },
    ], Object.entries(configs)),
  ];
}

function deletion(name) {
  const typed = el("input", { autocomplete: "off", spellcheck: false, id: "delete-name" });
  const said = el("div");
  const button = el("button", { class: "danger", disabled: true }, "Delete topic");
  typed.addEventListener("input", () => { button.disabled = typed.value !== name; });
  const submit = async (event) => {
    event.preventDefault();
    if (typed.value !== name) return;
    button.disabled = true;
    try {
      await change("DELETE", ["topics", name]);
      location.hash = "#/topics";
    } catch (refusal) {
      fill(said, notice("bad", refusal.what ?? refusal.message, refusal.why));
      button.disabled = false;
    }
  };
  return el("details", { class: "panel" },
    el("summary", {}, "Delete this topic"),
    el("form", { onsubmit: submit, class: "form" },
      el("p", {}, "All records of all partitions go with it. This cannot be undone."),
      field("Type the topic's name", typed), said, button));
}

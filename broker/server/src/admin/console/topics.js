// All topics, and a form that makes one.

import { change, get } from "./api.js";
import { badge, command, el, empty, field, fill, link, notice, pending, select, table } from "./dom.js";
import { byteRate, bytes, count } from "./format.js";
import { EVERY_MS, sampler } from "./metrics.js";

export function topicHash(name) {
  return `#/topics/${encodeURIComponent(name)}`;
}

export function messagesHash(name) {
  return `${topicHash(name)}/messages`;
}

/** Topics that the broker keeps for itself. */
export function isInternal(name) {
  return name.startsWith("__");
}

export function topics() {
  const list = pending("the topics");
  const filter = el("input", { type: "search", autocomplete: "off", placeholder: "part of a name" });
  let known = null;
  const draw = () => known && fill(list, listOf(known, filter.value.trim().toLowerCase()));
  filter.addEventListener("input", draw);
  const form = createForm();
  const node = el("div", {}, form, el("div", { class: "bar" }, field("Filter", filter)), list);
  const refresh = async () => {
    known = await get("topics");
    draw();
  };
  return { title: "Topics", node, refresh, every_ms: EVERY_MS, end: sampler.listen(draw) };
}

function listOf({ topics: all, left_out }, wanted) {
  if (all.length === 0) {
    return empty("There are no topics yet.", "Create one above, or on a command line: ", command("ouzel topic create orders --partitions 6"));
  }
  const rows = all.filter(({ topic }) => topic.toLowerCase().includes(wanted));
  if (rows.length === 0) return empty("No topic has this in its name.", `There are ${count(all.length)}.`);
  const rates = sampler.latest?.topics;
  const of = (map, topic, say) => {
    const value = map?.get(topic);
    return value === undefined || value === null ? "–" : say(value);
  };
  return [
    table("Topics", [
      { name: "Topic", of: ({ topic }) => [link(topicHash(topic), topic), isInternal(topic) && [" ", badge("internal")]] },
      { name: "Partitions", kind: "number", of: ({ partitions }) => count(partitions) },
      { name: "Stored", kind: "number", of: ({ topic }) => of(rates?.stored, topic, bytes) },
      { name: "In", kind: "number", of: ({ topic }) => of(rates?.written, topic, byteRate) },
      { name: "Out", kind: "number", of: ({ topic }) => of(rates?.read, topic, byteRate) },
      { name: "Records", of: ({ topic }) => el("a", { href: messagesHash(topic), "data-key": messagesHash(topic), "aria-label": `Messages of ${topic}` }, "messages") },
    ], rows),
    left_out > 0 && el("p", { class: "quiet" }, `${count(left_out)} more are not shown; ouzel topic list has all.`),
  ];
}

function createForm() {
  const name = el("input", { required: true, maxLength: 249, autocomplete: "off", spellcheck: false, id: "create-name" });
  const partitions = el("input", { type: "number", min: 1, value: 1, required: true, id: "create-partitions" });
  const durability = select([
    ["", "disk: survives a loss of power (default)"],
    ["written", "written: survives the process, not the power"],
  ]);
  durability.id = "create-durability";
  const more = el("textarea", { rows: 2, spellcheck: false, placeholder: "segment.bytes=67108864", id: "create-more" });
  const said = el("div");
  const button = el("button", { class: "main" }, "Create topic");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const configs = settingsOf(more.value);
      if (durability.value) configs["ouzel.durability"] = durability.value;
      const topic = name.value.trim();
      await change("POST", ["topics"], { topic, partitions: Number(partitions.value), configs });
      location.hash = topicHash(topic);
    } catch (refusal) {
      fill(said, notice("bad", refusal.what ?? refusal.message, refusal.why));
    } finally {
      button.disabled = false;
    }
  };
  return el("details", { class: "panel" },
    el("summary", {}, "Create a topic"),
    el("form", { onsubmit: submit, class: "form" },
      field("Name", name, "letters, digits, dots, underscores and hyphens"),
      field("Partitions", partitions, "can be raised later, never lowered"),
      field("Acknowledged when on", durability),
      field("More settings", more, "one key=value a line"),
      said, button));
}

function settingsOf(text) {
  const settings = {};
  for (const line of text.split("\n").map((line) => line.trim()).filter((line) => line !== "")) {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`“${line}” is not key=value.`);
    settings[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return settings;
}

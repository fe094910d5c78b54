// Groups of consumers and how far each lags behind.

import { get } from "./api.js";
import { badge, command, el, empty, facts, fill, link, pending, table } from "./dom.js";
import { count } from "./format.js";
import { EVERY_MS, by, sampler } from "./metrics.js";
import { topicHash } from "./topics.js";

function groupHash(name) {
  return `#/groups/${encodeURIComponent(name)}`;
}

function stateBadge(state) {
  const kind = { Stable: "good", Empty: "", Dead: "bad" }[state] ?? "busy";
  return badge(state, kind);
}

export function groups() {
  const node = pending("the groups");
  const refresh = async () => fill(node, listOf(await get("groups")));
  return { title: "Groups", node, refresh, every_ms: EVERY_MS };
}

function listOf({ groups: all, left_out, coordinators_not_loaded }) {
  const notes = [
    left_out > 0 && el("p", { class: "quiet" }, `${count(left_out)} more are not shown; ouzel group list has all.`),
    coordinators_not_loaded > 0 && el("p", { class: "quiet" }, `${count(coordinators_not_loaded)} logs of groups are not read yet: groups in them are missing here.`),
  ];
  if (all.length === 0) {
    return [empty("There are no groups yet.", "Read as one: ", command("ouzel consume orders --group readers")), notes];
  }
  const lags = sampler.latest?.families ? by(sampler.latest.families, "ouzel_consumergroup_lag_sum", "consumergroup") : new Map();
  const lag = ({ group: name }) => (lags.has(name) ? count(lags.get(name)) : "–");
  return [
    table("Groups", [
      { name: "Group", of: ({ group: name }) => link(groupHash(name), name) },
      { name: "State", of: ({ state }) => stateBadge(state) },
      { name: "Members", kind: "number", of: ({ members }) => count(members) },
      { name: "Lag", kind: "number", of: lag },
      { name: "Kind", of: ({ kind, protocol_type }) => (protocol_type && protocol_type !== "consumer" ? `${kind}, ${protocol_type}` : kind) },
    ], all),
    notes,
  ];
}

export function group(name) {
  const node = pending(name);
  const refresh = async () => fill(node, described(await get("groups", name)));
  return { title: name, path: [link("#/groups", "Groups"), ` / ${name}`], node, refresh, every_ms: EVERY_MS };
}

function described(shown) {
  const { state, kind, assignor, epoch, members, offsets } = shown;
  const known = offsets.filter(({ lag }) => lag !== null);
  const numbers = (assigned) => assigned.map(({ topic, partitions }) => `${topic} ${partitions.join(", ")}`).join("; ") || "none";
  return [
    facts([
      ["State", stateBadge(state)],
      ["Lag", el("span", { class: "total-lag" }, known.length > 0 ? count(known.reduce((sum, { lag }) => sum + lag, 0)) : "–")],
      ["Members", count(members.length)],
      ["Kind", kind],
      ["Assignor", assignor || "–"],
      ["Epoch", String(epoch)],
    ]),
    el("h2", {}, "Lag"),
    offsets.length === 0 ? empty("Nothing is committed yet.", "A group's lag begins with its first commit.")
      : table("Lag", [
        { name: "Topic", of: ({ topic }) => link(topicHash(topic), topic) },
        { name: "Partition", kind: "number", of: ({ partition }) => String(partition) },
        { name: "Committed", kind: "number", of: ({ committed_offset }) => (committed_offset === null ? "–" : count(committed_offset)) },
        { name: "End", kind: "number", of: ({ end_offset }) => (end_offset === null ? "–" : count(end_offset)) },
        { name: "Lag", kind: "number", of: ({ lag }) => (lag === null ? "–" : count(lag)) },
        { name: "Member", of: ({ member }) => (member === null ? "–" : el("code", {}, member)) },
      ], offsets),
    el("h2", {}, "Members"),
    members.length === 0 ? empty("Nobody reads now.", "Offsets are kept; whoever joins goes on from there.")
      : table("Members", [
        { name: "Client", of: ({ client }) => client || "–" },
        { name: "Member", of: ({ member }) => el("code", {}, member) },
        { name: "Host", of: ({ host }) => host || "–" },
        { name: "Assigned", of: ({ assignment }) => numbers(assignment) },
      ], members),
  ];
}

// What the broker runs with: each setting, where its value came from, and what it does.

import { get } from "./api.js";
import { badge, el, empty, fill, pending, table } from "./dom.js";

export function configuration() {
  const list = pending("the settings");
  const changed = el("input", { type: "checkbox" });
  let settings = null;
  const draw = () => settings && fill(list, listOf(settings.filter(({ source }) => !changed.checked || source !== "default")));
  changed.addEventListener("change", draw);
  const node = el("div", {},
    el("p", { class: "quiet" }, "Settings come from flags, the environment, a file or defaults, in this order, and are read at a start. ",
      "Topics have settings of their own."),
    el("label", { class: "check" }, changed, " Only what differs from the defaults"), list);
  const refresh = async () => {
    ({ settings } = await get("configuration"));
    draw();
  };
  return { title: "Configuration", node, refresh };
}

function described({ explain, range, default: unset, why }) {
  return [`${explain}. `, el("span", { class: "quiet" }, `Possible: ${range}. Default ${unset}: ${why}.`)];
}

function listOf(settings) {
  if (settings.length === 0) return empty("Nothing to show.", "Every setting has its default.");
  return table("Settings", [
    { name: "Key", kind: "name", of: ({ key }) => el("code", {}, key) },
    { name: "Value", of: ({ value, effective }) => el("code", {}, value === effective ? value : `${value} (${effective})`) },
    { name: "From", kind: "name", of: ({ source }) => (source === "default" ? "default" : badge(source.replace(/^flag --set .*/, "flag --set"), "busy")) },
    { name: "What it does", kind: "prose", of: described },
  ], settings);
}

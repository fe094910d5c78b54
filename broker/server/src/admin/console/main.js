// Which page is shown, and that it is shown again: a page is a node and how to refresh it. Owns the route, the polling, what is
// said when the broker does not answer, and the line at the top that says how it is.

import { get } from "./api.js";
import { badge, el, fill, notice } from "./dom.js";
import { sampler } from "./metrics.js";
import { overview } from "./overview.js";
import { topics } from "./topics.js";
import { topic } from "./topic.js";
import { messages } from "./messages.js";
import { group, groups } from "./groups.js";
import { shards } from "./shards.js";
import { configuration } from "./configuration.js";

const ROUTES = [
  [/^overview$/, overview],
  [/^topics$/, topics],
  [/^topics\/([^/]+)$/, topic],
  [/^topics\/([^/]+)\/messages$/, messages],
  [/^groups$/, groups],
  [/^groups\/([^/]+)$/, group],
  [/^shards$/, shards],
  [/^configuration$/, configuration],
];
const STATE_EVERY_MS = 5000;

const main = document.getElementById("main");
const state = document.getElementById("state");
let end = () => {};

/** The page for what stands behind the `#`: `{ title, path, node, refresh, every_ms, end }`. */
function pageOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  for (const [pattern, page] of ROUTES) {
    const match = pattern.exec(path);
    if (match) return page(...match.slice(1).map(decodeURIComponent), new URLSearchParams(query));
  }
  return null;
}

function show() {
  if (["", "#/", "#main"].includes(location.hash)) {
    location.replace("#/overview");
    return;
  }
  end();
  let page = null;
  try {
    page = pageOf(location.hash);
  } catch {
    // A hash that is no legal encoding is no page.
  }
  for (const link of document.querySelectorAll("#nav a")) {
    const isHere = location.hash === link.hash || location.hash.startsWith(`${link.hash}/`);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!page) {
    fill(main, el("h1", {}, "No such page"), notice("", "There is nothing here.", "Choose a page above."));
    return;
  }
  document.title = `${page.title} – ouzel`;
  const trouble = el("div");
  fill(main, el("h1", {}, page.path ?? page.title), trouble, page.node);
  end = refreshing(page, trouble);
}

/** Refreshes a page now and again; returns how to end that. */
function refreshing(page, trouble) {
  let timer;
  let isOver = false;
  const turn = async () => {
    try {
      if (!document.hidden) await page.refresh?.();
      if (!isOver) fill(trouble);
    } catch (refusal) {
      if (!isOver) fill(trouble, notice("bad", refusal.what ?? "This page cannot be shown.", refusal.why ?? refusal.message));
    }
    if (!isOver && page.every_ms) timer = setTimeout(turn, page.every_ms);
  };
  turn();
  return () => {
    isOver = true;
    clearTimeout(timer);
    page.end?.();
  };
}

async function sayState() {
  try {
    const { nodes } = await get("cluster");
    const [node] = nodes;
    const kind = node.phase === "serving" ? "good" : "bad";
    fill(state, badge(node.phase, kind), ` node ${node.node}, ${node.version}`);
  } catch {
    fill(state, badge("no answer", "bad"));
  }
}

addEventListener("hashchange", () => {
  // The link that skips to the content names an element and no page.
  if (location.hash === "#main") return;
  show();
  scrollTo(0, 0);
});
sampler.run();
sayState();
setInterval(() => document.hidden || sayState(), STATE_EVERY_MS);
show();

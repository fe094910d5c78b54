// Elements and the parts that all pages are made of. Text always goes in as text: nothing here, or anywhere in the console,
// makes markup of a string.

/** An element: properties and attributes, then children (nodes, text, lists of them; null is nothing). */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/**
 * Replaces what is in a node, unless it would look the same: what somebody has marked or scrolled stays. Whoever had the focus
 * in it has it again, by the key that it is marked with.
 */
export function fill(node, ...children) {
  node.removeAttribute("aria-busy");
  const after = flat(children).map((child) => (child instanceof Node ? child : document.createTextNode(child)));
  const isSame = (child, index) => child === after[index] || child.isEqualNode(after[index]);
  if (node.childNodes.length === after.length && [...node.childNodes].every(isSame)) return;
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...after);
  if (focused) [...node.querySelectorAll("[data-key]")].find((other) => other.dataset.key === focused)?.focus();
}

/** A part of a page that is not there yet. */
export function pending(what) {
  return el("div", { class: "part", "aria-busy": "true" }, el("p", { class: "quiet" }, `Loading ${what} …`));
}

/** A sentence in a box: `kind` is empty, bad or good. */
export function notice(kind, what, why = "") {
  return el("p", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : null }, el("strong", {}, what), why && ` ${why}`);
}

/** What there is when there is nothing. */
export function empty(what, ...how) {
  return el("div", { class: "empty" }, el("p", {}, el("strong", {}, what)), el("p", { class: "quiet" }, how));
}

/** A link that keeps its focus when the page around it is drawn again. */
export function link(href, text) {
  return el("a", { href, "data-key": href }, text);
}

/** A command line to copy. */
export function command(text) {
  return el("code", { class: "command" }, text);
}

/**
 * A table. Columns are `{ name, of, kind }`: `of` gives a row's cell, `kind` is "number", "name", "prose" or nothing. On a small screen each
 * cell says its column's name beside it.
 */
export function table(caption, columns, rows) {
  const cells = (row) =>
    columns.map(({ name, of, kind }) => el("td", { class: kind ?? "", "data-name": name }, el("span", {}, of(row))));
  return el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": caption, "data-key": `table ${caption}` },
    el("table", {},
      el("caption", { class: "hidden" }, caption),
      el("thead", {}, el("tr", {}, columns.map(({ name, kind }) => el("th", { scope: "col", class: kind ?? "" }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, cells(row))))));
}

/** Names and values. */
export function facts(pairs) {
  return el("dl", { class: "facts" },
    pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** A labelled control of a form; `hint` is said with it. */
export function field(label, control, hint) {
  control.id = control.id || `field-${label.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  const hintId = `${control.id}-hint`;
  if (hint) control.setAttribute("aria-describedby", hintId);
  return el("div", { class: "field" }, el("label", { htmlFor: control.id }, label), control,
    hint && el("span", { class: "hint", id: hintId }, hint));
}

/** A word in a box, coloured by what it means. */
export function badge(word, kind = "") {
  return el("span", { class: `badge ${kind}` }, word);
}

export function select(options, chosen) {
  const node = el("select", {}, options.map(([value, text]) => el("option", { value }, text)));
  if (chosen !== undefined) node.value = chosen;
  return node;
}

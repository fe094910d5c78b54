// A line plot over the last minutes, drawn as SVG. Knows values and times, and nothing of what they mean.

import { el } from "./dom.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const MARGIN = { top: 8, right: 10, bottom: 18, left: 68 };

function svg(name, attributes = {}, text) {
  const node = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

/** The next round number whose half is round too; in steps of 1024 where the values are bytes, at least 2 where they are counts. */
function roundAbove(value, { base, isCount }) {
  if (isCount) value = Math.max(value, 2);
  if (!(value > 0)) return 1;
  const scale = base === 1024 ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  const rest = value / scale;
  const power = 10 ** Math.floor(Math.log10(rest));
  return [1, 2, 4, 6, 10].find((step) => rest <= step * power * 1.0001) * power * scale;
}

export class Plot {
  #lines;
  #format;
  #axis;
  #frame;
  #values = el("p", { class: "values" });
  #points = [];
  #span_ms;

  /** `lines` are `{ name, kind }`, where kind is the class that gives the colour; `format` says a value. */
  constructor(title, lines, format, { base = 10, isCount = false, span_ms }) {
    this.#lines = lines;
    this.#format = format;
    this.#axis = { base, isCount };
    this.#span_ms = span_ms;
    this.#frame = el("div", { class: "frame" });
    this.node = el("section", { class: "plot" }, el("h2", {}, title), this.#values, this.#frame);
    new ResizeObserver(() => this.#draw()).observe(this.#frame);
    this.#frame.addEventListener("pointermove", (event) => this.#point(event));
    this.#frame.addEventListener("pointerleave", () => this.#say(this.#points.at(-1)));
  }

  /** Draws points `{ at, values }`, oldest first; a value of null is a gap. */
  show(points) {
    this.#points = points;
    this.#draw();
    this.#say(points.at(-1));
  }

  #say(point) {
    const parts = this.#lines.map(({ name, kind }, index) => {
      const value = point?.values[index];
      const said = value === null || value === undefined ? "–" : this.#format(value);
      return el("span", { class: kind }, el("i", { "aria-hidden": "true" }), `${name} `, el("b", {}, said));
    });
    this.#values.replaceChildren(...parts);
  }

  #scale(width) {
    const newest = this.#points.at(-1)?.at ?? Date.now();
    const largest = Math.max(0, ...this.#points.flatMap(({ values }) => values.filter((value) => value !== null)));
    const top = roundAbove(largest, this.#axis);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    return {
      top,
      newest,
      x: (at) => MARGIN.left + inner.width * (1 - (newest - at) / this.#span_ms),
      y: (value) => MARGIN.top + inner.height * (1 - value / top),
    };
  }

  #draw() {
    const width = this.#frame.clientWidth;
    if (width === 0) return;
    const { x, y, top, newest } = this.#scale(width);
    const said = this.#lines.map(({ name }, index) => {
      const value = this.#points.at(-1)?.values[index];
      return `${name} ${value === null || value === undefined ? "none" : this.#format(value)}`;
    });
    const node = svg("svg", { width, height: HEIGHT, role: "img", "aria-label": `now: ${said.join(", ")}` });
    for (const value of [0, top / 2, top]) {
      node.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }));
      const label = value === 0 ? "0" : this.#format(value);
      node.append(svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, label));
    }
    const minutes = this.#span_ms / 60_000;
    for (let minute = 0; minute <= minutes; minute += width < 480 ? 2 : 1) {
      const label = minute === 0 ? "now" : `−${minute} min`;
      const anchor = minute === 0 ? "end" : minute === minutes ? "start" : "middle";
      node.append(svg("text", { x: x(newest - minute * 60_000), y: HEIGHT - 3, "text-anchor": anchor }, label));
    }
    this.#lines.forEach(({ kind }, index) => {
      for (const run of runs(this.#points, index)) {
        const at = run.map((point) => `${x(point.at).toFixed(1)},${y(point.values[index]).toFixed(1)}`);
        // A value between two gaps is a dot.
        if (run.length === 1) node.append(svg("circle", { class: kind, cx: x(run[0].at), cy: y(run[0].values[index]), r: 1.5 }));
        else node.append(svg("polyline", { class: kind, points: at.join(" ") }));
      }
    });
    this.#frame.replaceChildren(node);
  }

  /** Says the values under the pointer instead of the newest. */
  #point(event) {
    if (this.#points.length === 0) return;
    const { x } = this.#scale(this.#frame.clientWidth);
    const at = event.clientX - this.#frame.getBoundingClientRect().left;
    const distance = (point) => Math.abs(x(point.at) - at);
    this.#say(this.#points.reduce((best, point) => (distance(point) < distance(best) ? point : best)));
  }
}

/** The stretches of points between gaps. */
function runs(points, index) {
  const found = [[]];
  for (const point of points) {
    if (point.values[index] === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length > 0);
}

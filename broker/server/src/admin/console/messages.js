// The records of one partition, from where the reader says. Whatever they hold is shown as text.

import { get, records } from "./api.js";
import { badge, command, el, empty, field, fill, link, notice, pending, select } from "./dom.js";
import { bytes, count, hexDump, hexOf, indentedJson, time, utcTime } from "./format.js";
import { topicHash } from "./topics.js";

/** Longer values are shown in part at first. */
const SHOWN_CHARACTERS = 400;
const RECORD_BYTES_MAX = 458_752;
const FOLLOW_EVERY_MS = 2000;

export function messages(name, query) {
  const node = pending("the partitions");
  const page = { title: `Messages of ${name}`, node };
  page.path = [link("#/topics", "Topics"), " / ", link(topicHash(name), name), " / messages"];
  let browser = null;
  page.refresh = async () => {
    if (browser === null) {
      const { partitions } = await get("topics", name);
      browser = new Browser(name, partitions.map(({ partition }) => partition), query.get("partition"));
      fill(node, browser.node);
      await browser.read();
    } else if (browser.isFollowing) {
      await browser.read();
    }
  };
  page.every_ms = FOLLOW_EVERY_MS;
  return page;
}

class Browser {
  #topic;
  #partition;
  #from = select([["latest", "the newest, last first"], ["earliest", "the oldest"], ["offset", "an offset"], ["timestamp", "a time"]]);
  #offset = el("input", { type: "number", min: 0, value: 0, required: true });
  #timestamp = el("input", { type: "datetime-local", step: 1, required: true });
  #limit = select([["20", "20"], ["50", "50"], ["100", "100"], ["500", "500"]], "50");
  #view = select([["auto", "JSON or text"], ["text", "text as it is"], ["hex", "hex"]]);
  #follow = el("input", { type: "checkbox" });
  #marks = el("p", { class: "quiet", role: "status" });
  #list = el("div");
  #next = el("button", { type: "button", onclick: () => this.#readNext() }, "Read on");
  #isNewestFirst = true;
  #answer = null;
  #drawn = "";

  constructor(topic, partitions, chosen) {
    this.#topic = topic;
    this.#partition = select(partitions.map((partition) => [String(partition), String(partition)]), chosen ?? undefined);
    if (this.#partition.value === "") this.#partition.value = String(partitions[0]);
    const [offset, timestamp] = [field("Offset", this.#offset), field("Time", this.#timestamp, "your time zone")];
    const adapt = () => {
      offset.hidden = this.#offset.disabled = this.#from.value !== "offset";
      timestamp.hidden = this.#timestamp.disabled = this.#from.value !== "timestamp";
    };
    adapt();
    this.#from.addEventListener("change", adapt);
    this.#view.addEventListener("change", () => this.#draw());
    const submit = (event) => {
      event.preventDefault();
      this.#readSaying();
    };
    const form = el("form", { class: "bar", onsubmit: submit },
      field("Partition", this.#partition), field("From", this.#from), offset, timestamp, field("At most", this.#limit),
      field("Values", this.#view), el("button", { class: "main" }, "Read"),
      el("label", { class: "check" }, this.#follow, " Follow"));
    this.node = el("div", {}, form, this.#marks, this.#list, el("p", {}, this.#next));
    this.#next.hidden = true;
  }

  get isFollowing() {
    return this.#follow.checked;
  }

  /** Reads what the form says. */
  async read() {
    const begin = this.#from.value;
    const query = { limit: this.#limit.value };
    this.#isNewestFirst = begin === "latest";
    if (begin === "offset") query.offset = this.#offset.value;
    else if (begin === "timestamp") query.timestamp = String(new Date(this.#timestamp.value).getTime());
    else query.from = begin;
    await this.#show(query);
  }

  async #readSaying(reading = () => this.read()) {
    try {
      await reading();
    } catch (refusal) {
      this.#drawn = "";
      this.#next.hidden = true;
      fill(this.#list, notice("bad", refusal.what ?? refusal.message, refusal.why));
    }
  }

  #readNext() {
    const query = { offset: String(this.#answer.next_offset), limit: this.#limit.value };
    this.#from.value = "offset";
    this.#offset.value = query.offset;
    this.#from.dispatchEvent(new Event("change"));
    this.#follow.checked = false;
    this.#isNewestFirst = false;
    this.#readSaying(() => this.#show(query));
  }

  async #show(query) {
    this.#answer = await records(this.#topic, this.#partition.value, query);
    // What has not changed is not drawn again: somebody may have opened a value, or marked a part of it.
    const text = JSON.stringify(this.#answer);
    if (text !== this.#drawn) this.#draw();
    this.#drawn = text;
  }

  #draw() {
    if (this.#answer === null) return;
    const { records: rows, log_start_offset, end_offset, next_offset, partition } = this.#answer;
    const held = end_offset - log_start_offset;
    fill(this.#marks, held === 0 ? `Partition ${partition} has no records.`
      : `Partition ${partition} has offsets ${log_start_offset} to ${end_offset - 1}. Shown: ${count(rows.length)}.`);
    this.#next.hidden = next_offset >= end_offset || rows.length === 0;
    if (rows.length > 0) {
      const ordered = this.#isNewestFirst ? rows.toReversed() : rows;
      fill(this.#list, el("ol", { class: "records" }, ordered.map((row) => this.#row(row))));
    } else if (held === 0) {
      fill(this.#list, empty("There is nothing to show yet.", "Send something: ", command(`echo hello | ouzel produce ${this.#topic}`)));
    } else {
      fill(this.#list, empty("There are no records from there on.", `The last one has offset ${end_offset - 1}: read from the oldest, or from an earlier offset.`));
    }
  }

  #row(row) {
    if (row.unreadable) {
      const which = row.last_offset > row.offset ? `Offsets ${row.offset} to ${row.last_offset}` : `Offset ${row.offset}`;
      return el("li", {}, notice("bad", `${which} cannot be shown.`, row.unreadable));
    }
    return el("li", {},
      el("div", { class: "head" },
        el("span", { class: "offset" }, el("span", { class: "hidden" }, "Offset "), String(row.offset)),
        el("time", { title: utcTime(row.timestamp) }, time(row.timestamp)),
        el("span", { class: "key" }, el("span", { class: "name" }, "key "), short(row.key))),
      el("div", {}, headers(row), this.#value(row)));
  }

  /** The value in part, with a button for the rest of it. */
  #value(row) {
    if (row.value === null) return el("p", { class: "value" }, badge("null"));
    if (row.value.bytes === 0) return el("p", { class: "value" }, badge("empty"));
    const whole = el("div", { class: "value" });
    const draw = (value, isWhole) => {
      const text = shownAs(value, this.#view.value);
      const part = isWhole || text.length <= SHOWN_CHARACTERS ? text : text.slice(0, SHOWN_CHARACTERS);
      const isCut = part.length < text.length || (value.cut && !isWhole);
      const showAll = async () => {
        try {
          draw(value.cut ? await this.#wholeValue(row.offset) : value, true);
        } catch (refusal) {
          fill(whole, notice("bad", refusal.what ?? refusal.message, refusal.why));
        }
      };
      const isHex = value.hex !== undefined || this.#view.value === "hex";
      fill(whole, el("pre", { class: isHex ? "hex" : "", tabIndex: 0, "aria-label": `Value at offset ${row.offset}` }, part + (isCut ? " …" : "")),
        isCut && el("button", { type: "button", class: "small", onclick: showAll }, `Show all ${bytes(value.bytes)}`),
        isWhole && value.cut && el("p", { class: "quiet" }, `These are the first ${bytes(RECORD_BYTES_MAX)} of ${bytes(value.bytes)}; all of it: `,
          command(`ouzel consume ${this.#topic} --from ${row.offset} --count 1`)));
    };
    draw(row.value, false);
    return whole;
  }

  async #wholeValue(offset) {
    const query = { offset: String(offset), limit: "1", record_bytes: String(RECORD_BYTES_MAX) };
    const { records: rows } = await records(this.#topic, String(this.#answer.partition), query);
    const row = rows.find((row) => row.offset === offset);
    if (!row) throw new Error(`Offset ${offset} is not there any more.`);
    return row.value;
  }
}

function headers({ headers: some, headers_left_out: more }) {
  if (some.length === 0) return null;
  return el("ul", { class: "headers", "aria-label": "Headers" },
    some.map(({ key, value }) => el("li", {}, el("span", { class: "name" }, short(key)), " ", short(value))),
    more > 0 && el("li", {}, `and ${count(more)} more`));
}

function shownAs(value, view) {
  if (value.hex !== undefined) return hexDump(value.hex);
  if (view === "hex") return hexDump(hexOf(value.text));
  return (view === "auto" && !value.cut && indentedJson(value.text)) || value.text;
}

/** A key or a header on one line. */
function short(part) {
  if (part === null) return badge("null");
  if (part.bytes === 0) return badge("empty");
  const text = part.text ?? `0x${part.hex}`;
  const isCut = part.cut || text.length > SHOWN_CHARACTERS;
  return el("code", {}, text.slice(0, SHOWN_CHARACTERS) + (isCut ? ` … (${bytes(part.bytes)})` : ""));
}

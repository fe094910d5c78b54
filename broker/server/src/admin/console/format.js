// Numbers, sizes and times as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(value) {
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value, unit === 0 ? 0 : 1)} ${UNITS[unit]}`;
}

export function count(value) {
  return digits(value, 0);
}

/** A number a second: small ones with a decimal. */
export function rate(value) {
  return `${digits(value, value < 10 ? 1 : 0)}/s`;
}

export function byteRate(value) {
  return `${bytes(value)}/s`;
}

function digits(value, decimals) {
  return value.toLocaleString("en", { maximumFractionDigits: decimals, minimumFractionDigits: value % 1 ? decimals : 0 });
}

/** Seconds as a latency. */
export function latency(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds >= 1) return `${seconds.toPrecision(3)} s`;
  const ms = seconds * 1000;
  return ms >= 1 ? `${ms.toPrecision(3)} ms` : `${Math.round(ms * 1000)} µs`;
}

/** Milliseconds as how long something has lasted. */
export function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

/** Milliseconds since 1970, in the reader's time. A record may say any number; one that is no date is shown as it is. */
export function time(ms) {
  if (ms < 0) return "none";
  const date = dateOf(ms);
  if (date === null) return String(ms);
  const two = (number, width = 2) => String(number).padStart(width, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

/** The same in UTC, or null where it is no date. */
export function utcTime(ms) {
  return ms < 0 ? null : (dateOf(ms)?.toISOString() ?? null);
}

/** Dates end in the year 275760: beyond it a Date is invalid, and writing that as text throws. */
function dateOf(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date;
}

// Indentation multiplies what a record holds, by depth: beyond these it is no help to a reader, and would hold up the page.
const JSON_DEPTH_MAX = 64;
const JSON_CHARACTERS_MAX = 1_048_576;

/**
 * Indents JSON as it stands; null where the text is none, or would be too deep or too long. Numbers stay as they were written: parsing
 * would round large ones.
 */
export function indentedJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const parts = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  let depth = 0;
  let out = "";
  const line = () => `\n${"  ".repeat(depth)}`;
  for (const [index, part] of parts.entries()) {
    const isEmpty = (part === "{" && parts[index + 1] === "}") || (part === "[" && parts[index + 1] === "]");
    const closesEmpty = (part === "}" && parts[index - 1] === "{") || (part === "]" && parts[index - 1] === "[");
    if (part === "{" || part === "[") {
      depth += 1;
      out += isEmpty ? part : part + line();
    } else if (part === "}" || part === "]") {
      depth -= 1;
      out += closesEmpty ? part : line() + part;
    } else if (part === ",") {
      out += part + line();
    } else {
      out += part === ":" ? ": " : part;
    }
    if (depth > JSON_DEPTH_MAX || out.length > JSON_CHARACTERS_MAX) return null;
  }
  return out;
}

/** Hex digits as lines of 16 bytes, with offsets and what is text of them. */
export function hexDump(hex) {
  const lines = [];
  for (let at = 0; at < hex.length; at += 32) {
    const pairs = hex.slice(at, at + 32).match(/../g) ?? [];
    const text = pairs.map((pair) => {
      const code = parseInt(pair, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : ".";
    });
    lines.push(`${(at / 2).toString(16).padStart(6, "0")}  ${pairs.join(" ").padEnd(47)}  ${text.join("")}`);
  }
  return lines.join("\n");
}

export function hexOf(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

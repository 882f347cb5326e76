// What is asked of the server, and small things that all parts of the page need.

/** The server's answer as an object. An Error with what the server said, where it refuses. */
async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `fastattn serve` still running?");
  }
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

export const info = () => asked("/info");

export const translate = (fields, signal) =>
  asked("/translate", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(fields),
    signal,
  });

/** pairs: a Blob of lines. */
export const evaluate = (pairs, options, signal) =>
  asked(`/evaluate?${new URLSearchParams(options)}`, {
    method: "POST",
    headers: { "content-type": "text/tab-separated-values" },
    body: pairs,
    signal,
  });

/** An element with properties, attributes where the name has a hyphen, and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A symbol that is seen, even a space or an accent alone. */
export function seen(symbol) {
  if (symbol === null) return "∅";
  if (/^\s+$/u.test(symbol)) return symbol === " " ? "␣" : code(symbol);
  if (/^[\p{Cf}\p{Cc}]/u.test(symbol)) return code(symbol);
  return /^\p{M}/u.test(symbol) ? `◌${symbol}` : symbol;
}

const code = (symbol) => `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A probability or a rate from 0 to 1. */
export function percent(value, digits = 1) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const least = 10 ** -digits;
  if (value > 0 && value * 100 < least) return `< ${least} %`;
  const text = (value * 100).toFixed(digits);
  return value < 1 && Number(text) === 100 ? `> ${(100 - least).toFixed(digits)} %` : `${text} %`;
}

export const number = (value) => value.toLocaleString("en");

export const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

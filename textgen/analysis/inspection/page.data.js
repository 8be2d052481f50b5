"use strict";
// The page of `textgen inspect`: its data, from the JSON block that page.py describes, and helpers.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
const number = (count) => count.toLocaleString("en");
const nameOf = (unit) => `${unit.layer}:${unit.unit}`;

/** Create an element. Strings become text nodes, so that text of the corpus is never parsed as markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The text of a token with white space and control characters made visible. */
function visible(text) {
  const symbols = { "\n": "↵", "\t": "⇥", " ": "␣", "\u00a0": "⍽" };
  const shown = text.replace(/[\n\t \u00a0]/g, (character) => symbols[character]);
  return controlPictures(shown) || "·";
}

/** Replace control characters by their Unicode symbols (control pictures). */
function controlPictures(text) {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (character) =>
    String.fromCharCode(character === "\x7f" ? 0x2421 : 0x2400 + character.charCodeAt(0)));
}

const length = data.pieces.length;
const series = data.series.map((each) => ({ ...each, bytes: bytes(each.bytes) }));
const units = data.units;
const shownUnits = units.filter((unit) => unit.row !== null).sort((a, b) => a.row - b.row);
const alternatives = {
  indices: new Uint32Array(bytes(data.alternatives.indices).buffer),
  probabilities: new Uint16Array(bytes(data.alternatives.probabilities).buffer),
};
const documentEnds = new Set(data.documentEnds);

/** The value of a series at a token for the unit in the given row. */
function valueAt(one, row, token) {
  const code = one.bytes[row * length + token];
  return one.signed ? ((code - 128) / 127) * one.scales[row] : code / 255;
}

/** The most likely tokens at a place, most likely first. */
function expected(token) {
  const { count, tokens } = data.alternatives;
  return Array.from({ length: count }, (_, place) => ({
    text: tokens[alternatives.indices[token * count + place]],
    probability: alternatives.probabilities[token * count + place] / 65535,
  }));
}

/** The text shown for a single token. */
const label = (token) => (documentEnds.has(token) ? "◆" : visible(data.pieces[token]));
const sortedBits = [...data.bits].sort((a, b) => a - b);
// The colour scale ends at the 98th percentile, so that one outlier does not make all other tokens look pale.
const fullBits = Math.max(4, Math.ceil(sortedBits[Math.floor(0.98 * (length - 1))] / 2) * 2);

// The page of `textgen inspect`: its data, from the JSON block that page.py describes.

const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const nameOf = (unit) => `${unit.layer}:${unit.unit}`;

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

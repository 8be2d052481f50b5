"use strict";
// The page of `textgen inspect`. What it shows is in the JSON block; page.py says what is in there.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const number = (count) => count.toLocaleString("en");
const nameOf = (unit) => `${unit.layer}:${unit.unit}`;

/** An element with properties and children; text becomes text nodes, so no corpus is ever markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Text with what cannot be seen made visible, for a single token. */
function visible(text) {
  const signs = { "\n": "↵", "\t": "⇥", " ": "␣", "\u00a0": "⍽" };
  const shown = text.replace(/[\n\t \u00a0]/g, (sign) => signs[sign]);
  return pictures(shown) || "·";
}

/** Control characters as their pictures. */
function pictures(text) {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (sign) =>
    String.fromCharCode(sign === "\x7f" ? 0x2421 : 0x2400 + sign.charCodeAt(0)));
}

// ---- data

const length = data.pieces.length;
const series = data.series.map((each) => ({ ...each, bytes: bytes(each.bytes) }));
const units = data.units;
const kept = units.filter((unit) => unit.row !== null).sort((a, b) => a.row - b.row);
const alternatives = {
  rows: new Uint32Array(bytes(data.alternatives.rows).buffer),
  shares: new Uint16Array(bytes(data.alternatives.shares).buffer),
};
const ends = new Set(data.documentEnds);

/** The value of a series at a token, for the unit in that row. */
function valueAt(one, row, token) {
  const code = one.bytes[row * length + token];
  return one.signed ? ((code - 128) / 127) * one.scales[row] : code / 255;
}

function expected(token) {
  const { count, tokens } = data.alternatives;
  return Array.from({ length: count }, (_, place) => ({
    text: tokens[alternatives.rows[token * count + place]],
    share: alternatives.shares[token * count + place] / 65535,
  }));
}

const label = (token) => (ends.has(token) ? "◆" : visible(data.pieces[token]));
const sortedBits = [...data.bits].sort((a, b) => a - b);
// The colour is full at what one token in fifty exceeds, so that one odd token does not pale all others.
const fullBits = Math.max(4, Math.ceil(sortedBits[Math.floor(0.98 * (length - 1))] / 2) * 2);

// ---- what is chosen

const state = { mode: "surprise", unit: kept[0], token: 0, zoom: "near", listed: units, hovered: null };
const chosenSeries = () => series.find((one) => one.name === state.mode);

// ---- colours

let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const triple = (name) => style.getPropertyValue(`--${name}`).trim().split(" ").map(Number);
  const names = ["base", "heat-gate", "heat-positive", "heat-negative", "surprise"];
  palette = Object.fromEntries(names.map((name) => [name, triple(name)]));
  for (const name of ["ink", "muted", "line", "accent"])
    palette[name] = style.getPropertyValue(`--${name}`).trim();
}

/** The colour of a token in the text: a hue, and how strong it is, 0 to 1. */
function tint(token) {
  const one = chosenSeries();
  if (!one) return ["surprise", clamp(data.bits[token] / fullBits, 0, 1)];
  if (state.unit.row === null) return ["gate", 0];
  const value = valueAt(one, state.unit.row, token);
  if (!one.signed) return ["gate", value];
  return [value < 0 ? "negative" : "positive", Math.abs(value) / (one.scales[state.unit.row] || 1)];
}

// ---- the text

const spans = data.pieces.map((piece, token) => {
  const span = make("span");
  span.dataset.token = token;
  if (piece === "") span.append(make("i", { textContent: "·" }));
  pictures(piece).split("\n").forEach((part, place) => {
    if (place) span.append(make("i", { textContent: ends.has(token) ? "◆" : "↵" }), "\n");
    span.append(part);
  });
  return span;
});

function colourText() {
  spans.forEach((span, token) => {
    const [hue, strength] = tint(token);
    span.style.backgroundColor = strength < 0.02 ? "" : `rgb(var(--${hue}) / ${strength.toFixed(3)})`;
  });
}

function drawLegend() {
  const one = chosenSeries();
  const limit = one && one.signed && state.unit.row !== null ? one.scales[state.unit.row] || 1 : 1;
  const [from, to, low, high] = !one
    ? ["transparent", "rgb(var(--surprise))", "0 bits: expected", `${fullBits} bits or more: a surprise`]
    : one.signed
      ? ["rgb(var(--negative)), transparent", "rgb(var(--positive))",
        `−${limit.toFixed(2)}`, `+${limit.toFixed(2)}`]
      : ["transparent", "rgb(var(--gate))", "0: shut", "1: open"];
  const bar = make("i");
  bar.style.background = `linear-gradient(90deg, ${from}, ${to})`;
  byId("legend").replaceChildren(low, bar, high);
  byId("explanation").textContent = one
    ? `${one.label} of unit ${nameOf(state.unit)}: ${one.meaning}.`
    : "Surprise: how many yes-or-no questions (bits) it would have taken to tell the network each token.";
}

// ---- canvases

/** A canvas ready to draw on in CSS pixels, cleared. */
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, width * ratio);
  canvas.height = Math.max(1, height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "11px system-ui, sans-serif";
  return { context, width, height };
}

function drawStrip() {
  const { context, width, height } = surface(byId("strip"));
  const one = chosenSeries();
  const values = Array.from({ length }, (_, token) =>
    one ? (state.unit.row === null ? 0 : valueAt(one, state.unit.row, token)) : data.bits[token]);
  const limit = one && one.signed && state.unit.row !== null ? one.scales[state.unit.row] || 1 : 1;
  const [low, high] = one ? [one.signed ? -limit : 0, limit] : [0, sortedBits[length - 1] || 1];
  const y = (value) => height - 8 - ((value - low) / (high - low)) * (height - 16);
  const x = (token) => ((token + 0.5) / length) * width;
  context.strokeStyle = palette.line;
  context.beginPath();
  context.moveTo(0, y(0));
  context.lineTo(width, y(0));
  context.stroke();
  const line = (points, colour, thickness) => {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.lineJoin = "round";
    context.beginPath();
    points.forEach((value, token) => context.lineTo(x(token), y(value)));
    context.stroke();
  };
  // Surprise jumps at every token: where many share a pixel, their running mean is what can be read.
  const crowded = !one && length > width;
  line(values, crowded ? palette.line : palette.ink, clamp((1.2 * width) / length, 0.6, 1.6));
  if (crowded) line(runningMean(values, Math.round((4 * length) / width)), palette.ink, 1.4);
  context.fillStyle = palette.accent;
  context.fillRect(x(state.token) - 1, 0, 2, height);
  const onLeft = state.token > 0.8 * length; // the scale keeps clear of the cursor
  for (const [value, bottom] of [[high, 14], [low, height - 5]]) {
    const text = one ? value.toFixed(2) : `${value.toFixed(1)} bits`;
    const wide = context.measureText(text).width;
    const left = onLeft ? 6 : width - wide - 6;
    context.fillStyle = `rgb(${palette.base.join(" ")} / .8)`;
    context.fillRect(left - 3, bottom - 10, wide + 6, 13);
    context.fillStyle = palette.muted;
    context.fillText(text, left, bottom);
  }
  byId("strip").setAttribute("aria-label", one
    ? `${one.label} of unit ${nameOf(state.unit)} over the text` : "Surprise in bits over the text");
}

/** The mean of the values up to so far on either side of each. */
function runningMean(values, reach) {
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, place) => {
    const [first, last] = [Math.max(place - reach, 0), Math.min(place + reach + 1, values.length)];
    return (sums[last] - sums[first]) / (last - first);
  });
}

const ROW = 4; // height of a unit in a heat map
const AXIS = 18; // room for the characters above it

/** Which tokens the heat maps show. */
function view(width) {
  const mean = data.pieces.reduce((sum, piece) => sum + Math.max(piece.length, 1), 0) / length;
  const column = { near: clamp(7 * mean + 4, 11, 60), far: 3, all: width / length }[state.zoom];
  const count = clamp(Math.floor(width / column), 1, length);
  return { first: clamp(state.token - (count >> 1), 0, length - count), count, column: width / count };
}

/** A heat map with one pixel a unit and token. */
function heatImage(one, first, count) {
  const image = new ImageData(count, kept.length);
  for (let row = 0; row < kept.length; row++) {
    const scale = one.signed ? one.scales[row] || 1 : 1;
    for (let place = 0; place < count; place++) {
      const value = valueAt(one, row, first + place) / scale;
      const colour = palette[one.signed ? (value < 0 ? "heat-negative" : "heat-positive") : "heat-gate"];
      const strength = Math.abs(value);
      const pixel = 4 * (row * count + place);
      palette.base.forEach((base, channel) => {
        image.data[pixel + channel] = base + (colour[channel] - base) * strength;
      });
      image.data[pixel + 3] = 255;
    }
  }
  const whole = make("canvas", { width: count, height: kept.length });
  whole.getContext("2d").putImageData(image, 0, 0);
  return whole;
}

function drawHeat(one) {
  const { context, width, height } = surface(one.canvas);
  const { first, count, column } = view(width);
  const key = `${first} ${count} ${palette.ink}`;
  if (one.key !== key) [one.key, one.image] = [key, heatImage(one, first, count)];
  context.imageSmoothingEnabled = column < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(one.image, 0, AXIS, width, height - AXIS);
  context.textAlign = "center";
  context.fillStyle = palette.muted;
  if (column >= 9) {
    context.font = "11px ui-monospace, Menlo, Consolas, monospace";
    for (let place = 0; place < count; place++) {
      context.fillStyle = first + place === state.token ? palette.accent : palette.muted;
      const fitting = label(first + place).slice(0, Math.max(1, (column - 2) / 6.7));
      context.fillText(fitting, (place + 0.5) * column, 13);
    }
  }
  context.strokeStyle = palette.accent;
  context.lineWidth = 1.5;
  context.strokeRect((state.token - first) * column, AXIS - 2, Math.max(column, 2), height - AXIS + 2);
  if (state.unit.row !== null) context.strokeRect(0, AXIS + state.unit.row * ROW - 1, width, ROW + 2);
}

const EDGE = 46; // of a scatter: room for its axes
function drawScatter(gate) {
  const { context, width, height } = surface(gate.canvas);
  const x = (share) => EDGE + share * (width - EDGE - 12);
  const y = (share) => height - EDGE - share * (height - EDGE - 12);
  context.strokeStyle = palette.line;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    context.beginPath();
    context.moveTo(x(share), y(0));
    context.lineTo(x(share), y(1 - share));
    context.moveTo(x(0), y(share));
    context.lineTo(x(1 - share), y(share));
    context.stroke();
  }
  context.beginPath();
  context.moveTo(x(0), y(1));
  context.lineTo(x(1), y(0));
  context.stroke();
  context.fillStyle = palette.muted;
  context.textAlign = "center";
  for (const share of [0, 0.5, 1]) {
    context.fillText(`${100 * share} %`, x(share) - (share === 1 ? 6 : 0), height - EDGE + 14);
  }
  context.textAlign = "right";
  for (const share of [0.5, 1]) context.fillText(`${100 * share} %`, EDGE - 5, y(share) + 4);
  context.textAlign = "center";
  context.fillText("of the tokens shut (below 0.1)", x(0.5), height - 5);
  context.save();
  context.translate(12, y(0.75));
  context.rotate(-Math.PI / 2);
  context.fillText("open (above 0.9)", 0, 0);
  context.restore();
  gate.points = units.map((unit) => {
    const [shut, open] = unit.gates[gate.index];
    return { unit, x: x(shut), y: y(open) };
  });
  for (const point of gate.points) {
    context.beginPath();
    context.arc(point.x, point.y, 2.6, 0, 2 * Math.PI);
    context.fillStyle = context.strokeStyle = palette.ink;
    // Layers are told apart by how full their dots are.
    context.globalAlpha = data.layers === 1 ? 0.5 : 0.15 + (0.6 * (point.unit.layer + 1)) / data.layers;
    context.fill();
    context.globalAlpha = 0.5;
    context.lineWidth = 0.7;
    context.stroke();
  }
  context.globalAlpha = 1;
  const chosen = gate.points.find((point) => point.unit === state.unit);
  context.strokeStyle = palette.accent;
  context.lineWidth = 2.5;
  context.beginPath();
  context.arc(chosen.x, chosen.y, 6, 0, 2 * Math.PI);
  context.stroke();
}

// ---- units

const rowsOfList = units.map((unit) => {
  const fill = make("i");
  fill.style.width = `${100 * unit.share}%`;
  const button = make("button", { type: "button", onclick: () => chooseUnit(unit) },
    make("span", { className: "name", textContent: nameOf(unit) }),
    make("span", { className: unit.row === null ? "brief" : "", textContent: unit.follows }),
    make("span", { className: "meter" }, fill),
    make("span", { className: "share", textContent: percent(unit.share) }));
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `unit ${nameOf(unit)}: ${unit.follows}, ${percent(unit.share)}`);
  return make("li", {}, button);
});
const rowOf = new Map(units.map((unit, place) => [unit, rowsOfList[place]]));

function filterUnits() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const fits = (unit) => /^\d+$/.test(wanted)
    ? String(unit.unit) === wanted : `${nameOf(unit)} ${unit.follows}`.toLowerCase().includes(wanted);
  state.listed = units.filter(fits);
  rowsOfList.forEach((row, place) => { row.hidden = !fits(units[place]); });
  byId("count").textContent = `${number(state.listed.length)} of ${number(units.length)} units`;
}

/** A place where a unit fires, with what stands around it. */
function contextButton(token, kind) {
  const around = (first, last) =>
    data.pieces.slice(Math.max(first, 0), Math.max(last, 0)).join("").replace(/\s+/g, " ");
  const before = around(token - 30, token).slice(-30);
  const after = around(token + 1, token + 30).slice(0, 30);
  const button = make("button", { type: "button", className: kind, onclick: () => moveTo(token, true) },
    make("bdi", {}, before.padStart(30), make("mark", { textContent: label(token) }), after));
  button.setAttribute("aria-label", `token ${token}: ${before}${label(token)}${after}`);
  return button;
}

function gateBars(unit) {
  const bars = make("div", { className: "bars" });
  data.gates.forEach((gate, index) => {
    const [shut, open] = unit.gates[index];
    const parts = { shut, between: 1 - shut - open, open };
    const bar = make("span", { className: "bar" });
    for (const [name, share] of Object.entries(parts)) {
      const part = make("i", { className: name });
      part.style.width = `${100 * share}%`;
      bar.append(part);
    }
    const shares = `${percent(shut)} shut, ${percent(open)} open`;
    bars.append(make("span", { textContent: gate.label }), bar, make("span", { textContent: shares }));
  });
  return bars;
}

function showCard() {
  const unit = state.unit;
  const follows = make("b", { textContent: unit.follows });
  const parts = [make("h3", {}, `Unit ${nameOf(unit)}: `, follows, `, ${percent(unit.share)}`)];
  if (unit.row === null)
    parts.push(make("p", { className: "note", textContent:
      `Only these figures of it are here; textgen inspect --units ${nameOf(unit)} shows its full course.` }));
  if (data.gates.length) parts.push(gateBars(unit));
  const list = make("div", { className: "contexts" });
  list.append(
    make("h4", { textContent: `Where its ${data.memory} is highest` }),
    ...unit.high.map((token) => contextButton(token, "high")),
    make("h4", { textContent: "Where it is lowest" }),
    ...unit.low.map((token) => contextButton(token, "low")));
  byId("card").replaceChildren(...parts, list);
}

// ---- a token's numbers

function numbersOf(token) {
  const bits = `${data.bits[token].toFixed(2)} bits`;
  if (state.unit.row === null) return [bits];
  const one = chosenSeries() ?? series.find((each) => each.name === data.memoryName);
  return [bits, `${one.label} of ${nameOf(state.unit)}: ${valueAt(one, state.unit.row, token).toFixed(2)}`];
}

function showDetail(token, anchor) {
  const box = byId("detail");
  const [bits, ...values] = numbersOf(token);
  const bars = make("div", { className: "bars" });
  for (const { text, share } of expected(token)) {
    const came = text === data.names[token] ? "came" : "";
    const bar = make("i");
    bar.style.width = `${100 * share}%`;
    bars.append(make("bdi", { className: came, textContent: visible(text) }), make("span", {}, bar),
      make("span", { className: `share ${came}`, textContent: percent(share) }));
  }
  const close = make("button", { type: "button", textContent: "×", onclick: hideDetail });
  close.setAttribute("aria-label", "Close");
  box.replaceChildren(
    make("div", { className: "what" },
      make("bdi", { textContent: visible(data.names[token]) }), make("span", { textContent: bits })),
    make("div", { className: "note", textContent: `probability ${probability(token)}; what it expected:` }),
    bars,
    ...values.map((value) => make("p", { textContent: value })), close);
  box.hidden = false;
  const place = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  const left = clamp(place.left + (place.width - width) / 2, 8, document.documentElement.clientWidth - width - 8);
  const above = place.bottom + 10 + height > window.innerHeight && place.top > height + 10;
  box.style.left = `${window.scrollX + left}px`;
  box.style.top = `${window.scrollY + (above ? place.top - height - 10 : place.bottom + 10)}px`;
}

function probability(token) {
  const share = 2 ** -data.bits[token];
  return share >= 0.001 ? percent(share) : `one chance in ${number(Math.round(1 / share))}`;
}

function hideDetail() {
  byId("detail").hidden = true;
}

function sayAloud(token) {
  const most = expected(token).slice(0, 3).map(({ text, share }) => `${visible(text)} ${percent(share)}`);
  byId("live").textContent = `${label(token)}: ${numbersOf(token).join(", ")}. Expected: ${most.join(", ")}`;
}

// ---- moving

function scrollToToken(token) {
  const text = byId("text");
  const [box, span] = [text.getBoundingClientRect(), spans[token].getBoundingClientRect()];
  if (span.top < box.top + 30 || span.bottom > box.bottom - 30)
    text.scrollTop += span.top - box.top - text.clientHeight / 2;
}

function moveTo(token, show) {
  spans[state.token].classList.remove("cursor");
  state.token = clamp(token, 0, length - 1);
  spans[state.token].classList.add("cursor");
  scrollToToken(state.token);
  drawStrip();
  series.forEach(drawHeat);
  if (!show) return;
  showDetail(state.token, spans[state.token]);
  sayAloud(state.token);
}

function chooseUnit(unit, follow = true) {
  rowOf.get(state.unit).firstChild.setAttribute("aria-pressed", "false");
  state.unit = unit;
  const button = rowOf.get(unit).firstChild;
  button.setAttribute("aria-pressed", "true");
  const list = byId("units");
  const top = rowOf.get(unit).offsetTop - list.offsetTop;
  if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 40)
    list.scrollTop = top - list.clientHeight / 2;
  if (follow && state.mode === "surprise") state.mode = data.memoryName;
  hideDetail();
  redraw();
}

function nextUnit(step) {
  const place = state.listed.indexOf(state.unit);
  const next = state.listed[clamp(place + step, 0, state.listed.length - 1)];
  if (next) chooseUnit(next);
}

function chooseMode(mode) {
  state.mode = mode;
  redraw();
}

function redraw() {
  for (const [group, chosen] of [["modes", state.mode], ["zooms", state.zoom]])
    for (const button of byId(group).children)
      button.setAttribute("aria-pressed", String(button.value === chosen));
  colourText();
  drawLegend();
  showCard();
  drawStrip();
  series.forEach(drawHeat);
  data.gates.forEach(drawScatter);
}

/** Move to the next place of what is looked for, upper case or lower; after the last comes the first. */
function findNext() {
  const field = byId("query");
  const wanted = field.value.toLowerCase();
  if (!wanted) return;
  const pieces = data.pieces.map((piece) => piece.toLowerCase());
  const starts = [0]; // of each token, in characters
  for (const piece of pieces) starts.push(starts[starts.length - 1] + piece.length);
  const text = pieces.join("");
  let found = text.indexOf(wanted, starts[state.token + 1]);
  if (found < 0) found = text.indexOf(wanted);
  if (found < 0) {
    field.setCustomValidity("not in this text");
    field.reportValidity();
    return;
  }
  moveTo(starts.findIndex((_, token) => starts[token + 1] > found), true);
}

// ---- hands on it

function tokenOf(event) {
  const span = event.target.closest("span[data-token]");
  return span ? Number(span.dataset.token) : null;
}

function wireText() {
  const text = byId("text");
  text.addEventListener("pointermove", (event) => {
    const token = event.pointerType === "mouse" ? tokenOf(event) : null;
    if (token !== null && token !== state.hovered) showDetail(token, spans[token]);
    state.hovered = token;
  });
  text.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "mouse") return;
    state.hovered = null;
    hideDetail();
  });
  text.addEventListener("click", (event) => {
    const token = tokenOf(event);
    if (token !== null && getSelection().isCollapsed) moveTo(token, true);
  });
  text.addEventListener("scroll", () => {
    if (state.hovered !== null) hideDetail();
  });
}

function wireStrip() {
  const strip = byId("strip");
  strip.addEventListener("click", (event) => {
    moveTo(Math.floor((event.offsetX / strip.clientWidth) * length), true);
  });
}

function wireHeat(one) {
  const place = (event) => {
    const { first, count, column } = view(one.canvas.clientWidth);
    const row = Math.floor((event.offsetY - AXIS) / ROW);
    const token = clamp(first + Math.floor(event.offsetX / column), first, first + count - 1);
    return { token, unit: kept[row] };
  };
  const read = (event) => {
    const { token, unit } = place(event);
    one.readout.textContent = unit
      ? `${label(token)} in unit ${nameOf(unit)}: ${valueAt(one, unit.row, token).toFixed(2)}` : one.meaning;
  };
  one.canvas.addEventListener("pointermove", read);
  one.canvas.addEventListener("pointerleave", () => { one.readout.textContent = one.meaning; });
  one.canvas.addEventListener("click", (event) => {
    const { token, unit } = place(event);
    state.mode = one.name;
    if (unit) chooseUnit(unit);
    moveTo(token, false);
    read(event);
  });
}

function wireScatter(gate) {
  const nearest = (event) => gate.points.reduce((best, point) => {
    const distance = Math.hypot(point.x - event.offsetX, point.y - event.offsetY);
    return distance < best.distance ? { distance, unit: point.unit } : best;
  }, { distance: 24, unit: null }).unit;
  gate.canvas.addEventListener("pointermove", (event) => {
    const unit = nearest(event);
    const [shut, open] = unit ? unit.gates[gate.index] : [];
    gate.readout.textContent = unit ? `${nameOf(unit)}: ${percent(shut)} shut, ${percent(open)} open` : "";
  });
  gate.canvas.addEventListener("click", (event) => {
    const unit = nearest(event);
    if (unit) chooseUnit(unit, false);
  });
}

function wireKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { hideDetail(); return; }
    if (event.target.matches("input")) return;
    const inside = event.target.closest("#text, #units, canvas");
    const step = event.shiftKey ? 10 : 1;
    const actions = {
      ArrowLeft: () => moveTo(state.token - step, true),
      ArrowRight: () => moveTo(state.token + step, true),
      "/": () => byId("query").focus(),
    };
    if (inside) Object.assign(actions, {
      ArrowUp: () => nextUnit(-step),
      ArrowDown: () => nextUnit(step),
      Home: () => moveTo(0, true),
      End: () => moveTo(length - 1, true),
    });
    const mode = ["surprise", ...series.map((one) => one.name)][Number(event.key) - 1];
    const action = actions[event.key] ?? (mode ? () => chooseMode(mode) : null);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// ---- building the page

function choice(group, value, text, act) {
  group.append(make("button", { type: "button", value, textContent: text, onclick: act }));
}

function build() {
  byId("summary").append(`How a `, make("b", { textContent: data.network }), ` network reads `,
    make("b", { textContent: data.source }), `: ${data.size}, `,
    make("b", { textContent: `${data.bitsPerCharacter.toFixed(2)} bits per character` }), ".");
  byId("short").hidden = !data.isShort;
  choice(byId("modes"), "surprise", "Surprise", () => chooseMode("surprise"));
  for (const one of series) choice(byId("modes"), one.name, one.label, () => chooseMode(one.name));
  const zooms = { near: "Close up", far: "Wider", all: "Whole text" };
  for (const [zoom, text] of Object.entries(zooms))
    choice(byId("zooms"), zoom, text, () => {
      state.zoom = zoom;
      redraw();
    });
  byId("text").append(...spans);
  byId("units").append(...rowsOfList);
  byId("gates-title").textContent = data.gates.length ? "Gates and states" : "States";
  byId("shown").textContent = `${number(kept.length)} of ${number(units.length)}`;
  byId("no-gates").hidden = data.gates.length > 0;
  for (const one of series) {
    one.canvas = make("canvas", { tabIndex: 0 });
    one.canvas.style.height = `${AXIS + ROW * kept.length + 2}px`;
    one.canvas.setAttribute("role", "img");
    one.canvas.setAttribute("aria-label", `${one.label}: a heat map of ${kept.length} units over the text`);
    one.readout = make("small", { textContent: one.meaning });
    byId("heats").append(make("figure", {}, make("figcaption", {}, one.label, one.readout), one.canvas));
    wireHeat(one);
  }
  byId("saturation").hidden = !data.gates.length;
  byId("layers").hidden = data.layers === 1;
  data.gates.forEach((gate, index) => {
    gate.index = index;
    gate.canvas = make("canvas", { tabIndex: 0 });
    gate.canvas.setAttribute("role", "img");
    gate.canvas.setAttribute("aria-label", `${gate.label}: how often it is shut and open, a dot for each unit`);
    gate.readout = make("small");
    const caption = make("figcaption", {}, gate.label, gate.readout);
    byId("scatters").append(make("figure", {}, caption, gate.canvas));
    wireScatter(gate);
  });
  byId("memory").textContent = data.memory;
  for (const { name, meaning } of data.features)
    byId("features").append(make("dt", { textContent: name }), make("dd", { textContent: meaning }));
  byId("filter").addEventListener("input", filterUnits);
  byId("query").addEventListener("input", () => byId("query").setCustomValidity(""));
  byId("find").addEventListener("submit", (event) => { event.preventDefault(); findNext(); });
  byId("main").hidden = false;
  filterUnits();
  readPalette();
  chooseUnit(kept[0], false);
  moveTo(0, false);
  wireText();
  wireStrip();
  wireKeys();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); redraw(); });
  new ResizeObserver(redraw).observe(byId("heats"));
}

build();

// The text, the units, the details of a token, navigation and events.

// ---- state of the page

const state = { mode: "surprisal", unit: shownUnits[0], token: 0, zoom: "near", listed: units, hovered: null };
const selectedSeries = () => series.find((one) => one.name === state.mode);

// ---- colours

let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const triple = (name) => style.getPropertyValue(`--${name}`).trim().split(" ").map(Number);
  const names = ["base", "heat-gate", "heat-positive", "heat-negative", "surprisal"];
  palette = Object.fromEntries(names.map((name) => [name, triple(name)]));
  for (const name of ["ink", "muted", "line", "accent"])
    palette[name] = style.getPropertyValue(`--${name}`).trim();
}

/** The background of a token in the text: the name of a colour and its opacity, 0 to 1. */
function background(token) {
  const one = selectedSeries();
  if (!one) return ["surprisal", clamp(data.bits[token] / fullBits, 0, 1)];
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
  controlPictures(piece).split("\n").forEach((part, place) => {
    if (place) span.append(make("i", { textContent: documentEnds.has(token) ? "◆" : "↵" }), "\n");
    span.append(part);
  });
  return span;
});

function colourText() {
  spans.forEach((span, token) => {
    const [colour, opacity] = background(token);
    span.style.backgroundColor = opacity < 0.02 ? "" : `rgb(var(--${colour}) / ${opacity.toFixed(3)})`;
  });
}

function drawLegend() {
  const one = selectedSeries();
  const limit = one && one.signed && state.unit.row !== null ? one.scales[state.unit.row] || 1 : 1;
  const [from, to, low, high] = !one
    ? ["transparent", "rgb(var(--surprisal))", "0 bits: certain", `${fullBits} bits or more: unlikely`]
    : one.signed
      ? ["rgb(var(--negative)), transparent", "rgb(var(--positive))",
        `−${limit.toFixed(2)}`, `+${limit.toFixed(2)}`]
      : ["transparent", "rgb(var(--gate))", "0: shut", "1: open"];
  const bar = make("i");
  bar.style.background = `linear-gradient(90deg, ${from}, ${to})`;
  byId("legend").replaceChildren(low, bar, high);
  byId("explanation").textContent = one
    ? `${one.label} of unit ${nameOf(state.unit)}: ${one.meaning}.`
    : "Surprisal: how unexpected each token was, in bits. 1 bit means that it had a probability of 1/2, 2 bits 1/4, "
      + "3 bits 1/8.";
}

// ---- units

const unitRows = units.map((unit) => {
  const fill = make("i");
  fill.style.width = `${100 * unit.share}%`;
  const button = make("button", { type: "button", onclick: () => selectUnit(unit) },
    make("span", { className: "name", textContent: nameOf(unit) }),
    make("span", { className: unit.row === null ? "summary" : "", textContent: unit.feature }),
    make("span", { className: "meter" }, fill),
    make("span", { className: "share", textContent: percent(unit.share) }));
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `unit ${nameOf(unit)}: ${unit.feature}, ${percent(unit.share)}`);
  return make("li", {}, button);
});
const rowOf = new Map(units.map((unit, place) => [unit, unitRows[place]]));

function filterUnits() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const fits = (unit) => /^\d+$/.test(wanted)
    ? String(unit.unit) === wanted : `${nameOf(unit)} ${unit.feature}`.toLowerCase().includes(wanted);
  state.listed = units.filter(fits);
  unitRows.forEach((row, place) => { row.hidden = !fits(units[place]); });
  byId("count").textContent = `${number(state.listed.length)} of ${number(units.length)} units`;
}

/** A button for a place where the state of a unit peaks, with the text around it. */
function peakButton(token, kind) {
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
  const feature = make("b", { textContent: unit.feature });
  const parts = [make("h3", {}, `Unit ${nameOf(unit)}: `, feature, `, ${percent(unit.share)}`)];
  if (unit.row === null)
    parts.push(make("p", { className: "note", textContent:
      `This page has only a summary of this unit. To see it at every token, run textgen inspect --units `
      + `${nameOf(unit)}.` }));
  if (data.gates.length) parts.push(gateBars(unit));
  const list = make("div", { className: "peaks" });
  list.append(
    make("h4", { textContent: `Where its ${data.stateLabel} is highest` }),
    ...unit.high.map((token) => peakButton(token, "high")),
    make("h4", { textContent: "Where it is lowest" }),
    ...unit.low.map((token) => peakButton(token, "low")));
  byId("card").replaceChildren(...parts, list);
}

// ---- the details of a token

/** The surprisal of a token and, if there is one, the selected value of the selected unit, as texts. */
function figuresOf(token) {
  const bits = `${data.bits[token].toFixed(2)} bits`;
  if (state.unit.row === null) return [bits];
  const one = selectedSeries() ?? series.find((each) => each.name === data.stateName);
  return [bits, `${one.label} of ${nameOf(state.unit)}: ${valueAt(one, state.unit.row, token).toFixed(2)}`];
}

function showDetail(token, anchor) {
  const box = byId("detail");
  const [bits, ...values] = figuresOf(token);
  const bars = make("div", { className: "bars" });
  for (const { text, probability } of expected(token)) {
    const actual = text === data.names[token] ? "actual" : "";
    const bar = make("i");
    bar.style.width = `${100 * probability}%`;
    bars.append(make("bdi", { className: actual, textContent: visible(text) }), make("span", {}, bar),
      make("span", { className: `share ${actual}`, textContent: percent(probability) }));
  }
  const close = make("button", { type: "button", textContent: "×", onclick: hideDetail });
  close.setAttribute("aria-label", "Close");
  box.replaceChildren(
    make("div", { className: "heading" },
      make("bdi", { textContent: visible(data.names[token]) }), make("span", { textContent: bits })),
    make("div", { className: "note", textContent: `Probability ${likelihood(2 ** -data.bits[token])}. Most likely here:` }),
    bars,
    ...values.map((value) => make("p", { textContent: value })), close);
  placeNear(box, anchor);
}

function hideDetail() {
  byId("detail").hidden = true;
}

/** Tell screen readers about a token. */
function announce(token) {
  const most = expected(token).slice(0, 3)
    .map(({ text, probability }) => `${visible(text)} ${percent(probability)}`);
  byId("live").textContent = `${label(token)}: ${figuresOf(token).join(", ")}. Most likely: ${most.join(", ")}`;
}

// ---- navigation

function scrollToToken(token) {
  const text = byId("text");
  const [box, span] = [text.getBoundingClientRect(), spans[token].getBoundingClientRect()];
  if (span.top < box.top + 30 || span.bottom > box.bottom - 30)
    text.scrollTop += span.top - box.top - text.clientHeight / 2;
}

/** Move the cursor to a token, and show its details if `show` is true. */
function moveTo(token, show) {
  spans[state.token].classList.remove("cursor");
  state.token = clamp(token, 0, length - 1);
  spans[state.token].classList.add("cursor");
  scrollToToken(state.token);
  drawStrip();
  series.forEach(drawHeat);
  if (!show) return;
  showDetail(state.token, spans[state.token]);
  announce(state.token);
}

/** Select a unit; colourByState also colours the text by its state instead of by surprisal. */
function selectUnit(unit, colourByState = true) {
  rowOf.get(state.unit).firstChild.setAttribute("aria-pressed", "false");
  state.unit = unit;
  const button = rowOf.get(unit).firstChild;
  button.setAttribute("aria-pressed", "true");
  const list = byId("units");
  const top = rowOf.get(unit).offsetTop - list.offsetTop;
  if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - 40)
    list.scrollTop = top - list.clientHeight / 2;
  if (colourByState && state.mode === "surprisal") state.mode = data.stateName;
  hideDetail();
  redraw();
}

function nextUnit(step) {
  const index = state.listed.indexOf(state.unit);
  const next = state.listed[clamp(index + step, 0, state.listed.length - 1)];
  if (next) selectUnit(next);
}

function selectMode(mode) {
  state.mode = mode;
  redraw();
}

function redraw() {
  for (const [group, selected] of [["modes", state.mode], ["zooms", state.zoom]])
    for (const button of byId(group).children)
      button.setAttribute("aria-pressed", String(button.value === selected));
  colourText();
  drawLegend();
  showCard();
  drawStrip();
  series.forEach(drawHeat);
  data.gates.forEach(drawScatter);
}

/** Move to the next match of the search, ignoring case; after the last match comes the first. */
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
    field.setCustomValidity("not found in this text");
    field.reportValidity();
    return;
  }
  moveTo(starts.findIndex((_, token) => starts[token + 1] > found), true);
}

// ---- events

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
    return { token, unit: shownUnits[row] };
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
    if (unit) selectUnit(unit);
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
    if (unit) selectUnit(unit, false);
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
    const mode = ["surprisal", ...series.map((one) => one.name)][Number(event.key) - 1];
    const action = actions[event.key] ?? (mode ? () => selectMode(mode) : null);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// ---- building the page

function addChoice(group, value, text, onclick) {
  group.append(make("button", { type: "button", value, textContent: text, onclick }));
}

function build() {
  byId("summary").append("A ", make("b", { textContent: data.network }), " network reads ",
    make("b", { textContent: data.source }), `: ${data.size}, `,
    make("b", { textContent: `${data.bitsPerCharacter.toFixed(2)} bits per character` }), ".");
  byId("short").hidden = !data.isShort;
  addChoice(byId("modes"), "surprisal", "Surprisal", () => selectMode("surprisal"));
  for (const one of series) addChoice(byId("modes"), one.name, one.label, () => selectMode(one.name));
  const zooms = { near: "Close up", far: "Zoomed out", all: "Whole text" };
  for (const [zoom, text] of Object.entries(zooms))
    addChoice(byId("zooms"), zoom, text, () => {
      state.zoom = zoom;
      redraw();
    });
  byId("text").append(...spans);
  byId("units").append(...unitRows);
  byId("gates-title").textContent = data.gates.length ? "Gates and states" : "States";
  byId("shown").textContent = `${number(shownUnits.length)} of ${number(units.length)}`;
  byId("no-gates").hidden = data.gates.length > 0;
  for (const one of series) {
    one.canvas = make("canvas", { tabIndex: 0 });
    one.canvas.style.height = `${AXIS + ROW * shownUnits.length + 2}px`;
    one.canvas.setAttribute("role", "img");
    one.canvas.setAttribute("aria-label", `${one.label}: a heat map of ${shownUnits.length} units over the text`);
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
    gate.canvas.setAttribute("aria-label", `${gate.label}: how often it is shut and open, one dot per unit`);
    gate.readout = make("small");
    const caption = make("figcaption", {}, gate.label, gate.readout);
    byId("scatters").append(make("figure", {}, caption, gate.canvas));
    wireScatter(gate);
  });
  byId("state-label").textContent = data.stateLabel;
  for (const { name, meaning } of data.features)
    byId("features").append(make("dt", { textContent: name }), make("dd", { textContent: meaning }));
  byId("filter").addEventListener("input", filterUnits);
  byId("query").addEventListener("input", () => byId("query").setCustomValidity(""));
  byId("find").addEventListener("submit", (event) => { event.preventDefault(); findNext(); });
  byId("main").hidden = false;
  filterUnits();
  readPalette();
  selectUnit(shownUnits[0], false);
  moveTo(0, false);
  wireText();
  wireStrip();
  wireKeys();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readPalette(); redraw(); });
  new ResizeObserver(redraw).observe(byId("heats"));
}

build();

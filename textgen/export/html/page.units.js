// What the units hold while the network reads what is typed: all of them after one token, and one of them over the
// text. A unit's value is its cell state in an LSTM, else its hidden state, as in `textgen inspect`.

const UNIT_SIZE = 12; // pixels of a unit in the picture

const units = {
  values: [], // of all units, layer by layer, after each token
  scales: [], // the largest size of each unit in the text
  chosen: 0,
  colourText: false, // by the chosen unit, not by surprisal

  get size() { return data.config.hidden_size; },
  get count() { return this.size * data.config.num_layers; },
  get columns() { return Math.min(this.size, Math.max(1, Math.floor(byId("units").clientWidth / UNIT_SIZE))); },
  /** The token that the picture is of: the one that is pointed at, or else the last. */
  get token() { return reading.place ?? this.values.length - 1; },

  /** A unit's name, as `textgen inspect` writes it. */
  name(unit) { return `${Math.floor(unit / this.size)}:${unit % this.size}`; },

  /** A unit's value after a token as the name of a colour and its strength, 0 to 1, which is 1 at the unit's largest. */
  colour(unit, token) {
    const value = this.values[token][unit];
    return [value < 0 ? "negative" : "positive", this.scales[unit] ? Math.abs(value) / this.scales[unit] : 0];
  },
};

/** What all units hold now, (L * H). */
function unitValues({ layers, config }) {
  const values = new Float32Array(layers.length * config.hidden_size);
  const name = config.cell === "lstm" ? "cell" : "hidden";
  layers.forEach(({ state }, layer) => values.set(state[name], layer * config.hidden_size));
  return values;
}

/** Take what was recorded of a text, and show it. */
function showUnits(values) {
  units.values = values;
  units.scales = new Float32Array(units.count);
  for (const each of values) {
    for (let unit = 0; unit < each.length; unit++) units.scales[unit] = Math.max(units.scales[unit], Math.abs(each[unit]));
  }
  colourReading();
  drawUnits();
}

/** Colour what was typed by surprisal, or by the chosen unit. */
function colourReading() {
  [...byId("read").children].forEach((span, place) => {
    if (units.colourText) paint(span, ...units.colour(units.chosen, place));
    else paint(span, "surprisal", reading.tokens[place].bits / FULL_BITS);
  });
  byId("by-surprisal").setAttribute("aria-pressed", String(!units.colourText));
  byId("by-unit").setAttribute("aria-pressed", String(units.colourText));
}

/** Draw each unit after the token, every layer from a new row on, and say the value of the chosen one. */
function drawUnits() {
  const canvas = byId("units");
  const { columns, size, chosen, token } = units;
  const rows = Math.ceil(size / columns);
  canvas.style.height = `${rows * data.config.num_layers * UNIT_SIZE + 2}px`;
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  for (let unit = 0; unit < units.count; unit++) {
    const [x, y] = [((unit % size) % columns) * UNIT_SIZE, rowOf(unit, rows, columns) * UNIT_SIZE];
    const [colour, strength] = token < 0 ? ["positive", 0] : units.colour(unit, token);
    context.fillStyle = `rgb(${style.getPropertyValue(`--heat-${colour}`)} / ${(0.06 + 0.94 * strength).toFixed(3)})`;
    context.fillRect(x + 2, y + 2, UNIT_SIZE - 2, UNIT_SIZE - 2);
    if (unit !== chosen) continue;
    context.strokeStyle = style.color;
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, UNIT_SIZE, UNIT_SIZE);
  }
  const value = token < 0 ? "" : `: ${units.values[token][chosen].toFixed(2)} after ${visible(reading.tokens[token].text)}`;
  byId("unit-value").textContent = `Unit ${units.name(chosen)}${value}`;
  canvas.setAttribute("aria-label", `The units after one token. ${byId("unit-value").textContent}`);
}

const rowOf = (unit, rows, columns) =>
  Math.floor(unit / units.size) * rows + Math.floor((unit % units.size) / columns);

/** Choose a unit, and colour the text by it. */
function chooseUnit(unit) {
  units.chosen = unit;
  units.colourText = true;
  byId("unit").value = units.name(unit);
  colourReading();
  drawUnits();
}

/** Choose the unit that is typed, as layer:unit, or as its number in the first layer. */
function readUnit() {
  const [, layer = "0", unit] = /^\s*(?:(\d+):)?(\d+)\s*$/.exec(byId("unit").value) ?? [];
  if (unit !== undefined && Number(layer) < data.config.num_layers && Number(unit) < units.size) {
    chooseUnit(Number(layer) * units.size + Number(unit));
  } else {
    byId("unit-value").textContent = `There is no such unit: they are ${units.name(0)} to ${units.name(units.count - 1)}.`;
  }
}

function wireUnits() {
  const canvas = byId("units");
  byId("unit").value = units.name(0);
  byId("unit").addEventListener("input", readUnit);
  byId("by-unit").addEventListener("click", () => chooseUnit(units.chosen));
  byId("by-surprisal").addEventListener("click", () => {
    units.colourText = false;
    colourReading();
  });
  canvas.addEventListener("click", ({ offsetX, offsetY }) => {
    const { columns, size } = units;
    const rows = Math.ceil(size / columns);
    const [column, row] = [Math.floor(offsetX / UNIT_SIZE), Math.floor(offsetY / UNIT_SIZE)];
    const place = (row % rows) * columns + column;
    const unit = Math.floor(row / rows) * size + place;
    if (column < columns && place < size && unit < units.count) chooseUnit(unit);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -units.columns, ArrowDown: units.columns }[event.key];
    if (!step) return;
    event.preventDefault();
    chooseUnit(clamp(units.chosen + step, 0, units.count - 1));
  });
  window.addEventListener("resize", drawUnits);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawUnits);
}


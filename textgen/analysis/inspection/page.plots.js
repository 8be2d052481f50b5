// The plots of the page: the strip, the heat maps and the scatter plots.

/** Clear a canvas and return its context, scaled so that drawing is in CSS pixels. */
function prepare(canvas) {
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
  const { context, width, height } = prepare(byId("strip"));
  const one = selectedSeries();
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
  // Surprisal jumps from token to token: where several share a pixel, show their running mean as well.
  const crowded = !one && length > width;
  line(values, crowded ? palette.line : palette.ink, clamp((1.2 * width) / length, 0.6, 1.6));
  if (crowded) line(runningMean(values, Math.round((4 * length) / width)), palette.ink, 1.4);
  context.fillStyle = palette.accent;
  context.fillRect(x(state.token) - 1, 0, 2, height);
  const onLeft = state.token > 0.8 * length; // keep the scale away from the cursor
  for (const [value, bottom] of [[high, 14], [low, height - 5]]) {
    const text = one ? value.toFixed(2) : `${value.toFixed(1)} bits`;
    const textWidth = context.measureText(text).width;
    const left = onLeft ? 6 : width - textWidth - 6;
    context.fillStyle = `rgb(${palette.base.join(" ")} / .8)`;
    context.fillRect(left - 3, bottom - 10, textWidth + 6, 13);
    context.fillStyle = palette.muted;
    context.fillText(text, left, bottom);
  }
  byId("strip").setAttribute("aria-label", one
    ? `${one.label} of unit ${nameOf(state.unit)} over the text` : "Surprisal in bits over the text");
}

/** The mean over each value and `reach` values on either side of it. */
function runningMean(values, reach) {
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, place) => {
    const [first, last] = [Math.max(place - reach, 0), Math.min(place + reach + 1, values.length)];
    return (sums[last] - sums[first]) / (last - first);
  });
}

// Of a heat map, in pixels:
const ROW = 4; // height of a unit
const AXIS = 18; // height of the line of tokens above the units

/** Which tokens the heat maps show, and the width of a column. */
function view(width) {
  const mean = data.pieces.reduce((sum, piece) => sum + Math.max(piece.length, 1), 0) / length;
  const column = { near: clamp(7 * mean + 4, 11, 60), far: 3, all: width / length }[state.zoom];
  const count = clamp(Math.floor(width / column), 1, length);
  return { first: clamp(state.token - (count >> 1), 0, length - count), count, column: width / count };
}

/** A heat map with one pixel per unit and token. */
function heatImage(one, first, count) {
  const image = new ImageData(count, shownUnits.length);
  for (let row = 0; row < shownUnits.length; row++) {
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
  const canvas = make("canvas", { width: count, height: shownUnits.length });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function drawHeat(one) {
  const { context, width, height } = prepare(one.canvas);
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
      const text = label(first + place).slice(0, Math.max(1, (column - 2) / 6.7));
      context.fillText(text, (place + 0.5) * column, 13);
    }
  }
  context.strokeStyle = palette.accent;
  context.lineWidth = 1.5;
  context.strokeRect((state.token - first) * column, AXIS - 2, Math.max(column, 2), height - AXIS + 2);
  if (state.unit.row !== null) context.strokeRect(0, AXIS + state.unit.row * ROW - 1, width, ROW + 2);
}

const EDGE = 46; // of a scatter plot, in pixels: space for its axes

function drawScatter(gate) {
  const { context, width, height } = prepare(gate.canvas);
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
    context.fillText(`${100 * share}%`, x(share) - (share === 1 ? 6 : 0), height - EDGE + 14);
  }
  context.textAlign = "right";
  for (const share of [0.5, 1]) context.fillText(`${100 * share}%`, EDGE - 5, y(share) + 4);
  context.textAlign = "center";
  context.fillText("shut (below 0.1), share of tokens", x(0.5), height - 5);
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
    // Higher layers have more opaque dots.
    context.globalAlpha = data.layers === 1 ? 0.5 : 0.15 + (0.6 * (point.unit.layer + 1)) / data.layers;
    context.fill();
    context.globalAlpha = 0.5;
    context.lineWidth = 0.7;
    context.stroke();
  }
  context.globalAlpha = 1;
  const selected = gate.points.find((point) => point.unit === state.unit);
  context.strokeStyle = palette.accent;
  context.lineWidth = 2.5;
  context.beginPath();
  context.arc(selected.x, selected.y, 6, 0, 2 * Math.PI);
  context.stroke();
}

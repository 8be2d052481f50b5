// The form: the request that it shows, and how a value is put into it.

const data = JSON.parse(byId("model").textContent);
const settings = { values: {}, model: { tokenizer: data.tokenizer.kind }, onChange() {} };
let model = null;

const MOST_DIGITS = 4300; // of a number that Python reads
const ESCAPES = { "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\" };

/** Replace the escapes \n, \r, \t and \\, and no others, as `textgen sample --stop` does. */
const readEscapes = (text) => text.replace(/\\[nrt\\]/g, (escape) => ESCAPES[escape]);

/** The opposite of readEscapes: a text as one line. */
const escaped = (text) => text.replace(/[\n\r\t\\]/g, (character) =>
  Object.keys(ESCAPES).find((escape) => ESCAPES[escape] === character));

/** The seed that a text stands for, as `textgen sample --seed` reads it: a whole number of any size.

    Throws RangeError, whose message says what it must be. */
function readSeed(text) {
  if (text.length > MOST_DIGITS) throw new RangeError(`must have at most ${number(MOST_DIGITS)} digits`);
  const seed = /^\s*[+-]?\d+(_\d+)*\s*$/.test(text) ? BigInt(text.replace(/[\s+_]/g, "")) : -1n;
  if (seed < 0n) throw new RangeError("must be a whole number, 0 or more");
  return seed;
}

/** The seed of the next text: that of the field if it is kept, or else a new one, which is then shown there.

    Null if the field has none; what is wrong is then shown at it. */
function takeSeed() {
  const field = byId("seed");
  if (!byId("keep").checked || !field.value.trim()) field.value = Math.floor(Math.random() * 1e6);
  try {
    return readSeed(field.value);
  } catch (error) {
    showSeedProblem(`The seed ${error.message}; empty it for a random one.`);
    field.focus();
    return null;
  }
}

/** Show a line at the seed; an empty one removes it. */
function showSeedProblem(sentence) {
  const line = byId("seed-problem");
  line.textContent = sentence;
  line.hidden = !sentence;
  byId("seed").setAttribute("aria-invalid", String(Boolean(sentence)));
}

/** The label that is chosen; null: none. */
const chosenLabel = () => data.config.labels[byId("label").value] ?? null;

/** The request that the form shows, with a seed. */
function requestOf(seed) {
  const chosen = (name) => (settings.values[name] === OFF ? null : settings.values[name]);
  return {
    prompt: byId("prompt").value,
    label: chosenLabel(),
    temperature: settings.values.temperature,
    top_k: chosen("top_k"),
    top_p: chosen("top_p"),
    min_p: chosen("min_p"),
    maxTokens: settings.values.max_tokens,
    seed,
    stops: byId("stop").value.split("\n").filter((line) => line).map(readEscapes),
  };
}

/** Set a slider to any value, which becomes one of its steps if it is none yet. */
function setSlider(name, value) {
  const { values } = SLIDERS.find((slider) => slider.name === name);
  const input = byId(`slider-${name}`);
  if (!values.includes(value)) {
    const above = values.findIndex((other) => other > value);
    // OFF stands at that end where it belongs.
    const end = values.at(-1) === OFF ? values.length - 1 : values.length;
    values.splice(above < 0 ? end : above, 0, value);
    input.max = values.length - 1;
  }
  input.value = values.indexOf(value);
  input.dispatchEvent(new Event("input"));
}

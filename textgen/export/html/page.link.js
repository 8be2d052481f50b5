// The link to share: the request of a text, in the fragment of the page's address.

const LONGEST_SHOWN = 40; // characters of a value in a message

/** The fragment that has the page write the text of a writer again.

    A text that was stopped is as long as it became; one that is still being written, as long as it may become. */
function fragmentOf({ request, ending, left }) {
  const parts = new URLSearchParams({ prompt: request.prompt, seed: request.seed });
  if (request.label !== null) parts.set("label", request.label);
  for (const stop of request.stops) parts.append("stop", escaped(stop));
  for (const name of ["temperature", "top_p", "top_k", "min_p"]) parts.set(name, request[name] ?? OFF);
  parts.set("max_tokens", request.maxTokens - (ending === "stopped" ? left : 0));
  return `#${parts}`;
}

/** How each part of a link is read into the form's values. Each throws RangeError for a wrong one. */
const READERS = {
  prompt(found, text) { found.prompt = text; },
  seed(found, text) {
    readSeed(text);
    found.seed = text;
  },
  label(found, text) {
    const { labels } = data.config;
    found.label = labels.indexOf(text);
    if (found.label >= 0) return;
    found.label = "";
    throw new RangeError(labels.length ? "is no label of this model" : "cannot be used: this model has no labels");
  },
  stop(found, text) {
    if (!text) throw new RangeError("must not be empty");
    found.stops.push(text.replace(/[\n\r\t]/g, escaped));
  },
};
for (const { name } of SLIDERS) {
  READERS[name] = (found, text) => { found.settings[name] = readSetting(name, text); };
}

/** The value of a setting, exactly as it is given. Throws RangeError for what `textgen sample` would refuse. */
function readSetting(name, text) {
  if (text === OFF && SLIDERS.find((slider) => slider.name === name).values.includes(OFF)) return OFF;
  const { low, high, words, whole } = data.ranges[name];
  const form = whole ? /^\s*\+?\d+\s*$/ : /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
  const value = form.test(text) ? Number(text) : NaN;
  if (!(value >= low && value <= high)) throw new RangeError(`must be ${whole ? "a whole number, " : ""}${words}`);
  return value;
}

/** What a link puts into the form; what it leaves out is as on a new page. problems: a phrase for each wrong part. */
function readLink(parts) {
  const found = { prompt: "", seed: "", label: "", stops: [], settings: { ...data.defaults } };
  const problems = [];
  const seen = new Set();
  for (const [name, text] of parts) {
    try {
      if (!Object.hasOwn(READERS, name)) throw new RangeError("is not known");
      if (seen.has(name) && name !== "stop") throw new RangeError("is given twice");
      seen.add(name);
      READERS[name](found, text);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      problems.push(`${shortened(name)}=${shortened(text)} ${error.message}`);
    }
  }
  return { found, problems };
}

function shortened(text) {
  const shown = controlPictures(escaped(text));
  return shown.length > LONGEST_SHOWN ? `${shown.slice(0, LONGEST_SHOWN)}…` : shown;
}

/** Fill the form from the fragment of the address, and write; a link with a wrong part writes nothing. */
function openLink() {
  if (!location.hash.includes("=")) return; // none, or a place in the page
  const parts = new URLSearchParams(location.hash.slice(1));
  const { found, problems } = readLink(parts);
  stopWriting();
  fillForm(found);
  showProblem(problems.length ? `This link is wrong, so nothing was written: ${problems.join("; ")}.` : "");
  if (!problems.length && (parts.has("prompt") || parts.has("seed"))) write();
}

function fillForm({ prompt, seed, label, stops, settings: values }) {
  byId("prompt").value = prompt;
  byId("seed").value = seed;
  byId("label").value = label;
  byId("stop").value = stops.join("\n");
  for (const id of ["prompt", "seed", "label"]) byId(id).dispatchEvent(new Event("input"));
  for (const { name } of SLIDERS) setSlider(name, values[name]);
}

/** Copy the link to the text that is shown, and put it into the address bar. */
async function share() {
  const link = location.href.split("#")[0] + fragmentOf(sheet.writer);
  let sentence = "The link is in the address bar.";
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    sentence = "Copied. The link writes this text again: it has the beginning, the seed and the settings.";
  } catch (error) {
    // Not allowed here: the address bar has it.
  }
  byId("status").textContent = sentence;
}

// Settings, the link to share, the keyboard, and what is done when the page opens.

const data = JSON.parse(byId("model").textContent);
const settings = { values: {}, model: { tokenizer: data.tokenizer.kind }, onChange() {} };
let model = null;

/** The request that the page shows. */
function requestOf(seed) {
  const chosen = (name) => (settings.values[name] === OFF ? null : settings.values[name]);
  return {
    prompt: byId("prompt").value,
    label: byId("label").value || null,
    temperature: settings.values.temperature,
    top_k: chosen("top_k"),
    top_p: chosen("top_p"),
    min_p: chosen("min_p"),
    maxTokens: settings.values.max_tokens,
    seed,
    stops: [byId("stop").value.replaceAll("\\n", "\n")],
  };
}

function write() {
  const field = byId("seed");
  if (!byId("keep").checked || !/^\d{1,10}$/.test(field.value)) field.value = Math.floor(Math.random() * 1e6);
  run(new Writer(model, requestOf(Number(field.value))));
}

/** The link to this page that writes the same text: what is in the form, in its fragment. */
function linkToShare() {
  const parts = new URLSearchParams({ prompt: byId("prompt").value, seed: byId("seed").value });
  for (const id of ["label", "stop"]) if (byId(id).value) parts.set(id, byId(id).value);
  for (const { name } of SLIDERS) parts.set(name, settings.values[name]);
  return `${location.href.split("#")[0]}#${parts}`;
}

async function share() {
  const link = linkToShare();
  let sentence = "The link is in the address bar.";
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    sentence = "Copied. The link has the beginning, the seed and the settings, and writes the same text.";
  } catch (error) {
    // Not allowed here: the address bar has it.
  }
  byId("status").textContent = sentence;
}

/** Fill the form from the fragment of the address, and write. */
function openLink() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (!parts.has("prompt") && !parts.has("seed")) return;
  for (const id of ["prompt", "seed", "label", "stop"]) if (parts.has(id)) byId(id).value = parts.get(id);
  byId("keep").checked = /^\d{1,10}$/.test(byId("seed").value);
  for (const { name, values } of SLIDERS) {
    const place = values.findIndex((value) => String(value) === parts.get(name));
    if (place < 0) continue;
    byId(`slider-${name}`).value = place;
    byId(`slider-${name}`).dispatchEvent(new Event("input"));
  }
  write();
}

function describe() {
  const { config, parameters, name } = data;
  byId("name").textContent = name; // whatever it is, it is text
  document.title = name;
  const facts = [`${config.num_layers} x ${config.hidden_size} ${config.cell.toUpperCase()} network`, `${number(parameters)} parameters`];
  if (data.ngram) facts.push("n-grams beside it");
  byId("summary").textContent = facts.join(", ");
  const labels = config.labels;
  byId("label-choice").hidden = !labels.length;
  byId("label").append(...["", ...labels].map((label) => make("option", { value: label, textContent: label || "none" })));
  byId("how").textContent = model.network.products.isFast
    ? "Products run on vector instructions, through WebAssembly."
    : "This browser has no WebAssembly with vector instructions: the same texts take longer.";
}

function start() {
  buildSliders(data.defaults);
  model = new TextModel(data, bytesOf(JSON.parse(byId("wasm").textContent)));
  describe();
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (sheet.writer && !sheet.writer.ending) stopWriting();
    else write();
  });
  byId("share").addEventListener("click", share);
  byId("seed").addEventListener("input", () => { byId("keep").checked = byId("seed").value !== ""; });
  byId("colours").addEventListener("change", () => {
    byId("texts").classList.toggle("plain", !byId("colours").checked);
  });
  byId("settings").open = matchMedia("(min-width: 761px)").matches;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      write();
    } else if (event.key === "Escape") stopWriting();
  });
  window.addEventListener("hashchange", openLink);
  if (data.inspect) wireReading();
  byId("main").hidden = false;
  openLink();
}

/** Say what is wrong in a browser that is too old, or a page that is damaged. */
try {
  start();
} catch (error) {
  byId("main").hidden = false;
  byId("problem").hidden = false;
  byId("problem").textContent = `This page does not work here: ${error.message}. A newer browser may help.`;
  throw error;
}

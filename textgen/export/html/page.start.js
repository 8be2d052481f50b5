// What is on the page as it opens, the keyboard, and the first text.

/** Write a text from what the form shows. */
function write() {
  const seed = takeSeed();
  if (seed === null) return;
  showProblem("");
  run(new Writer(model, requestOf(seed)));
}

/** Show a line about the whole page; an empty one removes it. */
function showProblem(sentence) {
  byId("problem").textContent = sentence;
  byId("problem").hidden = !sentence;
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
  byId("label").append(make("option", { value: "", textContent: "none" }),
    ...labels.map((label, place) => make("option", { value: place, textContent: label })));
  byId("how").textContent = model.network.products.isFast
    ? "Products run on vector instructions, through WebAssembly."
    : "This browser has no WebAssembly with vector instructions: the same texts take longer.";
}

function start() {
  buildSliders(data.defaults);
  for (const { name } of SLIDERS) setSlider(name, data.defaults[name]); // exactly
  model = new TextModel(data, bytesOf(JSON.parse(byId("wasm").textContent)));
  describe();
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (sheet.writer && !sheet.writer.ending) stopWriting();
    else write();
  });
  byId("share").addEventListener("click", share);
  byId("seed").addEventListener("input", () => {
    byId("keep").checked = byId("seed").value.trim() !== "";
    showSeedProblem("");
  });
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
  byId("main").hidden = false;
  if (data.inspect) wireReading();
  openLink();
}

/** Say what is wrong in a browser that is too old, or a page that is damaged. */
try {
  start();
} catch (error) {
  byId("main").hidden = false;
  showProblem(`This page does not work here: ${error.message}. A newer browser may help.`);
  throw error;
}

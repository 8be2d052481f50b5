// The settings: how many texts, beside the sliders of all such pages; seed, label and run.

SLIDERS.push({
  name: "copies", label: "Texts at once", values: [1, 2, 3, 4],
  say: (value) => (value === 1 ? "Writes one text." : `Writes ${value} texts side by side, each with the next seed.`),
});

/** The settings as the page shows them. */
const settings = {
  values: {},
  models: [],
  onChange: () => {},

  /** The chosen run: its id, with what the server says about it. */
  get model() {
    const entry = this.models.find(({ id }) => id === byId("model").value);
    return entry && { id: entry.id, ...entry.textgen };
  },
  get label() {
    return byId("label").value || null;
  },

  /** The seed of the next text: that of the page if it is kept, or else a new one, which is then shown. */
  takeSeed() {
    const field = byId("seed");
    if (!byId("keep").checked || field.value === "") field.value = Math.floor(Math.random() * 1e6);
    return Number(field.value);
  },

  /** The part of a request that says how tokens are drawn. */
  sampling() {
    const { copies, ...sampling } = this.values;
    return Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== OFF));
  },
};

/** Offer these runs; the one that was chosen stays chosen if it is still there. */
function showModels(models) {
  const before = byId("model").value;
  settings.models = models;
  byId("model").replaceChildren(...models.map(({ id }) => make("option", { value: id, textContent: id })));
  if (models.some(({ id }) => id === before)) byId("model").value = before;
  byId("model-choice").hidden = models.length < 2;
  showModel();
}

/** Show what is known about the chosen run. */
function showModel() {
  const { model } = settings;
  byId("name").textContent = model.id;
  document.title = `Write with ${model.id}`;
  const facts = [`${model.network} network`, `${number(model.parameters)} parameters`];
  if (model.bits_per_character) facts.push(`${model.bits_per_character.toFixed(2)} bits per character`);
  if (model.ngrams) facts.push("n-grams beside it");
  byId("summary").textContent = facts.join(", ");
  const labels = model.labels ?? [];
  byId("label-choice").hidden = !labels.length;
  const before = byId("label").value;
  byId("label").replaceChildren(make("option", { value: "", textContent: "none" }),
    ...labels.map((label) => make("option", { value: label, textContent: label })));
  if (labels.includes(before)) byId("label").value = before;
  for (const slider of SLIDERS) slider.update();
}

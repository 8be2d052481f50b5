// What the settings do, as bars that move with the sliders: the likeliest tokens at one place.

// Shown before anything is written.
const EXAMPLE = {
  before: "The cat slept on the",
  names: [" mat", " roof", " chair", " floor", " bed", " moon", " piano", " soup"],
  probabilities: [0.4, 0.2, 0.14, 0.1, 0.08, 0.04, 0.03, 0.01],
};

/** Draw the bars for the token that was looked at last, or else for the last one that was written. */
function showPreview() {
  const { before, names, probabilities, isExample } = previewed();
  const shares = drawnShares(probabilities, settings.values);
  byId("preview-place").replaceChildren(isExample ? "For example, after " : "After ",
    make("q", { textContent: controlPictures(before).replace(/\s+/g, " ") }), ":");
  byId("preview").replaceChildren(...names.flatMap((name, index) => {
    const [model, drawn] = [make("i", { className: "model" }), make("i", { className: "drawn" })];
    model.style.width = `${100 * probabilities[index]}%`;
    drawn.style.width = `${100 * shares[index]}%`;
    const className = shares[index] === 0 ? "never" : "";
    return [make("bdi", { className, textContent: shownName(name) }), make("span", { className: "bar" }, drawn, model),
      make("span", { className: `share ${className}`, textContent: shares[index] === 0 ? "never" : percent(shares[index]) })];
  }));
}

function previewed() {
  const { column, place } = shownAlternatives;
  const branch = columns.list.includes(column) ? column.branch : null;
  const token = branch?.tokens[place];
  if (!token || token.alternatives.length < 2) return { ...EXAMPLE, isExample: true };
  const alternatives = token.alternatives.slice(0, 8);
  const before = branch.characters.slice(Math.max(0, token.start - 24), token.start).join("").trimStart();
  const total = alternatives.reduce((sum, [, value]) => sum + Math.exp(value), 0);
  return {
    before, names: alternatives.map(([name]) => name),
    probabilities: alternatives.map(([, value]) => Math.exp(value) / total),
  };
}

/** How often each of some tokens is drawn: temperature, then top-k, top-p and min-p, as textgen does it. */
function drawnShares(probabilities, { temperature, top_k: topK, top_p: topP, min_p: minP }) {
  const best = Math.max(...probabilities);
  let shares = temperature === 0
    ? probabilities.map((_, index) => Number(index === probabilities.indexOf(best)))
    : normalised(probabilities.map((probability) => (probability / best) ** (1 / temperature)));
  const ranks = shares.map((share, index) => [share, index]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const keep = (isKept) => {
    let before = 0;
    const kept = new Set();
    ranks.forEach(([, index], rank) => {
      if (isKept(shares[index], rank, before)) kept.add(index);
      before += shares[index];
    });
    shares = normalised(shares.map((share, index) => (kept.has(index) ? share : 0)));
  };
  if (topK !== OFF) keep((_, rank) => rank < topK);
  if (topP !== OFF) keep((_, rank, before) => rank === 0 || before < topP);
  if (minP !== OFF) keep((share) => share >= minP * Math.max(...shares));
  return shares;
}

function normalised(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

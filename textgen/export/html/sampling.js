// From logits to the next token, as generation/sampling.py of textgen: temperature, top-k, top-p, min-p, one draw.

/** exp(logit - largest) of each token, float64; `total` is their sum. Forbidden tokens have 0. */
function weightsOf(logits, allowed = null, temperature = 1) {
  let peak = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > peak && (!allowed || allowed[i])) peak = logits[i];
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) {
    if (allowed && !allowed[i]) continue;
    weights[i] = exp((logits[i] - peak) / temperature);
    total += weights[i];
  }
  return { weights, total };
}

/** The most likely token, the first of equals. */
function likeliest(logits, allowed = null) {
  let best = -1;
  for (let i = 0; i < logits.length; i++) {
    if ((!allowed || allowed[i]) && (best < 0 || logits[i] > logits[best])) best = i;
  }
  return best;
}

/** Draw a token. settings: temperature, top_k, top_p, min_p (null: off). uniform: in [0, 1). allowed: (V,) or null. */
function choose(logits, settings, uniform, allowed = null) {
  if (settings.temperature === 0) return likeliest(logits, allowed);
  const { weights, total } = weightsOf(logits, allowed, Math.max(settings.temperature, 1e-200));
  const { top_k, top_p, min_p } = settings;
  if (top_k === null && top_p === null && min_p === null) return draw(weights, null, total, uniform);
  const ids = keptIds(weights, top_k, top_p, min_p);
  let held = 0;
  for (const id of ids) held += weights[id];
  return draw(weights, ids, held, uniform);
}

/** The ids that top-k, top-p and min-p leave, ascending. The largest weight is 1. */
function keptIds(weights, topK, topP, minP) {
  let ids = [];
  const floor = minP || 0;
  for (let id = 0; id < weights.length; id++) if (weights[id] > 0) ids.push(id);
  if (topK !== null || (topP !== null && topP < 1)) {
    ids.sort((one, other) => weights[other] - weights[one] || one - other);
    if (topK !== null) ids = ids.slice(0, topK);
    if (topP !== null && topP < 1) {
      let total = 0;
      for (const id of ids) total += weights[id];
      let held = 0;
      let kept = 0;
      while (kept < ids.length && (kept === 0 || held < topP * total)) held += weights[ids[kept++]];
      ids = ids.slice(0, kept);
    }
    ids.sort((one, other) => one - other);
  }
  return floor ? ids.filter((id) => weights[id] >= floor) : ids;
}

/** Inverse transform sampling among ids; null: all. */
function draw(weights, ids, total, uniform) {
  const size = ids ? ids.length : weights.length;
  const border = uniform * total;
  let sum = 0;
  let last = -1;
  for (let place = 0; place < size; place++) {
    const id = ids ? ids[place] : place;
    if (!weights[id]) continue;
    sum += weights[id];
    last = id;
    if (sum > border) break;
  }
  return last;
}

/** The surprisal of a token, in bits, under logits. */
function bitsOf(logits, id) {
  const { weights, total } = weightsOf(logits);
  return weights[id] ? -log(weights[id] / total) / Math.LN2 : Infinity;
}


// The n-grams beside the network, and the mixture of both. See ngram/automaton.py and generation/mixed_engine.py of
// textgen: what is counted in the longest context that the text ends with, and, for what is left of the probability,
// in shorter ones (interpolated modified Kneser-Ney smoothing).
//
// A context is an n-gram that others continue, its entries; context 0 is the empty one. Both are numbered level by
// level, as they are in the page's data. Shapes: C contexts, E entries, V model vocabulary.

const UNSIGNED = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };
const SMALLEST = 2.2250738585072014e-308; // instead of a probability of 0, which only rounding gives

class NGrams {
  /** levels: tokens and counts of the n-grams of each length; children and dropped, but for the last. */
  constructor({ levels, discounts }, V) {
    this.V = V;
    const unpacked = levels.map((level) => {
      const arrays = {};
      for (const [name, { width, data }] of Object.entries(level)) arrays[name] = numbersOf(UNSIGNED[width], data);
      return arrays;
    });
    const entries = unpacked.reduce((sum, { tokens }) => sum + tokens.length, 0);
    const contexts = 1 + unpacked.reduce((sum, { children }) => sum + (children ? children.reduce((n, c) => n + (c > 0), 0) : 0), 0);
    this.suffix = new Int32Array(contexts); // (C,) each context without its first token
    this.logGamma = new Float32Array(contexts); // (C,) the share that its entries leave to shorter ones
    this.first = new Int32Array(contexts + 1); // (C + 1,) where its entries begin
    this.tokens = new Uint32Array(entries); // (E,)
    this.target = new Int32Array(entries); // (E,) the longest context that the n-gram ends with
    this.logProbs = new Float32Array(entries); // (E,)
    this.build(unpacked, discounts);
    this.uniform = Math.fround(-log(V));
  }

  build(levels, discounts) {
    const probabilities = new Float64Array(this.tokens.length);
    let [entry, context, next] = [0, 0, 1]; // the first of this level, and of the next
    let above = null; // the level of the contexts; one context of its own above the first level
    levels.forEach((level, k) => {
      const owners = above ? Array.from(above.children.keys()).filter((i) => above.children[i]) : [0];
      const start = entry;
      for (const owner of owners) {
        const dropped = above ? above.dropped[owner] : 0;
        entry += above ? above.children[owner] : level.tokens.length;
        this.first[context + 1] = entry;
        this.fill(level, start, k, context++, dropped, discounts[k], probabilities);
      }
      // Contexts of the next level, in the order of their entries.
      if (level.children) {
        level.children.forEach((children, i) => {
          if (!children) return;
          this.suffix[next] = this.target[start + i];
          this.target[start + i] = next++;
        });
      }
      above = level;
    });
    for (let i = 0; i < probabilities.length; i++) this.logProbs[i] = log(Math.max(probabilities[i], SMALLEST));
  }

  /** The entries of one context: their tokens, targets and probabilities. start: the first entry of the level. */
  fill(level, start, k, context, dropped, discounts, probabilities) {
    const rest = (count) => count - (count ? discounts[Math.min(count, 3) - 1] : 0);
    const [first, end] = [this.first[context], this.first[context + 1]];
    let [counts, mass] = [0, 0];
    for (let entry = first; entry < end; entry++) {
      const count = level.counts[entry - start];
      counts += count;
      mass += rest(count);
    }
    const total = Math.max(counts + dropped, 1);
    const gamma = counts ? Math.max((counts - mass + dropped) / total, SMALLEST) : 1;
    this.logGamma[context] = log(gamma);
    for (let entry = first; entry < end; entry++) {
      const token = (this.tokens[entry] = level.tokens[entry - start]);
      const found = k ? this.find(this.suffix[context], token) : -1;
      const shorter = k ? probabilities[found] : 1 / this.V;
      probabilities[entry] = rest(level.counts[entry - start]) / total + gamma * shorter;
      this.target[entry] = k ? this.target[found] : 0;
    }
  }

  /** The entry of a token in a context; -1: there is none. */
  find(context, token) {
    let [low, high] = [this.first[context], this.first[context + 1]];
    const end = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.tokens[middle] < token) low = middle + 1;
      else high = middle;
    }
    return low < end && this.tokens[low] === token ? low : -1;
  }

  /** The longest context after one more token; an unseen token is in none. */
  next(context, token) {
    if (token >= this.V) return 0;
    for (;;) {
      const entry = this.find(context, token);
      if (entry >= 0) return this.target[entry];
      if (!context) return 0;
      context = this.suffix[context];
    }
  }

  /** Write the logarithms of the probabilities of all tokens (V,) in a context. */
  write(context, row) {
    const chain = [];
    let logWeight = 0;
    for (;;) {
      chain.push([context, logWeight]);
      logWeight += this.logGamma[context];
      if (!context) break;
      context = this.suffix[context];
    }
    row.fill(this.uniform + logWeight);
    while (chain.length) {
      const [shorter, weight] = chain.pop();
      const end = this.first[shorter + 1];
      for (let entry = this.first[shorter]; entry < end; entry++) row[this.tokens[entry]] = this.logProbs[entry] + weight;
    }
  }
}

/** A network and n-grams, read as one: logits are weight x the network's + (1 - weight) x the n-grams' logarithms. */
class MixedEngine {
  constructor(network, ngram) {
    this.network = network;
    this.ngrams = new NGrams(ngram, network.V);
    this.weight = ngram.weight;
    this.context = 0;
    this.row = new Float32Array(network.V);
  }

  reset() {
    this.network.reset();
    this.context = 0;
  }

  get state() {
    return { network: this.network.state, context: this.context };
  }

  set state({ network, context }) {
    this.network.state = network;
    this.context = context;
  }

  /** Read one more token. n-grams know no labels: to them a label is the start token. */
  read(id) {
    this.network.read(id);
    this.context = this.ngrams.next(this.context, id > this.network.V ? this.network.config.start_id : id);
  }

  logits() {
    const logits = this.network.logits();
    const { row, weight } = this;
    this.ngrams.write(this.context, row);
    for (let i = 0; i < row.length; i++) row[i] = weight * logits[i] + (1 - weight) * row[i];
    return row;
  }
}


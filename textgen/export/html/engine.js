// The network: reads model ids one by one, and gives the logits of the next. The equations are those of
// models/cells.py in textgen.
//
// Shapes: V model vocabulary, E embedding_dim, H hidden_size, G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H).

const MOST_CACHED = 2 ** 22; // numbers of first inputs that are kept

/** One step of each cell: overwrites the state from what input (G) and hidden state (G) contribute to the gates. */
const CELLS = {
  lstm(input, own, { hidden, cell }) {
    const H = hidden.length;
    for (let i = 0; i < H; i++) {
      const kept = sigmoid(input[H + i] + own[H + i]) * cell[i];
      cell[i] = kept + sigmoid(input[i] + own[i]) * tanh(input[2 * H + i] + own[2 * H + i]);
      hidden[i] = sigmoid(input[3 * H + i] + own[3 * H + i]) * tanh(cell[i]);
    }
  },
  gru(input, own, { hidden, ownBias }) {
    const H = hidden.length;
    for (let i = 0; i < H; i++) {
      const reset = sigmoid(input[i] + own[i]);
      const update = sigmoid(input[H + i] + own[H + i]);
      const next = tanh(input[2 * H + i] + reset * (own[2 * H + i] + ownBias[i]));
      hidden[i] = next + update * (hidden[i] - next);
    }
  },
  rnn(input, own, { hidden }) {
    for (let i = 0; i < hidden.length; i++) hidden[i] = tanh(input[i] + own[i]);
  },
};

/** One recurrent layer: its weights and its state. */
class Layer {
  constructor(products, cell, arrays, number, inputSize, H, layerNorm) {
    const part = (name) => arrays[`layers.${name}_l${number}`];
    const G = part("bias_ih").length;
    this.advanceCell = CELLS[cell];
    this.inputWeight = new Matrix(products, part("weight_ih"), G, inputSize);
    this.ownWeight = new Matrix(products, part("weight_hh"), G, H);
    // The reset gate acts on the GRU's own part of the new gate, so that its bias stays separate.
    const separate = cell === "gru" ? H : 0;
    this.bias = part("bias_ih").map((bias, i) => (i < G - separate ? bias + part("bias_hh")[i] : bias));
    this.norm = layerNorm ? { scale: part("norm_weight"), offset: part("norm_bias") } : null;
    this.state = {
      hidden: products.vector(H),
      cell: new Float32Array(H),
      ownBias: part("bias_hh").subarray(G - separate),
    };
    this.passed = products.vector(H); // up, normalised
  }

  static size(inputSize, H, G) {
    return Matrix.size(G, inputSize) + Matrix.size(G, H) + 2 * roundUp(H, BLOCK);
  }

  /** What a vector below contributes to the gates, biases included; the next call overwrites it. */
  project(below) {
    const input = this.inputWeight.times(below);
    const { bias } = this;
    for (let i = 0; i < input.length; i++) input[i] += bias[i];
    return input;
  }

  advance(input) {
    this.advanceCell(input, this.ownWeight.times(this.state.hidden), this.state);
  }
}

/** A network with the state of one text. */
class Network {
  /** model: the page's data. wasm: as for Products. */
  constructor(model, wasm) {
    const { config } = model;
    const { hidden_size: H, embedding_dim: E, num_layers: L } = config;
    const arrays = {};
    for (const name of Object.keys(model.arrays)) arrays[name] = floatsOf(model.arrays[name]);
    this.config = config;
    this.V = arrays["head.bias"].length;
    const G = arrays["layers.bias_ih_l0"].length;
    const projection = arrays["projection.weight"];
    const headSize = projection ? E : H;
    let size = Matrix.size(this.V, headSize) + roundUp(E, BLOCK) + (projection ? Matrix.size(E, H) : 0);
    for (let layer = 0; layer < L; layer++) size += Layer.size(layer ? H : E, H, G);
    this.products = new Products(size, wasm);
    this.layers = Array.from({ length: L }, (_, layer) =>
      new Layer(this.products, config.cell, arrays, layer, layer ? H : E, H, config.layer_norm));
    this.projection = projection ? new Matrix(this.products, projection, E, H) : null;
    const head = arrays[config.tie_weights ? "embedding.weight" : "head.weight"];
    this.head = new Matrix(this.products, head, this.V, headSize);
    this.headBias = arrays["head.bias"];
    this.embedded = this.products.vector(E);
    this.embedding = this.rows(arrays, numbersOf(Float32Array, model.frequencies), E);
    this.firstInputs = new Map();
    this.mostCached = Math.max(1, Math.floor(MOST_CACHED / G));
    this.isPlain = !config.residual && !config.layer_norm;
    this.reset();
  }

  /** The embedding of every id: V tokens, one that training never saw, and the start token with each label. */
  rows(arrays, frequencies, E) {
    const known = arrays["embedding.weight"];
    const labels = arrays["label_embedding.weight"] || [];
    const rows = new Float32Array(known.length + E + labels.length);
    rows.set(known);
    const mean = new Float64Array(E); // weighted by frequency
    for (let token = 0, place = 0; token < this.V; token++) {
      for (let i = 0; i < E; i++) mean[i] += frequencies[token] * known[place++];
    }
    rows.set(mean, known.length);
    const start = this.config.start_id * E;
    for (let i = 0; i < labels.length; i++) rows[known.length + E + i] = known[start + (i % E)] + labels[i];
    return rows;
  }

  /** Begin a new text. */
  reset() {
    for (const { state } of this.layers) {
      state.hidden.fill(0);
      state.cell.fill(0);
    }
  }

  /** The state, as a copy. */
  get state() {
    return this.layers.map(({ state, passed }) => ({
      hidden: state.hidden.slice(), cell: state.cell.slice(), passed: passed.slice(),
    }));
  }

  set state(saved) {
    this.layers.forEach(({ state, passed }, layer) => {
      state.hidden.set(saved[layer].hidden);
      state.cell.set(saved[layer].cell);
      passed.set(saved[layer].passed);
    });
  }

  /** Read one more token. */
  read(id) {
    let input = this.firstInput(id);
    this.layers.forEach((layer, number) => {
      layer.advance(input);
      if (!this.isPlain) this.pass(layer, number);
      const above = this.layers[number + 1];
      if (above) input = above.project(this.top(layer));
    });
  }

  /** The logits of the next token (V,), float32; the next call overwrites them. */
  logits() {
    let top = this.top(this.layers[this.layers.length - 1]);
    if (this.projection) top = this.projection.times(top);
    const logits = this.head.times(top);
    for (let i = 0; i < logits.length; i++) logits[i] += this.headBias[i];
    return logits;
  }

  top(layer) {
    return this.isPlain ? layer.state.hidden : layer.passed;
  }

  /** What a layer passes up in a residual stack or one with norms. */
  pass(layer, number) {
    const H = layer.passed.length;
    const stream = (layer.stream ||= new Float32Array(H));
    const below = this.config.residual && number ? this.layers[number - 1].stream : null;
    for (let i = 0; i < H; i++) stream[i] = layer.state.hidden[i] + (below ? below[i] : 0);
    if (!layer.norm) {
      layer.passed.set(stream);
      return;
    }
    let mean = 0;
    for (let i = 0; i < H; i++) mean += stream[i];
    mean /= H;
    let variance = 0;
    for (let i = 0; i < H; i++) variance += (stream[i] - mean) ** 2;
    const deviation = Math.sqrt(variance / H + this.config.layer_norm_epsilon);
    const { scale, offset } = layer.norm;
    for (let i = 0; i < H; i++) layer.passed[i] = ((stream[i] - mean) / deviation) * scale[i] + offset[i];
  }

  /** What a token contributes to the first layer's gates (G,). */
  firstInput(id) {
    let input = this.firstInputs.get(id);
    if (!input) {
      const E = this.embedded.length;
      this.embedded.set(this.embedding.subarray(id * E, (id + 1) * E));
      input = this.layers[0].project(this.embedded).slice();
      if (this.firstInputs.size >= this.mostCached) this.firstInputs.clear();
      this.firstInputs.set(id, input);
    }
    return input;
  }
}


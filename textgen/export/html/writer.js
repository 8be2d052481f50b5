// A text while it is written: prompt, tokens, their surprisal, and why it ended.

/** All that the page's data is made into, once. */
class TextModel {
  /** wasm: null for plain JavaScript. */
  constructor(model, wasm) {
    this.tokenizer = new Tokenizer(model.tokenizer);
    this.network = new Network(model, wasm);
    this.engine = model.ngram ? new MixedEngine(this.network, model.ngram) : this.network;
    this.V = this.network.V;
    this.tokenIds = numbersOf(Uint32Array, model.token_ids);
    this.modelIds = new Map();
    this.tokenIds.forEach((tokenId, id) => this.modelIds.set(tokenId, id));
    this.start = model.start_id;
    this.labels = model.config.labels;
    this.costs = model.costs;
    this.frequencies = numbersOf(Float32Array, model.frequencies);
    const tokenBytes = Array.from(this.tokenIds, (tokenId) => this.tokenizer.tokenBytes[tokenId]);
    this.endOfText = this.modelIds.get(this.tokenizer.endOfText) ?? -1;
    this.characters = new WholeCharacters(tokenBytes, this.endOfText);
    const isLong = this.tokenizer.kind === "bpe" || this.tokenizer.kind === "word";
    this.spellings = isLong ? new Spellings(tokenBytes, this.endOfText) : null;
  }

  /** The model ids of token ids; V for one that training never saw. */
  toModelIds(tokenIds) {
    return tokenIds.map((tokenId) => this.modelIds.get(tokenId) ?? this.V);
  }

  /** The model id that a text with this label begins after; null: there is none. */
  startWith(label) {
    const index = this.labels.indexOf(label);
    return index < 0 ? this.start : this.V + 1 + index;
  }

  /** The bits that a token costs, of the text that is being read. */
  bits(logits, id) {
    const nats = id < this.V ? bitsOf(logits, id) * Math.LN2 + this.costs.seen : this.costs.unseen;
    return nats / Math.LN2;
  }
}

/** One text. Only one at a time may use a model.

    request: prompt, label (null: none), temperature, top_k, top_p, min_p (null: off), maxTokens, seed (a whole number,
    as a BigInt if it is large), stops (a list).
    tokens: of the new text, each with its text and bits. */
class Writer {
  constructor(model, request) {
    this.model = model;
    this.request = request;
    this.uniforms = new Uniforms(request.seed);
    this.stops = request.stops.filter((stop) => stop).map((stop) => model.tokenizer.normalized(stop));
    this.tokens = [];
    this.ending = null;
    this.text = "";
    this.searched = 0; // characters of it in which no stop string begins
    this.longestStop = Math.max(0, ...this.stops.map((stop) => stop.length));
    this.utf8State = 0;
    this.left = request.maxTokens;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.readPrompt();
  }

  readPrompt() {
    const { model, request } = this;
    const { spellings, tokenizer } = model;
    const tokenIds = tokenizer.encode(request.prompt);
    const ids = model.toModelIds(tokenIds);
    const spelled = (some) => some.map((tokenId) => spellingOf(tokenizer.tokenBytes[tokenId]));
    const skipped = ids.length && ids[0] === model.start ? 1 : 0;
    const given = spellings ? spellings.numGivenBack(spelled(tokenIds.slice(skipped))) : 0;
    const givenBack = ids.splice(ids.length - given);
    const texts = spelled(tokenIds.splice(tokenIds.length - given));
    const start = model.startWith(request.label);
    if (start !== null && !(ids.length && ids[0] === start)) ids.unshift(start);
    model.engine.reset();
    for (const id of ids) model.engine.read(id);
    this.isBegun = ids.length > 0;
    this.healing = given ? new TokenHealing(spellings, givenBack, texts, model.engine) : null;
    this.skipped = texts.join("").length; // bytes that the prompt has already
    for (const tokenId of tokenIds) {
      for (const byte of tokenizer.tokenBytes[tokenId]) this.utf8State = Math.max(0, utf8After(this.utf8State, byte));
    }
  }

  /** The logits of the next token. */
  logits() {
    return this.isBegun ? this.model.engine.logits() : this.model.frequencies.map(log);
  }

  /** Write one more token; `ending` is set when the text has ended. */
  step() {
    const { model } = this;
    const logits = this.logits();
    const id = this.drawn(logits);
    const rewrites = this.healing !== null && this.healing.accept(id);
    if (this.healing?.isDone) this.healing = null;
    const bits = bitsOf(logits, id);
    if (id === model.endOfText) {
      this.tokens.push({ id, text: "", bits });
      this.finish("end-of-text");
      return;
    }
    this.utf8State = model.characters.after(this.utf8State, id);
    let bytes = model.characters.tokenBytes[id];
    const skipped = Math.min(this.skipped, bytes.length);
    this.skipped -= skipped;
    bytes = bytes.subarray(skipped);
    const text = this.decoder.decode(bytes, { stream: true });
    this.tokens.push({ id, text, bits });
    this.text += text;
    if (!rewrites) this.left--;
    if (this.cutAtStop()) this.ending = "stop";
    else if (this.left <= 0) this.finish("length");
    else {
      model.engine.read(id);
      this.isBegun = true;
    }
  }

  drawn(logits) {
    const { model, request } = this;
    const processed = this.healing ? this.healing.process(logits) : logits;
    const id = choose(processed, request, this.uniforms.next());
    const mask = model.characters.masks?.[this.utf8State];
    return !mask || mask[id] ? id : choose(processed, request, this.uniforms.next(), mask);
  }

  finish(reason) {
    const rest = this.decoder.decode().replace(/\ufffd+$/, "");
    if (rest) this.tokens.push({ id: -1, text: rest, bits: 0 });
    this.text += rest;
    this.ending = this.cutAtStop() ? "stop" : reason;
  }

  /** Cut the text before the stop string that is complete first, of several the longest. Whether there is one. */
  cutAtStop() {
    let [end, start] = [Infinity, 0];
    for (const stop of this.stops) {
      const found = this.text.indexOf(stop, this.searched);
      if (found >= 0 && (found + stop.length < end || (found + stop.length === end && found < start))) {
        [end, start] = [found + stop.length, found];
      }
    }
    if (end === Infinity) {
      this.searched = Math.max(0, this.text.length - this.longestStop + 1);
      return false;
    }
    let place = 0;
    for (const token of this.tokens) {
      const before = place;
      place += token.text.length;
      token.text = token.text.slice(0, Math.max(0, start - before));
    }
    this.text = this.text.slice(0, start);
    return true;
  }
}

/** The tokens of a text that is read, not written: each with its text, bits, and the likeliest ones in its place.

    Bytes that are part of a character go with the token that completes it. */
function* score(model, text, label, numAlternatives) {
  const { tokenizer, engine } = model;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const tokenIds = tokenizer.encode(text);
  const start = model.startWith(label);
  engine.reset();
  if (start !== null) engine.read(start);
  let [isBegun, bits] = [start !== null, 0];
  for (const [place, id] of model.toModelIds(tokenIds).entries()) {
    let alternatives = [];
    if (place > 0 || id !== start) { // else it was read above
      const logits = isBegun ? engine.logits() : model.frequencies.map(log);
      bits += model.bits(logits, id);
      alternatives = alternativesOf(logits, numAlternatives);
      engine.read(id);
      isBegun = true;
    }
    const written = decoder.decode(tokenizer.tokenBytes[tokenIds[place]], { stream: true });
    yield { id, text: written, bits: written ? bits : 0, alternatives };
    if (written) bits = 0;
  }
}

/** The likeliest tokens: their model ids and probabilities. */
function alternativesOf(logits, count) {
  const { weights, total } = weightsOf(logits);
  const ids = Array.from(weights.keys()).sort((one, other) => weights[other] - weights[one] || one - other);
  return ids.slice(0, count).map((id) => ({ id, probability: weights[id] / total }));
}


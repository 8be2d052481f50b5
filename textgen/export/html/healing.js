// Token healing: a prompt that ends within a word goes on as the word would. See generation/healing.py of textgen.

/** What the tokens of a model write, as texts of one character per byte, sorted. */
class Spellings {
  /** tokenBytes: by model id. endOfText: its model id, or -1. */
  constructor(tokenBytes, endOfText) {
    this.byModelId = tokenBytes.map((bytes, id) => (id === endOfText ? "" : spellingOf(bytes)));
    this.sorted = this.byModelId.map((text, id) => [text, id]).filter(([text]) => text);
    this.sorted.sort(([one, a], [other, b]) => (one < other ? -1 : one > other ? 1 : a - b));
    this.longest = Math.max(0, ...this.sorted.map(([text]) => text.length));
  }

  /** The place of the first text that is not before this one. */
  find(text) {
    let [low, high] = [0, this.sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sorted[middle][0] < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The model ids of the tokens that begin with a text, or are it. */
  beginningWith(text) {
    const ids = [];
    for (let i = this.find(text); i < this.sorted.length && this.sorted[i][0].startsWith(text); i++) {
      ids.push(this.sorted[i][1]);
    }
    return ids;
  }

  /** How many of the last tokens to give back: the most that one longer token could begin with. */
  numGivenBack(spellings) {
    let [most, text] = [0, ""];
    for (let count = 1; count <= Math.min(spellings.length, this.longest); count++) {
      const spelling = spellings[spellings.length - count];
      text = spelling + text;
      if (!spelling || text.length >= this.longest) break;
      let place = this.find(text);
      while (place < this.sorted.length && this.sorted[place][0] === text) place++;
      if (place < this.sorted.length && this.sorted[place][0].startsWith(text)) most = count;
    }
    return most;
  }
}

const spellingOf = (bytes) => String.fromCharCode(...bytes);

/** Lets a text begin with what its prompt gave back, at least one token of it; until it is done. */
class TokenHealing {
  /** givenBack: model ids, V for a token that training never saw. texts: what they write. model: has read the rest. */
  constructor(spellings, givenBack, texts, model) {
    this.spellings = spellings;
    this.givenBack = givenBack;
    this.rests = texts.map((_, place) => texts.slice(place).join(""));
    this.place = 0;
    this.logShares = this.measure(model);
  }

  get isDone() {
    return this.place === this.givenBack.length;
  }

  /** The logits with all tokens forbidden but those that write the text given back. */
  process(logits) {
    const allowed = new Float64Array(logits.length).fill(-Infinity);
    for (const id of this.spellings.beginningWith(this.rests[this.place])) allowed[id] = logits[id];
    const id = this.givenBack[this.place];
    if (this.place + 1 < this.givenBack.length && id < logits.length) {
      allowed[id] = logits[id] + this.logShares[this.place + 1];
    }
    return allowed;
  }

  /** Record a token. Returns whether it only wrote text that was there. */
  accept(id) {
    const added = this.spellings.byModelId[id].length - this.rests[this.place].length;
    this.place = added < 0 ? this.place + 1 : this.givenBack.length;
    return added <= 0;
  }

  /** For each token given back, the log-probability that a text goes on with it and all after it, in any tokens. */
  measure(model) {
    const shares = new Float64Array(this.givenBack.length);
    const state = model.state;
    const scores = this.givenBack.slice(0, -1).map((id) => {
      model.read(id);
      const { weights, total } = weightsOf(model.logits());
      return weights.map((weight) => weight / total);
    });
    if (scores.length) model.state = state;
    for (let place = shares.length - 1; place > 0; place--) {
      const own = scores[place - 1];
      let ways = 0;
      for (const id of this.spellings.beginningWith(this.rests[place])) ways += own[id];
      const id = this.givenBack[place];
      if (place + 1 < shares.length && id < own.length) ways += own[id] * exp(shares[place + 1]);
      shares[place] = log(ways);
    }
    return shares;
  }
}


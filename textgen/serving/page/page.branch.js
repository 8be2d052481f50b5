// A text and its tokens, as data: what a stream adds to it, what undoing takes away.

/**
 * A text that is being written: a prompt, and tokens after it.
 *
 * A token has its ids (several only where one was chosen by its text), its name, where its text begins and ends in
 * `characters`, its log-probability, and the alternatives at its place as pairs of name and log-probability, most
 * likely first. Characters are code points, as the server counts them.
 */
class Branch {
  constructor(model, label, prompt) {
    this.model = model;
    this.label = label;
    this.prompt = prompt;
    this.characters = Array.from(prompt);
    this.promptIds = null; // those that were read; known once the server has answered
    this.tokens = [];
    this.ending = null; // why it ended: a finish reason, "stopped", or "lost"; null while nothing ended it
    this.shift = null; // from the server's counting of characters to ours, in the present request
  }

  /** A new branch that has the tokens before a place, and then another one. */
  branchAt(place, chosen) {
    const { start } = this.tokens[place];
    const branch = new Branch(this.model, this.label, this.prompt);
    branch.characters = this.characters.slice(0, start);
    branch.promptIds = this.promptIds;
    branch.tokens = this.tokens.slice(0, place);
    branch.append({ ...chosen, alternatives: this.tokens[place].alternatives, isChosen: true });
    return branch;
  }

  append({ text, ...token }) {
    const start = this.characters.length;
    for (const character of text) this.characters.push(character);
    this.tokens.push({ ...token, start, end: this.characters.length });
  }

  /** What the next request continues: ids as soon as they are known, because they are exact. */
  get continued() {
    if (!this.tokens.length || !this.promptIds) return this.characters.join("");
    return this.promptIds.concat(this.tokens.flatMap((token) => token.ids));
  }

  get text() {
    return this.characters.join("");
  }

  /** The prompt, up to the first token. */
  get beginning() {
    return this.characters.slice(0, this.tokens[0]?.start).join("");
  }

  /** Whether a token is the one that ended the text, which has none itself. */
  isEnd(place) {
    const { start, end } = this.tokens[place];
    return start === end && this.ending === "stop" && place === this.tokens.length - 1;
  }

  textOf(token) {
    return this.characters.slice(token.start, token.end).join("");
  }

  /** Prepare for a request that continues this text. */
  begin() {
    // After the end of a text, what follows is another one.
    if (this.ending === "stop" && this.tokens.length) this._extendLast(["\n"]);
    this.ending = null;
    this.shift = this.tokens.length ? null : 0;
  }

  /** Take in a choice of a stream. Returns the place of the first token that is new or has another text. */
  read(choice) {
    const { token_ids: ids = [], logprobs, text } = choice;
    this.promptIds ??= choice.prompt_token_ids ?? null;
    const before = this.tokens.length;
    const known = this.characters.length;
    const offsets = logprobs?.text_offset ?? [];
    if (this.shift === null && offsets.length) this.shift = known - offsets[0];
    for (const character of text) this.characters.push(character);
    ids.forEach((id, index) => this.tokens.push({
      ids: [id], name: logprobs.tokens[index], logProbability: logprobs.token_logprobs[index],
      alternatives: sortedAlternatives(logprobs.top_logprobs[index]), isChosen: false,
      start: Math.min(offsets[index] + this.shift, this.characters.length), end: 0,
    }));
    this._setEnds(before);
    if (choice.finish_reason) this.ending = choice.finish_reason;
    // Text or the end of the text may come later than its token.
    return Math.max(0, this.characters.length > known || choice.finish_reason ? before - 1 : before);
  }

  /** Note that it ended and why, after its last choice. */
  finish(ending) {
    this.ending = ending;
    // The server writes whole characters: one that is not complete will be drawn again from its first token.
    let numWhole = this.tokens.length;
    while (numWhole && this._isPartOfCharacter(numWhole - 1)) numWhole -= 1;
    this.tokens.length = numWhole;
  }

  /** The present state, to which `restore` returns. */
  mark() {
    return { numTokens: this.tokens.length, numCharacters: this.characters.length, ending: this.ending };
  }

  restore({ numTokens, numCharacters, ending }) {
    this.ending = ending;
    this.tokens = this.tokens.slice(0, numTokens); // `finish` may have left fewer
    const last = this.tokens[this.tokens.length - 1];
    if (last) this.characters.length = last.end = numCharacters;
    // The first token may have written the end of the prompt again; without tokens the prompt is all there.
    else this.characters = Array.from(this.prompt);
  }

  // A token's text ends where the next one's begins: text may come later than its token, whole characters only.
  _setEnds(first) {
    for (let place = Math.max(0, first - 1); place < this.tokens.length; place++) {
      const next = this.tokens[place + 1];
      this.tokens[place].end = next ? next.start : this.characters.length;
    }
  }

  _isPartOfCharacter(place) {
    const { start, end, name } = this.tokens[place];
    return start === end && isBytes(name);
  }

  _extendLast(characters) {
    this.characters.push(...characters);
    this.tokens[this.tokens.length - 1].end = this.characters.length;
  }
}

function sortedAlternatives(byName) {
  return Object.entries(byName ?? {}).sort((a, b) => b[1] - a[1]);
}

/** Whether a token's name stands for bytes that are no whole characters. */
const isBytes = (name) => name.startsWith("bytes:");

const bitsOf = (token) => -token.logProbability / Math.LN2;

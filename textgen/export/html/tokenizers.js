// Text to token ids and back, with the ids of textgen's own tokenizers: characters, bytes, words and bpe subwords.

// What does not divide a word, and how words are found; as text/vocabulary.py of textgen has it. \s of the two
// languages differs, \p{White_Space} is the same.
const WORDS = /[\p{L}\p{M}\p{N}]{1,32}(?:['’][\p{L}\p{M}]{1,32})?|./gsu;
const WORDS_WITH_SPACE = new RegExp(
  "'(?:[sdmt]|re|ve|ll)| ?[\\p{L}\\p{M}]{1,32}| ?\\p{N}{1,32}| ?[^\\p{White_Space}\\p{L}\\p{M}\\p{N}]{1,32}"
  + "|\\p{White_Space}{1,32}(?!\\P{White_Space})|\\p{White_Space}{1,32}", "gu");

const utf8 = new TextEncoder();

/** A tokenizer from the page's data: its kind, the bytes of each token, and the merges of bpe. */
class Tokenizer {
  constructor({ kind, end_of_text_id, bytes, lengths, merges, normalize }) {
    this.kind = kind;
    this.endOfText = end_of_text_id;
    this.form = normalize && normalize.toUpperCase();
    const all = bytesOf(bytes);
    let place = 0;
    this.tokenBytes = Array.from(numbersOf(Uint16Array, lengths), (length) => all.subarray(place, (place += length)));
    if (kind === "bpe") this.readMerges(numbersOf(Uint32Array, merges));
    else if (kind !== "byte") this.readVocabulary();
  }

  readVocabulary() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.idOf = new Map();
    this.tokenBytes.forEach((bytes, id) => {
      if (id >= 256 && id !== this.endOfText) this.idOf.set(decoder.decode(bytes), id);
    });
  }

  /** merges: (left, right, result) of each, the first to be merged first. */
  readMerges(merges) {
    this.idOfByte = new Array(256);
    this.tokenBytes.forEach((bytes, id) => {
      if (bytes.length === 1 && id !== this.endOfText) this.idOfByte[bytes[0]] = id;
    });
    this.merges = new Map();
    for (let rank = 0; rank < merges.length / 3; rank++) {
      const [left, right, result] = merges.subarray(3 * rank, 3 * rank + 3);
      this.merges.set(left * this.tokenBytes.length + right, { rank, result });
    }
    this.known = new Map(); // the ids of words that were encoded before
  }

  /** The token ids of a text. A lone surrogate becomes U+FFFD: nothing else could be written in UTF-8. */
  encode(text) {
    text = this.normalized(text);
    if (this.kind === "byte") return Array.from(utf8.encode(text));
    const ids = [];
    if (this.kind === "bpe") for (const [word] of text.matchAll(WORDS_WITH_SPACE)) ids.push(...this.merged(word));
    else if (this.kind === "word") {
      for (const [word] of text.matchAll(WORDS)) {
        const id = this.idOf.get(word);
        if (id === undefined) this.spell(word, ids);
        else ids.push(id);
      }
    } else this.spell(text, ids);
    return ids;
  }

  /** A text as training read it. */
  normalized(text) {
    if (this.form) text = text.normalize(this.form);
    return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  }

  /** Append the ids of characters; one without an id becomes its bytes, whose ids are 0 to 255. */
  spell(text, ids) {
    for (const character of text) {
      const id = this.idOf.get(character);
      if (id === undefined) ids.push(...utf8.encode(character));
      else ids.push(id);
    }
  }

  /** The ids of one word: its bytes, merged pair by pair, the earliest merge first, of equals the leftmost. */
  merged(word) {
    const found = this.known.get(word);
    if (found) return found;
    const ids = Array.from(utf8.encode(word), (byte) => this.idOfByte[byte]);
    const size = this.tokenBytes.length;
    for (;;) {
      let best = null;
      let place = -1;
      for (let i = 0; i + 1 < ids.length; i++) {
        const merge = this.merges.get(ids[i] * size + ids[i + 1]);
        if (merge && (!best || merge.rank < best.rank)) [best, place] = [merge, i];
      }
      if (!best) break;
      ids.splice(place, 2, best.result);
    }
    if (this.known.size > 50000) this.known.clear();
    this.known.set(word, ids);
    return ids;
  }
}

/** Where UTF-8 stands between bytes. 0: between characters. 1, 2, 3: so many continuation bytes must follow. 4 to 7:
    after a lead byte that allows only some of them. -1: what no text has. */
function utf8After(state, byte) {
  if (state === 0) {
    if (byte < 0x80) return 0;
    if (byte < 0xc2 || byte > 0xf4) return -1;
    return byte < 0xe0 ? 1 : { 0xe0: 4, 0xed: 5, 0xf0: 6, 0xf4: 7 }[byte] || (byte < 0xf0 ? 2 : 3);
  }
  const [low, high] = { 4: [0xa0, 0xbf], 5: [0x80, 0x9f], 6: [0x90, 0xbf], 7: [0x80, 0x8f] }[state] || [0x80, 0xbf];
  if (byte < low || byte > high) return -1;
  return state < 4 ? state - 1 : state < 6 ? 1 : 2;
}

/** Which tokens may come next, so that a text never has a broken character. */
class WholeCharacters {
  /** tokenBytes: by model id. endOfText: its model id, or -1. */
  constructor(tokenBytes, endOfText) {
    this.tokenBytes = tokenBytes;
    this.endOfText = endOfText;
    const after = Array.from({ length: 8 }, (_, state) => tokenBytes.map((bytes, id) =>
      (id === endOfText ? (state ? -1 : 0) : bytes.reduce((now, byte) => (now < 0 ? now : utf8After(now, byte)), state))));
    // Null: every token is whole.
    this.masks = after[0].every((state) => state === 0) ? null : this.makeMasks(after);
  }

  /** The tokens after which the character can be completed, by state. */
  makeMasks(after) {
    const whole = new Set([0]);
    for (let before = 0; before < whole.size;) {
      before = whole.size;
      after.forEach((states, state) => { if (states.some((next) => whole.has(next))) whole.add(state); });
    }
    return after.map((states) => Uint8Array.from(states, (next) => whole.has(next)));
  }

  /** The state after a token. */
  after(state, id) {
    return id === this.endOfText ? state : this.tokenBytes[id].reduce((now, byte) => Math.max(0, utf8After(now, byte)), state);
  }
}


// What surprises the network in the text that is typed: surprisal by token, and what it expected there.

const MOST_READ = 4000; // characters, the last ones
const NUM_ALTERNATIVES = 8;

const reading = { tokens: [], place: null, timer: 0 };

/** Read the prompt again, shortly after the last key. */
function readSoon() {
  clearTimeout(reading.timer);
  reading.timer = setTimeout(readNow, 60);
}

function readNow() {
  if (sheet.writer && !sheet.writer.ending) { // only one text at a time may use the network
    readSoon();
    return;
  }
  const text = byId("prompt").value.slice(-MOST_READ);
  reading.tokens = [...score(model, text, chosenLabel(), NUM_ALTERNATIVES)];
  byId("read").replaceChildren(...reading.tokens.map(tokenSpan));
  hideExpected();
  const bits = reading.tokens.reduce((sum, token) => sum + token.bits, 0);
  const characters = [...text].length;
  byId("read-bits").textContent = characters ? `${(bits / characters).toFixed(2)} bits per character` : "";
}

/** Show what was expected in place of a token. */
function showExpected(place) {
  const token = reading.tokens[place];
  const span = byId("read").children[place];
  if (!token?.alternatives.length) return;
  hideExpected();
  reading.place = place;
  span.classList.add("cursor");
  const bars = make("div", { className: "bars" }, ...token.alternatives.flatMap(({ id, probability }) => {
    const bar = make("i");
    bar.style.width = `${100 * probability}%`;
    const className = id === token.id ? "actual" : "";
    return [make("bdi", { className, textContent: nameOf(id) }), make("span", {}, bar),
      make("span", { className: "share", textContent: likelihood(probability) })];
  }));
  const heading = make("p", { className: "heading" }, make("bdi", { textContent: visible(token.text) }),
    make("span", { textContent: `${token.bits.toFixed(1)} bits` }));
  byId("detail").replaceChildren(heading, bars);
  placeNear(byId("detail"), span);
}

function hideExpected() {
  byId("read").children[reading.place]?.classList.remove("cursor");
  reading.place = null;
  byId("detail").hidden = true;
}

/** A token of the model, readable: its text, ◆ for end-of-text, or the bytes of a part of a character. */
function nameOf(id) {
  if (id === model.endOfText) return "◆";
  const bytes = model.characters.tokenBytes[id];
  try {
    return visible(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    return `⟨${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")}⟩`;
  }
}

function wireReading() {
  const box = byId("read");
  const placeOf = (element) => [...box.children].indexOf(element);
  box.addEventListener("pointerover", ({ target }) => showExpected(placeOf(target)));
  box.addEventListener("pointerleave", hideExpected);
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = reading.place ?? (step > 0 ? -1 : reading.tokens.length);
    showExpected(clamp(from + step, 0, reading.tokens.length - 1));
  });
  box.addEventListener("blur", hideExpected);
  byId("prompt").addEventListener("input", readSoon);
  byId("label").addEventListener("input", readSoon);
  byId("reading").hidden = false;
  readSoon();
}


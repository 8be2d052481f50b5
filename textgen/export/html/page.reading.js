// What surprises the network in the text that is typed: surprisal by token, and what it expected there.

const MOST_READ = 2000; // characters, the last ones
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
  const all = [...byId("prompt").value];
  const characters = all.slice(-MOST_READ);
  reading.tokens = [];
  const values = [];
  for (const token of score(model, characters.join(""), chosenLabel(), NUM_ALTERNATIVES)) {
    reading.tokens.push(token);
    values.push(unitValues(model.network));
  }
  hideExpected();
  // The box says the bits.
  byId("read").replaceChildren(...reading.tokens.map((token) => Object.assign(tokenSpan(token), { title: "" })));
  showUnits(values);
  const bits = reading.tokens.reduce((sum, token) => sum + token.bits, 0);
  const part = all.length > MOST_READ ? `, in the last ${number(MOST_READ)} characters` : "";
  byId("read-bits").textContent = all.length ? `${(bits / characters.length).toFixed(2)} bits per character${part}` : "";
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
  const heading = make("div", { className: "heading" }, make("bdi", { textContent: visible(token.text) }),
    make("span", { textContent: `${token.bits.toFixed(1)} bits` }));
  const box = byId("detail");
  const close = make("button", { type: "button", textContent: "×", onclick: hideExpected });
  close.setAttribute("aria-label", "Close");
  box.replaceChildren(heading, bars, close);
  placeNear(box, span);
  drawUnits();
  // On a phone the box is at the bottom of the screen.
  const covered = span.getBoundingClientRect().bottom + 8 - box.getBoundingClientRect().top;
  if (covered > 0 && getComputedStyle(box).position === "fixed") window.scrollBy(0, covered);
}

function hideExpected() {
  byId("read").children[reading.place]?.classList.remove("cursor");
  const wasShown = reading.place !== null;
  reading.place = null;
  byId("detail").hidden = true;
  if (wasShown) drawUnits();
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
  // A finger leaves what it has tapped: then the box stays until something else is tapped.
  box.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "mouse") showExpected(placeOf(target));
  });
  box.addEventListener("pointerleave", ({ pointerType }) => { if (pointerType === "mouse") hideExpected(); });
  box.addEventListener("click", ({ target }) => showExpected(placeOf(target)));
  document.addEventListener("pointerdown", ({ target }) => {
    if (!target.closest("#read, #detail")) hideExpected();
  });
  document.addEventListener("keydown", ({ key }) => { if (key === "Escape") hideExpected(); });
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
  wireUnits();
  byId("reading").hidden = false;
  document.body.classList.add("inspect");
  readSoon();
}


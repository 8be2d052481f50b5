// Texts as coloured tokens.

const FULL_BITS = 8; // of the strongest colour

/** A token as an element, coloured by its surprisal. */
function tokenSpan({ text, bits }) {
  const span = make("span", { textContent: controlPictures(text) });
  paint(span, "surprisal", bits / FULL_BITS);
  if (bits) span.title = `${bits.toFixed(1)} bits`;
  return span;
}

/** Give an element a background of a colour and a strength, from 0 to 1. */
function paint(span, colour, strength) {
  const opacity = Math.min(strength, 1);
  span.style.backgroundColor = opacity < 0.02 ? "" : `rgb(var(--${colour}) / ${opacity.toFixed(3)})`;
}

/** The text that is being written, shown as it grows. */
const sheet = {
  writer: null,
  shown: 0, // tokens

  begin(writer) {
    this.writer = writer;
    this.shown = 0;
    byId("text").replaceChildren(make("span", { className: "prompt", textContent: writer.request.prompt }));
  },

  /** Show the tokens that are new. Those of a text that ended may have been cut at a stop string. */
  update() {
    const { tokens, ending } = this.writer;
    const box = byId("text");
    const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 30;
    if (ending === "stop") {
      while (box.childElementCount > 1) box.lastElementChild.remove();
      this.shown = 0;
    }
    box.append(...tokens.slice(this.shown).filter(({ text }) => text).map(tokenSpan));
    this.shown = tokens.length;
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  },
};

const ENDINGS = {
  length: "Reached the length.", stop: "Reached the stop string.", "end-of-text": "Reached the end of the text.",
  stopped: "Stopped.",
};
const SLICE_MS = 12; // of writing between two looks at the page

/** Write a text, a slice of time after the other. */
function run(writer) {
  sheet.begin(writer);
  byId("text").classList.add("writing");
  byId("share").disabled = false;
  byId("status").textContent = "";
  showButton(true);
  let spent = 0;
  const slice = () => {
    if (sheet.writer !== writer) return; // another one has begun
    const begun = performance.now();
    while (!writer.ending && performance.now() - begun < SLICE_MS) writer.step();
    spent += performance.now() - begun;
    sheet.update();
    if (!writer.ending) {
      setTimeout(slice);
      return;
    }
    byId("text").classList.remove("writing");
    const count = writer.tokens.length;
    const speed = spent > 20 ? ` ${number(Math.round((1000 * count) / spent))} tokens per second.` : "";
    byId("status").textContent = `${number(count)} ${count === 1 ? "token" : "tokens"}. ${ENDINGS[writer.ending]}${speed}`;
    showButton(false);
  };
  slice();
}

/** End the text that is being written, where there is one; it has at least one new token. */
function stopWriting() {
  const { writer } = sheet;
  if (!writer || writer.ending) return;
  while (!writer.ending && writer.left === writer.request.maxTokens) writer.step();
  if (!writer.ending) writer.finish("stopped");
}

function showButton(isWriting) {
  byId("write").textContent = isWriting ? "Stop" : "Write";
  byId("write").classList.toggle("stop", isWriting);
}


// A branch as a column of the page: its text, coloured by how unexpected each token was, and its buttons.

const FULL_BITS = 8; // where the colour scale ends
const FRAME = 10; // milliseconds that may be spent on showing new tokens as often as the screen changes
const LONG_BLOCK = 40; // tokens, after which a new line begins a new block

/** Shows a branch. What it can do is in `actions`: goOn, copy, save, remove, each called with the column. */
class Column {
  constructor(branch, title, note, actions) {
    this.branch = branch;
    this.title = title;
    this.controller = null; // aborts the request while the branch is being written
    this.cursor = null; // the place of the token that the keyboard is at
    this.spans = [];
    this._toRender = 0; // the first place whose span is not that of its token
    this._isFrameWanted = false;
    this._milliseconds = 0; // that showing the latest tokens took
    this._build(note, actions);
    this.render();
  }

  get isWriting() {
    return this.controller !== null;
  }

  _build(note, actions) {
    const button = (text, action) => {
      const made = make("button", { type: "button", textContent: text, onclick: () => action(this) });
      made.setAttribute("aria-label", `${text}: ${this.title}`);
      return made;
    };
    this.prompt = make("span", { className: "prompt" });
    this.text = make("div", { className: "text", tabIndex: 0, dir: "auto" }, this.prompt);
    this.text.setAttribute("role", "region");
    this.text.setAttribute("aria-label",
      `${this.title}. Left and right arrows move between tokens, Enter opens the alternatives.`);
    this.toggle = button("Go on", actions.goOn);
    this.status = make("span", { className: "note status" });
    this.element = make("article", { className: "branch" },
      make("header", {}, make("h3", { textContent: this.title }), make("span", { className: "note" }, note)),
      this.text,
      make("div", { className: "segments" }, this.toggle, button("Copy", actions.copy),
        button("Save", actions.save), button("Remove", actions.remove), this.status));
    this.element.setAttribute("aria-label", this.title);
  }

  /** Show that a request is running, which the controller aborts, or with null that none is. */
  setController(controller) {
    this.controller = controller;
    const name = controller ? "Stop" : "Go on";
    this.toggle.textContent = name;
    this.toggle.setAttribute("aria-label", `${name}: ${this.title}`);
    this.element.classList.toggle("writing", controller !== null);
  }

  /** Show the tokens from a place on with the next frame: however fast they come, as often as the screen changes. */
  changedFrom(place) {
    this._toRender = Math.min(this._toRender, place);
    if (this._isFrameWanted) return;
    this._isFrameWanted = true;
    const draw = () => {
      this._isFrameWanted = false;
      this.render();
    };
    // A very long paragraph takes longer than a frame: it then leaves most of the time to everything else.
    if (this._milliseconds < FRAME) requestAnimationFrame(draw);
    else setTimeout(() => requestAnimationFrame(draw), 3 * this._milliseconds);
  }

  /** Make spans for the tokens that have none yet, and new ones for those that changed. */
  render() {
    const { tokens } = this.branch;
    const started = performance.now();
    const isAtEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 30;
    this._cut(Math.min(this._toRender, tokens.length));
    this.prompt.textContent = controlPictures(this.branch.beginning);
    for (let place = this.spans.length; place < tokens.length; place++) this._append(place);
    this._toRender = tokens.length;
    this.status.textContent = this._statusText();
    const height = this.text.scrollHeight;
    if (isAtEnd && this.isWriting) this.text.scrollTop = height;
    this._milliseconds = performance.now() - started; // with the layout, which asking for the height does
  }

  _cut(place) {
    for (const span of this.spans.splice(place)) {
      if (span.parentElement.firstChild === span) span.parentElement.remove();
      else span.remove();
    }
    if (this.cursor >= place) this.cursor = null;
  }

  // In blocks that end with a line, so that a frame lays out the last of them and not the whole text again.
  _append(place) {
    const last = this.spans[place - 1];
    let block = last?.parentElement;
    if (!block || (block.childElementCount >= LONG_BLOCK && last.textContent.endsWith("\n")))
      block = this.text.appendChild(make(last ? "div" : "span"));
    const span = this._spanOf(this.branch.tokens[place], place);
    span.place = place;
    this.spans.push(span);
    block.append(span);
  }

  _spanOf(token, place) {
    const span = make("span", { className: token.isChosen ? "chosen" : "" });
    const mark = (symbol) => {
      const made = make("i", { textContent: symbol });
      made.setAttribute("aria-hidden", "true");
      span.append(made);
    };
    const text = this.branch.textOf(token);
    if (text === "") mark(this.branch.isEnd(place) ? "◆" : "·");
    controlPictures(text).split("\n").forEach((line, index) => {
      if (index) { mark("↵"); span.append("\n"); }
      span.append(line);
    });
    const opacity = clamp(bitsOf(token) / FULL_BITS, 0, 1);
    if (opacity >= 0.02) span.style.backgroundColor = `rgb(var(--surprisal) / ${opacity.toFixed(3)})`;
    return span;
  }

  _statusText() {
    const { tokens, ending } = this.branch;
    const size = `${number(tokens.length)} ${tokens.length === 1 ? "token" : "tokens"}`;
    if (this.isWriting) return size;
    const reason = ENDINGS[ending];
    return reason ? `${size}. ${reason}` : size;
  }

  /** Move the cursor to a token and scroll it into view. */
  moveTo(place) {
    if (!this.spans.length) return;
    this.spans[this.cursor]?.classList.remove("cursor");
    this.cursor = clamp(place, 0, this.spans.length - 1);
    const span = this.spans[this.cursor];
    span.classList.add("cursor");
    if (this.isInView(span)) return;
    const [box, own] = [this.text.getBoundingClientRect(), span.getBoundingClientRect()];
    this.text.scrollTop += own.top - box.top - this.text.clientHeight / 2;
  }

  isInView(span) {
    const [box, own] = [this.text.getBoundingClientRect(), span.getBoundingClientRect()];
    return own.top >= box.top && own.bottom <= box.bottom;
  }
}

/** What the status says about why a branch ended. */
const ENDINGS = {
  length: "Reached the length.",
  stop: "The model ended the text here.",
  stopped: "Stopped.",
  lost: "Not finished: go on when you like.",
};

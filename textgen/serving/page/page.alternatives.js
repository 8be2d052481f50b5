// The alternatives of a token: a box beside it, whose lines can be chosen to write on from there.

const SHOW_AFTER = 60; // milliseconds with the mouse on a token
const HIDE_AFTER = 300; // and away from it, so that the mouse can get to the box

const shownAlternatives = { column: null, place: null, isPinned: false, timer: 0 };

/** The name of a token for people: white space made visible, and bytes that are no whole character as numbers. */
function shownName(name) {
  const bytes = name.match(/^bytes:((?:\\x[0-9a-f]{2})*)/);
  return bytes ? `⟨${bytes[1].replaceAll("\\x", " ").trim()}⟩` : visible(name);
}

/** Show the alternatives of a token; `isPinned`: until they are closed, and not only while the mouse is there. */
function showAlternatives(column, place, isPinned) {
  clearTimeout(shownAlternatives.timer);
  Object.assign(shownAlternatives, { column, place, isPinned });
  const token = column.branch.tokens[place];
  const box = byId("detail");
  const close = make("button", { type: "button", className: "close", textContent: "×", onclick: hideAlternatives });
  close.setAttribute("aria-label", "Close");
  box.replaceChildren(
    make("div", { className: "heading" }, make("bdi", { textContent: shownName(token.name) }),
      make("span", { textContent: `${likelihood(Math.exp(token.logProbability))}, ${bitsOf(token).toFixed(1)} bits` })),
    make("div", { className: "note", textContent: "Most likely here. Choose one to write on from there:" }),
    make("ol", { className: "choices" }, ...token.alternatives.map((each) => choiceOf(column, place, each))), close);
  placeNear(box, column.spans[place]);
  showPreview();
}

function choiceOf(column, place, alternative) {
  const [name, logProbability] = alternative;
  const bar = make("i");
  bar.style.width = `${100 * Math.exp(logProbability)}%`;
  const isDrawn = name === column.branch.tokens[place].name;
  const button = make("button", { type: "button", className: isDrawn ? "actual" : "" },
    make("bdi", { textContent: shownName(name) }), make("span", { className: "bar" }, bar),
    make("span", { className: "share", textContent: likelihood(Math.exp(logProbability)) }));
  button.disabled = isBytes(name) && !isDrawn; // no text can be written that ends with it
  const remark = isDrawn ? ", as it is: write on from here again" : button.disabled ? ", part of a character" : "";
  button.setAttribute("aria-label", `${shownName(name)}, ${likelihood(Math.exp(logProbability))}${remark}`);
  button.addEventListener("click", () => {
    hideAlternatives();
    branchFrom(column, place, name);
  });
  return make("li", {}, button);
}

function hideAlternatives() {
  clearTimeout(shownAlternatives.timer);
  const box = byId("detail");
  const hadFocus = box.contains(document.activeElement);
  box.hidden = true;
  shownAlternatives.isPinned = false;
  if (hadFocus) shownAlternatives.column.text.focus({ preventScroll: true });
}

/** Tell screen readers about the token at the cursor. */
function announceToken(column) {
  const token = column.branch.tokens[column.cursor];
  const others = token.alternatives.filter(([name]) => name !== token.name).slice(0, 3)
    .map(([name, value]) => `${shownName(name)} ${likelihood(Math.exp(value))}`);
  say(`${shownName(token.name)}: ${likelihood(Math.exp(token.logProbability))}. Others: ${others.join(", ")}`);
}

/** Show alternatives under the mouse, by touch and by the keyboard. */
function wireText(column) {
  const { text } = column;
  const placeOf = (event) => event.target.closest("span")?.place ?? event.target.parentElement?.place;
  const soon = (action, delay) => {
    clearTimeout(shownAlternatives.timer);
    shownAlternatives.timer = setTimeout(action, delay);
  };
  text.addEventListener("pointerover", (event) => {
    const place = placeOf(event);
    if (event.pointerType !== "mouse" || place === undefined || shownAlternatives.isPinned) return;
    soon(() => column.spans[place] && showAlternatives(column, place, false), SHOW_AFTER);
  });
  text.addEventListener("pointerleave", () => {
    if (!shownAlternatives.isPinned) soon(hideAlternatives, HIDE_AFTER);
  });
  text.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place === undefined || !getSelection().isCollapsed) return;
    column.moveTo(place);
    showAlternatives(column, place, true);
  });
  text.addEventListener("scroll", () => {
    const box = byId("detail");
    if (box.hidden || shownAlternatives.column !== column) return;
    const span = column.spans[shownAlternatives.place];
    if (shownAlternatives.isPinned && span && column.isInView(span)) placeNear(box, span);
    else hideAlternatives();
  });
}

function wireAlternatives() {
  const box = byId("detail");
  box.addEventListener("pointerenter", () => clearTimeout(shownAlternatives.timer));
  box.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "mouse" || shownAlternatives.isPinned) return;
    shownAlternatives.timer = setTimeout(hideAlternatives, HIDE_AFTER);
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("#detail, .branch .text")) hideAlternatives();
  });
}

// The keyboard, and what is done when the page opens.

/** What the keys do within the text of a column. */
function keysOfText(column) {
  const last = column.spans.length - 1;
  const move = (place) => () => {
    column.moveTo(place);
    showAlternatives(column, column.cursor, true);
    announceToken(column);
  };
  const here = column.cursor ?? last;
  return {
    ArrowLeft: move(column.cursor === null ? last : here - 1),
    ArrowRight: move(column.cursor === null ? last : here + 1),
    Home: move(0),
    End: move(last),
    Enter: () => {
      if (byId("detail").hidden || column.cursor === null) move(here)();
      byId("detail").querySelector(".choices button:enabled")?.focus();
    },
  };
}

/** What the keys do in the box of alternatives. */
function keysOfAlternatives(active) {
  const buttons = [...byId("detail").querySelectorAll(".choices button:enabled")];
  const step = (by) => () => buttons[(buttons.indexOf(active) + by + buttons.length) % buttons.length].focus();
  return { ArrowUp: step(-1), ArrowDown: step(1) };
}

function onKey(event) {
  const { key, target } = event;
  const control = event.ctrlKey || event.metaKey;
  let action = null;
  if (control && key === "Enter") {
    const column = columns.focused();
    action = column ? () => column.isWriting || goOn(column) : write;
  } else if (control && key.toLowerCase() === "z" && !event.shiftKey && !target.matches("textarea, input")) {
    action = () => columns.undo();
  } else if (key === "Escape") {
    action = byId("detail").hidden ? () => columns.list.forEach(stop) : hideAlternatives;
  } else if (!control && !event.altKey) {
    const column = columns.list.find(({ text }) => text === target);
    if (column?.spans.length) action = keysOfText(column)[key];
    else if (target.closest("#detail")) action = keysOfAlternatives(target)[key];
  }
  if (!action) return;
  event.preventDefault();
  action();
}

function start() {
  buildSliders(JSON.parse(byId("defaults").textContent));
  settings.onChange = showPreview;
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (columns.list.some((column) => column.isWriting)) columns.list.forEach(stop);
    else write();
  });
  byId("undo").addEventListener("click", () => columns.undo());
  byId("clear").addEventListener("click", () => columns.remove(columns.list));
  byId("model").addEventListener("change", showModel);
  byId("colours").addEventListener("change", () => {
    byId("texts").classList.toggle("plain", !byId("colours").checked);
  });
  byId("key-form").addEventListener("submit", takeKey);
  // What a person typed is a seed that he wants.
  byId("seed").addEventListener("input", () => { byId("keep").checked = byId("seed").value !== ""; });
  byId("close-problem").addEventListener("click", hideError);
  byId("settings").open = matchMedia("(min-width: 761px)").matches;
  document.addEventListener("keydown", onKey);
  wireAlternatives();
  showPreview();
  byId("main").hidden = false;
  connect();
}

start();

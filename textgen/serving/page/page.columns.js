// The columns of the page, in their order: adding, removing, undoing, copying and saving.

const columns = {
  list: [],
  history: [], // what undo goes back to: snapshots of the list
  created: 0,

  /** Keep what there is now, for undo. */
  remember() {
    this.history.push(this.list.map((column) => ({ column, mark: column.branch.mark() })));
    if (this.history.length > 100) this.history.shift();
    byId("undo").disabled = false;
  },

  /** Show a branch as a column: the first, or the one after another column. */
  add(branch, note, after = null) {
    this.created += 1;
    const column = new Column(branch, `Text ${this.created}`, note, {
      goOn: (own) => (own.isWriting ? stop(own) : goOn(own)), copy: copyText, save: saveText,
      remove: (own) => this.remove([own]),
    });
    wireText(column);
    this.list.splice(after ? this.list.indexOf(after) + 1 : 0, 0, column);
    this.arrange();
    column.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    return column;
  },

  remove(removed) {
    this.remember();
    removed.forEach(stop);
    this.list = this.list.filter((column) => !removed.includes(column));
    this.arrange();
    say(removed.length === 1 ? `${removed[0].title} removed.` : "All texts removed.");
    byId("undo").focus();
  },

  /** Take back the last of: write, go on, branch, remove. */
  undo() {
    const snapshot = this.history.pop();
    if (!snapshot) return;
    hideAlternatives();
    this.list.forEach(stop);
    for (const { column, mark } of snapshot) {
      column.branch.restore(mark);
      column.changedFrom(Math.max(0, mark.numTokens - 1));
    }
    this.list = snapshot.map(({ column }) => column);
    this.arrange();
    say("Undone.");
    byId("undo").disabled = !this.history.length;
  },

  /** Make the page show the list; columns that are in place already stay untouched, with focus and scrolling. */
  arrange() {
    const parent = byId("columns");
    const wanted = this.list.map(({ element }) => element);
    for (const element of [...parent.children]) if (!wanted.includes(element)) element.remove();
    wanted.forEach((element, place) => {
      if (parent.children[place] !== element) parent.insertBefore(element, parent.children[place] ?? null);
    });
    byId("texts").hidden = !wanted.length;
    showWriting();
    showPreview();
  },

  /** The column that has the keyboard, or that one of its tokens or buttons has. */
  focused() {
    return this.list.find(({ element }) => element.contains(document.activeElement));
  },
};

async function copyText({ branch, title }) {
  try {
    await navigator.clipboard.writeText(branch.text);
  } catch {
    // Browsers have no clipboard for pages that are neither encrypted nor from this machine.
    const field = document.body.appendChild(make("textarea", { value: branch.text }));
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say(`${title} copied.`, true);
}

function saveText({ branch, title }) {
  const address = URL.createObjectURL(new Blob([branch.text], { type: "text/plain;charset=utf-8" }));
  const name = `${branch.model}-${title}`.replace(/[^\p{L}\p{N}]+/gu, "-").toLowerCase();
  make("a", { href: address, download: `${name}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  say(`${title} saved.`, true);
}

/** Tell screen readers something; `visibly`, everybody, for a moment. */
function say(text, visibly = false) {
  byId("live").textContent = text;
  byId("live").classList.toggle("hidden", !visibly);
  clearTimeout(say.timer);
  say.timer = setTimeout(() => byId("live").classList.add("hidden"), 2500);
}

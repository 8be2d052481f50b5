// Writing: new texts, going on, branching, stopping, and what happens when the server fails.

/** Write new texts from the prompt, each with a seed of its own, side by side. */
async function write() {
  const { model } = settings;
  if (!model) return connect();
  hideError();
  const prompt = byId("prompt").value;
  const first = settings.takeSeed();
  const sampling = settings.sampling();
  columns.remember();
  const added = Array.from({ length: settings.values.copies }, (_, index) => first + index)
    .reverse() // each goes before the one with the next seed
    .map((seed) => {
      const branch = new Branch(model.id, settings.label, prompt);
      return { seed, column: columns.add(branch, noteOf(branch, sampling, seed)) };
    });
  await Promise.all(added.map(({ column, seed }) => run(column, seed, sampling)));
}

/** Write on where a text ends. */
async function goOn(column) {
  columns.remember();
  hideError();
  await run(column, settings.takeSeed(), settings.sampling());
}

/** A new column that has an alternative in place of a token, and writes on from there. */
async function branchFrom(column, place, name) {
  hideError();
  const { branch } = column;
  try {
    const chosen = await tokenOf(branch, place, name);
    columns.remember();
    const [seed, sampling] = [settings.takeSeed(), settings.sampling()];
    const added = columns.add(branch.branchAt(place, chosen), noteOf(branch, sampling, seed), column);
    added.text.focus({ preventScroll: true });
    await run(added, seed, sampling);
  } catch (error) {
    showError(error);
  }
}

/** The token of a name, as it is at a place of a branch or as the server tokenizes its text. */
async function tokenOf(branch, place, name) {
  const drawn = branch.tokens[place];
  const logProbability = new Map(drawn.alternatives).get(name);
  if (name === drawn.name) return { ...drawn, text: branch.textOf(drawn) };
  const known = idsByName.get(`${branch.model} ${name}`);
  if (known !== undefined) return { name, ids: [known], text: name, logProbability };
  const { names, ids } = await tokenized(branch.model, name);
  if (names.join("") === name) return { name, ids, text: name, logProbability };
  throw new ServerError(`${shownName(name)} cannot be chosen: no text by itself is written as this token.`);
}

/** The ids of the tokens that were drawn so far, by run and name, as names are all different. */
const idsByName = new Map();

/** Let the server continue a column's branch until it ends, is stopped or fails. */
async function run(column, seed, sampling) {
  const { branch } = column;
  const controller = new AbortController();
  column.setController(controller);
  showWriting();
  try {
    // A server of a single run would continue the ids of any other.
    if (!settings.models.some(({ id }) => id === branch.model))
      throw new ServerError(`The server does not have ${branch.model} any more.`, 404);
    await makeExact(branch);
    branch.begin();
    const body = { model: branch.model, prompt: branch.continued, ...sampling, seed, logprobs: 8, return_token_ids: true };
    if (branch.label) body.label = branch.label;
    for await (const choice of streamChoices(body, controller.signal)) {
      if (column.controller !== controller) return; // stopped, and perhaps begun again
      const numTokens = branch.tokens.length;
      column.changedFrom(branch.read(choice));
      for (const token of branch.tokens.slice(numTokens)) idsByName.set(`${branch.model} ${token.name}`, token.ids[0]);
    }
  } catch (error) {
    if (column.controller !== controller) return;
    ended(column, "lost");
    showError(error);
    return;
  }
  if (column.controller === controller) ended(column, branch.ending);
}

/** Make sure that what is known about the prompt of a branch is how the server reads it. */
async function makeExact(branch) {
  const first = branch.tokens[0];
  if (!first) {
    // Only such a prompt can become another text, in the Unicode form of the run.
    if (["NFC", "NFD", "NFKC", "NFKD"].every((form) => branch.prompt.normalize(form) === branch.prompt)) return;
    branch.prompt = (await tokenized(branch.model, branch.prompt)).text;
    branch.characters = Array.from(branch.prompt);
  } else if (!branch.isExact && first.start < Array.from(branch.prompt).length) {
    // The end of the prompt was not read but drawn again, so that a word that it cuts off can go on.
    const { ids, starts } = await tokenized(branch.model, branch.prompt);
    branch.promptIds = ids.filter((_, index) => starts[index] < first.start);
    branch.isExact = true;
  }
}

/** Note that a column is no longer being written, and why. */
function ended(column, ending) {
  const { branch, title } = column;
  branch.finish(ending);
  column.setController(null);
  column.changedFrom(branch.tokens.length);
  showWriting();
  if (byId("detail").hidden) Object.assign(shownAlternatives, { column, place: branch.tokens.length - 1 });
  showPreview();
  say(`${title}: ${number(branch.tokens.length)} tokens. ${ENDINGS[branch.ending] ?? ""}`);
}

/** Stop a column that is being written; the server is told by the end of the connection. */
function stop(column) {
  if (!column.isWriting) return;
  const { controller } = column;
  ended(column, "stopped");
  controller.abort();
}

/** Show whether something is being written: the main button writes or stops. */
function showWriting() {
  const isWriting = columns.list.some((column) => column.isWriting);
  byId("write").textContent = isWriting ? "Stop" : "Write";
  byId("write").classList.toggle("stop", isWriting);
}

/** One line about how a text is drawn, for the head of its column. */
function noteOf(branch, sampling, seed) {
  const parts = [`seed ${seed}`];
  for (const { name, label } of SLIDERS)
    if (name in sampling && name !== "max_tokens") parts.push(`${label.toLowerCase()} ${sampling[name]}`);
  if (branch.label) parts.push(`label ${branch.label}`);
  if (settings.models.length > 1) parts.unshift(branch.model);
  return parts.join(" · ");
}

// The server: requests with the key, completions as they come, and what can go wrong.

/** What a request failed with, as one line. status: that of HTTP, or 0 if the server did not answer. */
class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The API key, kept until the tab is closed, and only in memory where the browser keeps nothing. */
const apiKey = {
  value: null,
  get() {
    try { return sessionStorage.getItem("textgen-key") ?? this.value; } catch { return this.value; }
  },
  set(key) {
    this.value = key;
    try { sessionStorage.setItem("textgen-key", key); } catch { /* kept in memory */ }
  },
};

/** Fetch a path of the server; a body is sent with POST, as JSON. Throws ServerError, or AbortError. */
async function request(path, { body, signal } = {}) {
  const headers = {};
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await orServerError(fetch(path, {
    method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store",
  }), "The server does not answer.");
  if (!response.ok) throw new ServerError(await messageOf(response), response.status);
  return response;
}

/** What a promise of the network gives; its failures become a ServerError with this message. */
async function orServerError(promise, message) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(message);
  }
}

/** The message of a refusal: that of its JSON, or else its status. */
async function messageOf(response) {
  try {
    return oneLine((await response.json()).error.message);
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

const oneLine = (text) => String(text).replace(/\s+/g, " ").trim();

async function fetchModels() {
  return (await orServerError((await request("v1/models")).json(), "The server sent no list of runs.")).data;
}

/** Whether the server answers and is ready. */
async function isHealthy() {
  try {
    await request("health");
    return true;
  } catch {
    return false;
  }
}

/** The choices of a completion, one after the other, as they come. Throws as `request` does. */
async function* streamChoices(body, signal) {
  const response = await request("v1/completions", { body: { ...body, stream: true }, signal });
  for await (const data of serverEvents(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(oneLine(chunk.error.message), STATUS_OF[chunk.error.type] ?? 500);
    yield* chunk.choices;
  }
  throw new ServerError(LOST);
}

const STATUS_OF = { service_unavailable_error: 503 }; // of errors in a stream
const LOST = "The connection to the server was lost.";

/** The data of each server-sent event; comments, which keep the connection alive, are skipped. */
async function* serverEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  while (true) {
    const { value, done } = await orServerError(reader.read(), LOST);
    if (done) return;
    const events = (buffer + value).split(/\r?\n\r?\n/);
    buffer = events.pop();
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}

/** How the server reads a text: the text in the run's Unicode form, its tokens' names and ids, and where each begins. */
async function tokenized(model, text) {
  const body = { model, prompt: text, max_tokens: 0, echo: true, logprobs: 0, return_token_ids: true };
  const [choice] = (await (await request("v1/completions", { body })).json()).choices;
  return {
    text: choice.text, names: choice.logprobs.tokens, ids: choice.prompt_token_ids, starts: choice.logprobs.text_offset,
  };
}

// Whether the server can be used: the list of runs, the key, errors in one line, and waiting for it to come back.

const FIRST_WAIT = 1000; // milliseconds between two questions to a server that is away; more with each
const LONGEST_WAIT = 8000;
const AWAY = new Set([0, 502, 503, 504]); // statuses of a server that may come back

/** Ask the server for its runs and show them. Returns whether it answered. */
async function connect() {
  try {
    showModels(await fetchModels());
    byId("key-form").hidden = true;
    hideError();
    return true;
  } catch (error) {
    showError(error);
    return false;
  }
}

/** Show an error in one line; ask for the key where one is missing, and wait for a server that is away. */
function showError(error) {
  if (!(error instanceof ServerError)) throw error; // a bug, which belongs to the console
  const needsKey = error.status === 401;
  byId("key-form").hidden = !needsKey;
  const isAway = AWAY.has(error.status);
  byId("error").textContent = needsKey
    ? (apiKey.get() ? "The server does not take this key." : "This server needs an API key.")
    : isAway ? `${error.message} Waiting for it to come back…` : error.message;
  byId("problem").hidden = false;
  if (needsKey) byId("key").focus();
  if (isAway) waitForServer();
}

function hideError() {
  byId("problem").hidden = true;
  byId("error").textContent = "";
}

/** Ask now and then whether the server is back; texts go on only when somebody says so. */
async function waitForServer() {
  if (waitForServer.isWaiting) return;
  waitForServer.isWaiting = true;
  for (let wait = FIRST_WAIT; ; wait = Math.min(1.5 * wait, LONGEST_WAIT)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (await isHealthy()) break;
  }
  waitForServer.isWaiting = false;
  if (await connect()) say("The server is back.", true);
}

function takeKey(event) {
  event.preventDefault();
  const key = byId("key").value.trim();
  // Other characters cannot be sent in a header.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    byId("error").textContent = "A key has only letters, digits and signs of ASCII, without spaces.";
    return;
  }
  apiKey.set(key);
  byId("key").value = "";
  connect();
}

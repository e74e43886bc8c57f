// Asking the server, and asking again.

const RETRY_S = 5; // when the server can't be reached, or doesn't say when to ask again
const MOST_S = 60;

const LONGEST = 500;
const ROOT = new URL("../", import.meta.url); // of the server, behind whatever prefix

/** A text as the server takes it: no control characters, no half of a pair, not too long. */
export function readable(text) {
  return text.replace(/[\p{Cc}\s]+/gu, " ").trim().slice(0, LONGEST).toWellFormed();
}

/** The server says no; asking again would not help. */
export class Refused extends Error {
  constructor(problem) {
    const fields = (problem.errors ?? []).map((each) => `${each.field}: ${each.message}`);
    super([problem.detail || problem.title, ...fields].join("; "));
    this.status = problem.status;
  }
}

/** Nobody can answer now; worth asking again after some seconds. */
export class Unavailable extends Error {
  /** @param answered whether the server said so: then nothing of what was asked has happened */
  constructor(message, seconds, answered) {
    super(message);
    this.seconds = seconds;
    this.answered = answered;
  }
}

/**
 * Returns {data, ms, headers}: the answer, and the milliseconds it took as seen from here.
 *
 * @param text whether the answer is a text instead of JSON
 */
export async function ask(path, { body, query, token, signal, text = false } = {}) {
  const headers = { Accept: text ? "*/*" : "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  const address = new URL(query ? `${path}?${new URLSearchParams(query)}` : path, ROOT);
  const method = body === undefined ? "GET" : "POST";
  const started = performance.now();
  let response, data;
  try {
    response = await fetch(address, {
      method, headers, signal, cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const read = response.ok && text ? response.text() : response.json();
    data = await read.catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unavailable("The server can’t be reached.", RETRY_S, false);
  }
  const ms = performance.now() - started;
  if (response.ok && data !== null) return { data, ms, headers: response.headers };
  const problem = data ?? {
    title: response.status === 503
      ? "The server is busy." : `The server answered ${response.status} without saying why.`,
    status: response.status,
  };
  if (response.status !== 503) throw new Refused(problem);
  const wanted = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const seconds = Math.min(Math.max(Number.isNaN(wanted) ? RETRY_S : wanted, 1), MOST_S);
  throw new Unavailable(problem.detail || problem.title, seconds, true);
}

/**
 * An answer that follows what is asked for: only the newest request counts, older ones are aborted.
 * When nobody can answer it waits as long as the server wants, says so, and asks again.
 */
export class Live {
  /**
   * @param request (signal) => promise of {data, ms}
   * @param show    ({data, ms}) => void
   * @param status  ({state: "asking" | "shown" | "refused" | "waiting", message, seconds}) => void
   */
  constructor({ request, show, status }) {
    Object.assign(this, { request, show, status });
    this.controller = new AbortController();
  }

  /** What is asked for has changed; ask after `delay` ms without another change. */
  change(delay = 0) {
    this.controller.abort();
    clearTimeout(this.timer);
    if (delay) this.timer = setTimeout(() => this.run(), delay);
    else this.run();
  }

  async run() {
    clearTimeout(this.timer);
    this.controller.abort();
    const { signal } = (this.controller = new AbortController());
    this.status({ state: "asking" });
    try {
      const answer = await this.request(signal);
      if (signal.aborted) return;
      this.status({ state: "shown" });
      this.show(answer);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Unavailable) this.wait(error, error.seconds, signal);
      else if (error instanceof Refused) this.status({ state: "refused", message: error.message });
      else throw error;
    }
  }

  wait(error, seconds, signal) {
    if (signal.aborted) return;
    if (seconds <= 0) {
      this.run();
      return;
    }
    const first = seconds === error.seconds;
    this.status({ state: "waiting", message: error.message, seconds, first });
    this.timer = setTimeout(() => this.wait(error, seconds - 1, signal), 1000);
  }
}

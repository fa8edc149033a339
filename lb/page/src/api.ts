// How the page asks: fetch with the token, and the stream of what happens.

const KEY = "weir-token";
let asking: Promise<string> | null = null;
let askToken: () => Promise<string> = () => Promise.reject(new Error("nobody to ask"));

/** Says who asks the person for a token. */
export function onToken(ask: () => Promise<string>): void {
  askToken = ask;
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** An answer that is a refusal. */
export class Refused extends Error {
  constructor(readonly status: number, detail: string, readonly parameter: string | null) {
    super(detail);
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const sent = sessionStorage.getItem(KEY);
    const response = await fetch(path, { ...init, headers: { ...headers(), ...init.headers }, credentials: "omit", redirect: "error" });
    if (response.status !== 401) return response;
    // One that came meanwhile is tried; one that is not good here is forgotten, for without one it may go too.
    if (sent !== sessionStorage.getItem(KEY)) continue;
    if (sent !== null) {
      sessionStorage.removeItem(KEY);
      continue;
    }
    // Whoever is refused first asks; the others wait for the same answer.
    asking ??= askToken().finally(() => (asking = null));
    sessionStorage.setItem(KEY, await asking);
  }
}

async function read<T>(response: Response): Promise<T> {
  const value = (await response.json().catch(() => null)) as (T & { detail?: string; parameter?: string }) | null;
  if (!response.ok || value === null) {
    throw new Refused(response.status, value?.detail ?? `${response.status} ${response.statusText}`, value?.parameter ?? null);
  }
  return value;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return read(await ask(path, signal ? { signal } : {}));
}

export async function post<T>(path: string): Promise<T> {
  return read(await ask(path, { method: "POST" }));
}

export interface StreamHandler {
  message(name: string, data: unknown): void;
  /** Connected, or not and why. */
  state(connected: boolean, why: string): void;
}

/** Longest silence: there is a sample each second. */
const SILENCE = 8000;

/** Follows the stream for ever. Not EventSource: that cannot send a token. */
export async function follow(handler: StreamHandler): Promise<never> {
  let last: string | null = null;
  let process: unknown = null;
  let pause = 0;
  for (;;) {
    const dead = new AbortController();
    const begun = Date.now();
    let good = false;
    let another = false;
    let timer = setTimeout(() => dead.abort(), SILENCE);
    try {
      const response = await ask("/api/v1/stream", { signal: dead.signal, headers: last ? { "Last-Event-ID": last } : {}, cache: "no-store" });
      if (!response.ok || !response.body) await read(response);
      for await (const frame of frames(response.body!)) {
        clearTimeout(timer);
        timer = setTimeout(() => dead.abort(), SILENCE);
        handler.state(true, "");
        good = true;
        pause = 0;
        if (frame.id) last = frame.id;
        const data: unknown = frame.data ? JSON.parse(frame.data) : null;
        if (data !== null) handler.message(frame.event, data);
        if (frame.event !== "state") continue;
        // Another process numbers its events anew: after the last of the one before it begins in the midst.
        const { started } = data as { started: unknown };
        another = process !== null && process !== started && last !== null;
        process = started;
        if (another) {
          last = null;
          break;
        }
      }
      // It ends now and then by itself; whoever comes back at once has missed nothing. One that ends at once is no stream.
      if (Date.now() - begun < 1000 && !another) pause = 1000;
    } catch (error) {
      // A line that was good and broke is taken up again at once: only if that fails is it news.
      if (!good || dead.signal.aborted) {
        handler.state(false, error instanceof Refused ? error.message : "Weir does not answer");
        pause = Math.min(5000, pause + 500);
      } else if (Date.now() - begun < 1000) {
        pause = 1000;
      }
    } finally {
      clearTimeout(timer);
      dead.abort();
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

interface Frame { id: string | null; event: string; data: string }

/** The frames of a text/event-stream, and an empty one for each comment. */
async function* frames(body: ReadableStream<Uint8Array>): AsyncGenerator<Frame> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      yield parse(rest.slice(0, end));
      rest = rest.slice(end + 2);
    }
  }
}

function parse(block: string): Frame {
  const frame: Frame = { id: null, event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    const value = line.slice(colon + 2);
    if (line.startsWith("id:")) frame.id = value;
    else if (line.startsWith("event:")) frame.event = value;
    else if (line.startsWith("data:")) frame.data += value;
  }
  return frame;
}

// Is the server there, and is it still the same one?
//
// It answers /likeness/alive with an id that it draws when it starts. A visitor's heads live in its memory alone, so
// another id means that they are gone there; the one on show is in the browser and can still be saved.

export const SENTENCES = {
  offline: "You are offline. The head can still be moved, lit and downloaded; new ones have to wait for the network.",
  unreachable: "The server does not answer. The head can still be moved, lit and downloaded; trying again by itself.",
  restarted:
    "The server was restarted and has forgotten your head; the one you see can still be downloaded. " +
    "Make it again to change its shape.",
  interrupted:
    "The connection broke while the server was at work. The head you see can still be downloaded; " +
    "reload the page to make another.",
  viewer: "The 3D viewer did not start: a part of it has not arrived.",
};

const POLL_MS = 20_000;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000];
const VIEWER_MS = 20_000;

/** Asks the server now and then, more often while it is silent, and tells what is wrong. */
export class Connection {
  #ask;
  #tell;
  #online;
  #server = null;
  #failures = 0;
  #interrupted = false;
  #problem = null;
  #viewer = null;
  #told = null;
  #timer = null;
  #asking = null;
  #waiting = [];

  /**
   * ask: () => a promise of the server's id, rejected where there is no answer. tell: called with a key of SENTENCES or
   * null, whenever that changes. online: () => whether the browser thinks that there is a network.
   */
  constructor(ask, tell, online = () => navigator.onLine) {
    this.#ask = ask;
    this.#tell = tell;
    this.#online = online;
  }

  /** Ask now. Resolves when the answer is in. */
  check() {
    this.#asking ??= this.#checkOnce().finally(() => (this.#asking = null));
    return this.#asking;
  }

  /** Resolves as soon as the same server answers; at once if nothing is known to be wrong after asking again. */
  async mended() {
    await this.check();
    if (this.#failures === 0 && this.#problem !== "restarted") return;
    await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** The page's own connection has given up: it takes a reload, whatever the server says later. */
  interrupt() {
    this.#interrupted = true;
    this.#report();
    return this.check();
  }

  /** The viewer was told to start; its first message must come in time. */
  expectViewer() {
    clearTimeout(this.#viewer);
    this.#viewer = setTimeout(() => {
      this.#viewer = "late";
      this.#report();
    }, VIEWER_MS);
  }

  viewerStarted() {
    if (this.#viewer !== "late") clearTimeout(this.#viewer);
    this.#viewer = null;
    this.#report();
  }

  async #checkOnce() {
    clearTimeout(this.#timer);
    try {
      const server = await this.#ask();
      this.#server ??= server;
      this.#failures = 0;
      // Never taken back: what was forgotten stays so.
      this.#problem = this.#problem === "restarted" || server !== this.#server ? "restarted" : null;
    } catch {
      this.#failures += 1;
      // A single request may be lost; the second comes soon.
      if (this.#problem !== "restarted" && (this.#failures > 1 || !this.#online())) {
        this.#problem = this.#online() ? "unreachable" : "offline";
      }
    }
    if (this.#failures === 0 && this.#problem === null) this.#waiting.splice(0).forEach((resolve) => resolve());
    const wait = this.#failures ? RETRY_MS[Math.min(this.#failures, RETRY_MS.length) - 1] : POLL_MS;
    this.#timer = setTimeout(() => this.check(), wait);
    this.#report();
  }

  #report() {
    const interrupted = this.#interrupted ? "interrupted" : null;
    const viewer = this.#viewer === "late" ? "viewer" : null;
    const problem = this.#problem ?? interrupted ?? viewer;
    if (problem === this.#told) return;
    this.#told = problem;
    this.#tell(problem);
  }
}

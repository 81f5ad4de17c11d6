// The recordings of this session and what the service said of each. They live in this page only:
// closing it forgets them.

import { Problem, apiKey, predict } from "./service.js";

const MOST = 50;
const MOST_RETRIES = 5;

export class Clips extends EventTarget {
  constructor({ maxBytes, fields }) {
    super();
    this.maxBytes = maxBytes;
    this.fields = fields; // () => what every request says beside the file
    this.all = [];
    this.selected = null;
    this.working = false;
    this.nextId = 1;
  }

  // Queue recordings, newest first, and show the first of them.
  add(recordings) {
    const added = recordings.map(({ file, name, origin }) => ({
      id: this.nextId++, file, name, origin, state: "waiting", progress: 0, retries: 0,
    }));
    if (!added.length) return;
    this.all = [...added, ...this.all];
    this.all.slice(MOST).filter((clip) => clip.answer || clip.problem).forEach((clip) => this.forget(clip));
    this.select(added[0]);
    this.work();
  }

  select(clip) {
    this.selected = clip;
    this.tell(clip);
  }

  forget(clip) {
    clip.controller?.abort();
    clip.state = "forgotten";
    this.all = this.all.filter((each) => each !== clip);
    if (this.selected === clip) this.selected = this.all[0] ?? null;
    this.tell(clip);
  }

  clear() {
    [...this.all].forEach((clip) => this.forget(clip));
  }

  cancel(clip) {
    clip.controller?.abort();
    if (clip.state !== "failed") this.fail(clip, new Problem({ title: "Cancelled", detail: "Nothing was judged." }));
  }

  again(clip) {
    Object.assign(clip, { state: "waiting", progress: 0, retries: 0, answer: null, problem: null });
    this.tell(clip);
    this.work();
  }

  // One after the other, in the order in which they came; a busy service is asked again later.
  async work() {
    if (this.working) return;
    this.working = true;
    try {
      let clip;
      while ((clip = this.next())) await this.judge(clip);
    } finally {
      this.working = false;
    }
  }

  next() {
    return [...this.all].sort((a, b) => a.id - b.id).find((clip) => clip.state === "waiting");
  }

  async judge(clip) {
    if (clip.file.size > this.maxBytes) {
      const size = (clip.file.size / 1e6).toFixed(1);
      this.fail(clip, new Problem({
        title: "File too large",
        detail: `The file has ${size} MB; up to ${this.maxBytes / 1e6} MB are taken.`,
      }));
      return;
    }
    clip.controller = new AbortController();
    const key = apiKey.get();
    clip.state = "sending";
    this.tell(clip);
    try {
      await this.ask(clip);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Problem)) {
        this.fail(clip, new Problem({ title: "This page failed", detail: error.message }));
        reportError(error);
        return;
      }
      // Refused with a key that has been replaced meanwhile.
      if (error.status === 401 && apiKey.get() !== key) clip.state = "waiting";
      else if (error.busy && clip.retries < MOST_RETRIES) await this.wait(clip, error);
      else this.fail(clip, error);
    }
  }

  async ask(clip) {
    const { signal } = clip.controller;
    const onprogress = (share) => {
      clip.progress = share;
      clip.state = share < 1 ? "sending" : "judging";
      this.tell(clip, "progress");
    };
    const { fields, voice } = this.fields();
    clip.sent = voice ? { ...fields, profile: voice } : fields;
    const answer = await predict(clip.file, clip.name, clip.sent, { signal, onprogress });
    clip.before = voice ? await predict(clip.file, clip.name, fields, { signal }) : null;
    Object.assign(clip, { answer, state: "done", problem: null });
    this.tell(clip);
  }

  async wait(clip, problem) {
    const wait = Math.min(problem.retryAfter ?? 2, 60);
    Object.assign(clip, { state: "busy", problem, until: Date.now() + 1000 * wait });
    clip.retries += 1;
    this.tell(clip);
    await new Promise((resolve) => {
      clip.wake = resolve;
      clip.controller.signal.addEventListener("abort", resolve);
      setTimeout(resolve, 1000 * wait);
    });
    if (clip.state === "busy") clip.state = "waiting";
  }

  fail(clip, problem) {
    Object.assign(clip, { state: "failed", problem });
    this.tell(clip);
  }

  tell(clip, type = "change") {
    this.dispatchEvent(new CustomEvent(type, { detail: clip }));
  }
}

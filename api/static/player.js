// Plays a clip, and reads any moment of it: one slider lies over all pictures of the clip.

import { prefersStillness } from "./dom.js";
import { clock } from "./words.js";

export class Player {
  // parts: stack (holds the pictures), slider, playhead, hoverline, play, clock
  // onmoment(time or null): the moment that is read; null for the recording as a whole
  // describe(time): that moment in words
  constructor(parts, file, duration, { onmoment, describe }) {
    Object.assign(this, { parts, duration, onmoment, describe });
    this.url = URL.createObjectURL(file);
    this.audio = new Audio(this.url);
    this.audio.preload = "auto";
    this.position = null;
    this.hovered = null;
    this.stopping = new AbortController();
    this.listen();
    this.tell();
  }

  listen() {
    const { slider, play } = this.parts;
    const on = (target, type, listener) =>
      target.addEventListener(type, listener, { signal: this.stopping.signal });
    on(play, "click", () => this.toggle());
    on(slider, "pointermove", (event) => {
      this.hovered = this.timeOf(event);
      if (event.buttons) this.seek(this.hovered);
      this.tell();
    });
    on(slider, "pointerdown", (event) => {
      slider.setPointerCapture(event.pointerId);
      this.seek(this.timeOf(event));
    });
    on(slider, "pointerleave", () => { this.hovered = null; this.tell(); });
    on(slider, "keydown", (event) => this.key(event));
    on(this.audio, "play", () => { this.showState(); this.follow(); });
    on(this.audio, "pause", () => this.showState());
    on(this.audio, "ended", () => this.seek(null));
    on(this.audio, "error", () => {
      play.disabled = true;
      this.parts.unplayable.hidden = false;
    });
  }

  timeOf(event) {
    const box = this.parts.slider.getBoundingClientRect();
    return this.inside(((event.clientX - box.left) / box.width) * this.duration);
  }

  inside(time) {
    return Math.max(0, Math.min(this.duration, time));
  }

  key(event) {
    const step = Math.max(0.1, this.duration / 200);
    const now = this.position ?? 0;
    const moves = {
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - 10 * step, PageUp: now + 10 * step, Home: 0, End: this.duration, Escape: null,
    };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === " ") this.toggle();
    else if (event.key in moves) this.seek(moves[event.key]);
    else return;
    event.preventDefault();
  }

  // null leaves every moment: the whole recording is shown again.
  seek(time) {
    this.position = time === null ? null : this.inside(time);
    if (time === null) this.audio.pause();
    this.audio.currentTime = Math.min(this.position ?? 0, this.audio.duration || Infinity);
    this.tell();
  }

  async toggle() {
    if (!this.audio.paused) {
      this.audio.pause();
      return;
    }
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== "AbortError") this.parts.unplayable.hidden = false;
    }
  }

  // While it plays the cursor moves with every frame; a few times a second where motion is unwanted.
  follow() {
    if (this.audio.paused || this.stopping.signal.aborted) return;
    this.position = this.inside(this.audio.currentTime);
    this.tell();
    if (prefersStillness()) setTimeout(() => this.follow(), 250);
    else requestAnimationFrame(() => this.follow());
  }

  showState() {
    const { play } = this.parts;
    play.textContent = this.audio.paused ? "Play" : "Pause";
    play.dataset.state = this.audio.paused ? "paused" : "playing";
  }

  tell() {
    const { slider, playhead, hoverline } = this.parts;
    place(playhead, this.position, this.duration);
    place(hoverline, this.hovered, this.duration);
    const time = this.hovered ?? this.position;
    const at = this.position ?? 0;
    slider.setAttribute("aria-valuenow", at.toFixed(1));
    slider.setAttribute("aria-valuetext", this.describe(at));
    this.parts.clock.textContent = `${clock(at, true)} / ${clock(this.duration, true)}`;
    this.onmoment(time);
  }

  close() {
    this.stopping.abort();
    this.audio.pause();
    this.audio.removeAttribute("src");
    URL.revokeObjectURL(this.url);
  }
}

function place(line, time, duration) {
  line.hidden = time === null;
  if (time !== null) line.style.left = `${(100 * time) / duration}%`;
}

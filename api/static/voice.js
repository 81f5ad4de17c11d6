// "My normal voice": a few seconds of ordinary talk, against which later recordings are heard. What
// the service makes of it is a short token; it stays in this browser.

import { announce } from "./dom.js";
import { Meter, Microphone, obstacle } from "./microphone.js";
import { predict } from "./service.js";
import { forLater } from "./store.js";
import { encode, join } from "./wav.js";

const SECONDS = 10;
const ENOUGH = 3; // seconds after which one may leave it at that

// parts: section, start, enough, stop, forget, use, used, meter, hint, note, state
// model(): the model that answers; onchange(): the voice was made, changed, put to use or not
export class Voice {
  constructor(parts, { model, fields, onchange }) {
    Object.assign(this, { parts, model, fields, onchange });
    this.meter = new Meter(parts.meter, parts.hint);
    this.microphone = new Microphone();
    parts.start.onclick = () => this.start();
    parts.enough.onclick = () => this.finish();
    parts.stop.onclick = () => this.stop();
    parts.forget.onclick = () => this.forget();
    parts.use.onchange = () => {
      onchange();
      this.show();
    };
    this.show();
  }

  // Tokens of one model mean nothing to another.
  get place() {
    return `normal-voice ${this.model().name} ${this.model().version}`;
  }

  get saved() {
    return forLater.getItem(this.place);
  }

  // The token to send along, or null.
  get token() {
    return this.model().profiles && this.parts.use.checked ? this.saved : null;
  }

  async start() {
    if (this.microphone.on) return;
    this.complain("");
    Object.assign(this, { blocks: [], samples: 0 });
    try {
      const take = (block, level) => this.take(block, level);
      if (!await this.microphone.open(take, () => this.stop())) return;
    } catch (problem) {
      this.complain(problem.message);
      return;
    }
    announce(`Recording your normal voice for ${SECONDS} seconds`);
    this.show();
    this.parts.stop.focus();
  }

  take(block, level) {
    if (!this.microphone.on) return;
    this.meter.show(level);
    this.blocks.push(block);
    this.samples += block.length;
    const heard = this.samples / this.microphone.samplingRate;
    const left = SECONDS - heard;
    this.parts.enough.hidden = heard < ENOUGH;
    if (left <= 0) this.finish();
    else this.parts.state.textContent = `Talk as you always do: ${Math.ceil(left)} s to go.`;
  }

  stop() {
    this.microphone.close();
    this.meter.reset();
    this.show();
  }

  async finish() {
    const file = encode(join(this.blocks), this.microphone.samplingRate);
    this.stop();
    this.parts.state.textContent = "Listening to it…";
    try {
      const answer = await predict(file, "normal-voice.wav", { ...this.fields(), profile: "true" });
      forLater.setItem(this.place, answer.profile);
      this.parts.use.checked = true;
      announce("Your normal voice is saved in this browser");
      this.onchange();
    } catch (problem) {
      this.complain(problem.words ?? problem.message); // the storage may be full as well
    }
    this.show();
    this.parts.start.focus();
  }

  forget() {
    forLater.removeItem(this.place);
    announce("Forgotten");
    this.onchange();
    this.show();
    this.parts.start.focus();
  }

  complain(text) {
    this.parts.note.textContent = text;
    this.parts.note.hidden = !text;
  }

  show() {
    const { parts, saved, microphone } = this;
    parts.section.hidden = !this.model().profiles;
    parts.start.hidden = microphone.on;
    parts.start.disabled = Boolean(obstacle());
    parts.stop.hidden = !microphone.on;
    parts.enough.hidden = true;
    parts.meter.parentElement.hidden = !microphone.on;
    parts.forget.hidden = !saved || microphone.on;
    parts.used.hidden = !saved;
    parts.start.textContent = saved ? "Record anew" : `Record ${SECONDS} seconds`;
    if (microphone.on) return;
    parts.state.textContent = obstacle() ?? (saved
      ? "Saved in this browser, as numbers and not as sound."
      : "Ten seconds of ordinary talk can sharpen later answers: they then hear how you differ "
        + "from your usual self. What it makes of them stays in this browser, as numbers.");
  }
}

// The microphone's tab: record, pause, stop; what was said is then judged like any file.

import { announce } from "./dom.js";
import { Meter, Microphone, obstacle } from "./microphone.js";
import { encode, join } from "./wav.js";
import { clock } from "./words.js";

// parts: start, pause, stop, discard, clock, meter, hint, note
// onrecorded(blob, seconds): a recording that was not discarded
export class Recorder {
  constructor(parts, { mostSeconds, onrecorded }) {
    Object.assign(this, { parts, mostSeconds, onrecorded });
    this.meter = new Meter(parts.meter, parts.hint);
    this.microphone = new Microphone();
    parts.start.onclick = () => this.start();
    parts.pause.onclick = () => this.pause();
    parts.stop.onclick = () => this.stop();
    parts.discard.onclick = () => this.stop(false);
    const why = obstacle();
    if (why) this.complain(why);
    this.show();
  }

  get seconds() {
    return this.microphone.on ? this.samples / this.microphone.samplingRate : 0;
  }

  complain(text) {
    this.parts.note.textContent = text;
    this.parts.note.hidden = !text;
    this.parts.start.disabled = Boolean(obstacle());
  }

  async start() {
    if (this.microphone.on) return;
    this.complain("");
    Object.assign(this, { blocks: [], samples: 0, paused: false });
    this.meter.reset();
    try {
      const take = (block, level) => this.take(block, level);
      if (!await this.microphone.open(take, () => this.stop())) return;
    } catch (problem) {
      this.complain(problem.message);
      announce(problem.message);
      return;
    }
    announce("Recording");
    this.show();
    this.parts.stop.focus();
  }

  take(block, level) {
    if (!this.microphone.on) return;
    this.meter.show(this.paused ? 0 : level);
    if (this.paused) return;
    this.blocks.push(block);
    this.samples += block.length;
    this.parts.clock.textContent = this.time;
    if (this.seconds >= this.mostSeconds) this.stop();
  }

  get time() {
    return `${clock(this.seconds)} / ${clock(this.mostSeconds)}`;
  }

  pause() {
    this.paused = !this.paused;
    announce(this.paused ? "Paused" : "Recording");
    this.show();
  }

  stop(keep = true) {
    if (!this.microphone.on) {
      this.microphone.close();
      return;
    }
    const { samplingRate } = this.microphone;
    const { seconds } = this;
    this.microphone.close();
    this.meter.reset();
    this.show();
    this.parts.start.focus();
    if (keep) this.onrecorded(encode(join(this.blocks), samplingRate), seconds);
    else announce("Discarded");
    this.blocks = [];
  }

  show() {
    const { parts, microphone } = this;
    parts.start.hidden = microphone.on;
    for (const part of [parts.pause, parts.stop, parts.discard]) part.hidden = !microphone.on;
    if (parts.pause) parts.pause.textContent = this.paused ? "Go on" : "Pause";
    parts.clock.textContent = this.time;
  }
}

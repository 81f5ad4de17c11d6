// The emotion while one speaks: about once a second the last few seconds go to the service as a file
// of their own, and the curve grows by what it says.

import { announce } from "./dom.js";
import { Meter, Microphone, obstacle } from "./microphone.js";
import { drawEmotions } from "./pictures.js";
import { Problem, predict } from "./service.js";
import { encode, join } from "./wav.js";
import { capital, clock, paint, percent } from "./words.js";

const EVERY = 1; // seconds between two requests, where the service and the network keep up
const LEAST = 1; // seconds that the first request holds
const SHOWN = 60; // seconds that the curve shows at most
const LEAST_SHOWN = 10;
const PATIENCE = 3; // failures in a row after which it stops

// parts: start, stop, meter, hint, note; view: what the panel shows, with its parts
export class Live {
  constructor(parts, { view, window, fields, onstart }) {
    Object.assign(this, { parts, view, window, fields, onstart });
    this.meter = new Meter(parts.meter, parts.hint);
    this.microphone = new Microphone();
    parts.start.onclick = () => this.start();
    parts.stop.onclick = () => this.stop();
    const why = obstacle();
    if (why) this.complain(why);
  }

  complain(text) {
    this.parts.note.textContent = text;
    this.parts.note.hidden = !text;
    this.parts.start.disabled = Boolean(obstacle());
  }

  get running() {
    return this.microphone.on;
  }

  async start() {
    if (this.running) return;
    this.complain("");
    Object.assign(this, {
      blocks: [], held: 0, heard: 0, asked: 0, segments: [], emotion: null, failures: 0, emotions: [],
    });
    try {
      const take = (block, level) => this.take(block, level);
      if (!await this.microphone.open(take, () => this.stop())) return;
    } catch (problem) {
      this.complain(problem.message);
      announce(problem.message);
      return;
    }
    this.controller = new AbortController();
    this.parts.start.hidden = true;
    this.parts.stop.hidden = false;
    this.parts.stop.focus();
    this.onstart();
    this.state("Listening. Speak as you like.");
    announce("Live: listening");
    this.draw();
  }

  take(block, level) {
    if (!this.running) return;
    const { samplingRate } = this.microphone;
    this.meter.show(level);
    this.blocks.push(block);
    this.held += block.length;
    this.heard += block.length / samplingRate;
    while (this.held - this.blocks[0].length >= this.window * samplingRate) {
      this.held -= this.blocks.shift().length;
    }
    const due = this.heard >= this.asked + EVERY && this.heard >= LEAST;
    if (due && !this.asking && Date.now() >= (this.notBefore ?? 0)) this.ask();
    this.draw();
  }

  // One request at a time: where answers are slow the curve gets coarser, not later.
  async ask() {
    this.asking = true;
    const { controller, heard } = this;
    const { samplingRate } = this.microphone;
    const since = heard - this.held / samplingRate;
    const skipped = heard - this.asked;
    this.asked = heard;
    try {
      const file = encode(join(this.blocks), samplingRate);
      const answer = await predict(file, "live.wav", this.fields(), { signal: controller.signal });
      if (!controller.signal.aborted) this.answered(answer, since, heard, skipped);
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error, since, heard);
    } finally {
      this.asking = false;
    }
  }

  answered(answer, since, heard, skipped) {
    this.failures = 0;
    this.emotions = Object.keys(answer.probabilities);
    this.segments.push({ ...answer, start: Math.max(since, heard - skipped), end: heard });
    this.view.showAnswer(answer);
    this.state(skipped > 2 * EVERY
      ? `Answers take a while: the curve has a step every ${skipped.toFixed(0)} s.` : "Listening.");
    if (answer.emotion !== this.emotion) announce(`${answer.emotion}, ${percent(answer.confidence)}`);
    this.emotion = answer.emotion;
  }

  failed(error, since, heard) {
    if (!(error instanceof Problem)) throw error;
    if (error.kind === "silent") { // nobody speaks
      this.view.showSilence();
      this.emotion = null;
      return;
    }
    this.failures += 1;
    if (!error.busy && (error.status || this.failures >= PATIENCE)) {
      this.stop();
      this.complain(error.words);
      return;
    }
    const wait = error.busy ? Math.min(error.retryAfter ?? 2, 30) : this.failures;
    this.notBefore = Date.now() + 1000 * wait;
    this.state(`${error.busy ? "The service is busy" : "No answer"}: trying again in ${Math.ceil(wait)} s.`);
  }

  draw() {
    const offset = Math.max(0, this.heard - SHOWN);
    const until = Math.max(this.heard, LEAST_SHOWN);
    this.view.draw(this.segments, this.emotions, until, offset, this.heard);
  }

  state(text) {
    this.view.showState(text);
  }

  stop() {
    const { running } = this;
    this.microphone.close();
    if (!running) return;
    this.controller.abort();
    this.blocks = [];
    this.meter.reset();
    this.parts.stop.hidden = true;
    this.parts.start.hidden = false;
    this.parts.start.focus();
    this.state(`Stopped after ${clock(this.heard)}.`);
    announce("Live: stopped");
  }
}

// What the panel shows meanwhile.
export class LiveView {
  constructor({ root, parts }, bars) {
    Object.assign(this, { root, parts, bars, title: parts.title });
    this.showSilence();
  }

  showAnswer(answer) {
    const { parts } = this;
    paint(parts.verdict, answer.emotion);
    parts.emotion.textContent = capital(answer.emotion);
    parts.confidence.textContent = `${percent(answer.confidence)}${answer.uncertain ? ", uncertain" : " sure"}`;
    this.bars.show(answer.probabilities);
  }

  showSilence() {
    paint(this.parts.verdict, null);
    this.parts.emotion.textContent = "No voice";
    this.parts.confidence.textContent = "";
    this.bars.show({});
  }

  showState(text) {
    this.parts.state.textContent = text;
  }

  draw(segments, emotions, until, offset, heard) {
    const { timeline, range } = this.parts;
    if (!timeline.clientWidth) return;
    drawEmotions(timeline, segments, emotions, until, { from: offset, heard });
    range.textContent = `${clock(offset)} to ${clock(until)}`;
    const last = segments.at(-1);
    timeline.setAttribute("aria-label", last
      ? `Emotions over the last ${Math.round(until - offset)} seconds, lately ${last.emotion}`
      : "Emotions over time: nothing heard yet");
  }
}

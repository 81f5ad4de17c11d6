// The answer to one recording, with its pictures.

import { Bars } from "./bars.js";
import { copy, download, element, fromTemplate } from "./dom.js";
import { csv, curl, fileName, json } from "./exports.js";
import { read as readLogMel } from "./log-mel.js";
import { inWords, momentAt, stretches } from "./moments.js";
import { decode, drawEmotions, drawSpectrogram, drawWaveform } from "./pictures.js";
import { Player } from "./player.js";
import { capital, clock, doubt, paint, percent, seconds } from "./words.js";

export class AnswerView {
  constructor(clip, { onagain }) {
    this.clip = clip;
    this.answer = clip.answer;
    this.emotions = Object.keys(this.answer.probabilities);
    this.segments = this.answer.segments ?? [];
    this.logMel = readLogMel(this.answer);
    ({ root: this.root, parts: this.parts } = fromTemplate("answer-template"));
    this.bars = new Bars(this.parts.bars, this.emotions);
    this.say();
    this.tabulate();
    this.offer(onagain);
    this.player = new Player(this.parts, clip.file, this.answer.duration, {
      onmoment: (time) => this.showMoment(time),
      describe: (time) => this.describe(time),
    });
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.parts.stack);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.dark.addEventListener("change", this.redraw);
    this.listen();
  }

  get title() {
    return this.parts.title;
  }

  // In one sentence, for who hears the page.
  get summary() {
    const { emotion, confidence, uncertain } = this.answer;
    const sure = uncertain ? `uncertain, at most ${emotion}` : emotion;
    return `${this.clip.name}: ${sure}, ${percent(confidence)} sure`;
  }

  say() {
    const { answer, clip, parts } = this;
    parts.title.textContent = clip.name;
    parts.title.title = clip.name;
    parts.facts.textContent =
      `${seconds(answer.duration)} of sound, judged by ${answer.model.name} ${answer.model.version}`;
    parts.emotion.textContent = capital(answer.emotion);
    parts.confidence.textContent = `${percent(answer.confidence)} sure`;
    paint(parts.verdict, answer.emotion);
    parts.uncertain.hidden = !answer.uncertain;
    parts.doubt.textContent = doubt(answer);
    parts.voice.hidden = !clip.before;
    if (clip.before) {
      const { emotion, confidence } = clip.before;
      parts.voice.textContent = "Heard against your normal voice. Without it: "
        + `${emotion}, ${percent(confidence)} sure (the thin marks).`;
    }
    parts.synthetic.hidden = clip.origin !== "sample";
  }

  // Null is the recording as a whole.
  showMoment(time) {
    const { parts, answer, clip } = this;
    const moment = time === null ? null : momentAt(this.segments, time);
    parts.whole.hidden = this.player?.position == null;
    if (time === null) {
      parts.heading.textContent = "In the whole recording";
      this.bars.show(answer.probabilities, clip.before?.probabilities);
    } else {
      parts.heading.textContent = capital(this.describe(time));
      this.bars.show(moment?.probabilities ?? {});
    }
  }

  describe(time) {
    const moment = momentAt(this.segments, time);
    const at = `at ${time.toFixed(1)} s`;
    return moment ? `${at}: ${moment.emotion}, ${percent(moment.confidence)}` : `${at}: no voice`;
  }

  async listen() {
    const sound = this.clip.sound ?? await decode(this.clip.file);
    this.clip.sound = sound;
    if (!this.player.stopping.signal.aborted) this.draw();
  }

  draw() {
    const { parts, answer, clip, segments, emotions, logMel } = this;
    parts.waveform.parentElement.hidden = clip.sound === null;
    parts.timeline.parentElement.hidden = !segments.length;
    parts.spectrogram.parentElement.hidden = !logMel;
    if (!parts.stack.clientWidth) return;
    if (clip.sound) drawWaveform(parts.waveform, clip.sound, answer.duration);
    if (segments.length) drawEmotions(parts.timeline, segments, emotions, answer.duration);
    if (logMel) this.drawLogMel();
    drawAxis(parts.axis, answer.duration, parts.stack.clientWidth);
    parts.slider.setAttribute("aria-valuemax", answer.duration.toFixed(1));
    parts.waveform.setAttribute("aria-label", `Waveform of ${seconds(answer.duration)} of sound.`);
    parts.timeline.setAttribute("aria-label", "Emotions over time: "
      + inWords(stretches(segments, answer.duration, answer.duration / 400)));
  }

  drawLogMel() {
    const { parts, answer, logMel } = this;
    drawSpectrogram(parts.spectrogram, logMel, answer.duration);
    const range = `${Math.round(logMel.lowest)} Hz to ${+(logMel.highest / 1000).toFixed(1)} kHz`;
    const cut = logMel.end < answer.duration - 1 ? `, up to ${clock(logMel.end)}` : "";
    parts.frequencies.textContent = range + cut;
    parts.spectrogram.setAttribute("aria-label", `Log-mel spectrogram from ${range}: time from left `
      + "to right, pitch from bottom to top, the brighter the louder.");
  }

  tabulate() {
    const { parts, segments, emotions } = this;
    parts.table.hidden = !segments.length;
    const cells = (kind, texts) => element("tr", {}, ...texts.map((text, i) =>
      element(kind, { textContent: text, className: i > 2 ? "number" : "" })));
    parts.head.replaceChildren(cells("th", ["From", "To", "Emotion", ...emotions.map(capital)]));
    parts.rows.replaceChildren(...segments.map((each) => cells("td", [
      `${each.start.toFixed(1)} s`, `${each.end.toFixed(1)} s`,
      each.emotion ?? "no voice",
      ...emotions.map((emotion) => (each.probabilities ? percent(each.probabilities[emotion]) : "")),
    ])));
  }

  offer(onagain) {
    const { parts, clip, answer } = this;
    parts.curl.textContent = curl(clip);
    parts.json.textContent = json(shortened(answer));
    parts.copycurl.onclick = () => copy(curl(clip), parts.copycurl);
    parts.copyjson.onclick = () => copy(json(answer), parts.copyjson);
    parts.savejson.onclick = () =>
      download(new Blob([json(answer)], { type: "application/json" }), fileName(clip, "json"));
    parts.savecsv.onclick = () =>
      download(new Blob([csv(answer, this.emotions)], { type: "text/csv" }), fileName(clip, "csv"));
    parts.savesound.hidden = clip.origin === "file";
    parts.savesound.onclick = () => download(clip.file, clip.name);
    parts.again.onclick = onagain;
    parts.whole.onclick = () => this.player.seek(null);
  }

  close() {
    this.player.close();
    this.resizing.disconnect();
    this.dark.removeEventListener("change", this.redraw);
  }
}

// Long texts, such as a spectrogram's numbers, are cut where one only reads.
function shortened(answer) {
  const cut = (_, value) =>
    typeof value === "string" && value.length > 200 ? `${value.slice(0, 60)}…` : value;
  return JSON.parse(JSON.stringify(answer, cut));
}

function drawAxis(axis, duration, width) {
  const most = Math.max(2, Math.floor(width / 70));
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600]
    .find((each) => duration / each <= most) ?? 3600;
  const ticks = [];
  for (let time = 0; time < duration - step / 3; time += step) {
    const tick = element("span", {
      textContent: duration < 60 ? `${+time.toFixed(1)} s` : `${Math.floor(time / 60)}:${String(Math.round(time % 60)).padStart(2, "0")}`,
    });
    tick.style.left = `${(100 * time) / duration}%`;
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

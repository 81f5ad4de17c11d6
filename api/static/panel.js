// What is shown of the selected clip: how far it is, what went wrong, or the answer.

import { AnswerView } from "./answer.js";
import { announce, element, fromTemplate, prefersStillness } from "./dom.js";
import { apiKey } from "./service.js";
import { bytes, paint, percent } from "./words.js";

// What one can do about a problem, by its type.
const ADVICE = {
  "silent": "Is the microphone on, and the right one?",
  "too-short": "Say a whole sentence: two or three seconds are best.",
  "too-long": "Cut it into pieces and choose them all at once.",
  "not-audio": "Is it really a recording? Its name does not count, only what is in it.",
  "empty": "Was it still being saved?",
  "profile": "Forget your normal voice, or record it anew.",
};

export class Panel {
  constructor(section, empty, clips) {
    this.section = section;
    this.empty = empty;
    this.clips = clips;
    this.shown = null;
    this.view = null;
    clips.addEventListener("change", ({ detail }) => this.changed(detail));
    clips.addEventListener("progress", ({ detail }) => this.progressed(detail));
    this.render();
  }

  changed(clip) {
    const { selected } = this.clips;
    if (clip === selected || this.shown !== selected) this.render();
    if (clip.state === "done") announce(summary(clip));
    if (clip.state === "failed") announce(`${clip.name}: ${clip.problem.title}. ${clip.problem.detail}`);
  }

  render() {
    const hadFocus = this.section.contains(document.activeElement);
    const arrives = this.shown === this.clips.selected;
    this.view?.close?.();
    clearInterval(this.ticking);
    this.shown = this.clips.selected;
    this.view = this.shown ? this.viewOf(this.shown) : null;
    this.section.replaceChildren(this.view ? this.view.root : this.empty);
    if (hadFocus) this.view?.title.focus();
    if (arrives && this.shown && ["done", "failed"].includes(this.shown.state)) this.reveal();
  }

  // Something else takes the place until a clip is chosen or judged.
  giveWayTo(root) {
    this.view?.close?.();
    clearInterval(this.ticking);
    Object.assign(this, { view: null, shown: null });
    this.section.replaceChildren(root);
  }

  // On a phone the answer appears below what one sees.
  reveal() {
    if (this.section.getBoundingClientRect().top > innerHeight * 0.7) {
      this.section.scrollIntoView({ behavior: prefersStillness() ? "auto" : "smooth" });
    }
  }

  viewOf(clip) {
    if (clip.state === "done") {
      return new AnswerView(clip, { onagain: () => this.clips.again(clip) });
    }
    if (clip.state === "failed") return this.problem(clip);
    return this.progress(clip);
  }

  progress(clip) {
    const { root, parts } = fromTemplate("progress");
    parts.title.textContent = clip.name;
    parts.cancel.onclick = () => this.clips.cancel(clip);
    parts.now.hidden = clip.state !== "busy";
    parts.now.onclick = () => clip.wake();
    this.progressing = parts;
    if (clip.state === "busy") {
      this.countDown(clip);
      this.ticking = setInterval(() => this.countDown(clip), 500);
    } else {
      this.progressed(clip, parts);
    }
    return { root, title: parts.title };
  }

  countDown(clip) {
    const left = Math.max(0, Math.ceil((clip.until - Date.now()) / 1000));
    this.progressing.bar.hidden = true;
    this.progressing.state.textContent =
      `The service is busy. Trying again in ${left} s (${clip.retries} of 5).`;
  }

  progressed(clip, parts = this.progressing) {
    if (clip !== this.clips.selected || !parts) return;
    const texts = {
      waiting: "Waiting for those before it",
      sending: `Sending ${bytes(clip.file.size)}: ${percent(clip.progress)}`,
      judging: "Listening to it",
    };
    parts.state.textContent = texts[clip.state] ?? "";
    if (clip.state === "sending") parts.bar.value = clip.progress;
    else parts.bar.removeAttribute("value");
  }

  problem(clip) {
    const { root, parts } = fromTemplate("problem");
    const { problem } = clip;
    parts.title.textContent = clip.name;
    const locked = problem.status === 401;
    parts.what.textContent = locked ? "This service wants an API key" : problem.title;
    parts.detail.textContent = locked && !apiKey.get() ? "Whoever runs it can give you one." : problem.detail;
    parts.advice.textContent = ADVICE[problem.kind] ?? "";
    parts.again.hidden = locked;
    parts.again.onclick = () => this.clips.again(clip);
    parts.forget.onclick = () => this.clips.forget(clip);
    parts.keyform.hidden = !locked;
    parts.keyform.onsubmit = (event) => {
      event.preventDefault();
      apiKey.set(parts.key.value.trim());
      this.clips.all.filter((each) => each.problem?.status === 401).forEach((each) => this.clips.again(each));
    };
    return { root, title: parts.title };
  }
}

function summary(clip) {
  const { emotion, confidence, uncertain } = clip.answer;
  return `${clip.name}: ${uncertain ? "uncertain, perhaps " : ""}${emotion}, ${percent(confidence)} sure`;
}

// The clips of this session as a list to choose from.
export class History {
  constructor({ section, list, clear, onclear }, clips) {
    Object.assign(this, { section, list, clips });
    clear.onclick = () => {
      clips.clear();
      onclear();
    };
    clips.addEventListener("change", () => this.render());
  }

  render() {
    const focused = this.list.contains(document.activeElement)
      ? document.activeElement.dataset.clip : null;
    this.section.hidden = !this.clips.all.length;
    this.list.replaceChildren(...this.clips.all.map((clip) => this.item(clip)));
    if (focused) this.list.querySelector(`[data-clip="${CSS.escape(focused)}"]`)?.focus();
  }

  item(clip) {
    const button = element("button", { type: "button", className: "clip", "data-clip": String(clip.id) },
      element("span", { className: `dot ${clip.state}`, "aria-hidden": "true" }),
      element("span", { className: "clip-name", textContent: clip.name }),
      element("span", { className: "clip-state", textContent: stateOf(clip) }));
    button.title = clip.name;
    button.setAttribute("aria-current", String(clip === this.clips.selected));
    if (clip.answer) paint(button.firstChild, clip.answer.emotion);
    button.onclick = () => this.clips.select(clip);
    return element("li", {}, button);
  }
}

function stateOf(clip) {
  if (clip.state === "done") {
    return `${clip.answer.emotion} ${percent(clip.answer.confidence)}${clip.answer.uncertain ? "?" : ""}`;
  }
  if (clip.state === "failed") return clip.problem.title.toLowerCase();
  return clip.state === "judging" ? "listening" : clip.state;
}

// The microphone as blocks of PCM, asked for only when it is used.

import { Problem } from "./service.js";

const REASONS = {
  NotAllowedError: "The microphone was refused. Allow it for this page, beside the address, and try again.",
  NotFoundError: "This device has no microphone that the browser can find.",
  NotReadableError: "Another program holds the microphone. Close that one and try again.",
};

// Why there can be no microphone on this page, or null.
export function obstacle() {
  if (window.isSecureContext && navigator.mediaDevices && window.AudioWorkletNode) return null;
  if (!window.isSecureContext) {
    return "Browsers give the microphone only to pages on https or on localhost, and this page is "
      + `on ${location.origin}. Files work all the same.`;
  }
  return "This browser has no microphone for pages. Files work all the same.";
}

// A microphone that its owner opens and closes, also while the browser still asks the person.
export class Microphone {
  constructor() {
    Object.assign(this, { line: null, opening: false, wanted: false });
  }

  get on() {
    return Boolean(this.line);
  }

  get samplingRate() {
    return this.line.samplingRate;
  }

  // Whether it has begun: not where it was on or being opened, nor where it was closed meanwhile.
  async open(onblock, onlost) {
    if (this.on) return false;
    this.wanted = true;
    if (this.opening) return false;
    this.opening = true;
    try {
      const line = await open(onblock, onlost);
      if (this.wanted) this.line = line;
      else line.close();
    } finally {
      this.opening = false;
    }
    return this.on;
  }

  close() {
    this.wanted = false;
    this.line?.close();
    this.line = null;
  }
}

// Calls onblock(samples, level) until it is closed; level is the block's peak, 0 to 1. The browser's
// own clean-up is off: it flattens what a voice expresses.
async function open(onblock, onlost) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false,
      },
    });
  } catch (error) {
    const detail = REASONS[error.name] ?? `The browser says: ${error.message}`;
    throw new Problem({ title: "No microphone", detail });
  }
  const context = new AudioContext();
  const close = () => {
    stream.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") context.close();
  };
  try {
    await context.audioWorklet.addModule(new URL("pcm-worklet.js", import.meta.url));
  } catch (error) {
    close();
    throw new Problem({ title: "No microphone", detail: `The browser says: ${error.message}` });
  }
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "pcm");
  node.port.onmessage = ({ data }) => {
    onblock(data, data.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
  };
  source.connect(node).connect(context.destination); // It stays silent: the node gives nothing out.
  stream.getAudioTracks()[0].onended = onlost;
  await context.resume();
  return { samplingRate: context.sampleRate, close };
}

// Shows a level between -60 and 0 dB and says when it is no good.
export class Meter {
  constructor(bar, hint) {
    this.bar = bar;
    this.hint = hint;
    this.reset();
  }

  reset() {
    this.shown = 0;
    this.quietBlocks = 0;
    this.loudBlocks = 0;
    this.bar.style.transform = "scaleX(0)";
    this.hint.textContent = "";
  }

  show(level) {
    const decibels = 20 * Math.log10(Math.max(level, 1e-3));
    this.shown = Math.max(1 + decibels / 60, this.shown * 0.9);
    this.bar.style.transform = `scaleX(${Math.max(0, this.shown).toFixed(3)})`;
    this.quietBlocks = level < 0.01 ? this.quietBlocks + 1 : 0;
    this.loudBlocks = level > 0.99 ? 50 : Math.max(0, this.loudBlocks - 1);
    const hint = this.loudBlocks ? "Too loud: it distorts. Move away a little."
      : this.quietBlocks > 60 ? "Hardly anything to hear. Is it the right microphone?" : "";
    if (this.hint.textContent !== hint) this.hint.textContent = hint;
  }
}

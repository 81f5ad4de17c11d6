// Waveform, emotions over time and spectrogram, drawn on canvases that share one axis of time.

import { momentAt, stretches } from "./moments.js";
import { hueOf } from "./words.js";

const BINS = 1200;
const DECODED_RATE = 8000;

// Extremes of the sound in equal steps of time, or null where the browser cannot read the format.
// It decodes to a low rate: ten minutes then take 20 MB and not 200.
export async function decode(file) {
  let decoded;
  try {
    const context = new OfflineAudioContext(1, 1, DECODED_RATE);
    decoded = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    return null;
  }
  return { duration: decoded.duration, peaks: extremes(decoded.getChannelData(0), BINS) };
}

function extremes(signal, bins) {
  const peaks = [];
  for (let bin = 0; bin < bins; bin += 1) {
    const from = Math.floor((bin * signal.length) / bins);
    const to = Math.max(from + 1, Math.floor(((bin + 1) * signal.length) / bins));
    let [low, high] = [0, 0];
    for (let i = from; i < to && i < signal.length; i += 1) {
      low = Math.min(low, signal[i]);
      high = Math.max(high, signal[i]);
    }
    peaks.push([low, high]);
  }
  return peaks;
}

export function colour(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

// Black or white, whichever is read better on a colour (#rrggbb; relative luminance of WCAG 2).
function inkOn(hex) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const share = parseInt(hex.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000000" : "#ffffff";
}

// A cleared drawing surface in CSS pixels, sharp on every screen.
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

export function drawWaveform(canvas, { peaks, duration: heard }, duration) {
  const { context, width, height } = surface(canvas);
  const loudest = peaks.reduce((most, [low, high]) => Math.max(most, -low, high), 1e-4);
  const middle = height / 2;
  const scale = (middle - 2) / loudest;
  context.fillStyle = colour("--wave");
  for (let x = 0; x < width; x += 1) {
    const from = Math.floor((x / width) * (duration / heard) * peaks.length);
    const to = Math.max(from + 1, Math.floor(((x + 1) / width) * (duration / heard) * peaks.length));
    let [low, high] = [0, 0];
    for (const peak of peaks.slice(from, to)) {
      low = Math.min(low, peak[0]);
      high = Math.max(high, peak[1]);
    }
    context.fillRect(x, middle - high * scale - 0.5, 1, (high - low) * scale + 1);
  }
}

// The likeliest emotion as a band with its name, the probabilities of all stacked under it.
// Live, what is not heard yet stays empty, and what is long ago is left out.
export function drawEmotions(canvas, segments, emotions, duration, { from: offset = 0, heard = duration } = {}) {
  const { context, width, height } = surface(canvas);
  const { font, fontSize } = getComputedStyle(canvas);
  const band = 1.7 * parseFloat(fontSize);
  const x = (time) => ((time - offset) / (duration - offset)) * width;
  const step = Math.max((duration - offset) / width, 1e-3);
  const shown = segments.filter((segment) => segment.end > offset);
  for (let column = 0; column < width; column += 1) {
    const moment = momentAt(shown, offset + (column + 0.5) * step);
    let top = band + 3;
    if (!moment) {
      context.fillStyle = colour("--track");
      context.fillRect(column, top, 1, height - top);
      continue;
    }
    for (const emotion of emotions) {
      const part = (moment.probabilities[emotion] ?? 0) * (height - band - 3);
      context.fillStyle = colour(hueOf(emotion));
      context.fillRect(column, top, 1, part + 0.5);
      top += part;
    }
  }
  context.font = font;
  context.textBaseline = "middle";
  for (const { start, end, emotion } of stretches(shown, heard, step)) {
    if (end <= offset) continue;
    const [from, to] = [Math.max(0, x(start)), x(end)];
    context.fillStyle = colour(emotion ? hueOf(emotion) : "--track");
    context.fillRect(from, 0, to - from, band);
    const label = emotion ?? "no voice";
    if (context.measureText(label).width + 16 < to - from) {
      context.fillStyle = emotion ? inkOn(colour(hueOf(emotion))) : colour("--quiet");
      context.fillText(label, from + 8, band / 2 + 1);
    }
  }
}

// Dark to bright, after matplotlib's magma.
const HEAT = [
  [0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122],
  [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191],
];

export function drawSpectrogram(canvas, { columns, bands, levels, start, end }, duration) {
  const { context, width, height } = surface(canvas);
  context.fillStyle = `rgb(${HEAT[0].join(" ")})`;
  context.fillRect(0, 0, width, height);
  const image = new ImageData(columns, bands);
  levels.forEach((level, i) => {
    const upsideDown = bands - 1 - Math.floor(i / columns); // low pitches at the bottom
    image.data.set(heat(level / 255), 4 * (upsideDown * columns + (i % columns)));
  });
  const plain = new OffscreenCanvas(columns, bands);
  plain.getContext("2d").putImageData(image, 0, 0);
  const x = (time) => (time / duration) * width;
  context.drawImage(plain, x(start), 0, x(end) - x(start), height);
}

// 0 to 1 as red, green, blue, opacity.
function heat(value) {
  const at = value * (HEAT.length - 1);
  const below = Math.min(Math.floor(at), HEAT.length - 2);
  const share = at - below;
  return [...HEAT[below].map((from, i) => from + share * (HEAT[below + 1][i] - from)), 255];
}

// How numbers and emotions are said and coloured.

const KNOWN = ["angry", "disgust", "fear", "happy", "neutral", "calm", "sad", "surprise"];
const EXTRA = 4;
const strangers = [];

const percents = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });

export const percent = (share) => percents.format(share);

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// The CSS variable of an emotion's colour: always the same one, also for emotions not known here.
export function hueOf(emotion) {
  if (KNOWN.includes(emotion)) return `--${emotion}`;
  if (!strangers.includes(emotion)) strangers.push(emotion);
  return `--extra-${1 + (strangers.indexOf(emotion) % EXTRA)}`;
}

export function paint(node, emotion) {
  node.style.setProperty("--hue", emotion ? `var(${hueOf(emotion)})` : "var(--line)");
}

export function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${clock(value)} min`;
}

// 0:07.4 up to a minute long, 1:07 beyond.
export function clock(value, tenths = false) {
  const whole = tenths ? Math.round(value * 10) / 10 : Math.floor(value);
  const minutes = Math.floor(whole / 60);
  const rest = (whole - 60 * minutes).toFixed(tenths ? 1 : 0);
  return `${minutes}:${rest.padStart(tenths ? 4 : 2, "0")}`;
}

export const bytes = (count) =>
  count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} kB` : `${(count / 1e6).toFixed(1)} MB`;

// What "uncertain" means for this answer.
export function doubt(answer) {
  const [first, second] = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  if (!second) return "Take it as a guess.";
  if (first[1] - second[1] < 0.1) {
    return `It could just as well be ${second[0]} (${percent(second[1])}).`;
  }
  return `${capital(first[0])} is only the best guess; ${second[0]} comes next (${percent(second[1])}).`;
}

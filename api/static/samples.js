// Sounds for someone with no audio at hand, made here by formula: a buzz like that of vocal cords,
// shaped by the resonances of vowels. Nobody spoke them, and the page says so.

const RATE = 16_000;
// First three formants in Hz (Peterson and Barney 1952, men, rounded).
const VOWELS = { a: [730, 1090, 2440], e: [530, 1840, 2480], i: [270, 2290, 3010], o: [570, 840, 2410], u: [300, 870, 2240] };

export const SAMPLES = [
  {
    name: "Slow and low",
    phrases: [{ seconds: 3.2, pitch: 105, fall: 0.25, swing: 0.05, syllables: 2.2, level: 0.22, vowels: "ouoeu" }],
  },
  {
    name: "Fast and high",
    phrases: [{ seconds: 2.8, pitch: 250, fall: -0.25, swing: 0.3, syllables: 5.5, level: 0.6, vowels: "aieaoi" }],
  },
  {
    name: "One that changes",
    phrases: [
      { seconds: 4, pitch: 120, fall: 0.1, swing: 0.06, syllables: 3, level: 0.25, vowels: "aeoue" },
      { seconds: 4, pitch: 260, fall: -0.2, swing: 0.3, syllables: 5.5, level: 0.7, vowels: "aiaoe" },
      { seconds: 4.5, pitch: 100, fall: 0.3, swing: 0.03, syllables: 1.8, level: 0.15, vowels: "ouou" },
    ],
  },
];

// The samples of one, float in [-1, 1], and their rate in Hz.
export function make({ phrases }) {
  const noise = randomNumbers(7);
  return { signal: phrases.flatMap((phrase) => [...say(phrase, noise)]), samplingRate: RATE };
}

function say({ seconds, pitch, fall, swing, syllables, level, vowels }, noise) {
  const signal = new Float32Array(Math.round(seconds * RATE));
  let phase = 0;
  for (let i = 0; i < signal.length; i += 1) {
    const time = i / RATE;
    const turn = time * syllables;
    const contour = 1 - fall * (time / seconds) + swing * Math.sin(2 * Math.PI * 0.7 * time);
    const hertz = pitch * contour * (1 + 0.01 * Math.sin(2 * Math.PI * 5 * time));
    phase += (2 * Math.PI * hertz) / RATE;
    const formants = VOWELS[vowels[Math.floor(turn) % vowels.length]];
    const stress = Math.sin(Math.PI * (turn % 1)) ** 0.7;
    signal[i] = stress * (buzz(phase, hertz, formants) + 0.02 * noise());
  }
  const peak = signal.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  return signal.map((sample) => (level * sample) / peak);
}

function buzz(phase, hertz, formants) {
  let sum = 0;
  for (let harmonic = 1; harmonic * hertz < 4500; harmonic += 1) {
    let gain = 0.02;
    formants.forEach((formant, i) => {
      const width = 90 + 40 * i;
      gain += 0.7 ** i / (1 + ((harmonic * hertz - formant) / width) ** 2);
    });
    sum += (gain / harmonic ** 0.5) * Math.sin(harmonic * phase);
  }
  return sum;
}

// The same noise each time, -1 to 1 (a linear congruential generator).
function randomNumbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

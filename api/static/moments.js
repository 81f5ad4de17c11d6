// From windows that overlap to the emotion at any moment.

// The mean of the windows that cover a moment, each weighted by how near its middle is; null where
// no window is, or none in which somebody speaks.
export function momentAt(segments, time) {
  let total = 0;
  const sums = {};
  for (const segment of segments) {
    if (time < segment.start || time > segment.end || segment.speech === false) continue;
    const half = (segment.end - segment.start) / 2;
    const weight = 1.02 - Math.abs(time - (segment.start + half)) / Math.max(half, 1e-3);
    total += weight;
    for (const [emotion, probability] of Object.entries(segment.probabilities)) {
      sums[emotion] = (sums[emotion] ?? 0) + weight * probability;
    }
  }
  if (!total) return null;
  for (const emotion of Object.keys(sums)) sums[emotion] /= total;
  const emotion = likeliest(sums);
  return { emotion, confidence: sums[emotion], probabilities: sums };
}

// The first of the most probable emotions; undefined where there is none.
export function likeliest(probabilities) {
  const emotions = Object.keys(probabilities);
  return emotions.find((each) => emotions.every((other) => probabilities[each] >= probabilities[other]));
}

// Stretches of one emotion: [{start, end, emotion or null}], to the given step in seconds.
export function stretches(segments, duration, step) {
  const found = [];
  for (let start = 0; start < duration; start += step) {
    const end = Math.min(start + step, duration);
    const emotion = momentAt(segments, (start + end) / 2)?.emotion ?? null;
    const last = found.at(-1);
    if (last && last.emotion === emotion) last.end = end;
    else found.push({ start, end, emotion });
  }
  return found;
}

// In words, for those who do not see the picture.
export function inWords(found) {
  return found
    .map(({ start, end, emotion }) =>
      `${start.toFixed(1)} to ${end.toFixed(1)} seconds ${emotion ?? "nobody speaks"}`)
    .join(", ");
}

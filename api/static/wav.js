// PCM as a WAV file: every browser can make it and every service can read it, which no container of
// MediaRecorder's can say (WebM here, Ogg there, MP4 elsewhere).

export function join(blocks) {
  const all = new Float32Array(blocks.reduce((count, block) => count + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

// Mono, 16 bit.
export function encode(signal, samplingRate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * signal.length));
  const text = (at, value) => [...value].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * signal.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, samplingRate, true);
  view.setUint32(28, 2 * samplingRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * signal.length, true);
  signal.forEach((sample, i) => {
    view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, sample)), true);
  });
  return new Blob([view], { type: "audio/wav" });
}

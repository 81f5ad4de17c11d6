// The spectrogram that comes with an answer which was asked to explain itself.

const MOST_COLUMNS = 2000;

// {columns, bands, levels (0 to 255, band by band from the lowest), start, end, lowest, highest}, in
// seconds and Hz; null where the answer holds none that can be drawn.
export function read(answer) {
  const given = answer.explanation;
  if (!given?.log_mel || !Array.isArray(given.shape)) return null;
  const [bands, frames] = given.shape;
  const levels = Uint8Array.from(atob(given.log_mel), (character) => character.charCodeAt(0));
  if (!levels.length || levels.length !== bands * frames) return null;
  return {
    ...narrowed(levels, bands, frames),
    bands,
    start: given.start - given.hop / 2,
    end: given.start + (frames - 0.5) * given.hop,
    lowest: given.edges[0],
    highest: given.edges.at(-1),
  };
}

// The loudest of the frames that share a column, where there are more than one can draw.
function narrowed(levels, bands, frames) {
  const columns = Math.min(frames, MOST_COLUMNS);
  if (columns === frames) return { columns, levels };
  const kept = new Uint8Array(bands * columns);
  for (let band = 0; band < bands; band += 1) {
    for (let frame = 0; frame < frames; frame += 1) {
      const at = band * columns + Math.floor((frame * columns) / frames);
      kept[at] = Math.max(kept[at], levels[band * frames + frame]);
    }
  }
  return { columns, levels: kept };
}

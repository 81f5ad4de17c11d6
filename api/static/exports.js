// An answer to take away: as a command, as JSON, as CSV.

// The command that sends exactly this request.
export function curl(clip) {
  const words = ["curl", "-F", `file=@${clip.name}`];
  const quoted = clip.name.replace(/[\\"]/g, "\\$&");
  words[2] = /^[\w.-]+$/.test(clip.name) ? words[2] : `file=@"${quoted}"`;
  for (const [field, value] of Object.entries(clip.sent)) words.push("-F", `${field}=${value}`);
  words.push(new URL("predict", document.baseURI).href);
  return words.map(shellQuoted).join(" ");
}

function shellQuoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export const json = (answer) => JSON.stringify(answer, null, 2);

// One line for the whole recording, then one for each window.
export function csv(answer, emotions) {
  const header = ["part", "start", "end", "emotion", "confidence", ...emotions];
  const line = (part, start, end, said) =>
    [part, start, end, said.emotion ?? "", said.confidence ?? "",
      ...emotions.map((emotion) => said.probabilities?.[emotion] ?? "")];
  const lines = [
    header,
    line("recording", 0, answer.duration, answer),
    ...(answer.segments ?? []).map((each) => line("window", each.start, each.end, each)),
  ];
  return lines.map((cells) => cells.map(cell).join(",")).join("\r\n") + "\r\n";
}

// A spreadsheet would run a text that begins like a formula.
function cell(value) {
  const text = String(value);
  const harmless = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

// A name to save under, made of the recording's.
export function fileName(clip, extension) {
  const stem = clip.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N} ._-]+/gu, "_").slice(0, 80);
  return `${stem || "recording"}.${extension}`;
}

// The page put together: ways in on one side, what was heard on the other.

import { Bars } from "./bars.js";
import { showCard } from "./card.js";
import { Clips } from "./clips.js";
import { announce, byId, element, fromTemplate } from "./dom.js";
import { Live, LiveView } from "./live.js";
import { History, Panel } from "./panel.js";
import { Recorder } from "./recorder.js";
import { SAMPLES, make } from "./samples.js";
import { makeTabs } from "./tabs.js";
import { Voice } from "./voice.js";
import { encode } from "./wav.js";
import { seconds } from "./words.js";

const models = JSON.parse(document.body.dataset.models);
const choice = byId("model");
const model = () => models.find(({ name }) => name === choice.value) ?? models[0];
const named = () => (model() === models[0] ? {} : { model: model().name });

const clips = new Clips({
  maxBytes: Number(byId("upload").dataset.maxBytes),
  fields: () => ({ fields: { timeline: "true", explain: "true", ...named() }, voice: voice.token }),
});
const focusWays = () => byId("ways").querySelector("[aria-selected=true]").focus();
const panel = new Panel(byId("answer"), byId("empty"), clips);
new History({ section: byId("session"), list: byId("clips"), clear: byId("clear"), onclear: focusWays }, clips);

// Files: chosen, or dropped anywhere on the page.
const addFiles = (files) => {
  clips.add([...files].map((file) => ({ file, name: file.name, origin: "file" })));
};
const input = byId("file");
input.addEventListener("change", () => {
  addFiles([...input.files]);
  input.value = ""; // so that the same file can be chosen again
});
const isFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.remove("over");
  addFiles(event.dataTransfer.files);
});

for (const sample of SAMPLES) {
  const button = element("button", { type: "button", className: "chip", textContent: sample.name });
  button.onclick = () => {
    const { signal, samplingRate } = make(sample);
    const file = encode(Float32Array.from(signal), samplingRate);
    clips.add([{ file, name: `${sample.name} (made by formula).wav`, origin: "sample" }]);
  };
  byId("samples").append(button);
}

// The microphone, at once or live.
const parts = (prefix, names) =>
  Object.fromEntries(names.map((name) => [name, byId(`${prefix}-${name}`)]));

let recordings = 0;
const recorder = new Recorder(
  parts("record", ["start", "pause", "stop", "discard", "clock", "meter", "hint", "note"]),
  {
    mostSeconds: Number(byId("microphone").dataset.mostSeconds),
    onrecorded: (file, length) => {
      recordings += 1;
      clips.add([{ file, name: `Recording ${recordings}.wav`, origin: "microphone" }]);
      announce(`${seconds(length)} recorded`);
    },
  },
);

const judgeAgain = () => {
  if (clips.selected?.state === "done") clips.again(clips.selected);
};
const voice = new Voice(
  {
    section: byId("voice"),
    ...parts("voice", ["start", "enough", "stop", "forget", "use", "used", "meter", "hint", "note", "state"]),
  },
  { model, fields: named, onchange: judgeAgain },
);

const live = new Live(parts("live", ["start", "stop", "meter", "hint", "note"]), {
  view: makeLiveView(),
  window: model().window,
  fields: () => (voice.token ? { ...named(), profile: voice.token } : named()),
  onstart: () => panel.giveWayTo(live.view.root),
});
clips.addEventListener("change", () => {
  if (live.running && !live.view.root.isConnected) live.stop();
});

function makeLiveView() {
  const template = fromTemplate("live-view");
  return new LiveView(template, new Bars(template.parts.bars, model().emotions));
}

// What was recorded until then is kept: one key among the tabs is soon pressed.
makeTabs(byId("ways"), (tab) => {
  if (tab !== "tab-live") live.stop();
  if (tab !== "tab-microphone") recorder.stop();
});

choice.addEventListener("change", () => {
  live.stop();
  voice.stop();
  Object.assign(live, { view: makeLiveView(), window: model().window });
  byId("about-name").textContent = model().name;
  voice.show();
  judgeAgain();
});
byId("about").onclick = () => showCard(model().name);
byId("limits").onclick = () => showCard(model().name, byId("limits").textContent);
byId("card-close").onclick = () => byId("card").close();
byId("card").addEventListener("click", (event) => {
  if (event.target === byId("card")) byId("card").close(); // the backdrop
});
document.documentElement.dataset.ready = "true";

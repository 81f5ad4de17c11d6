// The upload form: each recording goes to the service on its own and gets its own answer.
// What a file name or an answer holds only ever becomes text (textContent), never markup.

const form = document.getElementById("upload");
const input = document.getElementById("file");
const drop = document.getElementById("drop");
const status = document.getElementById("status");
const answers = document.getElementById("answers");
const maxBytes = Number(form.dataset.maxBytes);

const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });

function fill(template, texts) {
  const part = document.getElementById(template).content.firstElementChild.cloneNode(true);
  for (const [name, text] of Object.entries(texts)) {
    part.querySelector(`.${name}`).textContent = text;
  }
  return part;
}

function bar(emotion, probability, best) {
  const row = fill("bar", { name: emotion, percent: percent.format(probability) });
  row.dataset.emotion = emotion;
  row.classList.toggle("best", best);
  // Drawn empty first, so that the bar grows.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    row.querySelector(".fill").style.width = `${100 * probability}%`;
  }));
  return row;
}

function answerCard(filename, answer) {
  const card = fill("answer", {
    filename,
    emotion: answer.emotion,
    confidence: `${percent.format(answer.confidence)} sure`,
    facts: `${answer.duration.toFixed(1)} s of sound · model ${answer.model.name} ${answer.model.version}`,
  });
  card.dataset.emotion = answer.emotion;
  card.querySelector(".uncertain").hidden = !answer.uncertain;
  card.querySelector(".bars").append(
    ...Object.entries(answer.probabilities).map(
      ([emotion, probability]) => bar(emotion, probability, emotion === answer.emotion)),
  );
  return card;
}

function problemCard(filename, title, detail) {
  const card = fill("problem", { filename, title, detail });
  card.setAttribute("role", "alert");
  return card;
}

async function judge(file, signal) {
  if (file.size > maxBytes) {
    const size = (file.size / 1e6).toFixed(1);
    return problemCard(file.name, "Too many bytes",
      `The file has ${size} MB; up to ${maxBytes / 1e6} MB are taken.`);
  }
  const body = new FormData();
  body.append("file", file);
  let response;
  let answer;
  try {
    response = await fetch(form.action, { method: "POST", body, signal });
    answer = await response.json();
  } catch {
    return problemCard(file.name, "No answer", "The service cannot be reached. Is it running?");
  }
  if (!response.ok) {
    return problemCard(file.name, answer.title, answer.detail);
  }
  return answerCard(file.name, answer);
}

// New files put an end to those before.
let current = new AbortController();

async function judgeAll(files) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  answers.replaceChildren();
  for (const [i, file] of files.entries()) {
    const count = files.length > 1 ? ` (${i + 1} of ${files.length})` : "";
    status.textContent = `Listening to ${file.name}${count}`;
    status.classList.add("busy");
    const card = await judge(file, signal);
    if (signal.aborted) return;
    answers.append(card);
  }
  status.textContent = "";
  status.classList.remove("busy");
}

input.addEventListener("change", () => {
  const files = [...input.files];
  input.value = ""; // so that the same file can be chosen again
  judgeAll(files);
});

form.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
form.addEventListener("dragleave", () => drop.classList.remove("over"));
form.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  judgeAll([...event.dataTransfer.files]);
});

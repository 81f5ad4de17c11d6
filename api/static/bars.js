// Probabilities as bars, always in the model's order and in the emotions' own colours.

import { element } from "./dom.js";
import { likeliest } from "./moments.js";
import { capital, paint, percent } from "./words.js";

export class Bars {
  // Each bar can carry a mark for what it is compared with.
  constructor(list, emotions) {
    this.list = list;
    this.rows = new Map(emotions.map((emotion) => [emotion, row(emotion)]));
    list.replaceChildren(...[...this.rows.values()].map(({ root }) => root));
  }

  show(probabilities, marks = null) {
    const best = likeliest(probabilities);
    for (const [emotion, { root, fill, mark, share }] of this.rows) {
      const probability = probabilities[emotion] ?? 0;
      root.classList.toggle("best", emotion === best);
      fill.style.width = `${100 * probability}%`;
      share.textContent = percent(probability);
      mark.hidden = !marks;
      if (marks) mark.style.left = `${100 * (marks[emotion] ?? 0)}%`;
    }
  }
}

function row(emotion) {
  const fill = element("span", { className: "fill" });
  const mark = element("span", { className: "mark", hidden: true });
  const share = element("span", { className: "percent" });
  const root = element("li", {},
    element("span", { className: "name", textContent: capital(emotion), title: emotion }),
    element("span", { className: "track", "aria-hidden": "true" }, fill, mark),
    share);
  paint(root, emotion);
  return { root, fill, mark, share };
}

// The model's card: the part of Markdown that cards are written in, as DOM nodes.

import { byId, element } from "./dom.js";
import { models } from "./service.js";

// Opens at the heading of that text, or at the top.
export async function showCard(name, heading = null) {
  const dialog = byId("card");
  const body = byId("card-text");
  body.replaceChildren(element("p", { textContent: "Fetching the card…" }));
  dialog.showModal();
  try {
    const model = (await models()).find((each) => each.name === name);
    body.replaceChildren(...markdown(model?.card || "This model came without a card."));
    body.querySelectorAll(".scroller").forEach((each, i) => each.setAttribute("aria-label", `Table ${i + 1}`));
  } catch (error) {
    const why = error.status === 401 ? error.words : "The service does not answer.";
    body.replaceChildren(element("p", { textContent: `The card cannot be fetched. ${why}` }));
  }
  dialog.scrollTop = 0;
  const wanted = [...body.querySelectorAll("h3, h4")].find((each) => each.textContent === heading);
  wanted?.scrollIntoView({ block: "center" });
}

// Headings, lists, tables, paragraphs; within them bold and code.
export function markdown(text) {
  const blocks = text.replaceAll("\r\n", "\n").split(/\n\s*\n/).map((block) => block.replace(/^\n+|\s+$/g, ""));
  return blocks.filter(Boolean).flatMap(block);
}

function block(text) {
  const lines = text.split("\n");
  const heading = /^(#{1,4}) (.*)$/.exec(lines[0]);
  if (heading) {
    // The dialog's own heading is the second level.
    const made = element(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2]));
    return lines.length > 1 ? [made, ...block(lines.slice(1).join("\n"))] : [made];
  }
  if (lines.every((line) => line.startsWith("|")) && lines.length > 1) return [table(lines)];
  if (/^[-*] /.test(lines[0])) {
    const items = text.split(/\n(?=[-*] )/).map((item) => item.slice(2).replace(/\s*\n\s*/g, " "));
    return [element("ul", {}, ...items.map((item) => element("li", {}, ...inline(item))))];
  }
  return [element("p", {}, ...inline(lines.join(" ")))];
}

function table(lines) {
  const row = (line, kind) =>
    element("tr", {}, ...line.replace(/^\||\|$/g, "").split("|").map((cell) =>
      element(kind, {}, ...inline(cell.trim()))));
  const [head, , ...rows] = lines;
  const made = element("table", {},
    element("thead", {}, row(head, "th")),
    element("tbody", {}, ...rows.map((line) => row(line, "td"))));
  const scroller = element("div", { className: "scroller", tabIndex: 0, role: "region" });
  scroller.append(made);
  return scroller;
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).filter(Boolean).map((part) => {
    if (part.startsWith("**") && part.length > 4) return element("strong", { textContent: part.slice(2, -2) });
    if (part.startsWith("`") && part.length > 2) return element("code", { textContent: part.slice(1, -1) });
    return part;
  });
}

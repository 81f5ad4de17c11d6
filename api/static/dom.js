// Small helpers around the DOM. Texts only ever become text nodes, so nothing that a file name or an
// answer holds can become markup.

export const byId = (id) => document.getElementById(id);

// Properties are set as properties, those with a dash (aria-label, data-x) and role as attributes.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

// A copy of a template's first element and the parts of it that are marked with data-part.
export function fromTemplate(id) {
  const root = byId(id).content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of root.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return { root, parts };
}

// For screen readers: said once, politely, without moving the focus.
export function announce(text) {
  byId("announcer").textContent = text;
}

export const prefersStillness = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function download(blob, filename) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: filename }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Says so on the button for a moment, whether it worked or not.
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy by hand";
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = before; }, 2000);
}

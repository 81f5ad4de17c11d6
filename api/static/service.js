// Talking to the service: one recording in, an answer or a Problem out.

import { untilClosed } from "./store.js";

const KEY = "api-key";
const KEY_WANTED = "This service wants an API key. Send any recording under Files: you are then asked for it.";

// An error as the service words it (RFC 9457), or as worded here where no answer came.
export class Problem extends Error {
  constructor({ type = "", title = "No answer", detail = "", status = 0, retryAfter = null }) {
    super(detail);
    Object.assign(this, { type, title, detail, status, retryAfter });
  }

  // The last part of its type: "silent", "too-long" and so on.
  get kind() {
    return this.type.split("/").pop();
  }

  // As one line, where no form asks for the key.
  get words() {
    return this.status === 401 ? KEY_WANTED : `${this.title}. ${this.detail}`;
  }

  // It may pass if one only waits; a recording that took too long would do so again.
  get busy() {
    return [429, 503].includes(this.status) && this.kind !== "deadline";
  }
}

// Kept until the tab is closed, and sent to this service only.
export const apiKey = {
  get: () => untilClosed.getItem(KEY),
  set: (value) => untilClosed.setItem(KEY, value),
};

// XMLHttpRequest, because fetch says nothing of an upload's progress.
export function predict(file, name, fields, { signal, onprogress } = {}) {
  const body = new FormData();
  body.append("file", file, name);
  for (const [field, value] of Object.entries(fields)) body.append(field, value);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open("POST", "predict");
    request.responseType = "text";
    if (apiKey.get()) request.setRequestHeader("X-API-Key", apiKey.get());
    request.upload.onprogress = (event) => onprogress?.(event.loaded / event.total);
    request.onload = () => {
      try {
        resolve(read(request));
      } catch (problem) {
        reject(problem);
      }
    };
    request.onerror = () => reject(new Problem({
      detail: "The service cannot be reached. Is it running, and is the network there?",
    }));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onloadend = () => signal?.removeEventListener("abort", abort);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) request.abort();
    request.send(body);
  });
}

function read(request) {
  let answer;
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    answer = null;
  }
  if (request.status === 200 && answer?.probabilities) return answer;
  const retryAfter = Number(request.getResponseHeader("Retry-After")) || null;
  if (request.status === 200 || answer === null || typeof answer.detail !== "string") {
    throw new Problem({
      title: "An answer that cannot be read",
      detail: `The service, or something before it, answered with status ${request.status}.`,
      status: request.status,
      retryAfter,
    });
  }
  throw new Problem({ ...answer, status: request.status, retryAfter });
}

export async function models() {
  const headers = apiKey.get() ? { "X-API-Key": apiKey.get() } : {};
  const response = await fetch("models", { headers });
  if (!response.ok) throw new Problem({ status: response.status, detail: response.statusText });
  return (await response.json()).models;
}

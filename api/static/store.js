// The browser's storage, or, where it refuses any (as for some pages in frames), memory.

function open(name) {
  try {
    return window[name];
  } catch {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
  }
}

export const untilClosed = open("sessionStorage");
export const forLater = open("localStorage");

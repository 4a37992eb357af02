// What the components share: the hub's clock, a tick each second, and how ages and amounts are written.

let offsetMs = 0;
const listeners = new Set();

/** Ages are by the hub's clock: this machine's may be wrong. */
export function setHubTime(ms) {
  offsetMs = ms - Date.now();
}

export function hubNow() {
  return Date.now() + offsetMs;
}

/** Calls `listener` each second until the function that it returns is called. One timer for all. */
export function onTick(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

setInterval(() => listeners.forEach((listener) => listener()), 1000);

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** `42 s`, `3 min 20 s`, `5 h 12 min`, `12 d 4 h`: the two largest units. Below zero (clocks differ) it is `0 s`. */
export function duration(ms) {
  let left = Math.max(0, Math.floor(ms / 1000));
  const parts = [];
  for (const [unit, seconds] of UNITS) {
    const count = Math.floor(left / seconds);
    if (count > 0 || parts.length) parts.push([count, unit]);
    left -= count * seconds;
  }
  const shown = parts.slice(0, 2).filter(([count]) => count > 0);
  return shown.length ? shown.map(([count, unit]) => `${count} ${unit}`).join(" ") : "0 s";
}

export function number(count) {
  return count.toLocaleString("en");
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = "";
  while (value >= 1000 && units.length) {
    value /= 1000;
    unit = units.shift();
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function instant(ms) {
  return new Date(ms).toLocaleString();
}

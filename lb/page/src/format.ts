// Numbers and times as people read them.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const count = (value: number): string => number.format(value);

/** Requests a second: as many digits as say something. */
export function rate(value: number): string {
  return value >= 100 || value === 0 ? number.format(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function millis(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 100 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
}

export function percent(share: number): string {
  const value = share * 100;
  if (value === 0) return "0 %";
  return value < 0.01 ? "< 0.01 %" : value < 10 ? `${value.toFixed(2)} %` : `${value.toFixed(1)} %`;
}

/** As `3 min`: since `then`, or until it. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export const ago = (time: string, now = Date.now()): string => span((now - Date.parse(time)) / 1000);

/** The time of day; with the day, if that is another. */
export function at(time: string): string {
  const date = new Date(time);
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** As `3 endpoints`. */
export const many = (n: number, one: string): string => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
export const words = (snake: string): string => snake.replaceAll("_", " ");

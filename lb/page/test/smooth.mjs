// How long the page works for many endpoints: the first drawing of the map, and what a second of news
// costs.
//
// Usage: node test/smooth.mjs http://127.0.0.1:9900

import { launch, open } from "./browser.mjs";

const browser = await launch();
const { page } = await open(browser, `${process.argv[2]}/#/overview`);
await page.waitForSelector(".live[data-connected=true]");
await page.waitForTimeout(1500);
const first = await page.evaluate(async () => {
  const begun = performance.now();
  location.hash = "#/map";
  while (!document.querySelector("button.cell")) await new Promise((resolve) => setTimeout(resolve, 0));
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  return { ms: performance.now() - begun, signs: document.querySelectorAll("button.cell").length };
});
console.log(`map drawn in ${first.ms.toFixed(0)} ms, ${first.signs} signs`);
const seconds = Number(process.argv[3] ?? 10);
for (const view of ["map", "overview", "charts", "timeline"]) {
  const session = await page.context().newCDPSession(page);
  await page.click(`nav a[href="#/${view}"]`);
  await page.waitForTimeout(500);
  await session.send("Performance.enable");
  const of = async () => Object.fromEntries((await session.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
  const before = await of();
  const longest = await page.evaluate((ms) => new Promise((resolve) => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ entryTypes: ["longtask"] });
    setTimeout(() => resolve(tasks), ms);
  }), seconds * 1000);
  const after = await of();
  const busy = ((after.TaskDuration - before.TaskDuration) / seconds) * 1000;
  console.log(`${view}: ${busy.toFixed(1)} ms of work a second, tasks over 50 ms: ${longest.length}${longest.length ? ` (${Math.max(...longest)} ms)` : ""}`);
  await session.detach();
}
await browser.close();

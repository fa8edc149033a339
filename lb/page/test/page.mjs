// The page before a real Weir, which the test in integration-tests starts and troubles on request:
// a line `> ORDER` asks for something to happen, a line on standard input says that it has.
//
// Usage: node page.mjs http://127.0.0.1:9900

import { createInterface } from "node:readline";
import { accessibility, assert, launch, noSidewaysScroll, open, until } from "./browser.mjs";

const base = process.argv[2];
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function order(words) {
  console.log(`> ${words}`);
  const { value, done } = await lines.next();
  assert(!done, `nobody carries out "${words}"`);
  return value;
}

async function step(name, play) {
  const begun = Date.now();
  await play();
  console.log(`ok ${name} (${Date.now() - begun} ms)`);
}

const VIEWS = ["overview", "map", "charts", "timeline", "releases", "config"];
const show = async (page, view) => {
  await page.click(`nav a[href="#/${view}"]`);
  await page.waitForSelector(`main.view-${view} .view > *`);
};

const browser = await launch();
const { page, context, asked, wrong } = await open(browser, `${base}/`);
const said = (selector) => page.locator(selector).innerText();
const sees = (selector, pattern) => until(`${pattern} in ${selector}`, async () => pattern.test((await page.locator(selector).first().textContent({ timeout: 1000 }).catch(() => "")) ?? ""));

await step("overview: all is well, and live", async () => {
  await sees(".live", /live/);
  await sees("#now-title", /All is well/);
  await until("requests", async () => Number((await said(".tile:first-child b")).replace(",", "")) > 0);
  await sees(".view", /shop-v1[\s\S]*6 of 6/);
  await sees(".events-short", /ready/);
});

await step("each view in light: something in it, nothing against accessibility", async () => {
  for (const view of VIEWS) {
    await show(page, view);
    if (view === "charts") await page.waitForSelector(".uplot canvas");
    if (view === "config") await page.waitForSelector(".reloads li");
    if (view === "releases") await page.waitForSelector(".verdict");
    const found = await accessibility(page);
    assert(found.length === 0, `${view} in light:\n${found.join("\n")}`);
    assert((await page.title()).includes("Weir"), "a title");
  }
});

await step("map: a zone dies while one looks", async () => {
  await show(page, "map");
  const zone = 'td[data-zone="az-b"] button.cell';
  assert((await page.locator(`${zone}[data-state="healthy"]`).count()) === 3, "three healthy in az-b");
  await order("kill az-b");
  await page.waitForFunction((zone) => [...document.querySelectorAll(zone)].every((cell) => ["unhealthy", "ejected"].includes(cell.dataset.state)), zone);
  await page.locator(zone).first().click();
  await sees("dialog", /unhealthy|ejected/);
  await sees("dialog", /Since/);
  const found = await accessibility(page);
  assert(found.length === 0, `details:\n${found.join("\n")}`);
  await page.keyboard.press("Escape");
  assert((await page.locator("dialog").count()) === 0, "Escape closes");
  await show(page, "overview");
  await sees(".problems", /shop-v1: 2 of 6 endpoints are (unhealthy|ejected).*all of zone az-b/);
  await order("revive az-b");
  await sees("#now-title", /All is well/);
});

await step("timeline: what happened, with its evidence", async () => {
  await show(page, "timeline");
  await page.fill("#find", "endpoint_transition");
  await page.locator(".events details summary").first().click();
  await sees(".evidence", /endpoint/);
  await sees(".evidence", /event \d+/);
});

await step("config: a bad reload, with its line", async () => {
  await order("break the config");
  await show(page, "overview");
  await sees(".problems", /refused, the configuration in force stays/);
  await show(page, "config");
  await sees('.reloads li[data-result="rejected"]', /Refused/);
  await sees('.reloads li[data-result="rejected"] pre', /shop-v9/);
  assert((await page.locator('.reloads li[data-result="rejected"] pre .source-line').count()) > 0, "the line of the source is marked");
  await order("mend the config");
  await sees(".reloads li:first-child", /Nothing changed|Applied/);
});

await step("drain: with the keyboard, and only after a yes", async () => {
  await show(page, "map");
  await page.focus('th[data-zone="az-c"] button');
  await page.keyboard.press("Enter");
  await sees("dialog", /zone az-c/);
  await page.keyboard.press("Escape");
  assert((await (await page.request.get(`${base}/api/v1/drains`)).json()).drains.length === 0, "nothing without a yes");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog");
  assert(await page.evaluate(() => document.activeElement?.textContent === "Cancel"), "the focus is on the harmless answer");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until("a drain", async () => (await (await page.request.get(`${base}/api/v1/drains`)).json()).drains[0]?.zone === "az-c");
  await page.waitForSelector('td[data-zone="az-c"] button.cell[data-state="draining"]');
  await sees('th[data-zone="az-c"] button', /Undrain/);
  await show(page, "overview");
  await sees(".problems", /zone az-c.*drained/);
  await show(page, "map");
  await page.locator('th[data-zone="az-c"] button').click();
  await page.locator("dialog button[type=submit]").click();
  await page.waitForSelector('td[data-zone="az-c"] button.cell[data-state="healthy"]');
});

await step("keyboard only: ways, and a walk through signs", async () => {
  await page.goto(`${base}/`);
  await page.waitForSelector(".problems, .now h2");
  await page.keyboard.press("Tab");
  assert(await page.evaluate(() => document.activeElement?.classList.contains("skip")), "first a way past the ways");
  for (let at = 0; at < 3; at++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("main.view-map button.cell");
  assert(await page.evaluate(() => document.activeElement?.tagName === "H1"), "the focus follows to the view");
  await page.focus('td[data-zone="az-a"] button.cell[tabindex="0"]');
  await page.keyboard.press("ArrowRight");
  assert(await page.evaluate(() => document.activeElement?.previousElementSibling?.classList.contains("cell")), "an arrow walks on");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog .endpoint-state");
  const known = page.locator("dialog").first();
  await known.locator("#drain-it").click();
  await page.locator("dialog button[type=submit]").click();
  await until("the endpoint to be drained", async () => /Undrain/.test(await known.locator("#drain-it").innerText()));
  await known.locator("#drain-it").click();
  await page.locator("dialog button[type=submit]").click();
  await until("the endpoint to be back", async () => /^Drain/.test(await known.locator("#drain-it").innerText()));
  await page.keyboard.press("Escape");
});

await step("releases: who would move, and nothing is done", async () => {
  await show(page, "releases");
  await sees(".versions", /shop-v2/);
  const before = await (await page.request.get(`${base}/api/v1/config`)).json();
  await page.locator("input[type=range]").focus();
  await page.keyboard.press("End");
  await sees(".preview", /% of users from shop-v1 to shop-v2/);
  await sees(".preview .command", /weir release set orders shop-v2=100/);
  await sees(".preview", /\+.*100/);
  await page.fill(".slider input[type=number]", "25");
  await sees(".preview .command", /shop-v2=25$/);
  const found = await accessibility(page);
  assert(found.length === 0, `a preview:\n${found.join("\n")}`);
  const after = await (await page.request.get(`${base}/api/v1/config`)).json();
  assert(before.text === after.text && before.generation === after.generation, "nothing was applied");
});

await step("dark, and as wide as a phone", async () => {
  const phone = await open(browser, `${base}/`, { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true, isMobile: true });
  for (const view of VIEWS) {
    await show(phone.page, view);
    if (view === "config") await phone.page.waitForSelector(".reloads li");
    if (view === "charts") await phone.page.waitForSelector(".uplot canvas");
    assert(await noSidewaysScroll(phone.page), `${view} is wider than a phone`);
    const found = await accessibility(phone.page);
    assert(found.length === 0, `${view} in dark:\n${found.join("\n")}`);
  }
  asked.push(...phone.asked);
  wrong.push(...phone.wrong);
  await phone.context.close();
});

await step("a token: asked for once, kept in the tab, sent with everything", async () => {
  const other = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  // As the admin address does for whoever comes from elsewhere.
  await other.route("**/api/**", (route) => {
    const good = route.request().headers()["authorization"] === "Bearer open-sesame-16";
    return good ? route.continue() : route.fulfill({ status: 401, contentType: "application/problem+json", body: '{"detail":"a token"}' });
  });
  const tab = await other.newPage();
  await tab.goto(`${base}/`);
  // No token, and nothing that a header could hold: it is not kept.
  await tab.fill("#token", "“open-sesame-16”");
  await tab.keyboard.press("Enter");
  assert(await tab.evaluate(() => sessionStorage.getItem("weir-token") === null), "what is no token is not taken");
  await tab.fill("#token", "a-wrong-one");
  await tab.keyboard.press("Enter");
  await tab.waitForFunction(() => document.querySelector("#token")?.value === "");
  await tab.fill("#token", "open-sesame-16");
  await tab.keyboard.press("Enter");
  await tab.waitForSelector(".live[data-connected=true]");
  await tab.reload();
  await tab.waitForSelector(".live[data-connected=true]");
  assert((await tab.locator("dialog").count()) === 0, "it is asked for once");
  await other.close();
});

await step("a line that went and came back", async () => {
  await page.goto(`${base}/#/overview`);
  await sees(".live", /live/);
  await order("restart");
  await sees(".live", /live/);
  await sees(".events-short", /ready/);
});

// While Weir is away there are refused connections, and only those.
const others = asked.filter((url) => !url.startsWith(base));
assert(others.length === 0, `requests to others: ${others}`);
const errors = wrong.filter((line) => !/ERR_CONNECTION_(REFUSED|RESET)|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE/.test(line));
assert(errors.length === 0, `errors in the page: ${errors.join("\n")}`);
assert(asked.length > 20, "requests were seen");
await context.close();
await browser.close();
console.log("ok everything");
process.exit(0);

// The pictures in docs/images, of a running `weir demo` in which something is wrong.
//
// Usage: weir demo &    curl -X POST 'http://CONTROL/kill?zone=az-b'
//        node test/shots.mjs http://127.0.0.1:9900 ../../docs/images

import { launch, open } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
const browser = await launch();
const settle = (page) => page.waitForTimeout(4000);

async function shot(name, view, options, prepare) {
  const { page, context } = await open(browser, `${base}/#/${view}`, options);
  await page.waitForSelector(".live[data-connected=true]");
  await settle(page);
  await prepare?.(page);
  await page.screenshot({ path: `${folder}/${name}.png` });
  await context.close();
}

await shot("status-overview", "overview", {});
await shot("status-releases", "releases", { viewport: { width: 1280, height: 900 } }, async (page) => {
  await page.fill(".slider input[type=number]", "35");
  await page.waitForSelector(".preview .command");
});
await shot("status-map-dark", "map", { colorScheme: "dark" });
if (process.env.ALL) {
  const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  for (const view of ["overview", "map", "charts", "timeline", "releases", "config"]) {
    await shot(`phone-${view}`, view, { ...phone });
    await shot(`light-${view}`, view, {});
    await shot(`dark-${view}`, view, { colorScheme: "dark" });
  }
}
await browser.close();

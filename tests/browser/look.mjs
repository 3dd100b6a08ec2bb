// Looks at the page in Debian's Chromium, as its users would. Usage:
//   node look.mjs read URL FOLDER   all that can be seen and done, and pictures of it into a folder
//   node look.mjs many URL          whether it stays smooth with many functions
// What was measured is printed; whatever is wrong ends it with an error.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const CHROMIUM = "/usr/bin/chromium";
const DRAWN = "body[data-drawn] #rows tr";
/** The most that the page may weigh, and its first view may take. */
const BYTES = 60_000;
const FIRST_VIEW = 200;
/** What a user takes for a stutter, in milliseconds. */
const STUTTER = 100;

const [mode, url, folder] = process.argv.slice(2);
const origin = new URL(url).origin;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });

/** A page of its own, of which everything that goes wrong is kept. */
async function visit(options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const wrong = [], requests = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  const answer = await page.goto(url);
  assert.equal(answer.status(), 200);
  await page.waitForSelector(DRAWN);
  return { page, wrong, requests, bytes: (await answer.body()).length };
}

/** How long it took from the first byte that was asked for until something was drawn. */
const firstView = (page) => page.evaluate(() => performance.getEntriesByName("drawn")[0].startTime);

async function axe(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run());
  const told = violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], where);
}

async function ask(path, count = 1) {
  for (let done = 0; done < count; done++) await (await fetch(origin + path)).text();
}

const seen = (page, text) => page.waitForFunction((text) => document.querySelector("main").textContent.includes(text), text, { timeout: 15_000 });

async function read() {
  const views = [];
  for (let time = 0; time < 7; time++) {
    const { page } = await visit();
    assert.ok(await page.locator("#rows tr").count() >= 100);
    views.push(await firstView(page));
    await page.context().close();
  }
  const median = views.sort((a, b) => a - b)[3];
  console.log(`first view after ${median.toFixed(0)} ms`);
  assert.ok(median <= FIRST_VIEW, `first views: ${views}`);

  const { page, wrong, requests, bytes } = await visit({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  console.log(`${bytes} bytes`);
  assert.ok(bytes <= BYTES);

  // What happens is seen without anybody doing anything.
  await ask("/demo/hello/x");
  const hello = page.locator("tr", { has: page.getByRole("button", { name: "demo/hello", exact: true }) });
  await hello.getByText("1 idle").waitFor();
  const slow = ask("/demo/hello/sleep/3000");
  await hello.getByText("1 busy").waitFor();
  await slow;
  await ask("/demo/hello/x", 50);
  await ask("/demo/bad/x");
  await seen(page, "can't be started: demo/bad exited with code 3");
  assert.match(await page.title(), /^\(\d+\) CoreFn$/);
  const sparks = await hello.getByRole("img").evaluateAll((all) => all.map((it) => it.getAttribute("aria-label")));
  assert.match(sparks[0], /^demo\/hello, requests per second over the last minute, now [1-9]/);

  // By the keyboard alone: a function is found, and opened.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the functions");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type("demo/h");
  await page.waitForFunction(() => document.querySelectorAll("#rows tr").length === 1);
  const name = page.getByRole("button", { name: "demo/hello", exact: true });
  await name.focus();
  await page.keyboard.press("Enter");
  assert.equal(await name.getAttribute("aria-expanded"), "true");
  await page.locator(".detail").getByText("0 requests under way").waitFor();
  // (It keeps the focus, whatever is drawn meanwhile.)
  await ask("/demo/hello/x", 5);
  await page.waitForTimeout(2500);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "demo/hello");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator(".detail").count(), 0);
  await page.locator("#find").fill("");

  // Starts have their anatomy, builds their logs.
  await page.getByText("On average, by what from").waitFor();
  assert.ok(await page.locator("#starts tr").count() > 0);
  assert.match(await page.locator("#starts svg").first().getAttribute("aria-label"), /answered [0-9.]+ m?s/);
  const builds = page.locator("#builds details");
  await builds.filter({ hasText: "rejected" }).first().locator("summary").click();
  await builds.first().locator("pre").getByText("error: ").waitFor();
  await builds.filter({ hasText: "deployed" }).first().locator("summary").click();
  await page.getByText("==> deployed demo/pushed").waitFor();
  await axe(page, "light, with logs open");
  await page.screenshot({ path: `${folder}/builds.png`, fullPage: true });
  await builds.evaluateAll((all) => all.forEach((it) => { it.open = false; }));

  // Pictures, with something going on.
  for (let second = 0; second < 20; second++) {
    const many = 4 + Math.round(12 * Math.abs(Math.sin(second / 4)));
    await Promise.all([ask("/demo/hello/x", many), ask("/demo/frozen/sleep/20", 3), second % 3 ? ask("/demo/pushed/sleep/5", second % 7) : ask("/demo/pushed/status/500", 1)]);
    await page.waitForTimeout(900);
  }
  const under = [ask("/demo/hello/sleep/4000"), ask("/demo/frozen/sleep/4000")];
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.waitForTimeout(1200);
  await page.screenshot({ path: `${folder}/page-light.png` });
  await page.emulateMedia({ colorScheme: "dark" });
  await axe(page, "dark");
  await page.screenshot({ path: `${folder}/page-dark.png` });
  await Promise.all(under);

  // What others have written is text: an error, and a log.
  await seen(page, "<img src=x onerror=alert(1)>");
  assert.equal(await page.locator("img").count(), 0);

  // Nothing was asked of anybody else, and nothing went wrong.
  for (const request of requests) assert.ok(request.startsWith(origin) || request.startsWith("data:"), request);
  assert.deepEqual(wrong, []);

  // On a phone nothing is wider than the screen.
  const phone = await visit({ viewport: { width: 360, height: 780 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
  const wide = await phone.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `${wide} wide`);
  await axe(phone.page, "phone");
  await phone.page.screenshot({ path: `${folder}/page-phone.png` });
  assert.deepEqual(phone.wrong, []);
}

async function many() {
  const { page, wrong } = await visit();
  const count = page.locator("#function-count");
  await page.waitForFunction(() => !document.querySelector("#more").textContent.includes("yet to come"));
  const all = Number((await count.textContent()).replaceAll(",", ""));
  assert.ok(all >= 10_000, String(all));
  console.log(`${all} functions, first view after ${(await firstView(page)).toFixed(0)} ms`);
  // How long the browser could not draw, while functions are at work and somebody types.
  await page.evaluate(() => {
    globalThis.gaps = [];
    let last = performance.now();
    const tick = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  });
  const asking = (async () => { for (let at = 0; at < 60; at++) { await ask("/demo/hello/x", 5); await new Promise((done) => setTimeout(done, 100)); } })();
  for (const text of ["account-7", "", "function-99", ""]) {
    await page.locator("#find").pressSequentially(text, { delay: 60 });
    await page.waitForTimeout(700);
    await page.locator("#find").fill("");
  }
  await page.locator("#order").selectOption("name");
  await asking;
  const gaps = (await page.evaluate(() => gaps)).sort((a, b) => b - a);
  const late = gaps.filter((gap) => gap > STUTTER).length;
  console.log(`longest gap ${gaps[0].toFixed(0)} ms, ${late} of ${gaps.length} frames late`);
  assert.ok(late <= gaps.length / 100, `gaps: ${gaps.slice(0, 10)}`);
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  console.log(`${(heap / 1e6).toFixed(0)} MB of heap`);
  assert.deepEqual(wrong, []);
}

try {
  await { read, many }[mode]();
} finally {
  await browser.close();
}

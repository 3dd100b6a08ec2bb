// What the page was told, and what it makes of that. Nothing here is ever read as HTML.

const LAST = 60;
const SHOWN = 100;
const WAYS = { sandbox: "a sandbox", network: "its image, on a sandbox's network", image: "its image", thaw: "a frozen instance" };
const PHASES = { handed_over: "handed over", held: "network held", created: "created", started: "started", ready: "answered" };
const STATES = ["busy", "idle", "frozen", "draining"];

const $ = (id) => document.getElementById(id);
const functions = new Map();
const open = new Set();
const totals = [];
let host = null, starts = [], builds = [], rest = 0, time = 0, order = [], reordered = -Infinity, isDue = false;

/** An element with attributes and children; text is only ever text. */
function el(name, attributes = {}, ...children) {
  const made = name === "svg" || name === "path" || name === "rect"
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const whole = new Intl.NumberFormat("en");
const number = (value) => whole.format(value);
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60000)} min`;
}

function rate(value) {
  return value < 10 ? String(Math.round(value * 10) / 10) : number(Math.round(value));
}

function ago(at) {
  const seconds = Math.max(0, Math.round((time - at) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

/** A line of text in which only `code` is marked; of links, the text is left. */
function marked(text) {
  const plain = text.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
  return plain.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** Adds what has happened since the last time to a history of the last minute. */
function sample(history, value) {
  history.push(value);
  while (history.length && history[0].at < time - LAST * 1000) history.shift();
}

/** The last minute, second by second, of what `read` makes of the samples of one. */
function seconds(history, read) {
  const each = Array.from({ length: LAST }, () => []);
  for (const it of history) {
    const second = LAST - 1 - Math.floor((time - it.at) / 1000);
    if (second >= 0 && second < LAST) each[second].push(it);
  }
  return each.map(read);
}

const sum = (list, of) => list.reduce((all, it) => all + it[of], 0);
const requests = (list) => sum(list, "requests");
const mean = (list) => (requests(list) ? sum(list, "millis") / requests(list) : 0);

/** A line over the last minute. */
function spark(values, label) {
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, x) => `${x ? "L" : "M"}${x} ${(19 - (18 * value) / most).toFixed(1)}`);
  const svg = el("svg", { class: "spark", viewBox: `0 0 ${LAST - 1} 20`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  svg.append(el("path", { d: points.join("") }));
  return svg;
}

/** A bar of steps, each as long as it took, `whole` being the longest. */
function steps(phases, whole) {
  const label = phases.map(([phase, ms]) => `${PHASES[phase]} ${duration(ms)}`).join(", ");
  const svg = el("svg", { class: "steps", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label });
  svg.append(el("title", {}, label));
  let x = 0;
  for (const [phase, ms] of phases) {
    const width = (100 * ms) / whole;
    svg.append(el("rect", { class: `phase-${phase}`, x: x.toFixed(2), y: 0, width: Math.max(width, 0.4).toFixed(2), height: 10 }));
    x += width;
  }
  return svg;
}

function take(message) {
  time = message.time;
  rest = message.rest;
  if (message.reset) {
    const gone = new Set(functions.keys());
    take.before = gone;
  }
  for (const view of message.functions ?? []) {
    const known = functions.get(view.name);
    take.before?.delete(view.name);
    if (known && (view.requests > known.view.requests)) {
      sample(known.history, { at: time, requests: view.requests - known.view.requests, millis: Math.max(0, view.millis - known.view.millis) });
    }
    if (known) known.view = view;
    else functions.set(view.name, { view, history: [] });
  }
  for (const name of message.removed ?? []) functions.delete(name);
  if (take.before && !rest) {
    for (const name of take.before) functions.delete(name);
    take.before = null;
  }
  if (message.host) {
    if (host && message.host.requests >= host.requests) {
      sample(totals, { at: time, requests: message.host.requests - host.requests, millis: (message.host.seconds - host.seconds) * 1000 });
    }
    host = message.host;
    problems(message.problems);
  }
  if (message.starts) starts = message.starts;
  if (message.builds) builds = message.builds;
  later();
}

/** Draws when the browser is about to, however many messages have come until then. */
function later() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    if (!host) return;
    tiles();
    rows();
    ways();
    lastStarts();
    listBuilds();
    if (!document.body.dataset.drawn) performance.mark("drawn");
    document.body.dataset.drawn = "yes";
  });
}

function problems(list) {
  const told = JSON.stringify(list);
  $("fine").hidden = list.length > 0;
  document.title = list.length ? `(${list.length}) CoreFn` : "CoreFn";
  if (problems.told === told) return;
  problems.told = told;
  $("problems").replaceChildren(...list.map(({ what, remedy }) => el("li", {}, el("strong", {}, what), el("span", {}, ...marked(remedy)))));
}

function tiles() {
  put($("versions"), `${host.version} · nginx ${host.nginx} · ${plural(host.workers, "worker")}`);
  const minute = seconds(totals, requests), times = seconds(totals, mean);
  const { busy, idle, frozen, draining } = host.instances;
  const waiting = (host.sandboxes ?? []).map((it) => `${it.waiting} of ${it.wanted}${it.runtime ? ` ${it.runtime}` : ""}${it.network === "none" ? " without network" : it.network && it.network !== "outbound" ? ` on ${it.network}` : it.network ? "" : " with a socket alone"}`);
  const now = minute.slice(-10).reduce((all, it) => all + it, 0) / 10;
  const tell = [
    ["Requests per second", rate(now), "", minute],
    ["Mean time", duration(mean(totals)), "last minute", times],
    ["Under way", number(host.in_flight), `${number(host.waiting)} wait for an instance`],
    ["Instances", number(busy + idle + (frozen ?? 0) + (draining ?? 0)), `${busy} busy, ${idle} idle${frozen ? `, ${frozen} frozen` : ""}${draining ? `, ${draining} draining` : ""}`],
    ["Cold starts", number(Object.values(host.starts).reduce((all, it) => all + it.count, 0)), `${host.out_of_memory} out of memory, ${host.died} died`],
    ["Sandboxes that wait", host.sandboxes ? number(sum(host.sandboxes, "waiting")) : "none", waiting.join(", ")],
    ["Builds", host.builds ? number(host.builds.deployed + host.builds.rejected) : "unknown", host.builds ? `${host.builds.running} running, ${host.builds.rejected} rejected` : ""],
    ["Redis and Docker", host.redis && host.docker ? "in reach" : "out of reach", [!host.redis && "Redis is not", !host.docker && "Docker is not"].filter(Boolean).join(", ")],
  ];
  const parts = $("tiles").children;
  tell.forEach(([name, value, note, line], at) => {
    let tile = parts[at];
    if (!tile) {
      tile = el("div", {}, el("dt", {}, name), el("dd", {}, el("span"), " ", el("small")));
      $("tiles").append(tile);
    }
    put(tile.querySelector("span"), value);
    put(tile.querySelector("small"), note);
    if (line) {
      tile.querySelector("svg")?.remove();
      tile.querySelector("dd").append(spark(line, `${name}, the last minute`));
    }
  });
}

const rank = ({ view }) => (view.failure ? 0 : view.instances.length ? 1 : view.requests ? 2 : 3);
const byName = (a, b) => (a.view.name < b.view.name ? -1 : 1);
const ORDERS = {
  activity: (a, b) => rank(a) - rank(b) || byName(a, b),
  name: byName,
  requests: (a, b) => b.view.requests - a.view.requests || byName(a, b),
  errors: (a, b) => b.view.errors - a.view.errors || byName(a, b),
};

/** Which functions are shown, found anew once a second at most. */
function find(isAsked) {
  if (!isAsked && performance.now() < reordered + 900) return order;
  reordered = performance.now();
  const words = $("find").value.trim().toLowerCase();
  const found = [...functions.values()].filter(({ view }) => view.name.includes(words));
  found.sort(ORDERS[$("order").value]);
  put($("function-count"), words ? `${number(found.length)} of ${number(functions.size)}` : number(functions.size));
  const hidden = found.length - SHOWN;
  const left = rest ? `${plural(rest, "function")} are yet to come. ` : "";
  put($("more"), functions.size === 0 && !rest ? "No function is deployed: git push one." : left + (hidden > 0 ? `${plural(hidden, "more function")}: find them by name.` : ""));
  order = found.slice(0, SHOWN);
  return order;
}

function rows(isAsked = false) {
  const body = $("rows");
  const wanted = [];
  for (const it of find(isAsked)) {
    it.row ??= makeRow(it);
    fillRow(it);
    wanted.push(it.row);
    if (open.has(it.view.name)) {
      it.detail ??= el("tr", { class: "detail", id: `detail-${it.view.name}` }, el("td", { colspan: 7 }));
      fillDetail(it);
      wanted.push(it.detail);
    }
  }
  const isSame = body.children.length === wanted.length && wanted.every((row, at) => body.children[at] === row);
  if (!isSame) {
    const focused = document.activeElement;
    body.replaceChildren(...wanted);
    if (body.contains(focused)) focused.focus();
  }
}

function makeRow({ view: { name } }) {
  const button = el("button", { type: "button", "aria-expanded": open.has(name), "aria-controls": `detail-${name}` }, name);
  button.addEventListener("click", () => {
    if (!open.delete(name)) open.add(name);
    button.setAttribute("aria-expanded", open.has(name));
    rows(true);
  });
  const cell = (kind = "") => el("td", { class: kind });
  return el("tr", {}, el("td", {}, button, el("span", { class: "id" })), cell("dots"), cell(), cell(), cell("number"), cell("number"), cell("number"));
}

function fillRow({ row, view, history }) {
  const [name, dots, perSecond, times, all, errors, cold] = row.children;
  put(name.lastChild, view.failure ? `${view.revision} · can't be started: ${view.failure.code}` : view.revision);
  showInstances(dots, view.instances);
  const isNow = history.length > 0;
  if (isNow || row.dataset.line) {
    const minute = seconds(history, requests);
    const now = minute.slice(-10).reduce((a, b) => a + b, 0) / 10;
    const label = `${view.name}, requests per second over the last minute, now ${rate(now)}`;
    perSecond.replaceChildren(el("div", { class: "withtext" }, spark(minute, label), rate(now)));
    const average = mean(history);
    times.replaceChildren(el("div", { class: "withtext" }, spark(seconds(history, mean), `${view.name}, mean time over the last minute, ${duration(average)}`), isNow ? duration(average) : ""));
    row.dataset.line = isNow ? "yes" : "";
  }
  put(all, number(view.requests));
  put(errors, number(view.errors));
  errors.classList.toggle("bad", view.errors > 0);
  put(cold, number(view.cold));
}

function showInstances(cell, instances) {
  const state = instances.map((it) => `${it.id}${it.state}`).join();
  if (cell.dataset.state === state) return;
  const known = cell.dataset.state ?? "";
  cell.dataset.state = state;
  const count = (state) => instances.filter((it) => it.state === state).length;
  const text = STATES.filter(count).map((state) => `${count(state)} ${state}`).join(", ");
  const dots = instances.slice(0, 12).map((it) => el("span", { class: `dot ${it.state}${known.includes(it.id) ? "" : " new"}`, "aria-hidden": "true" }));
  cell.replaceChildren(...dots, text);
}

function fillDetail({ detail, view }) {
  const told = JSON.stringify([view.instances, view.failure, view.revision]);
  if (detail.dataset.told === told) return;
  detail.dataset.told = told;
  const cell = detail.firstChild;
  const list = view.instances.map((it) => el("li", {}, el("span", { class: `dot ${it.state}`, "aria-hidden": "true" }), el("code", {}, it.id), ` ${it.state}, ${plural(it.load, "request")} under way${it.revision === view.revision ? "" : `, revision ${it.revision}`}`));
  cell.replaceChildren(list.length ? el("ul", {}, ...list) : "No instance: the next request starts one.");
  if (view.failure) cell.append(el("p", {}, `${view.failure.until ? `Not started again until ${new Date(view.failure.until).toLocaleTimeString()}` : "The last start failed"}: ${view.failure.detail}`));
}

function ways() {
  const means = Object.entries(host.starts).filter(([, it]) => it.count);
  const told = JSON.stringify(means.map(([way, it]) => [way, it.count]));
  if (ways.told === told) return;
  ways.told = told;
  const average = ([, it]) => (1000 * it.seconds) / it.count;
  const most = Math.max(...means.map(average), 1e-9);
  $("ways").replaceChildren(...means.map(([way, it]) => {
    const phases = Object.keys(PHASES).filter((phase) => it.phases[phase]).map((phase) => [phase, (1000 * it.phases[phase]) / it.count]);
    return el("tr", {}, el("td", {}, WAYS[way]), el("td", { class: "number" }, number(it.count)), el("td", { class: "number" }, duration(average([way, it]))), el("td", {}, steps(phases, most)));
  }));
  if (!means.length) $("ways").append(el("tr", {}, el("td", { colspan: 4 }, "Nothing was started since nginx was.")));
}

function lastStarts() {
  const told = starts.map((it) => it.instance + it.at).join();
  const body = $("starts");
  if (lastStarts.told !== told) {
    lastStarts.told = told;
    const shown = starts.slice(0, 20);
    const each = shown.map((it) => it.phases.map(([phase, micros]) => [phase, micros / 1000]));
    const took = each.map((phases) => phases.reduce((all, [, ms]) => all + ms, 0));
    const most = Math.max(...took, 1e-9);
    body.replaceChildren(...shown.map((it, at) => el("tr", {}, el("td", {}), el("td", {}, it.function, el("span", { class: "id" }, it.revision)), el("td", {}, WAYS[it.way]), el("td", { class: "number" }, duration(took[at])), el("td", {}, steps(each[at], most)))));
    if (!shown.length) body.append(el("tr", {}, el("td", { colspan: 5 }, "None is known.")));
  }
  starts.slice(0, 20).forEach((it, at) => put(body.children[at].firstChild, ago(it.at)));
}

const logs = new Map();

function listBuilds() {
  const told = builds.map((it) => it.repository + it.revision + it.state).join();
  if (listBuilds.told !== told) {
    listBuilds.told = told;
    const shown = builds.map((it) => {
      const id = `${it.revision}/${it.repository}`;
      const kept = logs.get(id) ?? makeBuild(id);
      logs.set(id, kept);
      kept.build = it;
      put(kept.state, it.state);
      kept.state.className = `state ${it.state}`;
      put(kept.name, it.repository);
      put(kept.revision, it.revision);
      put(kept.note, [it.account && `by ${it.account}`, it.took_ms !== undefined && `took ${duration(it.took_ms)}`, it.error].filter(Boolean).join(", "));
      if (kept.details.open) readLog(id);
      return kept.details;
    });
    const isSame = $("builds").children.length === shown.length && shown.every((it, at) => $("builds").children[at] === it);
    if (!isSame) $("builds").replaceChildren(...shown);
    if (!shown.length) $("builds").replaceChildren(el("p", {}, "None is known."));
  }
  for (const it of builds) put(logs.get(`${it.revision}/${it.repository}`).time, ago(it.began));
}

function makeBuild(id) {
  const made = { state: el("span"), name: el("span"), revision: el("span", { class: "id" }), time: el("time"), note: el("span"), log: el("pre", { tabindex: 0, "aria-label": `log of ${id}` }, "Reading the log") };
  made.details = el("details", {}, el("summary", {}, made.state, made.name, made.revision, made.time, made.note), made.log);
  made.details.addEventListener("toggle", () => made.details.open && readLog(id));
  return made;
}

async function readLog(id) {
  const kept = logs.get(id);
  try {
    const answer = await fetch(`${location.pathname}?log=${id}`);
    const isAtEnd = kept.log.scrollTop + kept.log.clientHeight >= kept.log.scrollHeight - 4;
    put(kept.log, answer.ok ? await answer.text() : answer.status === 404 ? "The log is not kept any more." : `The log can't be had now (${answer.status}).`);
    if (kept.build.state === "running" && isAtEnd) kept.log.scrollTop = kept.log.scrollHeight;
  } catch {
    put(kept.log, "The log can't be had now.");
  }
  if (kept.build.state === "running" && kept.details.open && !kept.isWatched) {
    kept.isWatched = true;
    setTimeout(() => { kept.isWatched = false; readLog(id); }, 1000);
  }
}

function legend() {
  const shown = Object.entries(PHASES).filter(([phase]) => phase !== "held");
  $("legend").replaceChildren(...shown.map(([phase, text]) => el("li", {}, el("span", { class: `dot phase-${phase}`, "aria-hidden": "true" }), phase === "handed_over" ? "handed over, or network held" : text)));
}

function connection(kind, text) {
  $("connection").className = kind;
  put($("connection"), text);
}

legend();
$("find").addEventListener("input", () => rows(true));
$("order").addEventListener("change", () => rows(true));

let heard = 0;

/** Listens, and begins anew whenever nothing has come for longer than it can take. */
function listen() {
  const stream = new EventSource(location.pathname);
  heard = Date.now();
  stream.addEventListener("open", () => connection("live", "Live"));
  stream.addEventListener("message", (event) => {
    heard = Date.now();
    take(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => connection("lost", "The connection is lost: trying again"));
  const watch = setInterval(() => {
    // (After an answer that is no stream, too, the browser gives up by itself.)
    if (Date.now() < heard + 10000) return;
    clearInterval(watch);
    stream.close();
    listen();
  }, 1000);
}

listen();

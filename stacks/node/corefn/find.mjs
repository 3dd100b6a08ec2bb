// Finds the functions that a package exports. Run by the build, it writes down the exports.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

// There is nothing to serve; the message says what to do.
class NotFound extends Error {}

// The functions of the package in the current folder, by the names under which they are called.
// Throws NotFound, or whatever importing the package throws.
export async function find() {
  const file = entry();
  const module = await import(pathToFileURL(resolve(file)).href);
  const { default: whole, ...named } = module;
  // Of CommonJS, Node names only what it sees without running the module, and all of it is the default.
  const isCommon = Object.entries(named).every(([name, value]) => whole?.[name] === value);
  const exported = isCommon && whole !== null && typeof whole === "object" ? whole : named;
  let found = Object.entries(exported).filter(([, value]) => typeof value === "function");
  if (found.length === 0 && typeof whole === "function" && whole.name) {
    found = [[whole.name, whole]];
  }
  if (found.length === 0) {
    throw new NotFound(
      `${file} exports no functions: export those that shall be called, or start a server that listens on ` +
        `0.0.0.0:$PORT with "scripts": { "start": "node ${file}" } in package.json`,
    );
  }
  const functions = new Map();
  for (const [own, call] of found) {
    const name = own[0].toUpperCase() + own.slice(1);
    if (!NAME.test(name)) {
      throw new NotFound(`${own} can't be exported: a name has ASCII letters, digits, _, - and .`);
    }
    if (call.length > 1) {
      throw new NotFound(`${own} takes ${call.length} arguments: a function takes nothing or one, which may be an object`);
    }
    if (functions.has(name)) {
      throw new NotFound(`two functions are exported as ${name}: give one of them another name`);
    }
    functions.set(name, call);
  }
  return functions;
}

// What a function's argument is: "none", "json" for one that is taken apart, as in ({ A, B }) => …, and
// otherwise undefined: then the request's Content-Type says.
export function kind(call) {
  const taken = /^(?:async\b\s*)?(?:function\b\s*\*?\s*)?[\w$]*\s*\(\s*[{[]/.test(String(call));
  if (taken) return "json";
  return call.length === 0 ? "none" : undefined;
}

// An example of the argument of a function that takes it apart: a number for each name.
function example(call) {
  const names = /^[^(]*\(\s*\{([\w$\s,]*)\}/.exec(String(call))?.[1].split(",").map((name) => name.trim());
  return names && JSON.stringify(Object.fromEntries(names.filter(Boolean).map((name) => [name, 1])));
}

// The file that is the package, as Node itself finds it.
function entry() {
  let main;
  if (existsSync("package.json")) {
    const description = JSON.parse(readFileSync("package.json", "utf8"));
    main = description.main ?? (typeof description.exports === "string" ? description.exports : description.exports?.["."]);
    if (main !== null && typeof main === "object") main = main.import ?? main.node ?? main.require ?? main.default;
  }
  const names = [main, "index.mjs", "index.js", "index.cjs"].filter((name) => typeof name === "string");
  const there = names.find((name) => existsSync(name));
  if (there === undefined) {
    throw new NotFound(`there is no ${names[0]}: add it, or name the package's file as "main" in package.json`);
  }
  return there;
}

async function main(path) {
  let functions;
  try {
    functions = await find();
  } catch (error) {
    if (error instanceof NotFound) {
      console.error(`error: ${error.message}`);
    } else {
      // Where a syntax error is, only Node itself says.
      const checked = error instanceof SyntaxError && spawnSync(process.execPath, ["--check", entry()], { stdio: "inherit" });
      if (!checked || checked.status === 0) console.error(error);
      console.error("error: the package can't be imported; its own message is above");
    }
    process.exit(1);
  }
  const names = [...functions.keys()].sort();
  // (What is undefined is left out.)
  const listed = names.map((name) => ({ name, argument: kind(functions.get(name)), example: example(functions.get(name)) }));
  writeFileSync(path, JSON.stringify(listed));
  console.log(`Exports: ${names.join(", ")}`);
  // What the package has left running would keep the build from its end.
  process.exit(0);
}

if (process.argv[1]?.endsWith("/find.mjs")) await main(process.argv[2]);

// Waits in a sandbox until it is told which functions to serve, with all loaded that serving takes.
// stacks/README.md has what it is told, and how.

import { once } from "node:events";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";

import { serve, serverOf } from "./serve.mjs";

const FOLDER = "/function";

// Milliseconds between two attempts to connect, and how many there are in a row: for half a minute.
const PAUSE = 50;
const ATTEMPTS = 600;

// The status with which it ends if it can't become the function, as a shell's would.
const CANNOT_EXECUTE = 126;

// The bytes of an entry's head in the archive, and its kinds by the mode.
const HEAD = 110;
const KIND = 0o170000;
const DIRECTORY = 0o040000;
const LINK = 0o120000;

// What comes over a connection: the variables of a function, and the archive of its files. Nothing if it ends before.
async function told(connection) {
  const pieces = [];
  let length = 0;
  let wanted;
  for await (const piece of connection.iterator({ destroyOnReturn: false })) {
    pieces.push(piece);
    length += piece.length;
    if (wanted === undefined && length >= 8) {
      const head = Buffer.concat(pieces);
      wanted = 8 + head.readUInt32LE(0) + head.readUInt32LE(4);
    }
    if (length >= wanted) break;
  }
  if (!(length >= wanted)) return undefined;
  const all = Buffer.concat(pieces);
  const archive = all.subarray(8 + all.readUInt32LE(0));
  const order = all.subarray(8, all.length - archive.length);
  const [skipped, count] = [order.readUInt32LE(0), order.readUInt32LE(4)];
  const texts = order.toString("utf8", 8).split("\0").slice(skipped, skipped + count);
  const variables = texts.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)]);
  return { variables, archive };
}

// Unpacks an archive (cpio(5), in the form "newc"), so that nobody writes to what was in it.
function unpack(archive, folder) {
  const folders = [folder];
  for (let at = 0; ; ) {
    const field = (n) => parseInt(archive.latin1Slice(at + 6 + 8 * n, at + 14 + 8 * n), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = archive.toString("utf8", at + HEAD, at + HEAD + nameSize - 1);
    if (name === "TRAILER!!!") break;
    const begin = (at + HEAD + nameSize + 3) & ~3;
    const contents = archive.subarray(begin, begin + size);
    at = (begin + size + 3) & ~3;
    const path = `${folder}/${name}`;
    if ((mode & KIND) === DIRECTORY) {
      mkdirSync(path);
      folders.push(path);
    } else if ((mode & KIND) === LINK) {
      symlinkSync(contents, path);
    } else {
      writeFileSync(path, contents, { flag: "wx", mode: mode & 0o555 });
    }
  }
  for (const path of folders.reverse()) chmodSync(path, 0o555);
}

// Becomes a function. If that can't be, says why and ends.
async function become(connection, { variables, archive }) {
  try {
    unpack(archive, FOLDER);
    process.chdir(FOLDER);
  } catch (error) {
    const why = Buffer.alloc(4);
    why.writeInt32LE(-(error.errno ?? -constants.errno.EINVAL));
    connection.end(why, () => process.exit(CANNOT_EXECUTE));
    await once(connection, "close");
  }
  for (const [name, value] of variables) process.env[name] = value;
  // (Nothing of it is left when the function's own code runs.)
  const closed = once(connection, "close");
  connection.destroy();
  await closed;
  await serve();
}

// Has loaded and compiled, before anybody waits for it, what the first request takes.
async function warmUp() {
  const { echo } = await import("data:text/javascript,export const echo = (text) => ({ text });");
  const server = serverOf(new Map([["Echo", echo]]));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  for (let count = 0; count < 3; count += 1) {
    const connection = connect(server.address().port, "127.0.0.1");
    connection.end("POST /Echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntext");
    for await (const piece of connection) void piece;
  }
  server.close();
  await once(server, "close");
}

async function wait(path) {
  await warmUp();
  for (let attempts = 0; attempts < ATTEMPTS; attempts += 1) {
    const connection = connect(path);
    try {
      await once(connection, "connect");
      attempts = 0;
      const what = await told(connection);
      if (what !== undefined) return become(connection, what);
    } catch {
      // Whoever is there may go away, and another come.
    }
    connection.destroy();
    await setTimeout(PAUSE);
  }
  process.exit(1);
}

await wait(process.argv[2]);

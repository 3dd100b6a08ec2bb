// Serves the exported functions until SIGTERM, and then finishes what it has begun: on the socket that is the descriptor
// $COREFN_SOCKET if that is set, else on 0.0.0.0:$PORT.

import { createServer } from "node:http";

import { find, kind } from "./find.mjs";

const TEXT = "text/plain; charset=utf-8";

// How many connections may wait until they are accepted: at a socket, one more is refused at once.
const BACKLOG = 4096;

// The body is not what the function takes.
class BadArgument extends Error {}

// Serves the functions of the package in the current folder.
export async function serve() {
  const server = serverOf(await find());
  const { COREFN_SOCKET: socket, PORT: port = 8080 } = process.env;
  const where = socket === undefined ? { host: "0.0.0.0", port: Number(port) } : { fd: Number(socket) };
  server.listen({ ...where, backlog: BACKLOG });
  process.on("SIGTERM", () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

// A server that calls each function by the name that is the path; it does not listen yet.
export function serverOf(functions) {
  const server = createServer(async (request, response) => {
    const { status, type, body } = await answer(functions, request);
    response.statusCode = status;
    if (type !== undefined) response.setHeader("Content-Type", type);
    if (body !== undefined) response.setHeader("Content-Length", Buffer.byteLength(body));
    response.end(request.method === "HEAD" ? undefined : body);
  });
  // Longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.
  server.keepAliveTimeout = 75_000;
  // nginx has a limit for the time of a body, and the platform one for that of an answer.
  server.requestTimeout = 0;
  return server;
}

// Status, type and body of the answer to a request.
async function answer(functions, request) {
  const name = decodeURI(new URL(request.url, "http://function").pathname).slice(1);
  const call = functions.get(name);
  if (call === undefined) return { status: 404, type: TEXT, body: "There is no such function\n" };
  try {
    const body = await whole(request);
    const returned = await call(...argumentsOf(call, request, body));
    return reply(returned);
  } catch (error) {
    if (error instanceof BadArgument) {
      return { status: 400, type: TEXT, body: `The body isn't the function's argument: ${error.message}` };
    }
    console.error(error);
    return { status: 500, type: TEXT, body: String(error?.message ?? error) };
  }
}

async function whole(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

// The body as the function takes it: JSON if that is what it wants, or the request says that it is; else text.
function argumentsOf(call, request, body) {
  const wanted = kind(call);
  if (wanted === "none") return [];
  const type = (request.headers["content-type"] ?? "").split(";")[0].trim().toLowerCase();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    if (wanted !== "json" && type !== "application/json" && !type.endsWith("+json")) return [text];
    const value = JSON.parse(text);
    if (wanted === "json" && (value === null || typeof value !== "object")) throw new Error("an object is wanted");
    return [value];
  } catch (error) {
    throw new BadArgument(error.message);
  }
}

function reply(returned) {
  if (returned === undefined || returned === null) return { status: 204 };
  if (typeof returned === "string") return { status: 200, type: TEXT, body: returned };
  if (returned instanceof Uint8Array) return { status: 200, type: "application/octet-stream", body: returned };
  return { status: 200, type: "application/json", body: JSON.stringify(returned) };
}

if (process.argv[1]?.endsWith("/serve.mjs")) await serve();

// A first function: text and JSON in, text and JSON out.

export function helloWorld() {
  return "Hello world!";
}

export function sayHello(name) {
  return `Hello, ${name}!`;
}

// The time, as RFC 3339 has it.
export function now() {
  return new Date().toISOString();
}

// Two numbers, `{"A":1,"B":2}`, and what comes out, `{"Result":3}`.
export function add({ A, B }) {
  return { Result: A + B };
}

export function multiply({ A, B }) {
  return { Result: A * B };
}

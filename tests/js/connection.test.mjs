// The state machine behind "is the server there?", with a clock that is turned by hand.

import assert from "node:assert/strict";
import test from "node:test";
import { Connection, SENTENCES } from "../../app/static/connection.js";

/** A Connection to a server that answers as `server` says: an id, or null for silence. */
function setUp(context) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const world = { server: "first", online: true, asked: 0, told: [] };
  const ask = async () => {
    world.asked += 1;
    if (world.server === null) throw new TypeError("Failed to fetch");
    return world.server;
  };
  world.connection = new Connection(
    ask,
    (problem) => world.told.push(problem),
    () => world.online,
  );
  world.settle = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  world.wait = async (seconds) => {
    for (let i = 0; i < seconds; i++) {
      context.mock.timers.tick(1000);
      await world.settle();
    }
  };
  return world;
}

test("nothing is said while all is well, and the server is asked now and then", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  await world.wait(61);
  assert.deepEqual(world.told, []);
  assert.equal(world.asked, 1 + 3);
});

test("one lost request is not worth a word, a silent server is; it goes away when mended", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  world.server = null;
  await world.connection.check();
  assert.deepEqual(world.told, []);
  await world.wait(1);
  assert.deepEqual(world.told, ["unreachable"]);
  world.server = "first";
  await world.wait(8);
  assert.deepEqual(world.told, ["unreachable", null]);
});

test("it asks again less and less often while the server is silent, at least every 8 s", async (context) => {
  const world = setUp(context);
  world.server = null;
  await world.connection.check();
  await world.wait(15);
  assert.equal(world.asked, 5);
  await world.wait(16);
  assert.equal(world.asked, 7);
});

test("without a network it says so at once, unless the server answers all the same", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  world.online = false;
  // On a server of one's own machine.
  await world.connection.check();
  assert.deepEqual(world.told, []);
  world.server = null;
  await world.connection.check();
  assert.deepEqual(world.told, ["offline"]);
  world.online = true;
  await world.connection.check();
  assert.deepEqual(world.told, ["offline", "unreachable"]);
});

test("a restarted server is another one, and stays so", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  world.server = null;
  await world.connection.check();
  await world.wait(1);
  world.server = "second";
  await world.wait(4);
  assert.deepEqual(world.told, ["unreachable", "restarted"]);
  world.server = null;
  await world.wait(60);
  world.server = "first";
  await world.wait(60);
  assert.deepEqual(world.told, ["unreachable", "restarted"]);
});

test("what waits for the server goes on when the same one is back, and not after a restart", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  world.server = null;
  let done = 0;
  const waiting = () => world.connection.mended().then(() => (done += 1));
  waiting();
  waiting();
  await world.wait(10);
  assert.equal(done, 0);
  world.server = "first";
  await world.wait(8);
  assert.equal(done, 2);
  waiting();
  await world.settle();
  assert.equal(done, 3);
  world.server = "second";
  await world.wait(20);
  waiting();
  await world.wait(60);
  assert.equal(done, 3);
  assert.deepEqual(world.told.at(-1), "restarted");
});

test("a connection that was given up takes a reload, and a worse problem is told first", async (context) => {
  const world = setUp(context);
  await world.connection.check();
  await world.connection.interrupt();
  assert.deepEqual(world.told, ["interrupted"]);
  world.server = null;
  await world.connection.check();
  await world.wait(1);
  world.server = "first";
  await world.wait(10);
  assert.deepEqual(world.told, ["interrupted", "unreachable", "interrupted"]);
});

test("a viewer that does not start in 20 s is missed until it does", async (context) => {
  const world = setUp(context);
  world.connection.expectViewer();
  await world.wait(19);
  assert.deepEqual(world.told, []);
  await world.wait(1);
  assert.deepEqual(world.told, ["viewer"]);
  world.connection.viewerStarted();
  assert.deepEqual(world.told, ["viewer", null]);
  world.connection.expectViewer();
  await world.wait(5);
  world.connection.viewerStarted();
  await world.wait(60);
  assert.deepEqual(world.told, ["viewer", null]);
});

test("two checks at a time are one request", async (context) => {
  const world = setUp(context);
  await Promise.all([world.connection.check(), world.connection.check()]);
  assert.equal(world.asked, 1);
});

test("there is a sentence for everything that is told", () => {
  for (const sentence of Object.values(SENTENCES)) assert.match(sentence, /^[A-Z].*\.$/s);
  assert.deepEqual(Object.keys(SENTENCES).sort(), ["interrupted", "offline", "restarted", "unreachable", "viewer"]);
});

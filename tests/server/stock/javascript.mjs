// Drive stock @gradio/client: `node javascript.mjs URL GUARDED_URL`, beside its node_modules.
// Prints a JSON object with what each scenario below gave, or how it failed.

import { Client, handle_file } from "@gradio/client";

const [url, guarded] = process.argv.slice(2);
const events = ["data", "status", "log"];
console.error = () => {};
console.warn = () => {};

const connect = (address = url, options = {}) => Client.connect(address, { events, ...options });

const data = async (client, ...call) => (await client.predict(...call)).data;

const failure = async (call) => {
  try {
    return { "no failure": await call() };
  } catch (error) {
    const { message, title, duration, visible, stage, code } = error;
    return { message, title, duration, visible, stage, code };
  }
};

const collect = async (job) => {
  const found = [];
  for await (const event of job) found.push(structuredClone(event));
  return found;
};

const values = (found) => found.filter((event) => event.type === "data").map((event) => event.data);

const scenarios = {
  async predict() {
    const client = await connect();
    return [
      await data(client, "/echo", ["naïve ✓ 🎉"]),
      await data(client, "/echo", { text: "by name" }),
      await data(client, "/two", ["hi"]),
      await data(client, "/none", []),
      await data(client, "/later", ["x"]),
      await data(client, "/direct", ["not queued"]),
      await data(client, client.api_map.echo, ["by number"]),
    ];
  },

  async arguments() {
    const client = await connect();
    return [
      await data(client, "/add", { a: 1 }),
      await data(client, "/add", { c: 2, a: 1 }),
      await data(client, "/add", [1, 2, 3]),
      await data(client, "/add", [1]),
      await data(client, "/pick", { color: "red" }),
      await data(client, "/move", [{ x: 1 }]),
    ];
  },

  async wrong_arguments() {
    const client = await connect();
    return [
      await failure(() => client.predict("/add", ["one"])),
      await failure(() => client.predict("/add", {})),
      await failure(() => client.predict("/add", { a: 1, z: 1 })),
      await failure(() => client.predict("/pick", ["blue"])),
      await failure(() => client.predict("/nothing", [])),
      await data(client, "/echo", ["still there"]),
    ];
  },

  async values() {
    const client = await connect();
    return [
      await data(client, "/words", ["a bb"]),
      await data(client, "/lengths", ["a bb"]),
      await data(client, "/odd", []),
    ];
  },

  async outputs() {
    const client = await connect();
    const found = {};
    for (const [name, args] of [["grow", [30]], ["tables", []], ["mixed", []], ["ticks", [5]]])
      found[name] = values(await collect(client.submit(`/${name}`, args)));
    return found;
  },

  async progress() {
    const client = await connect();
    const found = await collect(client.submit("/steps", [2]));
    return found
      .filter((event) => event.progress_data)
      .map((event) => event.progress_data.map((u) => [u.index, u.length, u.unit, u.desc]));
  },

  async logs() {
    const client = await connect();
    const found = await collect(client.submit("/logs", ["x"]));
    return found
      .filter((event) => event.type === "log")
      .map(({ log, level, title, duration, visible }) => ({ log, level, title, duration, visible }));
  },

  async statuses() {
    const client = await connect();
    const found = await collect(client.submit("/count", [2]));
    const stages = found.filter((event) => event.type === "status").map((event) => event.stage);
    return stages.filter((stage, index) => stage !== stages[index - 1]);
  },

  async errors() {
    const client = await connect();
    const late = await collect(client.submit("/fail", ["late"]));
    return {
      titled: await failure(() => client.predict("/fail", ["titled"])),
      value: await failure(() => client.predict("/fail", ["value"])),
      direct: await failure(() => client.predict("/direct_fail", [])),
      late: [values(late), late.at(-1).stage, late.at(-1).message],
      after: await data(client, "/echo", ["x"]),
    };
  },

  async cancel() {
    const client = await connect();
    const tag = `javascript ${Date.now()}`;
    const job = client.submit("/count", [500, 0.02, tag]);
    let seen = 0;
    for await (const event of job) if (event.type === "data" && ++seen === 2) break;
    await job.cancel();
    const other = await connect();
    for (let tries = 0; tries < 500; tries++) {
      if ((await data(other, "/was_ended", [tag]))[0]) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return {
      ended: await data(other, "/was_ended", [tag]),
      after: await data(other, "/echo", ["x"]),
    };
  },

  async files() {
    const client = await connect();
    const text = "from a blob ✓";
    const [shouted] = await data(client, "/shout", [new Blob([text])]);
    const [named] = await data(client, "/shout", { file: new File([text], "naïve #1 100%.txt") });
    const [local] = await data(client, "/shout", [handle_file(process.argv[1])]);
    const fetched = await Promise.all(
      [shouted, named, local].map(async (file) => await (await fetch(file.url)).text()),
    );
    return {
      same: [fetched[0] === text.toUpperCase(), fetched[1] === text.toUpperCase()],
      local: fetched[2].includes("DRIVE STOCK"),
      name: named.orig_name,
      size: named.size === new Blob([text.toUpperCase()]).size,
      joined: await data(client, "/join", [[new Blob(["a"]), new Blob(["b"])], "+"]),
      parts: await Promise.all(
        Object.values((await data(client, "/parts", ["a b"]))[0]).map(
          async (file) => await (await fetch(file.url)).text(),
        ),
      ),
    };
  },

  async view_api() {
    const told = await (await connect()).view_api();
    return {
      names: Object.keys(told.named_endpoints).sort(),
      add: told.named_endpoints["/add"].parameters.map((p) => [
        p.parameter_name,
        p.parameter_has_default,
        p.parameter_default,
        p.component,
      ]),
      generator: told.named_endpoints["/grow"].type,
    };
  },

  async sessions() {
    const [one, two] = [await connect(), await connect()];
    const seen = [];
    for (const client of [one, one, two, one]) seen.push((await data(client, "/visits", []))[0]);
    return seen;
  },

  async many() {
    const client = await connect();
    const calls = Array.from({ length: 60 }, (_, i) => data(client, "/echo", [`${i}`]));
    const row = [];
    for (let i = 0; i < 10; i++) row.push((await data(client, "/echo", [`${i}`]))[0]);
    return { together: (await Promise.all(calls)).flat(), row };
  },

  async login() {
    const client = await connect(guarded, { auth: ["user", "pass"] });
    const [shouted] = await data(client, "/shout", [new Blob(["own"])]);
    return {
      none: await failure(() => connect(guarded)),
      wrong: await failure(() => connect(guarded, { auth: ["user", "wrong"] })),
      user: await data(client, "/whoami", []),
      outputs: values(await collect(client.submit("/count", [3]))),
      file: await (await client.fetch(shouted.url)).text(),
    };
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error("it took more than ten seconds")), 10_000),
  );
  try {
    results[name] = await Promise.race([scenario(), late]);
  } catch (error) {
    results[name] = { failed: error.stack ?? JSON.stringify(error) };
  }
}
process.stdout.write(JSON.stringify(results), () => process.exit(0));

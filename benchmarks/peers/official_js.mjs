// `Client` of @gradio/client: node official_js.mjs MEASURE JSON. See measuring.py.

import { Client } from "@gradio/client";

async function latency({ url, calls, warm_up: warmUp }) {
	const client = await Client.connect(url);
	const times = [];
	for (let number = 0; number < warmUp + calls; number++) {
		const text = `call ${number}`;
		const start = performance.now();
		const result = await client.predict("/echo", [text]);
		times.push((performance.now() - start) / 1000);
		if (result.data[0] !== text) throw new Error(`the server answered ${result.data[0]}`);
	}
	return { seconds: times.slice(warmUp) };
}

async function burst({ url, jobs, endpoint, limit }) {
	const client = await Client.connect(url);
	await client.predict(endpoint, ["warm-up"]);
	let ok = 0;
	let settled = 0;
	const lost = {};
	const lose = (why, count = 1) => (lost[why] = (lost[why] ?? 0) + count);

	const start = performance.now();
	const cpuStart = process.cpuUsage();
	const all = Array.from({ length: jobs }, async (_, number) => {
		try {
			const result = await client.predict(endpoint, [`job ${number}`]);
			if (result.data[0] === `job ${number}`) ok++;
			else lose("wrong result");
		} catch (error) {
			lose(`${error.name}: ${error.message}`.slice(0, 120));
		}
		settled++;
	});
	await Promise.race([
		Promise.all(all),
		new Promise((resolve) => setTimeout(resolve, 1000 * limit)),
	]);
	const cpu = process.cpuUsage(cpuStart);
	const seconds = (performance.now() - start) / 1000;

	if (settled < jobs) lose("no result in time", jobs - settled);
	return { seconds, cpu_seconds: (cpu.user + cpu.system) / 1e6, ok, lost };
}

async function start({ url }) {
	const client = await Client.connect(url);
	const result = await client.predict("/echo", ["first"]);
	if (result.data[0] !== "first") throw new Error(`the server answered ${result.data[0]}`);
	return {};
}

const [measure, given] = process.argv.slice(2);
const values = await { latency, burst, start }[measure](JSON.parse(given));
process.stdout.write(`${JSON.stringify(values)}\n`, () => process.exit(0));

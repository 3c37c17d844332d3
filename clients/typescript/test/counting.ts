/**
 * A program of many updates, for whoever kills the daemon meanwhile: `node counting.js KEY UPDATES`. Says "counted N" after
 * each that is known to have taken effect.
 */
import { argv } from "node:process";

import { StateClient } from "../src/index.js";

const [key = "", updates = "0"] = argv.slice(2);
const client = new StateClient({ timeoutMs: 60_000, retry: { attemptsMax: 1000, retriesSavedMax: 1000 } });
for (let done = 1; done <= Number(updates); done++) {
  await client.state.update({
    namespace: "process",
    key,
    operation: { case: "increment", value: { delta: 1n } },
    create: true,
  });
  console.log(`counted ${done}`);
}
client.close();

/**
 * A chat that remembers. Each turn may be served by another process, as behind a load balancer:
 *
 *     node dist/examples/chat.js alice "My name is Alice."
 *     node dist/examples/chat.js alice "What did I say first?"
 */
import { argv, exit } from "node:process";

import { StateClient } from "state-sidecar-client";

interface Chat {
  turns: { role: "user" | "assistant"; text: string }[];
}

/** Stands in for a model: it is given the whole conversation, and shows that it knows it. */
function answer(turns: Chat["turns"]): string {
  const said = turns.filter(({ role }) => role === "user");
  return `You have said ${said.length} thing${said.length === 1 ? "" : "s"}, and first: ${said[0]!.text}`;
}

const [sessionId, text] = argv.slice(2);
if (!sessionId || !text) {
  console.error("usage: chat.js SESSION TEXT");
  exit(64);
}
const client = new StateClient();
try {
  const session = await client.load<Chat>("session", sessionId, {
    default: { turns: [] },
    // Two turns at once: the other one's are kept, and ours come behind them.
    onConflict: (base, mine, theirs) => ({
      turns: [...(theirs?.turns ?? []), ...mine.turns.slice(base.turns.length)],
    }),
    // Without its memory the chat still answers.
    onOutage: "continue",
  });
  const { turns } = session.state;
  turns.push({ role: "user", text });
  turns.push({ role: "assistant", text: answer(turns) });
  console.log(turns.at(-1)!.text);
  await session.save();
} finally {
  client.close();
}

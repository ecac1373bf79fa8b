// A page that calls the SDK itself: what perso-interactive.d.ts must accept, and what it must refuse. It is never run.

const { ChatState, ChatTool, createSession } = PersoInteractive;
const video = document.querySelector("video")!;

const clock = new ChatTool("get_time", "Tells the time", { type: "object" }, () => ({
  now: Date.now(),
}));
const door: PersoInteractive.ChatTool = new PersoInteractive.ChatTool(
  "open_door",
  "Opens a door",
  { type: "object", properties: { number: { type: "integer" } } },
  async ({ number }) => ({ opened: number }),
  true,
);
const facts: (string | object | boolean)[] = [
  door.name,
  door.description,
  door.parameters,
  door.executeOnly,
  door.call({ number: 1 }),
];

async function talk(server: string, id: string): Promise<PersoInteractive.Session> {
  const session = await createSession(server, id, 640, 480, false, [clock, door]);
  const subscriptions: PersoInteractive.Unsubscribe[] = [
    session.onClose((isManual) => isManual || show("The avatar has left.")),
    session.setErrorHandler((error) => show(error.message)),
    session.subscribeChatStates((states) => show(describeStates(states))),
    session.subscribeChatLog(([newest]) => newest && show(line(newest))),
    session.setSttResultCallback((text) => text && session.processChat(text)),
  ];
  session.setSrc(video);
  session.changeSize(video.clientWidth, video.clientHeight);
  session.processTTSTF("Welcome!");
  await session.processChat("What time is it?");
  await session.clearBuffer();
  session.startVoiceChat();
  session.stopVoiceChat();
  session.stopSession();
  for (const unsubscribe of subscriptions) unsubscribe();
  for (const track of session.getLocalStream()?.getTracks() ?? []) track.stop();
  show(`${session.apiServer} ${session.sessionId} ${session.clientTools[0].name}`);
  show(String(session.getRemoteStream()?.active));
  return session;
}

function describeStates(states: Set<string>): string {
  if (states.has(ChatState.RECORDING)) return "listening";
  if (states.has(ChatState.LLM) || states.has(ChatState.ANALYZING)) return "thinking";
  return states.has(ChatState.SPEAKING) ? "speaking" : "ready";
}

function line({ text, isUser, timestamp }: PersoInteractive.Chat): string {
  return `${timestamp.toISOString()} ${isUser ? "visitor" : "avatar"}: ${text}`;
}

function isConnected(connection: PersoInteractive.Connection | null): boolean {
  const isOpen = connection?.dc.readyState === "open";
  return isOpen && connection?.pc.connectionState === "connected";
}

function show(text: string): void {
  video.title = text;
}

talk("https://perso.example", "s1").then(({ perso }) => isConnected(perso));
show(facts.join());

// @ts-expect-error 1.0 and 1.1 would take the tools for a wish to use the microphone
createSession("https://perso.example", "s1", 640, 480, [clock]);
// @ts-expect-error a tool needs a function
new ChatTool("nothing", "Does nothing", {});
// @ts-expect-error there is no such state
ChatState.SLEEPING;
// @ts-expect-error from 1.2 on there may be no connection
talk("https://perso.example", "s1").then(({ perso }) => perso.dc);

// A page's own TypeScript: what the shipped types must accept, and what they must refuse. It is never run.
import type { PersoToolDetail } from "../../django_perso/static/django_perso/perso-avatar";

const avatar = document.querySelector("perso-avatar")!;
const takeBack: () => void = avatar.registerTool("now", () => ({ time: Date.now() }));
avatar.registerTool("square", {
  parameters: { type: "object" },
  handler: ({ number }) => number ** 2,
  executeOnly: true,
});
avatar.addEventListener(
  "perso-start",
  (event) => event.detail.preset === "" && event.preventDefault(),
);
avatar.addEventListener(
  "perso-message",
  ({ detail }) => detail.role === "avatar" && avatar.say(detail.text),
);
document.addEventListener("perso-tool", ({ detail }) => told(detail));
avatar.addEventListener("perso-end", ({ detail }) => detail.ms > 1000 && takeBack());

avatar.params = { model_style: "leo", width: 640 };
avatar.params = null;

async function told(tool: PersoToolDetail): Promise<boolean> {
  return (
    avatar.state === "live" &&
    (await avatar.send(`${tool.name}: ${tool.error?.message}`))
  );
}

// @ts-expect-error there is no such state
avatar.state === "sleeping";
// @ts-expect-error the state is the element's to change
avatar.state = "live";
// @ts-expect-error a tool needs a handler
avatar.registerTool("nothing", { description: "does nothing" });
// @ts-expect-error messages have no author
avatar.addEventListener("perso-message", ({ detail }) => detail.author);
// @ts-expect-error a preset's name is an attribute
avatar.params = "guide";

/** The outbox of the log protocol perso.log.1. Knows no network and no DOM. */

// flush: a page hides, then goes; both fit in 64 KiB
export const LIMITS = {
  items: 50,
  frame: 65536,
  flush: 30000,
  entry: 16384,
  entries: 5000,
  bytes: 2 * 1024 * 1024,
};
const ENVELOPE = 2048; // of stream, ticket and brackets
const CUT = 1006; // perhaps for what was sent
const LOST = 1012; // no frame's fault
// Close codes of this app that end the log; after any other the line is lost, and is tried again.
const ENDING = [4400, 4401, 4403, 4404, 4409, 4413];
const DAY = 86_400_000;

const size = (value = {}) => new TextEncoder().encode(JSON.stringify(value)).length;

/** Cuts the longest values. @param {Entry} entry */
function fit(entry) {
  for (let most = LIMITS.entry; size(entry) > LIMITS.entry; most *= 0.9) {
    for (const [key, value] of Object.entries(entry.d)) {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      if (text.length > most)
        entry.d[key] = text.slice(0, most).replace(/[\uD800-\uDBFF]$/, "");
    }
    entry.d.truncated = true;
  }
}

/** Sends what earlier pages left; before the first outbox. @param {World} world */
export async function resend(world) {
  for (const left of (await world.store?.all()) ?? [])
    if (left.at < Date.now() - DAY) world.store?.drop(left.stream, left.at);
    else openOutbox({ ...left, ws: null }, world, () => {}, left);
}

/** @type {OpenOutbox} */
export const openOutbox = (address, world, onstatus, left) => {
  let kept = left?.entries ?? []; // the first has number acked + 1
  let acked = left ? left.last - kept.length : 0;
  let bye = left && /** @type {Ending} */ ({ how: left.how ?? "", done() {} });
  let /** @type {number[]} */ flying = []; // the last number of each frame on its way
  let /** @type {Status} */ status = "saved";
  let over = ""; // or "kept", or "gone"
  let isSaving = false;
  let bytes = 0;
  let seen = 0; // the highest number that ever left; a later one may still change
  let most = 4; // frames at a time
  let tries = 0; // since the last acknowledgement; after the first, one frame goes alone
  let cutAt = -1; // what was acknowledged when a socket was last cut
  let doubted = 0; // up to this number entries go one by one
  let started = world.now();

  const last = () => acked + kept.length;

  /** Leaves the rest to the next page. */
  const save = async () => {
    if (isSaving) return;
    isSaving = true;
    await null;
    isSaving = false;
    const { stream, ticket, post } = address,
      entries = [...kept],
      how = bye?.how,
      at = Date.now();
    if (over === "gone" || !(how || entries.length))
      world.store?.drop(stream, left?.at);
    else if (!left)
      world.store?.put({ stream, ticket, post, at, entries, how, last: last() });
  };

  /** What follows number `from` and fits in one frame. */
  const take = (from = 0, limit = LIMITS.frame) => {
    let room = limit - ENVELOPE;
    const first = from - acked,
      end = first + (from < doubted ? 1 : LIMITS.items);
    const items = kept
      .slice(first, end)
      .filter((entry) => (room -= size(entry) + 1) >= 0);
    seen = Math.max(seen, from + items.length);
    return items;
  };

  const pump = () => {
    const mayGo = road.isOpen;
    while (mayGo && flying.length < (tries || acked < doubted ? 1 : most)) {
      const from = flying.at(-1) ?? acked,
        items = take(from);
      if (!items.length) break;
      flying.push(from + items.length);
      road.send({ t: "ev", items });
    }
    if (mayGo && bye && !flying.length) {
      if (!bye.how) return close("", "gone"); // an earlier page did not say how it ended
      flying.push(acked + 1);
      road.send({ t: "bye", bye: { last: acked, how: bye.how } });
    }
    const now = !kept.length
      ? "saved"
      : !mayGo && (tries || over)
        ? "queued"
        : "saving";
    if (now !== status) onstatus((status = now));
  };

  const close = (reason = "", fate = "kept") => {
    over = fate;
    road.close();
    save();
    pump();
    bye?.done(reason);
  };

  /** Lets go of what is saved. */
  const forget = (number = 0) => {
    const saved = kept.splice(0, Math.max(0, number - acked));
    if (!saved.length) return;
    acked += saved.length;
    bytes = kept.length && bytes - saved.reduce((sum, entry) => sum + size(entry), 0);
    flying = flying.filter((flown) => flown > acked);
    tries = 0;
    save();
  };

  /** What the server never takes becomes a gap of that number. */
  const replace = (numbers = [0], reason = "") => {
    for (const entry of kept.filter(({ s }) => numbers.includes(s))) {
      if (entry.k === "gap") return close(); // not even this: it takes no more
      Object.assign(entry, { k: "gap", d: { count: 1, reason } });
    }
    save();
  };

  /** Waits with growing patience, then sends again what is kept. */
  const back = (after = 0) => {
    if (over) return;
    flying = [];
    road.rest(Math.max(after, world.random() * Math.min(30_000, 500 * 2 ** tries++)));
  };

  /** Cut under the same frame twice its entries go one by one; the one that still kills becomes a gap. */
  const doubt = () => {
    const [{ s, k }] = kept;
    if (s > doubted) doubted = cutAt === acked ? flying[0] : 0;
    else if (k !== "gap") replace([s], "undeliverable");
    cutAt = acked;
  };

  /** @type {(frame: Frame) => void} */
  const read = ({ t, s, ack = s, age, window, after, code, reason }) => {
    if (t === "gap" || t === "welcome")
      // a failover may have lost what was acknowledged
      for (; ack < acked; acked--)
        kept.unshift({ s: acked, t: 0, k: "gap", d: { count: 1, reason: "lost" } });
    if (t === "done") (forget(last()), close(reason, "gone"));
    else if (t === "ack" || t === "welcome") forget(ack);
    else if (flying.length) {
      // a pong, too: what was sent before is lost
      if (t === "reject") replace(s, code);
      back(after);
    }
    if (age !== undefined) started = world.now() - age;
    most = window ?? most;
    pump();
  };

  const road = world.makeRoad(address, world, read, (code = LOST, after = 0) => {
    if (ENDING.includes(code)) return close("", code === 4404 ? "gone" : "kept");
    if (code === CUT && flying.length && kept.length) doubt();
    back(after);
    pump();
  });

  const flush = (/** @type {Bye | undefined} */ last) => {
    if (over || !(kept.length || last)) return;
    road
      .post({ items: take(acked, LIMITS.flush), bye: last }, true)
      .then(({ frame }) => frame && read(frame));
  };

  return {
    add(k, d) {
      if (bye) return;
      const tail = kept.at(-1),
        t = Math.max(0, Math.round(world.now() - started));
      const entry = { s: last() + 1, k, t, d: JSON.parse(JSON.stringify(d)) };
      fit(entry);
      const isFull =
        kept.length + 1 >= LIMITS.entries || bytes + size(entry) > LIMITS.bytes;
      const isCounted = isFull && tail?.k === "gap" && tail.s > seen;
      if (isCounted) tail.d.count++;
      else if (isFull)
        Object.assign(entry, { k: "gap", d: { count: 1, reason: "overflow" } });
      if (!isCounted) bytes += size(kept[kept.push(entry) - 1]);
      save();
      pump();
    },

    end: (how) =>
      new Promise((done) => {
        if (bye || over) return done("");
        bye = { how, done };
        save();
        pump();
      }),

    leave(how) {
      if (over) return;
      bye ??= { how, done() {} };
      flush({ last: last(), how: bye.how });
      close();
    },

    flush: () => flush(undefined),

    wake() {
      if (!over) road.wake();
    },
  };
};

/**
 * What this browser keeps: in IndexedDB what pages could not send yet, and in localStorage what the
 * visitor has agreed to. Where the browser has none, or refuses it, nothing is kept and nothing
 * fails.
 */

const DATABASE = "django-perso";
const OUTBOXES = "outbox";
const CONSENT = "django-perso-consent:"; // followed by the preset

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(OUTBOXES, { keyPath: "stream" });
  };
  const database = await settled(request);
  database.onversionchange = () => database.close(); // somebody wants to delete it
  return database;
}

export class Store {
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;

  /**
   * Keep what is left of a conversation, in place of what was kept of it before. Return what
   * an earlier page of the conversation has handed over.
   * @param {Left} left
   * @returns {Promise<Entry[]>}
   */
  async put(left) {
    return this.#change(left.stream, (outboxes) => outboxes.put(left));
  }

  /**
   * Forget a conversation, and return what an earlier page of it has handed over.
   * @param {string} stream
   * @returns {Promise<Entry[]>}
   */
  async drop(stream) {
    return this.#change(stream, (outboxes) => outboxes.delete(stream));
  }

  /**
   * Forget what was kept of a conversation at that time or before: a page that is still
   * open may have kept more since, or is to be handed something over.
   * @param {string} stream
   * @param {number} at in milliseconds, as of Date.now()
   */
  async dropUntil(stream, at) {
    await this.#attempt(async (outboxes) => {
      const kept = await settled(outboxes.get(stream));
      if (kept?.at <= at && !kept.late) await settled(outboxes.delete(stream));
    });
  }

  /**
   * Add entries for the page that now writes the log of the conversation.
   * @param {Left} left with the entries
   */
  async handOver({ entries, ...left }) {
    await this.#attempt(async (outboxes) => {
      const kept = await settled(outboxes.get(left.stream));
      const base = kept ?? { ...left, entries: [], last: 0 };
      const late = [...(kept?.late ?? []), ...entries];
      await settled(outboxes.put({ ...base, late }));
    });
  }

  /** @returns {Promise<Left[]>} */
  async all() {
    const found = await this.#attempt((outboxes) => settled(outboxes.getAll()));
    return found ?? [];
  }

  /**
   * Make a change to a conversation, and return what was handed over before.
   * @param {string} stream
   * @param {(outboxes: IDBObjectStore) => IDBRequest} change
   * @returns {Promise<Entry[]>}
   */
  async #change(stream, change) {
    const before = await this.#attempt(async (outboxes) => {
      const kept = await settled(outboxes.get(stream));
      await settled(change(outboxes));
      return kept;
    });
    return before?.late ?? [];
  }

  /**
   * Do the work, once more if the database was closed or deleted, as by Clear-Site-Data in
   * another tab.
   * @template T
   * @param {(outboxes: IDBObjectStore) => Promise<T>} work
   * @returns {Promise<T | undefined>}
   */
  async #attempt(work) {
    try {
      return await this.#run(work);
    } catch {
      this.#database = undefined;
    }
    return this.#run(work).catch(() => undefined);
  }

  /**
   * @template T
   * @param {(outboxes: IDBObjectStore) => Promise<T>} work
   * @returns {Promise<T>}
   */
  async #run(work) {
    this.#database ??= openDatabase();
    const database = await this.#database;
    const transaction = database.transaction(OUTBOXES, "readwrite");
    return work(transaction.objectStore(OUTBOXES));
  }
}

/** Return the hash of the text that was agreed to in this browser, if there is one. */
export function recallConsent(/** @type {string} */ preset) {
  try {
    return localStorage.getItem(CONSENT + preset) ?? undefined;
  } catch {
    return undefined; // the browser does not allow storage
  }
}

export function rememberConsent(
  /** @type {string} */ preset,
  /** @type {string} */ hash,
) {
  try {
    localStorage.setItem(CONSENT + preset, hash);
  } catch {
    // The next start asks again.
  }
}

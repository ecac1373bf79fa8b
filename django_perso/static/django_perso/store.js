/**
 * What pages of this browser could not send yet, kept in IndexedDB. Where the browser has
 * none, or refuses it, nothing is kept and nothing fails.
 */

const DATABASE = "django-perso";
const OUTBOXES = "outbox";

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
  return settled(request);
}

export class Store {
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;

  /**
   * Keep what is left of a conversation, in place of what was kept of it before.
   * @param {Left} left
   */
  async put(left) {
    await this.#attempt((outboxes) => settled(outboxes.put(left)));
  }

  /**
   * Forget what was kept of a conversation at that time or before: a page that is still
   * open may have kept more since.
   * @param {string} stream
   * @param {number} [at] in milliseconds, as of Date.now()
   */
  async drop(stream, at = Infinity) {
    await this.#attempt(async (outboxes) => {
      const left = await settled(outboxes.get(stream));
      if (left?.at <= at) await settled(outboxes.delete(stream));
    });
  }

  /** @returns {Promise<Left[]>} */
  async all() {
    const found = await this.#attempt((outboxes) => settled(outboxes.getAll()));
    return found ?? [];
  }

  /**
   * @template T
   * @param {(outboxes: IDBObjectStore) => Promise<T>} work
   * @returns {Promise<T | undefined>}
   */
  async #attempt(work) {
    try {
      this.#database ??= openDatabase();
      const database = await this.#database;
      const transaction = database.transaction(OUTBOXES, "readwrite");
      return await work(transaction.objectStore(OUTBOXES));
    } catch {
      return undefined;
    }
  }
}

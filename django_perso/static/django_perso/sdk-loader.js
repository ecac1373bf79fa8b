/** Loads Perso's SDK into the page, once for all avatars. */

const WAIT_MS = 20_000; // for the script
const VIOLATION_MS = 50; // a blocked script reports its policy in an event of its own, a little later

const POLICY = "django-perso"; // of Trusted Types, which a Content-Security-Policy may name

let /** @type {Promise<void> | null} */ loading = null;
let /** @type {any} */ policy = null;

const findSdk = () => /** @type {any} */ (globalThis).PersoInteractive;

/**
 * Return Perso's global, after loading its script if it is not there yet. After a failure the next call tries again.
 * @param {SdkTag} tag
 */
export async function loadSdk(tag) {
  if (!findSdk()?.createSession) {
    loading ??= addScript(tag).finally(() => {
      loading = null;
    });
    await loading;
  }
  return findSdk();
}

/**
 * Add the script with the page's nonce. The element may have come in a fragment, with the nonce of another response.
 * @param {SdkTag} tag
 */
async function addScript({ src, integrity, nonce, pageNonces }) {
  const others = pageNonces.filter((other) => other && other !== nonce);
  const nonces = [...new Set([...others, nonce])];
  for (const tried of nonces) {
    try {
      await tryScript({ src, integrity, nonce: tried });
      return;
    } catch (/** @type {any} */ error) {
      const isLast = tried === nonces.at(-1);
      if (isLast || error.code !== "sdk_forbidden") throw error;
    }
  }
}

/** @param {{ src: string, integrity: string, nonce: string }} attributes @returns {Promise<void>} */
async function tryScript({ src, integrity, nonce }) {
  const script = document.createElement("script");
  const watching = new AbortController();
  let isForbidden = false;
  let timer = 0;
  const noteViolation = (
    /** @type {SecurityPolicyViolationEvent} */ { blockedURI },
  ) => {
    if (script.src.startsWith(blockedURI)) isForbidden = true;
  };
  document.addEventListener("securitypolicyviolation", noteViolation, {
    signal: watching.signal,
  });
  const judge = () => {
    script.remove();
    if (isForbidden) return failure("sdk_forbidden", src);
    if (integrity && hasArrived(script.src)) return failure("sdk_changed", src);
    return failure("sdk_unreachable", src);
  };
  try {
    await new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => setTimeout(() => reject(judge()), VIOLATION_MS);
      timer = setTimeout(
        reject,
        WAIT_MS,
        failure("sdk_unreachable", `${src}: no answer`),
      );
      insert(script, { src, integrity, nonce, crossOrigin: "anonymous" });
    });
  } finally {
    clearTimeout(timer);
    watching.abort();
  }
}

function insert(
  /** @type {HTMLScriptElement} */ script,
  /** @type {Record<string, string>} */ attributes,
) {
  try {
    Object.assign(script, { ...attributes, src: trust(attributes.src) });
    document.head.append(script);
  } catch (error) {
    throw failure("sdk_forbidden", String(error)); // by Trusted Types
  }
}

/** Return a script's URL as pages with Trusted Types demand it. */
function trust(/** @type {string} */ src) {
  const { trustedTypes } = /** @type {any} */ (globalThis);
  if (!trustedTypes) return src;
  try {
    policy ??= trustedTypes.createPolicy(POLICY, {
      createScriptURL: (/** @type {string} */ url) => url,
    });
  } catch {
    return src; // the page does not allow this policy; it may have a default one
  }
  return policy.createScriptURL(src);
}

/** Whether the bytes did arrive, so that it was their integrity that failed. */
function hasArrived(/** @type {string} */ url) {
  const /** @type {any} */ entry = performance.getEntriesByName(url).at(-1);
  return entry?.responseStatus === 200;
}

const failure = (/** @type {string} */ code, /** @type {string} */ message) =>
  Object.assign(new Error(message), { code });

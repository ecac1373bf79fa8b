"""SDK files that a tester may provide by `--sdk FILE`."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GITHUB = "https://cdn.jsdelivr.net/gh/perso-ai/perso-interactive-sdk-web"
# The files on GitHub: version → integrity
SDK_VERSIONS = {
    "1.0.0": "sha384-iMi5c5Z6E8Tfs/pASfWHnrP67fqp5SLl5mQbAyJSTxcaxoezIRDdTqAyNXu1ipmQ",
    "1.0.1": "sha384-NsmdZuvWbBvpMnLPtEoaDr00w0W0WHVrAbrZ/kowjb9CIl1WG1acf9lZtXn2Ildc",
}
# Later versions are on npm, or built from their source, and their hashes differ.
NPM = "https://cdn.jsdelivr.net/npm/perso-interactive-sdk-web/dist/client/index.iife.js"
GLOBAL_NAME = b"PersoInteractive"


@dataclass(frozen=True)
class SdkFile:
    """A file, and the address and integrity of the tag that loads it."""

    content: bytes
    url: str
    integrity: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a site whose pages load the file."""
        return {"PERSO_SDK_URL": self.url, "PERSO_SDK_INTEGRITY": self.integrity}

    def serve(self, context: Any) -> None:
        """Serve the file at its address to the pages of a Playwright context."""
        headers = {
            "access-control-allow-origin": "*",
            "content-type": "text/javascript",
        }
        context.route(
            self.url, lambda route: route.fulfill(body=self.content, headers=headers)
        )


def read_sdk(path: Path) -> SdkFile:
    """Read a file; raise ValueError for one that does not define the SDK's global."""
    content = path.read_bytes()
    if GLOBAL_NAME not in content:
        raise ValueError(f"{path} does not define PersoInteractive: it is not the SDK")
    found = integrity(content)
    for version, known in SDK_VERSIONS.items():
        if found == known:
            url = f"{GITHUB}@{version}/core/{version}/perso-interactive-sdk.js"
            return SdkFile(content, url, found)
    return SdkFile(content, NPM, found)


def integrity(content: bytes) -> str:
    """Return the subresource integrity of a file."""
    digest = hashlib.sha384(content).digest()
    return "sha384-" + base64.b64encode(digest).decode()

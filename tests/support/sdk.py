"""SDK files a tester brings along (`--sdk FILE`), known by their bytes, and the CDN address of each."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

CDN = "https://cdn.jsdelivr.net/gh/perso-ai/perso-interactive-sdk-web"
PUBLISHED = {
    "sha384-iMi5c5Z6E8Tfs/pASfWHnrP67fqp5SLl5mQbAyJSTxcaxoezIRDdTqAyNXu1ipmQ": (
        f"{CDN}@1.0.0/core/1.0.0/perso-interactive-sdk.js"
    ),
    "sha384-NsmdZuvWbBvpMnLPtEoaDr00w0W0WHVrAbrZ/kowjb9CIl1WG1acf9lZtXn2Ildc": (
        f"{CDN}@1.0.1/core/1.0.1/perso-interactive-sdk.js"
    ),
}


@dataclass(frozen=True)
class SdkFile:
    """The bytes, and what a page's tag says of them."""

    content: bytes
    url: str
    integrity: str

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a site whose pages load it."""
        return {"PERSO_SDK_URL": self.url, "PERSO_SDK_INTEGRITY": self.integrity}


def read_sdk(path: Path) -> SdkFile:
    """The published file with these bytes; ValueError for any other."""
    content = path.read_bytes()
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
    if integrity not in PUBLISHED:
        raise ValueError(f"{path} is no published SDK file known here ({integrity})")
    return SdkFile(content, PUBLISHED[integrity], integrity)

"""The Perso REST API in Python, on the wire the same as the vendor's server SDK 1.6.1. Knows no Django.

`calls` says what can be asked, `client` sends it, `types` are the answers, `errors` what can go wrong:

    async with AsyncPersoClient(api_key="pak-…") as perso:
        session_id = await perso.create_session_id(using_stf_webrtc=True, model_style="…", prompt="plp-…", …)

`PersoClient` is the same without `await`.
"""

from . import calls
from .calls import Call
from .client import (
    DEFAULT_API_SERVER,
    AsyncPersoClient,
    Limits,
    PersoClient,
    is_loopback,
)
from .errors import (
    ApiError,
    DoesNotExistError,
    NotInOrganizationError,
    PersoError,
    PersoUnreachable,
    PersoUnreadable,
    SessionCreationError,
)
from .types import Catalogue, SessionInfo, SessionParams, SessionTemplate

__all__ = [
    "DEFAULT_API_SERVER",
    "ApiError",
    "AsyncPersoClient",
    "Call",
    "Catalogue",
    "DoesNotExistError",
    "Limits",
    "NotInOrganizationError",
    "PersoClient",
    "PersoError",
    "PersoUnreachable",
    "PersoUnreadable",
    "SessionCreationError",
    "SessionInfo",
    "SessionParams",
    "SessionTemplate",
    "calls",
    "is_loopback",
]

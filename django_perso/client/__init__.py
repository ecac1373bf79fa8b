"""The Perso REST API in Python, without Django.

It sends what the vendor's server SDK 1.6.1 sends. `calls` declares the requests,
`client` sends them, `parameters` is the table of session parameters, `types` are the
answers, and `errors` what can go wrong.

    async with AsyncPersoClient(api_key="pak-…") as perso:
        prompts = await perso.get_prompts()
        session_id = await perso.create_session_id(
            using_stf_webrtc=True, model_style="…", prompt=prompts[0].prompt_id, …
        )

`PersoClient` is the same without `await`. `django_perso.rest` returns clients that use
the API keys of a Django site.
"""

from . import calls, parameters
from .calls import Call
from .client import (
    DEFAULT_API_SERVER,
    Answer,
    AsyncPersoClient,
    Limits,
    Network,
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
    "Answer",
    "ApiError",
    "AsyncPersoClient",
    "Call",
    "Catalogue",
    "DoesNotExistError",
    "Limits",
    "Network",
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
    "parameters",
]

"""Routes that Perso does not have: they show the ledger and set faults.

They need no key, and faults do not affect them.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from .faults import faults
from .hearing import script
from .http import Refusal, View, accepted_keys, open_to_hosts, read_json
from .sessions import sessions
from .withdrawals import withdrawals


def _control(
    replace: Callable[[dict[str, Any]], None],
    reset: Callable[[], None],
    state: Callable[[], dict[str, Any]],
) -> View:
    """Return a view of something that can be set.

    PUT replaces the state, DELETE resets it, and both answer the state as GET does.
    """

    async def view(request: HttpRequest) -> HttpResponse:
        try:
            if request.method == "PUT":
                replace(read_json(request))
            elif request.method == "DELETE":
                reset()
        except Refusal as refusal:
            return JsonResponse({"detail": refusal.detail}, status=400)
        except (ValueError, TypeError, AttributeError) as error:
            return JsonResponse({"detail": str(error)}, status=400)
        return JsonResponse(state())

    return open_to_hosts(view)  # type: ignore[no-any-return]


def _accept_keys(body: dict[str, Any]) -> None:
    """Accept the keys in `{"accepted": [key, …]}`; no error repeats a key."""
    keys = body.get("accepted")
    is_list_of_keys = isinstance(keys, list) and all(isinstance(k, str) for k in keys)
    if keys is None or set(body) != {"accepted"} or not is_list_of_keys:
        raise ValueError('expected {"accepted": [key, …]}')
    accepted_keys.replace(keys)


def _accepted_keys() -> dict[str, Any]:
    """Return how many keys are accepted."""
    return {"accepted": len(accepted_keys)}


@open_to_hosts
async def ledger(request: HttpRequest) -> HttpResponse:
    """GET control/ledger/: the sessions that were created and what they cost."""
    return JsonResponse(sessions.ledger())


# control/faults/: the faults by route.
control_faults = _control(faults.replace, faults.reset, faults.as_json)
# control/catalogue/: the withdrawn items by field of POST session/.
control_catalogue = _control(
    withdrawals.replace, withdrawals.reset, withdrawals.as_json
)
# control/speech/: what the next recordings are taken for.
control_speech = _control(script.replace, script.reset, script.as_json)
# control/keys/: the accepted keys; it shows only how many there are.
control_keys = _control(_accept_keys, accepted_keys.reset, _accepted_keys)

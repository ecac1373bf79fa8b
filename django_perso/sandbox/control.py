"""The controls of the sandbox, which Perso does not have: what it was asked for, and what it does next.

They need no key and see no faults.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from .faults import faults
from .http import Refusal, View, accepted_keys, open_to_hosts, read_json
from .sessions import sessions
from .withdrawals import withdrawals


def _control(
    replace: Callable[[dict[str, Any]], None],
    reset: Callable[[], None],
    shown: Callable[[], dict[str, Any]],
) -> View:
    """PUT replaces what is set and DELETE puts it back; like GET they answer what is set now."""

    async def view(request: HttpRequest) -> HttpResponse:
        try:
            if request.method == "PUT":
                replace(read_json(request))
            elif request.method == "DELETE":
                reset()
        except Refusal as no:
            return JsonResponse({"detail": no.detail}, status=400)
        except (ValueError, TypeError, AttributeError) as error:
            return JsonResponse({"detail": str(error)}, status=400)
        return JsonResponse(shown())

    return open_to_hosts(view)  # type: ignore[no-any-return]


def _accept(body: dict[str, Any]) -> None:
    """`{"accepted": [key, …]}`; a mistake is told without the keys."""
    keys = body.get("accepted")
    if (
        set(body) != {"accepted"}
        or not isinstance(keys, list)
        or not all(isinstance(k, str) for k in keys)
    ):
        raise ValueError('expected {"accepted": [key, …]}')
    accepted_keys.replace(keys)


@open_to_hosts
async def ledger(request: HttpRequest) -> HttpResponse:
    """GET control/ledger/: what was created and what it cost."""
    return JsonResponse(sessions.ledger())


# control/faults/: what goes wrong, by route.
control_faults = _control(faults.replace, lambda: faults.replace({}), faults.as_json)
# control/catalogue/: what is withdrawn, by field of POST session/.
control_catalogue = _control(
    withdrawals.replace, lambda: withdrawals.replace({}), withdrawals.as_json
)
# control/keys/: which keys are accepted; told is only how many.
control_keys = _control(
    _accept, accepted_keys.reset, lambda: {"accepted": len(accepted_keys)}
)

"""The signals that a site may listen to.

Each is sent after the rows are committed, with `send_robust`: a receiver that fails is
logged, and nothing else happens. Receivers run in the thread that stored the rows.
"""

from django.dispatch import Signal

#: A conversation has begun: its Perso session is live.
#: Sender: Conversation. Arguments: `conversation`.
conversation_started = Signal()

#: Entries of a conversation were stored, by its page or by this site.
#: Sender: Conversation. Arguments: `conversation_id`, a UUID; `entries`, a list of
#: dicts in the order of their numbers, with `source` ("browser" or "server"), `seq`,
#: `kind`, `at_ms` and `data`.
entry_recorded = Signal()

#: A conversation has ended. Sent once for each, also when its start failed.
#: Sender: Conversation. Arguments: `conversation`, with `ended_at` and `ended_by`.
conversation_ended = Signal()

#: It is known why a Perso session ended and how many seconds it counts. Sent once for
#: each.
#: Sender: PersoSession. Arguments: `perso_session`, with `termination_reason`,
#: `duration_seconds` and `settled_at`. A session that Perso does not know any more
#: counts no seconds, and its reason is "NOT_FOUND" unless Perso has named another one
#: before.
perso_session_settled = Signal()

"""What a site may listen to. Each is sent once, after the rows are committed, with `send_robust`: a receiver
that fails is logged and harms nobody. The sender is AvatarSession.
"""

from django.dispatch import Signal

# avatar_session: the conversation, live at Perso from now on.
session_started = Signal()
# avatar_session_id: which conversation; entries: what was stored of it, in order.
entry_recorded = Signal()
# avatar_session: the conversation, ended by its page, or closed for silence.
session_ended = Signal()

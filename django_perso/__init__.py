"""Put a talking AI avatar (Perso Interactive) on a Django site.

A page names a preset; Django asks Perso for a session; the browser holds the conversation; what is said
and which tools are called comes back and is written down exactly once. Where to find what:

- `conf`          the settings dict `PERSO`, typed, with every default
- `models`        ApiKey, SessionPreset, AvatarSession, TranscriptEntry; `fields` encrypts secrets
- `client`        the Perso REST API as Python; knows no Django
- `services`      what the product does: `sessions.start()`, `limits`, `transcripts.record()`
- `signals`       what a site may listen to: a conversation started, entries stored, a conversation ended
- `protocol`      the frames of the log socket `perso.log.1`; `payloads` reads JSON that strangers send
- `views`         start a session, take log entries by POST; `consumers` take them by socket
- `visitors`      who is on the other end of a request: user, cookie, address, origin
- `templatetags`  `{% perso_avatar %}` and `{% perso_sdk %}`; the widget is in `static/django_perso`
- `checks`        mistakes in the settings, each with the line that mends it; `headers` judges policies
- `asgi`          one import that gives the host project our sockets; `routing` is the classic way
- `admin`         what an operator sees
- `sandbox`       a local Perso with real WebRTC, for development without an account
"""

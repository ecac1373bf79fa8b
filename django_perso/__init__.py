"""Put a talking AI avatar (Perso Interactive) on a Django site.

A page names a preset; Django asks Perso for a session; the browser holds the
conversation; what is said and which tools are called is written down exactly once.
Where to find what:

- `conf`          the settings dict `PERSO`, typed, with every default
- `models`        API keys, presets, conversations; `fields` encrypts secrets
- `client`        the Perso REST API as Python; knows no Django
- `log`           the frames of the log, `perso.log.1`; knows no Django
- `services`      what the product does: `starting`, `lifecycle`, `transcripts`, …
- `rest`          clients for the API keys of the site
- `signals`       what a site may listen to
- `views`         start a conversation, take entries by POST; `consumers` by socket
- `visitors`      who sends a request: user, cookie, address, origin
- `logouts`       what a login and a logout end
- `templatetags`  `{% perso_avatar %}` and `{% perso_sdk %}`; the widget is in
                  `static/django_perso`; `jinja2` offers them to Jinja2
- `checks`        mistakes in the settings, each with its fix; `headers` reads policies
- `asgi`          the host project's application with our sockets; `routing` for
                  projects that have a URLRouter
- `admin`         what staff see
- `sandbox`       a local Perso with real WebRTC, for development without an account
"""

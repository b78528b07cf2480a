"""The dashboard: what a person needs to see and do, by keyboard and without scripts.

reader.py    what the pages need to know, as a port; the control plane answers it
actor.py     what the pages may ask to be done, and sessions of people; ports too
views/       model values -> view values; pure, and what the `.json` twins hand out
templates/   view values -> HTML
app.py       routes of the pages and their twins
acts.py      cancel, cordon, drain: a question first, then a form with the session's key
login.py     in and out, with a token
oidc.py      in through an identity provider; `provider.py` talks to it, `identity.py` decides
replies.py   headers, the session's cookie, forms
live.py      the stream of changes
static/      own CSS and script, and vendored htmx (`static/vendor/vendor.toml`)
"""

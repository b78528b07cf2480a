"""The dashboard: what a person needs to see, on pages that work by keyboard and without scripts.

    reader.py   what the pages need to know, as a port; the control plane answers it
    views/      model values -> view values; pure, and what the `.json` twins hand out
    templates/  view values -> HTML
    app.py      routes, the session cookie, headers
    live.py     the stream of changes
    static/     own CSS and script, and vendored htmx (`static/vendor/vendor.toml`)

Pages only read. What changes something is said as the command to type.
"""

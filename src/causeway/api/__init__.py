"""The HTTP door. One table of endpoints makes both the routes and the OpenAPI document.

Bodies are bounded before they are read, decoded into the nouns of `model` (unknown fields and wrong
types are answered with the place and what to try), and every error is the same JSON problem.
"""

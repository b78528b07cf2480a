"""The packages alone: a name with a hyphen, which PSI/J wants, is none for pyproject.toml."""

from setuptools import setup

setup(packages=["psij_causeway", "psij-descriptors"], package_dir={"": "src"})

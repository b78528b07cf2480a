"""Kubernetes: attempts become Jobs of a namespace, through the API server.

settings     the table `[engine]` of a profile
access       how to reach the cluster, and as whom
values       what is known of a cluster
answers      what the API server says -> values
reasons      Kubernetes' tokens and sentences -> ours
objects      a launch -> Jobs, JobSets       inventory   a cluster -> an island
attempts     one attempt, and what is known of it -> how it ended
             (all of the above but access is pure)
speaker      the questions
submitting, doomed, ledger, engine
             what is its own of the parts that `adapters/outside` has for all engines
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causeway.adapters.kubernetes.settings import parse
from causeway.ports import Clock
from causeway.ports.engine import Engine


def open_engine(settings: Mapping[str, Any], *, root: Path, clock: Clock) -> Engine:
    """Open the engine that the table `[engine]` of a profile describes."""
    from causeway.adapters.kubernetes.access import find
    from causeway.adapters.kubernetes.engine import KubernetesEngine

    told = parse(settings)
    access = find(kubeconfig=told.kubeconfig, context=told.context, namespace=told.namespace)
    return KubernetesEngine(root, clock=clock, access=access, settings=told)

"""How much hypothesis draws: bounded and always the same in the gate, much and new on demand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("DULY_HYPOTHESIS") == "long"
_STORIES = {"quick": (25, 30), "memory": (150, 50), "sqlite": (100, 50), "postgres": (40, 50)}


def stories(name: str) -> settings:
    """Settings for the agreement of one store with the model."""
    examples, steps = _STORIES[name]
    return _settings(examples * (20 if LONG else 1), steps * (2 if LONG else 1))


def cases(examples: int = 100) -> settings:
    """Settings for a property of a planner."""
    return _settings(examples * (20 if LONG else 1), 50)


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=LONG,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )

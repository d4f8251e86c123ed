"""How much hypothesis draws: bounded and always the same in the gate, much and new on demand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("DULY_TEST_HYPOTHESIS") == "long"
_STORIES = {
    "quick": (20, 30),
    "planted": (240, 40),
    "memory": (60, 40),
    "sqlite": (50, 40),
    "postgres": (20, 30),
}


def stories(name: str) -> settings:
    """Settings for the agreement of one store with the model."""
    examples, steps = _STORIES[name]
    chosen = _settings(examples * (20 if LONG else 1), steps * (2 if LONG else 1))
    if name == "planted":  # what is found need not be made short
        return settings(chosen, phases=(Phase.generate,), report_multiple_bugs=False)
    return chosen


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

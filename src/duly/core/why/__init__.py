"""Why is it so: evidence in, sentences out, for whatever a person can name.

Runs, schedules, occurrences, effects, breakers, instances, incidents, queues, limits, keys.

Whoever gathers the evidence asks a store; here it is only weighed. An explanation has a headline
(how the thing stands), a chain of causes in the order in which they happened, and what helps, as
commands where there are any; causes have identifiers that stay (`Cause`). Nothing is guessed:
where the evidence cannot decide between two causes, the sentence names both. The present is part
of the evidence, by the store's clock.
"""

from duly.core.why.breakers import explain_breaker
from duly.core.why.causes import Cause
from duly.core.why.effects import explain_effect, told_line
from duly.core.why.evidence import HASTE, Explanation, Fleet
from duly.core.why.incidents import INCIDENT, explain_incident
from duly.core.why.instances import explain_instance
from duly.core.why.occurrences import OccurrenceEvidence, explain_occurrence
from duly.core.why.remembered import (
    EffectKnown,
    Known,
    command,
    effect_words,
    hidden,
    progress_text,
    value_text,
)
from duly.core.why.runs import explain_run
from duly.core.why.schedules import explain_next, explain_schedule
from duly.core.why.shared import KEY, LIMIT, QUEUE, explain_key, explain_limit, explain_queue

__all__ = [
    "HASTE",
    "INCIDENT",
    "KEY",
    "LIMIT",
    "QUEUE",
    "Cause",
    "EffectKnown",
    "Explanation",
    "Fleet",
    "Known",
    "OccurrenceEvidence",
    "command",
    "effect_words",
    "explain_breaker",
    "explain_effect",
    "explain_incident",
    "explain_instance",
    "explain_key",
    "explain_limit",
    "explain_next",
    "explain_occurrence",
    "explain_queue",
    "explain_run",
    "explain_schedule",
    "hidden",
    "progress_text",
    "told_line",
    "value_text",
]

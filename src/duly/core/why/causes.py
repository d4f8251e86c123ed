"""The causes an explanation may name, each with an identifier that stays.

Words are for people and may be put better from one version to the next; what programs compare is
a `Cause`. The first cause of an explanation says why the thing stands as it does now; the others
say what else played a part: where a run came from, what became of its earlier attempts. Where the
evidence cannot decide, a cause says no more than is known (`failed`, not `failed_permanently`).
`tests/why` brings every one of them about.
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Why a thing stands as it does. Identifiers are kept for good; new ones may come."""

    # --- who is, or is not, there to do something
    STORE_UNTRUSTED = "store_untrusted"  # restored or failed over, and nobody accepted it
    NO_WORKER = "no_worker"  # no instance is there at all
    NEXT_LOOK = "next_look"  # instances are there: the next poll does it
    NO_CODE = "no_code"  # no live instance carries the task
    QUEUE_UNSERVED = "queue_unserved"  # nobody claims from the queue
    ALL_BUSY = "all_busy"
    BEHIND_OTHERS = "behind_others"  # runs of the same queue go first

    # --- where a run came from
    FIRED = "fired"  # by the clock, at its time; of an occurrence: it ran
    FIRED_LATE = "fired_late"  # after its time: it was not fired before
    CAUGHT_UP = "caught_up"  # from a backlog
    COALESCED = "coalesced"  # one run stands for a whole missed stretch
    TRIGGERED = "triggered"  # by a person
    BACKFILLED = "backfilled"  # by a person
    CHILD_OF_RUN = "child_of_run"
    FORK_OF_RUN = "fork_of_run"
    ASKED_FOR = "asked_for"  # by a call
    UNDER_KEY = "under_key"  # by a call with a key: asking again gives this run

    # --- what became of earlier attempts
    ATTEMPT_FAILED = "attempt_failed"
    HANDED_BACK = "handed_back"  # at a stop
    HOLDER_DIED = "holder_died"  # taken over: the process is gone
    HOLDER_CUT_OFF = "holder_cut_off"  # taken over: its locks fell
    HOLDER_LOST_LEASE = "holder_lost_lease"  # taken over: not renewed in time
    WAITED = "waited"
    WAS_PARKED = "was_parked"
    REVIVED = "revived"  # it had failed for good, and somebody let it run again

    # --- how a run stands
    NOT_YET_DUE = "not_yet_due"
    ABOUT_TO_START = "about_to_start"
    SUSPECT = "suspect"  # rerun alone, because processes died while it ran
    RUNNING = "running"
    CANCEL_ASKED = "cancel_asked"  # its holder has not answered
    LEASE_ENDED = "lease_ended"  # its holder did not renew, and nobody took over yet
    RETRY_DUE = "retry_due"  # it waits for its next attempt
    WAITS_FOR_LIMIT = "waits_for_limit"
    WAITS_FOR_EARLIER_RUN = "waits_for_earlier_run"  # of the same schedule
    SLEEPS = "sleeps"
    WAITS_FOR_EVENT = "waits_for_event"
    WAITS_FOR_TARGET = "waits_for_target"  # a call that was answered with 202
    WAITS_FOR_EFFECT = "waits_for_effect"  # another run performs it
    WAITS_FOR_RUN = "waits_for_run"
    WAITS_FOR_RUNS = "waits_for_runs"
    EFFECT_NOT_BEGUN = "effect_not_begun"  # its task asked to wait before the effect
    WAITS_FOR_BREAKER = "waits_for_breaker"
    WAITS = "waits"  # for what nothing more is known of
    CAME_ABOUT = "came_about"  # what it waits for has happened: the next sweep wakes it
    PARKED_POISON = "parked_poison"
    PARKED_UNCERTAIN = "parked_uncertain"
    PARKED_APPROVAL = "parked_approval"
    PARKED_CODE_CHANGED = "parked_code_changed"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_PERMANENTLY = "failed_permanently"  # its error allowed no further attempt
    CALL_REFUSED = "call_refused"  # a timer's target answered what nobody expected
    CALL_UNANSWERED = "call_unanswered"  # no answer, or no connection
    CALL_VANISHED = "call_vanished"  # it began, and was never said to be done
    CANCELLED = "cancelled"
    CANCELLED_BY_OVERLAP = "cancelled_by_overlap"
    FORKED_AWAY = "forked_away"  # another run goes on in its place
    SKIPPED = "skipped"
    EXPIRED = "expired"

    # --- an occurrence
    SKIPPED_RUNNING = "skipped_running"  # overlap: an earlier run was still running
    SKIPPED_QUEUED = "skipped_queued"  # overlap: an earlier run was still queued
    MISSED_POLICY = "missed_policy"  # catch_up is skip
    MISSED_FOR_LATEST = "missed_for_latest"  # catch_up is latest: a later one stands for it
    MISSED_TOO_OLD = "missed_too_old"  # older than max_age
    MISSED_TOO_MANY = "missed_too_many"  # beyond max_count
    BLOCKED_PAUSED = "blocked_paused"
    BLOCKED_TRIPPED = "blocked_tripped"
    BLOCKED_DISABLED = "blocked_disabled"
    BLOCKED_ORPHANED = "blocked_orphaned"
    BLOCKED_RETIRED = "blocked_retired"
    BLOCKED = "blocked"  # by what another version had a word for
    IN_BACKLOG = "in_backlog"
    BY_HAND = "by_hand"
    BEFORE_DECLARED = "before_declared"
    OTHER_DEFINITION = "other_definition"
    OVERDUE = "overdue"
    NOT_AN_OCCURRENCE = "not_an_occurrence"
    LOST_IN_GAP = "lost_in_gap"  # the clocks passed over it, and its schedule skips that
    MOVED_BY_GAP = "moved_by_gap"  # it runs at the first instant after the gap
    REPEATED_HOUR = "repeated_hour"
    HISTORY_PRUNED = "history_pruned"

    # --- a schedule
    ACTIVE = "active"
    PAUSED = "paused"
    TRIPPED = "tripped"
    DISABLED = "disabled"
    ORPHANED = "orphaned"
    RETIRED = "retired"
    OVER = "over"  # its trigger has no further occurrence
    EDITED = "edited"  # a person's edit holds against code
    MADE_BY_PERSON = "made_by_person"  # a timer

    # --- an effect
    EFFECT_DONE = "effect_done"
    EFFECT_DONE_BY_WORD = "effect_done_by_word"
    EFFECT_IN_FLIGHT = "effect_in_flight"
    EFFECT_LATE = "effect_late"  # its deadline is over, but its run is in hand
    EFFECT_GIVEN_UP = "effect_given_up"
    EFFECT_UNCERTAIN = "effect_uncertain"
    EFFECT_OPEN = "effect_open"
    EFFECT_OPEN_AGAIN = "effect_open_again"  # it was said not to be performed
    SENDER_MAY_LIVE = "sender_may_live"  # it could still send

    # --- a breaker
    BREAKER_UNKNOWN = "breaker_unknown"
    BREAKER_CLOSED = "breaker_closed"
    BREAKER_COUNTING = "breaker_counting"
    BREAKER_OPEN = "breaker_open"
    BREAKER_PROBED = "breaker_probed"  # half open, and a probe is under way
    BREAKER_PROBE_DUE = "breaker_probe_due"  # the next call probes
    BREAKER_HELD_OPEN = "breaker_held_open"
    BREAKER_HELD_CLOSED = "breaker_held_closed"

    # --- an instance
    INSTANCE_WORKS = "instance_works"
    INSTANCE_IDLE = "instance_idle"
    INSTANCE_ABSENT = "instance_absent"
    INSTANCE_STOPPING = "instance_stopping"
    INSTANCE_LEFT = "instance_left"
    INSTANCE_DIED = "instance_died"
    INSTANCE_CUT_OFF = "instance_cut_off"
    INSTANCE_LOST_LEASE = "instance_lost_lease"

    # --- an incident, a queue, a limit, a key
    INCIDENT_OPEN = "incident_open"
    INCIDENT_CLOSED = "incident_closed"
    ACKNOWLEDGED = "acknowledged"  # a person deals with it: nobody is reminded any more
    ROWS_MISSING = "rows_missing"  # rows of a table that nobody dealt with
    CLUSTER_GONE = "cluster_gone"  # nobody of a cluster is there any more
    CHANNEL_DOWN = "channel_down"  # a channel takes no notices
    OUTBOX_STUCK = "outbox_stuck"  # a destination takes no messages
    EXPECTATION_BREACHED = "expectation_breached"  # output, start, end or length of a run
    EFFECT_CONTRADICTED = "effect_contradicted"  # a receipt against a person's word
    WORK_INTERRUPTED = "work_interrupted"  # a process ended in the middle of it
    RHYTHM_AHEAD = "rhythm_ahead"  # a host that ends its processes regularly meets a run
    LOOP_FAILING = "loop_failing"
    STORE_WAS_AWAY = "store_was_away"
    SUPERVISOR_TRIPPED = "supervisor_tripped"
    QUEUE_EMPTY = "queue_empty"
    QUEUE_MOVES = "queue_moves"
    QUEUE_WAITS = "queue_waits"
    LIMIT_FULL = "limit_full"
    LIMIT_FREE = "limit_free"
    KEY_JOINS = "key_joins"  # its run lives: whoever asks joins it
    KEY_RETURNS = "key_returns"  # its run succeeded: whoever asks gets its result
    KEY_REFUSES = "key_refuses"  # its run is parked
    KEY_REVIVES = "key_revives"  # its run failed: whoever asks lets it run again
    KEY_FREE = "key_free"

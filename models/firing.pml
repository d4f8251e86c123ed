/* One schedule fired by several instances, while people edit, pause, resume and retire it.
 *
 * A transaction has a beginning (the row lock, a snapshot of the schedule, the store's clock) and
 * a commit; between them everything else goes on and the process may die. The old revision is due
 * at every tick, the new one at even ticks only, so that a past read with the wrong revision shows.
 * A backlog range is modelled as the set of its instants.
 */
#ifndef INSTANCES
#define INSTANCES 2
#endif
#ifndef TICKS
#define TICKS 3         /* occurrences are due at 1 .. TICKS */
#endif
#ifndef CRASHES
#define CRASHES 1       /* deaths inside or between transactions */
#endif
#define NEVER 99

mtype:schedule_state = { ACTIVE, PAUSED, RETIRED };
mtype:verdict_kind   = { NO_VERDICT, FIRED, SKIPPED, HELD };     /* HELD: blocked, being paused or retired */

typedef Schedule {
  mtype:schedule_state state = ACTIVE;
  byte revision = 1;
  byte fired_through
};
Schedule row;
byte locked;                            /* by which process; 0 is nobody */
byte now;                               /* the store's clock */
byte edited_at = NEVER, paused_at = NEVER, resumed_at = NEVER, retired_at = NEVER, revived_at = NEVER;
mtype:verdict_kind verdict[TICKS + 1] = NO_VERDICT;
byte by_revision[TICKS + 1], fired_runs[TICKS + 1], backlog[TICKS + 1];
byte crashes;
bool fired_while_held;

#define DUE(t, revision_)  (revision_ == 1 || t % 2 == 0)
#define RIGHT(t)           (1 + (t > edited_at))

/* --------------------------------------------------------- parts of transactions */

inline begin() {                        /* lock the row, read it and the clock */
  atomic { locked == 0 -> locked = me; through = row.fired_through; upto = now }
}
inline begin_unlocked() { atomic { through = row.fired_through; upto = now } }
inline commit_() { if :: locked == me -> locked = 0 :: else fi; through = 0; upto = 0 }

#ifdef M_LOCK_FREE_EDIT
#define BEGIN_EDIT    begin_unlocked()
#else
#define BEGIN_EDIT    begin()
#endif
#ifdef M_LOCK_FREE_PAUSE
#define BEGIN_PAUSE   begin_unlocked()
#else
#define BEGIN_PAUSE   begin()
#endif
#ifdef M_LOCK_FREE_RETIRE
#define BEGIN_RETIRE  begin_unlocked()
#else
#define BEGIN_RETIRE  begin()
#endif

inline insert_run(t, revision_) {
#ifndef M_NO_UNIQUE_KEY
  if
  :: fired_runs[t] > 0 -> skip          /* the occurrence's key: somebody was here */
  :: else ->
#endif
       fired_runs[t]++; verdict[t] = FIRED; by_revision[t] = revision_;
       fired_while_held = fired_while_held || row.state != ACTIVE ||
         t > paused_at && t <= resumed_at || t > retired_at && t <= revived_at
#ifndef M_NO_UNIQUE_KEY
  fi
#endif
}

inline judge(t, what, revision_) { verdict[t] = what; by_revision[t] = revision_ }

/* What is due in (through, upto] gets a place: the latest is fired now if `fresh`, earlier ones
 * wait as backlog, and the stretch of a pause is judged at once. The mark advances with it. */
inline settle(fresh, state_) {
  t = through + 1;
  do
  :: t > upto -> break
  :: else ->
       if
       :: !DUE(t, row.revision) -> skip
       :: DUE(t, row.revision) && state_ != ACTIVE -> judge(t, HELD, row.revision)
       :: DUE(t, row.revision) && state_ == ACTIVE && fresh && t == upto -> insert_run(t, row.revision)
       :: DUE(t, row.revision) && state_ == ACTIVE && !(fresh && t == upto) -> backlog[t] = row.revision
       fi;
       t++
  od;
  t = 0
}
inline advance() { if :: row.fired_through < upto -> row.fired_through = upto :: else fi }

/* ----------------------------------------------------------------- the verbs */

#ifdef M_UNLOCKED_MARK
#define BEGIN_FIRE  atomic { row.state != RETIRED && row.fired_through < now -> \
                             through = row.fired_through; upto = now; state = row.state }
#else
#define BEGIN_FIRE  atomic { locked == 0 && row.state != RETIRED && row.fired_through < now -> \
                             locked = me; through = row.fired_through; upto = now; state = row.state }
#endif
#ifdef M_UNLOCKED_MARK
#define UNLOCK  through = 0; upto = 0; state = ACTIVE
#else
#define UNLOCK  locked = 0; through = 0; upto = 0; state = ACTIVE
#endif
#define MAY_DIE  atomic { crashes < CRASHES -> crashes++; if :: locked == me -> locked = 0 :: else fi; \
                          through = 0; upto = 0; state = ACTIVE; goto end_idle }

inline fire() {
#ifdef M_ADVANCE_APART
  atomic { advance(); if :: locked == me -> locked = 0 :: else fi };
  if :: MAY_DIE :: atomic { settle(true, state); through = 0; upto = 0; state = ACTIVE } fi
#else
  atomic { settle(true, state); advance(); UNLOCK }
#endif
}

inline drain() {                        /* one instant of the backlog: fired or skipped, by policy */
  t = 1;
  do
  :: backlog[t] == 0 -> t++
  :: else -> break
  od;
  if :: insert_run(t, backlog[t]) :: judge(t, SKIPPED, backlog[t]) fi;
  backlog[t] = 0; t = 0
}

#define BACKLOG  (backlog[1] + backlog[2] + backlog[TICKS] > 0)

proctype instance(byte me) {
  byte through, upto, t;
  mtype:schedule_state state = ACTIVE;
end_idle:
  do
  :: BEGIN_FIRE ->
       if :: MAY_DIE :: fire() fi
  :: atomic { locked == 0 && row.state == ACTIVE && BACKLOG -> locked = me } ->
       if :: MAY_DIE :: atomic { drain(); locked = 0 } fi
  od
}

/* Editing never re-interprets the past: the old revision is settled in the edit's own transaction. */
inline edit() {
  BEGIN_EDIT;
  atomic {
#ifdef M_EDIT_WITHOUT_SETTLING
    skip;
#else
    settle(false, row.state); advance();
#endif
    row.revision = 2; edited_at = upto; commit_()
  }
}

inline pause() {
  BEGIN_PAUSE;
  atomic { settle(false, ACTIVE); advance(); row.state = PAUSED; paused_at = upto; commit_() }
}

inline resume() {
  begin();
  atomic {
#ifndef M_RESUME_WITHOUT_SETTLING
    settle(false, PAUSED); advance();
#endif
    row.state = ACTIVE; resumed_at = upto; commit_()
  }
}

inline retire() {
  BEGIN_RETIRE;
  atomic {
#ifndef M_RETIRE_WITHOUT_SETTLING
    settle(false, row.state); advance();
#endif
#ifdef M_RETIRE_FORGETS_BACKLOG
    t = 1;
    do
    :: t > TICKS -> break
    :: else -> backlog[t] = 0; t++
    od;
#endif
    t = 0; row.state = RETIRED; retired_at = upto; revived_at = NEVER; commit_()
  }
}

/* What was due meanwhile is judged; what waited in the backlog waits no longer. */
inline revive() {
  begin();
  atomic {
#ifndef M_REVIVE_WITHOUT_SETTLING
    settle(false, RETIRED); advance();
#endif
    row.state = ACTIVE; revived_at = upto;
    if :: resumed_at == NEVER -> resumed_at = upto :: else fi; commit_()
  }
}

proctype editor(byte me) {
  byte through, upto, t;
  if :: edit() :: skip fi
}

proctype operator(byte me) {            /* a person who pauses always comes back */
  byte through, upto, t;
  if
  :: pause(); if :: resume(); if :: retire() :: skip fi :: retire(); if :: revive() :: skip fi fi
  :: retire(); if :: revive() :: skip fi
  :: skip
  fi
}

proctype clock() {
end:
  do :: atomic { now < TICKS -> now++ } od
}

init {
  atomic {
    run instance(1); run instance(2);
#if INSTANCES > 2
    run instance(5);
#endif
    run editor(3); run operator(4); run clock()
  }
}

/* ----------------------------------------------------------------------- promises */
#define GONE        (row.state == RETIRED)
#define OWED(t)     (t <= now && (!GONE || t <= retired_at) && DUE(t, RIGHT(t)))
#define JUDGED(t)   (!OWED(t) || verdict[t] != NO_VERDICT || GONE && backlog[t] > 0)
#define RIGHTLY(t)  (verdict[t] == NO_VERDICT || (by_revision[t] == RIGHT(t) && DUE(t, RIGHT(t))))

ltl at_most_once    { [] (fired_runs[1] <= 1 && fired_runs[2] <= 1 && fired_runs[TICKS] <= 1) }
ltl right_revision  { [] (RIGHTLY(1) && RIGHTLY(2) && RIGHTLY(TICKS)) }
ltl paused_is_still { [] (!fired_while_held) }
ltl every_verdict   { [] <> (now == TICKS && JUDGED(1) && JUDGED(2) && JUDGED(TICKS)) }

/* Refuted on purpose: what the campaign must have seen, else it proves nothing. */
ltl never_drained   { [] (!(verdict[1] == FIRED && by_revision[1] == 1 && row.revision == 2 && verdict[2] == FIRED)) }
ltl never_held      { [] (verdict[2] != HELD) }
ltl never_revived   { [] (!(revived_at < now && verdict[2] == HELD && verdict[TICKS] == FIRED)) }

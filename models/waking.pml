/* Waiting and waking: a run that waits for an event, then for the one slot of a limit.
 *
 * A transaction reads what is committed, and commits later: two transactions may both commit
 * without having seen each other. Whoever waits and whoever wakes lock the same row first; a sweep
 * is the net below. WITHOUT_SWEEP takes the net away, to see what the lock alone gives.
 */
#ifndef RUNS
#define RUNS 3
#endif
#ifndef CRASHES
#define CRASHES 1       /* deaths of a slot's holder; a takeover gives the slot back */
#endif

mtype:run_state = { READY, RUNNING, WAITING_EVENT, WAITING_SLOT, SUCCEEDED };

mtype:run_state state[RUNS] = READY;
bool happened;                          /* the event is committed */
byte slots = 1;                         /* free slots of the limit */
byte at_work;                           /* how many hold a slot, in truth */
bool event_lock, limit_lock;            /* the rows that both sides lock */
byte crashes, slept;

/* Taking a slot is a conditional update, atomic by itself; what needs the lock is to wait for one. */
#ifdef M_NO_COMMON_LOCK
#define LOCK(which)    skip
#define UNLOCK(which)  skip
#else
#define LOCK(which)    atomic { !which -> which = true }
#define UNLOCK(which)  which = false
#endif
#define EXISTS(what)   (state[0] == what || state[1] == what || state[RUNS - 1] == what)

/* The oldest that waits for a slot becomes ready: one slot, one wake. */
inline wake_next() {
  if
  :: state[0] == WAITING_SLOT -> state[0] = READY
  :: state[0] != WAITING_SLOT && state[1] == WAITING_SLOT -> state[1] = READY
  :: state[0] != WAITING_SLOT && state[1] != WAITING_SLOT && state[RUNS - 1] == WAITING_SLOT ->
       state[RUNS - 1] = READY
  :: else
  fi
}

inline wait_for_event() {
  LOCK(event_lock);
  if
  :: atomic { happened -> UNLOCK(event_lock) }
  :: atomic { !happened -> skip };
     atomic { state[me] = WAITING_EVENT; slept++; UNLOCK(event_lock) };
     atomic { state[me] == READY }
  fi
}

inline wait_for_slot() {
  do
  :: LOCK(limit_lock);
     if
#ifdef M_LOOK_THEN_TAKE
     :: atomic { slots > 0 -> skip };
        atomic { slots--; state[me] = RUNNING; at_work++; UNLOCK(limit_lock) } -> break
#else
     :: atomic { slots > 0 -> slots--; state[me] = RUNNING; at_work++; UNLOCK(limit_lock) } -> break
#endif
     :: atomic { slots == 0 -> skip };
        atomic { state[me] = WAITING_SLOT; slept++; UNLOCK(limit_lock) };
        atomic { state[me] == READY }
     fi
  od
}

inline complete(into) {                 /* or, after a death, the takeover of what it held */
  LOCK(limit_lock);
  atomic { waiting = EXISTS(WAITING_SLOT) };
  atomic {
    at_work--; slots++; state[me] = into;
    if :: waiting -> wake_next() :: else fi;
    waiting = false; UNLOCK(limit_lock)
  }
}

proctype worker(byte me) {
  bool waiting;
  wait_for_event();
again:
  wait_for_slot();
  if
  :: complete(SUCCEEDED)
  :: atomic { crashes < CRASHES -> crashes++ }; complete(READY); goto again
  fi
}

proctype waker() {                      /* the event happens, and its waiters are woken */
  bool waiting[RUNS];
  byte i;
  LOCK(event_lock);
  atomic { for (i : 0 .. RUNS - 1) { waiting[i] = state[i] == WAITING_EVENT } };
  atomic {
    happened = true;
    for (i : 0 .. RUNS - 1) { if :: waiting[i] -> state[i] = READY :: else fi };
    UNLOCK(event_lock)
  }
}

proctype sweep() {
end:
#ifndef WITHOUT_SWEEP
  do
  :: atomic { happened && state[0] == WAITING_EVENT -> state[0] = READY }
  :: atomic { happened && state[1] == WAITING_EVENT -> state[1] = READY }
  :: atomic { happened && state[RUNS - 1] == WAITING_EVENT -> state[RUNS - 1] = READY }
  :: atomic { slots > 0 && EXISTS(WAITING_SLOT) -> wake_next() }
  od
#endif
  skip
}

init { atomic { run worker(0); run worker(1);
#if RUNS > 2
  run worker(2);
#endif
  run waker(); run sweep() } }

/* ----------------------------------------------------------------------- promises */
#define DONE(i)  (state[i] == SUCCEEDED)

ltl woken        { <> (DONE(0) && DONE(1) && DONE(RUNS - 1)) }
ltl limit_holds  { [] (at_work <= 1) }

/* Refuted on purpose: what the campaign must have seen, else it proves nothing. */
ltl never_slept  { [] (slept < 3) }

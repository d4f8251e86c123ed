/* The ledger of effects: two runs, one effect key, workers that die at every boundary.
 *
 * One atomic block is one transaction of the store, or one physical act on the target. Time is
 * asynchronous: a lease may be taken over while its holder is merely slow, so a zombie may wake
 * up at any later moment. The target knows no fence. What the model abstracts is in README.md.
 *
 * Promises: at_most_once and its kin, at the end of the file. Budgets of faults and the mutants
 * (M_...: the protocol with one rule left out) are chosen with -D.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef RUNS
#define RUNS 2
#endif
#ifndef CRASHES
#define CRASHES 1       /* deaths of a worker, each followed by a new process */
#endif
#ifndef ZOMBIES
#define ZOMBIES 1       /* leases taken over while the holder lives */
#endif
#ifndef REFUSALS
#define REFUSALS 1      /* the target refuses before a byte has left */
#endif
#ifndef DELAYS
#define DELAYS 1        /* send deadlines that pass while the sender lives */
#endif
#ifndef RESENDS
#define RESENDS 1       /* commits whose answer is lost, so that the verb is sent again */
#endif
#ifndef RESOLVES
#define RESOLVES 1      /* words of a person about an uncertain effect */
#endif

mtype:run_state    = { READY, RUNNING, WAITING, PARKED, SUCCEEDED };
mtype:effect_state = { ABSENT, INTENDED, UNCERTAIN, DONE };
mtype:answer       = { NONE, OK, UNKNOWN, REFUSED };

#define IN_TIME 0       /* of an intent's send deadline: the sender may still send, */
#define LATE    1       /* the sender must not send any more by its monotonic clock, */
#define OVER    2       /* deadline and margin are over by the store's clock */

typedef Run {
  mtype:run_state state = READY;
  byte epoch;
  bool orphaned;        /* its holder is dead; its lease will run out */
  byte receipt          /* what it returned: the intent that was performed */
};
typedef Effect {        /* the one entry of the ledger */
  mtype:effect_state state = ABSENT;
  byte of_run, of_epoch;
  byte author;          /* the worker that intended it */
  bool gone;            /* the author's process is proven gone */
  bool alert            /* the incident is open */
};
Run runs[RUNS];
Effect effect;
byte deadline[WORKERS];

byte crashes, zombies, refusals, delays, resends, resolves;
byte performed;         /* how often the outside world was changed: the truth */
bool stale_commit, contradicted;
#ifdef WITNESS          /* what a campaign must have seen; costs states, so only on demand */
bool waited, came_late;
#define SEEN(what)  what = true
#else
#define SEEN(what)  skip
#endif


#define HOLDS(r, e)  (runs[r].state == RUNNING && runs[r].epoch == e)
#ifdef M_EPOCH_ONLY
#define MINE(r, e)   (effect.of_epoch == e)
#else
#define MINE(r, e)   (effect.of_run == r && effect.of_epoch == e)
#endif
#define OPEN         (effect.state == INTENDED || effect.state == UNCERTAIN)
#define INTENT_ID    (effect.of_run * 16 + effect.of_epoch)

#ifdef M_NO_WAIT
#define LIVE_INTENT_OF_ANOTHER(r)  false
#define FREE(r)  (effect.state == ABSENT || (effect.state == INTENDED && effect.of_run != r))
#elif defined(M_RESEND_ON_INTENT)
#define LIVE_INTENT_OF_ANOTHER(r)  (effect.of_run != r && deadline[effect.author] != OVER)
#define FREE(r)  (effect.state == ABSENT || (effect.state == INTENDED && effect.of_run == r))
#else
#define LIVE_INTENT_OF_ANOTHER(r)  (effect.of_run != r && deadline[effect.author] != OVER)
#define FREE(r)  (effect.state == ABSENT)
#endif

#ifdef M_NO_QUARANTINE
#define QUARANTINED  true
#elif defined(BY_DEADLINE)
#define QUARANTINED  (deadline[effect.author] == OVER)
#else
#define QUARANTINED  effect.gone
#endif

/* ------------------------------------------------------- parts of transactions */

#ifdef M_NO_WAKE
inline wake_one(r, state_) { skip }
#else
inline wake_one(r, state_) { if :: runs[r].state == state_ -> runs[r].state = READY :: else fi }
#endif

inline wake(state_) { wake_one(0, state_); wake_one(RUNS - 1, state_) }

inline erase() {
  effect.state = ABSENT; effect.alert = false; effect.gone = false;
  effect.of_run = 0; effect.of_epoch = 0; effect.author = 0;
  wake(WAITING); wake(PARKED)
}

inline settle_done() {
  effect.state = DONE; effect.alert = false; wake(WAITING); wake(PARKED)
}

inline doubt() {                        /* nobody knows: said aloud, never guessed */
  effect.state = UNCERTAIN;
#ifndef M_SILENT
  effect.alert = true;
#endif
  wake(WAITING)
}

inline park() { runs[r].state = PARKED; goto leaving }

/* ------------------------------------------------------------- the store's verbs */

inline claim(which) {                   /* both runs are alike, so run 0 and worker 0 come first */
  runs[which].state == READY && (which + me == 0 || runs[0].epoch > 0) ->
  r = which; runs[r].state = RUNNING; runs[r].epoch++; epoch = runs[r].epoch; runs[r].orphaned = false
}

inline intend() {
  if
  :: !HOLDS(r, epoch) -> goto leaving   /* fenced out */
  :: else -> if
     :: FREE(r) -> effect.state = INTENDED; effect.of_run = r; effect.of_epoch = epoch;
                   effect.author = me; effect.gone = false; deadline[me] = IN_TIME
     :: !FREE(r) && effect.state == INTENDED -> if
        :: MINE(r, epoch) -> skip       /* already, by you */
        :: !MINE(r, epoch) && LIVE_INTENT_OF_ANOTHER(r) ->
             SEEN(waited); runs[r].state = WAITING; goto leaving
        :: else -> doubt(); park()
        fi
     :: effect.state == UNCERTAIN -> park()
     :: effect.state == DONE -> goto completing
     fi
  fi
}

inline confirm() {                      /* a receipt is evidence, however late it comes */
  if
  :: OPEN && MINE(r, epoch) ->
       if :: !HOLDS(r, epoch) -> SEEN(came_late) :: else fi; settle_done()
  :: effect.state == DONE -> skip
#if defined(M_NO_LEDGER) || defined(M_INTENT_AFTER)
  :: effect.state == ABSENT -> effect.of_run = r; effect.of_epoch = epoch; settle_done()
#endif
  :: else -> contradicted = true
  fi
}

inline doubt_own() {                    /* the answer never came */
  if :: effect.state == INTENDED && MINE(r, epoch) -> doubt() :: else fi;
  if
  :: HOLDS(r, epoch) && effect.state == UNCERTAIN -> park()
  :: HOLDS(r, epoch) && effect.state != UNCERTAIN -> retry()
  :: else -> goto leaving
  fi
}

inline withdraw() {                     /* not performed, said by the fence that intended */
#ifdef M_UNFENCED_WITHDRAW
  if :: OPEN -> erase() :: else fi
#else
  if :: OPEN && MINE(r, epoch) -> erase() :: else fi
#endif
}

inline retry() { runs[r].state = READY; goto leaving }

inline complete() {
#ifdef M_UNFENCED_COMPLETION
  if :: runs[r].state == RUNNING ->
#else
  if :: HOLDS(r, epoch) ->
#endif
       stale_commit = stale_commit || !HOLDS(r, epoch);
       runs[r].state = SUCCEEDED; runs[r].receipt = INTENT_ID
  :: else
  fi
}

inline die() {
  crashes++;
  if :: epoch > 0 && HOLDS(r, epoch) -> runs[r].orphaned = true :: else fi;
  if :: OPEN && effect.author == me -> effect.gone = true :: else fi;
  goto leaving
}
#define MAY_DIE  atomic { crashes < CRASHES -> die() }

/* ------------------------------------------------------------ acts on the target */

inline perform() { performed = (performed < 2 -> performed + 1 : 2) }

inline send() {
  if
  :: perform(); heard = OK
  :: perform(); heard = UNKNOWN        /* delivered, the answer was lost */
  :: heard = UNKNOWN                   /* lost on the way */
  :: refusals < REFUSALS -> refusals++; heard = REFUSED
  fi
}

/* The sender's last look at its own clock. GAP is the hole that no protocol without the target's
 * help can close: a process that freezes between this look and the write to the socket. */
inline last_call_and_send() {
#ifdef M_NO_LAST_CALL
  atomic { send() }
#elif defined(GAP)
  if
  :: atomic { deadline[me] != IN_TIME -> heard = REFUSED }
  :: deadline[me] == IN_TIME -> if :: MAY_DIE :: atomic { send() } fi
  fi
#else
  atomic { if :: deadline[me] != IN_TIME -> heard = REFUSED :: else -> send() fi }
#endif
}

/* ---------------------------------------------------------------------- processes */


proctype worker(byte me) {
  byte r, epoch;
  mtype:answer heard = NONE;
end_idle:
  if
  :: atomic { claim(0) }
#if RUNS > 1
  :: atomic { claim(1) }
#endif
  :: atomic { crashes < CRASHES && OPEN && effect.author == me && !effect.gone -> die() }
  fi;
intending:
  if
  :: MAY_DIE
#if defined(M_NO_LEDGER)
  :: atomic { skip }
#elif defined(M_INTENT_AFTER)
  :: atomic { if :: !HOLDS(r, epoch) -> goto leaving
                 :: HOLDS(r, epoch) && effect.state == DONE -> goto completing
                 :: else fi }
#else
  :: atomic { intend() }
  :: atomic { resends < RESENDS -> resends++; intend(); goto intending }    /* the answer was lost */
#endif
  fi;
  if
  :: MAY_DIE
  :: last_call_and_send()
  fi;
#ifdef M_UNKNOWN_IS_FAILURE
  if :: heard == UNKNOWN -> heard = REFUSED :: else fi;
#endif
answered:
  if
  :: MAY_DIE
  :: atomic { heard == OK -> confirm(); heard = NONE }
  :: atomic { heard == UNKNOWN -> doubt_own() }
  :: atomic { heard == REFUSED -> withdraw();
              if :: HOLDS(r, epoch) -> retry() :: else -> goto leaving fi }
  :: atomic { heard == REFUSED && resends < RESENDS -> resends++; withdraw(); goto answered }
  fi;
completing:
  if
  :: MAY_DIE
  :: atomic { complete() }
  fi;
leaving:
  atomic {
    r = 0; epoch = 0; heard = NONE;
    if :: !(OPEN && effect.author == me) -> deadline[me] = IN_TIME :: else fi;
    goto end_idle
  }
}

inline take_over(which) {
  runs[which].state == RUNNING && (runs[which].orphaned || zombies < ZOMBIES) ->
  if :: runs[which].orphaned :: else -> zombies++ fi;
  runs[which].orphaned = false; runs[which].state = READY
}

/* A send deadline passes freely once its sender is dead, and DELAYS times while it lives. */
inline pass_deadline(w) {
  deadline[w] != OVER && OPEN && effect.author == w && (effect.gone || delays < DELAYS) ->
  if
  :: effect.gone -> deadline[w] = OVER
  :: !effect.gone && deadline[w] == IN_TIME -> delays++; deadline[w] = LATE
  :: !effect.gone && deadline[w] == LATE -> delays++; deadline[w] = OVER
  fi;
  if :: deadline[w] == OVER -> wake(WAITING) :: else fi
}

proctype passage_of_time() {
end:
  do
  :: atomic { take_over(0) }
#if RUNS > 1
  :: atomic { take_over(1) }
#endif
  :: atomic { pass_deadline(0) }
  :: atomic { pass_deadline(1) }
#if WORKERS > 2
  :: atomic { pass_deadline(2) }
#endif
  od
}

/* A person looks at the target and says what it shows. "Performed" is believed at once; "not
 * performed" only when nobody can send any more. */
inline clear() { resolves++; erase() }

proctype person() {
end:
  do
  :: atomic { effect.state == UNCERTAIN && resolves < RESOLVES && performed > 0 ->
       resolves++; settle_done() }
  :: atomic { effect.state == UNCERTAIN && resolves < RESOLVES && performed == 0 && QUARANTINED ->
       clear() }
#ifdef M_PERSON_ERRS
  :: atomic { effect.state == UNCERTAIN && resolves < RESOLVES && performed == 0 ->
       resolves++; settle_done() }
#endif
  od
}

init {
  atomic {
    run worker(0); run worker(1);
#if WORKERS > 2
    run worker(2);
#endif
    run passage_of_time(); run person()
  }
}

/* ----------------------------------------------------------------------- promises */
#define ENDED(r)      (runs[r].state == SUCCEEDED || runs[r].state == PARKED)
#define SUCCESS(r)    (runs[r].state == SUCCEEDED)
#define BOTH          (SUCCESS(0) && SUCCESS(RUNS - 1))
#define TRUE_DONE(r)  (!SUCCESS(r) || (effect.state == DONE && performed == 1))

ltl at_most_once    { [] (performed <= 1) }
ltl done_is_true    { [] ((effect.state != DONE || performed >= 1) && TRUE_DONE(0) && TRUE_DONE(RUNS - 1)) }
ltl uncertain_alert { [] ((effect.state != UNCERTAIN || effect.alert)
                          && (runs[0].state != PARKED || effect.alert)
                          && (runs[RUNS - 1].state != PARKED || effect.alert)) }
ltl fenced          { [] (!stale_commit) }
ltl one_receipt     { [] (!BOTH || runs[0].receipt == runs[RUNS - 1].receipt) }
ltl undisputed      { [] (!contradicted) }
ltl terminates      { [] <> (ENDED(0) && ENDED(RUNS - 1)) }

/* Refuted on purpose: what the campaign must have seen, else it proves nothing. */
ltl never_both_done { [] (!BOTH) }
ltl never_resolved  { [] (!(resolves > 0 && BOTH)) }
#ifdef WITNESS
ltl never_waited    { [] (!waited) }
ltl never_late      { [] (!came_late) }
#endif

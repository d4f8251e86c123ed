/* Noticing death at once: session locks, leases below them, and one run handed from boot to boot.
 *
 * Two executors hold the run in turn, each process start being a boot of its own; one watcher
 * takes over. Each boot holds a shared session lock on two connections; the watcher wants it
 * exclusively. A cut connection, a broken watcher session, a restarted server (every lock gone at
 * once) and, on demand, a failover that loses the last claim are the faults. Time is
 * asynchronous: a living holder may be too slow to take its lock again within the grace.
 */
#ifndef CRASHES
#define CRASHES 1       /* deaths of an executor's process */
#endif
#ifndef CUTS
#define CUTS 2          /* single connections of executors that break */
#endif
#ifndef RESTARTS
#define RESTARTS 1      /* the server drops every lock and session at once */
#endif
#ifndef BREAKS
#define BREAKS 1        /* the watcher's own session breaks */
#endif
#ifndef FAILOVERS
#define FAILOVERS 0     /* a restart that also loses the last claim */
#endif
#ifndef AGEINGS
#define AGEINGS 2       /* steps by which the leases of living boots age */
#endif
#ifndef BOOTS
#define BOOTS 5         /* boots are numbered from 1; 0 is none */
#endif

mtype:run_state   = { READY, RUNNING, SUCCEEDED };
mtype:lease_state = { FRESH, DUE, EXPIRED };

typedef Boot {
  bool alive;
  bool declared_dead;
  bool lock[2];         /* the shared session lock, on two connections */
  bool near;            /* same host and PID namespace as the watcher */
  mtype:lease_state lease = FRESH;
  byte cuts             /* of its connections, since the server started */
};
typedef Run {
  mtype:run_state state = READY;
  byte boot, epoch;     /* the fence, together with the run itself */
  byte ticket           /* which claim holds it in truth: never reused, unknown to the code */
};
Boot boots[BOOTS + 1];
Run work;
byte next_boot = 1, tickets, completions;
byte crashes, cuts, restarts, breaks, failovers, ageings;
bool session = true;    /* the watcher's own */
byte seen;              /* the boot whose lock it saw held, in this session */
byte exclusive;         /* the boot whose lock it holds */
bool stale_commit, dead_claimed, stolen, proof_was_wrong, early;

#define LOST(b)      (!boots[b].lock[0] && !boots[b].lock[1])
#ifdef M_ONE_LOST
#define FREE(b)      (!boots[b].lock[0] || !boots[b].lock[1])
#else
#define FREE(b)      LOST(b)
#endif
#define TRULY_HOLDS  (work.state == RUNNING && work.ticket == ticket)
#if defined(M_UNFENCED_COMPLETION)
#define HOLDS        (work.state == RUNNING)
#elif defined(M_NO_BOOT_IN_FENCE)
#define HOLDS        (work.state == RUNNING && work.epoch == epoch)
#else
#define HOLDS        (work.state == RUNNING && work.epoch == epoch && work.boot == boot)
#endif

/* ----------------------------------------------------------------- the executor's verbs */

inline register() {
  next_boot <= BOOTS ->
  boot = next_boot; next_boot++;
  boots[boot].alive = true; boots[boot].near = near;
  boots[boot].lock[0] = true; boots[boot].lock[1] = true
}

inline claim() {                        /* locks and renews the boot's own row; needs its session lock */
  work.state == READY && !LOST(boot) ->
  if
#ifndef M_DEAD_MAY_CLAIM
  :: boots[boot].declared_dead -> goto ending
#else
  :: false -> skip
#endif
  :: else ->
       dead_claimed = dead_claimed || boots[boot].declared_dead;
       tickets++; ticket = tickets; boots[boot].lease = FRESH;
       work.state = RUNNING; work.boot = boot; work.epoch++; work.ticket = ticket;
       epoch = work.epoch
  fi
}

inline renew() {
  boots[boot].lease != FRESH ->
  if
  :: boots[boot].declared_dead -> goto ending
  :: else -> boots[boot].lease = FRESH
  fi
}

inline lock_again(k) {                  /* impossible while the watcher holds it exclusively */
  !boots[boot].lock[k] && exclusive != boot && !boots[boot].declared_dead ->
  boots[boot].lock[k] = true
}

inline release() {                      /* both locks lost: cancel the work, hand it back */
  LOST(boot) ->
  if :: HOLDS && TRULY_HOLDS -> work.state = READY :: else fi;
  epoch = 0; ticket = 0
}

inline complete() {
  if
  :: HOLDS -> stale_commit = stale_commit || !TRULY_HOLDS;
              work.state = SUCCEEDED; completions++
  :: else
  fi;
  epoch = 0; ticket = 0
}

inline die() {
  crashes < CRASHES -> crashes++; goto ending
}

proctype executor(bool near) {
  byte boot, epoch, ticket;
end_born:
  atomic { register() };
end_idle:
  do
  :: atomic { claim() } -> break
  :: atomic { lock_again(0) }
  :: atomic { lock_again(1) }
  :: atomic { die() }
  od;
  do                                    /* at work */
  :: atomic { complete() } -> goto end_idle
  :: atomic { release() } -> goto end_idle
  :: atomic { renew() }
  :: atomic { lock_again(0) }
  :: atomic { lock_again(1) }
  :: atomic { die() }
  od;
ending:
  atomic {
    boots[boot].alive = false;
    if
    :: HOLDS -> skip                    /* its connections linger, and its lease runs out */
    :: else -> boots[boot].lock[0] = false; boots[boot].lock[1] = false;
               boots[boot].cuts = 0; boots[boot].lease = FRESH; boots[boot].near = false
    fi;
    boot = 0; epoch = 0; ticket = 0; goto end_born
  }
}

/* ------------------------------------------------------------------ the watcher's verbs */

inline take_over(who) { boots[who].declared_dead = true; work.state = READY }

inline reconnect() { !session -> session = true }

inline watch() {                        /* it has to wait for the lock: somebody holds it */
  session && work.state == RUNNING && seen != work.boot && !FREE(work.boot) -> seen = work.boot
}

inline suspect_() {                     /* the lock came free: take it, look, let it go */
  session && work.state == RUNNING && seen == work.boot && FREE(seen) -> suspect = seen
}

#ifdef M_PROOF_ELSEWHERE
#define GONE(b)  (!boots[b].alive || !boots[b].near)
#else
#define GONE(b)  (!boots[b].alive && boots[b].near)
#endif

inline prove() {
  proved = GONE(suspect);
  proof_was_wrong = proof_was_wrong || (proved && boots[suspect].alive)
}

inline take_exclusively() {             /* after the proof, or after the grace */
  if
#ifdef M_STEAL_AFTER_RESTART
  :: session && FREE(suspect) -> exclusive = suspect
#else
  :: session && seen == suspect && FREE(suspect) -> exclusive = suspect
#endif
  :: else
  fi
}

inline take_over_early() {
  if
  :: exclusive == suspect && work.state == RUNNING && work.boot == suspect &&
     !boots[suspect].declared_dead ->
       stolen = stolen || (boots[suspect].alive && !proved && boots[suspect].cuts == 0);
       early = early || (boots[suspect].alive && !proved);
       take_over(suspect)
  :: else
  fi;
  exclusive = 0; suspect = 0; proved = false
}

inline take_over_expired() {
  work.state == RUNNING && boots[work.boot].lease == EXPIRED && !boots[work.boot].declared_dead ->
  take_over(work.boot)
}

proctype watcher() {
  byte suspect;
  bool proved;
end:
  do
  :: atomic { reconnect() }
  :: atomic { watch() }
  :: atomic { suspect_() } -> atomic { prove() }; atomic { take_exclusively() }; atomic { take_over_early() }
  :: atomic { take_over_expired() }
  od
}

/* ---------------------------------------------------------------------------- the faults */

inline lose_session() {
  session = false; exclusive = 0;
#ifndef M_STEAL_AFTER_RESTART
  seen = 0                              /* until a lock was seen held again: leases alone */
#endif
}

inline restart() {
  for (i : 1 .. BOOTS) { boots[i].lock[0] = false; boots[i].lock[1] = false; boots[i].cuts = 0 };
  i = 0; lose_session()
}

inline cut(who, which) {
  boots[who].alive && boots[who].lock[which] && cuts < CUTS ->
  cuts++; boots[who].cuts++; boots[who].lock[which] = false
}

proctype faults() {
  byte i;
end:
  do
  :: atomic { cut(work.boot, 0) }
  :: atomic { cut(work.boot, 1) }
  :: atomic { restarts < RESTARTS -> restarts++; restart() }
  :: atomic { session && breaks < BREAKS -> breaks++; lose_session() }
  :: atomic { failovers < FAILOVERS && work.state == RUNNING ->
       failovers++; restart(); work.state = READY; work.epoch--; work.boot = 0; work.ticket = 0 }
  od
}

inline age() {                          /* the lease of the boot that holds the run */
  work.state == RUNNING && boots[work.boot].lease != EXPIRED &&
  (!boots[work.boot].alive || ageings < AGEINGS) ->
  if :: boots[work.boot].alive -> ageings++ :: else fi;
  if
  :: boots[work.boot].lease == DUE -> boots[work.boot].lease = EXPIRED
  :: boots[work.boot].lease == FRESH -> boots[work.boot].lease = DUE
  fi
}

inline drop_dead_connections() {
  work.state == RUNNING && !boots[work.boot].alive && !LOST(work.boot) ->
  boots[work.boot].lock[0] = false; boots[work.boot].lock[1] = false
}

proctype passage_of_time() {
end:
  do
  :: atomic { age() }
  :: atomic { drop_dead_connections() }
  od
}

init { atomic { run executor(true); run executor(false); run watcher(); run faults(); run passage_of_time() } }

/* ------------------------------------------------------------------------------ promises */
ltl fenced          { [] (!stale_commit && completions <= 1) }
ltl dead_stay_dead  { [] (!dead_claimed) }
ltl not_stolen      { [] (!stolen) }    /* no restart, no broken watcher costs a living boot its run */
ltl spared          { [] (!early) }     /* with one cut: one lost connection is not a death */
ltl proof_is_true   { [] (!proof_was_wrong) }
ltl recovers        { <> (work.state == SUCCEEDED) }

/* Refuted on purpose: what the campaign must have seen, else it proves nothing. */
ltl never_early     { [] (!early) }
ltl never_done_late { [] (!(work.state == SUCCEEDED && crashes == CRASHES && tickets > 1)) }

"""A stand-in for OpenMP's runtime that a race detector understands.

GNU's libgomp makes its threads wait for each other by means that ThreadSanitizer does not see, so that with it every
parallel loop looks like a race.  What follows answers the few calls that compiled parallel loops make, by plain POSIX
threads: each region starts its threads and joins them.  It is plumbing of this tool, not part of any kernel, and
computes nothing.  It is C because it stands where a C library stood: a kernel's module is linked with it instead.
"""

from __future__ import annotations

TEAM = r"""
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

struct team { void (*body)(void *); void *data; int count; pthread_barrier_t barrier; };
struct member { struct team *team; int number; };

static __thread struct member self;

static void *run(void *given) {
    self = *(struct member *)given;
    if (self.number % 2) sched_yield();
    self.team->body(self.team->data);
    return NULL;
}

void GOMP_parallel(void (*body)(void *), void *data, unsigned count, unsigned flags) {
    struct team team = {body, data, count ? (int)count : 2};
    struct member before = self, member[team.count];
    pthread_t thread[team.count];
    (void)flags;
    pthread_barrier_init(&team.barrier, NULL, (unsigned)team.count);
    for (int n = 0; n < team.count; n++) {
        member[n] = (struct member){&team, n};
        if (n && pthread_create(&thread[n], NULL, run, &member[n])) abort();
    }
    run(&member[0]);
    for (int n = 1; n < team.count; n++) pthread_join(thread[n], NULL);
    pthread_barrier_destroy(&team.barrier);
    self = before;
}

void GOMP_barrier(void) { if (self.team) pthread_barrier_wait(&self.team->barrier); }
int omp_get_thread_num(void) { return self.team ? self.number : 0; }
int omp_get_num_threads(void) { return self.team ? self.team->count : 1; }
int omp_get_num_procs(void) { return 2; }
int omp_get_max_threads(void) { return 2; }
"""
